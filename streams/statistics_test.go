package streams

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"runtime"
	"slices"
	"testing"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/vfs"
)

// bounds gives the first column's bounds.
func numberBounds(s *arrowipc.Statistics) (low, high int64) {
	return int64(binary.LittleEndian.Uint64(s.Columns[0].Min)), int64(binary.LittleEndian.Uint64(s.Columns[0].Max))
}

// skipTo passes over batches that end below an offset, by their numbers.
func skipTo(offset int64) func(int32, *arrowipc.Statistics) bool {
	number, _, _ := value(offset)
	return func(_ int32, s *arrowipc.Statistics) bool {
		_, high := numberBounds(s)
		return high < number
	}
}

// TestVersion1 reads a segment and an index that an earlier version wrote, appends to it, and rewrites it:
// the new one has statistics.
func TestVersion1(t *testing.T) {
	fs := newFS(t)
	name := SegmentName{TableID: testTableID}
	content, err := os.ReadFile("testdata/golden/version1.arrow")
	if err != nil {
		t.Fatal(err)
	}
	index, err := os.ReadFile("testdata/golden/version1.index")
	if err != nil {
		t.Fatal(err)
	}
	if err := fs.MkdirAll(bucketDir(testTableID, 0)); err != nil {
		t.Fatal(err)
	}
	setFile(t, fs, name.Path(), content)
	setFile(t, fs, name.indexPath(), index)
	options := testOptions(fs)
	if err := CheckSegment(options, name.Path(), -1, func(f Finding) { t.Errorf("%+v", f) }); err != nil {
		t.Fatal(err)
	}
	at := Extent{Segment: name, End: 4032, Chain: 821420897, Next: 12}
	if err := VerifyExtent(options, Extent{Segment: name}, at); err != nil {
		t.Error(err)
	}
	b := mustOpen(t, &at, options)
	appendRows(t, b, 3, 9000)
	mustWrite(t, b)
	read := func(from, skipped int64, want ...int64) {
		t.Helper()
		c, err := b.Cursor(from)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.Skip = skipTo(skipped)
		var got []int64
		for {
			stored, err := c.Next(b.End())
			if err != nil {
				t.Fatal(err)
			}
			if stored == nil {
				break
			}
			checkRows(t, stored)
			got = append(got, stored.Base)
		}
		if !slices.Equal(got, want) {
			t.Errorf("batches at %v, want %v", got, want)
		}
	}
	read(0, 14, 0, 2, 3, 12) // batches of version 1 have no statistics
	read(0, 15, 0, 2, 3)
	b.Seal()
	appendRows(t, b, 1, 9000)
	mustWrite(t, b)
	if n, err := b.Rewrite(t.Context(), Rewriting{}); err != nil || n != 1 {
		t.Fatalf("%d rewritten, error %v", n, err)
	}
	read(0, 14, 0, 15)
	read(0, 15, 15)
	if err := CheckSegment(options, name.Path(), -1, func(f Finding) { t.Errorf("%+v", f) }); err != nil {
		t.Fatal(err)
	}
}

// fillBucket writes batches of 100 rows, not merged, in several segments, and gives their number.
func fillBucket(t testing.TB, options Options, batches int) *Bucket {
	t.Helper()
	options.CoalesceBytes = -1
	b := mustOpen(t, nothing(), options)
	for i := range batches {
		appendRows(t, b, 100, int64(i))
		mustWrite(t, b)
	}
	return b
}

// TestSkipTouchesNoPage damages every batch but one: who skips all others does not notice, whether the
// statistics come from heads, from memory or from index files.
func TestSkipTouchesNoPage(t *testing.T) {
	fs := newFS(t)
	options := testOptions(fs)
	options.CoalesceBytes = -1
	b := fillBucket(t, options, 60)
	for _, s := range b.list()[:len(b.list())-1] {
		x := segmentIndex{id: s.id, end: s.size, next: s.next, chain: s.chain, entries: s.entries}
		if err := b.keepIndex(s, &x); err != nil {
			t.Fatal(err)
		}
	}
	find := func(b *Bucket, wanted int64) {
		t.Helper()
		c, err := b.Cursor(0)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		number, _, _ := value(wanted)
		c.Skip = func(_ int32, s *arrowipc.Statistics) bool {
			low, high := numberBounds(s)
			return number < low || number > high
		}
		stored, err := c.Next(b.End())
		if err != nil || stored == nil || stored.Base > wanted || stored.Base+stored.Rows <= wanted {
			t.Fatalf("offset %d: %+v, error %v", wanted, stored, err)
		}
		checkRows(t, stored)
		if last, err := c.Next(b.End()); last != nil || err != nil || c.Offset() != b.End() {
			t.Errorf("behind it: %+v, error %v, offset %d", last, err, c.Offset())
		}
	}
	segments := b.list()
	if len(segments) < 3 {
		t.Fatalf("%d segments, want several", len(segments))
	}
	wanted := []int64{0, segments[1].name.Base + 1, segments[1].limit - 1, b.End() - 1}
	for _, offset := range wanted {
		find(b, offset)
	}
	at, _ := b.Extent()
	cold := mustOpen(t, &at, options)
	if err := cold.Rest(); err != nil {
		t.Fatal(err)
	}
	find(cold, 77)
	// The heads of all batches of sealed segments but those of one, in the second segment.
	keep := segments[1].entries[1]
	for _, s := range segments[:len(segments)-1] {
		for _, e := range s.entries {
			if e != keep {
				flipBit(t, fs, s.name.Path(), e.position+40, 0)
			}
		}
	}
	if err := cold.Rest(); err != nil { // nothing is in memory any more
		t.Fatal(err)
	}
	find(cold, keep.offset+3)
	find(cold, keep.offset)
}

// TestDamagedIndex flips each bit of an index with statistics: it is not used.
func TestDamagedIndex(t *testing.T) {
	fs := newFS(t)
	extents := writeSegment(t, fs)
	index := fileBytes(t, fs, extents[0].Segment.indexPath())
	for position := range index {
		for bit := range 8 {
			flipped := bytes.Clone(index)
			flipped[position] ^= 1 << bit
			if _, err := decodeIndex(flipped); err == nil {
				t.Errorf("bit %d of byte %d: no error", bit, position)
			}
		}
		if _, err := decodeIndex(bytes.Clone(index[:position])); err == nil {
			t.Errorf("%d bytes: no error", position)
		}
	}
	x, err := decodeIndex(bytes.Clone(index))
	if err != nil || len(x.statistics.bytes) == 0 {
		t.Fatalf("%+v, error %v", x, err)
	}
	// An index with the statistics of other batches is found by who compares it with the segment.
	x.statistics.bytes[1]++
	setFile(t, fs, extents[0].Segment.indexPath(), encodeIndex(x))
	findings := 0
	if err := CheckSegment(testOptions(fs), extents[0].Segment.Path(), -1, func(Finding) { findings++ }); err != nil || findings != 1 {
		t.Errorf("%d findings, error %v", findings, err)
	}
}

// TestStatisticsOfCoalescedBatches merges what came with statistics and what came without.
func TestStatisticsOfCoalescedBatches(t *testing.T) {
	for taken := range 4 {
		fs := newFS(t)
		b := mustOpen(t, nothing(), testOptions(fs))
		for i := range int64(2) {
			batch := makeBatch(t, 10*i, 10*i+10)
			if taken>>i&1 == 1 {
				var err error
				if batch.Statistics, err = arrowipc.Summarize(batch); err != nil {
					t.Fatal(err)
				}
			}
			b.Append(batch, []Run{{Rows: 10, Time: 1}})
		}
		mustWrite(t, b)
		c, err := b.Cursor(0)
		if err != nil {
			t.Fatal(err)
		}
		stored, err := c.Next(20)
		if err != nil {
			t.Fatal(err)
		}
		s := stored.Statistics()
		if s == nil || s.Rows != 20 || s.Columns[1].Nulls != 3 || string(s.Columns[1].Min) != "row 0" || string(s.Columns[1].Max) != "row 9./" {
			t.Errorf("%d: %+v", taken, s)
		} else if low, high := numberBounds(s); low != 0 || high != 57 {
			t.Errorf("%d: numbers from %d to %d", taken, low, high)
		}
		c.Close()
	}
}

// TestRewriteOfCompressedBatches rewrites a segment of batches that came compressed, large, small and
// incompressible.
func TestRewriteOfCompressedBatches(t *testing.T) {
	fs := newFS(t)
	options := testOptions(fs)
	options.SegmentBytes = 4 << 20
	b := mustOpen(t, nothing(), options)
	for i, codec := range []arrowipc.Codec{arrowipc.LZ4, arrowipc.NoCodec, arrowipc.ZSTD, arrowipc.NoCodec} {
		from := b.Next()
		batch := makePaddedBatch(t, from, from+400, []int{0, 0, 9000, 9000}[i])
		if codec != arrowipc.NoCodec {
			plain := batch
			var err error
			if batch, err = arrowipc.Compress(plain, codec, 0); err != nil {
				t.Fatal(err)
			}
		}
		b.Append(batch, []Run{{Rows: 400, Time: int64(i)}})
		mustWrite(t, b)
	}
	b.Seal()
	appendRows(t, b, 1, 9)
	mustWrite(t, b)
	before := b.Stats()
	if n, err := b.Rewrite(t.Context(), compressing); err != nil || n != 1 {
		t.Fatalf("%d rewritten, error %v", n, err)
	}
	after := b.Stats()
	if after.RawBytes != before.Bytes || after.Bytes > before.Bytes/10 || after.Batches != 4 {
		t.Errorf("before %+v, after %+v", before, after)
	}
	c, err := b.Cursor(0)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 4 {
		stored, err := c.Next(b.End())
		if err != nil {
			t.Fatal(err)
		}
		checkRows(t, stored)
		if s := stored.Statistics(); s == nil || s.Rows != stored.Rows {
			t.Errorf("the batch at %d has statistics %+v", stored.Base, s)
		}
	}
	if err := CheckSegment(options, b.segmentName(0).Path(), -1, func(f Finding) { t.Errorf("%+v", f) }); err != nil {
		t.Fatal(err)
	}
}

// TestRewritePaces asks between batches, and ends with the error that it gets.
func TestRewritePaces(t *testing.T) {
	fs := newFS(t)
	b := fillBucket(t, testOptions(fs), 40)
	asked := 0
	what := compressing
	what.Pace = func(context.Context) error {
		if asked++; asked == 5 {
			return os.ErrDeadlineExceeded
		}
		return nil
	}
	if _, err := b.Rewrite(t.Context(), what); err == nil || asked != 5 {
		t.Errorf("asked %d times, error %v", asked, err)
	}
	if names, err := fs.List(b.dir); err != nil || slices.ContainsFunc(names, func(name string) bool { _, is := parseBase(name, rewriteSuffix); return is }) {
		t.Errorf("%q are left, error %v", names, err)
	}
}

// TestRestingBucketsAreSmall counts the memory of buckets that rest.
func TestRestingBucketsAreSmall(t *testing.T) {
	fs := newFS(t)
	options := testOptions(fs)
	options.Layout, options.Reads = testLayout, NewReadPool(0)
	const buckets = 2000
	measure := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	table := testTable()
	table.Buckets = buckets
	all := make([]*Bucket, buckets)
	rest := func(b *Bucket) {
		if err := b.Rest(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range all {
		b, err := OpenBucket(table, int32(i), &Extent{Segment: SegmentName{TableID: testTableID, Bucket: int32(i), Base: -1}}, options)
		if err != nil {
			t.Fatal(err)
		}
		all[i] = b
		b.Append(makeBatch(t, 0, 100), []Run{{Rows: 100, Time: 1}})
		written, err := b.Write()
		if err != nil {
			t.Fatal(err)
		}
		if err := syncWritten(fs, written); err != nil {
			t.Fatal(err)
		}
		b.Publish(100)
		rest(b)
	}
	for _, b := range all {
		c, err := b.Cursor(0)
		if err != nil {
			t.Fatal(err)
		}
		stored, err := c.Next(100)
		if err != nil {
			t.Fatal(err)
		}
		checkRows(t, stored)
		c.Close()
	}
	used := measure()
	for _, b := range all {
		rest(b)
	}
	again := measure()
	clear(all)
	each := (int64(again) - int64(measure())) / buckets
	t.Logf("a bucket that rests takes %d bytes; in use %d more", each, (int64(used)-int64(again))/buckets)
	if each > 1100 {
		t.Errorf("a bucket that rests takes %d bytes, want 1100 at most", each)
	}
	runtime.KeepAlive(fs)
}

// BenchmarkSkip looks for one of many batches by statistics that are in memory.
func BenchmarkSkip(b *testing.B) {
	const batches = 1000
	options := testOptions(vfs.NewMem(vfs.MemOptions{}))
	options.SegmentBytes = 64 << 20
	if err := options.FS.MkdirAll(tablesDir + "/" + testTableID); err != nil {
		b.Fatal(err)
	}
	bucket := fillBucket(b, options, batches)
	b.ReportAllocs()
	for b.Loop() {
		c, err := bucket.Cursor(0)
		if err != nil {
			b.Fatal(err)
		}
		c.Skip = skipTo(bucket.End() - 1)
		if stored, err := c.Next(bucket.End()); err != nil || stored == nil {
			b.Fatal(stored, err)
		}
		c.Close()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/batches, "ns/batch")
}
