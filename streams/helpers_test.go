package streams

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// testTableID is a valid id of a table.
const testTableID = "01KAJV5S0000000000000000ZZ"

var testSchema = func() *arrow.Schema {
	metadata := arrow.NewMetadata([]string{"owner", "headrace.mine"}, []string{"tests", "kept"})
	return arrow.NewSchema([]arrow.Field{
		{Name: "n", Type: arrow.PrimitiveTypes.Int64},
		{Name: "text", Type: arrow.BinaryTypes.String, Nullable: true},
	}, &metadata)
}()

func testTable() *model.Table {
	return &model.Table{
		ID: testTableID, Name: model.TableName{Database: "web", Table: "clicks"}, Schema: testSchema,
		FieldIDs: []int32{1, 2}, SchemaVersion: 1, Buckets: 4, BucketKey: []string{"n"}, Comment: "for tests",
		Options: map[string]string{"log.ttl": "1d"}, Defaults: map[string]any{"text": "none"},
		Comments: map[string]string{"n": "number"}, CreatedAt: time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC),
	}
}

var testLayout = func() *arrowipc.Layout {
	layout, err := arrowipc.NewLayout(testSchema)
	if err != nil {
		panic(err)
	}
	return layout
}()

// seeded is an endless source of bytes that are the same in each run.
type seeded struct{ random *rand.Rand }

func newSeeded() *seeded { return &seeded{rand.New(rand.NewPCG(7, 7))} }

func (s *seeded) Read(into []byte) (int, error) {
	for i := range into {
		into[i] = byte(s.random.Uint32())
	}
	return len(into), nil
}

// newFS gives a file system with the folder of the test table, durable.
func newFS(t testing.TB) *vfs.Mem {
	t.Helper()
	mem := vfs.NewMem(vfs.MemOptions{})
	if err := mem.MkdirAll(tablesDir + "/" + testTableID); err != nil {
		t.Fatal(err)
	}
	if err := mem.MkdirAll("trash"); err != nil {
		t.Fatal(err)
	}
	if err := mem.SyncAll(); err != nil {
		t.Fatal(err)
	}
	return mem
}

func testOptions(fs vfs.FS) Options {
	return Options{
		FS: fs, Mappings: vfs.NewMappings(), Entropy: newSeeded(), SegmentBytes: segmentBytesMin, Clock: stoppedClock{},
	}
}

// stoppedClock shows one time for ever.
type stoppedClock struct{}

func (stoppedClock) Now() time.Time                       { return time.UnixMilli(1763712000000) }
func (stoppedClock) After(time.Duration) <-chan time.Time { return nil }

// value is what the columns hold at an offset.
func value(offset int64) (int64, string, bool) {
	if offset%7 == 3 {
		return offset * 3, "", false
	}
	return offset * 3, fmt.Sprintf("row %d%s", offset, strings.Repeat(".", int(offset%11))), true
}

// makeBatch gives a batch of the rows that belong at the offsets [from, to).
func makeBatch(t testing.TB, from, to int64) *arrowipc.Batch {
	t.Helper()
	return makePaddedBatch(t, from, to, 0)
}

// makePaddedBatch is makeBatch with texts that are longer by extra bytes.
func makePaddedBatch(t testing.TB, from, to int64, extra int) *arrowipc.Batch {
	t.Helper()
	builder := array.NewRecordBuilder(memory.DefaultAllocator, testSchema)
	defer builder.Release()
	for offset := from; offset < to; offset++ {
		n, text, valid := value(offset)
		builder.Field(0).(*array.Int64Builder).Append(n)
		if valid {
			builder.Field(1).(*array.StringBuilder).Append(text + strings.Repeat("#", extra))
		} else {
			builder.Field(1).AppendNull()
		}
	}
	record := builder.NewRecordBatch()
	defer record.Release()
	batch, err := arrowipc.FromRecord(testLayout, record)
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

// checkRows checks that the rows of a stored batch are those that belong at their offsets.
func checkRows(t testing.TB, s *Stored) {
	t.Helper()
	if err := s.Verify(nil); err != nil {
		t.Fatal(err)
	}
	batch := &s.Batch
	record, err := batch.Record(memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	defer record.Release()
	numbers, texts := record.Column(0).(*array.Int64), record.Column(1).(*array.String)
	for i := range int(s.Rows) {
		n, text, valid := value(s.Base + int64(i))
		if numbers.Value(i) != n || texts.IsValid(i) != valid || valid && strings.TrimRight(texts.Value(i), "#") != text {
			t.Fatalf("offset %d holds %d and %q, want %d and %q", s.Base+int64(i), numbers.Value(i), texts.ValueStr(i), n, text)
		}
	}
}

// appendRows appends the rows [Next, Next+rows) at a time.
func appendRows(t testing.TB, b *Bucket, rows, time int64) {
	t.Helper()
	from := b.Next()
	if got := b.Append(makeBatch(t, from, from+rows), []Run{{Rows: rows, Time: time}}); got != from {
		t.Fatalf("Append gives offset %d, want %d", got, from)
	}
}

// mustWrite writes, syncs, closes what was sealed, and publishes.
func mustWrite(t testing.TB, b *Bucket) Extent {
	t.Helper()
	written, err := b.Write()
	if err != nil {
		t.Fatal(err)
	}
	if err := syncWritten(b.options.FS, written); err != nil {
		t.Fatal(err)
	}
	b.Publish(b.Next())
	if len(written.Extents) == 0 {
		extent, _ := b.Extent()
		return extent
	}
	return written.Extents[len(written.Extents)-1]
}

// syncWritten does what the caller of Write has to do.
func syncWritten(fs vfs.FS, written Written) error {
	for _, file := range written.Files {
		if err := file.Sync(); err != nil {
			return err
		}
	}
	for _, dir := range written.Dirs {
		if err := fs.SyncDir(dir); err != nil {
			return err
		}
	}
	for _, file := range written.Sealed {
		if err := file.Close(); err != nil {
			return err
		}
	}
	return nil
}

func mustOpen(t testing.TB, at *Extent, options Options) *Bucket {
	t.Helper()
	b, err := OpenBucket(testTable(), 0, at, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close(nil) })
	return b
}

// nothing is the extent of a bucket that was never written to.
func nothing() *Extent {
	return &Extent{Segment: SegmentName{TableID: testTableID, Bucket: 0, Base: -1}}
}

// readAll checks every row from an offset on and gives where it ended.
func readAll(t testing.TB, b *Bucket, from int64) int64 {
	t.Helper()
	c, err := b.Cursor(from)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for {
		stored, err := c.Next(b.End())
		if err != nil {
			t.Fatal(err)
		}
		if stored == nil {
			return c.Offset()
		}
		if stored.Base > from || stored.Base+stored.Rows <= from {
			t.Fatalf("a batch has the rows %d+%d, want one with row %d", stored.Base, stored.Rows, from)
		}
		checkRows(t, stored)
		from = stored.Base + stored.Rows
	}
}

// fileBytes gives the content of a file.
func fileBytes(t testing.TB, fs vfs.FS, path string) []byte {
	t.Helper()
	w, err := openWindow(fs, path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.close() }()
	bytes, err := w.bytes(0, w.size)
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte(nil), bytes...)
}

// setFile writes a file anew.
func setFile(t testing.TB, fs vfs.FS, path string, content []byte) {
	t.Helper()
	file, err := fs.Open(path)
	if err != nil {
		file, err = fs.Create(path)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if err := file.Truncate(int64(len(content))); err != nil {
		t.Fatal(err)
	}
	if err := file.WriteAt([][]byte{content}, 0); err != nil {
		t.Fatal(err)
	}
}

// flipBit changes one bit of a file.
func flipBit(t testing.TB, fs vfs.FS, path string, position int64, bit uint) {
	t.Helper()
	file, err := fs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	var b [1]byte
	if _, err := file.ReadAt(b[:], position); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1 << bit
	if err := file.WriteAt([][]byte{b[:]}, position); err != nil {
		t.Fatal(err)
	}
}
