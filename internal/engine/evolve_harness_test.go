package engine

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// schemaOfText makes a schema of columns as text.
func schemaOfText(t testing.TB, columns string) *arrow.Schema {
	t.Helper()
	parsed, err := model.ParseColumns(columns)
	if err != nil {
		t.Fatal(err)
	}
	schema, _, _, err := model.SchemaFromColumns(parsed)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// fieldOfText is one column as text.
func fieldOfText(t testing.TB, column string) arrow.Field {
	t.Helper()
	return schemaOfText(t, column).Field(0)
}

// createText makes a table of columns as text; key is the primary key, or empty.
func createText(t testing.TB, e *Engine, table, columns, key string, options map[string]string) {
	t.Helper()
	request := CreateTable{Name: name(t, table), Schema: schemaOfText(t, columns), Options: options}
	if key != "" {
		request.PrimaryKey = []string{key}
	}
	createTable(t, e, request)
}

// alter changes columns.
func alter(t testing.TB, e *Engine, table string, changes ...model.ColumnChange) *model.Table {
	t.Helper()
	definition, err := e.AlterTable(context.Background(), name(t, table), Expect{}, ChangeColumns{changes})
	if err != nil {
		t.Fatal(err)
	}
	return definition
}

// jsonWriter is a put stream of rows in JSON.
type jsonWriter struct {
	t      testing.TB
	put    *Put
	schema *arrow.Schema
}

func openJSONWriter(t testing.TB, e *Engine, table string, schema *arrow.Schema, request PutRequest) (*jsonWriter, error) {
	t.Helper()
	request.Table, request.Schema = name(t, table), arrowipc.EncodeSchema(schema)
	put, err := e.OpenPut(t.Context(), request)
	return &jsonWriter{t, put, schema}, err
}

// mustOpen opens a writer of columns as text.
func mustOpen(t testing.TB, e *Engine, table, columns string, request PutRequest) *jsonWriter {
	t.Helper()
	w, err := openJSONWriter(t, e, table, schemaOfText(t, columns), request)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func recordOfJSON(t testing.TB, schema *arrow.Schema, rows string) arrow.RecordBatch {
	t.Helper()
	record, _, err := array.RecordFromJSON(memory.NewGoAllocator(), schema, strings.NewReader(rows))
	if err != nil {
		t.Fatalf("%s: %v", rows, err)
	}
	return record
}

// send sends rows without waiting.
func (w *jsonWriter) send(sequence *Sequence, rows string) (*Pending, error) {
	header, body := recordMessage(w.t, recordOfJSON(w.t, w.schema, rows))
	return w.put.Send(context.Background(), header, body, sequence)
}

// write sends rows and waits for the answer.
func (w *jsonWriter) write(sequence *Sequence, rows string) (Ack, error) {
	pending, err := w.send(sequence, rows)
	if err != nil {
		return Ack{}, err
	}
	<-pending.Done()
	return pending.Ack()
}

func (w *jsonWriter) mustWrite(rows string) Ack {
	w.t.Helper()
	ack, err := w.write(nil, rows)
	if err != nil {
		w.t.Fatal(err)
	}
	return ack
}

// jsonReader reads a scan as JSON.
type jsonReader struct {
	t      testing.TB
	reader *Reader
	end    string
	last   model.Position
}

func openJSONReader(t testing.TB, e *Engine, scan Scan) *jsonReader {
	t.Helper()
	r, err := e.Scan(t.Context(), scan)
	if err != nil {
		t.Fatal(err)
	}
	return &jsonReader{t: t, reader: r}
}

// next gives the rows of the next chunk; nil at the end.
func (r *jsonReader) next() []map[string]any {
	r.t.Helper()
	chunk, err := r.reader.Next(r.t.Context())
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.end, r.last = chunk.End, chunk.Position
	return rowsOfRecord(r.t, decodeRecord(r.t, r.reader.SchemaMessage(), chunk.Message))
}

// all reads to the end.
func (r *jsonReader) all() (rows []map[string]any) {
	r.t.Helper()
	for {
		more := r.next()
		if more == nil {
			r.reader.Close()
			return rows
		}
		rows = append(rows, more...)
	}
}

func rowsOfRecord(t testing.TB, record arrow.RecordBatch) []map[string]any {
	t.Helper()
	text, err := record.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	rows := []map[string]any{}
	if err := json.Unmarshal(text, &rows); err != nil {
		t.Fatal(err)
	}
	return rows
}

// readJSON reads a table, or columns of it.
func readJSON(t testing.TB, e *Engine, table string, columns ...string) []map[string]any {
	t.Helper()
	return openJSONReader(t, e, Scan{Table: name(t, table), Columns: columns}).all()
}

// jsonOf is rows as one line.
func jsonOf(t testing.TB, rows []map[string]any) string {
	t.Helper()
	text, err := json.Marshal(rows)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// sameJSON compares rows with some in JSON.
func sameJSON(t testing.TB, what string, got []map[string]any, want string) {
	t.Helper()
	var rows []map[string]any
	if err := json.Unmarshal([]byte(want), &rows); err != nil {
		t.Fatal(err)
	}
	if g, w := jsonOf(t, append([]map[string]any{}, got...)), jsonOf(t, rows); g != w {
		t.Errorf("%s:\n got %s\nwant %s", what, g, w)
	}
}

// lookupJSON looks keys up, of a schema, given in JSON.
func lookupJSON(t testing.TB, l *Lookup, schema *arrow.Schema, keys string) ([]map[string]any, error) {
	t.Helper()
	header, body := recordMessage(t, recordOfJSON(t, schema, keys))
	var rows []map[string]any
	for part, err := range l.Answer(context.Background(), KeyMessage{Header: header, Body: body}) {
		if err != nil {
			return nil, err
		}
		rows = append(rows, rowsOfRecord(t, decodeRecord(t, l.SchemaMessage(), part.Message))...)
	}
	return rows, nil
}
