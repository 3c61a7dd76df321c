package filter

import (
	"strings"

	"github.com/headrace/headrace/internal/model"
)

// The bounds of an expression.
const (
	// DepthMax is how deep an expression may nest; AND within AND, and OR within OR, count once.
	DepthMax = 64
	// NodesMax is how many comparisons, ANDs, ORs and NOTs an expression may have.
	NodesMax = 10_000
	// ListMax is how many values an IN may have.
	ListMax = 10_000
	// LiteralMax is how many bytes the text of one literal may have.
	LiteralMax = 64 << 10
)

// Expression is a predicate on rows: one of *And, *Or, *Not, *Compare, *In, *IsNull, *Match and *Constant.
// It is immutable.
type Expression interface{ expression() }

// Column names a column, or a field inside of structs from the outside to the inside.
type Column []string

// String writes the names with points between them, for errors.
func (c Column) String() string { return strings.Join(c, ".") }

// Operator is how Compare compares.
type Operator uint8

// The operators.
const (
	Equal Operator = iota
	NotEqual
	Less
	LessEqual
	Greater
	GreaterEqual
)

var operatorTexts = [...]string{"=", "!=", "<", "<=", ">", ">="}

// String is the operator as JSON and SQL spell it.
func (o Operator) String() string { return operatorTexts[o] }

// mirrored is the operator for exchanged sides.
func (o Operator) mirrored() Operator {
	return [...]Operator{Equal, NotEqual, Greater, GreaterEqual, Less, LessEqual}[o]
}

// negated is the operator that is true where o is false.
func (o Operator) negated() Operator {
	return [...]Operator{NotEqual, Equal, GreaterEqual, Greater, LessEqual, Less}[o]
}

// MatchKind is what Match looks for.
type MatchKind uint8

// The kinds of matches.
const (
	// Like is a pattern in which % stands for any text and _ for one character.
	Like MatchKind = iota
	StartsWith
	EndsWith
	Contains
)

// matchTexts are the words of JSON and the names of functions in SQL and Substrait.
var matchTexts = [...]string{"like", "starts_with", "ends_with", "contains"}

// And is true where all of Args are; there are at least two.
type And struct{ Args []Expression }

// Or is true where one of Args is; there are at least two.
type Or struct{ Args []Expression }

// Not is true where Arg is false.
type Not struct{ Arg Expression }

// Compare compares a column with a literal, the column on the left.
type Compare struct {
	Column   Column
	Operator Operator
	Value    Literal
}

// In is true where the column equals one of Values.
type In struct {
	Column Column
	Values []Literal
}

// IsNull is true where the column is null, and else false.
type IsNull struct{ Column Column }

// Match compares a string column with a pattern.
type Match struct {
	Column  Column
	Kind    MatchKind
	Pattern string
	// Escape is the character of a Like behind which %, _ and itself stand for themselves; 0: none.
	Escape rune
}

// Constant is true, false or null for every row.
type Constant struct{ Value Literal }

func (*And) expression()      {}
func (*Or) expression()       {}
func (*Not) expression()      {}
func (*Compare) expression()  {}
func (*In) expression()       {}
func (*IsNull) expression()   {}
func (*Match) expression()    {}
func (*Constant) expression() {}

// allOf is the AND of parts, those of ANDs among them taken out; there is at least one.
func allOf(parts []Expression) Expression {
	flat := make([]Expression, 0, len(parts))
	for _, part := range parts {
		if inner, ok := part.(*And); ok {
			flat = append(flat, inner.Args...)
			continue
		}
		flat = append(flat, part)
	}
	if len(flat) == 1 {
		return flat[0]
	}
	return &And{flat}
}

// anyOf is the OR of parts, those of ORs among them taken out; there is at least one.
func anyOf(parts []Expression) Expression {
	flat := make([]Expression, 0, len(parts))
	for _, part := range parts {
		if inner, ok := part.(*Or); ok {
			flat = append(flat, inner.Args...)
			continue
		}
		flat = append(flat, part)
	}
	if len(flat) == 1 {
		return flat[0]
	}
	return &Or{flat}
}

// oneOf is the IN of values; of none it is false.
func oneOf(column Column, values []Literal) (Expression, error) {
	if len(values) > ListMax {
		return nil, model.Errorf(model.BadRequest, "the list for column %q has %d values, at most %d are allowed", column, len(values), ListMax).
			With("column", column.String()).WithRemedy("Look the rows up by key, or read with several filters")
	}
	if len(values) == 0 {
		return &Constant{boolLiteral(false)}, nil
	}
	return &In{Column: column, Values: values}, nil
}

// isTrue is the predicate that a bool column is by itself.
func isTrue(column Column) Expression {
	return &Compare{Column: column, Operator: Equal, Value: boolLiteral(true)}
}

// between is low <= column <= high.
func between(column Column, low, high Literal) Expression {
	return &And{[]Expression{
		&Compare{Column: column, Operator: GreaterEqual, Value: low}, &Compare{Column: column, Operator: LessEqual, Value: high},
	}}
}

// counter bounds what a parser makes.
type counter struct{ nodes int }

// enter counts one node at a depth, which begins with 1.
func (c *counter) enter(depth int) error {
	if c.nodes++; c.nodes > NodesMax {
		return model.Errorf(model.BadRequest, "the filter has more than %d parts", NodesMax).WithRemedy("Use IN for many values")
	}
	if depth > parserDepthMax {
		return tooDeep()
	}
	return nil
}

// parserDepthMax bounds the recursion of parsers: parentheses and ANDs within ANDs nest in texts, and not
// in the tree.
const parserDepthMax = 1000

func tooDeep() error {
	return model.Errorf(model.BadRequest, "the filter is nested deeper than %d", DepthMax).WithRemedy("Write it flatter")
}

// finish checks the depth of what a parser made.
func finish(e Expression, err error) (Expression, error) {
	if err == nil && depthOf(e) > DepthMax {
		err = tooDeep()
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

// depthOf is 1 for an expression without others in it.
func depthOf(e Expression) int {
	var args []Expression
	switch e := e.(type) {
	case *And:
		args = e.Args
	case *Or:
		args = e.Args
	case *Not:
		args = []Expression{e.Arg}
	}
	depth := 0
	for _, arg := range args {
		depth = max(depth, depthOf(arg))
	}
	return depth + 1
}

// Columns lists the columns that an expression names, each once, in the order of their first use.
func Columns(e Expression) []Column {
	var found []Column
	seen := map[string]bool{}
	var walk func(Expression)
	add := func(c Column) {
		if key := strings.Join(c, "\x00"); !seen[key] {
			seen[key] = true
			found = append(found, c)
		}
	}
	walk = func(e Expression) {
		switch e := e.(type) {
		case *And:
			for _, arg := range e.Args {
				walk(arg)
			}
		case *Or:
			for _, arg := range e.Args {
				walk(arg)
			}
		case *Not:
			walk(e.Arg)
		case *Compare:
			add(e.Column)
		case *In:
			add(e.Column)
		case *IsNull:
			add(e.Column)
		case *Match:
			add(e.Column)
		}
	}
	walk(e)
	return found
}

// Rewrite gives the expression in which change has replaced every comparison, match and IS NULL.
func Rewrite(e Expression, change func(Expression) Expression) Expression {
	each := func(args []Expression) []Expression {
		changed := make([]Expression, len(args))
		for i, arg := range args {
			changed[i] = Rewrite(arg, change)
		}
		return changed
	}
	switch e := e.(type) {
	case *And:
		return &And{each(e.Args)}
	case *Or:
		return &Or{each(e.Args)}
	case *Not:
		return &Not{Rewrite(e.Arg, change)}
	}
	return change(e)
}
