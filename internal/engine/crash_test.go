package engine

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"path"
	"testing"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// history is what a workload knows about the rows that it sent.
type history struct {
	// sent counts rows, whose ids are 0..sent−1, per table; acked those that were acknowledged: a
	// prefix, as one producer sends them and stops at the first error.
	sent, acked map[string]int64
	// levels are those of the tables.
	levels map[string]model.Durability
}

// crashOptions are such that of the groups of the workload some travel in their commit record and some
// do not, that the commit file is full after a few of them, and that segments are flushed meanwhile.
func crashOptions(files vfs.FS) Options {
	options := testOptions(files)
	options.JournalBytes, options.CommitBytes = 4<<10, 24<<10
	options.OpenCold = filesColdOf(files)
	// Buckets rest, files are closed and segments are compressed as soon as may be.
	options.SealIdle, options.RestIdle, options.OpenFiles = 1, 1, 2
	return options
}

// crashWorkload writes to two tables with several buckets, one of them routed by key, the other compressed,
// and to one that does not wait for the disk, in batches of several sizes, so that segments roll and groups
// are coalesced.
func crashWorkload(t *testing.T, files vfs.FS, level string) *history {
	h := &history{sent: map[string]int64{}, acked: map[string]int64{}, levels: map[string]model.Durability{}}
	e, err := Open(t.Context(), crashOptions(files))
	if err != nil {
		return h
	}
	defer func() { _ = e.Close(t.Context()) }()
	tables := []CreateTable{
		{Name: name(t, "a"), Schema: testSchema, Buckets: 3, BucketKey: []string{"id"}, Options: map[string]string{"log.durability": level}},
		{Name: name(t, "b"), Schema: testSchema, Options: map[string]string{"log.durability": level, "log.compression": "lz4"}},
		{Name: name(t, "c"), Schema: testSchema, Options: map[string]string{"log.durability": "os"}},
	}
	for _, request := range tables {
		h.levels[request.Name.Table], _ = model.ParseDurability(request.Options["log.durability"])
		if _, err := e.CreateTable(t.Context(), request); err != nil {
			return h
		}
	}
	for number := range int64(30) {
		for _, request := range tables {
			table, number := request.Name.Table, number
			if table == "c" {
				if number%5 != 2 {
					continue
				}
				number /= 5
			}
			rows := crashRows(number)
			h.sent[table] += rows
			if err := crashWrite(t, e, request.Name, h.sent[table]-rows, rows, number); err != nil {
				return h
			}
			h.acked[table] = h.sent[table]
		}
		if number == 20 || number == 25 || number == 26 {
			e.Maintain(t.Context())
		}
		if number == 12 || number == 17 {
			for _, request := range tables[:2] {
				if _, err := e.AlterTable(t.Context(), request.Name, Expect{}, SetBuckets{int64(max(request.Buckets, 1)) << (number / 6)}); err != nil {
					return h
				}
			}
		}
	}
	return h
}

// crashRows is the size of a batch of the workload.
func crashRows(number int64) int64 { return 1 + (number*37)%200 }

func crashWrite(t *testing.T, e *Engine, table model.TableName, from, rows, number int64) error {
	put, err := e.OpenPut(t.Context(), PutRequest{Table: table, Schema: schemaMessage})
	if err != nil {
		return err
	}
	header, body := message(t, from, rows)
	pending, err := put.Send(t.Context(), header, body, &Sequence{"p", 1, number})
	if err != nil {
		return err
	}
	<-pending.Done()
	_, err = pending.Ack()
	return err
}

// TestCrashAtEveryCall fails each call to the disk in turn, kills the server or cuts the power in
// every way, and starts it again: acknowledged rows are all there once, in order, whole batches
// only, and a retry of the newest batch is recognised.
func TestCrashAtEveryCall(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"fsync", "os", "memory"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			step := int64(1)
			if level == "memory" {
				step = 5 // the calls are those of os
			}
			if testing.Short() {
				step = 17
			}
			for failAt := int64(0); ; failAt += step {
				mem := vfs.NewMem(vfs.MemOptions{})
				fault := vfs.NewFault(mem, vfs.FaultOptions{FailAt: failAt, ChangesOnly: true})
				h := crashWorkload(t, fault, level)
				for name, crashed := range crashes(mem, uint64(failAt), level) {
					what := fmt.Sprintf("call %d failed, %s", failAt, name)
					checkUndamaged(t, what, crashed.files)
					checkHistory(t, what, crashed, h)
				}
				if fault.Calls() <= failAt {
					return
				}
			}
		})
	}
}

// crash is what a kill or a power cut has left.
type crash struct {
	files *vfs.Mem
	// survived is the level of what must be there.
	survived model.Durability
}

// exhaustive has each call crash in every way, which takes several times as long: make crash.
var exhaustive = flag.Bool("exhaustive", false, "crash in every way at each call to the disk, instead of one")

// crashes gives what may be left, in the ways that the level survives: of power cuts one, drawn by the seed,
// unless all are asked for. Seeds that follow one another cover them all.
func crashes(mem *vfs.Mem, seed uint64, level string) map[string]crash {
	killed := func() crash { return crash{mem.Kill(), model.Memory} }
	if level != "fsync" {
		return map[string]crash{"killed": killed()}
	}
	all, drawn := map[string]crash{}, vfs.CutMode(rand.New(rand.NewPCG(seed, 1)).IntN(int(vfs.KeepRandom)+1))
	for mode := vfs.KeepNone; mode <= vfs.KeepRandom; mode++ {
		if *exhaustive || mode == drawn {
			cut := vfs.Cut{Mode: mode, Rand: rand.New(rand.NewPCG(seed, 0))}
			all[fmt.Sprint("power cut in mode ", mode)] = crash{mem.Crash(cut), model.Fsync}
		}
	}
	if *exhaustive || drawn == vfs.KeepAll { // which leaves the same files
		all["killed"] = killed()
	}
	return all
}

// checkUndamaged checks that what a crash has left is not taken for damage. An index may be: it is not
// synced, and made anew.
func checkUndamaged(t *testing.T, what string, files *vfs.Mem) {
	t.Helper()
	_, err := check(files, filesColdOf(files), false, func(f Finding) {
		if path.Ext(f.Path) != ".index" {
			t.Errorf("%s: check finds %+v", what, f)
		}
	})
	if err != nil {
		t.Fatalf("%s: check: %v", what, err)
	}
}

// openCrashed starts a server over what a crash has left, in which recovery must find no damage.
func openCrashed(t *testing.T, what string, files *vfs.Mem) *Engine {
	t.Helper()
	e, err := Open(t.Context(), crashOptions(files))
	if err != nil {
		t.Fatalf("%s: open: %v", what, err)
	}
	if len(e.recovery.Findings) > 0 {
		t.Fatalf("%s: findings %v, want none", what, e.recovery.Findings)
	}
	return e
}

// checkHistory starts a server over what a crash has left and compares.
func checkHistory(t *testing.T, what string, crashed crash, h *history) {
	t.Helper()
	e := openCrashed(t, what, crashed.files)
	defer closeEngine(t, e)
	for table, sent := range h.sent {
		if h.acked[table] == 0 && e.catalog.lookup(name(t, table)) == nil {
			continue
		}
		got := checkRows(t, what, e, table)
		if h.levels[table] >= crashed.survived && got != h.acked[table] && got != sent {
			t.Fatalf("%s: table %s: %d rows, want the %d acknowledged or the %d sent", what, table, got, h.acked[table], sent)
		}
		if got > sent || !isWhole(got) {
			t.Fatalf("%s: table %s: %d rows, which is not the sum of whole batches of the %d sent", what, table, got, sent)
		}
	}
	checkRetries(t, what, e, crashed, h)
}

// isWhole says whether that many rows are the first batches of the workload.
func isWhole(rows int64) bool {
	for number := int64(0); rows > 0; number++ {
		rows -= crashRows(number)
	}
	return rows == 0
}

// checkRows checks that a table holds the first rows that were sent, once and in order, and gives their
// number.
func checkRows(t *testing.T, what string, e *Engine, table string) int64 {
	t.Helper()
	counts := map[int64]int{}
	last := map[int32]row{}
	for _, r := range readAll(t, e, table) {
		counts[r.id]++
		if before, seen := last[r.bucket]; seen && (r.offset != before.offset+1 || r.id <= before.id) {
			t.Fatalf("%s: table %s, bucket %d: %+v follows %+v", what, table, r.bucket, r, before)
		}
		last[r.bucket] = r
	}
	for id := range int64(len(counts)) {
		if counts[id] != 1 {
			t.Fatalf("%s: table %s: row %d is there %d times", what, table, id, counts[id])
		}
	}
	return int64(len(counts))
}

// checkRetries sends the newest acknowledged batch again, and the one behind it.
func checkRetries(t *testing.T, what string, e *Engine, crashed crash, h *history) {
	t.Helper()
	for table, acked := range h.acked {
		if acked == 0 || h.levels[table] < crashed.survived {
			continue
		}
		number, from := int64(0), int64(0)
		for rows := crashRows(0); from+rows < acked; rows = crashRows(number) {
			from += rows
			number++
		}
		w := openWriter(t, e, table, PutRequest{})
		ack, err := w.write(from, acked-from, &Sequence{"p", 1, number})
		if err != nil || !ack.Duplicate {
			t.Fatalf("%s: table %s: retry of seq %d: %+v, %v; want a duplicate", what, table, number, ack, err)
		}
		before := int64(len(readAll(t, e, table)))
		rows := crashRows(number + 1)
		if _, err := w.write(acked, rows, &Sequence{"p", 1, number + 1}); err != nil {
			t.Fatalf("%s: table %s: seq %d: %v", what, table, number+1, err)
		}
		if after := int64(len(readAll(t, e, table))); after != acked+rows || before > after {
			t.Fatalf("%s: table %s: %d rows, then %d, want %d", what, table, before, after, acked+rows)
		}
	}
}

// TestPowerCutLosesRowsAtLevelOS proves that the test above can fail: at level os a power cut does
// lose acknowledged rows.
func TestPowerCutLosesRowsAtLevelOS(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	e := open(t, testOptions(mem))
	defer closeEngine(t, e)
	createTable(t, e, CreateTable{Name: name(t, "t"), Options: map[string]string{"log.durability": "os"}})
	w := openWriter(t, e, "t", PutRequest{})
	ack, err := w.write(0, 100, nil)
	if err != nil || ack.Durability != model.OS {
		t.Fatalf("%+v, %v; want an acknowledgement at level os", ack, err)
	}
	after := open(t, testOptions(mem.Crash(vfs.Cut{Mode: vfs.KeepNone})))
	defer closeEngine(t, after)
	if rows := readAll(t, after, "t"); len(rows) != 0 {
		t.Errorf("%d rows are left, want none: the file system does not model a power cut", len(rows))
	}
	// The same stream at fsync makes them durable, and those before.
	strict := openWriter(t, e, "t", PutRequest{Durability: model.Fsync})
	if ack, err := strict.write(100, 1, nil); err != nil || ack.Durability != model.Fsync {
		t.Fatalf("%+v, %v; want an acknowledgement at level fsync", ack, err)
	}
	durable := open(t, testOptions(mem.Crash(vfs.Cut{Mode: vfs.KeepNone})))
	defer closeEngine(t, durable)
	if rows := readAll(t, durable, "t"); len(rows) != 101 {
		t.Errorf("%d rows are left, want 101", len(rows))
	}
}

// TestFailedSyncStopsWrites fails a sync: the rows are not acknowledged, nothing is written any
// more, and reads go on.
func TestFailedSyncStopsWrites(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	probe := vfs.NewFault(mem, vfs.FaultOptions{FailAt: -1, ChangesOnly: true})
	e := open(t, testOptions(probe))
	createTable(t, e, CreateTable{Name: name(t, "t")})
	if _, err := openWriter(t, e, "t", PutRequest{}).write(0, 10, nil); err != nil {
		t.Fatal(err)
	}
	calls := probe.Calls()
	closeEngine(t, e)

	failing := vfs.NewFault(vfs.NewMem(vfs.MemOptions{}), vfs.FaultOptions{FailAt: calls, ChangesOnly: true, Always: true})
	e = open(t, testOptions(failing))
	defer func() { _ = e.Close(t.Context()) }()
	createTable(t, e, CreateTable{Name: name(t, "t")})
	w := openWriter(t, e, "t", PutRequest{})
	if _, err := w.write(0, 10, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := w.write(10, 10, nil); !errors.Is(err, model.ReadOnly) {
		t.Fatalf("error %v, want %v", err, model.ReadOnly)
	}
	if _, err := w.write(20, 10, nil); !errors.Is(err, model.ReadOnly) {
		t.Errorf("error %v, want %v", err, model.ReadOnly)
	}
	if rows := readAll(t, e, "t"); len(rows) != 10 {
		t.Errorf("%d rows can be read, want the 10 acknowledged", len(rows))
	}
}

// TestDiskFull fills the disk: writes are refused with a clear error, reads go on, and writes resume
// when there is space, without a restart.
func TestDiskFull(t *testing.T) {
	const capacity = 24 << 20
	mem := vfs.NewMem(vfs.MemOptions{Capacity: capacity})
	e := open(t, testOptions(mem))
	defer closeEngine(t, e)
	createTable(t, e, CreateTable{Name: name(t, "t")})
	w := openWriter(t, e, "t", PutRequest{})
	next := int64(0)
	for {
		_, err := w.write(next, 5000, nil)
		if errors.Is(err, model.DiskFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if next += 5000; next > 10_000_000 {
			t.Fatal("the disk is never full")
		}
	}
	if rows := readAll(t, e, "t"); int64(len(rows)) != next {
		t.Fatalf("%d rows can be read, want %d", len(rows), next)
	}
	mem.SetCapacity(2 * capacity)
	if _, err := w.write(next, 5000, nil); !errors.Is(err, model.DiskFull) {
		t.Errorf("the stream of a refused batch: error %v, want %v for all behind it", err, model.DiskFull)
	}
	if _, err := openWriter(t, e, "t", PutRequest{}).write(next, 5000, nil); err != nil {
		t.Fatalf("with space again: %v", err)
	}
	crashed := open(t, testOptions(mem.Crash(vfs.Cut{Mode: vfs.KeepNone})))
	defer closeEngine(t, crashed)
	if rows := readAll(t, crashed, "t"); int64(len(rows)) != next+5000 {
		t.Errorf("%d rows after a crash, want %d", len(rows), next+5000)
	}
}
