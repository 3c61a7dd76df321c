package pkstore

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"unsafe"

	"github.com/headrace/headrace/internal/arrowipc"
	"pgregory.net/rapid"
)

// patternOf is an image that tells what row it should be.
func patternOf(owner uint64, offset int64) []byte {
	n := 8 + int(uint64(offset)*7+owner)%900
	image := binary.LittleEndian.AppendUint64(nil, owner<<32|uint64(offset))
	for len(image) < n {
		image = append(image, byte(offset))
	}
	return image
}

// isPattern says that an image in memory is that of a row.
func isPattern(image *byte, owner uint64, offset int64) bool {
	want := patternOf(owner, offset)
	return slices.Equal(unsafe.Slice(image, len(want)), want)
}

// got gives the image of a row that the cache has, or nil.
func (c *RowCache) got(owner uint64, offset int64) *byte {
	entry := c.find(owner, offset)
	if entry == 0 {
		return nil
	}
	c.touchRow(entry)
	return c.image(entry, owner, offset)
}

// TestRowCacheAgainstModel keeps rows, and finds each of the newest ones, and none that was not kept.
func TestRowCacheAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := newTestCache(t, rapid.SampledFrom([]int{RowCacheBytesMin, RowCacheBytesMin + 1, 3 << 20}).Draw(rt, "bytes"))
		owners := []uint64{c.newOwner(), c.newOwner()}
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		kept, newest := map[[2]uint64]bool{}, [][2]uint64{}
		for range rapid.IntRange(1, 40).Draw(rt, "rounds") {
			var rows []freshRow
			var images []byte
			for range rapid.SampledFrom([]int{1, 100, 1000}).Draw(rt, "rows") {
				owner, offset := owners[rnd.IntN(2)], rnd.Int64N(100_000)
				images = append(images, patternOf(owner, offset)...)
				rows = append(rows, freshRow{owner: owner, offset: offset, end: len(images)})
				if key := [2]uint64{owner, uint64(offset)}; c.got(owner, offset) == nil {
					newest = append(newest, key)
					kept[key] = true
				}
			}
			c.add(rows, images)
		}
		// As many rows as fill half of the memory are there, but for the few whose set overflowed.
		room, missing, looked := len(c.rows)/2, 0, 0
		for _, key := range slices.Backward(newest) {
			if room -= len(patternOf(key[0], int64(key[1]))) + rowHeadBytes + 8; room < 0 {
				break
			}
			looked++
			image := c.got(key[0], int64(key[1]))
			if image == nil {
				missing++
			} else if !isPattern(image, key[0], int64(key[1])) {
				rt.Fatalf("row %v is another one", key)
			}
		}
		if missing > looked/30 {
			rt.Fatalf("%d of the %d newest rows are missing", missing, looked)
		}
		entries := uint64(0)
		for i := range c.sets {
			for _, entry := range c.sets[i] {
				if entry != 0 {
					entries++
				}
			}
		}
		if entries != c.live {
			rt.Fatalf("%d entries, counted as %d", entries, c.live)
		}
		for range 1000 {
			owner, offset := owners[rnd.IntN(2)], rnd.Int64N(200_000)
			if image := c.got(owner, offset); image != nil && (!kept[[2]uint64{owner, uint64(offset)}] || !isPattern(image, owner, offset)) {
				rt.Fatalf("row %d of owner %d was never kept", offset, owner)
			}
		}
		if s := c.Stats(); s.UsedBytes > s.Bytes || s.UsedBytes == 0 {
			rt.Fatalf("stats are %+v", s)
		}
	})
}

// TestRowCacheKeepsWhatIsRead fills a small cache from several goroutines, each of which looks twice at what it found:
// it must not be overwritten meanwhile.
func TestRowCacheKeepsWhatIsRead(t *testing.T) {
	c := newTestCache(t, RowCacheBytesMin)
	owner := c.newOwner()
	var group sync.WaitGroup
	var hits [4]int
	for worker := range hits {
		group.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(worker), 2))
			type row struct {
				image  *byte
				offset int64
			}
			for range 3000 {
				var found []row
				var fresh []freshRow
				var images []byte
				epoch := c.enter()
				for range 50 {
					// Some rows are asked for all the time, others are not.
					offset := rnd.Int64N(500)
					if rnd.IntN(3) == 0 {
						offset = rnd.Int64N(1 << 40)
					}
					if image := c.got(owner, offset); image != nil {
						found = append(found, row{image, offset})
						continue
					}
					images = append(images, patternOf(owner, offset)...)
					fresh = append(fresh, freshRow{owner: owner, offset: offset, end: len(images)})
				}
				for _, r := range found {
					if !isPattern(r.image, owner, r.offset) {
						t.Errorf("row %d was overwritten while it was read", r.offset)
						break
					}
				}
				hits[worker] += len(found)
				c.leave(epoch)
				c.add(fresh, images)
			}
		})
	}
	group.Wait()
	if turns := c.ring.taken / len(c.ring.counts); turns < 5 {
		t.Errorf("the cache was filled %d times, want 5 or more", turns)
	}
	if slices.Min(hits[:]) == 0 {
		t.Errorf("rows were found %v times", hits)
	}
	if a, b := c.readers[0].Load(), c.readers[1].Load(); a != 0 || b != 0 {
		t.Errorf("%d and %d readers are left", a, b)
	}
}

// TestRowCacheWaitsForReaders shows that a chunk is not written to while somebody who may read it is there.
func TestRowCacheWaitsForReaders(t *testing.T) {
	c := newTestCache(t, RowCacheBytesMin)
	owner := c.newOwner()
	fill := func(from int64) (n int64) {
		for c.put(owner, from+n, patternOf(owner, 123)) {
			if n++; n > 1<<20 {
				break
			}
		}
		return n
	}
	epoch := c.enter()
	first := fill(0)
	if first == 0 || first > 1<<20 {
		t.Fatalf("%d rows were kept beside a reader, want some", first)
	}
	if again := fill(first); again != 0 {
		t.Fatalf("%d rows found room again", again)
	}
	c.leave(epoch)
	if more := fill(first); more <= 1<<20 {
		t.Errorf("%d rows were kept when nobody read, want as many as there are", more)
	}
}

// TestRowReaderRests shows that a cache that is too small is filled by few lookups only.
func TestRowReaderRests(t *testing.T) {
	b := newTestBucket(t, Options{})
	c := b.current().options.RowCache
	lookups := func(reader *RowReader, n int) (filled int) {
		for range n {
			reader.Begin()
			if reader.filling {
				filled++
			}
			reader.misses++
			reader.End()
		}
		return filled
	}
	if filled := lookups(NewRowReader(c), 64); filled != 64 {
		t.Errorf("%d of 64 lookups filled a cache that has room", filled)
	}
	c.full.Store(true)
	if filled := lookups(NewRowReader(c), 64); filled != 64/(1+fillRest) {
		t.Errorf("%d of 64 lookups filled a cache that is too small, want %d", filled, 64/(1+fillRest))
	}
	var none RowReader
	none.Begin()
	if none.next() != nil || NewRowReader(nil).next() != nil || (*RowReader)(nil).next() != nil {
		t.Error("a reader of no cache has images")
	}
	none.End()
}

func TestNewRowCacheRefuses(t *testing.T) {
	if _, err := NewRowCache(make([]byte, RowCacheBytesMin-1)); err == nil {
		t.Error("a cache of less than the least memory was made")
	}
	if s := (*RowCache)(nil).Stats(); s != (RowCacheStats{}) {
		t.Errorf("no cache has %+v", s)
	}
}

// BenchmarkLookupCached is BenchmarkLookup with a cache that has all rows, and puts the columns together.
func BenchmarkLookupCached(b *testing.B) {
	x := newBench(b)
	columns, err := arrowipc.NewKeyColumns(x.layout, []int{0})
	if err != nil {
		b.Fatal(err)
	}
	for _, cached := range []bool{false, true} {
		b.Run(map[bool]string{false: "log", true: "cache"}[cached], func(b *testing.B) {
			const n = 1000
			rnd := rand.New(rand.NewPCG(3, 3))
			var keys []Keys
			for range 1000 {
				c := x.change(b, randomKeys(rnd, n))
				keys = append(keys, Keys{View: c.Rows, Columns: columns, Hashes: c.Hashes})
			}
			reader := NewRowReader(nil)
			if cached {
				reader = NewRowReader(x.bucket.current().options.RowCache)
			}
			builder := arrowipc.NewBuilder(x.bucket.current().options.Layout)
			var picks []arrowipc.Pick
			one := func(i int) {
				reader.Begin()
				if picks, _, err = x.bucket.Lookup(keys[i%len(keys)], reader, picks[:0]); err != nil {
					b.Fatal(err)
				}
				if err := builder.AppendPicks(picks); err != nil {
					b.Fatal(err)
				}
				reader.End()
				builder.Finish().Release()
			}
			for i := range keys {
				one(i)
			}
			i := 0
			for b.Loop() {
				one(i)
				i++
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(i)/n, "ns/key")
		})
	}
}
