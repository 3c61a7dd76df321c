package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

func createIndex(t testing.TB, e *Engine, table, index string, columns ...string) {
	t.Helper()
	if _, err := e.AlterTable(t.Context(), name(t, table), Expect{}, CreateIndex{model.Index{Name: index, Columns: columns}}); err != nil {
		t.Fatal(err)
	}
	awaitIndexes(t, e, table)
}

// awaitIndexes waits until all indexes of a table are built.
func awaitIndexes(t testing.TB, e *Engine, table string) {
	t.Helper()
	for {
		states, err := e.Indexes(name(t, table))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(states, func(s IndexState) bool {
			if s.Err != nil {
				t.Fatal(s.Err)
			}
			return s.Progress < 1
		}) {
			return
		}
		if t.Context().Err() != nil {
			t.Fatal(t.Context().Err())
		}
		runtime.Gosched()
	}
}

// lookedUpBy looks rows up by columns, and gives all of the answer as one list.
func lookedUpBy(t testing.TB, e *Engine, table string, request LookupRequest, keys ...keyedRow) ([]keyedRow, LookupPart) {
	t.Helper()
	schema := nullable(keyedFields(request.By...))
	request.Schema = arrowipc.EncodeSchema(schema)
	l := openLookup(t, e, table, request)
	header, body := keyedMessage(t, schema, keys)
	records, parts, err := l.ask(context.Background(), header, body)
	if err != nil {
		t.Fatal(err)
	}
	var rows []keyedRow
	for _, record := range records {
		for _, c := range cellsOf(t, record) {
			rows = append(rows, c.row)
		}
	}
	return rows, parts[0]
}

func nullable(schema *arrow.Schema) *arrow.Schema {
	fields := slices.Clone(schema.Fields())
	for i := range fields {
		fields[i].Nullable = true
	}
	return arrow.NewSchema(fields, nil)
}

func byNumbers(numbers ...int64) []keyedRow {
	keys := make([]keyedRow, len(numbers))
	for i, number := range numbers {
		keys[i] = keyedRow{0, noText, number}
	}
	return keys
}

func wantFound(t testing.TB, what string, got []keyedRow, want ...keyedRow) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: found\n%v, want\n%v", what, got, want)
	}
}

var missed = keyedRow{0, noText, noNumber}

func TestLookupByIndex(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	createKeyed(t, e, "t", 1, nil)
	a, b, c, d := keyedRow{1, "a", 10}, keyedRow{2, "b", 10}, keyedRow{3, "b", noNumber}, keyedRow{4, noText, 20}
	upsert(t, e, "t", a, b, c, d)
	createIndex(t, e, "t", "by_number", "number")
	createIndex(t, e, "t", "by_both", "text", "number")
	by := LookupRequest{By: []string{"number"}}
	inner := LookupRequest{By: []string{"number"}, Inner: true}
	got, part := lookedUpBy(t, e, "t", by, byNumbers(20, 7, 10, noNumber, 10)...)
	wantFound(t, "left", got, d, missed, a, b, missed, a, b)
	if !maps.Equal(part.AsOf, model.Offsets{0: 4}) {
		t.Errorf("as of %v", part.AsOf)
	}
	got, _ = lookedUpBy(t, e, "t", inner, byNumbers(20, 7, 10, noNumber, 10)...)
	wantFound(t, "inner", got, d, a, b, a, b)
	got, _ = lookedUpBy(t, e, "t", inner, byNumbers(7)...)
	wantFound(t, "nothing", got)
	got, _ = lookedUpBy(t, e, "t", LookupRequest{By: []string{"number", "text"}}, keyedRow{0, "b", 10}, keyedRow{0, "b", noNumber}, keyedRow{0, "a", 20})
	wantFound(t, "two columns", got, b, missed, missed)
	got, _ = lookedUpBy(t, e, "t", LookupRequest{By: []string{"id"}}, keyedRow{id: 3}, keyedRow{id: 9})
	wantFound(t, "the key", got, c, missed)

	upsert(t, e, "t", keyedRow{1, "a", 20}, keyedRow{5, "e", 10}, keyedRow{2, "c", 10})
	deleteKeys(t, e, "t", 4)
	got, part = lookedUpBy(t, e, "t", by, byNumbers(10, 20)...)
	wantFound(t, "behind changes", got, keyedRow{5, "e", 10}, keyedRow{2, "c", 10}, keyedRow{1, "a", 20})
	if end := part.AsOf[0]; end != 10 {
		t.Errorf("as of %d, want 10", end)
	}
}

// TestLookupByIndexCarries looks at what stands beside the rows.
func TestLookupByIndexCarries(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	createKeyed(t, e, "t", 3, nil)
	var rows []keyedRow
	for id := range int64(40) {
		rows = append(rows, keyedRow{id, "x", id % 4})
	}
	upsert(t, e, "t", rows...)
	createIndex(t, e, "t", "by_number", "number")
	for _, inner := range []bool{false, true} {
		schema := nullable(keyedFields("number", "text"))
		l := openLookup(t, e, "t", LookupRequest{
			By: []string{"number"}, Schema: arrowipc.EncodeSchema(schema), Columns: []string{"id"}, Carry: true, Found: "found", Inner: inner,
		})
		header, body := keyedMessage(t, schema, []keyedRow{{0, "first", 1}, {0, "none", 9}, {0, "last", 3}})
		records, parts, err := l.ask(t.Context(), header, body)
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.Sorted(maps.Keys(parts[0].AsOf)); !slices.Equal(got, []int32{0, 1, 2}) {
			t.Errorf("buckets %v were asked", got)
		}
		var lines []string
		ids := map[string]bool{}
		for _, record := range records {
			for i := range int(record.NumRows()) {
				number, text := record.Column(0).(*array.Int64).Value(i), record.Column(1).(*array.String).Value(i)
				id, found := record.Column(2).(*array.Int64), record.Column(3).(*array.Boolean).Value(i)
				line := fmt.Sprintf("%d %s %v", number, text, found)
				if found == id.IsNull(i) || found && id.Value(i)%4 != number || ids[id.ValueStr(i)] {
					t.Errorf("row %s has id %s", line, id.ValueStr(i))
				}
				ids[id.ValueStr(i)] = true
				if len(lines) == 0 || lines[len(lines)-1] != line {
					lines = append(lines, line)
				}
			}
		}
		want := []string{"1 first true", "9 none false", "3 last true"}
		if inner {
			want = slices.Delete(want, 1, 2)
		}
		if !slices.Equal(lines, want) || len(ids) != 20+len(want)-2 {
			t.Errorf("inner %v: %v with %d ids, want %v", inner, lines, len(ids), want)
		}
	}
}

// TestLookupByLargeAnswer finds more rows than are gathered at once.
func TestLookupByLargeAnswer(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	createKeyed(t, e, "t", 2, nil)
	const rows = answerRows + 1000
	for from := int64(0); from < rows; from += 8192 {
		var some []keyedRow
		for id := from; id < min(from+8192, rows); id++ {
			some = append(some, keyedRow{id, "x", 1})
		}
		upsert(t, e, "t", some...)
	}
	createIndex(t, e, "t", "by_number", "number")
	got, _ := lookedUpBy(t, e, "t", LookupRequest{By: []string{"number"}}, byNumbers(1)...)
	seen := map[int64]bool{}
	for _, row := range got {
		seen[row.id] = true
	}
	if len(got) != rows || len(seen) != rows {
		t.Errorf("%d rows of %d keys, want %d", len(got), len(seen), rows)
	}
}

// TestLookupByBucketKey finds rows by the bucket key as a prefix of the primary key.
func TestLookupByBucketKey(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	e := open(t, testOptions(mem))
	createTable(t, e, CreateTable{
		Name: name(t, "t"), Schema: keyedSchema, PrimaryKey: []string{"number", "id"}, BucketKey: []string{"number"}, Buckets: 4,
	})
	var rows []keyedRow
	for id := range int64(100) {
		rows = append(rows, keyedRow{id, "x", id / 10})
	}
	upsert(t, e, "t", rows...)
	upsert(t, e, "t", keyedRow{33, "y", 3}, keyedRow{100, "new", 3})
	for range 2 {
		got, part := lookedUpBy(t, e, "t", LookupRequest{By: []string{"number"}}, byNumbers(3, 77)...)
		want := slices.Concat(rows[30:33], rows[34:40], []keyedRow{{33, "y", 3}, {100, "new", 3}, missed})
		wantFound(t, "by the bucket key", got, want...)
		if len(part.AsOf) > 2 {
			t.Errorf("buckets %v were asked, want those of the keys", part.AsOf)
		}
		if states, err := e.Indexes(name(t, "t")); err != nil || len(states) != 0 {
			t.Errorf("indexes are %v, %v", states, err)
		}
		closeEngine(t, e)
		e = open(t, testOptions(mem))
	}
	closeEngine(t, e)
}

func TestAlterIndexes(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	e := open(t, testOptions(mem))
	created := createKeyed(t, e, "t", 2, nil)
	createTable(t, e, CreateTable{Name: name(t, "log")})
	upsert(t, e, "t", keyedRow{1, "a", 10}, keyedRow{2, "b", 20})
	alter := func(table string, changes ...TableChange) error {
		_, err := e.AlterTable(t.Context(), name(t, table), Expect{ID: ""}, changes...)
		return err
	}
	index := func(name string, columns ...string) TableChange {
		return CreateIndex{model.Index{Name: name, Columns: columns}}
	}
	for _, c := range []struct {
		table   string
		want    error
		changes []TableChange
	}{
		{"t", model.IndexNotFound, []TableChange{index("x", "text"), DropIndex{"y"}}},
		{"t", model.IndexAlreadyExists, []TableChange{index("x", "text"), index("x", "number")}},
		{"t", model.ColumnNotFound, []TableChange{index("x", "nothing")}},
		{"t", model.BadRequest, []TableChange{index("x", "text"), SetOption{"log.ttl", "soon"}}},
		{"t", model.BadRequest, []TableChange{index("x", "id")}},
		{"log", model.BadRequest, []TableChange{index("x", "text")}},
	} {
		if err := alter(c.table, c.changes...); !errors.Is(err, c.want) {
			t.Errorf("%v: error %v, want %v", c.changes, err, c.want)
		}
	}
	if _, err := e.AlterTable(t.Context(), name(t, "t"), Expect{ID: "other"}, index("x", "text")); !errors.Is(err, model.TableReplaced) {
		t.Errorf("a change of another table: %v", err)
	}
	if table, err := e.Table(name(t, "t")); err != nil || len(table.Indexes) != 0 {
		t.Fatalf("%+v, %v", table, err)
	}
	schema := arrowipc.EncodeSchema(nullable(keyedFields("text")))
	if _, err := e.OpenLookup(t.Context(), LookupRequest{Table: created.Name, By: []string{"text"}, Schema: schema}); !errors.Is(err, model.BadRequest) {
		t.Errorf("a lookup without an index: %v", err)
	}
	if err := alter("t", index("x", "number"), DropIndex{"x"}, index("x", "text"), SetOption{"log.ttl", "1d"}); err != nil {
		t.Fatal(err)
	}
	awaitIndexes(t, e, "t")
	got, _ := lookedUpBy(t, e, "t", LookupRequest{By: []string{"text"}}, keyedRow{0, "b", 0})
	wantFound(t, "by text", got, keyedRow{2, "b", 20})
	request := LookupRequest{Table: created.Name, By: []string{"text"}, Schema: schema, InsertMissing: true}
	if _, err := e.OpenLookup(t.Context(), request); !errors.Is(err, model.BadRequest) {
		t.Errorf("an insertion by an index: %v", err)
	}

	// The same name for other columns, under a lookup that is open.
	l := openLookup(t, e, "t", LookupRequest{By: []string{"text"}, Schema: schema})
	if err := alter("t", DropIndex{"x"}); err != nil {
		t.Fatal(err)
	}
	header, body := keyedMessage(t, nullable(keyedFields("text")), []keyedRow{{0, "b", 0}})
	if _, _, err := l.ask(t.Context(), header, body); !errors.Is(err, model.IndexNotFound) {
		t.Errorf("a lookup by an index that was dropped: %v", err)
	}
	createIndex(t, e, "t", "x", "number")
	got, _ = lookedUpBy(t, e, "t", LookupRequest{By: []string{"number"}}, byNumbers(20)...)
	wantFound(t, "by number", got, keyedRow{2, "b", 20})
	closeEngine(t, e)

	e = open(t, testOptions(mem))
	defer closeEngine(t, e)
	got, _ = lookedUpBy(t, e, "t", LookupRequest{By: []string{"number"}}, byNumbers(10)...)
	wantFound(t, "behind a restart", got, keyedRow{1, "a", 10})
	states, err := e.Indexes(name(t, "t"))
	if err != nil || len(states) != 1 || states[0].Rows != 2 || states[0].Index.Name != "x" || states[0].Bytes == 0 {
		t.Errorf("indexes are %+v, %v", states, err)
	}
}

// TestRebuiltCatalogHasIndexes loses the definition of a table.
func TestRebuiltCatalogHasIndexes(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	e := open(t, testOptions(mem))
	table := createKeyed(t, e, "t", 1, nil)
	createIndex(t, e, "t", "by_number", "number")
	upsert(t, e, "t", keyedRow{1, "a", 10})
	closeEngine(t, e)
	if err := mem.Remove(tablesDir + "/" + table.ID + "/" + tableFile); err != nil {
		t.Fatal(err)
	}
	if checked, err := Check(mem, true, func(Finding) {}); err != nil || checked.Rebuilt != 1 {
		t.Fatalf("%+v, %v", checked, err)
	}
	e = open(t, testOptions(mem))
	defer closeEngine(t, e)
	got, _ := lookedUpBy(t, e, "t", LookupRequest{By: []string{"number"}}, byNumbers(10)...)
	wantFound(t, "by number", got, keyedRow{1, "a", 10})
}

// TestIndexesBehindCrashes writes, makes and drops indexes, and loses power, at random.
func TestIndexesBehindCrashes(t *testing.T) {
	for seed := range uint64(6) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		mem := vfs.NewMem(vfs.MemOptions{})
		options := testOptions(mem)
		e := open(t, options)
		createKeyed(t, e, "t", 1+int32(seed)%3, map[string]string{"log.durability": "fsync"})
		for range 25 {
			switch rnd.IntN(6) {
			case 0:
				column := []string{"text", "number"}[rnd.IntN(2)]
				index := model.Index{Name: "by_" + column, Columns: []string{column}}
				var change TableChange = CreateIndex{index}
				if table, err := e.Table(name(t, "t")); err == nil && table.Index(index.Name) != nil {
					change = DropIndex{index.Name}
				}
				if _, err := e.AlterTable(t.Context(), name(t, "t"), Expect{}, change); err != nil {
					t.Fatal(err)
				}
			case 1:
				if rnd.IntN(2) == 0 {
					closeEngine(t, e)
					e = open(t, options)
					break
				}
				crashed := mem.Crash(vfs.Cut{Mode: vfs.KeepNone})
				_ = e.Close(context.Background())
				mem, options.FS = crashed, crashed
				e = open(t, options)
			case 2:
				deleteKeys(t, e, "t", rnd.Int64N(20), rnd.Int64N(20))
			default:
				var rows []keyedRow
				for range rnd.IntN(8) {
					rows = append(rows, keyedRow{rnd.Int64N(20), fmt.Sprint(rnd.IntN(4)), rnd.Int64N(3)})
				}
				upsert(t, e, "t", rows...)
			}
			checkIndexes(t, e, "t")
		}
		closeEngine(t, e)
	}
}

// checkIndexes compares lookups by all indexes with the rows of the table.
func checkIndexes(t *testing.T, e *Engine, table string) {
	t.Helper()
	definition, err := e.Table(name(t, table))
	if err != nil {
		t.Fatal(err)
	}
	awaitIndexes(t, e, table)
	state := stateOfTable(t, e, table)
	byID := func(a, b keyedRow) int { return int(a.id - b.id) }
	for _, index := range definition.Indexes {
		for value := range int64(4) {
			key := keyedRow{0, fmt.Sprint(value), value}
			var want []keyedRow
			for _, row := range state {
				if index.Columns[0] == "text" && row.text == key.text || index.Columns[0] == "number" && row.number == key.number {
					want = append(want, row)
				}
			}
			got, _ := lookedUpBy(t, e, table, LookupRequest{By: index.Columns, Inner: true}, key)
			slices.SortFunc(got, byID)
			slices.SortFunc(want, byID)
			wantFound(t, index.Name, got, want...)
		}
	}
}

// TestIndexNotReady holds up the building of an index.
func TestIndexNotReady(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	e := open(t, testOptions(mem))
	hold := func() {
		for range indexBuildsMax {
			e.builds.slots <- struct{}{}
		}
	}
	release := func() {
		for range indexBuildsMax {
			<-e.builds.slots
		}
	}
	table := createKeyed(t, e, "t", 2, nil)
	upsert(t, e, "t", keyedRow{1, "a", 10}, keyedRow{2, "b", 20}, keyedRow{3, "c", 20})
	hold()
	change := CreateIndex{model.Index{Name: "by_number", Columns: []string{"number"}}}
	if _, err := e.AlterTable(t.Context(), table.Name, Expect{}, change); err != nil {
		t.Fatal(err)
	}
	request := LookupRequest{Table: table.Name, By: []string{"number"}, Schema: arrowipc.EncodeSchema(nullable(keyedFields("number")))}
	_, err := e.OpenLookup(t.Context(), request)
	if refused, ok := errors.AsType[*model.Error](err); !ok || refused.Reason != model.IndexNotReady || refused.Details["progress"] != 0.0 {
		t.Fatalf("a lookup by an index that is being built: %v", err)
	}
	if states, err := e.Indexes(table.Name); err != nil || states[0].Progress >= 1 {
		t.Fatalf("%+v, %v", states, err)
	}
	upsert(t, e, "t", keyedRow{1, "a", 20}, keyedRow{4, "d", 10})
	deleteKeys(t, e, "t", 3)
	release()
	checkIndexes(t, e, "t")

	// It is not built when the engine stops, but is when lookups begin behind the start.
	hold()
	if _, err := e.AlterTable(t.Context(), table.Name, Expect{}, DropIndex{"by_number"}, change); err != nil {
		t.Fatal(err)
	}
	closeEngine(t, e)
	e = open(t, testOptions(mem))
	defer closeEngine(t, e)
	hold()
	ctx, cancel := context.WithCancel(t.Context())
	answered := make(chan error)
	go func() {
		_, err := e.OpenLookup(ctx, request)
		answered <- err
	}()
	cancel()
	if err := <-answered; !errors.Is(err, context.Canceled) {
		t.Fatalf("a lookup that waits for an index: %v", err)
	}
	release()
	got, _ := lookedUpBy(t, e, "t", LookupRequest{By: []string{"number"}}, byNumbers(10)...)
	wantFound(t, "behind a restart", got, keyedRow{4, "d", 10})
}
