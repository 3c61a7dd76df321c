package engine

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// sortedTexts gives rows as sorted lines.
func sortedTexts(rows []map[string]any) []string {
	texts := make([]string, len(rows))
	for i, row := range rows {
		texts[i] = fmt.Sprint(row)
	}
	slices.Sort(texts)
	return texts
}

// writePartitionsOfSeveralVersions writes rows of other partitions under each version of the schema, the last of
// which has another name for the partition column. The newest one has rows of one partition alone.
func writePartitionsOfSeveralVersions(t *testing.T, e *Engine, request CreateTable, grows bool) {
	t.Helper()
	const columns = "id int64 not null, day string not null, a int8, s struct<x: int8, y: string>"
	request.Name, request.Schema, request.Buckets = name(t, "t"), schemaOfText(t, columns), 2
	createTable(t, e, request)
	write := func(columns string, from int, form string, days ...string) {
		var texts []string
		for i := range 8 {
			for _, day := range days {
				texts = append(texts, strings.NewReplacer("ID", fmt.Sprint(from+i), "DAY", day).Replace(form))
			}
		}
		mustOpen(t, e, "t", columns, PutRequest{}).mustWrite("[" + strings.Join(texts, ",") + "]")
	}
	write(columns, 0, `{"id":ID,"day":"DAY","a":1,"s":{"x":2,"y":"old"}}`, "mon", "tue", "wed")
	alter(t, e, "t", model.DropColumn{Path: columnPath{"s", "y"}}, model.RenameColumn{Path: columnPath{"a"}, To: "b"},
		model.AddColumn{Path: columnPath{"n"}, Field: fieldOfText(t, "n int32"), Default: 5.0, Place: model.Place{First: true}})
	if grows {
		growTable(t, e, "t")
	}
	write("n int32, id int64 not null, day string not null, b int8, s struct<x: int8>", 100,
		`{"n":6,"id":ID,"day":"DAY","b":2,"s":{"x":3}}`, "tue", "thu")
	alter(t, e, "t", model.RenameColumn{Path: columnPath{"day"}, To: "date"}, model.RenameColumn{Path: columnPath{"id"}, To: "key"},
		model.SetType{Path: columnPath{"b"}, Type: fieldOfText(t, "b int32").Type})
	write("n int32, key int64 not null, date string not null, b int32, s struct<x: int8>", 200,
		`{"n":7,"key":ID,"date":"DAY","b":70000,"s":null}`, "wed")
}

// TestRebuildPartitionsOfSeveralVersions loses files of the catalog of partitioned tables whose segments have different
// versions of the schema, and makes them anew from those.
func TestRebuildPartitionsOfSeveralVersions(t *testing.T) {
	for form, request := range evolvingForms {
		for _, grows := range []bool{false, true} {
			if request.PartitionBy == nil {
				continue
			}
			for _, lost := range [][]string{{partitionsFile}, {tableFile}, {partitionsFile, tableFile}, {partitionsFile, tableFile, commitDir}} {
				t.Run(fmt.Sprint(form, " grows ", grows, " without ", lost), func(t *testing.T) {
					testRebuild(t, request, grows, lost)
				})
			}
		}
	}
}

// wantRebuilt checks that the definition is what it was.
func wantRebuilt(t *testing.T, e *Engine, before *model.Table) *model.Table {
	t.Helper()
	after, err := e.Table(before.Name)
	if err != nil {
		t.Fatal(err)
	}
	if !after.Schema.Equal(before.Schema) || after.SchemaVersion != 3 || len(after.Versions) != 2 || after.Buckets != before.Buckets ||
		!slices.Equal(after.PartitionBy, before.PartitionBy) || !slices.Equal(after.BucketKey, before.BucketKey) ||
		!slices.Equal(after.FieldIDs, before.FieldIDs) || !reflect.DeepEqual(after.Initial, before.Initial) {
		t.Errorf("the definition is\n%+v, want\n%+v", after, before)
	}
	return after
}

func testRebuild(t *testing.T, request CreateTable, grows bool, lost []string) {
	mem := vfs.NewMem(vfs.MemOptions{})
	e := open(t, testOptions(mem))
	writePartitionsOfSeveralVersions(t, e, request, grows)
	want, before := sortedTexts(readJSON(t, e, "t")), e.catalog.lookup(name(t, "t")).definition.Load()
	days, err := e.Partitions(name(t, "t"), nil)
	if err != nil || len(days) != 4 {
		t.Fatalf("%d partitions, %v", len(days), err)
	}
	closeEngine(t, e)
	for _, file := range lost {
		path := tablesDir + "/" + before.ID + "/" + file
		if file == commitDir {
			path = file
		}
		if err := mem.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Check(mem, true, func(f Finding) { t.Errorf("the rebuild finds %+v", f) }); err != nil {
		t.Fatal(err)
	}
	checkUndamaged(t, "rebuilt", mem)
	e = open(t, testOptions(mem))
	defer func() { closeEngine(t, e) }()
	if len(e.recovery.Findings) > 0 {
		t.Errorf("the server finds %v", e.recovery.Findings)
	}
	after := wantRebuilt(t, e, before)
	if got := sortedTexts(readJSON(t, e, "t")); !slices.Equal(got, want) {
		t.Errorf("the rows are\n%s, want\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got := openJSONReader(t, e, Scan{Table: before.Name, Filter: condition(t, "n = 5 and date = 'tue'")}).all(); len(got) != 8 {
		t.Errorf("%d old rows of a partition, want 8", len(got))
	}
	again, err := e.Partitions(before.Name, nil)
	if err != nil || len(again) != 4 {
		t.Fatalf("%d partitions, %v", len(again), err)
	}
	for i, day := range again {
		if len(day.Buckets) != int(after.Buckets) || day.ID != days[i].ID || day.Rows != days[i].Rows {
			t.Errorf("the partition is %+v, want %+v", day, days[i])
		}
	}
	checkNumbers(t, "rebuilt", e)
	// A stream of the first version goes on, into partitions that are there and new ones.
	w := mustOpen(t, e, "t", "id int64 not null, day string not null, a int8", PutRequest{Columns: map[bool][]string{true: {"id", "day", "a"}}[len(request.PrimaryKey) > 0]})
	w.mustWrite(`[{"id":300,"day":"mon","a":1},{"id":301,"day":"fri","a":1},{"id":302,"day":"thu","a":1}]`)
	if got := len(readJSON(t, e, "t")); got != len(want)+3 {
		t.Errorf("%d rows, want %d", got, len(want)+3)
	}
	growTable(t, e, "t")
	checkNumbers(t, "grown behind the rebuild", e)
	if got := len(readJSON(t, e, "t")); got != len(want)+3 {
		t.Errorf("%d rows behind a growth, want %d", got, len(want)+3)
	}
}
