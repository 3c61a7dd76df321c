package engine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// keyedSchema is that of the primary-key tables of the tests.
var keyedSchema = arrow.NewSchema([]arrow.Field{
	{Name: "id", Type: arrow.PrimitiveTypes.Int64},
	{Name: "text", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "number", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
}, nil)

// noText and noNumber stand for null in a keyedRow.
const (
	noText   = "\x00"
	noNumber = int64(math.MinInt64)
)

// keyedRow is a row of a table of keyedSchema; rows can be compared.
type keyedRow struct {
	id     int64
	text   string
	number int64
}

// keyedState is the content of a table.
type keyedState map[int64]keyedRow

// keyedFields chooses columns of keyedSchema; none means all.
func keyedFields(columns ...string) *arrow.Schema {
	if len(columns) == 0 {
		return keyedSchema
	}
	fields := make([]arrow.Field, len(columns))
	for i, column := range columns {
		fields[i] = keyedSchema.Field(keyedSchema.FieldIndices(column)[0])
	}
	return arrow.NewSchema(fields, nil)
}

// keyedMessage makes an IPC message of rows.
func keyedMessage(t testing.TB, schema *arrow.Schema, rows []keyedRow) (header []byte, body [][]byte) {
	t.Helper()
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for i, field := range schema.Fields() {
		for _, row := range rows {
			switch {
			case field.Name == "id":
				b.Field(i).(*array.Int64Builder).Append(row.id)
			case field.Name == "text" && row.text != noText:
				b.Field(i).(*array.StringBuilder).Append(row.text)
			case field.Name == "number" && row.number != noNumber:
				b.Field(i).(*array.Int64Builder).Append(row.number)
			default:
				b.Field(i).AppendNull()
			}
		}
	}
	record := b.NewRecordBatch()
	defer record.Release()
	return recordMessage(t, record)
}

// recordMessage makes an IPC message of a record.
func recordMessage(t testing.TB, record arrow.RecordBatch) (header []byte, body [][]byte) {
	t.Helper()
	layout, err := arrowipc.NewLayout(record.Schema())
	if err != nil {
		t.Fatal(err)
	}
	batch, err := arrowipc.FromRecord(layout, record)
	if err != nil {
		t.Fatal(err)
	}
	return batch.Message(0), [][]byte{batch.Body}
}

// createKeyed makes a table of keyedSchema.
func createKeyed(t testing.TB, e *Engine, table string, buckets int32, options map[string]string) *model.Table {
	t.Helper()
	return createTable(t, e, CreateTable{
		Name: name(t, table), Schema: keyedSchema, PrimaryKey: []string{"id"}, Buckets: buckets, Options: options,
	})
}

// keyedWriter is a put stream into a primary-key table.
type keyedWriter struct {
	t      testing.TB
	put    *Put
	schema *arrow.Schema
}

// openKeyedWriter opens a stream: of deletions, which send the key alone, or of upserts of columns.
func openKeyedWriter(t testing.TB, e *Engine, table string, request PutRequest) *keyedWriter {
	t.Helper()
	w := &keyedWriter{t: t, schema: keyedFields(request.Columns...)}
	if request.Mode == PutDelete && request.Columns == nil {
		w.schema = keyedFields("id")
	}
	request.Table, request.Schema = name(t, table), arrowipc.EncodeSchema(w.schema)
	var err error
	if w.put, err = e.OpenPut(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	return w
}

// write sends rows and waits for the answer.
func (w *keyedWriter) write(sequence *Sequence, rows ...keyedRow) (Ack, error) {
	header, body := keyedMessage(w.t, w.schema, rows)
	pending, err := w.put.Send(context.Background(), header, body, sequence)
	if err != nil {
		return Ack{}, err
	}
	<-pending.Done()
	return pending.Ack()
}

// upsert writes whole rows on a stream of their own.
func upsert(t testing.TB, e *Engine, table string, rows ...keyedRow) Ack {
	t.Helper()
	ack, err := openKeyedWriter(t, e, table, PutRequest{}).write(nil, rows...)
	if err != nil {
		t.Fatal(err)
	}
	return ack
}

// deleteKeys deletes rows by their keys on a stream of its own.
func deleteKeys(t testing.TB, e *Engine, table string, ids ...int64) Ack {
	t.Helper()
	ack, err := openKeyedWriter(t, e, table, PutRequest{Mode: PutDelete}).write(nil, rowsOfKeys(ids...)...)
	if err != nil {
		t.Fatal(err)
	}
	return ack
}

func rowsOfKeys(ids ...int64) []keyedRow {
	rows := make([]keyedRow, len(ids))
	for i, id := range ids {
		rows[i] = keyedRow{id, noText, noNumber}
	}
	return rows
}

// decodeRecord reads the batch of a message.
func decodeRecord(t testing.TB, schemaMessage []byte, message arrowipc.Message) arrow.RecordBatch {
	t.Helper()
	schema, err := arrowipc.DecodeSchema(schemaMessage, arrowipc.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	layout, err := arrowipc.NewLayout(schema)
	if err != nil {
		t.Fatal(err)
	}
	var body []byte
	for _, slice := range message.Body {
		body = append(body, slice...)
	}
	var batch arrowipc.Batch
	if err := arrowipc.ParseMessage(layout, message.Header, body, 0, &batch); err != nil {
		t.Fatal(err)
	}
	record, err := batch.Record(memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	return record
}

// cell is a row of a scan with its system columns; fields that were not asked for are zero.
type cell struct {
	bucket int32
	offset int64
	micros int64
	kind   string
	row    keyedRow
}

// cellsOf reads the rows of a batch.
func cellsOf(t testing.TB, record arrow.RecordBatch) []cell {
	t.Helper()
	cells := make([]cell, record.NumRows())
	for i, field := range record.Schema().Fields() {
		for r := range cells {
			c := &cells[r]
			switch column := record.Column(i).(type) {
			case *array.Int32:
				c.bucket = column.Value(r)
			case *array.Timestamp:
				c.micros = int64(column.Value(r))
			case *array.Int64:
				value := column.Value(r)
				switch {
				case field.Name == "_offset":
					c.offset = value
				case field.Name == "id":
					c.row.id = value
				case column.IsNull(r):
					c.row.number = noNumber
				default:
					c.row.number = value
				}
			case *array.String:
				switch {
				case field.Name == model.ChangeColumn:
					c.kind = column.Value(r)
				case column.IsNull(r):
					c.row.text = noText
				default:
					c.row.text = column.Value(r)
				}
			default:
				t.Fatalf("unexpected column %s of type %T", field.Name, column)
			}
		}
	}
	return cells
}

// marks are where a read of a primary-key table has changed from one thing to another.
type marks struct {
	// state is the number of rows before the mark MarkStateComplete, −1 where there is none, and
	// changes the position in it.
	state   int
	changes model.Position
	end     string
	last    model.Position
}

// readCells reads a scan to its end, and checks what the chunks say of their rows.
func readCells(t testing.TB, e *Engine, scan Scan) ([]cell, marks, error) {
	t.Helper()
	m := marks{state: -1}
	r, err := e.Scan(t.Context(), scan)
	if err != nil {
		return nil, m, err
	}
	defer r.Close()
	var all []cell
	for {
		chunk, err := r.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return all, m, nil
		}
		if err != nil {
			return all, m, err
		}
		if chunk.Mark != "" {
			m.state, m.changes = len(all), chunk.Position
		}
		if chunk.End != "" {
			m.end, m.last = chunk.End, chunk.Position
		}
		record := decodeRecord(t, r.SchemaMessage(), chunk.Message)
		cells := cellsOf(t, record)
		if int64(len(cells)) != chunk.Rows {
			t.Fatalf("a chunk of %d rows has %d", chunk.Rows, len(cells))
		}
		if n := len(cells); scan.SystemColumns && n > 0 {
			if cells[0].bucket != chunk.Bucket || cells[0].offset != chunk.Offset || cells[n-1].offset+1 != chunk.Next {
				t.Fatalf("a chunk of bucket %d says offsets %d to %d, its rows have %+v to %+v", chunk.Bucket, chunk.Offset, chunk.Next, cells[0], cells[n-1])
			}
		}
		all = append(all, cells...)
		record.Release()
	}
}

// mustRead is readCells with the system columns, for reads that do not fail.
func mustRead(t testing.TB, e *Engine, table string, view View) []cell {
	t.Helper()
	cells, m, err := readCells(t, e, Scan{Table: name(t, table), View: view, SystemColumns: true})
	if err != nil {
		t.Fatalf("read %s: %v", table, err)
	}
	if m.end != EndComplete {
		t.Fatalf("read %s: the end is %q, want %q", table, m.end, EndComplete)
	}
	return cells
}

// fold applies a changelog to a state, and checks that each change fits the row that is there.
func (s keyedState) fold(t testing.TB, changes []cell, image model.ChangelogImage) {
	t.Helper()
	var replaced *cell
	for i := range changes {
		c := &changes[i]
		old, known := s[c.row.id]
		if replaced != nil && (c.kind != "+U" || c.row.id != replaced.row.id || c.bucket != replaced.bucket || c.offset != replaced.offset+1) {
			t.Fatalf("%+v follows %+v, want its +U", *c, *replaced)
		}
		fits := false
		switch c.kind {
		case "+I":
			fits = !known
		case "-U":
			fits = known && old == c.row && image == model.ImageFull
		case "+U":
			fits = known && (replaced != nil) == (image == model.ImageFull)
		case "-D":
			fits = known && old == c.row
		}
		if !fits {
			t.Fatalf("change %+v does not fit the row %+v (there: %v)", *c, old, known)
		}
		switch replaced = nil; c.kind {
		case "-U":
			replaced = c
		case "-D":
			delete(s, c.row.id)
		default:
			s[c.row.id] = c.row
		}
	}
	if replaced != nil {
		t.Fatalf("the changelog ends behind %+v", *replaced)
	}
}

// newestOf gives for each key that is there the place of its newest row.
func newestOf(changes []cell) map[int64]cell {
	newest := map[int64]cell{}
	for _, c := range changes {
		if c.kind == "-D" {
			delete(newest, c.row.id)
		} else {
			newest[c.row.id] = c
		}
	}
	return newest
}

// stateOfTable reads the table in every way, checks that all give the same, and gives it.
func stateOfTable(t testing.TB, e *Engine, table string) keyedState {
	t.Helper()
	described, err := e.table(name(t, table))
	if err != nil {
		t.Fatal(err)
	}
	changes := mustRead(t, e, table, ViewChangelog)
	folded := keyedState{}
	folded.fold(t, changes, described.options.Load().Image)
	newest := newestOf(changes)
	state := keyedState{}
	for _, c := range mustRead(t, e, table, ViewRows) {
		if _, twice := state[c.row.id]; twice {
			t.Fatalf("table %s: the state has key %d twice", table, c.row.id)
		}
		state[c.row.id] = c.row
		at := newest[c.row.id]
		// Below the offset where a bucket has split, its rows stand in the log of its parent.
		for c.bucket != at.bucket && c.offset < described.definition.Load().Splits[c.bucket].At {
			c.bucket = described.definition.Load().Splits[c.bucket].Parent
		}
		if c.bucket != at.bucket || c.offset != at.offset || c.micros != at.micros {
			t.Fatalf("table %s: the state has %+v, the changelog %+v", table, c, at)
		}
	}
	if !maps.Equal(state, folded) {
		t.Fatalf("table %s: the state is\n%v, folding the changelog gives\n%v", table, state, folded)
	}
	ids := slices.Sorted(maps.Keys(state))
	ids = append(ids, -1, math.MaxInt64)
	for _, c := range changes {
		ids = append(ids, c.row.id)
	}
	for i, found := range lookupRows(t, e, table, ids...) {
		want, known := state[ids[i]]
		if !known {
			want = keyedRow{0, noText, noNumber}
		}
		if found != want {
			t.Fatalf("table %s: a lookup of %d finds %+v, the state has %+v", table, ids[i], found, want)
		}
	}
	return state
}

// lookup is a stream of lookups of a test.
type lookup struct {
	t      testing.TB
	lookup *Lookup
}

func openLookup(t testing.TB, e *Engine, table string, request LookupRequest) *lookup {
	t.Helper()
	request.Table = name(t, table)
	if request.Schema == nil {
		request.Schema = arrowipc.EncodeSchema(keyedFields("id"))
	}
	l, err := e.OpenLookup(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	return &lookup{t, l}
}

// ask sends keys, and gives all parts of the answer in one list of records.
func (l *lookup) ask(ctx context.Context, header []byte, body [][]byte) ([]arrow.RecordBatch, []LookupPart, error) {
	l.t.Helper()
	var parts []LookupPart
	var records []arrow.RecordBatch
	for part, err := range l.lookup.Answer(ctx, KeyMessage{Header: header, Body: body}) {
		if err != nil {
			return nil, nil, err
		}
		if len(parts) > 0 && parts[len(parts)-1].Last {
			l.t.Fatal("a part follows the last one")
		}
		parts = append(parts, part)
		record := decodeRecord(l.t, l.lookup.SchemaMessage(), part.Message)
		if record.NumRows() != part.Rows {
			l.t.Fatalf("a part of %d rows has %d", part.Rows, record.NumRows())
		}
		records = append(records, record)
	}
	if len(parts) == 0 || !parts[len(parts)-1].Last {
		l.t.Fatalf("%d parts, none of which is the last", len(parts))
	}
	return records, parts, nil
}

// rows looks keys up; a key that is not there has id 0 and nulls.
func (l *lookup) rows(ids ...int64) ([]keyedRow, LookupPart) {
	l.t.Helper()
	header, body := keyedMessage(l.t, keyedFields("id"), rowsOfKeys(ids...))
	records, parts, err := l.ask(context.Background(), header, body)
	if err != nil {
		l.t.Fatal(err)
	}
	var rows []keyedRow
	for _, record := range records {
		for _, c := range cellsOf(l.t, record) {
			rows = append(rows, c.row)
		}
	}
	return rows, parts[0]
}

func lookupRows(t testing.TB, e *Engine, table string, ids ...int64) []keyedRow {
	t.Helper()
	l := openLookup(t, e, table, LookupRequest{})
	rows, _ := l.rows(ids...)
	if len(rows) != len(ids) {
		t.Fatalf("%d rows for %d keys", len(rows), len(ids))
	}
	return rows
}

// keyMessage makes an IPC message of keys; −1 is null.
func keyMessage(t testing.TB, ids ...int64) (header []byte, body [][]byte) {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64, Nullable: true}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	valid := make([]bool, len(ids))
	values := make([]int64, len(ids))
	for i, id := range ids {
		valid[i], values[i] = id != -1, max(id, 0) // what lies under a null is the key 0
	}
	b.Field(0).(*array.Int64Builder).AppendValues(values, valid)
	record := b.NewRecordBatch()
	defer record.Release()
	return recordMessage(t, record)
}

// streamOf gives the messages in which arrow-go sends a record: schema, dictionaries, batch.
func streamOf(t testing.TB, record arrow.RecordBatch) []arrowipc.StreamMessage {
	t.Helper()
	var stream bytes.Buffer
	w := ipc.NewWriter(&stream, ipc.WithSchema(record.Schema()))
	if err := errors.Join(w.Write(record), w.Close()); err != nil {
		t.Fatal(err)
	}
	messages, err := arrowipc.CutStream(stream.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return messages
}
