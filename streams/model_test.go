package streams

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// machine is a bucket beside a slice of its rows, over power cuts and restarts.
type machine struct {
	*world
	mem *vfs.Mem
}

// TestModel does random things to a bucket and compares it with a slice.
func TestModel(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		m := &machine{mem: newFS(t)}
		m.world = openWorld(t, m.mem)
		defer func() { _ = m.bucket.Close(nil) }()
		r.Repeat(map[string]func(*rapid.T){
			"append": func(r *rapid.T) {
				m.append(rapid.Int64Range(1, 60).Draw(r, "rows"), rapid.SampledFrom([]int{0, 0, 20, 900}).Draw(r, "extra"))
			},
			"drop": func(*rapid.T) {
				m.bucket.Drop()
				m.requests = m.requests[:m.end()]
			},
			"write":   func(r *rapid.T) { m.must(r, m.write()) },
			"sync":    func(r *rapid.T) { m.must(r, m.write() && m.sync()) },
			"fail":    func(r *rapid.T) { m.must(r, m.fail()) },
			"seal":    func(*rapid.T) { m.bucket.Seal() },
			"idle":    func(*rapid.T) { m.bucket.Idle() },
			"rest":    m.restSynced,
			"skip":    m.skipSome,
			"read":    m.readRange,
			"rewrite": m.rewriteAll,
			"retain":  m.retainSome,
			"crash":   m.crashAndOpen,
			"time":    m.findTime,
		})
	})
}

func (m *machine) must(r *rapid.T, done bool) {
	if !done {
		r.Fatal("a step failed without a fault")
	}
}

func (m *machine) readRange(r *rapid.T) {
	b := m.bucket
	if b.End() == b.Start() {
		return
	}
	from := rapid.Int64Range(b.Start(), b.End()-1).Draw(r, "from")
	to := rapid.Int64Range(from+1, b.End()).Draw(r, "to")
	c, err := b.Cursor(from)
	if err != nil {
		r.Fatal(err)
	}
	defer c.Close()
	for c.Offset() < to {
		next := c.Offset()
		stored, err := c.Next(to)
		if err != nil || stored == nil {
			r.Fatalf("at %d of %d: %v", next, to, err)
		}
		if stored.Base > next || stored.Base+stored.Rows <= next {
			r.Fatalf("a batch has the rows %d+%d, want one with row %d", stored.Base, stored.Rows, next)
		}
		checkRows(m.t, stored)
	}
	if stored, err := c.Next(to); stored != nil || err != nil {
		r.Fatalf("behind the range: %v, %v", stored, err)
	}
}

func (m *machine) rewriteAll(r *rapid.T) {
	compression := rapid.SampledFrom([]string{"none", "none", "lz4", "zstd", "zstd:9"}).Draw(r, "compression")
	what := Rewriting{}
	var err error
	if what.Compression, err = model.ParseCompression(compression); err != nil {
		r.Fatal(err)
	}
	if _, err := m.bucket.Rewrite(m.t.Context(), what); err != nil {
		r.Fatal(err)
	}
	m.checkRequests(m.bucket, "after a rewrite")
}

// restSynced makes the bucket rest, once everything is synced, and looks at its size from outside.
func (m *machine) restSynced(r *rapid.T) {
	m.must(r, m.write() && m.sync())
	if err := m.bucket.Rest(); err != nil {
		r.Fatal(err)
	}
	measured := m.bucket.Measure()
	at, any := m.bucket.Extent()
	if !any {
		return
	}
	outside, err := MeasureBucket(m.mem, at)
	if err != nil {
		r.Fatal(err)
	}
	// Trimmed rows are in the files.
	if outside.Start = max(outside.Start, measured.Start); outside.Segments != measured.Segments || outside.Bytes != measured.Bytes ||
		outside.Start != measured.Start || outside.End != measured.End || outside.RawBytes > measured.RawBytes {
		r.Fatalf("from outside the bucket is %+v, from inside %+v", outside, measured)
	}
}

// skipSome reads with a Skip that passes over batches in which a number cannot be: no row with it is lost,
// and batches that are given have statistics.
func (m *machine) skipSome(r *rapid.T) {
	b := m.bucket
	if b.End() == b.Start() {
		return
	}
	wanted := rapid.Int64Range(b.Start(), b.End()-1).Draw(r, "wanted")
	number, _, _ := value(wanted)
	c, err := b.Cursor(b.Start())
	if err != nil {
		r.Fatal(err)
	}
	defer c.Close()
	c.Skip = func(_ int32, s *arrowipc.Statistics) bool {
		low, high := int64(binary.LittleEndian.Uint64(s.Columns[0].Min)), int64(binary.LittleEndian.Uint64(s.Columns[0].Max))
		if s.Rows == 0 || s.Columns[0].Nulls != 0 || s.Columns[1].Nulls < 0 {
			r.Fatalf("statistics %+v", s)
		}
		return number < low || number > high
	}
	found := false
	for {
		stored, err := c.Next(b.End())
		if err != nil {
			r.Fatal(err)
		}
		if stored == nil {
			break
		}
		checkRows(m.t, stored)
		if found || stored.Base > wanted || stored.Base+stored.Rows <= wanted {
			r.Fatalf("rows %d+%d are given, wanted is %d", stored.Base, stored.Rows, wanted)
		}
		found = true
		if s := stored.Statistics(); s == nil || s.Rows != stored.Rows {
			r.Fatalf("the batch has statistics %+v", s)
		}
	}
	if !found || c.Offset() != b.End() {
		r.Fatalf("row %d found: %v, the cursor is at %d", wanted, found, c.Offset())
	}
}

func (m *machine) retainSome(r *rapid.T) {
	b := m.bucket
	pin := rapid.Int64Range(b.Start(), b.End()).Draw(r, "pin")
	release := b.Pin(pin)
	keep := rapid.Int64Range(0, max(0, b.End())).Draw(r, "keep")
	if _, err := b.Retain(Retention{KeepFrom: min(keep, pin)}); err != nil {
		r.Fatal(err)
	}
	if b.Start() > pin {
		r.Fatalf("the log starts at %d, pinned are the rows from %d on", b.Start(), pin)
	}
	release()
	m.retired = max(m.retired, b.Start())
	m.checkRequests(b, "after retention")
}

func (m *machine) crashAndOpen(r *rapid.T) {
	_ = m.bucket.Close(nil)
	random := rand.New(rand.NewPCG(rapid.Uint64().Draw(r, "seed"), 1))
	mode := rapid.SampledFrom([]vfs.CutMode{vfs.KeepNone, vfs.KeepAll, vfs.KeepPrefix, vfs.KeepRandom}).Draw(r, "mode")
	if rapid.Bool().Draw(r, "killed only") {
		m.mem = m.mem.Kill()
	} else {
		m.mem = m.mem.Crash(vfs.Cut{Mode: mode, Rand: random})
	}
	m.options = testOptions(m.mem)
	m.options.Entropy = &seeded{random}
	m.groups = m.recovered(m.options, m.synced)
	if len(m.groups) < m.synced {
		r.Fatalf("%d groups are left, acknowledged are %d", len(m.groups), m.synced)
	}
	at := m.extent()
	b, err := OpenBucket(testTable(), 0, &at, m.options)
	if err != nil {
		r.Fatal(err)
	}
	m.bucket = b
	// As recovery does: what counts is durable before anything new is written.
	if err := m.mem.SyncAll(); err != nil {
		r.Fatal(err)
	}
	m.synced = len(m.groups)
	m.requests = m.requests[:m.end()]
	if b.End() != m.end() || b.Next() != m.end() {
		r.Fatalf("the log ends at %d, next is %d, want %d", b.End(), b.Next(), m.end())
	}
	m.checkRequests(b, "after a crash")
}

func (m *machine) findTime(r *rapid.T) {
	b := m.bucket
	time := rapid.Int64Range(0, m.time+1).Draw(r, "time")
	got, err := b.OffsetAt(time)
	if err != nil {
		r.Fatal(err)
	}
	want := b.End()
	for at, err := range b.Runs(b.Start()) {
		if err != nil {
			r.Fatal(err)
		}
		if at.Run.Time >= time {
			want = max(at.Offset, b.Start())
			break
		}
	}
	if got != want {
		r.Fatalf("time %d is at offset %d, want %d", time, got, want)
	}
}
