package arrowipc

import (
	"encoding/binary"

	"github.com/zeebo/xxh3"

	"github.com/headrace/headrace/internal/model"
)

// RowHasher hashes the key columns of rows, for routing. Key encoding 1 is, for each key column, one
// byte that is 0 for a null and 1 otherwise, then the value: fixed-width values as their
// little-endian bytes, a bool as one byte, strings and binaries as an unsigned varint of their
// length and their bytes. The hash is xxh3-64 of all columns' encodings in order.
//
// The encoding is stored knowledge: rows must find their bucket again. It never changes; a better
// one gets another number (model.RoutingVersion). A RowHasher is owned by one goroutine.
type RowHasher struct {
	layout  *Layout
	columns []*column
	scratch []vector
	key     []byte
}

// NewRowHasher chooses the key columns by index, in order. Columns of fixed width, bool, string and
// binary (in any form) may be keys; others are model.UnsupportedType.
func NewRowHasher(l *Layout, columns []int) (*RowHasher, error) {
	h := &RowHasher{layout: l}
	for _, i := range columns {
		if i < 0 || i >= len(l.top) {
			return nil, model.Errorf(model.ColumnNotFound, "there is no column %d, the table has %d", i, len(l.top))
		}
		c := l.top[i]
		switch c.kind {
		case bitKind, fixedKind, offset32Kind, offset64Kind, viewKind:
			h.columns = append(h.columns, c)
		default:
			return nil, noKey(c)
		}
	}
	return h, nil
}

// noKey refuses a column as part of a key.
func noKey(c *column) error {
	return model.Errorf(model.UnsupportedType, "column %q is of type %s, which cannot be a key", c.name, model.FormatType(c.dataType)).
		With("column", c.name).WithRemedy("Keys are numbers, times, booleans, strings and binaries; nested and null columns are not")
}

// Hash appends the hash of each row of b, a plain batch of the hasher's layout, to dst.
func (h *RowHasher) Hash(b *Batch, dst []uint64) ([]uint64, error) {
	vectors, err := openVectors(h.scratch, b, nil)
	if err != nil {
		return dst, err
	}
	h.scratch = vectors
	key := h.key
	for row := range b.Rows {
		key = key[:0]
		for _, c := range h.columns {
			key = vectors[c.node].appendKey(key, row)
		}
		dst = append(dst, xxh3.Hash(key))
	}
	h.key = key
	return dst, nil
}

// HashRow gives the hash of one row of a view of the hasher's layout, or of one of the same shape, and
// whether one of its key columns is null. It panics on a row that is not there.
func (h *RowHasher) HashRow(v *View, row int32) (hash uint64, null bool) {
	key := h.key[:0]
	for _, c := range h.columns {
		value := &v.vectors[c.node]
		null = null || value.isNull(int64(row))
		key = value.appendKey(key, int64(row))
	}
	h.key = key
	return xxh3.Hash(key), null
}

// appendKey appends the key encoding of one value.
func (v *vector) appendKey(key []byte, row int64) []byte {
	if v.isNull(row) {
		return append(key, 0)
	}
	key = append(key, 1)
	switch v.column.kind {
	case bitKind:
		return append(key, v.values[row>>3]>>(row&7)&1)
	case fixedKind:
		width := v.column.width
		return append(key, v.values[row*width:(row+1)*width]...)
	}
	value, _ := v.slot(row)
	key = binary.AppendUvarint(key, uint64(len(value)))
	return append(key, value...)
}

// AppendValue appends key encoding 1 of a value of a key column, counted in the order of the key, as View.Value
// gives it; nil is null. HashKey of the encodings of all columns is the hash of the row that has them.
func (h *RowHasher) AppendValue(key []byte, column int, value []byte) []byte {
	if value == nil {
		return append(key, 0)
	}
	key = append(key, 1)
	if kind := h.columns[column].kind; kind != bitKind && kind != fixedKind {
		key = binary.AppendUvarint(key, uint64(len(value)))
	}
	return append(key, value...)
}

// HashKey gives the hash of a key in encoding 1.
func HashKey(key []byte) uint64 { return xxh3.Hash(key) }
