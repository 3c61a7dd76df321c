package engine

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// nestedSchema has a field two structs deep.
var nestedSchema = func() *arrow.Schema {
	inner := arrow.StructOf(
		arrow.Field{Name: "n", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		arrow.Field{Name: "s", Type: arrow.BinaryTypes.String},
	)
	return arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "a", Type: arrow.StructOf(arrow.Field{Name: "b", Type: inner, Nullable: true}), Nullable: true},
	}, nil)
}()

// nestedRecord makes rows of nestedSchema: a is null in every fifth, a.b in every third, a.b.n in every second.
func nestedRecord(from, n int64) arrow.RecordBatch {
	build := array.NewRecordBuilder(memory.DefaultAllocator, nestedSchema)
	defer build.Release()
	outer := build.Field(1).(*array.StructBuilder)
	inner := outer.FieldBuilder(0).(*array.StructBuilder)
	for id := from; id < from+n; id++ {
		build.Field(0).(*array.Int64Builder).Append(id)
		outer.AppendValues([]bool{id%5 != 0}) // leaves the fields as they are
		inner.AppendValues([]bool{id%3 != 0})
		if id%2 == 0 {
			inner.FieldBuilder(0).AppendNull()
		} else {
			inner.FieldBuilder(0).(*array.Int64Builder).Append(10 * id)
		}
		inner.FieldBuilder(1).(*array.StringBuilder).Append(fmt.Sprintf("a rather long text %d", id))
	}
	return build.NewRecordBatch()
}

// nestedCell is what a.b.n of a row is, from outside.
func nestedCell(id int64) string {
	if id%5 == 0 || id%3 == 0 || id%2 == 0 {
		return array.NullValueStr
	}
	return fmt.Sprint(10 * id)
}

// putNested writes rows of nestedSchema in messages compressed by codec.
func putNested(t *testing.T, e *Engine, table string, codec arrowipc.Codec, records ...arrow.RecordBatch) {
	t.Helper()
	layout, err := arrowipc.NewLayout(nestedSchema)
	if err != nil {
		t.Fatal(err)
	}
	p, err := e.OpenPut(t.Context(), PutRequest{Table: name(t, table), Schema: arrowipc.EncodeSchema(nestedSchema)})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, record := range records {
		plain, err := arrowipc.FromRecord(layout, record)
		if err != nil {
			t.Fatal(err)
		}
		batch, err := arrowipc.Compress(plain, codec, 0)
		if err != nil {
			t.Fatal(err)
		}
		pending, err := p.Send(t.Context(), batch.Message(0), [][]byte{batch.Body}, nil)
		if err != nil {
			t.Fatal(err)
		}
		<-pending.Done()
		if _, err := pending.Ack(); err != nil {
			t.Fatal(err)
		}
	}
}

// readFields gives the rows of a scan as text, and the codecs of its messages.
func readFields(t *testing.T, e *Engine, scan Scan) (rows []string, codecs []arrowipc.Codec) {
	t.Helper()
	r, err := e.Scan(t.Context(), scan)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	schema, err := arrowipc.DecodeSchema(r.SchemaMessage(), arrowipc.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	layout, err := arrowipc.NewLayout(schema)
	if err != nil {
		t.Fatal(err)
	}
	for {
		chunk, err := r.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return rows, codecs
		}
		if err != nil {
			t.Fatal(err)
		}
		var batch arrowipc.Batch
		if err := arrowipc.ParseMessage(layout, chunk.Message.Header, slices.Concat(chunk.Message.Body...), 0, &batch); err != nil {
			t.Fatal(err)
		}
		if chunk.Rows == 0 {
			continue
		}
		codecs = append(codecs, batch.Codec)
		record, err := batch.Record(memory.DefaultAllocator)
		if err != nil {
			t.Fatal(err)
		}
		for row := range int(record.NumRows()) {
			var cells []string
			for i := range int(record.NumCols()) {
				cells = append(cells, record.ColumnName(i)+"="+record.Column(i).ValueStr(row))
			}
			rows = append(rows, strings.Join(cells, " "))
		}
	}
}

// TestFieldsAndCompression reads fields of structs in every compression, of rows stored in every codec,
// whole batches and parts of them, of a log, a state and its changes.
func TestFieldsAndCompression(t *testing.T) {
	const batches, size = 3, 500
	compressions := map[Compression]arrowipc.Codec{
		CompressionNone: arrowipc.NoCodec, CompressionLZ4: arrowipc.LZ4, CompressionZSTD: arrowipc.ZSTD,
	}
	for _, stored := range []arrowipc.Codec{arrowipc.NoCodec, arrowipc.LZ4, arrowipc.ZSTD} {
		e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
		createTable(t, e, CreateTable{Name: name(t, "log"), Schema: nestedSchema})
		createTable(t, e, CreateTable{Name: name(t, "keyed"), Schema: nestedSchema, PrimaryKey: []string{"id"}})
		for i := range int64(batches) {
			putNested(t, e, "log", stored, nestedRecord(i*size, size))
			putNested(t, e, "keyed", stored, nestedRecord(i*size, size))
		}
		for compression := range CompressionZSTD + 1 {
			for what, scan := range map[string]Scan{
				"log": {Table: name(t, "log")}, "state": {Table: name(t, "keyed")},
				"changelog": {Table: name(t, "keyed"), View: ViewChangelog},
				"range": {
					Table: name(t, "log"), From: offsets(model.Offsets{0: 7}),
					To: Bound{Kind: BoundOffsets, Position: model.Position{Offsets: model.Offsets{0: batches*size - 13}}},
				},
				"small messages": {Table: name(t, "log"), MessageBytes: 4 << 10},
			} {
				scan.Compression = compression
				scan.Columns, scan.Paths = []string{"a", "id", "a"}, [][]string{{"b", "n"}, nil, {"b", "n"}}
				rows, codecs := readFields(t, e, scan)
				from, to := int64(0), int64(batches*size)
				if what == "range" {
					from, to = 7, to-13
				}
				var want []string
				for id := from; id < to; id++ {
					want = append(want, fmt.Sprintf("a.b.n=%s id=%d a.b.n=%[1]s", nestedCell(id), id))
				}
				if !slices.Equal(rows, want) {
					t.Fatalf("stored %d, compression %d, %s: got %d rows, want %d", stored, compression, what, len(rows), len(want))
				}
				if codec, ok := compressions[compression]; ok && slices.ContainsFunc(codecs, func(got arrowipc.Codec) bool { return got != codec }) {
					t.Errorf("stored %d, compression %d, %s: got codecs %d", stored, compression, what, codecs)
				}
			}
		}
		closeEngine(t, e)
	}
}

// TestFieldsOfLookups looks up fields of structs, of keys that are there and of one that is not.
func TestFieldsOfLookups(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	createTable(t, e, CreateTable{Name: name(t, "t"), Schema: nestedSchema, PrimaryKey: []string{"id"}})
	putNested(t, e, "t", arrowipc.NoCodec, nestedRecord(0, 20))
	request := LookupRequest{
		Columns: []string{"a", "a", "id"}, Paths: [][]string{{"b", "n"}, {"b"}, nil}, Prefix: "x_", Carry: true, Found: "found",
	}
	header, body := keyMessage(t, 7, 9, 40, 1)
	records, _, err := openLookup(t, e, "t", request).ask(t.Context(), header, body)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i, field := range records[0].Schema().Fields() {
		if field.Name != "x_a.b" {
			got = append(got, fmt.Sprint(field.Name, records[0].Column(i)))
		}
	}
	want := []string{"id[7 9 40 1]", "x_a.b.n[70 (null) (null) 10]", "x_id[7 9 (null) 1]", "found[true true false true]"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	request.Paths[1] = []string{"b", "n"}
	request.Table, request.Schema = name(t, "t"), arrowipc.EncodeSchema(keyedFields("id"))
	if _, err := e.OpenLookup(t.Context(), request); err == nil || !strings.Contains(err.Error(), `two columns "x_a.b.n"`) {
		t.Errorf("a field twice: %v", err)
	}
	for view := range map[View]bool{ViewRows: true, ViewChangelog: true, ViewBeforeAfter: true} {
		_, err := e.Scan(t.Context(), Scan{Table: name(t, "t"), View: view, Columns: []string{"id"}, Paths: [][]string{{"x"}}})
		if _, ok := errors.AsType[*model.Error](err); !ok || !strings.Contains(err.Error(), `"id"`) {
			t.Errorf("view %d: a field of a number: %v", view, err)
		}
	}
}
