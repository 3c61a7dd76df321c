package engine

import (
	"errors"
	"testing"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

type columnPath = model.ColumnPath

// changesOfAllKinds are changes of a table (id int64, name string, age int8, s struct<a: int8, b: string>).
func changesOfAllKinds(t testing.TB) []model.ColumnChange {
	return []model.ColumnChange{
		model.AddColumn{Path: columnPath{"score"}, Field: fieldOfText(t, "score double not null"), Default: 0.5, Place: model.Place{After: "id"}},
		model.RenameColumn{Path: columnPath{"name"}, To: "label"},
		model.SetType{Path: columnPath{"age"}, Type: fieldOfText(t, "x int32").Type},
		model.AddColumn{Path: columnPath{"s", "c"}, Field: fieldOfText(t, "c string"), Default: "new"},
		model.DropColumn{Path: columnPath{"s", "b"}},
		model.MoveColumn{Path: columnPath{"s"}, Place: model.Place{First: true}},
		model.AddColumn{Path: columnPath{"none"}, Field: fieldOfText(t, "none int64")},
	}
}

const evolvedColumns = "id int64 not null, name string, age int8, s struct<a: int8, b: string>"

func TestOldRowsShowTheNewSchema(t *testing.T) {
	for _, key := range []string{"", "id"} {
		t.Run("key "+key, func(t *testing.T) {
			files := vfs.NewMem(vfs.MemOptions{})
			e := open(t, testOptions(files))
			createText(t, e, "t", evolvedColumns, key, nil)
			mustOpen(t, e, "t", evolvedColumns, PutRequest{}).mustWrite(
				`[{"id":1,"name":"x","age":7,"s":{"a":1,"b":"gone"}},{"id":2,"name":null,"age":null,"s":null}]`)
			definition := alter(t, e, "t", changesOfAllKinds(t)...)
			if definition.SchemaVersion != 2 || len(definition.Versions) != 1 {
				t.Errorf("the version is %d, and %d are known before it", definition.SchemaVersion, len(definition.Versions))
			}
			const old = `{"s":{"a":1,"c":"new"},"id":1,"score":0.5,"label":"x","age":7,"none":null},
				{"s":null,"id":2,"score":0.5,"label":null,"age":null,"none":null}`
			const later = `{"s":{"a":3,"c":"d"},"id":3,"score":1.5,"label":"y","age":70000,"none":9}`
			check := func(what string) {
				t.Helper()
				sameJSON(t, what, readJSON(t, e, "t"), "["+old+"]")
				sameJSON(t, what+", two columns", readJSON(t, e, "t", "age", "label"), `[{"age":7,"label":"x"},{"age":null,"label":null}]`)
				sameJSON(t, what+", an added column", readJSON(t, e, "t", "score"), `[{"score":0.5},{"score":0.5}]`)
			}
			check("at once")
			closeEngine(t, e)
			e = open(t, testOptions(files))
			check("behind a restart")
			mustOpen(t, e, "t", "s struct<a: int8, c: string>, id int64 not null, score double not null, label string, age int32, none int64",
				PutRequest{}).mustWrite("[" + later + "]")
			sameJSON(t, "with new rows", readJSON(t, e, "t"), "["+old+","+later+"]")
			sameJSON(t, "limited", openJSONReader(t, e, Scan{Table: name(t, "t"), Limit: 1, HasLimit: true}).all(),
				`[{"s":{"a":1,"c":"new"},"id":1,"score":0.5,"label":"x","age":7,"none":null}]`)
			closeEngine(t, e)
			checkUndamaged(t, "at the end", files)
			if err := files.Remove("tables/" + definition.ID + "/" + tableFile); err != nil {
				t.Fatal(err)
			}
			if _, err := Check(files, true, func(Finding) {}); err != nil {
				t.Fatal(err)
			}
			e = open(t, testOptions(files))
			defer closeEngine(t, e)
			sameJSON(t, "behind a rebuild of the catalog", readJSON(t, e, "t"), "["+old+","+later+"]")
		})
	}
}

func TestOpenWritersGoOn(t *testing.T) {
	for _, key := range []string{"", "id"} {
		t.Run("key "+key, func(t *testing.T) {
			e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
			defer closeEngine(t, e)
			createText(t, e, "t", "id int64 not null, a int8, b string, gone int8", key, nil)
			all := mustOpen(t, e, "t", "id int64 not null, a int8, b string, gone int8", PutRequest{})
			some := mustOpen(t, e, "t", "id int64 not null, b string, a int8", PutRequest{Columns: map[bool][]string{true: {"id", "b", "a"}}[key != ""]})
			all.mustWrite(`[{"id":1,"a":1,"b":"x","gone":1}]`)
			alter(t, e, "t", model.RenameColumn{Path: columnPath{"b"}, To: "c"}, model.SetType{Path: columnPath{"a"}, Type: fieldOfText(t, "x int64").Type},
				model.AddColumn{Path: columnPath{"n"}, Field: fieldOfText(t, "n int32"), Default: 5.0, Place: model.Place{First: true}},
				model.AddColumn{Path: columnPath{"b"}, Field: fieldOfText(t, "b string")})
			all.mustWrite(`[{"id":2,"a":-2,"b":"y","gone":2}]`)
			some.mustWrite(`[{"id":3,"b":"z","a":3}]`)
			want := `[{"n":5,"id":1,"a":1,"c":"x","gone":1,"b":null},{"n":5,"id":2,"a":-2,"c":"y","gone":2,"b":null},{"n":5,"id":3,"a":3,"c":"z","gone":null,"b":null}]`
			sameJSON(t, "behind the first change", readJSON(t, e, "t"), want)

			alter(t, e, "t", model.DropColumn{Path: columnPath{"gone"}})
			some.mustWrite(`[{"id":4,"b":"w","a":4}]`)
			if _, err := all.write(nil, `[{"id":5,"a":5,"b":"v","gone":5}]`); !errors.Is(err, model.SchemaChanged) {
				t.Errorf("a batch with a column that was dropped: %v", err)
			}
			want = `[{"n":5,"id":1,"a":1,"c":"x","b":null},{"n":5,"id":2,"a":-2,"c":"y","b":null},{"n":5,"id":3,"a":3,"c":"z","b":null},{"n":5,"id":4,"a":4,"c":"w","b":null}]`
			sameJSON(t, "behind the second change", readJSON(t, e, "t"), want)
			if _, err := all.write(nil, `[{"id":6,"a":5,"b":"v","gone":5}]`); !errors.Is(err, model.SchemaChanged) {
				t.Errorf("a batch behind one that was refused: %v", err)
			}
			// A stream that is opened now with the types of then is taken, one with a dropped column is not.
			request := PutRequest{}
			if key != "" {
				request.Columns = []string{"id", "a"}
			}
			mustOpen(t, e, "t", "id int64 not null, a int8", request).mustWrite(`[{"id":7,"a":7}]`)
			if _, err := openJSONWriter(t, e, "t", schemaOfText(t, "id int64 not null, a int8, b string, gone int8"), PutRequest{}); !errors.Is(err, model.SchemaMismatch) {
				t.Errorf("a new stream with a dropped column: %v", err)
			}
			if rows := readJSON(t, e, "t", "id", "a"); len(rows) != 5 || rows[4]["a"] != 7.0 {
				t.Errorf("the rows are %s", jsonOf(t, rows))
			}
		})
	}
}

// What a stream does not know of keeps its value.
func TestOldUpsertsKeepNewColumns(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	createText(t, e, "t", "id int64 not null, a int8", "id", nil)
	old := mustOpen(t, e, "t", "id int64 not null, a int8", PutRequest{})
	alter(t, e, "t", model.AddColumn{Path: columnPath{"n"}, Field: fieldOfText(t, "n int32"), Default: 5.0})
	mustOpen(t, e, "t", "id int64 not null, a int8, n int32", PutRequest{}).mustWrite(`[{"id":1,"a":1,"n":77}]`)
	old.mustWrite(`[{"id":1,"a":2},{"id":2,"a":3}]`)
	sameJSON(t, "rows", readJSON(t, e, "t"), `[{"id":1,"a":2,"n":77},{"id":2,"a":3,"n":5}]`)
}

// Rows that were sent before a change, and are taken behind it, are those of the schema that they were sent in.
func TestQueuedRowsAreAdopted(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	createText(t, e, "t", "a int8, b string", "", nil)
	w := mustOpen(t, e, "t", "a int8, b string", PutRequest{})
	release := hold(t, e)
	altered := make(chan error, 1)
	go func() {
		_, err := e.AlterTable(t.Context(), name(t, "t"), Expect{SchemaVersion: 1}, ChangeColumns{[]model.ColumnChange{
			model.MoveColumn{Path: columnPath{"b"}, Place: model.Place{First: true}}, model.SetType{Path: columnPath{"a"}, Type: fieldOfText(t, "a int64").Type},
		}})
		altered <- err
	}()
	awaitQueue(e, 1) // the change is before the rows
	first, err := w.send(nil, `[{"a":1,"b":"x"}]`)
	if err != nil {
		t.Fatal(err)
	}
	release()
	if err := <-altered; err != nil {
		t.Fatal(err)
	}
	<-first.Done()
	if _, err := first.Ack(); err != nil {
		t.Fatal(err)
	}
	sameJSON(t, "rows", readJSON(t, e, "t"), `[{"b":"x","a":1}]`)
	if _, err := e.AlterTable(t.Context(), name(t, "t"), Expect{SchemaVersion: 1}, ChangeColumns{}); !errors.Is(err, model.SchemaChanged) {
		t.Errorf("a change of an older version: %v", err)
	}
}

// A retry is the request that it was, whatever became of the schema.
func TestRetriesAreKnownAcrossChanges(t *testing.T) {
	for _, key := range []string{"", "id"} {
		t.Run("key "+key, func(t *testing.T) {
			files := vfs.NewMem(vfs.MemOptions{})
			e := open(t, testOptions(files))
			createText(t, e, "t", "id int64 not null, a int8", key, nil)
			if _, err := e.OpenProducer(t.Context(), name(t, "t"), "p", true); err != nil {
				t.Fatal(err)
			}
			alter(t, e, "t", model.AddColumn{Path: columnPath{"z"}, Field: fieldOfText(t, "z int8")}) // nothing but the epoch is there
			request := PutRequest{Producer: "p", Epoch: 1}
			if key != "" {
				request.Columns = []string{"id", "a"}
			}
			const columns, rows = "id int64 not null, a int8", `[{"id":1,"a":1}]`
			first, err := mustOpen(t, e, "t", columns, request).write(&Sequence{Number: 0}, rows)
			if err != nil {
				t.Fatal(err)
			}
			alter(t, e, "t", model.AddColumn{Path: columnPath{"n"}, Field: fieldOfText(t, "n string"), Default: "d", Place: model.Place{First: true}},
				model.SetType{Path: columnPath{"a"}, Type: fieldOfText(t, "a int64").Type})
			for range 2 {
				again, err := mustOpen(t, e, "t", columns, request).write(&Sequence{Number: 0}, rows)
				if err != nil || !again.Duplicate || again.Offsets[0] != first.Offsets[0] {
					t.Errorf("the retry gave %+v, %v", again, err)
				}
				if _, err := mustOpen(t, e, "t", columns, request).write(&Sequence{Number: 0}, `[{"id":1,"a":2}]`); !errors.Is(err, model.SequenceReused) {
					t.Errorf("other rows under the same number: %v", err)
				}
				closeEngine(t, e)
				e = open(t, testOptions(files))
			}
			defer closeEngine(t, e)
			sameJSON(t, "rows", readJSON(t, e, "t", "id", "n", "a"), `[{"id":1,"n":"d","a":1}]`)
		})
	}
}

func TestFollowersAcrossChanges(t *testing.T) {
	for _, key := range []string{"", "id"} {
		t.Run("key "+key, func(t *testing.T) {
			e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
			defer closeEngine(t, e)
			const columns = "id int64 not null, a int8, b string"
			createText(t, e, "t", columns, key, nil)
			mustOpen(t, e, "t", columns, PutRequest{}).mustWrite(`[{"id":1,"a":1,"b":"x"}]`)
			view := ViewDefault
			if key != "" {
				view = ViewChangelog
			}
			scan := Scan{Table: name(t, "t"), To: Bound{Kind: BoundNever}, View: view}
			keep := openJSONReader(t, e, scan)
			defer keep.reader.Close()
			scan.EndAtSchemaChange = true
			ends := openJSONReader(t, e, scan)
			defer ends.reader.Close()
			plan, err := e.Plan(t.Context(), Scan{Table: name(t, "t")})
			if err != nil {
				t.Fatal(err)
			}
			sameJSON(t, "before", keep.next(), `[{"id":1,"a":1,"b":"x"}]`)
			sameJSON(t, "before", ends.next(), `[{"id":1,"a":1,"b":"x"}]`)

			alter(t, e, "t", model.SetType{Path: columnPath{"a"}, Type: fieldOfText(t, "a int64").Type}, model.RenameColumn{Path: columnPath{"b"}, To: "c"},
				model.AddColumn{Path: columnPath{"n"}, Field: fieldOfText(t, "n string"), Place: model.Place{First: true}})
			if rows := ends.next(); ends.end != EndSchemaChanged || len(rows) != 0 || ends.last.Offsets[0] != 1 {
				t.Errorf("the end mark is %q with %d rows at %v", ends.end, len(rows), ends.last)
			}
			now := mustOpen(t, e, "t", "n string, id int64 not null, a int64, c string", PutRequest{})
			now.mustWrite(`[{"n":"n","id":2,"a":2,"c":"y"}]`)
			sameJSON(t, "kept", keep.next(), `[{"id":2,"a":2,"b":"y"}]`)
			alter(t, e, "t", model.DropColumn{Path: columnPath{"c"}})
			mustOpen(t, e, "t", "n string, id int64 not null, a int64", PutRequest{}).mustWrite(`[{"n":"n","id":3,"a":3}]`)
			sameJSON(t, "dropped", keep.next(), `[{"id":3,"a":3,"b":null}]`)
			mustOpen(t, e, "t", "n string, id int64 not null, a int64", PutRequest{}).mustWrite(`[{"n":"n","id":4,"a":300}]`)
			if rows := keep.next(); keep.end != EndSchemaChanged || len(rows) != 0 || keep.last.Offsets[0] != 3 {
				t.Errorf("the end mark is %q with %d rows at %v", keep.end, len(rows), keep.last)
			}
			scan.EndAtSchemaChange, scan.From = false, Bound{Kind: BoundOffsets, Position: keep.last}
			again := openJSONReader(t, e, scan)
			defer again.reader.Close()
			sameJSON(t, "opened again", again.next(), `[{"n":"n","id":4,"a":300}]`)
			planned := Scan{Table: name(t, "t"), Plan: plan.ID}
			if key == "" {
				planned.From, planned.To = offsetBound(plan.Ranges[0].From), offsetBound(plan.Ranges[0].To)
			}
			sameJSON(t, "planned before", openJSONReader(t, e, planned).all(), `[{"id":1,"a":1,"b":"x"}]`)
		})
	}
}

func offsetBound(offset int64) Bound {
	return Bound{Kind: BoundOffsets, Position: model.Position{Offsets: model.Offsets{0: offset}}}
}

func TestLookupsAcrossChanges(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	const columns = "id int64 not null, a int8, b string, s struct<x: int8, y: string>"
	createText(t, e, "t", columns, "id", nil)
	if _, err := e.AlterTable(t.Context(), name(t, "t"), Expect{}, CreateIndex{model.Index{Name: "by_b", Columns: []string{"b"}}}); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, e, "t", columns, PutRequest{}).mustWrite(`[{"id":1,"a":1,"b":"x","s":{"x":1,"y":"q"}},{"id":2,"a":2,"b":"y","s":null}]`)
	id, b := schemaOfText(t, "id int64"), schemaOfText(t, "b string")
	l, err := e.OpenLookup(t.Context(), LookupRequest{Table: name(t, "t"), Schema: arrowipc.EncodeSchema(id), Carry: true, Prefix: "u_", Found: "found"})
	if err != nil {
		t.Fatal(err)
	}
	by := func() *Lookup {
		column := readJSON(t, e, "t")[0]
		key := b
		if _, renamed := column["c"]; renamed {
			key = schemaOfText(t, "c string")
		}
		l, err := e.OpenLookup(t.Context(), LookupRequest{Table: name(t, "t"), Schema: arrowipc.EncodeSchema(key), By: []string{key.Field(0).Name}, Columns: []string{"id", "a"}})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	before := by()
	ask := func(what string, l *Lookup, want string) {
		t.Helper()
		got, err := lookupJSON(t, l, id, `[{"id":2},{"id":1},{"id":9}]`)
		if err != nil {
			t.Fatal(err)
		}
		sameJSON(t, what, got, want)
	}
	const missing = `{"id":9,"u_id":null,"u_a":null,"u_b":null,"u_s":null,"found":false}`
	ask("before", l, `[{"id":2,"u_id":2,"u_a":2,"u_b":"y","u_s":null,"found":true},{"id":1,"u_id":1,"u_a":1,"u_b":"x","u_s":{"x":1,"y":"q"},"found":true},`+missing+`]`)
	alter(t, e, "t", model.SetType{Path: columnPath{"a"}, Type: fieldOfText(t, "a int64").Type}, model.RenameColumn{Path: columnPath{"b"}, To: "c"},
		model.DropColumn{Path: columnPath{"s", "y"}}, model.MoveColumn{Path: columnPath{"c"}, Place: model.Place{First: true}},
		model.RenameColumn{Path: columnPath{"id"}, To: "key"}, model.AddColumn{Path: columnPath{"n"}, Field: fieldOfText(t, "n string"), Default: "d"})
	const first = `{"id":1,"u_id":1,"u_a":1,"u_b":"x","u_s":{"x":1,"y":null},"found":true}`
	ask("behind it", l, `[{"id":2,"u_id":2,"u_a":2,"u_b":"y","u_s":null,"found":true},`+first+`,`+missing+`]`)
	mustOpen(t, e, "t", "key int64 not null, a int64, c string, s struct<x: int8>, n string", PutRequest{}).mustWrite(
		`[{"key":2,"a":-2,"c":"x","s":{"x":5},"n":"m"}]`)
	ask("with new rows", l, `[{"id":2,"u_id":2,"u_a":-2,"u_b":"x","u_s":{"x":5,"y":null},"found":true},`+first+`,`+missing+`]`)
	for what, l := range map[string]*Lookup{"an index, opened before": before, "an index": nil} {
		key, want := b, `[{"id":1,"a":1},{"id":2,"a":-2}]`
		if l == nil {
			var err error
			key, want = schemaOfText(t, "c string"), `[{"key":1,"n":"d"},{"key":2,"n":"m"}]`
			if l, err = e.OpenLookup(t.Context(), LookupRequest{Table: name(t, "t"), Schema: arrowipc.EncodeSchema(key), By: []string{"c"}, Columns: []string{"key", "n"}}); err != nil {
				t.Fatal(err)
			}
		}
		got, err := lookupJSON(t, l, key, `[{"`+key.Field(0).Name+`":"x"}]`)
		if err != nil {
			t.Fatal(err)
		}
		sameJSON(t, what, got, want)
	}
	mustOpen(t, e, "t", "key int64 not null, a int64, c string, s struct<x: int8>, n string", PutRequest{}).mustWrite(
		`[{"key":2,"a":1000,"c":"x","s":null,"n":"m"}]`)
	if _, err := lookupJSON(t, l, id, `[{"id":2}]`); !errors.Is(err, model.SchemaChanged) {
		t.Errorf("a value that does not fit: %v", err)
	}
	beside, err := lookupJSON(t, l, id, `[{"id":1}]`)
	if err != nil {
		t.Fatal(err)
	}
	sameJSON(t, "a value beside it", beside, "["+first+"]")
}

func TestPartitionsAcrossChanges(t *testing.T) {
	for _, key := range []string{"", "id"} {
		t.Run("key "+key, func(t *testing.T) {
			files := vfs.NewMem(vfs.MemOptions{})
			e := open(t, testOptions(files))
			const columns = "id int64 not null, day string not null, a int8, gone int8"
			request := CreateTable{Name: name(t, "t"), Schema: schemaOfText(t, columns), PartitionBy: []string{"day"}, Buckets: 2}
			if key != "" {
				request.PrimaryKey = []string{"id", "day"}
			}
			createTable(t, e, request)
			old := mustOpen(t, e, "t", columns, PutRequest{})
			old.mustWrite(`[{"id":1,"day":"mon","a":1,"gone":1},{"id":2,"day":"tue","a":2,"gone":2}]`)
			alter(t, e, "t", model.RenameColumn{Path: columnPath{"day"}, To: "date"}, model.SetType{Path: columnPath{"a"}, Type: fieldOfText(t, "a int64").Type},
				model.MoveColumn{Path: columnPath{"date"}, Place: model.Place{First: true}})
			for _, change := range []model.ColumnChange{model.DropColumn{Path: columnPath{"date"}}, model.SetType{Path: columnPath{"date"}, Type: fieldOfText(t, "a large_string").Type}} {
				if _, err := e.AlterTable(t.Context(), name(t, "t"), Expect{}, ChangeColumns{[]model.ColumnChange{change}}); !errors.Is(err, model.BadRequest) {
					t.Errorf("%T of a partition column: %v", change, err)
				}
			}
			old.mustWrite(`[{"id":3,"day":"mon","a":3,"gone":3},{"id":4,"day":"wed","a":4,"gone":4}]`)
			mustOpen(t, e, "t", "date string not null, id int64 not null, a int64, gone int8", PutRequest{}).mustWrite(`[{"date":"mon","id":5,"a":500,"gone":5}]`)
			alter(t, e, "t", model.DropColumn{Path: columnPath{"gone"}})
			if _, err := old.write(nil, `[{"id":6,"day":"thu","a":6,"gone":6}]`); !errors.Is(err, model.SchemaChanged) {
				t.Errorf("rows with a dropped column: %v", err)
			}
			check := func(what string) {
				t.Helper()
				scan := Scan{Table: name(t, "t"), Partitions: []PartitionValues{{"date": "mon"}}, Buckets: nil}
				ids := map[float64]any{}
				for _, row := range openJSONReader(t, e, scan).all() {
					ids[row["id"].(float64)] = row["a"]
				}
				if len(ids) != 3 || ids[1] != 1.0 || ids[3] != 3.0 || ids[5] != 500.0 {
					t.Errorf("%s: the partition has %v", what, ids)
				}
				if rows := readJSON(t, e, "t"); len(rows) != 5 {
					t.Errorf("%s: %d rows", what, len(rows))
				}
				if list, err := e.Partitions(name(t, "t"), nil); err != nil || len(list) != 3 {
					t.Errorf("%s: partitions %v, %v", what, list, err)
				}
			}
			check("at once")
			closeEngine(t, e)
			checkUndamaged(t, "closed", files)
			e = open(t, testOptions(files))
			defer closeEngine(t, e)
			check("behind a restart")
		})
	}
}
