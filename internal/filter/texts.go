package filter

import (
	"bytes"
	"errors"
	"math/bits"
	"slices"

	"github.com/headrace/headrace/internal/arrowipc"
)

// errValue says that the offsets of a stored value are wrong.
var errValue = errors.New("filtering: a value of a string or binary column leads outside of its buffer")

// textPredicate decides about the bytes of a value.
type textPredicate interface {
	has(value []byte) bool
	// mayHave says that has may be true for a value of low to high, mayLack that it may be false.
	mayHave(low, high []byte) bool
	mayLack(low, high []byte) bool
	cost() int
}

// textTest passes strings or binaries, of any form, for which a predicate is true, or all others.
type textTest struct {
	textPredicate
	negated bool
}

func (t *textTest) narrow(v *arrowipc.Values, mask []uint64) error {
	switch v.Form {
	case arrowipc.Binary32Form:
		return narrowTexts(t, arrowipc.Words[int32](v), v.Data, mask)
	case arrowipc.Binary64Form:
		return narrowTexts(t, arrowipc.Words[int64](v), v.Data, mask)
	}
	var err error
	eachBit(mask, func(row int) bool {
		value, ok := v.Value(int64(row))
		if !ok {
			err = errValue
		}
		return t.has(value) != t.negated
	})
	return err
}

func narrowTexts[O int32 | int64](t *textTest, offsets []O, data []byte, mask []uint64) error {
	if equal, ok := t.textPredicate.(*textEqual); ok {
		return narrowEqual(equal, t.negated, offsets, data, mask)
	}
	for i, rows := range mask {
		for left := rows; left != 0; left &= left - 1 {
			at := bits.TrailingZeros64(left)
			from, to := int(offsets[64*i+at]), int(offsets[64*i+at+1])
			if from < 0 || to < from || to > len(data) {
				return errValue
			}
			if t.has(data[from:to]) == t.negated {
				rows &^= 1 << at
			}
		}
		mask[i] = rows
	}
	return nil
}

// narrowEqual compares lengths first, which spares most of the bytes.
func narrowEqual[O int32 | int64](t *textEqual, negated bool, offsets []O, data []byte, mask []uint64) error {
	length := len(t.value)
	for i, rows := range mask {
		for left := rows; left != 0; left &= left - 1 {
			at := bits.TrailingZeros64(left)
			from, to := int(offsets[64*i+at]), int(offsets[64*i+at+1])
			if from < 0 || to < from || to > len(data) {
				return errValue
			}
			if (to-from == length && string(data[from:to]) == t.value) == negated {
				rows &^= 1 << at
			}
		}
		mask[i] = rows
	}
	return nil
}

func (t *textTest) mayMatch(low, high []byte) bool {
	if t.negated {
		return t.mayLack(low, high)
	}
	return t.mayHave(low, high)
}

// textEqual is true for one value.
type textEqual struct{ value string }

func (t *textEqual) has(value []byte) bool { return string(value) == t.value }
func (t *textEqual) mayHave(low, high []byte) bool {
	return string(low) <= t.value && t.value <= string(high)
}
func (t *textEqual) mayLack(low, high []byte) bool {
	return string(low) != t.value || string(high) != t.value
}
func (t *textEqual) cost() int { return 5 }

// textBelow is true for values below a bound, or equal to it where that counts.
type textBelow struct {
	bound []byte
	equal bool
}

func (t *textBelow) has(value []byte) bool {
	order := bytes.Compare(value, t.bound)
	return order < 0 || order == 0 && t.equal
}
func (t *textBelow) mayHave(low, _ []byte) bool  { return t.has(low) }
func (t *textBelow) mayLack(_, high []byte) bool { return !t.has(high) }
func (t *textBelow) cost() int                   { return 8 }

// textSet is true for values that are among a set.
type textSet struct {
	values map[string]struct{}
	sorted []string
}

func newTextSet(values []string) *textSet {
	t := &textSet{values: make(map[string]struct{}, len(values)), sorted: values}
	slices.Sort(t.sorted)
	for _, value := range values {
		t.values[value] = struct{}{}
	}
	return t
}

func (t *textSet) has(value []byte) bool {
	_, found := t.values[string(value)]
	return found
}

func (t *textSet) mayHave(low, high []byte) bool {
	at, _ := slices.BinarySearch(t.sorted, string(low))
	return at < len(t.sorted) && t.sorted[at] <= string(high)
}

func (t *textSet) mayLack(low, high []byte) bool { return !bytes.Equal(low, high) || !t.has(low) }
func (t *textSet) cost() int                     { return 20 }

// textPart is true for values that begin with, end with or contain a text.
type textPart struct {
	kind MatchKind
	text []byte
}

func (t *textPart) has(value []byte) bool {
	switch t.kind {
	case StartsWith:
		return bytes.HasPrefix(value, t.text)
	case EndsWith:
		return bytes.HasSuffix(value, t.text)
	}
	return bytes.Contains(value, t.text)
}

func (t *textPart) mayHave(low, high []byte) bool {
	return t.kind != StartsWith || mayBegin(t.text, low, high)
}

// mayLack uses that all values between two that begin with a text do so too.
func (t *textPart) mayLack(low, high []byte) bool {
	return t.kind != StartsWith || !bytes.HasPrefix(low, t.text) || !bytes.HasPrefix(high, t.text)
}

func (t *textPart) cost() int {
	if t.kind == Contains {
		return 20
	}
	return 8
}

// mayBegin says that a value of low to high may begin with prefix.
func mayBegin(prefix, low, high []byte) bool {
	return bytes.Compare(high, prefix) >= 0 && bytes.Compare(low[:min(len(low), len(prefix))], prefix) <= 0
}
