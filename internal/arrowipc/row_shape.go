package arrowipc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"unsafe"
)

// RowShape says how a row of a layout lies in one piece of memory, its image: to read all of its columns touches a few
// neighbouring cache lines, where in a batch it touches as many places as there are columns, far from one another. An
// image is for memory only, and is read as it was written: it must not come from anywhere else.
//
//	(n+7)/8 bytes    bit i%8 of byte i/8: column i of n is not null
//	                 then of each column, 0 where it is null:
//	bool             one byte, 0 or 1
//	fixed width      the little-endian bytes
//	strings, binaries in all forms
//	2 bytes          where its bytes end, counted from where the first text begins
//	                 then the bytes of the texts, one after the other
//
// It is immutable and may be shared.
type RowShape struct {
	columns []rowColumn
	texts   int // where the bytes of texts begin
}

// rowColumn is a column of an image.
type rowColumn struct {
	kind  kind
	width int
	at    int // of the value, or of where the text ends
	// before is where the text before ends; negative: it is the first one.
	before int
	// stride is how many bytes a row has in a batch's values: of a text those of its offset or view; 0: a bit.
	stride uintptr
}

const (
	// rowFixedMax is what an image takes at most besides texts: a table of many columns is not read by whole rows.
	rowFixedMax = 2 << 10
	// RowImageMax is the most bytes of an image.
	RowImageMax = 16 << 10

	textEndBytes = 2
)

// ErrRowTooLarge says that a row would take more than RowImageMax bytes.
var ErrRowTooLarge = errors.New("the row is too large to lie in one piece")

// RowShape gives the shape of rows of the layout; nil where there is none: for nested columns, and for very many.
func (l *Layout) RowShape() *RowShape {
	l.shaped.Do(func() { l.shape = newRowShape(l) })
	return l.shape
}

func newRowShape(l *Layout) *RowShape {
	s := &RowShape{columns: make([]rowColumn, len(l.top))}
	at, before := (len(l.top)+7)/8, -1
	for i, c := range l.top {
		column := rowColumn{kind: c.kind, width: int(c.width), at: at, before: before, stride: uintptr(c.width)}
		switch c.kind {
		case bitKind:
			column.width, column.stride = 1, 0
		case fixedKind:
		case offset32Kind, offset64Kind:
			column.width, column.stride, before = textEndBytes, uintptr(c.offsetWidth()), at
		case viewKind:
			column.width, column.stride, before = textEndBytes, viewWidth, at
		default:
			return nil
		}
		at += column.width
		s.columns[i] = column
	}
	if at > rowFixedMax {
		return nil
	}
	s.texts = at
	return s
}

// AppendImage appends the image of a row of a view of the layout. It fails with ErrRowTooLarge, and on a value that
// leads outside of its buffers.
func (s *RowShape) AppendImage(dst []byte, v *View, row int32) ([]byte, error) {
	begin := len(dst)
	dst = slices.Grow(dst, s.texts)[:begin+s.texts]
	clear(dst[begin:])
	for i := range s.columns {
		c, from := &s.columns[i], &v.vectors[i]
		null := from.isNull(int64(row))
		if !null {
			dst[begin+i/8] |= 1 << (i % 8)
		}
		if c.kind.binary() {
			if !null {
				value, ok := from.slot(int64(row))
				if !ok {
					return dst[:begin], fmt.Errorf("%s has an invalid value in row %d", from.column.path(), row)
				}
				if len(dst)-begin+len(value) > RowImageMax {
					return dst[:begin], ErrRowTooLarge
				}
				dst = append(dst, value...)
			}
			binary.LittleEndian.PutUint16(dst[begin+c.at:], uint16(len(dst)-begin-s.texts))
			continue
		}
		if !null {
			copy(dst[begin+c.at:begin+c.at+c.width], from.value(int64(row)))
		}
	}
	return dst, nil
}

// TouchRows loads, of rows of views of the layout, what their images are made of, so that it comes near: column by
// column, as loads of many rows wait for memory together where making an image waits for one value after the other. What
// is loaded is added up, for no other reason than to be loaded.
func (s *RowShape) TouchRows(picks []Pick) (touched uint64) {
	for i := range s.columns {
		c := &s.columns[i]
		for j := range picks {
			row := uintptr(picks[j].Row)
			at := row * c.stride
			if c.kind == bitKind {
				at = row / 8
			}
			touched += uint64(*(*uint8)(unsafe.Add(picks[j].View.lanes[i].values, at)))
		}
		if c.kind == offset32Kind {
			for j := range picks {
				lane := &picks[j].View.lanes[i]
				if from := loadAt[int32](lane.values, picks[j].Row); uint(from) < uint(len(lane.data)) {
					touched += uint64(lane.data[from])
				}
			}
		}
	}
	return touched
}

// EqualKey says that an image has the key of a row of a view. own are the key columns in the layout of the image, keys
// those of the view, in the same order.
func (s *RowShape) EqualKey(image *byte, own, keys *KeyColumns, v *View, row int32) bool {
	p := unsafe.Pointer(image)
	if own.single == wordForm && keys.single == wordForm {
		if lane := &v.lanes[keys.node]; lane.validity == nil {
			return loadAt[uint64](lane.values, row) == *(*uint64)(unsafe.Add(p, s.columns[own.node].at))
		}
	}
	if len(own.columns) != len(keys.columns) {
		return false
	}
	for i, c := range own.columns {
		value, null := keys.Value(i, v, row)
		if null || !s.has(p, c.node) || string(value) != string(s.value(p, c.node)) {
			return false
		}
	}
	return true
}

// has says that a column of an image is not null.
func (s *RowShape) has(image unsafe.Pointer, column int) bool {
	return loadAt[uint8](image, int32(column>>3))>>(column&7)&1 == 1
}

// nulls are the columns of an image that are null, as View.nulls has them.
func (s *RowShape) nulls(image unsafe.Pointer) uint64 {
	n, nulls := len(s.columns), uint64(0)
	for i := 0; i < n; i += 8 {
		missing := ^loadAt[uint8](image, int32(i>>3))
		if n-i < 8 {
			missing &= 1<<(n-i) - 1
		}
		nulls |= uint64(missing) << (i % 64)
	}
	return nulls
}

// text gives where the bytes of a text begin and end in an image.
func (s *RowShape) text(image unsafe.Pointer, c *rowColumn) (from, to int) {
	if c.before >= 0 {
		from = int(*(*uint16)(unsafe.Add(image, c.before)))
	}
	return s.texts + from, s.texts + int(*(*uint16)(unsafe.Add(image, c.at)))
}

// value gives the bytes of a column of an image that is not null.
func (s *RowShape) value(image unsafe.Pointer, column int) []byte {
	c := &s.columns[column]
	from, to := c.at, c.at+c.width
	if c.kind.binary() {
		from, to = s.text(image, c)
	}
	if from == to {
		return nil // perhaps at the end of the image, where no pointer may go
	}
	return unsafe.Slice((*byte)(unsafe.Add(image, from)), to-from)
}

// Images are rows of one layout that lie one by one in memory, wherever each of them is. Their View is for picks only:
// it has no batch, and its rows are read by appending them to a Builder. Images are owned by one goroutine.
type Images struct {
	view View
}

// Reset makes the images none, of a layout that has a shape.
func (m *Images) Reset(l *Layout) {
	m.view = View{layout: l, shape: l.RowShape(), images: m.view.images[:0]}
}

// Add adds a row, whose image begins at a byte and stays as it is until the next Reset, and gives its pick.
func (m *Images) Add(image *byte) Pick {
	v := &m.view
	v.images = append(v.images, unsafe.Pointer(image))
	v.nulls |= v.shape.nulls(unsafe.Pointer(image))
	v.rows++
	return m.Pick(int32(v.rows - 1))
}

// Pick gives a row that was added, counted from 0.
func (m *Images) Pick(row int32) Pick { return Pick{View: &m.view, Row: row} }
