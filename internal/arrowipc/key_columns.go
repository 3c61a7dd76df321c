package arrowipc

import (
	"bytes"
	"unsafe"

	"github.com/headrace/headrace/internal/model"
)

// KeyColumns reads the key columns of rows of one layout. It is immutable and may be shared.
type KeyColumns struct {
	columns []*column
	single  keyForm
	node    int // of the first column
}

// keyForm is a key that is compared in a short way.
type keyForm uint8

const (
	anyForm  keyForm = iota
	wordForm         // one column of 8 bytes
	textForm         // one string or binary with 32-bit offsets
)

// NewKeyColumns chooses the key columns by index, in order. Columns of fixed width, bool, string and
// binary (in any form) may be keys; others are model.UnsupportedType.
func NewKeyColumns(l *Layout, columns []int) (*KeyColumns, error) {
	k := &KeyColumns{}
	for _, i := range columns {
		if i < 0 || i >= len(l.top) {
			return nil, model.Errorf(model.ColumnNotFound, "there is no column %d, the table has %d", i, len(l.top))
		}
		c := l.top[i]
		if c.kind != bitKind && c.kind != fixedKind && !c.kind.binary() {
			return nil, noKey(c)
		}
		k.columns = append(k.columns, c)
	}
	if len(k.columns) > 0 {
		k.node = k.columns[0].node
	}
	if len(k.columns) == 1 {
		switch c := k.columns[0]; {
		case c.kind == fixedKind && c.width == 8:
			k.single = wordForm
		case c.kind == offset32Kind:
			k.single = textForm
		}
	}
	return k, nil
}

// Equal says that row ra of va has the same key as row rb of vb, which b reads. The views have the
// layouts that a and b were made of, or layouts of the same shape. Keys are equal where they have the
// same encoding (see RowHasher), so that a null equals a null; a string equals one in another form. A
// value that cannot be read equals nothing. It panics on a row that is not there.
func (a *KeyColumns) Equal(va *View, ra int32, b *KeyColumns, vb *View, rb int32) bool {
	if a.single == b.single && a.single != anyForm && uint64(ra) < uint64(va.rows) && uint64(rb) < uint64(vb.rows) {
		x, y := &va.lanes[a.node], &vb.lanes[b.node]
		if x.validity == nil && y.validity == nil {
			if a.single == wordForm {
				return loadAt[uint64](x.values, ra) == loadAt[uint64](y.values, rb)
			}
			return equalTexts(x, ra, y, rb)
		}
	}
	if len(a.columns) != len(b.columns) {
		return false
	}
	for i, c := range a.columns {
		if !equalValues(&va.vectors[c.node], int64(ra), &vb.vectors[b.columns[i].node], int64(rb)) {
			return false
		}
	}
	return true
}

// equalTexts compares values with 32-bit offsets, of rows that are there.
func equalTexts(x *lane, rx int32, y *lane, ry int32) bool {
	i, j := loadAt[[2]int32](unsafe.Add(x.values, 4*int(rx)), 0), loadAt[[2]int32](unsafe.Add(y.values, 4*int(ry)), 0)
	return inside(i, x.data) && inside(j, y.data) && string(x.data[i[0]:i[1]]) == string(y.data[j[0]:j[1]])
}

func inside(offsets [2]int32, data []byte) bool {
	return offsets[0] >= 0 && offsets[0] <= offsets[1] && int(offsets[1]) <= len(data)
}

// equalValues compares values of any form.
func equalValues(x *vector, rx int64, y *vector, ry int64) bool {
	if null := x.isNull(rx); null || y.isNull(ry) {
		return null && y.isNull(ry)
	}
	c, d := x.column, y.column
	switch {
	case c.kind.binary() && d.kind.binary():
		left, fine := x.slot(rx)
		right, fineToo := y.slot(ry)
		return fine && fineToo && bytes.Equal(left, right)
	case c.kind != d.kind || c.width != d.width:
		return false
	case c.kind == bitKind:
		return bit(x.values, rx) == bit(y.values, ry)
	}
	return bytes.Equal(x.values[rx*c.width:(rx+1)*c.width], y.values[ry*c.width:(ry+1)*c.width])
}

// binary says that the kind is a form of strings or binaries.
func (k kind) binary() bool { return k == offset32Kind || k == offset64Kind || k == viewKind }

// castSlice reads bytes as little-endian values of a type without pointers, as many as are whole.
func castSlice[T any](b []byte) []T {
	var value T
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/int(unsafe.Sizeof(value)))
}
