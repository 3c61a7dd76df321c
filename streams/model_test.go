package streams

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

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
	if _, err := m.bucket.Rewrite(m.t.Context()); err != nil {
		r.Fatal(err)
	}
	m.checkRequests(m.bucket, "after a rewrite")
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
