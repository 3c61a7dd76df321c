package engine

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// evolvingForms are the forms of tables with the columns id, day and some more.
var evolvingForms = map[string]CreateTable{
	"log":              {BucketKey: []string{"id"}},
	"keyed":            {PrimaryKey: []string{"id", "day"}, BucketKey: []string{"id"}},
	"partitions":       {BucketKey: []string{"id"}, PartitionBy: []string{"day"}},
	"keyed partitions": {PrimaryKey: []string{"id", "day"}, BucketKey: []string{"id"}, PartitionBy: []string{"day"}},
}

// TestColumnsOfATableThatGrows changes columns, that of the bucket key too, and the number of buckets by turns, while
// one stream that was opened before goes on.
func TestColumnsOfATableThatGrows(t *testing.T) {
	const columns = "id int64 not null, day string not null, a int8"
	for what, request := range evolvingForms {
		t.Run(what, func(t *testing.T) {
			files := vfs.NewMem(vfs.MemOptions{})
			options := testOptions(files)
			options.OpenCold = filesColdOf(files)
			e := open(t, options)
			request.Name, request.Schema, request.Buckets = name(t, "t"), schemaOfText(t, columns), 2
			createTable(t, e, request)
			old := mustOpen(t, e, "t", columns, PutRequest{})
			rows := 0
			write := func() {
				for _, day := range []string{"mon", "tue"} {
					text := ""
					for i := range 8 {
						text += fmt.Sprintf(`,{"id":%d,"day":%q,"a":%d}`, rows+i, day, i)
					}
					old.mustWrite("[" + text[1:] + "]")
					rows += 8
				}
			}
			check := func(at string) {
				t.Helper()
				got := map[float64]float64{}
				for _, row := range readJSON(t, e, "t") {
					got[row["key"].(float64)] = row["a"].(float64)
				}
				if len(got) != rows {
					t.Errorf("%s: %d rows, want %d", at, len(got), rows)
				}
				for key, a := range got {
					if int(key)%8 != int(a) {
						t.Errorf("%s: row %v has %v", at, key, a)
					}
				}
				kept := openJSONReader(t, e, Scan{Table: name(t, "t"), Filter: condition(t, "a >= 6 and day = 'mon'")}).all()
				if len(kept) != rows/8 {
					t.Errorf("%s: %d rows with a filter, want %d", at, len(kept), rows/8)
				}
			}
			write()
			alter(t, e, "t", model.RenameColumn{Path: columnPath{"id"}, To: "key"}, model.MoveColumn{Path: columnPath{"day"}, Place: model.Place{First: true}})
			write()
			growTable(t, e, "t")
			check("grown")
			write()
			alter(t, e, "t", model.SetType{Path: columnPath{"a"}, Type: fieldOfText(t, "a int32").Type}, model.AddColumn{Path: columnPath{"n"}, Field: fieldOfText(t, "n string"), Default: "new"})
			for _, b := range e.catalog.lookup(name(t, "t")).opened() {
				if b.keyed != nil && b.keyed.End() > 0 {
					if err := e.retireBucket(t.Context(), b, b.keyed.End()/2, e.newPacer()); err != nil {
						t.Fatal(err)
					}
				}
			}
			write()
			check("changed behind that")
			growTable(t, e, "t")
			write()
			check("grown again")
			both, err := e.AlterTable(t.Context(), name(t, "t"), Expect{}, SetBuckets{16}, ChangeColumns{[]model.ColumnChange{
				model.DropColumn{Path: columnPath{"n"}}, model.SetType{Path: columnPath{"a"}, Type: fieldOfText(t, "a int64").Type},
				model.RenameColumn{Path: columnPath{"key"}, To: "k"}, model.AddColumn{Path: columnPath{"m"}, Field: fieldOfText(t, "m int8")},
			}}, SetOption{"log.ttl", "9d"})
			if err != nil || both.Buckets != 16 || both.Options["log.ttl"] != "9d" || both.Schema.NumFields() != 4 {
				t.Fatalf("both at once: %+v, %v", both, err)
			}
			write()
			alter(t, e, "t", model.RenameColumn{Path: columnPath{"k"}, To: "key"})
			check("grown and changed at once")
			closeEngine(t, e)
			checkUndamaged(t, "closed", files)
			e = open(t, options)
			defer closeEngine(t, e)
			check("behind a restart")
			old = mustOpen(t, e, "t", columns, PutRequest{})
			write()
			check("at the end")
		})
	}
}

// TestFilteredFollowersEndAtASchemaChange gather rows, and give them before they end.
func TestFilteredFollowersEndAtASchemaChange(t *testing.T) {
	for _, keyed := range []bool{false, true} {
		e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
		const columns = "id int64 not null, a int16"
		scan := Scan{Table: name(t, "t"), To: Bound{Kind: BoundNever}, Filter: condition(t, "id > 1"), EndAtSchemaChange: true}
		if keyed {
			createText(t, e, "t", columns, "id", nil)
			scan.View = ViewBeforeAfter
		} else {
			createText(t, e, "t", columns, "", nil)
		}
		w := mustOpen(t, e, "t", columns, PutRequest{})
		for id := range 4 {
			w.mustWrite(fmt.Sprintf(`[{"id":%d,"a":%[1]d}]`, id))
		}
		read := openJSONReader(t, e, scan)
		keeps := scan
		keeps.EndAtSchemaChange = false
		narrow := openJSONReader(t, e, keeps)
		alter(t, e, "t", model.SetType{Path: columnPath{"a"}, Type: fieldOfText(t, "a int64").Type})
		next := mustOpen(t, e, "t", "id int64 not null, a int64", PutRequest{})
		next.mustWrite(`[{"id":0,"a":100000}]`) // dropped by the filter, and only behind the change
		if rows := read.all(); len(rows) != 2 || read.end != EndSchemaChanged || read.last.Offsets[0] != 4 {
			t.Errorf("keyed %v: %d rows, end %q at %v", keyed, len(rows), read.end, read.last)
		}
		next.mustWrite(`[{"id":6,"a":7}]`)
		next.mustWrite(`[{"id":7,"a":100000}]`) // has no form in the schema of the read
		if rows := narrow.all(); len(rows) != 3 || narrow.end != EndSchemaChanged || narrow.last.Offsets[0] != map[bool]int64{false: 6, true: 7}[keyed] {
			t.Errorf("keyed %v, going on: %d rows, end %q at %v", keyed, len(rows), narrow.end, narrow.last)
		}
		closeEngine(t, e)
	}
}

// TestEvolveIsWholeOrNothing fails for a bucket with rows: those that were ready are as they were.
func TestEvolveIsWholeOrNothing(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	const columns = "id int64 not null, a int8"
	createTable(t, e, CreateTable{Name: name(t, "t"), Schema: schemaOfText(t, columns), PrimaryKey: []string{"id"}, Buckets: 4})
	w := mustOpen(t, e, "t", columns, PutRequest{})
	w.mustWrite(`[{"id":1,"a":1}]`)
	table := e.catalog.lookup(name(t, "t"))
	changed, err := table.definition.Load().WithColumns(model.DropColumn{Path: columnPath{"a"}})
	if err == nil {
		changed, err = table.definition.Load().Succeed(changed)
	}
	if err != nil {
		t.Fatal(err)
	}
	changed.Versions = nil // so that nothing is known of rows that are there
	next, err := newTableSchema(table, changed)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 { // buckets come in any order
		if err := e.control(t.Context(), func() error { return table.evolve(next) }); !errors.Is(err, model.Corrupt) {
			t.Fatalf("a change of what is not known: %v", err)
		}
	}
	w.mustWrite(`[{"id":1,"a":2},{"id":2,"a":3},{"id":3,"a":4},{"id":4,"a":5}]`)
	if rows := readJSON(t, e, "t"); len(rows) != 4 {
		t.Errorf("%d rows", len(rows))
	}
	alter(t, e, "t", model.RenameColumn{Path: columnPath{"a"}, To: "b"})
	w.mustWrite(`[{"id":5,"a":6}]`)
	if rows := readJSON(t, e, "t", "b"); len(rows) != 5 {
		t.Errorf("%d rows behind a change", len(rows))
	}
}

// TestRetiredRowsAreLetGo closes servers that have read retired rows of a table that has grown: what reads them is
// released by the garbage collector, and must not hold the table.
func TestRetiredRowsAreLetGo(t *testing.T) {
	const servers = 3
	var collected atomic.Int32
	for range servers {
		files := vfs.NewMem(vfs.MemOptions{})
		options := testOptions(files)
		options.OpenCold = filesColdOf(files)
		e := open(t, options)
		createText(t, e, "t", "id int64 not null, a int8", "id", nil)
		w := mustOpen(t, e, "t", "id int64 not null, a int8", PutRequest{})
		w.mustWrite(`[{"id":1,"a":1},{"id":2,"a":2}]`)
		growTable(t, e, "t")
		if err := e.retireBucket(t.Context(), testBucket(t, e, "t"), 2, e.newPacer()); err != nil {
			t.Fatal(err)
		}
		alter(t, e, "t", model.RenameColumn{Path: columnPath{"a"}, To: "b"})
		w.mustWrite(`[{"id":1,"a":3}]`)
		if rows := readJSON(t, e, "t", "b"); len(rows) != 2 {
			t.Errorf("%d rows", len(rows))
		}
		closeEngine(t, e)
		runtime.AddCleanup(e, func(*atomic.Int32) { collected.Add(1) }, nil)
	}
	for range 100 {
		if runtime.GC(); collected.Load() >= servers-1 { // one may be on the stack
			return
		}
	}
	t.Errorf("%d of %d servers are not given back", servers-collected.Load(), servers)
}
