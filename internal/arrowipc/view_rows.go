package arrowipc

import (
	"fmt"
	"unsafe"
)

// View is a plain batch opened for reading single rows. It is immutable and may be shared; it does not
// own the body, and must not be used once the body is released.
type View struct {
	lanes  []lane // in order of their nodes
	nulls  uint64 // nodes with nulls: bit i for the nodes that are i modulo 64
	rows   int64
	layout *Layout

	batch   *Batch
	vectors []vector

	// shape and images are those of a View of Images, which has nothing of the above but nulls, rows and layout.
	shape  *RowShape
	images []unsafe.Pointer
}

// lane is what gathering reads of a vector, in less than a cache line: picks of many views touch many
// of them. Values and validity are long enough for the length of the column.
type lane struct {
	values   unsafe.Pointer
	validity unsafe.Pointer // nil where there is no null
	data     []byte
}

// NewView opens a batch, which must not be changed afterwards. It fails on a compressed one, and where
// columns or buffers are shorter than the rows need. What the buffers hold is not looked at: a value
// that cannot be read, as its offsets lead outside, is found when it is read.
func NewView(b *Batch) (*View, error) {
	vectors, err := openVectors(make([]vector, 0, len(b.Layout.all)), b, nil)
	if err == nil {
		err = checkNodes(b, lengthMax)
	}
	if err == nil {
		err = checkLengths(b)
	}
	if err != nil {
		return nil, fmt.Errorf("opening a batch: %w", err)
	}
	v := &View{lanes: make([]lane, len(vectors)), rows: b.Rows, layout: b.Layout, batch: b, vectors: vectors}
	for i, c := range vectors {
		v.lanes[i] = lane{values: unsafe.Pointer(unsafe.SliceData(c.values)), data: c.data}
		if c.validity != nil {
			v.lanes[i].validity = unsafe.Pointer(unsafe.SliceData(c.validity))
			v.nulls |= 1 << (i % 64)
		}
	}
	return v, nil
}

// loadAt reads a value of fixed width in values that have row.
func loadAt[T any](values unsafe.Pointer, row int32) T {
	var value T
	return *(*T)(unsafe.Add(values, uintptr(row)*unsafe.Sizeof(value)))
}

// bitAt reads a bit of a bitmap that has row.
func bitAt(bitmap unsafe.Pointer, row int32) uint64 {
	return uint64(loadAt[uint8](bitmap, row>>3) >> (row & 7) & 1)
}

// Batch is the batch that the view reads.
func (v *View) Batch() *Batch { return v.batch }

// Rows is how many rows the view has.
func (v *View) Rows() int64 { return v.rows }

// Layout is the layout of the batch.
func (v *View) Layout() *Layout { return v.layout }

// IsNull says that a row of a top-level column is null. It panics on a column or row that is not there.
func (v *View) IsNull(column int, row int32) bool { return v.column(column).isNull(int64(row)) }

// bools are the values of bit columns. It is never written.
var bools = [2]byte{0, 1}

// Value gives a value of a top-level column without copying: of fixed width its little-endian bytes, of
// bool one byte that is 0 or 1, of a string or binary in any form its bytes. Of a null and of a nested
// column it is nil, and where the offsets or the view of the value lead outside. It panics on a column
// or row that is not there.
func (v *View) Value(column int, row int32) []byte { return v.column(column).value(int64(row)) }

// value is View.Value of the column.
func (c *vector) value(at int64) []byte {
	if c.isNull(at) {
		return nil
	}
	switch c.column.kind {
	case bitKind:
		b := c.values[at>>3] >> (at & 7) & 1
		return bools[b : b+1 : b+1]
	case fixedKind:
		width := c.column.width
		return c.values[at*width : (at+1)*width : (at+1)*width]
	case offset32Kind, offset64Kind, viewKind:
		value, _ := c.slot(at)
		return value
	}
	return nil
}

func (v *View) column(top int) *vector { return &v.vectors[v.layout.top[top].node] }
