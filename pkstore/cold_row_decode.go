package pkstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/headrace/headrace/internal/arrowipc"
)

// RowDecoder makes batches of rows that a RowEncoder of the same schema wrote. Rows may come from a
// damaged disk: what is not valid is an error. A RowDecoder is owned by one goroutine; it keeps its
// memory between batches.
type RowDecoder struct {
	layout  *arrowipc.Layout
	shape   *rowShape
	columns []rowColumn // by node
	rows    int64
	err     error
}

// rowColumn is what a RowDecoder has of a node.
type rowColumn struct {
	length, nulls int64
	validity      []byte
	values        []byte
	data          []byte
}

// NewRowDecoder makes batches of a layout. Its schema is the one whose version the rows have.
func NewRowDecoder(l *arrowipc.Layout) (*RowDecoder, error) {
	shape, err := newRowShape(l.Schema())
	if err != nil {
		return nil, err
	}
	d := &RowDecoder{layout: l, shape: shape, columns: make([]rowColumn, len(shape.all))}
	d.Reset()
	return d, nil
}

// Reset forgets the rows that were appended, and an error.
func (d *RowDecoder) Reset() {
	d.rows, d.err = 0, nil
	for i, n := range d.shape.all {
		c := &d.columns[i]
		*c = rowColumn{validity: c.validity[:0], values: c.values[:0], data: c.data[:0]}
		switch n.kind {
		case rowBytes32, rowList32:
			c.values = append(c.values, 0, 0, 0, 0)
		case rowBytes64, rowList64:
			c.values = append(c.values, 0, 0, 0, 0, 0, 0, 0, 0)
		}
	}
}

// Rows is how many rows have been appended.
func (d *RowDecoder) Rows() int64 { return d.rows }

// Append takes in a row, whose bytes it copies. After an error Finish gives it too.
func (d *RowDecoder) Append(row []byte) error {
	if d.err != nil {
		return d.err
	}
	rest, err := d.append(row)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes stand behind it", len(rest))
	}
	if err != nil {
		d.err = fmt.Errorf("decoding a row of %d bytes: %w", len(row), err)
		return d.err
	}
	d.rows++
	return nil
}

func (d *RowDecoder) append(row []byte) ([]byte, error) {
	_, rest, err := readRowHead(row)
	if err != nil {
		return nil, err
	}
	columns := d.shape.top
	size := (len(columns) + 7) / 8
	if len(rest) < size {
		return nil, errRowShort
	}
	bitmap, rest := rest[:size], rest[size:]
	if used := len(columns) % 8; used > 0 && bitmap[size-1]>>used != 0 {
		return nil, errors.New("its bitmap has columns that the schema lacks")
	}
	for i, n := range columns {
		if bitmap[i/8]>>(i%8)&1 == 0 {
			d.appendNulls(n, 1)
			continue
		}
		if rest, err = d.appendValue(n, rest); err != nil {
			return nil, err
		}
	}
	return rest, nil
}

var errRowShort = errors.New("it is cut short")

// appendElement reads the byte that says whether a nested value is null, and the value.
func (d *RowDecoder) appendElement(n *rowNode, rest []byte) ([]byte, error) {
	if len(rest) == 0 {
		return nil, errRowShort
	}
	switch rest[0] {
	case 0:
		if n.required {
			return nil, fmt.Errorf("a value of %s is null", n.path())
		}
		d.appendNulls(n, 1)
		return rest[1:], nil
	case 1:
		return d.appendValue(n, rest[1:])
	}
	return nil, fmt.Errorf("a value of %s begins with %d", n.path(), rest[0])
}

func (d *RowDecoder) appendValue(n *rowNode, rest []byte) ([]byte, error) {
	c := &d.columns[n.node]
	var err error
	switch {
	case n.kind == rowBit:
		if len(rest) == 0 {
			return nil, errRowShort
		}
		if rest[0] > 1 {
			return nil, fmt.Errorf("a bool of %s is %d", n.path(), rest[0])
		}
		c.values = appendRowBit(c.values, c.length, rest[0] == 1)
		rest = rest[1:]
	case n.kind == rowFixed:
		if len(rest) < n.width {
			return nil, errRowShort
		}
		c.values = append(c.values, rest[:n.width]...)
		rest = rest[n.width:]
	case n.kind.bytes():
		rest, err = c.appendBytes(n, rest)
	case n.kind == rowStruct:
		for _, child := range n.children {
			if rest, err = d.appendElement(child, rest); err != nil {
				return nil, err
			}
		}
	case n.kind == rowNull:
		err = fmt.Errorf("%s, whose type is null, has a value", n.path())
	default:
		rest, err = d.appendList(n, rest)
	}
	if err != nil {
		return nil, err
	}
	c.appendValidity(true)
	return rest, nil
}

func (d *RowDecoder) appendList(n *rowNode, rest []byte) ([]byte, error) {
	count := uint64(n.width)
	if n.kind.list() {
		var size int
		if count, size = binary.Uvarint(rest); size <= 0 {
			return nil, errRowShort
		}
		rest = rest[size:]
	}
	if count > uint64(len(rest)) { // each element takes a byte at least
		return nil, errRowShort
	}
	var err error
	for range count {
		if rest, err = d.appendElement(n.children[0], rest); err != nil {
			return nil, err
		}
	}
	if n.kind.list() {
		err = d.columns[n.node].appendEnd(n.kind == rowList64, d.columns[n.children[0].node].length)
	}
	return rest, err
}

// appendNulls appends nulls, and to what is nested in them what stands for nothing.
func (d *RowDecoder) appendNulls(n *rowNode, count int) {
	c := &d.columns[n.node]
	for range count {
		switch n.kind {
		case rowBit:
			c.values = appendRowBit(c.values, c.length, false)
		case rowBytes32, rowList32:
			c.values = append(c.values, c.values[len(c.values)-4:]...)
		case rowBytes64, rowList64:
			c.values = append(c.values, c.values[len(c.values)-8:]...)
		}
		c.appendValidity(false)
	}
	switch n.kind {
	case rowFixed:
		c.values = appendRowZeros(c.values, count*n.width)
	case rowBytesView:
		c.values = appendRowZeros(c.values, count*rowViewBytes)
	case rowListFixed:
		d.appendNulls(n.children[0], count*n.width)
	case rowStruct:
		for _, child := range n.children {
			d.appendNulls(child, count)
		}
	}
}

func appendRowZeros(dst []byte, count int) []byte {
	have := len(dst)
	dst = slices.Grow(dst, count)[:have+count]
	clear(dst[have:])
	return dst
}

var errRowsTooLong = errors.New("the values of a column take more than 2 GiB")

// appendBytes reads a string or binary.
func (c *rowColumn) appendBytes(n *rowNode, rest []byte) ([]byte, error) {
	length, size := binary.Uvarint(rest)
	if size <= 0 || length > uint64(len(rest)-size) {
		return nil, errRowShort
	}
	value := rest[size : size+int(length)]
	rest = rest[size+int(length):]
	if n.text && !utf8.Valid(value) {
		return nil, fmt.Errorf("a string of %s is not UTF-8", n.path())
	}
	if n.kind != rowBytesView {
		c.data = append(c.data, value...)
		return rest, c.appendEnd(n.kind == rowBytes64, int64(len(c.data)))
	}
	if len(c.data)+len(value) > math.MaxInt32 {
		return nil, errRowsTooLong
	}
	var view [rowViewBytes]byte
	binary.LittleEndian.PutUint32(view[:], uint32(len(value)))
	copy(view[4:], value[:min(len(value), rowViewInline)])
	if len(value) > rowViewInline {
		binary.LittleEndian.PutUint32(view[8:], 0)
		binary.LittleEndian.PutUint32(view[12:], uint32(len(c.data)))
		c.data = append(c.data, value...)
	}
	c.values = append(c.values, view[:]...)
	return rest, nil
}

// appendEnd appends where a string or list ends.
func (c *rowColumn) appendEnd(wide bool, end int64) error {
	if wide {
		c.values = binary.LittleEndian.AppendUint64(c.values, uint64(end))
		return nil
	}
	if end > math.MaxInt32 {
		return errRowsTooLong
	}
	c.values = binary.LittleEndian.AppendUint32(c.values, uint32(end))
	return nil
}

func (c *rowColumn) appendValidity(valid bool) {
	c.validity = appendRowBit(c.validity, c.length, valid)
	c.length++
	if !valid {
		c.nulls++
	}
}

// appendRowBit appends a bit to the have bits of dst.
func appendRowBit(dst []byte, have int64, set bool) []byte {
	if have&7 == 0 {
		dst = append(dst, 0)
	}
	if set {
		dst[have>>3] |= 1 << (have & 7)
	}
	return dst
}

// rowAlignment is what buffers begin at multiples of.
const rowAlignment = 64

// Finish gives the rows that were appended, and makes the decoder empty. The batch owns its memory, which
// the garbage collector frees.
func (d *RowDecoder) Finish() (*arrowipc.Batch, error) {
	defer d.Reset()
	if d.err != nil {
		return nil, d.err
	}
	b := &arrowipc.Batch{Layout: d.layout, Rows: d.rows, Nodes: make([]arrowipc.Node, len(d.columns))}
	var parts [][]byte
	for i, n := range d.shape.all {
		c := &d.columns[i]
		b.Nodes[i] = arrowipc.Node{Length: c.length, Nulls: c.nulls}
		if n.kind == rowNull {
			continue
		}
		if c.nulls > 0 {
			parts = append(parts, c.validity)
		} else {
			parts = append(parts, nil)
		}
		if rowBuffers[n.kind] > 1 {
			parts = append(parts, c.values)
		}
		switch {
		case n.kind == rowBytesView:
			b.Variadic = append(b.Variadic, int64(min(len(c.data), 1)))
			if len(c.data) > 0 {
				parts = append(parts, c.data)
			}
		case n.kind.bytes():
			parts = append(parts, c.data)
		}
	}
	size := 0
	for _, part := range parts {
		b.Buffers = append(b.Buffers, arrowipc.Span{Offset: int64(size), Length: int64(len(part))})
		size += (len(part) + rowAlignment - 1) &^ (rowAlignment - 1)
	}
	b.Body = make([]byte, size)
	for i, part := range parts {
		copy(b.Body[b.Buffers[i].Offset:], part)
	}
	return b, nil
}
