package engine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// writeSmall writes rows [from, to) in batches of ten, each waited for.
func writeSmall(t *testing.T, e *Engine, table string, from, to int64) {
	t.Helper()
	w := openWriter(t, e, table, PutRequest{})
	for ; from < to; from += 10 {
		if ack, err := w.write(from, min(10, to-from), nil); err != nil || ack.Durability < model.Fsync {
			t.Fatalf("rows from %d: %+v, %v; want them at level fsync", from, ack, err)
		}
	}
}

// wantRows checks that a table holds so many rows and that nothing is damaged.
func wantRows(t *testing.T, what string, files *vfs.Mem, tables map[string]int64) {
	t.Helper()
	checkUndamaged(t, what, files)
	e := open(t, testOptions(files))
	defer closeEngine(t, e)
	if len(e.recovery.Findings) > 0 {
		t.Errorf("%s: findings %v, want none", what, e.recovery.Findings)
	}
	for table, want := range tables {
		if got := checkRows(t, what, e, table); got != want {
			t.Errorf("%s: table %s: %d rows, want %d", what, table, got, want)
		}
	}
}

// cuts calls check with what each kind of power cut leaves.
func cuts(mem *vfs.Mem, check func(what string, files *vfs.Mem)) {
	for mode := vfs.KeepNone; mode <= vfs.KeepRandom; mode++ {
		for seed := range uint64(3) {
			check(fmt.Sprintf("power cut in mode %d, seed %d", mode, seed), mem.Crash(vfs.Cut{Mode: mode, Rand: rand.New(rand.NewPCG(seed, 7))}))
		}
	}
}

// segmentSyncs counts what makes segments durable among the lines of a trace, and syncs of the commit
// file.
func segmentSyncs(lines []string) (segments, commits int) {
	for _, line := range lines {
		switch {
		case strings.HasPrefix(line, "sync "+commitDir):
			commits++
		case strings.HasPrefix(line, "sync"):
			segments++
		}
	}
	return segments, commits
}

// TestSmallGroupsSyncTheCommitFileAlone counts the syncs of groups that stand in their record and of
// such that do not, and cuts the power behind each.
func TestSmallGroupsSyncTheCommitFileAlone(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	trace := vfs.NewTrace(mem)
	e := open(t, testOptions(trace))
	defer closeEngine(t, e)
	createTable(t, e, CreateTable{Name: name(t, "t")})
	createTable(t, e, CreateTable{Name: name(t, "o"), Options: map[string]string{"log.durability": "os"}})
	rows := map[string]int64{"t": 0, "o": 0}
	const magic = 0x31435248 // as an id, it begins a line of the stored batch like a record
	for _, step := range []struct {
		what              string
		table             string
		rows              int64
		first             int64
		segments, commits int
	}{
		{"the first batch makes a segment", "t", 10, 0, 1, 0},
		{"a small batch", "t", 10, 10, 0, 1},
		{"another", "t", 100, 20, 0, 1},
		{"a large batch", "t", 2000, 120, 1, 1},
		{"a small batch behind it", "t", 10, 2120, 0, 1},
		{"a batch that nobody waits for", "o", 10, 0, 0, 0},
		{"a small batch behind that", "t", 10, 2130, 1, 0},
		{"a small batch again", "t", 10, 2140, 0, 1},
		{"bytes that look like a record", "t", 1, magic, 1, 1},
	} {
		trace.Take()
		if _, err := openWriter(t, e, step.table, PutRequest{}).write(step.first, step.rows, nil); err != nil {
			t.Fatal(err)
		}
		lines := trace.Take()
		if segments, commits := segmentSyncs(lines); segments != step.segments || commits != step.commits {
			t.Errorf("%s: %d syncs of segments and %d of the commit file, want %d and %d:\n%s",
				step.what, segments, commits, step.segments, step.commits, strings.Join(lines, "\n"))
		}
		if step.first == magic {
			break
		}
		rows[step.table] += step.rows
		if step.table == "o" {
			continue
		}
		// What nobody waited for may be lost, unless somebody waited for what was written behind it.
		want := map[string]int64{"t": rows["t"]}
		if step.segments > 0 {
			want["o"] = rows["o"]
		}
		wantRows(t, step.what, mem.Crash(vfs.Cut{Mode: vfs.KeepNone}), want)
	}
}

// TestCheckpointsOfSmallGroups fills the commit file several times with small groups and cuts the power
// in between.
func TestCheckpointsOfSmallGroups(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	e := open(t, testOptions(mem))
	defer closeEngine(t, e)
	createTable(t, e, CreateTable{Name: name(t, "t"), Buckets: 3, BucketKey: []string{"id"}})
	first := e.commits.File()
	turns := 0
	for at := int64(0); turns < 4; at += 50 {
		writeSmall(t, e, "t", at, at+50)
		cuts(mem, func(what string, files *vfs.Mem) {
			wantRows(t, fmt.Sprintf("%s behind row %d", what, at+50), files, map[string]int64{"t": at + 50})
		})
		if now := e.commits.File(); now != first {
			first = now
			turns++
		}
	}
}

// TestCrashInRecovery cuts the power, fails each call to the disk of the recovery in turn, cuts the
// power again, and starts once more.
func TestCrashInRecovery(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	e := open(t, testOptions(mem))
	createTable(t, e, CreateTable{Name: name(t, "a"), Buckets: 2, BucketKey: []string{"id"}})
	createTable(t, e, CreateTable{Name: name(t, "b")})
	writeSmall(t, e, "a", 0, 60)
	writeSmall(t, e, "b", 0, 40)
	want := map[string]int64{"a": 60, "b": 40}
	base := mem.Crash(vfs.Cut{Mode: vfs.KeepNone})
	closeEngine(t, e)
	for failAt := int64(0); ; failAt++ {
		files := base.Kill()
		fault := vfs.NewFault(files, vfs.FaultOptions{FailAt: failAt})
		e, err := Open(t.Context(), testOptions(fault))
		if err == nil {
			_ = e.Close(t.Context()) // may fail for the same fault
		}
		cuts(files, func(what string, files *vfs.Mem) {
			wantRows(t, fmt.Sprintf("call %d failed, %s", failAt, what), files, want)
		})
		if fault.Calls() <= failAt || t.Failed() {
			return
		}
	}
}

// TestRewrittenBehindItsRecord rewrites segments whose rows stand in the commit file too: what that
// carries is of files that are not there any more.
func TestRewrittenBehindItsRecord(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	options := testOptions(mem)
	options.CommitBytes = 1 << 20
	e := open(t, options)
	defer closeEngine(t, e)
	createTable(t, e, CreateTable{Name: name(t, "t")})
	rows := int64(0)
	for e.catalog.lookup(name(t, "t")).buckets[0] == nil || e.catalog.lookup(name(t, "t")).buckets[0].Stats().Segments < 3 {
		writeSmall(t, e, "t", rows, rows+10)
		rows += 10
	}
	before := e.catalog.lookup(name(t, "t")).buckets[0].Stats().Bytes
	e.Maintain(t.Context())
	if after := e.catalog.lookup(name(t, "t")).buckets[0].Stats().Bytes; after >= before {
		t.Fatalf("the maintenance has rewritten nothing: %d bytes, %d before", after, before)
	}
	writeSmall(t, e, "t", rows, rows+20)
	cuts(mem, func(what string, files *vfs.Mem) { wantRows(t, what, files, map[string]int64{"t": rows + 20}) })
}

// TestDroppedBehindItsRecord drops a table whose rows stand in the commit file too, and brings it back.
func TestDroppedBehindItsRecord(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	e := open(t, testOptions(mem))
	defer closeEngine(t, e)
	for _, table := range []string{"dropped", "kept"} {
		createTable(t, e, CreateTable{Name: name(t, table)})
		writeSmall(t, e, table, 0, 50)
	}
	if err := e.DropTable(t.Context(), name(t, "dropped"), false); err != nil {
		t.Fatal(err)
	}
	writeSmall(t, e, "kept", 50, 70)
	cuts(mem, func(what string, files *vfs.Mem) {
		wantRows(t, what, files, map[string]int64{"kept": 70})
		e := open(t, testOptions(files))
		if _, err := e.UndropTable(t.Context(), name(t, "dropped")); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		writeSmall(t, e, "dropped", 50, 60)
		crashed := files.Crash(vfs.Cut{Mode: vfs.KeepNone})
		closeEngine(t, e)
		wantRows(t, what+", then undropped", crashed, map[string]int64{"kept": 70, "dropped": 60})
	})
}

// TestRotOfCarriedRows damages rows in a segment that the commit file carries too, behind a clean stop:
// that is damage, and the next start mends it.
func TestRotOfCarriedRows(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	e := open(t, testOptions(mem))
	createTable(t, e, CreateTable{Name: name(t, "t")})
	writeSmall(t, e, "t", 0, 50)
	extent := e.catalog.lookup(name(t, "t")).extents[0]
	closeEngine(t, e)
	file, err := mem.Open(extent.Segment.Path())
	if err != nil {
		t.Fatal(err)
	}
	if err := file.WriteAt([][]byte{{0xA5, 0x5A, 0xA5}}, extent.End-600); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	found := 0
	if _, err := Check(mem, false, func(Finding) { found++ }); err != nil || found == 0 {
		t.Errorf("check finds nothing, error %v", err)
	}
	e = open(t, testOptions(mem))
	if len(e.recovery.Findings) != 1 || checkRows(t, "rot", e, "t") != 50 {
		t.Errorf("findings %v, want one, and all rows", e.recovery.Findings)
	}
	closeEngine(t, e)
	wantRows(t, "mended", mem, map[string]int64{"t": 50})
}

// stuckSegments is a disk that holds up the next sync of a segment, once it is told to, until failed is
// closed, and fails it. Syncs behind that one succeed.
type stuckSegments struct {
	vfs.FS
	stuck           atomic.Bool
	reached, failed chan struct{}
}

func newStuckSegments(files vfs.FS) *stuckSegments {
	return &stuckSegments{FS: files, reached: make(chan struct{}), failed: make(chan struct{})}
}

func (s *stuckSegments) Create(path string) (vfs.File, error) {
	file, err := s.FS.Create(path)
	return &stuckSegment{file, s, path}, err
}

type stuckSegment struct {
	vfs.File
	disk *stuckSegments
	path string
}

func (s *stuckSegment) Sync() error {
	if path.Ext(s.path) == ".arrow" && s.disk.stuck.CompareAndSwap(true, false) {
		close(s.disk.reached)
		<-s.disk.failed
		return vfs.ErrInjected
	}
	return s.File.Sync()
}

// TestFailedFlushStopsWrites fails the sync of a segment that goes on beside small groups, while another
// one waits for it: what was acknowledged is there, and nothing else is acknowledged, as a second sync
// would not tell what the first one has lost.
func TestFailedFlushStopsWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem(vfs.MemOptions{Now: time.Now})
		disk := newStuckSegments(mem)
		e := open(t, testOptions(disk))
		createTable(t, e, CreateTable{Name: name(t, "t")})
		writeSmall(t, e, "t", 0, 10)
		disk.stuck.Store(true)
		rows := int64(10)
		for range 4 { // they go on beside the sync that is stuck
			for reached := false; !reached; rows += 10 {
				writeSmall(t, e, "t", rows, rows+10)
				synctest.Wait()
				select {
				case <-disk.reached:
					reached = true
				default:
				}
			}
		}
		large, err := openWriter(t, e, "t", PutRequest{}).send(rows, 2000, nil)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		select {
		case <-large.Done():
			t.Fatal("a large group does not wait for the sync of its segment")
		default:
		}
		close(disk.failed)
		<-large.Done()
		if _, err := large.Ack(); !errors.Is(err, model.ReadOnly) {
			t.Errorf("the large group: error %v, want %v", err, model.ReadOnly)
		}
		if err := e.Close(t.Context()); !errors.Is(err, model.ReadOnly) {
			t.Errorf("close: error %v, want %v", err, model.ReadOnly)
		}
		wantRows(t, "behind a failed flush", mem.Crash(vfs.Cut{Mode: vfs.KeepNone}), map[string]int64{"t": rows})
	})
}
