package arrowipc

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/decimal256"
	"github.com/apache/arrow-go/v18/arrow/float16"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// wireMessage is one message as a client sends it.
type wireMessage struct{ header, body []byte }

// encodeRecords gives the messages of a stream: the schema first.
func encodeRecords(t testing.TB, schema *arrow.Schema, records []arrow.RecordBatch, options ...ipc.Option) []wireMessage {
	t.Helper()
	var out bytes.Buffer
	w := ipc.NewWriter(&out, append(options, ipc.WithSchema(schema))...)
	for _, r := range records {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return cutStream(out.Bytes())
}

func cutStream(stream []byte) []wireMessage {
	var messages []wireMessage
	for len(stream) >= 8 {
		n := int(binary.LittleEndian.Uint32(stream[4:]))
		if n == 0 {
			break
		}
		header := stream[8 : 8+n]
		f := &flat{data: header, tables: 8}
		length := int(f.int64Field(f.root(), 3))
		messages = append(messages, wireMessage{header, stream[8+n : 8+n+length]})
		stream = stream[8+n+length:]
	}
	return messages
}

// scatter cuts a body into parts at odd places.
func scatter(body []byte, rnd *rand.Rand) [][]byte {
	parts := [][]byte{{}}
	for len(body) > 0 {
		n := min(len(body), 1+rnd.IntN(1+min(len(body), 20000)))
		part := make([]byte, n+1)
		copy(part[1:], body[:n])
		parts = append(parts, part[1:])
		body = body[n:]
	}
	return append(parts, nil)
}

func appendMessage(stream, header []byte, body ...[]byte) []byte {
	padded := (len(header) + 7) / 8 * 8
	stream = binary.LittleEndian.AppendUint32(stream, 0xffffffff)
	stream = binary.LittleEndian.AppendUint32(stream, uint32(padded))
	stream = append(stream, header...)
	stream = append(stream, make([]byte, padded-len(header))...)
	for _, part := range body {
		stream = append(stream, part...)
	}
	return stream
}

// readStream reads a stream with arrow-go, and validates all of it.
func readStream(t testing.TB, stream []byte) []arrow.RecordBatch {
	t.Helper()
	reader, err := ipc.NewReader(bytes.NewReader(stream))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Release()
	var records []arrow.RecordBatch
	for reader.Next() {
		record := reader.RecordBatch()
		record.Retain()
		validate(t, record)
		records = append(records, record)
	}
	if err := reader.Err(); err != nil {
		t.Fatal(err)
	}
	return records
}

func validate(t testing.TB, record arrow.RecordBatch) {
	t.Helper()
	for i, column := range record.Columns() {
		if hasNullType(column.DataType()) {
			continue // arrow-go refuses every column of nulls
		}
		if err := array.ValidateFull(column); err != nil {
			t.Fatalf("column %q of type %s: %v", record.ColumnName(i), column.DataType(), err)
		}
	}
}

func hasNullType(dt arrow.DataType) bool {
	dt = storageType(dt)
	if dt.ID() == arrow.NULL {
		return true
	}
	if nested, ok := dt.(arrow.NestedType); ok {
		for _, f := range nested.Fields() {
			if hasNullType(f.Type) {
				return true
			}
		}
	}
	return false
}

// checkBatch checks what every batch promises of its buffers.
func checkBatch(t testing.TB, b *Batch) {
	t.Helper()
	if len(b.Sums) != len(b.Buffers) {
		t.Fatalf("%d sums of %d buffers", len(b.Sums), len(b.Buffers))
	}
	end := int64(0)
	for i, s := range b.Buffers {
		if checksum(b.bytes(s)) != b.Sums[i] {
			t.Fatalf("the sum of buffer %d is wrong", i)
		}
		if s.Length == 0 {
			continue
		}
		if s.Offset%alignment != 0 || s.Offset < end {
			t.Fatalf("buffer %d begins at %d, the one before ends at %d", i, s.Offset, end)
		}
		for _, gap := range b.Body[end:s.Offset] {
			if gap != 0 {
				t.Fatalf("the gap before buffer %d is not zero", i)
			}
		}
		end = s.Offset + s.Length
	}
	if len(b.Body)%alignment != 0 {
		t.Fatalf("a body of %d bytes", len(b.Body))
	}
	for _, gap := range b.Body[end:] {
		if gap != 0 {
			t.Fatal("the end of the body is not zero")
		}
	}
}

// batchRecords reads batches back through their messages, with arrow-go.
func batchRecords(t testing.TB, batches []*Batch) []arrow.RecordBatch {
	t.Helper()
	if len(batches) == 0 {
		return nil
	}
	stream := appendMessage(nil, EncodeSchema(batches[0].Layout.Schema()))
	for _, b := range batches {
		checkBatch(t, b)
		stream = appendMessage(stream, b.Message(0), b.Body)
	}
	return readStream(t, stream)
}

func requireEqualRecords(t testing.TB, want, got arrow.RecordBatch) {
	t.Helper()
	if want.NumRows() != got.NumRows() || want.NumCols() != got.NumCols() {
		t.Fatalf("got %d rows of %d columns, want %d of %d", got.NumRows(), got.NumCols(), want.NumRows(), want.NumCols())
	}
	for i := range want.Columns() {
		if !equalArrays(want.Column(i), got.Column(i)) {
			t.Fatalf("column %d of type %s: got\n%v\nwant\n%v", i, want.Column(i).DataType(), got.Column(i), want.Column(i))
		}
	}
}

// equalArrays compares values, where arrow-go's Equal would compare names of list elements too.
func equalArrays(a, b arrow.Array) bool {
	if array.Equal(a, b) {
		return true
	}
	if a.Len() != b.Len() || !sameType(a.DataType(), b.DataType()) {
		return false
	}
	for i := range a.Len() {
		if a.IsNull(i) != b.IsNull(i) || !a.IsNull(i) && a.ValueStr(i) != b.ValueStr(i) {
			return false
		}
	}
	return true
}

// concatenate joins records of one schema with arrow-go.
func concatenate(t testing.TB, schema *arrow.Schema, records []arrow.RecordBatch) arrow.RecordBatch {
	t.Helper()
	columns := make([]arrow.Array, schema.NumFields())
	rows := int64(0)
	for _, r := range records {
		rows += r.NumRows()
	}
	for i := range columns {
		var parts []arrow.Array
		for _, r := range records {
			parts = append(parts, r.Column(i))
		}
		var err error
		if columns[i], err = array.Concatenate(parts, memory.DefaultAllocator); err != nil {
			t.Fatal(err)
		}
	}
	return array.NewRecordBatch(schema, columns, rows)
}

func nullable(name string, t arrow.DataType) arrow.Field {
	return arrow.Field{Name: name, Type: t, Nullable: true}
}

// leafTypes are all plain types that are stored.
func leafTypes() []arrow.DataType {
	p, f := arrow.PrimitiveTypes, arrow.FixedWidthTypes
	return []arrow.DataType{
		arrow.Null, f.Boolean, p.Int8, p.Int16, p.Int32, p.Int64, p.Uint8, p.Uint16, p.Uint32, p.Uint64,
		f.Float16, p.Float32, p.Float64, f.Date32, f.Date64, f.Time32s, f.Time32ms, f.Time64us, f.Time64ns,
		f.Timestamp_s, &arrow.TimestampType{Unit: arrow.Microsecond}, &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "Europe/Paris"},
		f.Duration_s, f.Duration_ns, f.MonthInterval, f.DayTimeInterval, f.MonthDayNanoInterval,
		&arrow.Decimal32Type{Precision: 7, Scale: 2}, &arrow.Decimal64Type{Precision: 15, Scale: 3},
		&arrow.Decimal128Type{Precision: 30, Scale: 10}, &arrow.Decimal256Type{Precision: 60, Scale: -2},
		&arrow.FixedSizeBinaryType{ByteWidth: 1}, &arrow.FixedSizeBinaryType{ByteWidth: 13},
		arrow.BinaryTypes.String, arrow.BinaryTypes.LargeString, arrow.BinaryTypes.StringView,
		arrow.BinaryTypes.Binary, arrow.BinaryTypes.LargeBinary, arrow.BinaryTypes.BinaryView,
	}
}

// nestedTypes nest to a depth of 4.
func nestedTypes() []arrow.DataType {
	b := arrow.BinaryTypes
	pair := arrow.StructOf(nullable("x", arrow.PrimitiveTypes.Float64), nullable("s", b.String), nullable("v", b.StringView))
	return []arrow.DataType{
		pair, arrow.StructOf(), arrow.ListOf(arrow.PrimitiveTypes.Int16), arrow.LargeListOf(b.String),
		arrow.FixedSizeListOf(3, arrow.PrimitiveTypes.Float32), arrow.FixedSizeListOf(2, arrow.FixedWidthTypes.Boolean),
		arrow.FixedSizeListOf(2, b.StringView),
		arrow.MapOf(b.String, arrow.PrimitiveTypes.Int64),
		arrow.ListOf(arrow.ListOf(b.StringView)), arrow.ListOf(pair), arrow.ListOf(arrow.Null),
		arrow.StructOf(nullable("l", arrow.LargeListOf(arrow.FixedSizeListOf(2, pair))), nullable("n", arrow.Null)),
		arrow.MapOf(arrow.PrimitiveTypes.Int32, arrow.ListOf(arrow.StructOf(nullable("b", arrow.FixedWidthTypes.Boolean)))),
		arrow.FixedSizeListOf(2, arrow.ListOf(arrow.FixedSizeListOf(2, b.LargeString))),
	}
}

func schemaOf(types []arrow.DataType) *arrow.Schema {
	var fields []arrow.Field
	for i, t := range types {
		fields = append(fields, nullable(fmt.Sprintf("c%d", i), t))
	}
	return arrow.NewSchema(fields, nil)
}

// randomRecord fills a record; about one value in nullEvery is null, none where it is 0.
func randomRecord(rnd *rand.Rand, schema *arrow.Schema, rows, nullEvery int) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for i := range schema.NumFields() {
		for range rows {
			appendRandom(b.Field(i), rnd, nullEvery)
		}
	}
	return b.NewRecordBatch()
}

func randomText(rnd *rand.Rand) string {
	letters := []rune("abcdefghij äöü€😀")
	text := make([]rune, rnd.IntN(20))
	for i := range text {
		text[i] = letters[rnd.IntN(1+rnd.IntN(len(letters)))]
	}
	return string(text)
}

func appendRandom(b array.Builder, rnd *rand.Rand, nullEvery int) {
	if nullEvery > 0 && rnd.IntN(nullEvery) == 0 {
		b.AppendNull()
		return
	}
	list := func(begin func(bool), values array.Builder, n int) {
		begin(true)
		for range n {
			appendRandom(values, rnd, nullEvery)
		}
	}
	switch b := b.(type) {
	case *array.NullBuilder:
		b.AppendNull()
	case *array.ListBuilder:
		list(b.Append, b.ValueBuilder(), rnd.IntN(4))
	case *array.LargeListBuilder:
		list(b.Append, b.ValueBuilder(), rnd.IntN(4))
	case *array.FixedSizeListBuilder:
		list(b.Append, b.ValueBuilder(), int(b.Type().(*arrow.FixedSizeListType).Len()))
	case *array.MapBuilder:
		b.Append(true)
		for range rnd.IntN(3) {
			appendRandom(b.KeyBuilder(), rnd, 0)
			appendRandom(b.ItemBuilder(), rnd, nullEvery)
		}
	case *array.StructBuilder:
		b.Append(true)
		for i := range b.NumField() {
			appendRandom(b.FieldBuilder(i), rnd, nullEvery)
		}
	default:
		appendRandomLeaf(b, rnd)
	}
}

func appendRandomLeaf(b array.Builder, rnd *rand.Rand) {
	switch b := b.(type) {
	case *array.BooleanBuilder:
		b.Append(rnd.IntN(2) == 0)
	case *array.StringBuilder:
		b.Append(randomText(rnd))
	case *array.LargeStringBuilder:
		b.Append(randomText(rnd))
	case *array.StringViewBuilder:
		b.Append(randomText(rnd))
	case *array.BinaryBuilder:
		b.Append([]byte(randomText(rnd)))
	case *array.BinaryViewBuilder:
		b.Append([]byte(randomText(rnd)))
	case *array.FixedSizeBinaryBuilder:
		value := make([]byte, b.Type().(*arrow.FixedSizeBinaryType).ByteWidth)
		for i := range value {
			value[i] = byte(rnd.Uint32())
		}
		b.Append(value)
	case *array.Float16Builder:
		b.Append(float16.New(rnd.Float32()))
	case *array.MonthIntervalBuilder:
		b.Append(arrow.MonthInterval(rnd.Int32()))
	case *array.DayTimeIntervalBuilder:
		b.Append(arrow.DayTimeInterval{Days: rnd.Int32(), Milliseconds: rnd.Int32()})
	case *array.MonthDayNanoIntervalBuilder:
		b.Append(arrow.MonthDayNanoInterval{Months: rnd.Int32(), Days: rnd.Int32(), Nanoseconds: rnd.Int64()})
	case *array.Decimal32Builder:
		b.Append(decimal.Decimal32(rnd.Int32N(1e6)))
	case *array.Decimal64Builder:
		b.Append(decimal.Decimal64(rnd.Int64N(1e12)))
	case *array.Decimal128Builder:
		b.Append(decimal128.FromI64(rnd.Int64()))
	case *array.Decimal256Builder:
		b.Append(decimal256.FromI64(-rnd.Int64()))
	default:
		appendRandomNumber(b, rnd)
	}
}

func appendRandomNumber(b array.Builder, rnd *rand.Rand) {
	switch b := b.(type) {
	case *array.Int8Builder:
		b.Append(int8(rnd.Uint32()))
	case *array.Int16Builder:
		b.Append(int16(rnd.Uint32()))
	case *array.Int32Builder:
		b.Append(rnd.Int32())
	case *array.Int64Builder:
		b.Append(rnd.Int64())
	case *array.Uint8Builder:
		b.Append(uint8(rnd.Uint32()))
	case *array.Uint16Builder:
		b.Append(uint16(rnd.Uint32()))
	case *array.Uint32Builder:
		b.Append(rnd.Uint32())
	case *array.Uint64Builder:
		b.Append(rnd.Uint64())
	case *array.Float32Builder:
		b.Append(rnd.Float32())
	case *array.Float64Builder:
		b.Append(rnd.Float64())
	case *array.Date32Builder:
		b.Append(arrow.Date32(rnd.Int32N(30000)))
	case *array.Date64Builder:
		b.Append(arrow.Date64(rnd.Int64N(30000) * 86400000))
	case *array.Time32Builder:
		b.Append(arrow.Time32(rnd.Int32N(86400)))
	case *array.Time64Builder:
		b.Append(arrow.Time64(rnd.Int64N(86400_000_000)))
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(rnd.Int64N(1 << 40)))
	case *array.DurationBuilder:
		b.Append(arrow.Duration(rnd.Int64N(1 << 40)))
	default:
		panic(fmt.Sprintf("no random value for %s", b.Type()))
	}
}
