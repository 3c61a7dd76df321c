package filter

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/headrace/headrace/internal/model"
)

// jsonNode is a node of the JSON form.
type jsonNode struct {
	Op     string           `json:"op"`
	Args   []*jsonNode      `json:"args,omitzero"`
	Column jsontext.Value   `json:"column,omitzero"`
	Value  jsontext.Value   `json:"value,omitzero"`
	Values []jsontext.Value `json:"values,omitzero"`
	Low    jsontext.Value   `json:"low,omitzero"`
	High   jsontext.Value   `json:"high,omitzero"`
	Escape string           `json:"escape,omitzero"`
}

// The members of a node beside op.
const (
	hasArgs = 1 << iota
	hasColumn
	hasValue
	hasValues
	hasLow
	hasHigh
	hasEscape
)

var memberNames = [...]string{"args", "column", "value", "values", "low", "high", "escape"}

// members are those that the node has.
func (n *jsonNode) members() int {
	set := 0
	for i, is := range []bool{
		n.Args != nil, n.Column != nil, n.Value != nil, n.Values != nil, n.Low != nil, n.High != nil, n.Escape != "",
	} {
		if is {
			set |= 1 << i
		}
	}
	return set
}

// jsonForms say for each op which members it has.
var jsonForms = map[string]struct{ needs, may int }{
	"and": {hasArgs, 0}, "or": {hasArgs, 0}, "not": {hasArgs, 0}, "literal": {hasValue, 0},
	"=": {hasColumn | hasValue, 0}, "!=": {hasColumn | hasValue, 0}, "<": {hasColumn | hasValue, 0},
	"<=": {hasColumn | hasValue, 0}, ">": {hasColumn | hasValue, 0}, ">=": {hasColumn | hasValue, 0},
	"in": {hasColumn | hasValues, 0}, "not_in": {hasColumn | hasValues, 0}, "between": {hasColumn | hasLow | hasHigh, 0},
	"is_null": {hasColumn, 0}, "is_not_null": {hasColumn, 0},
	"like": {hasColumn | hasValue, hasEscape}, "not_like": {hasColumn | hasValue, hasEscape},
	"starts_with": {hasColumn | hasValue, 0}, "ends_with": {hasColumn | hasValue, 0}, "contains": {hasColumn | hasValue, 0},
}

const jsonOps = "and, or, not, =, !=, <, <=, >, >=, in, not_in, between, is_null, is_not_null, like, not_like, starts_with, ends_with, contains, literal"

// ParseJSON reads the JSON form. It fails with model.BadRequest.
func ParseJSON(raw []byte) (Expression, error) {
	var root jsonNode
	if err := json.Unmarshal(raw, &root, json.RejectUnknownMembers(true)); err != nil {
		return nil, describeJSON(err)
	}
	p := &jsonParser{}
	return finish(p.parse(&root, 1))
}

// describeJSON says what is wrong with the JSON.
func describeJSON(err error) error {
	if semantic, ok := errors.AsType[*json.SemanticError](err); ok {
		at := place(semantic.JSONPointer)
		if errors.Is(err, json.ErrUnknownName) {
			return model.Errorf(model.BadRequest, "the filter has an unknown member at %s", at).
				WithRemedy("Known are op, %s", strings.Join(memberNames[:], ", "))
		}
		return model.Errorf(model.BadRequest, "the filter has a value of the wrong kind at %s", at).
			WithRemedy(`Write it as {"op":">","column":"age","value":3}`)
	}
	if syntactic, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return model.Errorf(model.BadRequest, "the filter is not valid JSON at %s, byte %d: %s",
			place(syntactic.JSONPointer), syntactic.ByteOffset, clip(syntactic.Err.Error()))
	}
	return model.Errorf(model.BadRequest, "the filter is not valid JSON: %s", clip(err.Error()))
}

// place writes where in the filter something is, such as args.0.column.
func place(pointer jsontext.Pointer) string {
	var names []string
	for token := range pointer.Tokens() {
		names = append(names, clip(token))
	}
	if len(names) == 0 {
		return "its beginning"
	}
	return fmt.Sprintf("%q", clip(strings.Join(names, ".")))
}

type jsonParser struct{ counter }

func (p *jsonParser) parse(n *jsonNode, depth int) (Expression, error) {
	if n == nil {
		return nil, model.Errorf(model.BadRequest, "the filter has null where an expression is wanted")
	}
	if err := p.enter(depth); err != nil {
		return nil, err
	}
	if err := n.check(); err != nil {
		return nil, err
	}
	switch n.Op {
	case "and", "or":
		return p.several(n, depth)
	case "not":
		if len(n.Args) != 1 {
			return nil, model.Errorf(model.BadRequest, `the op "not" has %d args, want 1`, len(n.Args))
		}
		arg, err := p.parse(n.Args[0], depth+1)
		return &Not{arg}, err
	case "literal":
		value, err := jsonLiteral(n.Value)
		if err == nil && value.Kind != BoolLiteral && value.Kind != NullLiteral {
			err = model.Errorf(model.BadRequest, `the op "literal" has %s, want true, false or null`, value.describe())
		}
		return &Constant{value}, err
	}
	return n.leaf()
}

// check compares the members of a node with those of its op.
func (n *jsonNode) check() error {
	form, ok := jsonForms[n.Op]
	if !ok {
		return model.Errorf(model.BadRequest, "the filter has the unknown op %q", clip(n.Op)).WithRemedy("Use one of %s", jsonOps)
	}
	set := n.members()
	for i, name := range memberNames {
		switch {
		case form.needs&^set>>i&1 == 1:
			return model.Errorf(model.BadRequest, "the op %q has no %q", n.Op, name).WithRemedy("Add it")
		case set&^(form.needs|form.may)>>i&1 == 1:
			return model.Errorf(model.BadRequest, "the op %q has %q, which it does not take", n.Op, name).WithRemedy("Leave it out")
		}
	}
	return nil
}

// several reads an AND or an OR.
func (p *jsonParser) several(n *jsonNode, depth int) (Expression, error) {
	if len(n.Args) == 0 {
		return nil, model.Errorf(model.BadRequest, "the op %q has no args", n.Op).WithRemedy("Give at least one")
	}
	parts := make([]Expression, len(n.Args))
	for i, arg := range n.Args {
		var err error
		if parts[i], err = p.parse(arg, depth+1); err != nil {
			return nil, err
		}
	}
	if n.Op == "and" {
		return allOf(parts), nil
	}
	return anyOf(parts), nil
}

// leaf reads a node that names a column.
func (n *jsonNode) leaf() (Expression, error) {
	column, err := jsonColumn(n.Column)
	if err != nil {
		return nil, err
	}
	switch n.Op {
	case "is_null":
		return &IsNull{column}, nil
	case "is_not_null":
		return &Not{&IsNull{column}}, nil
	case "in", "not_in":
		values := make([]Literal, len(n.Values))
		for i, value := range n.Values {
			if values[i], err = jsonLiteral(value); err != nil {
				return nil, err
			}
		}
		in, err := oneOf(column, values)
		if n.Op == "not_in" && err == nil {
			return &Not{in}, nil
		}
		return in, err
	case "between":
		low, err := jsonLiteral(n.Low)
		if err != nil {
			return nil, err
		}
		high, err := jsonLiteral(n.High)
		return between(column, low, high), err
	case "like", "not_like", "starts_with", "ends_with", "contains":
		return n.match(column)
	}
	value, err := jsonLiteral(n.Value)
	for op, text := range operatorTexts {
		if text == n.Op {
			return &Compare{Column: column, Operator: Operator(op), Value: value}, err
		}
	}
	return nil, model.Errorf(model.BadRequest, "the filter has the unknown op %q", clip(n.Op)) // cannot be: jsonForms has it
}

func (n *jsonNode) match(column Column) (Expression, error) {
	pattern, err := jsonLiteral(n.Value)
	if err != nil {
		return nil, err
	}
	if pattern.Kind == NullLiteral {
		return &Constant{pattern}, nil
	}
	if pattern.Kind != TextLiteral {
		return nil, model.Errorf(model.BadRequest, "column %q is matched with %s, want a text", column, pattern.describe()).
			With("column", column.String())
	}
	match := &Match{Column: column, Pattern: pattern.Text}
	for kind, text := range matchTexts {
		if text == strings.TrimPrefix(n.Op, "not_") {
			match.Kind = MatchKind(kind)
		}
	}
	if n.Escape != "" {
		if match.Escape, err = escapeOf(n.Escape); err != nil {
			return nil, err
		}
	}
	if n.Op == "not_like" {
		return &Not{match}, nil
	}
	return match, nil
}

// escapeOf reads the escape of a LIKE: one character.
func escapeOf(text string) (rune, error) {
	if runes := []rune(text); len(runes) == 1 && runes[0] != 0 {
		return runes[0], nil
	}
	return 0, model.Errorf(model.BadRequest, "the escape of a LIKE is %q, want one character", clip(text))
}

// jsonColumn reads "a" or ["a","b"].
func jsonColumn(raw jsontext.Value) (Column, error) {
	var column Column
	var err error
	if raw.Kind() == '"' {
		column = make(Column, 1)
		err = json.Unmarshal(raw, &column[0])
	} else {
		err = json.Unmarshal(raw, &column)
	}
	if err != nil || len(column) == 0 || len(column) > DepthMax {
		return nil, model.Errorf(model.BadRequest, "the column %s is not a name", clip(string(raw))).
			WithRemedy(`Write "a", or ["a","b"] for a field of a struct`)
	}
	return column, nil
}

func jsonLiteral(raw jsontext.Value) (Literal, error) {
	if len(raw) > LiteralMax {
		return Literal{}, tooLong(len(raw))
	}
	switch raw.Kind() {
	case 'n':
		return Literal{}, nil
	case 't', 'f':
		return boolLiteral(raw.Kind() == 't'), nil
	case '0':
		return numberLiteral(string(raw))
	case '"':
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return Literal{}, describeJSON(err)
		}
		return textLiteral(text), nil
	}
	return Literal{}, model.Errorf(model.BadRequest, "%s is no value of a filter", clip(string(raw))).
		WithRemedy("Use null, true, false, a number or a string")
}

func tooLong(bytes int) error {
	return model.Errorf(model.BadRequest, "a value of the filter has %d bytes, at most %d are allowed", bytes, LiteralMax)
}
