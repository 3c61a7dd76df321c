package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// createKeyedLog makes a log table of keyedSchema whose rows are routed by id.
func createKeyedLog(t testing.TB, e *Engine, table string, buckets int32) {
	t.Helper()
	createTable(t, e, CreateTable{Name: name(t, table), Schema: keyedSchema, Buckets: buckets, BucketKey: []string{"id"}})
}

// TestGrowRefuses asks for numbers of buckets that cannot be.
func TestGrowRefuses(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	createKeyedLog(t, e, "t", 3)
	for _, buckets := range []int64{-6, 0, 1, 2, 4, 5, 9, 3 << 15, 1 << 40} {
		_, err := e.AlterTable(t.Context(), name(t, "t"), Expect{}, SetBuckets{buckets})
		if !errors.Is(err, model.BadRequest) {
			t.Errorf("%d buckets: %v, want %v", buckets, err, model.BadRequest)
		}
	}
	for _, buckets := range []int64{3, 6, 6, 24} {
		table, err := e.AlterTable(t.Context(), name(t, "t"), Expect{}, SetBuckets{buckets}, SetOption{"log.ttl", fmt.Sprint(buckets, "d")})
		if err != nil || int64(table.Buckets) != buckets || table.Options["log.ttl"] != fmt.Sprint(buckets, "d") {
			t.Errorf("%d buckets: %+v, %v", buckets, table, err)
		}
	}
	again := CreateTable{Name: name(t, "t"), Schema: keyedSchema, BucketKey: []string{"id"}, ExistOK: true, Options: map[string]string{"log.ttl": "24d"}}
	for buckets, fine := range map[int32]bool{3: true, 24: true, 6: false} {
		again.Buckets = buckets
		if _, err := e.CreateTable(t.Context(), again); (err == nil) != fine {
			t.Errorf("creating it again with %d buckets: %v", buckets, err)
		}
	}
}

// followCells reads a scan that follows until enough says so.
func followCells(ctx context.Context, t *testing.T, e *Engine, scan Scan, enough func([]cell) bool) []cell {
	r, err := e.Scan(ctx, scan)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer r.Close()
	var cells []cell
	for !enough(cells) {
		chunk, err := r.Next(ctx)
		if err != nil {
			t.Error(err)
			return cells
		}
		record := decodeRecord(t, r.SchemaMessage(), chunk.Message)
		cells = append(cells, cellsOf(t, record)...)
		record.Release()
	}
	return cells
}

// checkOrder checks that the rows of each key have come in the order in which they were written, from number 0 on,
// each of them once.
func checkOrder(t *testing.T, what string, cells []cell) {
	t.Helper()
	next := map[int64]int64{}
	for _, c := range cells {
		if c.row.number != next[c.row.id] {
			t.Fatalf("%s: row %d of key %d comes as %+v, want number %d", what, c.row.number, c.row.id, c, next[c.row.id])
		}
		next[c.row.id]++
	}
}

// TestGrowKeepsOrder lets a log table grow under writers and followers: the rows of each key come in their order, to
// followers, to scans, and to readers that stop and go on at a position.
func TestGrowKeepsOrder(t *testing.T) {
	const writers, keys, rounds = 3, 40, 60
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer func() { closeEngine(t, e) }()
	createKeyedLog(t, e, "t", 1)
	scan := Scan{Table: name(t, "t"), SystemColumns: true}
	follow := scan
	follow.To = Bound{Kind: BoundNever}
	var working sync.WaitGroup
	rounded := make(chan struct{}, writers*rounds)
	for writer := range int64(writers) {
		working.Go(func() {
			w := openKeyedWriter(t, e, "t", PutRequest{})
			for round := range int64(rounds) {
				var rows []keyedRow
				for key := range int64(keys) {
					rows = append(rows, keyedRow{writer*keys + key, noText, round})
				}
				if _, err := w.write(&Sequence{fmt.Sprint("p", writer), 1, round}, rows...); err != nil {
					t.Error(err)
					return
				}
				rounded <- struct{}{}
			}
		})
	}
	all := func(cells []cell) bool { return len(cells) == writers*keys*rounds }
	var followed [2][]cell
	for i := range followed {
		working.Go(func() { followed[i] = followCells(t.Context(), t, e, follow, all) })
	}
	for growth := range 4 { // 16 buckets
		for range 30 {
			<-rounded
		}
		if growth%2 == 0 {
			growTable(t, e, "t")
		} else {
			growMoving(t, e, "t")
		}
	}
	working.Wait()
	for _, cells := range followed {
		checkOrder(t, "a follower", cells)
	}
	for range 2 {
		cells := mustRead(t, e, "t", ViewRows)
		if checkOrder(t, "a scan", cells); !all(cells) {
			t.Fatalf("%d rows, want %d", len(cells), writers*keys*rounds)
		}
		resumed := resumedCells(t, e, scan)
		if checkOrder(t, "a reader that goes on", resumed); !all(resumed) {
			t.Fatalf("a reader that goes on has %d rows, want %d", len(resumed), writers*keys*rounds)
		}
		options := e.options
		closeEngine(t, e)
		e = open(t, options)
	}
	// Whoever asks for the newest bucket alone gets its own rows.
	scan.Buckets = []int32{15}
	cells, _, err := readCells(t, e, scan)
	if err != nil || len(cells) == 0 {
		t.Fatalf("%d rows, %v", len(cells), err)
	}
	if first := e.catalog.lookup(name(t, "t")).definition.Load().First(15); cells[0].offset != first || first == 0 {
		t.Errorf("bucket 15 begins with %+v, want offset %d", cells[0], first)
	}
}

// TestGrowTwiceKeepsOrder splits a bucket twice with no rows in between: what comes from the empty one waits for the
// rows before both.
func TestGrowTwiceKeepsOrder(t *testing.T) {
	const keys, rounds = 40, 6
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer func() { closeEngine(t, e) }()
	createKeyedLog(t, e, "t", 1)
	w := openKeyedWriter(t, e, "t", PutRequest{})
	for round := range int64(rounds) {
		if round == rounds/2 {
			growTable(t, e, "t")
			growTable(t, e, "t")
		}
		var rows []keyedRow
		for key := range int64(keys) {
			rows = append(rows, keyedRow{key, noText, round})
		}
		if _, err := w.write(nil, rows...); err != nil {
			t.Fatal(err)
		}
	}
	all := func(cells []cell) bool { return len(cells) == keys*rounds }
	follow := Scan{Table: name(t, "t"), SystemColumns: true, To: Bound{Kind: BoundNever}}
	checkOrder(t, "a follower", followCells(t.Context(), t, e, follow, all))
}

// resumedCells reads a table in many pieces, each from the position at which the one before ended.
func resumedCells(t *testing.T, e *Engine, scan Scan) []cell {
	t.Helper()
	var all []cell
	scan.HasLimit = true
	for round := range 1000 {
		scan.Limit = int64(37 + round)
		cells, m, err := readCells(t, e, scan)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, cells...)
		if m.end == EndComplete {
			return all
		}
		// A position of before a growth does not name the buckets that came with it.
		maps.DeleteFunc(m.last.Offsets, func(bucket int32, offset int64) bool {
			return offset == e.catalog.lookup(name(t, "t")).definition.Load().First(bucket)
		})
		scan.From = Bound{Kind: BoundOffsets, Position: m.last}
	}
	t.Fatal("the read never ends")
	return nil
}

// TestGrowEmptyBuckets gives a log table without a bucket key, and tables without rows, more buckets.
func TestGrowEmptyBuckets(t *testing.T) {
	options := testOptions(vfs.NewMem(vfs.MemOptions{}))
	options.BucketRotateBytes = 1
	e := open(t, options)
	defer func() { closeEngine(t, e) }()
	createTable(t, e, CreateTable{Name: name(t, "log"), Buckets: 2})
	createKeyedLog(t, e, "routed", 2)
	createKeyed(t, e, "keyed", 2, nil)
	w := openWriter(t, e, "log", PutRequest{})
	for _, table := range []string{"log", "routed", "keyed"} {
		growTable(t, e, table)
		growTable(t, e, table)
	}
	for from := range int64(16) {
		if _, err := w.write(10*from, 10, nil); err != nil {
			t.Fatal(err)
		}
	}
	upsert(t, e, "keyed", rowsOfKeys(1, 2, 3, 4, 5, 6, 7, 8, 9)...)
	for range 2 {
		buckets, err := e.Buckets(name(t, "log"))
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range buckets {
			if b.Split != nil || b.End-b.Start != 20 {
				t.Errorf("%+v, want 20 rows and no parent", b)
			}
		}
		if n := len(stateOfTable(t, e, "keyed")); n != 9 {
			t.Errorf("%d rows, want 9", n)
		}
		if buckets, err = e.Buckets(name(t, "routed")); err != nil || buckets[7].Split == nil || *buckets[7].Split != (model.Split{Parent: 3}) {
			t.Errorf("%+v, %v", buckets, err)
		}
		closeEngine(t, e)
		e = open(t, options)
	}
}

// TestRequestsOfBeforeAGrowth sends requests that are routed before a table grows and placed behind that.
func TestRequestsOfBeforeAGrowth(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	createKeyed(t, e, "keyed", 1, nil)
	createKeyedLog(t, e, "log", 2)
	ids := make([]int64, 100)
	for i := range ids {
		ids[i] = int64(i)
	}
	rows := rowsOfKeys(ids...)
	for _, table := range []string{"keyed", "log"} {
		upsert(t, e, table, rows[:50]...)
		before, err := e.Table(name(t, table))
		if err != nil {
			t.Fatal(err)
		}
		holds, held := make(chan struct{}), make(chan struct{})
		var waiting sync.WaitGroup
		waiting.Go(func() {
			err := e.control(t.Context(), func() error {
				close(holds)
				<-held
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
		<-holds
		waiting.Go(func() {
			if _, err := e.AlterTable(t.Context(), before.Name, Expect{}, SetBuckets{int64(4 * before.Buckets)}); err != nil {
				t.Error(err)
			}
		})
		for len(e.queue) < 1 { // the growth waits behind what holds the committer
			runtime.Gosched()
		}
		w := openKeyedWriter(t, e, table, PutRequest{})
		header, body := keyedMessage(t, w.schema, rows)
		pending, err := w.put.Send(t.Context(), header, body, &Sequence{"p", 1, 0})
		if err != nil {
			t.Fatal(err)
		}
		close(held)
		waiting.Wait()
		<-pending.Done()
		first, err := pending.Ack()
		if err != nil || first.Duplicate || len(first.Offsets) != int(4*before.Buckets) {
			t.Fatalf("%s: %+v, %v", table, first, err)
		}
		again, err := w.write(&Sequence{"p", 1, 0}, rows...)
		if err != nil || !again.Duplicate || !maps.Equal(again.Offsets, first.Offsets) {
			t.Errorf("%s: again %+v, %v; want a duplicate of %+v", table, again, err, first)
		}
	}
	if n := len(stateOfTable(t, e, "keyed")); n != 100 {
		t.Errorf("%d rows, want 100", n)
	}
	if n := len(mustRead(t, e, "log", ViewRows)); n != 150 {
		t.Errorf("%d rows, want 150", n)
	}
}

// TestGrowIndexes looks rows up by an index and by the first column of the key while the table grows.
func TestGrowIndexes(t *testing.T) {
	for _, retired := range []bool{false, true} {
		options := testOptions(vfs.NewMem(vfs.MemOptions{}))
		options.OpenCold = filesColdOf(options.FS)
		e := open(t, options)
		createTable(t, e, CreateTable{
			Name: name(t, "t"), Schema: arrow.NewSchema(nonNull(keyedSchema.Fields()), nil),
			PrimaryKey: []string{"number", "id"}, BucketKey: []string{"number"},
		})
		createIndex(t, e, "t", "by_text", "text")
		var all []keyedRow
		write := func(from, to int64) {
			var rows []keyedRow
			for id := from; id < to; id++ {
				rows = append(rows, keyedRow{id, fmt.Sprint("text ", id%10), id % 30})
			}
			all = append(all, rows...)
			upsert(t, e, "t", rows...)
		}
		check := func(what string) {
			t.Helper()
			for _, by := range []string{"text", "number"} {
				for _, key := range all[:30] {
					var want []keyedRow
					for _, row := range all {
						if by == "text" && row.text == key.text || by == "number" && row.number == key.number {
							want = append(want, row)
						}
					}
					got, _ := lookedUpBy(t, e, "t", LookupRequest{By: []string{by}, Inner: true}, key)
					slices.SortFunc(got, func(a, b keyedRow) int { return int(a.id - b.id) })
					if !slices.Equal(got, want) {
						t.Fatalf("%s, retired %v: by %s of %+v: %d rows, want %d", what, retired, by, key, len(got), len(want))
					}
				}
			}
		}
		write(0, 300)
		for round := range int64(3) {
			if retired {
				retireAllBut(t, e, 20)
			}
			growTable(t, e, "t")
			check("grown")
			write(300+round*100, 400+round*100)
			check("written")
		}
		for {
			states, err := e.Indexes(name(t, "t"))
			if err != nil {
				t.Fatal(err)
			}
			if states[0].Rows == int64(len(all)) { // all indexes were built anew
				break
			}
			runtime.Gosched()
		}
		check("renewed")
		closeEngine(t, e)
		e = open(t, options)
		check("restarted")
		closeEngine(t, e)
	}
}

func nonNull(fields []arrow.Field) []arrow.Field {
	fields = slices.Clone(fields)
	for i := range fields {
		fields[i].Nullable = false
	}
	return fields
}

// TestGrowNumbers numbers rows of a table that grows: no number is given twice.
func TestGrowNumbers(t *testing.T) {
	options := testOptions(vfs.NewMem(vfs.MemOptions{}))
	e := open(t, options)
	schema := arrow.NewSchema([]arrow.Field{keyedSchema.Field(0), {Name: "number", Type: arrow.PrimitiveTypes.Int64}}, nil)
	createTable(t, e, CreateTable{
		Name: name(t, "t"), Schema: schema, PrimaryKey: []string{"id"}, Buckets: 3, Defaults: map[string]any{"number": model.AutoIncrement},
	})
	for round := range int64(40) {
		put, err := e.OpenPut(t.Context(), PutRequest{Table: name(t, "t"), Schema: arrowipc.EncodeSchema(keyedFields("id"))})
		if err != nil {
			t.Fatal(err)
		}
		var ids []int64
		for id := range 1 + round*3 {
			ids = append(ids, round*1000+id)
		}
		w := &keyedWriter{t: t, schema: keyedFields("id"), put: put}
		if _, err := w.write(nil, rowsOfKeys(ids...)...); err != nil {
			t.Fatal(err)
		}
		if round%9 == 4 {
			growTable(t, e, "t")
		}
		if round%11 == 5 {
			closeEngine(t, e)
			e = open(t, options)
		}
	}
	seen := map[int64]bool{}
	for _, c := range mustRead(t, e, "t", ViewRows) {
		if seen[c.row.number] {
			t.Fatalf("the number %d was given twice", c.row.number)
		}
		seen[c.row.number] = true
	}
	closeEngine(t, e)
}

// TestGrowWhileFollowersDrain ends a follower behind a growth: its position has all buckets.
func TestGrowWhileFollowersDrain(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	createKeyedLog(t, e, "t", 1)
	upsert(t, e, "t", rowsOfKeys(1, 2, 3)...)
	r, err := e.Scan(t.Context(), Scan{Table: name(t, "t"), To: Bound{Kind: BoundNever}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	growTable(t, e, "t")
	e.Drain()
	for {
		chunk, err := r.Next(t.Context())
		if errors.Is(err, io.EOF) {
			t.Fatal("no end mark")
		}
		if err != nil {
			t.Fatal(err)
		}
		if chunk.End == "" {
			continue
		}
		if want := (model.Offsets{0: 3, 1: 3}); !maps.Equal(chunk.Position.Offsets, want) || chunk.End != EndDraining {
			t.Errorf("the read ends with %+v at %v, want %v", chunk.End, chunk.Position.Offsets, want)
		}
		break
	}
	closeEngine(t, e)
}

// TestGrowIsInSegments makes the definitions of tables that have grown anew from their segments, also where some of
// the buckets have none, and where the commit file is lost too.
func TestGrowIsInSegments(t *testing.T) {
	for _, keys := range []int64{2, 3, 100, 101} {
		mem := vfs.NewMem(vfs.MemOptions{})
		e := open(t, testOptions(mem))
		createKeyed(t, e, "keyed", 1, nil)
		createKeyedLog(t, e, "log", 2)
		for round := range int64(4) {
			rows := make([]keyedRow, 0, keys)
			for id := range keys {
				rows = append(rows, keyedRow{id * 7, noText, round})
			}
			for _, table := range []string{"keyed", "log"} {
				upsert(t, e, table, rows...)
				if round < 3 {
					growTable(t, e, table)
				}
			}
		}
		want := stateOfTable(t, e, "keyed")
		folders := map[string]int32{}
		for table, buckets := range map[string]int32{"keyed": 8, "log": 16} {
			folders[e.catalog.lookup(name(t, table)).dir()] = buckets
		}
		closeEngine(t, e)
		for folder, buckets := range folders {
			for _, file := range []string{tableFile} {
				if err := mem.Remove(join(folder, file)); err != nil {
					t.Fatal(err)
				}
			}
			for number := range buckets {
				if err := mem.Remove(fmt.Sprintf("%s/keys-%d.index", folder, number)); err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Fatal(err)
				}
			}
		}
		if keys%2 == 1 {
			if err := mem.RemoveAll(commitDir); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Check(mem, true, func(f Finding) { t.Errorf("check finds %+v", f) }); err != nil {
			t.Fatal(err)
		}
		e = open(t, testOptions(mem))
		if got := stateOfTable(t, e, "keyed"); !maps.Equal(got, want) {
			t.Errorf("%d keys: the table has\n%v, want\n%v", keys, got, want)
		}
		checkOrder(t, "a scan", mustRead(t, e, "log", ViewRows))
		for folder, buckets := range folders {
			for _, table := range e.catalog.all() {
				if definition := table.definition.Load(); table.dir() == folder && definition.Buckets != buckets {
					t.Errorf("%s has %d buckets, want %d", definition.Name, definition.Buckets, buckets)
				}
			}
		}
		upsert(t, e, "keyed", rowsOfKeys(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)...)
		stateOfTable(t, e, "keyed")
		closeEngine(t, e)
	}
}

// TestGroupsReadBucketsThatCome lets a table of a group grow: the new bucket is read when the rows before it are
// committed, from the offset at which it split.
func TestGroupsReadBucketsThatCome(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer func() { closeEngine(t, e) }()
	createKeyedLog(t, e, "t", 1)
	upsert(t, e, "t", rowsOfKeys(1, 2, 3, 4, 5)...)
	first := joinGroup(t, e, "g", "a", BoundEarliest)
	growTable(t, e, "t")
	told, err := e.Heartbeat(t.Context(), caller(t, "g", "a", first.Generation))
	if err != nil || told.Generation == first.Generation || !slices.Equal(told.Buckets, []int32{0}) || !slices.Equal(told.Waits, []int32{1}) {
		t.Fatalf("%+v, %v; want bucket 1 to wait for bucket 0", told, err)
	}
	options := e.options
	closeEngine(t, e)
	e = open(t, options)
	if _, err := e.CommitPosition(t.Context(), caller(t, "g", "a", told.Generation), model.Position{Offsets: model.Offsets{0: 5}}); err != nil {
		t.Fatal(err)
	}
	told, err = e.Heartbeat(t.Context(), caller(t, "g", "a", told.Generation))
	if want := (model.Offsets{0: 5, 1: 5}); err != nil || !slices.Equal(told.Buckets, []int32{0, 1}) || !maps.Equal(told.Position.Offsets, want) {
		t.Fatalf("%+v, %v; want both buckets at %v", told, err, want)
	}
}
