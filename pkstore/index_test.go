package pkstore

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/zeebo/xxh3"
	"pgregory.net/rapid"
)

func newIndex() *index {
	x := &index{}
	x.reset()
	return x
}

// hashOf spreads numbers as the hashes of keys are spread.
func hashOf(key uint64) uint64 {
	var b [8]byte
	for i := range b {
		b[i] = byte(key >> (8 * i))
	}
	return xxh3.Hash(b[:])
}

// checkIndex compares an index with what it should have: offsets by hash, each with rows of its own.
func checkIndex(t failer, x *index, start int64, want map[uint64]map[int64]bool) {
	t.Helper()
	n := int64(0)
	for hash, offsets := range want {
		n += int64(len(offsets))
		for offset := range offsets {
			slot := x.find(hash, func(slot uint64) bool { return slotOffset(slot, start) == offset })
			if slot == 0 {
				t.Fatalf("hash %x: offset %d is not there", hash, offset)
			}
		}
	}
	if x.keys.Load() != n {
		t.Fatalf("the index counts %d keys, want %d", x.keys.Load(), n)
	}
	checkShape(t, x)
}

// checkShape checks the counters of each shard, and that the directory refers to it where it should.
func checkShape(t failer, x *index) {
	t.Helper()
	d := x.directory.Load()
	keys, size := int64(0), int64(len(d.shards))*directoryEntryBytes
	for i := 0; i < len(d.shards); {
		s := d.shards[i].Load()
		width := 1 << (d.depth - s.depth)
		if i%width != 0 {
			t.Fatalf("shard of depth %d begins at entry %d", s.depth, i)
		}
		for j := i; j < i+width; j++ {
			if d.shards[j].Load() != s {
				t.Fatalf("entry %d is another shard than %d", j, i)
			}
		}
		i += width
		live, used := 0, 0
		for _, slot := range s.slots {
			if slot != 0 {
				used++
			}
			if slot&occupied != 0 {
				live++
			}
		}
		if live != s.keys || used != s.used {
			t.Fatalf("a shard has %d keys in %d slots, it counts %d and %d", live, used, s.keys, s.used)
		}
		keys += int64(live)
		size += s.bytes()
	}
	if keys != x.keys.Load() || size != x.size.Load() {
		t.Fatalf("shards have %d keys and %d bytes, the index counts %d and %d", keys, size, x.keys.Load(), x.size.Load())
	}
}

func TestIndexModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := newIndex()
		start := rapid.SampledFrom([]int64{0, 1, windowRows - 50, 3*windowRows + 7}).Draw(t, "start")
		// Few hashes, so that many keys share one; some differ only in bits that are not kept.
		hashes := rapid.SliceOfN(rapid.OneOf(
			rapid.Uint64(), rapid.Uint64Range(0, 3), rapid.Uint64Range(1<<62, 1<<62+1<<38),
		), 1, 40).Draw(t, "hashes")
		next := start
		want := map[uint64]map[int64]bool{}
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			hash := rapid.SampledFrom(hashes).Draw(t, "hash")
			if want[hash] == nil {
				want[hash] = map[int64]bool{}
			}
			before, after := int64(noRow), next
			if have := sortedKeys(want[hash]); len(have) > 0 && rapid.Bool().Draw(t, "existing") {
				before = rapid.SampledFrom(have).Draw(t, "before")
				if rapid.Bool().Draw(t, "delete") {
					after = noRow
				}
			}
			if !x.update(hash, before, after) {
				t.Fatalf("the index does not have offset %d", before)
			}
			delete(want[hash], before)
			if after != noRow {
				want[hash][after] = true
				next += rapid.Int64Range(1, 5).Draw(t, "rows")
			}
			if x.update(hash, next+1, noRow) {
				t.Fatal("the index deleted what it did not have")
			}
		}
		checkIndex(t, x, start, want)
	})
}

func TestIndexGrowsAndShrinks(t *testing.T) {
	x := newIndex()
	want := map[uint64]map[int64]bool{}
	const keys = 60_000
	for i := range int64(keys) {
		hash := hashOf(uint64(i))
		x.update(hash, noRow, i)
		want[hash] = map[int64]bool{i: true}
	}
	checkIndex(t, x, 0, want)
	if d := x.directory.Load(); d.depth < 3 {
		t.Fatalf("the directory has a depth of %d", d.depth)
	}
	full := x.size.Load()
	// Churn: deletes and inserts leave tombstones, which must not fill the shards.
	for i := range int64(5 * keys) {
		gone, fresh := hashOf(uint64(i)), hashOf(uint64(i+keys))
		x.update(gone, i, noRow)
		delete(want, gone)
		x.update(fresh, noRow, i+keys)
		want[fresh] = map[int64]bool{i + keys: true}
	}
	checkIndex(t, x, 0, want)
	if got := x.size.Load(); got > full*5/4 {
		t.Fatalf("the index takes %d bytes after churn, %d before", got, full)
	}
	for i := int64(5 * keys); i < 6*keys; i++ {
		x.update(hashOf(uint64(i)), i, noRow)
	}
	checkIndex(t, x, 0, nil)
	if got := x.size.Load(); got > full/10 {
		t.Fatalf("the index takes %d bytes without keys, %d with %d", got, full, keys)
	}
}

// Keys whose hashes are equal in all bits that count cannot be told apart by splitting.
func TestIndexEqualHashes(t *testing.T) {
	x := newIndex()
	want := map[uint64]map[int64]bool{42 << windowLow: {}}
	for i := range int64(20_000) {
		x.update(42<<windowLow, noRow, i)
		want[42<<windowLow][i] = true
	}
	if d := x.directory.Load(); len(d.shards) > 256 {
		t.Fatalf("the directory has %d entries", len(d.shards))
	}
	checkShape(t, x)
	for i := range int64(20_000) {
		if i%100 != 0 {
			x.update(42<<windowLow, i, noRow)
			delete(want[42<<windowLow], i)
		}
	}
	checkIndex(t, x, 0, want)
}

func TestIndexFrozenStateStays(t *testing.T) {
	x := newIndex()
	for i := range int64(20_000) {
		x.update(hashOf(uint64(i)), noRow, i)
	}
	frozen := x.freeze()
	for i := range int64(20_000) {
		switch i % 3 {
		case 0:
			x.update(hashOf(uint64(i)), i, i+50_000)
		case 1:
			x.update(hashOf(uint64(i)), i, noRow)
		}
		x.update(hashOf(uint64(i+100_000)), noRow, i+100_000)
	}
	seen := map[int64]bool{}
	for _, s := range frozen {
		for _, slot := range s.slots {
			if slot&occupied != 0 {
				seen[slotOffset(slot, 0)] = true
			}
		}
	}
	for i := range int64(20_000) {
		if !seen[i] {
			t.Fatalf("the frozen state lost offset %d", i)
		}
	}
	if len(seen) != 20_000 {
		t.Fatalf("the frozen state has %d offsets", len(seen))
	}
	checkShape(t, x)
}

// Readers find each key that stays, whatever the writer does to others and to the shards.
func TestIndexReadersWhileSplitting(t *testing.T) {
	x := newIndex()
	const steady, growing = 2_000, 120_000
	for i := range int64(steady) {
		x.update(hashOf(uint64(i)), noRow, i)
	}
	var done atomic.Bool
	var reads atomic.Int64
	var readers sync.WaitGroup
	for r := range 2 {
		readers.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(r)))
			for !done.Load() {
				i := rnd.Int64N(steady)
				slot := x.find(hashOf(uint64(i)), func(slot uint64) bool {
					offset := slotOffset(slot, 0)
					return offset == i || offset >= growing && offset%steady == i
				})
				if slot == 0 {
					t.Errorf("key %d is not there", i)
					return
				}
				reads.Add(1)
			}
		})
	}
	now := make([]int64, steady)
	for i := range now {
		now[i] = int64(i)
	}
	for i := int64(steady); i < growing; i++ {
		x.update(hashOf(uint64(i)), noRow, i)
		if i%3 == 0 {
			x.update(hashOf(uint64(i-1)), i-1, noRow)
		}
		k := i % steady
		next := growing + i/steady*steady + k
		x.update(hashOf(uint64(k)), now[k], next)
		now[k] = next
	}
	for reads.Load() < 1000 && !t.Failed() {
		runtime.Gosched()
	}
	done.Store(true)
	readers.Wait()
}

// A key takes at most 16 bytes, at any count from a million on; here also counts on the way, in one of
// which shards are about to split.
func TestIndexMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("fills an index of 4 million keys")
	}
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	x := newIndex()
	next := int64(1_000_000)
	worst := 0.0
	for i := range int64(4_000_000) {
		x.update(hashOf(uint64(i)), noRow, i)
		if i+1 < next {
			continue
		}
		next += next / 12
		perKey := float64(x.size.Load()) / float64(i+1)
		worst = max(worst, perKey)
		if perKey > 15 {
			t.Errorf("%d keys take %.1f bytes each", i+1, perKey)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&now)
	heap := float64(now.HeapAlloc - before.HeapAlloc)
	t.Logf("at most %.2f bytes a key; %d keys take %.2f of the heap", worst, x.keys.Load(), heap/float64(x.keys.Load()))
	if heap > float64(x.size.Load())*1.1 {
		t.Errorf("the heap grew by %.0f bytes, the index counts %d", heap, x.size.Load())
	}
	runtime.KeepAlive(x)
}

func BenchmarkIndexFirst(b *testing.B) {
	const keys = 1_000_000
	x := newIndex()
	hashes := make([]uint64, keys)
	for i := range hashes {
		hashes[i] = hashOf(uint64(i))
		x.update(hashes[i], noRow, int64(i))
	}
	rand.Shuffle(keys, func(i, j int) { hashes[i], hashes[j] = hashes[j], hashes[i] })
	i := 0
	for b.Loop() {
		if x.first(hashes[i]) == 0 {
			b.Fatal("a key is missing")
		}
		if i++; i == keys {
			i = 0
		}
	}
}
