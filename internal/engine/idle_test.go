package engine

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// wideMessage makes an IPC message of rows of 16 numbers, and their schema.
func wideMessage(t testing.TB, rows int64) (schema *arrow.Schema, header []byte, body [][]byte) {
	t.Helper()
	var fields []arrow.Field
	for i := range 16 {
		fields = append(fields, arrow.Field{Name: fmt.Sprint("n", i), Type: arrow.PrimitiveTypes.Int64})
	}
	schema = arrow.NewSchema(fields, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for i, field := range b.Fields() {
		numbers := field.(*array.Int64Builder)
		numbers.Reserve(int(rows))
		for row := range rows {
			numbers.UnsafeAppend(row << i)
		}
	}
	record := b.NewRecordBatch()
	defer record.Release()
	layout, err := arrowipc.NewLayout(schema)
	if err != nil {
		t.Fatal(err)
	}
	batch, err := arrowipc.FromRecord(layout, record)
	if err != nil {
		t.Fatal(err)
	}
	return schema, batch.Message(0), [][]byte{batch.Body}
}

// segmentsOpen counts the descriptors of segments that this process has.
func segmentsOpen(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("this system does not tell what is open")
	}
	open := 0
	for _, entry := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + entry.Name()); err == nil && strings.HasSuffix(target, ".arrow") {
			open++
		}
	}
	return open
}

// diskUse counts the files below a folder, and the bytes that they take on disk.
func diskUse(t *testing.T, dir string) (files int, bytes int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		files++
		bytes += info.Sys().(*syscall.Stat_t).Blocks * 512
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files, bytes
}

func heapBytes() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// unsynced is a disk whose contents nobody wants to survive a power cut.
type unsynced struct{ *vfs.Disk }

func (unsynced) SyncAll() error { return nil }

// TestManySmallBuckets writes 100 rows to each of very many buckets: what that takes of the disk, of
// memory and of descriptors is in proportion to the rows, and a restart opens nothing.
func TestManySmallBuckets(t *testing.T) {
	buckets := int32(10_000)
	if testing.Short() {
		buckets = 1000
	}
	dir := t.TempDir()
	disk, err := vfs.NewDisk(dir)
	if err != nil {
		t.Fatal(err)
	}
	options := testOptions(unsynced{disk})
	options.SegmentBytes, options.CommitBytes, options.OpenFiles, options.RestIdle = 256<<20, 16<<20, 200, 1
	e := open(t, options)
	schema, header, body := wideMessage(t, 100*int64(buckets))
	createTable(t, e, CreateTable{
		Name: name(t, "t"), Schema: schema, Buckets: buckets, BucketKey: []string{"n0"},
		Options: map[string]string{"log.durability": "os"},
	})
	before := heapBytes()
	put, err := e.OpenPut(t.Context(), PutRequest{Table: name(t, "t"), Schema: arrowipc.EncodeSchema(schema)})
	if err != nil {
		t.Fatal(err)
	}
	pending, err := put.Send(t.Context(), header, body, nil)
	if err != nil {
		t.Fatal(err)
	}
	<-pending.Done()
	if _, err := pending.Ack(); err != nil {
		t.Fatal(err)
	}
	data := int64(len(body[0]))
	if n := segmentsOpen(t); n > options.OpenFiles+flushFilesMax {
		t.Errorf("%d segments are open, want %d at most", n, options.OpenFiles)
	}
	for range 2 {
		e.Maintain(t.Context())
	}
	if n := segmentsOpen(t); n > 0 {
		t.Errorf("%d segments are open though nobody writes", n)
	}
	files, bytes := diskUse(t, filepath.Join(dir, tablesDir))
	if files > int(buckets)+3 || bytes > data*5/2 {
		t.Errorf("%d files of %d bytes for %d bytes of rows", files, bytes, data)
	}
	each := (heapBytes() - before) / int64(buckets)
	t.Logf("%d buckets: %d files, %.2f bytes of disk a byte, %d bytes of heap a bucket", buckets, files, float64(bytes)/float64(data), each)
	if each > 2<<10 {
		t.Errorf("a bucket that rests takes %d bytes", each)
	}
	runtime.KeepAlive(body)
	closeEngine(t, e)

	e = open(t, options)
	defer closeEngine(t, e)
	states, err := e.Buckets(name(t, "t"))
	if err != nil {
		t.Fatal(err)
	}
	rows := int64(0)
	for _, state := range states {
		rows += state.End - state.Start
		if state.Bytes == 0 || state.RawBytes != state.Bytes {
			t.Errorf("%+v", state)
		}
	}
	if n := len(e.catalog.lookup(name(t, "t")).opened()); rows != 100*int64(buckets) || n != 0 {
		t.Errorf("%d rows, %d buckets are open", rows, n)
	}
	reader, err := e.Scan(t.Context(), Scan{Table: name(t, "t"), Buckets: []int32{7}})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if chunk, err := reader.Next(t.Context()); err != nil || chunk.Rows != states[7].End {
		t.Errorf("bucket 7 gives %d rows, error %v, want %d", chunk.Rows, err, states[7].End)
	}
	if n := len(e.catalog.lookup(name(t, "t")).opened()); n != 1 {
		t.Errorf("%d buckets are open, want the one that is read", n)
	}
}

// TestBucketsRestBetweenWrites lets buckets rest at every moment: a follower, a reader that began before and
// a producer go on.
func TestBucketsRestBetweenWrites(t *testing.T) {
	options := testOptions(vfs.NewMem(vfs.MemOptions{}))
	options.RestIdle = 1
	e := open(t, options)
	defer closeEngine(t, e)
	createTable(t, e, CreateTable{Name: name(t, "t"), Buckets: 2})
	w := openWriter(t, e, "t", PutRequest{Producer: "p", Epoch: 1})
	follower, err := e.Scan(t.Context(), Scan{Table: name(t, "t"), To: Bound{Kind: BoundNever}})
	if err != nil {
		t.Fatal(err)
	}
	defer follower.Close()
	rested := func() (n int) {
		for _, b := range e.catalog.lookup(name(t, "t")).opened() {
			if b.rests {
				n++
			}
		}
		return n
	}
	for i := range int64(20) {
		if _, err := w.write(20*i, 20, &Sequence{Number: i}); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			if chunk, err := follower.Next(t.Context()); err != nil || chunk.Rows == 0 {
				t.Fatalf("chunk %+v, error %v", chunk, err)
			}
		}
		e.Maintain(t.Context())
		e.Maintain(t.Context())
		if rested() == 0 {
			t.Fatal("no bucket rests")
		}
		if got := len(readAll(t, e, "t")); got != 20*int(i)+20 {
			t.Fatalf("%d rows, want %d", got, 20*i+20)
		}
	}
}

// bucketBytes gives the sizes of the first bucket of a table.
func bucketBytes(t *testing.T, e *Engine, table string) BucketState {
	t.Helper()
	states, err := e.Buckets(name(t, table))
	if err != nil {
		t.Fatal(err)
	}
	return states[0]
}

// TestSegmentsAreCompressed compresses segments when they are full, when nobody writes any more, after a
// restart that came between, and when the option is set later.
func TestSegmentsAreCompressed(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	options := testOptions(mem)
	e := open(t, options)
	createTable(t, e, CreateTable{Name: name(t, "t"), Options: map[string]string{"log.compression": "zstd:1"}})
	createTable(t, e, CreateTable{Name: name(t, "later")})
	createTable(t, e, CreateTable{Name: name(t, "plain")})
	write := func(table string, from, rows int64) {
		t.Helper()
		if _, err := openWriter(t, e, table, PutRequest{}).write(from, rows, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, table := range []string{"t", "later", "plain"} {
		for i := range int64(8) {
			write(table, 3000*i, 3000)
		}
	}
	e.Maintain(t.Context())
	full := bucketBytes(t, e, "t")
	plain := bucketBytes(t, e, "plain")
	if full.Bytes > full.RawBytes*7/10 || plain.Bytes != plain.RawBytes || full.RawBytes < plain.Bytes*9/10 {
		t.Errorf("compressed: %+v, plain: %+v", full, plain)
	}
	// Half a segment more, and nobody writes any more.
	write("t", 24_000, 2000)
	before := bucketBytes(t, e, "t")
	closeEngine(t, e)

	options.SealIdle = 1
	e = open(t, options)
	closed := bucketBytes(t, e, "t")
	if closed != before {
		t.Errorf("sizes %+v after a restart, want %+v", closed, before)
	}
	e.Maintain(t.Context())
	if idle := bucketBytes(t, e, "t"); idle.Bytes >= before.Bytes || idle.End != before.End {
		t.Errorf("%+v when nobody writes, before %+v", idle, before)
	}
	still := bucketBytes(t, e, "t")
	e.Maintain(t.Context())
	if again := bucketBytes(t, e, "t"); again != still {
		t.Errorf("%+v, before %+v: nothing was written", again, still)
	}
	if _, err := e.SetOptions(t.Context(), name(t, "later"), Expect{}, map[string]string{"log.compression": "lz4"}); err != nil {
		t.Fatal(err)
	}
	e.Maintain(t.Context())
	if later := bucketBytes(t, e, "later"); later.Bytes > later.RawBytes*8/10 {
		t.Errorf("%+v, want less than was written", later)
	}
	for table, rows := range map[string]int{"t": 26_000, "later": 24_000, "plain": 24_000} {
		if got := len(readAll(t, e, table)); got != rows {
			t.Errorf("table %s: %d rows, want %d", table, got, rows)
		}
	}
	closeEngine(t, e)
	checkUndamaged(t, "compressed", mem)
}

// TestCompressionOptionOfKeyedTables is refused, at creation and later.
func TestCompressionOptionOfKeyedTables(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	request := CreateTable{Name: name(t, "k"), Schema: testSchema, PrimaryKey: []string{"id"}, Options: map[string]string{"log.compression": "lz4"}}
	if _, err := e.CreateTable(t.Context(), request); err == nil || model.AsError(err).Reason != model.BadRequest {
		t.Errorf("error %v", err)
	}
	request.Options = nil
	createTable(t, e, request)
	if _, err := e.SetOptions(t.Context(), request.Name, Expect{}, map[string]string{"log.compression": "zstd"}); err == nil {
		t.Error("the option is set")
	}
}
