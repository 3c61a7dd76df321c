package pkstore

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// Test tables have a key of two columns, a version, a number and a text. Rows are texts by column;
// null stands for null.
const (
	null = "null"

	idColumn, nameColumn, versionColumn, numberColumn, textColumn = 0, 1, 2, 3, 4

	testColumns = 5
)

var (
	testSchema = arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "name", Type: arrow.BinaryTypes.String},
		{Name: "version", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
		{Name: "number", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		{Name: "text", Type: arrow.BinaryTypes.String, Nullable: true},
	}, nil)
	testKey = []int{idColumn, nameColumn}
	allOf   = []int{0, 1, 2, 3, 4}
)

type testRow [testColumns]string

// key is what rows of the same key have in common.
func (r testRow) key() string { return r[idColumn] + "/" + r[nameColumn] }

// loggedRow is a row of a changelog.
type loggedRow struct {
	kind model.ChangeType
	row  testRow
}

func (r loggedRow) String() string { return r.kind.String() + " " + strings.Join(r.row[:], " ") }

func logLayout(t failer) *arrowipc.Layout {
	t.Helper()
	definition := &model.Table{Schema: testSchema, PrimaryKey: []string{"id", "name"}}
	return layoutOf(t, definition.LogSchema())
}

func layoutOf(t failer, schema *arrow.Schema) *arrowipc.Layout {
	t.Helper()
	layout, err := arrowipc.NewLayout(schema)
	if err != nil {
		t.Fatal(err)
	}
	return layout
}

// chosen is the layout of some columns of the test table.
func chosen(t failer, columns []int) *arrowipc.Layout {
	t.Helper()
	var fields []arrow.Field
	for _, column := range columns {
		fields = append(fields, testSchema.Field(column))
	}
	return layoutOf(t, arrow.NewSchema(fields, nil))
}

func appendText(t failer, b *arrowipc.Builder, column int, of arrow.DataType, text string) {
	t.Helper()
	if text == null {
		b.AppendNull(column)
		return
	}
	value := []byte(text)
	if of.ID() != arrow.STRING {
		number, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		value = binary.LittleEndian.AppendUint64(nil, uint64(number))[:of.(arrow.FixedWidthDataType).Bytes()]
	}
	if err := b.AppendValue(column, value); err != nil {
		t.Fatal(err)
	}
}

func textAt(v *arrowipc.View, column int, row int32) string {
	value := v.Value(column, row)
	switch {
	case v.IsNull(column, row):
		return null
	case v.Layout().Schema().Field(column).Type.ID() == arrow.STRING:
		return string(value)
	case len(value) == 4:
		return strconv.Itoa(int(int32(binary.LittleEndian.Uint32(value))))
	}
	return strconv.Itoa(int(binary.LittleEndian.Uint64(value)))
}

func rowAt(v *arrowipc.View, row int32) testRow {
	var r testRow
	for column := range r {
		r[column] = textAt(v, column, row)
	}
	return r
}

func loggedAt(v *arrowipc.View, row int32) loggedRow {
	return loggedRow{model.ChangeType(v.Value(testColumns, row)[0]), rowAt(v, row)}
}

// viewOf makes a batch of some columns of rows.
func viewOf(t failer, columns []int, rows []testRow) *arrowipc.View {
	t.Helper()
	builder := arrowipc.NewBuilder(chosen(t, columns))
	for _, row := range rows {
		for i, column := range columns {
			appendText(t, builder, i, testSchema.Field(column).Type, row[column])
		}
	}
	return opened(t, builder.Finish())
}

func opened(t failer, batch *arrowipc.Batch) *arrowipc.View {
	t.Helper()
	view, err := arrowipc.NewView(batch)
	if err != nil {
		t.Fatal(err)
	}
	return view
}

// keyHashes gives the hashes of the keys of rows in some columns.
func keyHashes(t failer, view *arrowipc.View, columns []int) []uint64 {
	t.Helper()
	key := []int{slices.Index(columns, idColumn), slices.Index(columns, nameColumn)}
	if slices.Contains(key, -1) {
		return make([]uint64, view.Rows()) // a change that is to be refused
	}
	hasher, err := arrowipc.NewRowHasher(view.Layout(), key)
	if err != nil {
		t.Fatal(err)
	}
	hashes, err := hasher.Hash(view.Batch(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return hashes
}

func changeOf(t failer, columns []int, rows []testRow) Change {
	t.Helper()
	view := viewOf(t, columns, rows)
	return Change{Rows: view, Columns: columns, Hashes: keyHashes(t, view, columns)}
}

func newTestBucket(t failer, o Options) *Bucket {
	t.Helper()
	o.Layout, o.Key = logLayout(t), testKey
	if o.Merge.Engine == model.MergeVersioned {
		o.Merge.VersionColumn = versionColumn
	}
	if o.RowCache == nil {
		o.RowCache = newTestCache(t, RowCacheBytesMin)
	}
	b, err := NewBucket(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newTestCache(t failer, size int) *RowCache {
	t.Helper()
	cache, err := NewRowCache(make([]byte, size))
	if err != nil {
		t.Fatal(err)
	}
	return cache
}

// copied gives the rows of picks, which may lie anywhere, as one batch.
func copied(t failer, layout *arrowipc.Layout, picks []arrowipc.Pick) *arrowipc.View {
	t.Helper()
	builder := arrowipc.NewBuilder(layout)
	for i := range layout.Schema().NumFields() {
		if err := builder.AppendColumnPicks(i, i, picks); err != nil {
			t.Fatal(err)
		}
	}
	return opened(t, builder.Finish())
}

// kept copies batches as the log keeps them, cut anew after some rows.
func kept(t failer, base int64, batches []*arrowipc.Batch, every int64) []Stored {
	t.Helper()
	var stored []Stored
	for _, batch := range batches {
		for from := int64(0); from < batch.Rows; from += every {
			part, err := arrowipc.Slice(batch, from, min(from+every, batch.Rows))
			if err != nil {
				t.Fatal(err)
			}
			stored = append(stored, Stored{Base: base, View: opened(t, part)})
			base += part.Rows
		}
	}
	return stored
}

func logged(t failer, batches []*arrowipc.Batch) []loggedRow {
	t.Helper()
	var rows []loggedRow
	for _, batch := range batches {
		view := opened(t, batch)
		for row := range int32(batch.Rows) {
			rows = append(rows, loggedAt(view, row))
		}
	}
	return rows
}

// lookedUp gives the published rows of keys; null where there is none.
func lookedUp(t failer, b *Bucket, keys []testRow, rows []int32) (found []string, asOf int64) {
	t.Helper()
	return lookedUpHashed(t, b, keys, rows, func(hashes []uint64) []uint64 { return hashes })
}

// lookedUpHashed is lookedUp with other hashes than those of keys.
func lookedUpHashed(t failer, b *Bucket, keys []testRow, rows []int32, other func([]uint64) []uint64) (found []string, asOf int64) {
	t.Helper()
	columns := []int{nameColumn, idColumn}
	view := viewOf(t, columns, keys)
	key, err := arrowipc.NewKeyColumns(view.Layout(), []int{1, 0})
	if err != nil {
		t.Fatal(err)
	}
	request := Keys{View: view, Columns: key, Hashes: other(keyHashes(t, view, columns)), Rows: rows}
	picks, asOf, err := b.Lookup(request, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	found = foundRows(t, b, picks)
	lookedUpCached(t, b, request, found, asOf)
	return found, asOf
}

// lookedUpCached looks keys up in the cache of rows too, twice, so that what it did not have it has then.
func lookedUpCached(t failer, b *Bucket, request Keys, want []string, wantAsOf int64) {
	t.Helper()
	reader := NewRowReader(b.current().options.RowCache)
	for range 2 {
		reader.Begin()
		picks, asOf, err := b.Lookup(request, reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		if found := foundRows(t, b, picks); !slices.Equal(found, want) || asOf != wantAsOf {
			t.Fatalf("with a cache of rows: got %v as of %d, want %v as of %d", found, asOf, want, wantAsOf)
		}
		reader.End()
	}
}

func foundRows(t failer, b *Bucket, picks []arrowipc.Pick) (found []string) {
	t.Helper()
	rows := copied(t, b.current().options.Layout, picks)
	for i, pick := range picks {
		text := null
		if pick.View != nil {
			text = fmt.Sprint(rowAt(rows, int32(i)))
		}
		found = append(found, text)
	}
	return found
}

// stateOf reads a snapshot: the rows by key.
func stateOf(t failer, s *Snapshot) map[string]testRow {
	t.Helper()
	state := map[string]testRow{}
	rows := int64(0)
	for live, err := range s.Batches() {
		if err == nil {
			err = live.Check()
		}
		if err != nil {
			t.Fatal(err)
		}
		add := func(row int32) {
			r := rowAt(live.View, row)
			state[r.key()] = r
			rows++
		}
		if live.Rows == nil {
			for row := range int32(live.View.Rows()) {
				add(row)
			}
		}
		for _, row := range live.Rows {
			add(row)
		}
	}
	if rows != s.Count() || int(rows) != len(state) {
		t.Fatalf("a snapshot that counts %d has %d rows of %d keys", s.Count(), rows, len(state))
	}
	return state
}

func TestHarnessReadsWhatItWrites(t *testing.T) {
	rows := []testRow{{"1", "a", "-3", "9", "x"}, {"2", "", null, null, null}}
	view := viewOf(t, allOf, rows)
	for i, row := range rows {
		if got := rowAt(view, int32(i)); got != row {
			t.Errorf("got %v, want %v", got, row)
		}
	}
}
