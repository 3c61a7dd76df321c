package filter

import (
	"math/big"

	"github.com/apache/arrow-go/v18/arrow"
)

// in binds an IN. Of a value that the type cannot hold nothing is left; a null in the list makes NOT IN
// true for no row, and changes nothing for IN.
func (b *binder) in(e *In, negated bool) (node, error) {
	column := b.known[keyOfPath(e.Column)]
	t := b.filter.uses[column].data
	values, nulls := make([]Literal, 0, len(e.Values)), false
	for _, value := range e.Values {
		if value.Kind == NullLiteral {
			nulls = true
			continue
		}
		values = append(values, value)
	}
	n, err := b.among(e.Column, values, negated)
	switch {
	case err != nil:
		return nil, err
	case t.ID() == arrow.NULL || nulls && negated:
		return constantNode(false), nil
	}
	return n, nil
}

// among binds an IN without nulls.
func (b *binder) among(path Column, values []Literal, negated bool) (node, error) {
	column := b.known[keyOfPath(path)]
	t := b.filter.uses[column].data
	var one test
	var err error
	if ints := integersOf(t); ints != nil {
		one, err = b.integersAmong(ints, path, values, negated)
	} else if kind := floatsOf(t); kind != nil {
		one, err = b.floatsAmong(kind, path, values, negated)
	} else {
		switch t.ID() {
		case arrow.NULL:
		case arrow.BOOL:
			return b.boolsAmong(path, values, negated)
		case arrow.STRING, arrow.LARGE_STRING, arrow.STRING_VIEW, arrow.BINARY, arrow.LARGE_BINARY, arrow.BINARY_VIEW, arrow.FIXED_SIZE_BINARY:
			one, err = b.textsAmong(path, values, negated)
		default:
			return nil, b.incomparable(path, t)
		}
	}
	switch {
	case err != nil:
		return nil, err
	case one == nil && negated:
		return nullNode{column, false}, nil
	case one == nil:
		return constantNode(false), nil
	}
	return &testNode{column, one}, nil
}

// The functions below give nil where no value is left.

func (b *binder) integersAmong(ints *integers, path Column, values []Literal, negated bool) (test, error) {
	held := make([]*big.Int, 0, len(values))
	for _, l := range values {
		q, ok := ints.quantity(l)
		if !ok {
			return nil, b.mismatch(path, b.filter.uses[b.known[keyOfPath(path)]].data, l, ints.want)
		}
		if q.beyond == 0 && q.exact && q.floor.Cmp(ints.low) >= 0 && q.floor.Cmp(ints.high) <= 0 {
			held = append(held, q.floor)
		}
	}
	switch len(held) {
	case 0:
		return nil, nil
	case 1:
		return ints.rangeOf(span{held[0], held[0], negated}), nil
	}
	return ints.setOf(held, negated), nil
}

func (b *binder) floatsAmong(kind *floats, path Column, values []Literal, negated bool) (test, error) {
	held := make([]float64, 0, len(values))
	for _, l := range values {
		mean, ok := kind.mean(l)
		if !ok {
			return nil, b.mismatch(path, b.filter.uses[b.known[keyOfPath(path)]].data, l, "a number")
		}
		if mean.beyond == 0 {
			held = append(held, mean.value)
		}
	}
	if len(held) == 0 {
		return nil, nil
	}
	return newFloatSet(kind.width, held, negated), nil
}

func (b *binder) boolsAmong(path Column, values []Literal, negated bool) (node, error) {
	column := b.known[keyOfPath(path)]
	var t boolTest
	for _, l := range values {
		if l.Kind != BoolLiteral {
			return nil, b.mismatch(path, b.filter.uses[column].data, l, "true or false")
		}
		t.whenTrue, t.whenFalse = t.whenTrue || l.Text == "true", t.whenFalse || l.Text == "false"
	}
	if negated {
		t.whenTrue, t.whenFalse = !t.whenTrue, !t.whenFalse
	}
	switch {
	case t.whenFalse && t.whenTrue:
		return nullNode{column, false}, nil
	case !t.whenFalse && !t.whenTrue:
		return constantNode(false), nil
	}
	return &testNode{column, t}, nil
}

func (b *binder) textsAmong(path Column, values []Literal, negated bool) (test, error) {
	t := b.filter.uses[b.known[keyOfPath(path)]].data
	texts := make([]string, 0, len(values))
	for _, l := range values {
		text, err := b.textOf(path, t, l)
		if err != nil {
			return nil, err
		}
		texts = append(texts, text)
	}
	switch len(texts) {
	case 0:
		return nil, nil
	case 1:
		return &textTest{&textEqual{texts[0]}, negated}, nil
	}
	return &textTest{newTextSet(texts), negated}, nil
}
