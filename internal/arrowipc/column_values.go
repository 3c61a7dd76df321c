package arrowipc

import (
	"encoding/binary"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
)

// Form says how the values of a column lie in buffers.
type Form uint8

// The forms of values.
const (
	NestedForm   Form = iota // no values of its own
	BitsForm                 // one bit a value
	FixedForm                // Width bytes a value
	Binary32Form             // int32 offsets into Data
	Binary64Form             // int64 offsets into Data
	ViewsForm                // views of 16 bytes; read with Value
)

// Field is a column of a layout, or a field inside of structs.
type Field struct{ column *column }

// FieldByPath gives the field that names lead to: a top-level column, then fields of structs. False
// where there is none.
func (l *Layout) FieldByPath(path []string) (Field, bool) {
	if len(path) == 0 {
		return Field{}, false
	}
	at := l.ColumnIndex(path[0])
	if at < 0 {
		return Field{}, false
	}
	c := l.top[at]
	for _, name := range path[1:] {
		var inner *column
		if c.kind == structKind {
			for _, child := range c.children {
				if child.name == name {
					inner = child
					break
				}
			}
		}
		if inner == nil {
			return Field{}, false
		}
		c = inner
	}
	return Field{c}, true
}

// Type is the type of the field; of an extension it is the storage type.
func (f Field) Type() arrow.DataType { return f.column.dataType }

// Values are the values of one field in a plain batch. They are slices of the batch's body.
type Values struct {
	Rows  int64
	Form  Form
	Width int64
	// AllNull says that the field's type is null.
	AllNull bool
	// Validity are bitmaps, one bit a row: a row is null where one of them has a zero. The field's own,
	// and those of the structs around it; none where there is no null.
	Validity [][]byte
	// Bytes are bits, values of fixed width, offsets (one more than rows) or views; there is no byte
	// where there is no row.
	Bytes []byte
	// Data is what offsets point into.
	Data []byte

	vector vector
}

// Values opens the field in a plain batch of the field's layout. It fails where buffers are shorter
// than the rows need; offsets are not looked at.
func (f Field) Values(b *Batch) (Values, error) {
	c := f.column
	v := Values{Rows: b.Rows, AllNull: c.kind == nullKind}
	if b.Codec != NoCodec {
		return v, fmt.Errorf("reading %s: the batch is compressed", c.path())
	}
	for around := c; around != nil; around = around.parent {
		node := b.Nodes[around.node]
		if node.Length != b.Rows {
			return v, fmt.Errorf("reading %s: it has %d values, want %d", c.path(), node.Length, b.Rows)
		}
		if around.kind == nullKind || node.Nulls == 0 {
			continue
		}
		bitmap := b.bytes(b.Buffers[around.buffer+b.shift(around.view)])
		if int64(len(bitmap)) < (b.Rows+7)/8 {
			return v, fmt.Errorf("reading %s: its validity has %d bytes for %d rows", c.path(), len(bitmap), b.Rows)
		}
		v.Validity = append(v.Validity, bitmap)
	}
	first := c.buffer + b.shift(c.view)
	switch c.kind {
	case bitKind:
		v.Form = BitsForm
	case fixedKind:
		v.Form, v.Width = FixedForm, c.width
	case offset32Kind:
		v.Form, v.Data = Binary32Form, b.bytes(b.Buffers[first+2])
	case offset64Kind:
		v.Form, v.Data = Binary64Form, b.bytes(b.Buffers[first+2])
	case viewKind:
		v.Form = ViewsForm
	default:
		return v, nil
	}
	v.Bytes = b.bytes(b.Buffers[first+1])
	if need := c.bytesNeeded(1, b.Nodes[c.node]); int64(len(v.Bytes)) < need {
		return v, fmt.Errorf("reading %s: its values have %d bytes, want %d", c.path(), len(v.Bytes), need)
	}
	if c.kind == viewKind {
		v.vector = vector{column: c, length: b.Rows, values: v.Bytes}
		for i := range b.Variadic[c.view] {
			v.vector.views = append(v.vector.views, b.bytes(b.Buffers[first+2+int(i)]))
		}
	}
	return v, nil
}

// Value gives the bytes of a value of fixed width, of a string or a binary, in any form, of a row that is
// there. False where offsets or a view lead outside. Nulls are not looked at.
func (v *Values) Value(row int64) ([]byte, bool) {
	var from, to int64
	switch v.Form {
	case FixedForm:
		from, to = row*v.Width, (row+1)*v.Width
		return v.Bytes[from:to:to], true
	case Binary32Form:
		from = int64(int32(binary.LittleEndian.Uint32(v.Bytes[4*row:])))
		to = int64(int32(binary.LittleEndian.Uint32(v.Bytes[4*row+4:])))
	case Binary64Form:
		from = int64(binary.LittleEndian.Uint64(v.Bytes[8*row:]))
		to = int64(binary.LittleEndian.Uint64(v.Bytes[8*row+8:]))
	case ViewsForm:
		return v.vector.viewed(row)
	default:
		return nil, false
	}
	if from < 0 || to < from || to > int64(len(v.Data)) {
		return nil, false
	}
	return v.Data[from:to:to], true
}

// Words reads Bytes as little-endian values of a type without pointers, as many as are whole.
func Words[T any](v *Values) []T { return castSlice[T](v.Bytes) }
