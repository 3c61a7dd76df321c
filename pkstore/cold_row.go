package pkstore

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/headrace/headrace/internal/arrowipc"
)

// RowEncodingVersion is the version of the encoding of single rows.
const RowEncodingVersion = 1

// RowEncoder writes single rows of batches of one layout, to be read by a RowDecoder of the same schema.
//
// Version 1:
//
//	1 byte          1
//	uvarint         version of the schema, 1..2^31-1
//	(n+7)/8 bytes   bit i%8 of byte i/8: column i of n is not null; the bits behind the last are 0
//	                then the value of each column that is not null:
//	bool            one byte, 0 or 1
//	fixed width     the little-endian bytes
//	strings, binaries in all forms
//	uvarint         length, then the bytes
//	lists, maps
//	uvarint         number of elements, then the elements
//	fixed-size list the elements
//	struct          the fields
//
// An element or a field is one byte, 0 for null and else 1 and the value. Key columns are part of the
// row as all others are. A RowEncoder is owned by one goroutine.
type RowEncoder struct {
	shape  *rowShape
	head   []byte
	nested bool

	view    *arrowipc.View // that vectors were opened of
	vectors []rowVector
}

// rowVector is what nested values are read from, by node.
type rowVector struct {
	length   int64
	validity []byte // nil where there is no null
	values   []byte
	data     []byte
	views    [][]byte
}

// NewRowEncoder encodes rows under a version of the schema, from 1.
func NewRowEncoder(l *arrowipc.Layout, schemaVersion int32) (*RowEncoder, error) {
	shape, err := newRowShape(l.Schema())
	if err != nil {
		return nil, err
	}
	if schemaVersion < 1 {
		return nil, fmt.Errorf("encoding rows: the schema version is %d, want 1 or more", schemaVersion)
	}
	e := &RowEncoder{shape: shape, head: binary.AppendUvarint([]byte{RowEncodingVersion}, uint64(schemaVersion))}
	for _, n := range shape.top {
		e.nested = e.nested || n.kind.nested()
	}
	return e, nil
}

// Append appends a row of a view, which has the encoder's layout or one of the same types.
func (e *RowEncoder) Append(dst []byte, v *arrowipc.View, row int32) ([]byte, error) {
	if e.nested && e.view != v {
		e.open(v.Batch())
		e.view = v
	}
	dst = append(dst, e.head...)
	bitmap := len(dst)
	for range (len(e.shape.top) + 7) / 8 {
		dst = append(dst, 0)
	}
	for i, n := range e.shape.top {
		if v.IsNull(i, row) {
			continue
		}
		dst[bitmap+i/8] |= 1 << (i % 8)
		if n.kind.nested() {
			var err error
			if dst, err = e.appendNested(dst, n, int64(row)); err != nil {
				return nil, err
			}
			continue
		}
		value := v.Value(i, row)
		if n.kind.bytes() {
			dst = binary.AppendUvarint(dst, uint64(len(value)))
		}
		dst = append(dst, value...)
	}
	return dst, nil
}

// open finds the buffers of the nodes, which the view has checked to be long enough.
func (e *RowEncoder) open(b *arrowipc.Batch) {
	e.vectors = e.vectors[:0]
	shift := 0
	buffer := func(i int) []byte {
		return b.Buffer(i + shift)
	}
	for i, n := range e.shape.all {
		v := rowVector{length: b.Nodes[i].Length}
		if n.kind != rowNull && b.Nodes[i].Nulls > 0 {
			v.validity = buffer(n.buffer)
		}
		if rowBuffers[n.kind] > 1 {
			v.values = buffer(n.buffer + 1)
		}
		switch n.kind {
		case rowBytes32, rowBytes64:
			v.data = buffer(n.buffer + 2)
		case rowBytesView:
			for j := range int(b.Variadic[n.view]) {
				v.views = append(v.views, buffer(n.buffer+2+j))
			}
			shift += len(v.views)
		}
		e.vectors = append(e.vectors, v)
	}
}

// appendElement appends a nested value with the byte that says whether it is null.
func (e *RowEncoder) appendElement(dst []byte, n *rowNode, row int64) ([]byte, error) {
	v := &e.vectors[n.node]
	if row >= v.length {
		return nil, fmt.Errorf("encoding a row: %s has no value %d", n.path(), row)
	}
	if n.kind == rowNull || v.validity != nil && v.validity[row>>3]>>(row&7)&1 == 0 {
		return append(dst, 0), nil
	}
	return e.appendNested(append(dst, 1), n, row)
}

// appendNested appends a value that is not null.
func (e *RowEncoder) appendNested(dst []byte, n *rowNode, row int64) ([]byte, error) {
	v := &e.vectors[n.node]
	switch {
	case n.kind == rowBit:
		return append(dst, v.values[row>>3]>>(row&7)&1), nil
	case n.kind == rowFixed:
		width := int64(n.width)
		return append(dst, v.values[row*width:(row+1)*width]...), nil
	case n.kind.bytes():
		value, ok := v.bytes(n.kind, row)
		if !ok {
			return nil, fmt.Errorf("encoding a row: %s has an invalid value in row %d", n.path(), row)
		}
		return append(binary.AppendUvarint(dst, uint64(len(value))), value...), nil
	case n.kind == rowStruct:
		var err error
		for _, child := range n.children {
			if dst, err = e.appendElement(dst, child, row); err != nil {
				return nil, err
			}
		}
		return dst, nil
	}
	from, to := row*int64(n.width), (row+1)*int64(n.width)
	if n.kind.list() {
		from, to = v.offsets(n.kind == rowList64, row)
		if from < 0 || to < from || to > e.vectors[n.children[0].node].length {
			return nil, fmt.Errorf("encoding a row: %s has an invalid list in row %d", n.path(), row)
		}
		dst = binary.AppendUvarint(dst, uint64(to-from))
	}
	for at := from; at < to; at++ {
		var err error
		if dst, err = e.appendElement(dst, n.children[0], at); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

func (v *rowVector) offsets(wide bool, row int64) (from, to int64) {
	if wide {
		pair := v.values[8*row : 8*row+16]
		return int64(binary.LittleEndian.Uint64(pair)), int64(binary.LittleEndian.Uint64(pair[8:]))
	}
	pair := v.values[4*row : 4*row+8]
	return int64(int32(binary.LittleEndian.Uint32(pair))), int64(int32(binary.LittleEndian.Uint32(pair[4:])))
}

// Arrow's views have 16 bytes: the length; then the value, or 4 bytes of it, the number of a buffer and
// the position in it.
const (
	rowViewBytes  = 16
	rowViewInline = 12
)

// bytes gives a string or binary; false where the offsets or the view lead outside.
func (v *rowVector) bytes(kind rowKind, row int64) ([]byte, bool) {
	if kind != rowBytesView {
		from, to := v.offsets(kind == rowBytes64, row)
		if from < 0 || to < from || to > int64(len(v.data)) {
			return nil, false
		}
		return v.data[from:to], true
	}
	view := v.values[row*rowViewBytes : (row+1)*rowViewBytes]
	word := func(at int) int64 { return int64(int32(binary.LittleEndian.Uint32(view[at:]))) }
	length, index, from := word(0), word(8), word(12)
	switch {
	case length < 0:
		return nil, false
	case length <= rowViewInline:
		return view[4 : 4+length], true
	case index < 0 || index >= int64(len(v.views)) || from < 0 || from+length > int64(len(v.views[index])):
		return nil, false
	}
	return v.views[index][from : from+length], true
}

// RowSchemaVersion is the version of the schema that a row was encoded under.
func RowSchemaVersion(row []byte) (int32, error) {
	version, _, err := readRowHead(row)
	return version, err
}

// readRowHead gives what is behind the version of the schema too.
func readRowHead(row []byte) (version int32, rest []byte, err error) {
	if len(row) == 0 || row[0] != RowEncodingVersion {
		return 0, nil, fmt.Errorf("decoding a row of %d bytes: it does not begin with version %d",
			len(row), RowEncodingVersion)
	}
	number, n := binary.Uvarint(row[1:])
	if n <= 0 || number < 1 || number > math.MaxInt32 {
		return 0, nil, fmt.Errorf("decoding a row of %d bytes: it has no valid schema version", len(row))
	}
	return int32(number), row[1+n:], nil
}
