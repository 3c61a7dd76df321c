package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// testSchema has a number that identifies the row and a text that follows from it.
var testSchema = arrow.NewSchema([]arrow.Field{
	{Name: "id", Type: arrow.PrimitiveTypes.Int64},
	{Name: "text", Type: arrow.BinaryTypes.String, Nullable: true},
}, nil)

var schemaMessage = arrowipc.EncodeSchema(testSchema)

// entropy gives reproducible bytes for ids.
type entropy struct{ *rand.Rand }

func (e entropy) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(e.Uint32())
	}
	return len(p), nil
}

// testOptions are small enough that a short test rolls segments and makes checkpoints.
func testOptions(files vfs.FS) Options {
	return Options{
		FS: files, Entropy: entropy{rand.New(rand.NewPCG(1, 2))}, SegmentBytes: 64 << 10, CommitBytes: 64 << 10,
		GroupGap: time.Microsecond, MarkDelay: time.Hour, MaintenancePeriod: time.Hour,
	}
}

func open(t testing.TB, options Options) *Engine {
	t.Helper()
	e, err := Open(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func closeEngine(t testing.TB, e *Engine) {
	t.Helper()
	if err := e.Close(context.Background()); err != nil {
		t.Errorf("close: %v", err)
	}
}

// rowText is the text of a row.
func rowText(id int64) string { return fmt.Sprintf("row %d", id) }

// message makes an IPC message of the rows [from, from+n).
func message(t testing.TB, from, n int64) (header []byte, body [][]byte) {
	t.Helper()
	b := array.NewRecordBuilder(memory.DefaultAllocator, testSchema)
	defer b.Release()
	for id := from; id < from+n; id++ {
		b.Field(0).(*array.Int64Builder).Append(id)
		if id%7 == 3 {
			b.Field(1).AppendNull()
		} else {
			b.Field(1).(*array.StringBuilder).Append(rowText(id))
		}
	}
	record := b.NewRecordBatch()
	defer record.Release()
	layout, err := arrowipc.NewLayout(testSchema)
	if err != nil {
		t.Fatal(err)
	}
	batch, err := arrowipc.FromRecord(layout, record)
	if err != nil {
		t.Fatal(err)
	}
	return batch.Message(0), [][]byte{batch.Body}
}

// writer is a put stream of a test.
type writer struct {
	t   testing.TB
	put *Put
}

func openWriter(t testing.TB, e *Engine, table string, request PutRequest) *writer {
	t.Helper()
	request.Table = name(t, table)
	request.Schema = arrowipc.EncodeSchema(testSchema)
	put, err := e.OpenPut(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	return &writer{t, put}
}

// send sends rows without waiting.
func (w *writer) send(from, n int64, sequence *Sequence) (*Pending, error) {
	header, body := message(w.t, from, n)
	return w.put.Send(context.Background(), header, body, sequence)
}

// write sends rows and waits for the acknowledgement.
func (w *writer) write(from, n int64, sequence *Sequence) (Ack, error) {
	pending, err := w.send(from, n, sequence)
	if err != nil {
		return Ack{}, err
	}
	<-pending.Done()
	return pending.Ack()
}

func name(t testing.TB, text string) model.TableName {
	t.Helper()
	n, err := model.ParseTableName(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func createTable(t testing.TB, e *Engine, request CreateTable) *model.Table {
	t.Helper()
	if request.Schema == nil {
		request.Schema = testSchema
	}
	table, err := e.CreateTable(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// row is a row as it was read back.
type row struct {
	bucket int32
	offset int64
	id     int64
}

// readAll reads a table from end to end and checks every value on the way.
func readAll(t testing.TB, e *Engine, table string) []row {
	t.Helper()
	rows, err := scanAll(t, e, Scan{Table: name(t, table)})
	if err != nil {
		t.Fatalf("read %s: %v", table, err)
	}
	return rows
}

func scanAll(t testing.TB, e *Engine, scan Scan) ([]row, error) {
	t.Helper()
	r, err := e.Scan(t.Context(), scan)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	layout, err := arrowipc.NewLayout(testSchema)
	if err != nil {
		t.Fatal(err)
	}
	var rows []row
	for {
		chunk, err := r.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return rows, err
		}
		rows = append(rows, decode(t, layout, chunk)...)
	}
}

// decode reads the rows of a chunk of all columns and checks that the texts belong to the ids.
func decode(t testing.TB, layout *arrowipc.Layout, chunk Chunk) []row {
	t.Helper()
	var body []byte
	for _, slice := range chunk.Message.Body {
		body = append(body, slice...)
	}
	var batch arrowipc.Batch
	if err := arrowipc.ParseMessage(layout, chunk.Message.Header, body, 0, &batch); err != nil {
		t.Fatal(err)
	}
	record, err := batch.Record(memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	defer record.Release()
	ids, texts := record.Column(0).(*array.Int64), record.Column(1).(*array.String)
	rows := make([]row, ids.Len())
	for i := range rows {
		id := ids.Value(i)
		rows[i] = row{chunk.Bucket, chunk.Offset + int64(i), id}
		if id%7 == 3 != texts.IsNull(i) || texts.IsValid(i) && texts.Value(i) != rowText(id) {
			t.Fatalf("row %d has the text %q", id, texts.ValueStr(i))
		}
	}
	return rows
}

// int64Bytes reads a buffer of int64 values.
func int64Bytes(b []byte) []int64 {
	values := make([]int64, len(b)/8)
	for i := range values {
		values[i] = int64(binary.LittleEndian.Uint64(b[8*i:]))
	}
	return values
}

// pass lets time pass in a bubble of synctest.
func pass(d time.Duration) { <-time.After(d) }

// eachChunk reads a scan to its end. visit gets the schema message and each chunk, also the last one, which has no
// rows.
func eachChunk(t testing.TB, e *Engine, scan Scan, visit func(schema []byte, chunk Chunk)) {
	t.Helper()
	r, err := e.Scan(t.Context(), scan)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for {
		chunk, err := r.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		visit(r.SchemaMessage(), chunk)
	}
}
