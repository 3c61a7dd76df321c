package arrowipc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	arrowhalf "github.com/apache/arrow-go/v18/arrow/float16"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/x448/float16"

	"github.com/headrace/headrace/internal/model"
)

// fill stands for a column that is not sent.
type fill struct {
	builder  *Builder // of the column alone
	value    *Batch   // one row; nil: null
	rowBytes int64    // what a row takes
	repeat   []int32  // row 0 of value, again and again
}

// repeatRows is how many rows are appended at a time.
const repeatRows = 1024

// newFill takes a default in JSON form; nil: null.
func newFill(field arrow.Field, value any) (*fill, error) {
	layout, err := NewLayout(arrow.NewSchema([]arrow.Field{field}, nil))
	if err != nil {
		return nil, err
	}
	f := &fill{builder: NewBuilder(layout), rowBytes: layout.top[0].emptyRowBytes()}
	if value == nil {
		return f, nil
	}
	if f.value, err = defaultRow(layout, field, value); err != nil {
		return nil, fmt.Errorf("reading the default of column %q: %w", field.Name, err)
	}
	f.rowBytes += int64(len(f.value.Body))
	f.repeat = make([]int32, repeatRows)
	return f, nil
}

func defaultRow(layout *Layout, field arrow.Field, value any) (row *Batch, err error) {
	value, err = model.CheckDefault(field, value)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal([]any{jsonForArrow(field.Type, value)})
	if err != nil {
		return nil, err
	}
	defer func() {
		if r := recover(); r != nil { // arrow-go's builders panic on what they do not know
			row, err = nil, fmt.Errorf("%v", r)
		}
	}()
	values, err := arrayOfJSON(storageType(field.Type), text)
	if err != nil {
		return nil, err
	}
	defer values.Release()
	schema := arrow.NewSchema([]arrow.Field{{Name: field.Name, Type: values.DataType(), Nullable: true}}, nil)
	record := array.NewRecordBatch(schema, []arrow.Array{values}, 1)
	defer record.Release()
	return FromRecord(layout, record)
}

// arrayOfJSON reads a JSON array; the caller releases what it gives. arrow-go cuts float16 off instead of
// rounding, and loses the smallest ones.
func arrayOfJSON(t arrow.DataType, text []byte) (arrow.Array, error) {
	read := t
	if t.ID() == arrow.FLOAT16 {
		read = arrow.PrimitiveTypes.Float32
	}
	values, _, err := array.FromJSON(memory.NewGoAllocator(), read, bytes.NewReader(text))
	floats, ok := values.(*array.Float32)
	if err != nil || !ok || t.ID() != arrow.FLOAT16 {
		return values, err
	}
	defer floats.Release()
	halves := array.NewFloat16Builder(memory.NewGoAllocator())
	defer halves.Release()
	for row := range floats.Len() {
		halves.Append(arrowhalf.FromBits(float16.Fromfloat32(floats.Value(row)).Bits()))
	}
	return halves.NewArray(), nil
}

// jsonForArrow changes what arrow-go reads in another form than model.CheckDefault gives: timestamps
// without a time zone have no Z, and durations are never strings.
func jsonForArrow(t arrow.DataType, value any) any {
	t = storageType(t)
	switch v := value.(type) {
	case string:
		if stamp, ok := t.(*arrow.TimestampType); ok && stamp.TimeZone == "" {
			return strings.TrimSuffix(v, "Z")
		}
		if t.ID() == arrow.DURATION {
			return json.Number(v)
		}
	case []any:
		list, ok := t.(arrow.ListLikeType)
		for i := range v {
			if ok {
				v[i] = jsonForArrow(list.Elem(), v[i])
			}
		}
	case map[string]any:
		fields, ok := t.(*arrow.StructType)
		for name := range v {
			if !ok {
				break
			}
			if field, found := fields.FieldByName(name); found {
				v[name] = jsonForArrow(field.Type, v[name])
			}
		}
	}
	return value
}

// append appends rows to the column target of b, which has the fill's type.
func (f *fill) append(b *Builder, target int, rows int64) error {
	if err := b.charge(f.rowBytes * rows); err != nil {
		return err
	}
	if f.value == nil {
		b.appendEmpty(target, rows, false)
		return nil
	}
	vectors, err := openVectors(nil, f.value, nil)
	if err != nil {
		return err
	}
	for rows > 0 {
		n := min(rows, repeatRows)
		if err := b.appendRows(target, vectors, 0, f.repeat[:n]); err != nil {
			return err
		}
		rows -= n
	}
	return nil
}

// batch gives a batch of the column alone, which takes at most limit bytes and is released by the
// caller.
func (f *fill) batch(rows, limit int64) (*Batch, error) {
	f.builder.reset()
	f.builder.limit = limit
	if err := f.append(f.builder, 0, rows); err != nil {
		return nil, err
	}
	f.builder.rows = rows
	return f.builder.Finish(), nil
}
