package filter

import (
	"encoding/binary"

	"github.com/headrace/headrace/internal/arrowipc"
)

// node is a part of a bound predicate. NOT is none: it was pushed down to the tests.
type node interface {
	// narrow clears the bits of rows for which the part is not true.
	narrow(f *Filter, mask []uint64) error
	// mayMatch says that there may be rows for which the part is true.
	mayMatch(f *Filter, s *arrowipc.Statistics) bool
	// cost orders the parts of an AND: about the work for one row.
	cost() int
}

// test compares values that are not null.
type test interface {
	// narrow clears the bits of rows whose values do not pass.
	narrow(v *arrowipc.Values, mask []uint64) error
	// mayMatch says that a value between the bounds, both included, may pass.
	mayMatch(low, high []byte) bool
	cost() int
}

// allNode is true where all parts are, in the order of their costs.
type allNode []node

func (n allNode) narrow(f *Filter, mask []uint64) error {
	for _, part := range n {
		if err := part.narrow(f, mask); err != nil {
			return err
		}
		if isEmpty(mask) {
			return nil
		}
	}
	return nil
}

func (n allNode) mayMatch(f *Filter, s *arrowipc.Statistics) bool {
	for _, part := range n {
		if !part.mayMatch(f, s) {
			return false
		}
	}
	return true
}

func (n allNode) cost() int { return sumOfCosts(n) }

// anyNode is true where one part is.
type anyNode []node

func (n anyNode) narrow(f *Filter, mask []uint64) error {
	found, part := f.mask(len(mask)), f.mask(len(mask))
	defer func() {
		f.free(found)
		f.free(part)
	}()
	for _, one := range n {
		// mask holds the rows for which no part was true so far.
		copy(part, mask)
		if err := one.narrow(f, part); err != nil {
			return err
		}
		for i, word := range part {
			found[i] |= word
			mask[i] &^= word
		}
		if isEmpty(mask) {
			break
		}
	}
	copy(mask, found)
	return nil
}

func (n anyNode) mayMatch(f *Filter, s *arrowipc.Statistics) bool {
	for _, part := range n {
		if part.mayMatch(f, s) {
			return true
		}
	}
	return false
}

func (n anyNode) cost() int { return sumOfCosts(n) }

func sumOfCosts(parts []node) int {
	sum := 0
	for _, part := range parts {
		sum += part.cost()
	}
	return sum
}

func isEmpty(mask []uint64) bool {
	for _, word := range mask {
		if word != 0 {
			return false
		}
	}
	return true
}

// constantNode is true for all rows, or for none.
type constantNode bool

func (n constantNode) narrow(_ *Filter, mask []uint64) error {
	if !n {
		clear(mask)
	}
	return nil
}

func (n constantNode) mayMatch(*Filter, *arrowipc.Statistics) bool { return bool(n) }
func (n constantNode) cost() int                                   { return 0 }

// nullNode is true where a column is null, or where it is not.
type nullNode struct {
	column int
	null   bool
}

func (n nullNode) narrow(f *Filter, mask []uint64) error {
	v := &f.values[n.column]
	if !n.null {
		dropNulls(v, mask)
		return nil
	}
	if v.AllNull {
		return nil
	}
	if len(v.Validity) == 0 {
		clear(mask)
		return nil
	}
	for i := range mask {
		valid := ^uint64(0)
		for _, bitmap := range v.Validity {
			valid &= loadWord(bitmap, i)
		}
		mask[i] &^= valid
	}
	return nil
}

func (n nullNode) mayMatch(f *Filter, s *arrowipc.Statistics) bool {
	known, ok := f.statistics(n.column, s)
	if !ok || known.Nulls < 0 {
		return true
	}
	if n.null {
		return known.Nulls > 0
	}
	return known.Nulls < s.Rows
}

func (n nullNode) cost() int { return 1 }

// testNode is true where a column is not null and passes a test.
type testNode struct {
	column int
	test   test
}

func (n *testNode) narrow(f *Filter, mask []uint64) error {
	v := &f.values[n.column]
	dropNulls(v, mask)
	return n.test.narrow(v, mask)
}

func (n *testNode) mayMatch(f *Filter, s *arrowipc.Statistics) bool {
	known, ok := f.statistics(n.column, s)
	switch {
	case !ok:
		return true
	case known.Nulls == s.Rows:
		return false
	}
	return known.Min == nil || known.Max == nil || n.test.mayMatch(known.Min, known.Max)
}

func (n *testNode) cost() int { return n.test.cost() }

// dropNulls clears the bits of nulls.
func dropNulls(v *arrowipc.Values, mask []uint64) {
	if v.AllNull {
		clear(mask)
		return
	}
	for _, bitmap := range v.Validity {
		for i, word := range mask {
			if word != 0 {
				mask[i] = word & loadWord(bitmap, i)
			}
		}
	}
}

// loadWord gives bits 64i to 64i+63 of a bitmap, as many as it has.
func loadWord(bitmap []byte, i int) uint64 {
	rest := bitmap[min(8*i, len(bitmap)):]
	if len(rest) >= 8 {
		return binary.LittleEndian.Uint64(rest)
	}
	word := uint64(0)
	for at, b := range rest {
		word |= uint64(b) << (8 * at)
	}
	return word
}
