package filter

import (
	"math/bits"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/arrowipc"
)

// Filter is a predicate that is bound to a layout. It keeps memory between batches and belongs to one
// goroutine.
type Filter struct {
	set   *arrowipc.ColumnSet
	tops  []int // columns of the layout, in the order of the set
	uses  []use
	extra []bool // by extra column: is it used
	root  node

	chosen arrowipc.Batch // reused
	values []arrowipc.Values
	masks  [][]uint64 // free ones
}

// use is a column, a field or an extra column that the predicate names.
type use struct {
	path  Column
	data  arrow.DataType
	field arrowipc.Field // of the set's layout; of extra columns none
	top   int            // in the bound layout, of a column that has statistics; else -1
	extra int            // of an extra column, else -1
}

// Input is the rows that a filter looks at.
type Input struct {
	// Batch has the layout that the filter was bound to; it may be compressed. What Filter.AppendBuffers
	// names must be in memory.
	Batch *arrowipc.Batch
	// From and To bound the rows, half-open.
	From, To int64
	// Among are the rows to look at, ascending and within the bounds; nil: all of them.
	Among []int32
	// Extra has for each extra column that the filter uses its values, for all rows of the batch.
	Extra [][]byte
}

// All is the input of all rows of a batch.
func All(batch *arrowipc.Batch) Input { return Input{Batch: batch, To: batch.Rows} }

// Columns are the top-level columns that the filter reads, by index in the layout.
func (f *Filter) Columns() []int { return f.tops }

// UsesExtra says whether the filter reads an extra column, by its index in Bind.
func (f *Filter) UsesExtra(i int) bool { return f.extra[i] }

// AppendBuffers appends the indexes of the buffers of b that Select reads.
func (f *Filter) AppendBuffers(dst []int, b *arrowipc.Batch) []int {
	return f.set.AppendBuffers(dst, b)
}

// Select appends the rows for which the predicate is true to rows, in ascending order. It fails where
// buffers are too short, where values of strings lead outside of them, and where a buffer cannot be
// decompressed.
func (f *Filter) Select(in Input, rows []int32) ([]int32, error) {
	if in.From >= in.To {
		return rows, nil
	}
	if err := f.set.Read(in.Batch, &f.chosen); err != nil {
		return rows, err
	}
	defer f.chosen.Release()
	f.values = f.values[:0]
	for i := range f.uses {
		v, err := f.uses[i].open(&f.chosen, in)
		if err != nil {
			return rows, err
		}
		f.values = append(f.values, v)
	}
	mask := f.mask(int(in.Batch.Rows+63) / 64)
	defer f.free(mask)
	if in.Among == nil {
		setRange(mask, in.From, in.To)
	}
	for _, row := range in.Among {
		mask[row>>6] |= 1 << (row & 63)
	}
	if err := f.root.narrow(f, mask); err != nil {
		return rows, err
	}
	return appendRows(rows, mask), nil
}

// open opens the values of a column.
func (u *use) open(chosen *arrowipc.Batch, in Input) (arrowipc.Values, error) {
	if u.extra < 0 {
		return u.field.Values(chosen)
	}
	width := int64(u.data.(arrow.FixedWidthDataType).Bytes())
	return arrowipc.Values{Rows: in.Batch.Rows, Form: arrowipc.FixedForm, Width: width, Bytes: in.Extra[u.extra]}, nil
}

// MayMatch says that the predicate may be true for a row of those that the statistics tell about; false
// is certain. Statistics are of the layout that the filter was bound to; of what nobody knows,
// everything may match.
func (f *Filter) MayMatch(s *arrowipc.Statistics) bool { return s == nil || f.root.mayMatch(f, s) }

// statistics gives what is known of a column.
func (f *Filter) statistics(i int, s *arrowipc.Statistics) (arrowipc.ColumnStatistics, bool) {
	if top := f.uses[i].top; top >= 0 && top < len(s.Columns) {
		return s.Columns[top], true
	}
	return arrowipc.ColumnStatistics{}, false
}

// mask gives n words of zeros.
func (f *Filter) mask(n int) []uint64 {
	if last := len(f.masks) - 1; last >= 0 {
		mask := f.masks[last]
		f.masks = f.masks[:last]
		if cap(mask) >= n {
			mask = mask[:n]
			clear(mask)
			return mask
		}
	}
	return make([]uint64, n)
}

func (f *Filter) free(mask []uint64) { f.masks = append(f.masks, mask) }

// setRange sets the bits [from, to).
func setRange(mask []uint64, from, to int64) {
	for word := from >> 6; word<<6 < to; word++ {
		ones := ^uint64(0)
		if low := from - word<<6; low > 0 {
			ones <<= low
		}
		if high := to - word<<6; high < 64 {
			ones &= 1<<high - 1
		}
		mask[word] = ones
	}
}

// appendRows appends the bits that are set.
func appendRows(rows []int32, mask []uint64) []int32 {
	for i, word := range mask {
		first := int32(i) << 6
		if word == ^uint64(0) {
			for row := first; row < first+64; row++ {
				rows = append(rows, row)
			}
			continue
		}
		for ; word != 0; word &= word - 1 {
			rows = append(rows, first+int32(bits.TrailingZeros64(word)))
		}
	}
	return rows
}
