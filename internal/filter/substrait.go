package filter

import (
	"strings"

	substrait "github.com/substrait-io/substrait-protobuf/go/substraitpb"
	"google.golang.org/protobuf/proto"

	"github.com/headrace/headrace/internal/model"
)

// SubstraitMax is how many bytes a Substrait expression may have.
const SubstraitMax = 1 << 20

// messageDepthMax bounds how deep protobuf messages nest: a part of an expression takes up to four, and
// chains of AND and OR, which count once, nest once a part.
const messageDepthMax = 8000

// ParseSubstrait reads an extended expression with one predicate, as pyarrow's Expression.to_substrait
// writes it: functions by name, fields by their place in the base schema, whose names count. It fails
// with model.BadRequest.
func ParseSubstrait(message []byte) (Expression, error) {
	if len(message) > SubstraitMax {
		return nil, model.Errorf(model.BadRequest, "the filter has %d bytes, at most %d are allowed", len(message), SubstraitMax)
	}
	var extended substrait.ExtendedExpression
	if err := (proto.UnmarshalOptions{RecursionLimit: messageDepthMax}).Unmarshal(message, &extended); err != nil {
		return nil, model.Errorf(model.BadRequest, "the filter is not a Substrait extended expression").
			WithRemedy("Send what pyarrow's Expression.to_substrait gives, in base64").WithCause(err)
	}
	if n := len(extended.GetReferredExpr()); n != 1 || extended.GetReferredExpr()[0].GetExpression() == nil {
		return nil, model.Errorf(model.BadRequest, "the Substrait filter has %d expressions, want one predicate", n)
	}
	p := &substraitParser{functions: map[uint32]string{}, types: map[uint32]string{}}
	for _, declaration := range extended.GetExtensions() {
		if f := declaration.GetExtensionFunction(); f != nil {
			p.functions[f.GetFunctionAnchor()], _, _ = strings.Cut(f.GetName(), ":")
		}
		if t := declaration.GetExtensionType(); t != nil {
			p.types[t.GetTypeAnchor()] = t.GetName()
		}
	}
	schema := extended.GetBaseSchema()
	names := schema.GetNames()
	p.fields = nameFields(schema.GetStruct().GetTypes(), &names, 0)
	return finish(p.predicate(extended.GetReferredExpr()[0].GetExpression(), 1))
}

type substraitParser struct {
	counter
	functions map[uint32]string // by anchor
	types     map[uint32]string // of extensions, by anchor
	fields    []namedField
}

// namedField is a field of the base schema.
type namedField struct {
	name   string
	inside []namedField
}

// nameFields gives the fields of a struct their names, which stand depth-first in one list.
func nameFields(types []*substrait.Type, names *[]string, depth int) []namedField {
	fields := make([]namedField, 0, min(len(types), len(*names)))
	for _, t := range types {
		if len(*names) == 0 || depth > DepthMax {
			return fields
		}
		field := namedField{name: (*names)[0]}
		*names = (*names)[1:]
		field.inside = nameInside(t, names, depth)
		fields = append(fields, field)
	}
	return fields
}

// nameInside gives the fields of structs within a type their names.
func nameInside(t *substrait.Type, names *[]string, depth int) []namedField {
	if depth > DepthMax {
		return nil
	}
	switch {
	case t.GetStruct() != nil:
		return nameFields(t.GetStruct().GetTypes(), names, depth+1)
	case t.GetList() != nil:
		nameInside(t.GetList().GetType(), names, depth+1)
	case t.GetMap() != nil:
		nameInside(t.GetMap().GetKey(), names, depth+1)
		nameInside(t.GetMap().GetValue(), names, depth+1)
	}
	return nil
}

func unsupportedSubstrait(what string) error {
	return model.Errorf(model.BadRequest, "the Substrait filter has %s, which filters do not have", what).
		WithRemedy("Write the filter in SQL or JSON, or filter in the client")
}

// predicate reads an expression that is true or false.
func (p *substraitParser) predicate(e *substrait.Expression, depth int) (Expression, error) {
	if err := p.enter(depth); err != nil {
		return nil, err
	}
	switch kind := e.GetRexType().(type) {
	case *substrait.Expression_Selection:
		column, err := p.column(e)
		return isTrue(column), err
	case *substrait.Expression_Literal_:
		value, err := p.literal(kind.Literal)
		if err == nil && value.Kind != BoolLiteral && value.Kind != NullLiteral {
			err = unsupportedSubstrait(value.describe() + " as a predicate")
		}
		return &Constant{value}, err
	case *substrait.Expression_SingularOrList_:
		return p.list(kind.SingularOrList)
	case *substrait.Expression_ScalarFunction_:
		return p.function(kind.ScalarFunction, depth)
	}
	return nil, unsupportedSubstrait("a part that is no comparison")
}

// name gives the name of a function.
func (p *substraitParser) name(f *substrait.Expression_ScalarFunction) string {
	return p.functions[f.GetFunctionReference()]
}

// arguments gives the arguments of a function, also those in the form of older versions.
func arguments(f *substrait.Expression_ScalarFunction) []*substrait.Expression {
	args := make([]*substrait.Expression, 0, len(f.GetArguments()))
	for _, argument := range f.GetArguments() {
		args = append(args, argument.GetValue())
	}
	return args
}

// comparisons are the functions that compare two values.
var comparisons = map[string]Operator{
	"equal": Equal, "not_equal": NotEqual, "lt": Less, "lte": LessEqual, "gt": Greater, "gte": GreaterEqual,
}

func (p *substraitParser) function(f *substrait.Expression_ScalarFunction, depth int) (Expression, error) {
	name, args := p.name(f), arguments(f)
	want := 2
	switch name {
	case "and", "or":
		return p.chain(f, name, depth)
	case "not", "is_null", "is_not_null", "is_nan":
		want = 1
	case "between":
		want = 3
	}
	if len(args) != want {
		return nil, unsupportedSubstrait("the function " + clip(name) + " in a form with another number of arguments")
	}
	if operator, ok := comparisons[name]; ok {
		return p.compare(operator, args)
	}
	if name == "not" {
		arg, err := p.predicate(args[0], depth+1)
		return &Not{arg}, err
	}
	return p.ofColumn(name, f, args)
}

// ofColumn reads a function whose first argument is a column.
func (p *substraitParser) ofColumn(name string, f *substrait.Expression_ScalarFunction, args []*substrait.Expression) (Expression, error) {
	column, err := p.column(args[0])
	if err != nil {
		return nil, err
	}
	switch name {
	case "is_null":
		return &IsNull{column}, nil
	case "is_not_null":
		return &Not{&IsNull{column}}, nil
	case "is_nan":
		return &Compare{Column: column, Operator: Equal, Value: textLiteral(notANumber)}, nil
	case "between":
		low, err := p.value(args[1])
		if err != nil {
			return nil, err
		}
		high, err := p.value(args[2])
		return between(column, low, high), err
	}
	for kind, text := range matchTexts {
		if text == name {
			return p.match(column, MatchKind(kind), f, args[1])
		}
	}
	return nil, unsupportedSubstrait("the function " + clip(name))
}

func (p *substraitParser) match(column Column, kind MatchKind, f *substrait.Expression_ScalarFunction, arg *substrait.Expression) (Expression, error) {
	for _, option := range f.GetOptions() {
		if option.GetName() == "case_sensitivity" && len(option.GetPreference()) > 0 && option.GetPreference()[0] != "CASE_SENSITIVE" {
			return nil, unsupportedSubstrait("a match that ignores case")
		}
	}
	value, err := p.value(arg)
	switch {
	case err != nil:
		return nil, err
	case value.Kind == NullLiteral:
		return &Constant{value}, nil
	case value.Kind != TextLiteral:
		return nil, unsupportedSubstrait("a match with " + value.describe())
	}
	return &Match{Column: column, Kind: kind, Pattern: value.Text}, nil
}

// chain reads an AND or an OR. What nests in itself, as long chains do, is taken apart without going
// deeper.
func (p *substraitParser) chain(f *substrait.Expression_ScalarFunction, name string, depth int) (Expression, error) {
	var parts []Expression
	left := arguments(f)
	for len(left) > 0 {
		e := left[0]
		left = left[1:]
		if inner := e.GetScalarFunction(); inner != nil && p.name(inner) == name {
			if err := p.enter(depth); err != nil {
				return nil, err
			}
			left = append(arguments(inner), left...)
			continue
		}
		part, err := p.predicate(e, depth+1)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	if len(parts) == 0 {
		return nil, unsupportedSubstrait("an " + name + " of nothing")
	}
	if name == "and" {
		return allOf(parts), nil
	}
	return anyOf(parts), nil
}

// compare reads a comparison of a column with a literal, on either side.
func (p *substraitParser) compare(operator Operator, args []*substrait.Expression) (Expression, error) {
	if isLiteral(args[0]) {
		args[0], args[1], operator = args[1], args[0], operator.mirrored()
	}
	column, err := p.column(args[0])
	if err != nil {
		return nil, err
	}
	value, err := p.value(args[1])
	return &Compare{Column: column, Operator: operator, Value: value}, err
}

func (p *substraitParser) list(list *substrait.Expression_SingularOrList) (Expression, error) {
	column, err := p.column(list.GetValue())
	if err != nil {
		return nil, err
	}
	if len(list.GetOptions()) > ListMax {
		return oneOf(column, make([]Literal, len(list.GetOptions())))
	}
	values := make([]Literal, len(list.GetOptions()))
	for i, option := range list.GetOptions() {
		if values[i], err = p.value(option); err != nil {
			return nil, err
		}
	}
	return oneOf(column, values)
}

// isLiteral says that an expression is a literal, perhaps cast.
func isLiteral(e *substrait.Expression) bool {
	if cast := e.GetCast(); cast != nil {
		return cast.GetInput().GetLiteral() != nil
	}
	return e.GetLiteral() != nil
}

// value reads a literal. What it is cast to does not count: the column's type decides.
func (p *substraitParser) value(e *substrait.Expression) (Literal, error) {
	if cast := e.GetCast(); cast != nil {
		e = cast.GetInput()
	}
	literal := e.GetLiteral()
	if literal == nil {
		return Literal{}, unsupportedSubstrait("a comparison of other things than a column and a value")
	}
	return p.literal(literal)
}

// column reads a reference to a field of the base schema.
func (p *substraitParser) column(e *substrait.Expression) (Column, error) {
	if e.GetCast() != nil {
		return nil, unsupportedSubstrait("a cast of a column")
	}
	reference := e.GetSelection()
	segment := reference.GetDirectReference()
	if segment == nil || reference.GetExpression() != nil || reference.GetOuterReference() != nil {
		return nil, unsupportedSubstrait("a comparison of other things than a column and a value")
	}
	var column Column
	for fields := p.fields; segment != nil; segment = segment.GetStructField().GetChild() {
		field := segment.GetStructField()
		if field == nil {
			return nil, unsupportedSubstrait("a reference into a list or a map")
		}
		at := int(field.GetField())
		if at < 0 || at >= len(fields) {
			return nil, model.Errorf(model.BadRequest, "the Substrait filter refers to field %d of %d", at, len(fields)).
				WithRemedy("Bind it to the schema that it was written for")
		}
		column = append(column, fields[at].name)
		fields = fields[at].inside
	}
	return column, nil
}
