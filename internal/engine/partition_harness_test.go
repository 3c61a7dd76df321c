package engine

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// partedSchema is that of the partitioned tables of the tests.
var partedSchema = arrow.NewSchema([]arrow.Field{
	{Name: "id", Type: arrow.PrimitiveTypes.Int64},
	{Name: "country", Type: arrow.BinaryTypes.String},
	{Name: "text", Type: arrow.BinaryTypes.String, Nullable: true},
}, nil)

// partedRow is a row of a table of partedSchema.
type partedRow struct {
	country string
	id      int64
	text    string
}

func comparePartedRows(a, b partedRow) int {
	return strings.Compare(a.key(), b.key())
}

func (r partedRow) key() string { return r.country + "/" + rowText(r.id) + "/" + r.text }

// createParted makes a table of partedSchema with two buckets a partition; keyed gives it the primary key
// (country, id).
func createParted(t testing.TB, e *Engine, table string, keyed bool, options map[string]string) *model.Table {
	t.Helper()
	request := CreateTable{
		Name: name(t, table), Schema: partedSchema, PartitionBy: []string{"country"}, Buckets: 2, BucketKey: []string{"id"}, Options: options,
	}
	if keyed {
		request.PrimaryKey = []string{"country", "id"}
	}
	return createTable(t, e, request)
}

func partedMessage(t testing.TB, rows ...partedRow) (header []byte, body [][]byte) {
	t.Helper()
	b := array.NewRecordBuilder(memory.DefaultAllocator, partedSchema)
	defer b.Release()
	for _, row := range rows {
		b.Field(0).(*array.Int64Builder).Append(row.id)
		b.Field(1).(*array.StringBuilder).Append(row.country)
		b.Field(2).(*array.StringBuilder).Append(row.text)
	}
	record := b.NewRecordBatch()
	defer record.Release()
	return recordMessage(t, record)
}

// tryPutParted sends rows and waits for the acknowledgement.
func tryPutParted(t testing.TB, e *Engine, table string, sequence *Sequence, rows ...partedRow) (Ack, error) {
	t.Helper()
	put, err := e.OpenPut(t.Context(), PutRequest{Table: name(t, table), Schema: arrowipc.EncodeSchema(partedSchema)})
	if err != nil {
		return Ack{}, err
	}
	header, body := partedMessage(t, rows...)
	pending, err := put.Send(t.Context(), header, body, sequence)
	if err != nil {
		return Ack{}, err
	}
	<-pending.Done()
	return pending.Ack()
}

func putParted(t testing.TB, e *Engine, table string, rows ...partedRow) Ack {
	t.Helper()
	ack, err := tryPutParted(t, e, table, nil, rows...)
	if err != nil {
		t.Fatal(err)
	}
	return ack
}

// partedRows reads the rows of a chunk of all columns.
func partedRows(t testing.TB, schemaMessage []byte, chunk Chunk) []partedRow {
	t.Helper()
	record := decodeRecord(t, schemaMessage, chunk.Message)
	defer record.Release()
	rows := make([]partedRow, record.NumRows())
	for i := range rows {
		rows[i] = partedRow{
			strings.Clone(record.Column(1).(*array.String).Value(i)), record.Column(0).(*array.Int64).Value(i),
			strings.Clone(record.Column(2).(*array.String).Value(i)),
		}
	}
	return rows
}

// tryScanParted reads all rows of a scan, sorted, and the position at its end.
func tryScanParted(t testing.TB, e *Engine, scan Scan) ([]partedRow, model.Position, error) {
	t.Helper()
	r, err := e.Scan(t.Context(), scan)
	if err != nil {
		return nil, model.Position{}, err
	}
	defer r.Close()
	var rows []partedRow
	for {
		chunk, err := r.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return rows, model.Position{}, errors.New("no end mark")
		}
		if err != nil {
			return rows, model.Position{}, err
		}
		if chunk.End != "" {
			slices.SortFunc(rows, comparePartedRows)
			return rows, chunk.Position, nil
		}
		rows = append(rows, partedRows(t, r.SchemaMessage(), chunk)...)
	}
}

func scanParted(t testing.TB, e *Engine, table string, countries ...string) []partedRow {
	t.Helper()
	scan := Scan{Table: name(t, table)}
	for _, country := range countries {
		scan.Partitions = append(scan.Partitions, PartitionValues{"country": country})
	}
	rows, _, err := tryScanParted(t, e, scan)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// wantParted compares the rows of a table, or of some of its partitions, with those wanted.
func wantParted(t testing.TB, e *Engine, table string, want []partedRow, countries ...string) {
	t.Helper()
	want = slices.Clone(want)
	slices.SortFunc(want, comparePartedRows)
	if got := scanParted(t, e, table, countries...); !slices.Equal(got, want) {
		t.Fatalf("partitions %v have %d rows\n%v\nwant %d\n%v", countries, len(got), got, len(want), want)
	}
}

// countriesOf gives the values of the partitions of a table.
func countriesOf(t testing.TB, e *Engine, table string) []string {
	t.Helper()
	states, err := e.Partitions(name(t, table), nil)
	if err != nil {
		t.Fatal(err)
	}
	countries := make([]string, len(states))
	for i, state := range states {
		countries[i] = state.Values[0].(string)
	}
	return countries
}

func dropParted(t testing.TB, e *Engine, table, country string) {
	t.Helper()
	if _, err := e.DropPartition(t.Context(), name(t, table), PartitionValues{"country": country}, false, false); err != nil {
		t.Fatal(err)
	}
}

// partedKeys makes a message of some columns of rows, and that of its schema.
func partedKeys(t testing.TB, columns []string, rows ...partedRow) (schema, header []byte, body [][]byte) {
	t.Helper()
	fields := make([]arrow.Field, len(columns))
	for i, column := range columns {
		fields[i] = partedSchema.Field(partedSchema.FieldIndices(column)[0])
	}
	chosen := arrow.NewSchema(fields, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, chosen)
	defer b.Release()
	for _, row := range rows {
		for i, column := range columns {
			switch column {
			case "id":
				b.Field(i).(*array.Int64Builder).Append(row.id)
			case "country":
				b.Field(i).(*array.StringBuilder).Append(row.country)
			default:
				b.Field(i).(*array.StringBuilder).Append(row.text)
			}
		}
	}
	record := b.NewRecordBatch()
	defer record.Release()
	header, body = recordMessage(t, record)
	return arrowipc.EncodeSchema(chosen), header, body
}
