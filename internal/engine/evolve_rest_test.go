package engine

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// restAll lets the maintenance run until all buckets of a table rest; RestIdle is the shortest.
func restAll(t *testing.T, e *Engine, table string) {
	t.Helper()
	opened := e.catalog.lookup(name(t, table)).opened()
	for range 100 {
		e.Maintain(t.Context())
		if !slices.ContainsFunc(opened, func(b *bucket) bool { return !b.rests }) {
			return
		}
	}
	t.Fatal("some buckets do not rest")
}

// restedTable is a table that a stream of its first version writes to.
type restedTable struct {
	t    *testing.T
	e    *Engine
	old  *jsonWriter
	rows int
}

func (x *restedTable) write() {
	text := ""
	for range 20 {
		text += fmt.Sprintf(`,{"id":%d,"day":%q,"a":%d}`, x.rows, []string{"mon", "tue"}[x.rows%2], x.rows%100)
		x.rows++
	}
	x.old.mustWrite("[" + text[1:] + "]")
}

func (x *restedTable) check(at string) {
	t := x.t
	t.Helper()
	got := map[float64]bool{}
	for _, row := range readJSON(t, x.e, "t") {
		id := row["id"].(float64)
		if got[id] = true; row["a"].(float64) != float64(int(id)%100) {
			t.Errorf("%s: the row %v", at, row)
		}
	}
	if len(got) != x.rows {
		t.Errorf("%s: %d rows, want %d", at, len(got), x.rows)
	}
	filtered := openJSONReader(t, x.e, Scan{Table: name(t, "t"), Filter: condition(t, "a >= 90")}).all()
	if len(filtered) != max(0, x.rows%100-90)+x.rows/100*10 {
		t.Errorf("%s: %d rows with a filter", at, len(filtered))
	}
}

func (x *restedTable) rest() { restAll(x.t, x.e, "t") }

func (x *restedTable) alter(change model.ColumnChange) func() {
	return func() { alter(x.t, x.e, "t", change) }
}

func (x *restedTable) add(column string) func() {
	return x.alter(model.AddColumn{Path: columnPath{column}, Field: fieldOfText(x.t, column+" string"), Default: column})
}

// TestBucketsRestBetweenChanges lets buckets rest whose segments have several versions of the schema, the newest one
// with rows, without rows, and of a version before the present one, and comes back to them: by reading, by writing, by
// a change, and by a stream that was opened at first.
func TestBucketsRestBetweenChanges(t *testing.T) {
	for form, request := range evolvingForms {
		for _, compression := range []string{"none", "zstd"} {
			if compression != "none" && request.PrimaryKey != nil {
				continue
			}
			t.Run(form+" "+compression, func(t *testing.T) {
				request.Options = map[string]string{}
				if compression != "none" {
					request.Options["log.compression"] = compression
				}
				testRest(t, request)
			})
		}
	}
}

func testRest(t *testing.T, request CreateTable) {
	const columns = "id int64 not null, day string not null, a int8"
	mem := vfs.NewMem(vfs.MemOptions{})
	options := testOptions(mem)
	options.SealIdle, options.RestIdle = 1, 1
	x := &restedTable{t: t, e: open(t, options)}
	defer func() { closeEngine(t, x.e) }()
	request.Name, request.Schema, request.Buckets = name(t, "t"), schemaOfText(t, columns), 2
	createTable(t, x.e, request)
	// The epoch of a producer makes a segment without rows.
	if _, err := x.e.OpenProducer(t.Context(), name(t, "t"), "p", true); err != nil {
		t.Fatal(err)
	}
	x.old = mustOpen(t, x.e, "t", columns, PutRequest{})
	scan := Scan{Table: name(t, "t"), To: Bound{Kind: BoundNever}}
	ids, known := PutRequest{}, PutRequest{}
	if request.PrimaryKey != nil {
		scan.View = ViewChangelog
		known.Columns, ids.Columns = []string{"id", "day", "a"}, []string{"id", "day"}
	}
	follow := openJSONReader(t, x.e, scan)
	wider := model.SetType{Path: columnPath{"a"}, Type: fieldOfText(t, "a int32").Type}
	for i, step := range []func(){
		x.rest, x.add("x"), x.write, // a segment without rows rests, and is of an earlier version
		x.rest, x.write,
		x.add("y"), x.rest, x.write, // one with rows is of an earlier version when it rests
		x.rest, x.add("z"), x.write, // and when it comes back
		x.rest, x.alter(wider), x.rest, x.write,
		x.rest, func() { growTable(t, x.e, "t") }, x.rest, x.write,
	} {
		if step(); i%2 == 0 { // else they come back by something else than a scan
			x.check(fmt.Sprint("step ", i))
		}
	}
	for got := 0; got < x.rows; {
		got += len(follow.next())
	}
	x.rest()
	closeEngine(t, x.e)
	checkUndamaged(t, "closed", mem)
	x.e = open(t, options)
	x.check("behind a restart")
	x.rest()
	x.check("behind a restart and a rest")
	x.old = mustOpen(t, x.e, "t", columns, known)
	x.write()
	x.rest()
	x.alter(model.DropColumn{Path: columnPath{"a"}})()
	if _, err := x.old.write(nil, `[{"id":1000,"day":"mon","a":1}]`); !errors.Is(err, model.SchemaChanged) {
		t.Errorf("a batch with a column that was dropped: %v", err)
	}
	x.rest()
	mustOpen(t, x.e, "t", "id int64 not null, day string not null", ids).mustWrite(`[{"id":1000,"day":"mon"}]`)
	if got := len(readJSON(t, x.e, "t")); got != x.rows+1 {
		t.Errorf("%d rows, want %d", got, x.rows+1)
	}
	checkUndamaged(t, "at the end", mem.Kill())
}
