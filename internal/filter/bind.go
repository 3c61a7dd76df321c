package filter

import (
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// Bind prepares an expression for rows of a layout. extra are columns behind those of the layout whose
// values the caller gives with each input; they are of fixed width. It fails with model.ColumnNotFound
// where a column is not there, and with model.BadRequest where its type does not go with a literal;
// details have the column.
func Bind(e Expression, layout *arrowipc.Layout, extra []arrow.Field) (*Filter, error) {
	b := &binder{layout: layout, extra: extra, filter: &Filter{extra: make([]bool, len(extra))}, known: map[string]int{}}
	if err := b.open(e); err != nil {
		return nil, err
	}
	var err error
	if b.filter.root, err = b.bind(e, false); err != nil {
		return nil, err
	}
	return b.filter, nil
}

type binder struct {
	layout *arrowipc.Layout
	extra  []arrow.Field
	filter *Filter
	known  map[string]int // index in filter.uses, by path
}

func keyOfPath(path Column) string { return strings.Join(path, "\x00") }

// open finds the columns.
func (b *binder) open(e Expression) error {
	f := b.filter
	for _, path := range Columns(e) {
		u := use{path: path, top: -1, extra: -1}
		if len(path) == 1 && b.layout.ColumnIndex(path[0]) < 0 {
			u.extra = slices.IndexFunc(b.extra, func(field arrow.Field) bool { return field.Name == path[0] })
		}
		if u.extra >= 0 {
			u.data, f.extra[u.extra] = b.extra[u.extra].Type, true
		} else {
			field, ok := b.layout.FieldByPath(path)
			if !ok {
				return model.Errorf(model.ColumnNotFound, "the filter names a column %q that is not there", path).
					With("column", path.String()).WithRemedy("The columns are %s", b.names())
			}
			u.data = field.Type()
			top := b.layout.ColumnIndex(path[0])
			if !slices.Contains(f.tops, top) {
				f.tops = append(f.tops, top)
			}
			if len(path) == 1 {
				u.top = top
			}
		}
		b.known[keyOfPath(path)] = len(f.uses)
		f.uses = append(f.uses, u)
	}
	var err error
	if f.set, err = arrowipc.NewColumnSet(b.layout, f.tops); err != nil {
		return err
	}
	for i := range f.uses {
		if u := &f.uses[i]; u.extra < 0 {
			u.field, _ = f.set.Layout().FieldByPath(u.path)
		}
	}
	return nil
}

// names lists the columns, cut short where there are many.
func (b *binder) names() string {
	const most = 20
	var names []string
	for i, field := range b.layout.Schema().Fields() {
		if i == most {
			names = append(names, "…")
			break
		}
		names = append(names, field.Name)
	}
	return strings.Join(names, ", ")
}

// bind gives the node of an expression, or of its NOT. NOT goes to the comparisons, where null stays null:
// so every node is only ever asked whether it is true.
func (b *binder) bind(e Expression, negated bool) (node, error) {
	switch e := e.(type) {
	case *Not:
		return b.bind(e.Arg, !negated)
	case *And:
		return b.several(e.Args, negated, negated)
	case *Or:
		return b.several(e.Args, !negated, negated)
	case *Constant:
		return constantNode(e.Value.Kind == BoolLiteral && (e.Value.Text == "true") != negated), nil
	case *IsNull:
		return nullNode{b.known[keyOfPath(e.Column)], !negated}, nil
	case *Compare:
		return b.compare(e, negated)
	case *In:
		return b.in(e, negated)
	case *Match:
		return b.match(e, negated)
	}
	return nil, model.Errorf(model.Internal, "the filter has a part of the type %T", e)
}

// several binds the parts of an OR, where either is set, or of an AND.
func (b *binder) several(args []Expression, either, negated bool) (node, error) {
	parts, sure := make([]node, 0, len(args)), false
	for _, arg := range args {
		part, err := b.bind(arg, negated)
		if err != nil {
			return nil, err
		}
		switch part {
		case constantNode(either): // decides about the whole; the others are bound all the same, for their errors
			sure = true
		case constantNode(!either):
		default:
			parts = append(parts, part)
		}
	}
	if sure {
		return constantNode(either), nil
	}
	if !either {
		parts = meetRanges(parts)
	}
	switch {
	case len(parts) == 0:
		return constantNode(!either), nil
	case len(parts) == 1:
		return parts[0], nil
	}
	slices.SortStableFunc(parts, func(a, b node) int { return a.cost() - b.cost() })
	if either {
		return anyNode(parts), nil
	}
	return allNode(parts), nil
}

// meetRanges makes one range of ranges of the same column, as a BETWEEN has them.
func meetRanges(parts []node) []node {
	var met []node
	at := map[int]int{} // index in met of a range, by column
	for _, part := range parts {
		n, ok := part.(*testNode)
		if !ok {
			met = append(met, part)
			continue
		}
		if _, ranged := n.test.(rangeTest); !ranged {
			met = append(met, part)
			continue
		}
		other, known := at[n.column]
		if !known {
			at[n.column] = len(met)
			met = append(met, part)
			continue
		}
		both, empty, ok := met[other].(*testNode).test.(rangeTest).meet(n.test)
		switch {
		case !ok:
			met = append(met, part)
		case empty:
			return []node{constantNode(false)}
		default:
			met[other] = &testNode{n.column, both}
		}
	}
	return met
}

// mismatch says that a literal does not go with a column.
func (b *binder) mismatch(path Column, t arrow.DataType, l Literal, want string) error {
	return model.Errorf(model.BadRequest, "column %q of type %s is compared with %s, want %s", path, clip(model.FormatType(t)), l.describe(), want).
		With("column", path.String())
}

// incomparable says that a type knows IS NULL alone.
func (b *binder) incomparable(path Column, t arrow.DataType) error {
	return model.Errorf(model.BadRequest, "column %q of type %s cannot be compared", path, clip(model.FormatType(t))).
		With("column", path.String()).WithRemedy("Use IS NULL or IS NOT NULL, or a field of it")
}

// decided gives the node of a verdict that is not unknown.
func decided(v verdict, column int) node {
	if v == always {
		return nullNode{column, false}
	}
	return constantNode(false)
}

func (b *binder) compare(e *Compare, negated bool) (node, error) {
	column := b.known[keyOfPath(e.Column)]
	t, operator, l := b.filter.uses[column].data, e.Operator, e.Value
	if negated {
		operator = operator.negated()
	}
	if t.ID() == arrow.NULL {
		return constantNode(false), nil
	}
	if ints := integersOf(t); ints != nil {
		return b.compareIntegers(ints, e.Column, operator, l)
	}
	if kind := floatsOf(t); kind != nil {
		mean, ok := kind.mean(l)
		if l.Kind == NullLiteral {
			return constantNode(false), nil
		}
		if !ok {
			return nil, b.mismatch(e.Column, t, l, `a number, "NaN", "Infinity" or "-Infinity"`)
		}
		return &testNode{column, kind.rangeOf(operator, mean)}, nil
	}
	switch t.ID() {
	case arrow.BOOL:
		return b.compareBool(e.Column, operator, l)
	case arrow.STRING, arrow.LARGE_STRING, arrow.STRING_VIEW, arrow.BINARY, arrow.LARGE_BINARY, arrow.BINARY_VIEW, arrow.FIXED_SIZE_BINARY:
		return b.compareText(e.Column, operator, l)
	}
	return nil, b.incomparable(e.Column, t)
}

func (b *binder) compareIntegers(ints *integers, path Column, operator Operator, l Literal) (node, error) {
	column := b.known[keyOfPath(path)]
	if l.Kind == NullLiteral {
		return constantNode(false), nil
	}
	q, ok := ints.quantity(l)
	if !ok {
		return nil, b.mismatch(path, b.filter.uses[column].data, l, ints.want)
	}
	s, v := ints.spanOf(operator, q)
	if v != unknown {
		return decided(v, column), nil
	}
	return &testNode{column, ints.rangeOf(s)}, nil
}

func (b *binder) compareBool(path Column, operator Operator, l Literal) (node, error) {
	column := b.known[keyOfPath(path)]
	switch l.Kind {
	case NullLiteral:
		return constantNode(false), nil
	case BoolLiteral:
	default:
		return nil, b.mismatch(path, b.filter.uses[column].data, l, "true or false")
	}
	value := 0
	if l.Text == "true" {
		value = 1
	}
	t := boolTest{holds(operator, 0-value), holds(operator, 1-value)}
	if t.whenFalse && t.whenTrue {
		return nullNode{column, false}, nil
	}
	return &testNode{column, t}, nil
}

// holds says whether a comparison is true for the sign of a difference.
func holds(operator Operator, difference int) bool {
	switch operator {
	case Equal:
		return difference == 0
	case NotEqual:
		return difference != 0
	case Less:
		return difference < 0
	case LessEqual:
		return difference <= 0
	case Greater:
		return difference > 0
	}
	return difference >= 0
}

// textOf gives the bytes that a literal means for a string or a binary.
func (b *binder) textOf(path Column, t arrow.DataType, l Literal) (string, error) {
	switch t.ID() {
	case arrow.STRING, arrow.LARGE_STRING, arrow.STRING_VIEW:
		if l.Kind == TextLiteral {
			return l.Text, nil
		}
		return "", b.mismatch(path, t, l, "a text")
	}
	if l.Kind == TextLiteral {
		if bytes, ok := readBase64(l.Text); ok {
			return string(bytes), nil
		}
	}
	return "", b.mismatch(path, t, l, "base64, or X'…' in SQL")
}

func (b *binder) compareText(path Column, operator Operator, l Literal) (node, error) {
	if l.Kind == NullLiteral {
		return constantNode(false), nil
	}
	column := b.known[keyOfPath(path)]
	text, err := b.textOf(path, b.filter.uses[column].data, l)
	if err != nil {
		return nil, err
	}
	t := &textTest{}
	switch operator {
	case Equal, NotEqual:
		t.textPredicate, t.negated = &textEqual{text}, operator == NotEqual
	case Less, GreaterEqual:
		t.textPredicate, t.negated = &textBelow{[]byte(text), false}, operator == GreaterEqual
	default:
		t.textPredicate, t.negated = &textBelow{[]byte(text), true}, operator == Greater
	}
	return &testNode{column, t}, nil
}

func (b *binder) match(e *Match, negated bool) (node, error) {
	column := b.known[keyOfPath(e.Column)]
	switch t := b.filter.uses[column].data; t.ID() {
	case arrow.NULL:
		return constantNode(false), nil
	case arrow.STRING, arrow.LARGE_STRING, arrow.STRING_VIEW:
	default:
		return nil, model.Errorf(model.BadRequest, "column %q of type %s cannot be matched with a pattern", e.Column, clip(model.FormatType(t))).
			With("column", e.Column.String()).WithRemedy("Patterns are for columns of strings")
	}
	predicate := textPredicate(&textPart{e.Kind, []byte(e.Pattern)})
	if e.Kind == Like {
		var err error
		if predicate, err = likePredicate(e.Pattern, e.Escape); err != nil {
			return nil, err
		}
	}
	return &testNode{column, &textTest{predicate, negated}}, nil
}
