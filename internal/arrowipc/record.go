package arrowipc

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// Record gives an arrow-go batch. Of a plain batch it is a view of the same bytes, valid while Body
// is; of a compressed one it has memory of its own. The caller releases it, which does not release b.
// The columns have the types of the layout's schema.
//
// mem is not used for the bytes of a plain batch.
func (b *Batch) Record(_ memory.Allocator) (arrow.RecordBatch, error) {
	if b.Codec != NoCodec {
		plain, err := Decompress(b)
		if err != nil {
			return nil, err
		}
		plain.owned = false // its memory is the record's: the garbage collector frees it
		b = plain
	}
	vectors, err := openVectors(nil, b, nil)
	if err != nil {
		return nil, err
	}
	columns := make([]arrow.Array, len(b.Layout.top))
	defer func() {
		for _, column := range columns {
			if column != nil {
				column.Release()
			}
		}
	}()
	for i, c := range b.Layout.top {
		data := arrayData(vectors, c.node, b.Layout.schema.Field(i).Type)
		columns[i] = array.MakeFromData(data)
		data.Release()
	}
	return array.NewRecordBatch(b.Layout.schema, columns, b.Rows), nil
}

// arrayData gives the vector and what is nested in it as arrow-go has it. dataType is that of the
// schema: it may be an extension type.
func arrayData(vectors []vector, at int, dataType arrow.DataType) *array.Data {
	v := &vectors[at]
	var buffers []*memory.Buffer
	switch v.column.kind {
	case nullKind:
		buffers = []*memory.Buffer{nil}
	case structKind, fixedListKind:
		buffers = []*memory.Buffer{arrowBuffer(v.validity)}
	case offset32Kind, offset64Kind:
		buffers = []*memory.Buffer{arrowBuffer(v.validity), arrowBuffer(v.values), arrowBuffer(v.data)}
	default:
		buffers = []*memory.Buffer{arrowBuffer(v.validity), arrowBuffer(v.values)}
		for _, data := range v.views {
			buffers = append(buffers, arrowBuffer(data))
		}
	}
	var children []arrow.ArrayData
	for i, child := range v.column.children {
		children = append(children, arrayData(vectors, child.node, childType(dataType, i)))
	}
	data := array.NewData(dataType, int(v.length), buffers, children, int(v.nulls), 0)
	for _, child := range children {
		child.Release()
	}
	return data
}

func childType(t arrow.DataType, i int) arrow.DataType {
	if nested, ok := storageType(t).(arrow.NestedType); ok {
		return nested.Fields()[i].Type
	}
	return arrow.Null
}

func arrowBuffer(bytes []byte) *memory.Buffer {
	if bytes == nil {
		return nil
	}
	return memory.NewBufferBytes(bytes)
}

// FromRecord copies an arrow-go batch to a plain batch, which the caller releases. The types of the
// columns, in order, must be those of the layout; their names are not compared. Slices are fine.
func FromRecord(l *Layout, record arrow.RecordBatch) (*Batch, error) {
	if int(record.NumCols()) != len(l.top) {
		return nil, fmt.Errorf("copying a record: it has %d columns, want %d", record.NumCols(), len(l.top))
	}
	vectors := make([]vector, len(l.all))
	for i, c := range l.top {
		data := record.Column(i).Data()
		if got := storageType(data.DataType()); !sameType(got, c.dataType) {
			return nil, fmt.Errorf("copying a record: %s is of type %s, want %s", c.path(), got, c.dataType)
		}
		readArray(vectors, c, data)
	}
	builder := NewBuilder(l)
	for _, c := range l.top {
		if err := builder.appendRange(c.node, vectors, c.node, 0, record.NumRows()); err != nil {
			return nil, fmt.Errorf("copying a record: %w", err)
		}
	}
	builder.rows = record.NumRows()
	return builder.Finish(), nil
}

func readArray(vectors []vector, c *column, data arrow.ArrayData) {
	v := vector{column: c, length: int64(data.Len()), offset: int64(data.Offset())}
	bytes := func(i int) []byte {
		if buffers := data.Buffers(); i < len(buffers) && buffers[i] != nil {
			return buffers[i].Bytes()
		}
		return nil
	}
	if validity := bytes(0); validity != nil && c.kind != nullKind {
		v.nulls = v.length - countBits(validity, v.offset, v.length)
		if v.nulls > 0 {
			v.validity = validity
		}
	}
	v.values = bytes(1)
	switch c.kind {
	case offset32Kind, offset64Kind:
		v.data = bytes(2)
	case viewKind:
		for i := 2; i < len(data.Buffers()); i++ {
			v.views = append(v.views, bytes(i))
		}
	}
	vectors[c.node] = v
	for i, child := range c.children {
		readArray(vectors, child, data.Children()[i])
	}
}
