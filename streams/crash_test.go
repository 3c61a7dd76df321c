package streams

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// world is a bucket and what its caller knows of it: the commit records, and what was acknowledged.
type world struct {
	t       testing.TB
	options Options
	bucket  *Bucket
	// groups are the commit records, the oldest first; the first synced ones are acknowledged.
	groups []worldGroup
	synced int
	// requests has for each offset the hash of the request whose row counts there.
	requests []uint64
	serial   uint64
	time     int64
	// retired is how far retention may have come.
	retired int64
	// rewritten, compressed and removed are what Rewrite and Retain gave.
	rewritten, compressed int
	removed               int64
}

// compressing is a Rewriting that compresses.
var compressing = Rewriting{Compression: model.Compression{Codec: model.CompressionZSTD, Level: 1}}

// rest makes the bucket rest behind a sync. It may fail, which changes nothing.
func (w *world) rest() bool {
	_ = w.bucket.Rest()
	return true
}

type worldGroup struct {
	written Written
	end     int64
}

// openWorld opens a bucket that was never written to; nil where that fails.
func openWorld(t testing.TB, fs vfs.FS) *world {
	w := &world{t: t, options: testOptions(fs)}
	var err error
	if w.bucket, err = OpenBucket(testTable(), 0, nothing(), w.options); err != nil {
		return nil
	}
	return w
}

func (w *world) append(rows int64, extra int) {
	w.serial++
	w.time++
	from := w.bucket.Next()
	run := Run{Rows: rows, Time: w.time, Hash: w.serial}
	if w.serial%3 == 0 {
		run.Producer, run.Epoch, run.FirstSequence, run.LastSequence = "p", 1, int64(w.serial), int64(w.serial)
	}
	w.bucket.Append(makePaddedBatch(w.t, from, from+rows, extra), []Run{run})
	w.requests = append(w.requests[:from], make([]uint64, rows)...)
	for i := from; i < from+rows; i++ {
		w.requests[i] = w.serial
	}
}

// write writes a group. It gives whether the world goes on.
func (w *world) write() bool {
	written, err := w.bucket.Write()
	if err != nil {
		w.requests = w.requests[:min(int64(len(w.requests)), w.end())]
		return errors.Is(err, vfs.ErrDiskFull)
	}
	if len(written.Extents) > 0 {
		w.groups = append(w.groups, worldGroup{written, w.bucket.Next()})
	}
	return true
}

// fail writes a group that fails behind the Write, as one of several buckets does.
func (w *world) fail() bool {
	_, err := w.bucket.Write()
	w.requests = w.requests[:min(int64(len(w.requests)), w.end())]
	if err == nil {
		err = w.bucket.Rollback(w.extent())
	}
	return err == nil || errors.Is(err, vfs.ErrDiskFull)
}

// end is the offset behind the last committed row.
func (w *world) end() int64 {
	if len(w.groups) == 0 {
		return 0
	}
	return w.groups[len(w.groups)-1].end
}

// extent is the newest committed one.
func (w *world) extent() Extent { return lastExtent(w.groups) }

func lastExtent(groups []worldGroup) Extent {
	if len(groups) == 0 {
		return *nothing()
	}
	extents := groups[len(groups)-1].written.Extents
	return extents[len(extents)-1]
}

// sync makes all groups durable, and readable.
func (w *world) sync() bool {
	for _, g := range w.groups[w.synced:] {
		if syncWritten(w.options.FS, g.written) != nil {
			return false
		}
	}
	w.synced = len(w.groups)
	w.bucket.Publish(w.end())
	return true
}

// recovered is where the commit records lead after a crash: the noted groups, which are known to be
// durable, and those behind them that are whole.
func (w *world) recovered(options Options, noted int) []worldGroup {
	known := map[SegmentName]Extent{}
	for i, g := range w.groups {
		if i >= noted {
			staged := map[SegmentName]Extent{}
			for _, x := range g.written.Extents {
				from, found := staged[x.Segment]
				if !found {
					from, found = known[x.Segment]
				}
				if !found {
					from = Extent{Segment: x.Segment}
				}
				if VerifyExtent(options, from, x) != nil {
					return w.groups[:i]
				}
				staged[x.Segment] = x
			}
		}
		for _, x := range g.written.Extents {
			known[x.Segment] = x
		}
	}
	return w.groups
}

// check opens what a crash has left and compares it with what was acknowledged and appended.
func (w *world) check(fs *vfs.Mem, what string) {
	w.t.Helper()
	options := testOptions(fs)
	options.Entropy = &seeded{rand.New(rand.NewPCG(w.serial, 99))}
	// That a group is durable is noted later than it is: as long as nothing was retired, any number of
	// records may lack the note.
	noted := w.synced
	if w.retired == 0 {
		noted = 0
	}
	groups := w.recovered(options, noted)
	at := lastExtent(groups)
	b, err := OpenBucket(testTable(), 0, &at, options)
	if err != nil {
		w.t.Fatalf("%s: open: %v", what, err)
	}
	defer func() { _ = b.Close(nil) }()
	if w.synced > 0 && b.End() < w.groups[w.synced-1].end {
		w.t.Fatalf("%s: the log ends at %d, acknowledged are %d", what, b.End(), w.groups[w.synced-1].end)
	}
	if b.Start() > w.retired {
		w.t.Fatalf("%s: the log starts at %d, retired are %d", what, b.Start(), w.retired)
	}
	w.checkRequests(b, what)
	// The log goes on.
	end := b.Next()
	b.Append(makeBatch(w.t, end, end+5), []Run{{Rows: 5, Time: b.LastTime() + 1, Hash: 1}})
	last := mustWrite(w.t, b)
	if got := readAll(w.t, b, b.Start()); got != end+5 {
		w.t.Fatalf("%s: read ends at %d, want %d", what, got, end+5)
	}
	again, err := OpenBucket(testTable(), 0, &last, options)
	if err != nil {
		w.t.Fatalf("%s: open again: %v", what, err)
	}
	defer func() { _ = again.Close(nil) }()
	if got := readAll(w.t, again, again.Start()); got != end+5 {
		w.t.Fatalf("%s: opened again, read ends at %d, want %d", what, got, end+5)
	}
}

// checkRequests checks that every row of the bucket is there, once, from the request that counts.
func (w *world) checkRequests(b *Bucket, what string) {
	w.t.Helper()
	next := b.Start()
	for at, err := range b.Runs(next) {
		if err != nil {
			w.t.Fatalf("%s: %v", what, err)
		}
		if at.Run.Rows == 0 {
			continue
		}
		if at.Offset > next || at.Offset+at.Run.Rows <= next {
			w.t.Fatalf("%s: a run has the rows %d+%d, want one with row %d", what, at.Offset, at.Run.Rows, next)
		}
		for ; next < at.Offset+at.Run.Rows; next++ {
			if next >= int64(len(w.requests)) || w.requests[next] != at.Run.Hash {
				w.t.Fatalf("%s: row %d is of request %d, which does not count there", what, next, at.Run.Hash)
			}
		}
	}
	if next != b.End() {
		w.t.Fatalf("%s: the runs end at %d, want %d", what, next, b.End())
	}
	if got := readAll(w.t, b, b.Start()); got != b.End() {
		w.t.Fatalf("%s: read ends at %d, want %d", what, got, b.End())
	}
}

// crash cuts the power in several ways and kills the process, and checks what is left.
func (w *world) crash(mem *vfs.Mem, what string, seeds uint64) {
	w.t.Helper()
	w.check(mem.Kill(), what+", killed")
	w.check(mem.Crash(vfs.Cut{Mode: vfs.KeepNone}), what+", nothing kept")
	w.check(mem.Crash(vfs.Cut{Mode: vfs.KeepAll}), what+", all kept")
	for seed := range seeds {
		random := rand.New(rand.NewPCG(seed, w.serial))
		w.check(mem.Crash(vfs.Cut{Mode: vfs.KeepPrefix, Rand: random}), fmt.Sprintf("%s, prefix %d", what, seed))
		w.check(mem.Crash(vfs.Cut{Mode: vfs.KeepRandom, Rand: random}), fmt.Sprintf("%s, random %d", what, seed))
	}
}

// story is a life of a bucket with everything that can happen to one. It ends early where the world
// does.
func (w *world) story() {
	steps := []func() bool{
		func() bool { w.append(10, 0); w.append(20, 10); return w.write() && w.sync() },
		func() bool { w.append(100, 200); return w.write() },
		func() bool { w.append(50, 700); w.append(3, 5); return w.fail() },
		func() bool { w.append(7, 30); return w.write() && w.sync() },
		func() bool { w.append(40, 900); w.append(40, 900); w.append(1, 0); return w.write() },
		func() bool { w.append(60, 0); return w.write() && w.sync() },
		func() bool { w.append(60, 999); w.append(9, 10); return w.fail() },
		func() bool { w.append(5, 1); return w.write() && w.sync() },
		func() bool { w.bucket.Seal(); w.append(2, 1); return w.write() && w.sync() },
		func() bool { w.rewritten, _ = w.bucket.Rewrite(context.Background(), Rewriting{}); return true },
		func() bool { w.append(30, 100); return w.write() && w.sync() },
		func() bool { return w.rest() },
		func() bool { w.append(20, 800); return w.write() && w.sync() },
		func() bool { w.bucket.Seal(); w.append(2, 1); return w.write() && w.sync() },
		func() bool { w.compressed, _ = w.bucket.Rewrite(context.Background(), compressing); return true },
		func() bool { w.append(6, 1); return w.write() && w.sync() },
		func() bool { return w.rest() },
		func() bool {
			w.retired = 300
			w.removed, _ = w.bucket.Retain(Retention{KeepFrom: 300})
			return true
		},
		func() bool { w.append(80, 900); return w.write() },
		func() bool { w.append(80, 900); w.append(4, 0); return w.write() },
	}
	for _, step := range steps {
		if !step() {
			return
		}
	}
}

// TestCrashAtEveryCall fails each call to the disk in turn, with an error and with a full disk, then
// cuts the power. Acknowledged rows must be there, each once, and nothing that does not count.
func TestCrashAtEveryCall(t *testing.T) {
	for _, failure := range []error{nil, vfs.ErrDiskFull} {
		for failAt := int64(0); ; failAt++ {
			mem := newFS(t)
			fault := vfs.NewFault(mem, vfs.FaultOptions{FailAt: failAt, Err: failure})
			if w := openWorld(t, fault); w != nil {
				w.story()
				w.crash(mem, fmt.Sprintf("call %d failed with %v", failAt, failure), 2)
				_ = w.bucket.Close(nil)
			}
			if fault.Calls() <= failAt {
				t.Logf("%d calls", failAt)
				break
			}
		}
	}
}

// TestCrashAnywhere cuts the power many times over one story, at every step of it.
func TestCrashAnywhere(t *testing.T) {
	mem := newFS(t)
	calls := vfs.NewFault(mem, vfs.FaultOptions{FailAt: -1})
	w := openWorld(t, calls)
	w.story()
	w.crash(mem, "no fault", 50)
	if segments := w.bucket.Stats().Segments; w.rewritten == 0 || w.compressed == 0 || w.removed == 0 || segments < 3 {
		t.Errorf("%d segments rewritten, %d compressed, %d bytes removed, %d segments: the story leaves something out",
			w.rewritten, w.compressed, w.removed, segments)
	}
	_ = w.bucket.Close(nil)
	for failAt := range calls.Calls() {
		mem := newFS(t)
		// A dead disk: nothing happens any more from this call on.
		fault := vfs.NewFault(mem, vfs.FaultOptions{FailAt: failAt, Always: true})
		if w := openWorld(t, fault); w != nil {
			w.story()
			w.crash(mem, fmt.Sprintf("dead from call %d on", failAt), 4)
			_ = w.bucket.Close(nil)
		}
	}
}

// TestCrashInRecovery cuts the power, fails each call of the recovery and of the first group behind it
// in turn, and cuts the power again: what was acknowledged is still there, and the group is not, since
// no commit record names it.
func TestCrashInRecovery(t *testing.T) {
	mem := newFS(t)
	w := openWorld(t, mem)
	w.story()
	_ = w.bucket.Close(nil)
	for seed := range uint64(6) {
		left := mem.Crash(vfs.Cut{Mode: vfs.KeepRandom, Rand: rand.New(rand.NewPCG(seed, 5))})
		at := lastExtent(w.recovered(testOptions(left), w.synced))
		for failAt := int64(0); ; failAt++ {
			again := left.Kill()
			fault := vfs.NewFault(again, vfs.FaultOptions{FailAt: failAt, Always: true})
			if b, err := OpenBucket(testTable(), 0, &at, testOptions(fault)); err == nil {
				from := b.Next()
				b.Append(makePaddedBatch(t, from, from+80, 900), []Run{{Rows: 80, Time: b.LastTime(), Hash: 1}})
				if written, err := b.Write(); err == nil {
					_ = syncWritten(fault, written)
				}
				_ = b.Close(nil)
			}
			what := fmt.Sprintf("seed %d, call %d of the recovery failed", seed, failAt)
			w.check(again.Crash(vfs.Cut{Mode: vfs.KeepNone}), what+", nothing kept")
			w.check(again.Crash(vfs.Cut{Mode: vfs.KeepAll}), what+", all kept")
			w.check(again.Crash(vfs.Cut{Mode: vfs.KeepRandom, Rand: rand.New(rand.NewPCG(seed, 6))}), what+", some kept")
			if fault.Calls() <= failAt {
				break
			}
		}
	}
}
