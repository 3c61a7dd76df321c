package pkstore

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/headrace/headrace/internal/arrowipc"
)

// forest are buckets that come from one by divisions, with a map for each of what it should hold.
type forest struct {
	columns []int // of the bucket key
	cold    *memoryCold
	hasher  *arrowipc.RowHasher
	parts   []*forestPart
}

type forestPart struct {
	bucket    *Bucket
	name      ColdBucket
	share     Share
	ancestors []ColdAncestor
	stored    []Stored // of the whole history
	state     map[string]testRow
}

func (f *forest) options(share Share) Options {
	return Options{Share: share}
}

// store is what a part sees of the store of retired rows.
func (f *forest) store(t failer, p *forestPart) ColdStore {
	t.Helper()
	if p.share.Of == 0 {
		return f.cold
	}
	store, err := NewColdLineage(f.cold, Options{Layout: logLayout(t), Key: testKey, Share: p.share}, p.name, p.ancestors)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// write upserts or deletes rows, each in the part that has its key.
func (f *forest) write(t *rapid.T, deletes bool) {
	columns := allOf
	if deletes {
		columns = testKey
	}
	rows := drawRows(t, "rows")
	view := viewOf(t, testKey, rows)
	for _, p := range f.parts {
		var own []testRow
		for i, row := range rows {
			if hash, _ := f.hasher.HashRow(view, int32(i)); p.share.owns(hash) {
				own = append(own, row)
			}
		}
		if len(own) == 0 {
			continue
		}
		c := changeOf(t, columns, own)
		c.Delete = deletes
		batches, err := p.bucket.Apply(p.bucket.writer.end, c)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range own {
			if p.state[row.key()] = row; deletes {
				delete(p.state, row.key())
			}
		}
		stored := kept(t, p.bucket.writer.base, batches, 1<<30)
		if len(stored) == 0 {
			continue
		}
		if err := p.bucket.Publish(stored[len(stored)-1].end(), stored); err != nil {
			t.Fatal(err)
		}
		p.stored = append(p.stored[:len(p.stored):len(p.stored)], stored...)
	}
}

func (f *forest) draw(t *rapid.T) *forestPart {
	return f.parts[rapid.IntRange(0, len(f.parts)-1).Draw(t, "part")]
}

// Retire moves rows of a part below its log, or leaves that off.
func (f *forest) Retire(t *rapid.T) {
	p := f.draw(t)
	if p.bucket.cold.store == nil {
		if err := p.bucket.UseCold(f.store(t, p), p.name); err != nil {
			t.Fatal(err)
		}
	}
	left := rapid.IntRange(0, 20).Draw(t, "batches before it is left off")
	r := Retirement{Before: rapid.Int64Range(0, p.bucket.End()).Draw(t, "before"), Durable: func(context.Context) error { return nil }}
	r.Times = func(s Stored) (func(int32) int64, error) {
		if left--; left < 0 {
			return nil, errTestCut
		}
		return testTimes(s)
	}
	if _, err := p.bucket.Retire(t.Context(), r); err != nil && left >= 0 {
		t.Fatal(err)
	}
}

// Divide makes 2 or 4 parts of one.
func (f *forest) Divide(t *rapid.T) {
	p := f.draw(t)
	n := uint32(2) << rapid.IntRange(0, 1).Draw(t, "doublings")
	of := max(p.share.Of, 1)
	if len(f.parts) > 12 {
		t.Skip("there are enough")
	}
	boundary := p.bucket.Stats().Boundary
	parts := make([]*forestPart, n)
	divided := make([]Part, n)
	shares := make([]Share, n)
	for i := range parts {
		q := &forestPart{name: p.name, share: Share{Columns: f.columns, Index: p.share.Index + uint32(i)*of, Of: of * n}, ancestors: p.ancestors}
		if i > 0 {
			q.name = ColdBucket{Bucket: uint32(100 + len(f.parts) + i)}
			q.ancestors = append([]ColdAncestor{{p.name, boundary}}, p.ancestors...)
		}
		q.stored, q.state = p.stored, map[string]testRow{}
		parts[i] = q
		shares[i] = q.share
		divided[i] = Part{Options: Options{Layout: logLayout(t), Key: testKey, Share: q.share}, Name: q.name}
	}
	division, err := p.bucket.Divide(shares)
	if err != nil {
		t.Fatal(err)
	}
	defer division.Close()
	if rapid.Bool().Draw(t, "written meanwhile") {
		f.write(t, rapid.Bool().Draw(t, "deleted"))
		for _, q := range parts {
			q.stored = p.stored
		}
	}
	for i, q := range parts {
		if p.bucket.cold.store != nil {
			divided[i].Cold = f.store(t, q)
		}
	}
	if err := division.Prepare(divided); err != nil {
		t.Fatal(err)
	}
	if rapid.IntRange(0, 5).Draw(t, "given up") == 0 {
		return
	}
	for i, bucket := range append([]*Bucket{p.bucket}, division.Apply()...) {
		parts[i].bucket = bucket
	}
	for key, row := range p.state {
		hash, _ := f.hasher.HashRow(viewOf(t, testKey, []testRow{row}), 0)
		i := slices.IndexFunc(parts, func(q *forestPart) bool { return q.share.owns(hash) })
		parts[i].state[key] = row
	}
	f.parts = append(slices.DeleteFunc(f.parts, func(q *forestPart) bool { return q == p }), parts...)
}

// Reopen makes a part anew from its history and the store, and from an index file.
func (f *forest) Reopen(t *rapid.T) {
	p := f.draw(t)
	file := p.bucket.AppendIndex(nil)
	start, end, err := IndexRange(file)
	if err != nil {
		t.Fatal(err)
	}
	fresh := newTestBucket(t, f.options(p.share))
	filed := rapid.Bool().Draw(t, "from a file") && end > 0
	if filed {
		if _, _, err := fresh.LoadIndex(file); err != nil {
			t.Fatal(err)
		}
	}
	if p.bucket.cold.store != nil {
		if err := fresh.UseCold(f.store(t, p), p.name); err != nil {
			t.Fatal(err)
		}
	}
	if filed {
		if err := fresh.Attach(slices.DeleteFunc(slices.Clone(p.stored), func(s Stored) bool { return s.Base < start })); err != nil {
			t.Fatal(err)
		}
		other := newTestBucket(t, f.options(Share{Columns: f.columns, Index: 0, Of: 1}))
		if _, _, err := other.LoadIndex(file); err == nil {
			t.Fatal("a bucket takes the index of another share")
		}
	} else {
		for _, s := range p.stored {
			if s.Base >= fresh.End() {
				if err := fresh.Replay(s); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	p.bucket = fresh
}

// Check compares states and lookups of all parts.
func (f *forest) Check(t *rapid.T) {
	for _, p := range f.parts {
		if got := stateOf(t, p.bucket.Snapshot()); !maps.Equal(got, p.state) {
			t.Fatalf("share %d of %d has\n%v, want\n%v", p.share.Index, p.share.Of, got, p.state)
		}
		if keys := p.bucket.Stats().Keys; keys != int64(len(p.state)) {
			t.Fatalf("share %d of %d counts %d keys, want %d", p.share.Index, p.share.Of, keys, len(p.state))
		}
		for _, q := range f.parts {
			keys := slices.Collect(maps.Values(q.state))
			if len(keys) == 0 {
				continue
			}
			found, _ := lookedUp(t, p.bucket, keys, nil)
			for i, key := range keys {
				want := null
				if p == q {
					want = fmt.Sprint(key)
				}
				if found[i] != want {
					t.Fatalf("share %d of %d finds %v for %v, want %v", p.share.Index, p.share.Of, found[i], key, want)
				}
			}
		}
	}
}

// TestDivide divides buckets again and again while they are written to, retired and opened anew.
func TestDivide(t *testing.T) {
	for _, columns := range [][]int{{idColumn}, {nameColumn}, {idColumn, nameColumn}, {nameColumn, idColumn}} {
		rapid.Check(t, func(t *rapid.T) {
			f := &forest{columns: columns, cold: newMemoryCold()}
			var err error
			if f.hasher, err = arrowipc.NewRowHasher(chosen(t, testKey), columns); err != nil {
				t.Fatal(err)
			}
			f.parts = []*forestPart{{bucket: newTestBucket(t, Options{}), name: ColdBucket{Bucket: 9}, state: map[string]testRow{}}}
			t.Repeat(map[string]func(*rapid.T){
				"upsert": func(t *rapid.T) { f.write(t, false) }, "upsert 2": func(t *rapid.T) { f.write(t, false) },
				"delete": func(t *rapid.T) { f.write(t, true) }, "retire": f.Retire, "divide": f.Divide, "reopen": f.Reopen, "": f.Check,
			})
		})
	}
}

// TestDivideKeepsIndexesSmall divides an index and measures what it takes for a key.
func TestDivideKeepsIndexesSmall(t *testing.T) {
	const keys = 200_000
	b := newTestBucket(t, Options{})
	for id := range keys {
		hash := arrowipc.HashKey(fmt.Append(nil, id))
		b.index.update(hash, noRow, int64(id))
	}
	share := func(slot uint64) int { return int(slotOffset(slot, 0) % 4) }
	for i, shards := range divideShards(b.index.freeze(), 4, share) {
		var x index
		x.reset()
		x.load(shards, keys/4)
		if size := float64(x.size.Load()) / (keys / 4); size > 16 {
			t.Errorf("part %d takes %.1f bytes a key", i, size)
		}
		for id := range int64(keys) {
			hash := arrowipc.HashKey(fmt.Append(nil, id))
			if there := x.find(hash, func(slot uint64) bool { return slotOffset(slot, 0) == id }) != 0; there != (int(id%4) == i) {
				t.Fatalf("part %d has key %d: %v", i, id, there)
			}
		}
	}
}

// BenchmarkDivide divides a bucket of a million keys; what the writer waits for is reported as held-ms.
func BenchmarkDivide(b *testing.B) {
	held := 0.0
	for b.Loop() {
		b.StopTimer()
		x := newBench(b)
		b.StartTimer()
		options := x.bucket.current().options
		var parts []Part
		var shares []Share
		for i := range uint32(2) {
			shares = append(shares, Share{Columns: []int{0}, Index: i, Of: 2})
			parts = append(parts, Part{Options: options})
		}
		d, err := x.bucket.Divide(shares)
		if err != nil {
			b.Fatal(err)
		}
		began := b.Elapsed()
		if err := d.Prepare(parts); err != nil {
			b.Fatal(err)
		}
		d.Apply()
		held += float64((b.Elapsed() - began).Microseconds()) / 1000
		d.Close()
	}
	b.ReportMetric(held/float64(b.N), "held-ms/op")
}
