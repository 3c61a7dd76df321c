package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headrace/headrace/internal/filter"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

func condition(t testing.TB, sql string) filter.Expression {
	t.Helper()
	e, err := filter.ParseSQL(sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return e
}

// rowConditions are predicates on rows of testSchema, in SQL and in Go.
var rowConditions = []struct {
	sql  string
	keep func(row) bool
}{
	{"id < 40", func(r row) bool { return r.id < 40 }},
	{"id between 100 and 400 and text is not null", func(r row) bool { return r.id >= 100 && r.id <= 400 && r.id%7 != 3 }},
	{"text is null", func(r row) bool { return r.id%7 == 3 }},
	{"text like '%9' or id = 3", func(r row) bool { return r.id%10 == 9 && r.id%7 != 3 || r.id == 3 }},
	{"id in (5, 17, 999, 1000000)", func(r row) bool { return r.id == 5 || r.id == 17 || r.id == 999 }},
	{"id >= 0", func(row) bool { return true }},
	{"id < 0", func(row) bool { return false }},
	{"_offset < 30 and _bucket = 1", func(r row) bool { return r.offset < 30 && r.bucket == 1 }},
	{"_timestamp > '2000-01-01' and id > 990", func(r row) bool { return r.id > 990 }},
	{"_timestamp is null", func(row) bool { return false }},
	{"false or not true", func(row) bool { return false }},
}

// fillLog makes a table t of two buckets with the rows 0 to 999 in batches of all sizes, and gives them in
// the order of a read.
func fillLog(t testing.TB, e *Engine) []row {
	t.Helper()
	createTable(t, e, CreateTable{Name: name(t, "t"), Buckets: 2, BucketKey: []string{"id"}})
	w := openWriter(t, e, "t", PutRequest{})
	for from, i := int64(0), 0; from < 1000; i++ {
		n := min([]int64{1, 30, 200, 7}[i%4], 1000-from)
		if _, err := w.write(from, n, nil); err != nil {
			t.Fatal(err)
		}
		from += n
	}
	return readAll(t, e, "t")
}

// chunkOf is what a test keeps of a chunk.
type chunkOf struct {
	rows                 []int64 // ids
	bucket               int32
	offset, next, number int64
	end                  string
	position             model.Position
}

// readChunks reads ids of a scan of table t, and checks that chunks say of their rows what is so.
func readChunks(t testing.TB, e *Engine, scan Scan) []chunkOf {
	t.Helper()
	scan.Table, scan.Columns, scan.SystemColumns = name(t, "t"), []string{"id"}, true
	var chunks []chunkOf
	eachChunk(t, e, scan, func(schema []byte, chunk Chunk) {
		c := chunkOf{
			bucket: chunk.Bucket, offset: chunk.Offset, next: chunk.Next, number: chunk.Rows, end: chunk.End, position: chunk.Position,
		}
		for _, cell := range cellsOf(t, decodeRecord(t, schema, chunk.Message)) {
			if cell.bucket != c.bucket || cell.offset < c.offset || cell.offset >= c.next {
				t.Fatalf("a chunk of bucket %d, offsets %d to %d, has %+v", c.bucket, c.offset, c.next, cell)
			}
			c.rows = append(c.rows, cell.row.id)
		}
		if int64(len(c.rows)) != c.number {
			t.Fatalf("a chunk of %d rows has %d", c.number, len(c.rows))
		}
		chunks = append(chunks, c)
	})
	return chunks
}

// idsOf gives the ids of all chunks.
func idsOf(chunks []chunkOf) (ids []int64) {
	for _, c := range chunks {
		ids = append(ids, c.rows...)
	}
	return ids
}

func keptIDs(rows []row, keep func(row) bool) (ids []int64) {
	for _, r := range rows {
		if keep(r) {
			ids = append(ids, r.id)
		}
	}
	return ids
}

// TestFilteredScans compares filtered reads with filtering what an unfiltered one gives: whole, from where
// any chunk says that it goes on, with limits, in small messages, as counts and as plans.
func TestFilteredScans(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	all := fillLog(t, e)
	for _, c := range rowConditions {
		want := keptIDs(all, c.keep)
		scan := Scan{Filter: condition(t, c.sql)}
		chunks := readChunks(t, e, scan)
		if got := idsOf(chunks); !slices.Equal(got, want) {
			t.Fatalf("%s: %d rows %v, want %d %v", c.sql, len(got), got, len(want), want)
		}
		if last := chunks[len(chunks)-1]; last.end != EndComplete || !maps.Equal(last.position.Offsets, endsOf(all)) {
			t.Errorf("%s: the end is %+v, want %v", c.sql, last, endsOf(all))
		}
		// A bucket has at most a message that ends before the message size is reached, and whole batches.
		if len(want) < 200 && len(chunks) > 3 {
			t.Errorf("%s: %d rows came in %d chunks", c.sql, len(want), len(chunks)-1)
		}
		checkResumed(t, e, scan, all, c.keep)
		for _, limit := range []int64{1, 3, int64(len(want)), int64(len(want)) + 1} {
			limited := scan
			limited.Limit, limited.HasLimit = limit, true
			chunks := readChunks(t, e, limited)
			if got := idsOf(chunks); !slices.Equal(got, want[:min(limit, int64(len(want)))]) {
				t.Fatalf("%s, limit %d: %v", c.sql, limit, got)
			}
			from := Bound{Kind: BoundOffsets, Position: chunks[len(chunks)-1].position}
			rest := scan
			rest.From = from
			if got := idsOf(readChunks(t, e, rest)); !slices.Equal(got, want[min(limit, int64(len(want))):]) {
				t.Fatalf("%s, behind limit %d at %v: %v", c.sql, limit, from.Position.Offsets, got)
			}
		}
		counted := int64(0)
		for _, chunk := range mustChunks(t, e, Scan{Table: name(t, "t"), Columns: []string{}, Filter: scan.Filter}) {
			counted += chunk.Rows
		}
		if counted != int64(len(want)) {
			t.Errorf("%s: counted %d rows, want %d", c.sql, counted, len(want))
		}
		plan, err := e.Plan(t.Context(), Scan{Table: name(t, "t"), Filter: scan.Filter})
		if err != nil || plan.Rows != -1 {
			t.Errorf("%s: the plan has %d rows, %v", c.sql, plan.Rows, err)
		}
	}
}

func endsOf(rows []row) model.Offsets {
	ends := model.Offsets{}
	for _, r := range rows {
		ends[r.bucket] = max(ends[r.bucket], r.offset+1)
	}
	return ends
}

// checkResumed reads a range that begins in the middle, and goes on behind each of its chunks.
func checkResumed(t *testing.T, e *Engine, scan Scan, all []row, keep func(row) bool) {
	t.Helper()
	from := model.Offsets{0: 123, 1: 77}
	scan.MessageBytes = 2 << 10
	scan.From = Bound{Kind: BoundOffsets, Position: model.Position{Offsets: from}}
	want := keptIDs(all, func(r row) bool { return r.offset >= from[r.bucket] && keep(r) })
	chunks := readChunks(t, e, scan)
	if got := idsOf(chunks); !slices.Equal(got, want) {
		t.Fatalf("from %v: %v, want %v", from, got, want)
	}
	for i, c := range chunks {
		if c.end != "" || i%3 != 0 {
			continue
		}
		at := model.Offsets{0: from[0], 1: from[1]}
		for _, before := range chunks[:i+1] {
			at[before.bucket] = before.next
		}
		rest := scan
		rest.From.Position = model.Position{Offsets: at}
		if got := idsOf(readChunks(t, e, rest)); !slices.Equal(got, want[len(idsOf(chunks[:i+1])):]) {
			t.Fatalf("from %v, behind chunk %d at %v: %v", from, i, at, got)
		}
	}
}

// mustChunks reads the chunks of a scan; their messages must not be read any more.
func mustChunks(t testing.TB, e *Engine, scan Scan) (chunks []Chunk) {
	t.Helper()
	eachChunk(t, e, scan, func(_ []byte, chunk Chunk) { chunks = append(chunks, chunk) })
	return chunks
}

// cellConditions are predicates on rows of keyedSchema, and on changes of them.
var cellConditions = []struct {
	sql     string
	changes bool // names what only a changelog has
	keep    func(cell) bool
}{
	{"id < 20", false, func(c cell) bool { return c.row.id < 20 }},
	{"number is null", false, func(c cell) bool { return c.row.number == noNumber }},
	{"number >= 3 and text like '%1%'", false, func(c cell) bool { return c.row.number >= 3 && strings.Contains(c.row.text, "1") }},
	{"text in ('text 3', 'text 4') or id = 7", false, func(c cell) bool {
		return c.row.text == "text 3" || c.row.text == "text 4" || c.row.id == 7
	}},
	{"id >= 0", false, func(cell) bool { return true }},
	{"number < -100", false, func(cell) bool { return false }},
	{"_offset between 10 and 60", false, func(c cell) bool { return c.offset >= 10 && c.offset <= 60 }},
	{"_change_type = '-D'", true, func(c cell) bool { return c.kind == "-D" }},
	{"_change_type in ('+U', '+I') and id < 30", true, func(c cell) bool { return (c.kind == "+U" || c.kind == "+I") && c.row.id < 30 }},
	{"_change_type != '-U'", true, func(c cell) bool { return c.kind != "-U" }},
}

// fillKeyed makes a table u with changes of all kinds.
func fillKeyed(t testing.TB, e *Engine) {
	t.Helper()
	createKeyed(t, e, "u", 2, nil)
	random := rand.New(rand.NewPCG(7, 7))
	for range 60 {
		if random.IntN(4) == 0 {
			deleteKeys(t, e, "u", random.Int64N(50), random.Int64N(50))
			continue
		}
		var rows []keyedRow
		for range random.IntN(9) + 1 {
			row := keyedRow{random.Int64N(50), "text " + string(rune('0'+random.IntN(6))), random.Int64N(6)}
			if random.IntN(5) == 0 {
				row.number = noNumber
			}
			rows = append(rows, row)
		}
		upsert(t, e, "u", rows...)
	}
}

// TestFilteredViews compares filtered views of a primary-key table with filtering them here.
func TestFilteredViews(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	fillKeyed(t, e)
	state, changes := mustRead(t, e, "u", ViewRows), mustRead(t, e, "u", ViewChangelog)
	for limit := range int64(len(state)) {
		limited := Scan{Table: name(t, "u"), Limit: limit, HasLimit: true, SystemColumns: true}
		if got := filteredCells(t, e, limited); !slices.Equal(got, state[:limit]) {
			t.Fatalf("limit %d without a filter: rows %v, want the first of %v", limit, got, state)
		}
	}
	for _, c := range cellConditions {
		scan := Scan{Table: name(t, "u"), Filter: condition(t, c.sql), SystemColumns: true, View: ViewChangelog}
		drop := func(cells []cell) []cell {
			return slices.DeleteFunc(slices.Clone(cells), func(x cell) bool { return !c.keep(x) })
		}
		if got := filteredCells(t, e, scan); !slices.Equal(got, drop(changes)) {
			t.Fatalf("%s: changes\n%v, want\n%v", c.sql, got, drop(changes))
		}
		if c.changes {
			for _, view := range []View{ViewRows, ViewRowsAndChangelog, ViewBeforeAfter} {
				scan.View = view
				if _, err := e.Scan(t.Context(), scan); !errors.Is(err, model.BadRequest) {
					t.Errorf("%s in view %d: %v", c.sql, view, err)
				}
			}
			continue
		}
		scan.View = ViewRows
		if got := filteredCells(t, e, scan); !slices.Equal(got, drop(state)) {
			t.Fatalf("%s: rows\n%v, want\n%v", c.sql, got, drop(state))
		}
		limited := scan
		limited.Limit, limited.HasLimit = 3, true
		if got, want := filteredCells(t, e, limited), drop(state); !slices.Equal(got, want[:min(3, len(want))]) {
			t.Fatalf("%s, limit 3: rows %v, want the first of %v", c.sql, got, want)
		}
		scan.View = ViewRowsAndChangelog
		if got := filteredCells(t, e, scan); len(got) != len(drop(state)) {
			t.Fatalf("%s: %d rows before the changes, want %d", c.sql, len(got), len(drop(state)))
		}
		checkFilteredPairs(t, e, scan, changes, c.keep)
	}
}

// filteredCells is readCells for scans whose chunks may go on behind their rows.
func filteredCells(t testing.TB, e *Engine, scan Scan) (all []cell) {
	t.Helper()
	eachChunk(t, e, scan, func(schema []byte, chunk Chunk) {
		all = append(all, cellsOf(t, decodeRecord(t, schema, chunk.Message))...)
	})
	return all
}

// checkFilteredPairs wants the pairs of which one side is kept.
func checkFilteredPairs(t *testing.T, e *Engine, scan Scan, changes []cell, keep func(cell) bool) {
	t.Helper()
	var want []changePair
	kept, before := map[[2]int64]bool{}, false
	for _, c := range changes {
		if c.kind == "-U" {
			before = keep(c)
			continue
		}
		kept[[2]int64{int64(c.bucket), c.offset}] = keep(c) || before
		before = false
	}
	for _, pair := range pairsOf(changes) {
		if kept[[2]int64{int64(pair.bucket), pair.offset}] {
			want = append(want, pair)
		}
	}
	if got := readPairs(t, e, scan); !slices.Equal(got, want) {
		t.Fatalf("pairs\n%v, want\n%v", got, want)
	}
}

func TestFilteredLookups(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	fillKeyed(t, e)
	state := map[int64]keyedRow{}
	for _, c := range mustRead(t, e, "u", ViewRows) {
		state[c.row.id] = c.row
	}
	ids := make([]int64, 300) // more than one goroutine looks up alone
	for i := range ids {
		ids[i] = int64(i % 60)
	}
	for _, c := range cellConditions {
		request := LookupRequest{Filter: condition(t, c.sql)}
		if c.changes || strings.Contains(c.sql, "_offset") {
			request.Table, request.Schema = name(t, "u"), openLookup(t, e, "u", LookupRequest{}).lookup.request.Schema
			if _, err := e.OpenLookup(t.Context(), request); !errors.Is(err, model.ColumnNotFound) {
				t.Errorf("%s: %v", c.sql, err)
			}
			continue
		}
		var left, inner []keyedRow
		for _, id := range ids {
			row, found := state[id]
			if found && c.keep(cell{row: row}) {
				left, inner = append(left, row), append(inner, row)
			} else {
				left = append(left, keyedRow{0, noText, noNumber})
			}
		}
		if got, _ := openLookup(t, e, "u", request).rows(ids...); !slices.Equal(got, left) {
			t.Fatalf("%s: %v, want %v", c.sql, got, left)
		}
		request.Inner = true
		if got, _ := openLookup(t, e, "u", request).rows(ids...); !slices.Equal(got, inner) {
			t.Fatalf("%s: %v, want %v", c.sql, got, inner)
		}
	}
	both := LookupRequest{
		Table: name(t, "u"), Schema: schemaMessage, Filter: condition(t, "id > 3"), InsertMissing: true,
	}
	if _, err := e.OpenLookup(t.Context(), both); !errors.Is(err, model.BadRequest) {
		t.Errorf("insert_missing and a filter: %v", err)
	}
}

// hurried is a clock that is a second later whenever somebody looks.
type hurried struct {
	model.WallClock
	seconds atomic.Int64
}

func (c *hurried) Now() time.Time { return time.Unix(c.seconds.Add(1), 0) }

// TestFilteredFollow follows a table of which few rows match, and none for a long time: the reader hears
// where it stands, and goes on there.
func TestFilteredFollow(t *testing.T) {
	options := testOptions(vfs.NewMem(vfs.MemOptions{}))
	clock := &hurried{}
	clock.seconds.Store(1_800_000_000)
	options.Clock = clock
	e := open(t, options)
	defer closeEngine(t, e)
	all := fillLog(t, e)
	// Of the first, statistics spare nearly all batches; of the second none.
	followFiltered(t, e, all, "id in (11, 991, 1500)", 1)
	followFiltered(t, e, all, "text like '% 11' or text like '% 991' or text like '% 1500'", 20)
}

// followFiltered follows up to the end of what there is, and then to one row more.
func followFiltered(t *testing.T, e *Engine, all []row, sql string, emptyMin int) {
	t.Helper()
	ends := endsOf(all)
	r, err := e.Scan(t.Context(), Scan{Table: name(t, "t"), Filter: condition(t, sql), To: Bound{Kind: BoundNever}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	at, rows, empty := model.Offsets{}, int64(0), 0
	for at[0] < ends[0] || at[1] < ends[1] {
		chunk, err := r.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if chunk.Next < at[chunk.Bucket] || chunk.Rows == 0 && chunk.Offset != chunk.Next {
			t.Fatalf("%s: %+v after %v", sql, chunk, at)
		}
		at[chunk.Bucket] = chunk.Next
		if rows += chunk.Rows; chunk.Rows == 0 {
			empty++
		}
	}
	if rows < 2 || empty < emptyMin {
		t.Errorf("%s: %d rows, and %d chunks without rows", sql, rows, empty)
	}
	if _, err := openWriter(t, e, "t", PutRequest{}).write(1500, 1, nil); err != nil {
		t.Fatal(err)
	}
	for {
		chunk, err := r.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if chunk.Rows > 0 {
			if chunk.Rows != 1 || chunk.Next <= ends[chunk.Bucket] {
				t.Errorf("%s: %+v", sql, chunk)
			}
			return
		}
	}
}

// TestFiltersPrunePartitions plans reads of partitions that a filter can leave out.
func TestFiltersPrunePartitions(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	var all []partedRow
	for _, keyed := range []bool{false, true} {
		table := map[bool]string{false: "log", true: "keyed"}[keyed]
		createParted(t, e, table, keyed, nil)
		all = nil
		for id := range int64(40) {
			all = append(all, partedRow{[]string{"AT", "CH", "DE", "FR"}[id%4], id, rowText(id)})
		}
		putParted(t, e, table, all...)
		for _, c := range []struct {
			sql        string
			partitions int
			keep       func(partedRow) bool
		}{
			{"country = 'DE'", 1, func(r partedRow) bool { return r.country == "DE" }},
			{"country in ('DE', 'AT') and id < 20", 2, func(r partedRow) bool { return (r.country == "DE" || r.country == "AT") && r.id < 20 }},
			{"not country >= 'CI'", 2, func(r partedRow) bool { return r.country < "CI" }},
			{"country = 'DE' or id = 5", 4, func(r partedRow) bool { return r.country == "DE" || r.id == 5 }},
			{"country is null or country = 'XX'", 0, func(partedRow) bool { return false }},
		} {
			scan := Scan{Table: name(t, table), Filter: condition(t, c.sql)}
			plan, err := e.Plan(t.Context(), scan)
			if err != nil || len(plan.Ranges) != 2*c.partitions {
				t.Errorf("%s: the plan has %d buckets, want %d; %v", c.sql, len(plan.Ranges), 2*c.partitions, err)
			}
			var want []partedRow
			for _, r := range all {
				if c.keep(r) {
					want = append(want, r)
				}
			}
			slices.SortFunc(want, comparePartedRows)
			if got, _, err := tryScanParted(t, e, scan); err != nil || !slices.Equal(got, want) {
				t.Errorf("%s: %v, %v, want %v", c.sql, got, err, want)
			}
		}
	}
}

// TestFollowersPassWhatABucketGrewFrom follows with a filter that leaves out the end of a bucket from which
// another one has split: the rows of that one come without anybody writing more.
func TestFollowersPassWhatABucketGrewFrom(t *testing.T) {
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	createTable(t, e, CreateTable{Name: name(t, "t"), Buckets: 1, BucketKey: []string{"id"}})
	w := openWriter(t, e, "t", PutRequest{})
	const part = 2 * wholeRows // sent as it is: the follower looks at the next bucket then
	for from := range int64(2) {
		if _, err := w.write(from*part, part, nil); err != nil {
			t.Fatal(err)
		}
	}
	growTable(t, e, "t")
	last := int64(2 * part) // of the new bucket
	for ; ; last++ {
		ack, err := w.write(last, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, grown := ack.Offsets[1]; grown {
			break
		}
	}
	scan := Scan{Table: name(t, "t"), Filter: condition(t, fmt.Sprintf("id < %d or id = %d", part, last)), To: Bound{Kind: BoundNever}}
	r, err := e.Scan(ctx, scan)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for rows := int64(0); rows < part+1; {
		chunk, err := r.Next(ctx)
		if err != nil {
			t.Fatalf("after %d rows: %v", rows, err)
		}
		rows += chunk.Rows
	}
}
