package engine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// history is what a workload knows about the rows that it sent.
type history struct {
	// sent counts rows, whose ids are 0..sent−1, per table; acked those that were acknowledged: a
	// prefix, as one producer sends them and stops at the first error.
	sent, acked map[string]int64
	level       model.Durability
}

// crashWorkload writes to two tables with several buckets, one of them routed by key, in batches of
// several sizes, so that segments roll and groups are coalesced.
func crashWorkload(t *testing.T, files vfs.FS, level string) *history {
	h := &history{sent: map[string]int64{}, acked: map[string]int64{}}
	h.level, _ = model.ParseDurability(level)
	e, err := Open(t.Context(), testOptions(files))
	if err != nil {
		return h
	}
	defer func() { _ = e.Close(t.Context()) }()
	tables := []CreateTable{
		{Name: name(t, "a"), Schema: testSchema, Buckets: 3, BucketKey: []string{"id"}, Options: map[string]string{"log.durability": level}},
		{Name: name(t, "b"), Schema: testSchema, Options: map[string]string{"log.durability": level}},
	}
	for _, request := range tables {
		if _, err := e.CreateTable(t.Context(), request); err != nil {
			return h
		}
	}
	for number := range int64(30) {
		for _, request := range tables {
			table := request.Name.Table
			rows := 1 + (number*37)%200
			h.sent[table] += rows
			if err := crashWrite(t, e, request.Name, h.sent[table]-rows, rows, number); err != nil {
				return h
			}
			h.acked[table] = h.sent[table]
		}
		if number == 20 {
			e.Maintain(t.Context())
		}
	}
	return h
}

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
	for _, level := range []string{"fsync", "os", "memory"} {
		t.Run(level, func(t *testing.T) {
			step := int64(1)
			if testing.Short() {
				step = 17
			}
			for failAt := int64(0); ; failAt += step {
				mem := vfs.NewMem(vfs.MemOptions{})
				fault := vfs.NewFault(mem, vfs.FaultOptions{FailAt: failAt, ChangesOnly: true})
				h := crashWorkload(t, fault, level)
				for name, crashed := range crashes(mem, uint64(failAt), level) {
					checkHistory(t, fmt.Sprintf("call %d failed, %s", failAt, name), crashed, h)
				}
				if fault.Calls() <= failAt {
					return
				}
			}
		})
	}
}

// crashes gives the file systems that the level survives.
func crashes(mem *vfs.Mem, seed uint64, level string) map[string]*vfs.Mem {
	if level != "fsync" {
		return map[string]*vfs.Mem{"killed": mem.Kill()}
	}
	all := map[string]*vfs.Mem{"killed": mem.Kill()}
	for mode := vfs.KeepNone; mode <= vfs.KeepRandom; mode++ {
		all[fmt.Sprint("power cut in mode ", mode)] = mem.Crash(vfs.Cut{Mode: mode, Rand: rand.New(rand.NewPCG(seed, 0))})
	}
	return all
}

// checkHistory starts a server over what a crash has left and compares.
func checkHistory(t *testing.T, what string, files *vfs.Mem, h *history) {
	t.Helper()
	e, err := Open(t.Context(), testOptions(files))
	if err != nil {
		t.Fatalf("%s: open: %v", what, err)
	}
	defer closeEngine(t, e)
	if len(e.recovery.Findings) > 0 {
		t.Fatalf("%s: findings %v, want none", what, e.recovery.Findings)
	}
	for table, sent := range h.sent {
		if h.acked[table] == 0 && e.catalog.lookup(name(t, table)) == nil {
			continue
		}
		counts := map[int64]int{}
		last := map[int32]row{}
		for _, r := range readAll(t, e, table) {
			counts[r.id]++
			if before, seen := last[r.bucket]; seen && (r.offset != before.offset+1 || r.id <= before.id) {
				t.Fatalf("%s: table %s, bucket %d: %+v follows %+v", what, table, r.bucket, r, before)
			}
			last[r.bucket] = r
		}
		got := int64(len(counts))
		if got != h.acked[table] && got != sent {
			t.Fatalf("%s: table %s: %d rows, want the %d acknowledged or the %d sent", what, table, got, h.acked[table], sent)
		}
		for id := range got {
			if counts[id] != 1 {
				t.Fatalf("%s: table %s: row %d is there %d times", what, table, id, counts[id])
			}
		}
	}
	checkRetries(t, what, e, h)
}

// checkRetries sends the newest acknowledged batch again, and the one behind it.
func checkRetries(t *testing.T, what string, e *Engine, h *history) {
	t.Helper()
	for table, acked := range h.acked {
		if acked == 0 {
			continue
		}
		number, from := int64(0), int64(0)
		for rows := int64(1); from+rows < acked; rows = 1 + (number*37)%200 {
			from += rows
			number++
		}
		w := openWriter(t, e, table, PutRequest{})
		ack, err := w.write(from, acked-from, &Sequence{"p", 1, number})
		if err != nil || !ack.Duplicate {
			t.Fatalf("%s: table %s: retry of seq %d: %+v, %v; want a duplicate", what, table, number, ack, err)
		}
		before := int64(len(readAll(t, e, table)))
		rows := 1 + ((number+1)*37)%200
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
