package streams

import (
	"errors"
	"testing"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// diskOptions are those of a bucket on a real disk.
func diskOptions(t testing.TB) Options {
	t.Helper()
	disk, err := vfs.NewDisk(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = disk.Close() })
	return Options{FS: disk, Mappings: vfs.NewMappings(), Entropy: newSeeded(), SegmentBytes: segmentBytesMin}
}

// TestDisk lives a life of a bucket on a real disk.
func TestDisk(t *testing.T) {
	options := diskOptions(t)
	b := mustOpen(t, nothing(), options)
	for i := range int64(40) {
		b.Append(makePaddedBatch(t, b.Next(), b.Next()+15, 200), []Run{{Rows: 15, Time: i}})
		mustWrite(t, b)
		if got := readAll(t, b, 0); got != 15*(i+1) {
			t.Fatalf("read ends at %d, want %d", got, 15*(i+1))
		}
	}
	if rewritten, err := b.Rewrite(t.Context(), Rewriting{}); err != nil || rewritten == 0 {
		t.Fatalf("%d segments rewritten, error %v", rewritten, err)
	}
	if removed, err := b.Retain(Retention{Bytes: 100 << 10}); err != nil || removed == 0 {
		t.Fatalf("%d bytes removed, error %v", removed, err)
	}
	at, _ := b.Extent()
	start := b.Start()
	if err := b.Close(nil); err != nil {
		t.Fatal(err)
	}
	again := mustOpen(t, &at, options)
	if again.Start() != start || readAll(t, again, start) != 600 {
		t.Errorf("rows %d..%d, want %d..600", again.Start(), again.End(), start)
	}
}

// TestPagesThatAreGone cuts a file under its mapping, as a disk does that cannot read its sectors any
// more: the process lives, and the reader is told.
func TestPagesThatAreGone(t *testing.T) {
	options := diskOptions(t)
	options.SegmentBytes = 1 << 20
	b := mustOpen(t, nothing(), options)
	for range 2 {
		b.Append(makePaddedBatch(t, b.Next(), b.Next()+60, 1000), []Run{{Rows: 60, Time: 1}})
		mustWrite(t, b)
	}
	c, err := b.Cursor(0)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	stored, err := c.Next(noLimit)
	if err != nil {
		t.Fatal(err)
	}
	file, err := options.FS.Open(b.segmentName(0).Path())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if err := file.Truncate(8 << 10); err != nil {
		t.Fatal(err)
	}
	if err := stored.Verify(nil); !errors.Is(err, model.Corrupt) || !errors.Is(err, vfs.ErrUnreadable) {
		t.Errorf("error %v, want CORRUPT", err)
	}
	if _, err := c.Next(noLimit); !errors.Is(err, model.Corrupt) {
		t.Errorf("error %v, want CORRUPT", err)
	}
	err = guarded(func() error {
		if stored.mapping.Bytes()[16<<10] == 1 {
			return nil
		}
		return nil
	})
	if !errors.Is(err, vfs.ErrUnreadable) {
		t.Errorf("error %v of a page fault, want %v", err, vfs.ErrUnreadable)
	}
}

// benchmarkBatch gives rows of about 100 bytes.
func benchmarkBatch(b *testing.B, rows int64) *arrowipc.Batch {
	b.Helper()
	return makePaddedBatch(b, 0, rows, 80)
}

// BenchmarkWrite appends batches of 10,000 rows and writes each. It does not sync.
func BenchmarkWrite(b *testing.B) {
	benchmarkWrite(b, 10_000, 1)
}

// BenchmarkWriteSmall appends 64 batches of 100 rows to each Write, which merges them.
func BenchmarkWriteSmall(b *testing.B) {
	benchmarkWrite(b, 100, 64)
}

func benchmarkWrite(b *testing.B, rows int64, each int) {
	options := diskOptions(b)
	options.SegmentBytes = 64 << 20
	bucket := mustOpen(b, nothing(), options)
	batch := benchmarkBatch(b, rows)
	b.SetBytes(int64(len(batch.Body) * each))
	for b.Loop() {
		for range each {
			// It does not own the body, so that writing it does not recycle that.
			shared := &arrowipc.Batch{
				Layout: batch.Layout, Rows: batch.Rows, Nodes: batch.Nodes, Buffers: batch.Buffers,
				Sums: batch.Sums, Body: batch.Body,
			}
			bucket.Append(shared, []Run{{Rows: rows, Time: 1}})
		}
		written, err := bucket.Write()
		if err != nil {
			b.Fatal(err)
		}
		for _, file := range written.Sealed {
			_ = file.Close()
		}
		bucket.Publish(bucket.Next())
		if _, err := bucket.Retain(Retention{Bytes: 512 << 20}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkScan reads one of two columns of batches of 10,000 rows, as a reader does that sends them.
func BenchmarkScan(b *testing.B) {
	options := diskOptions(b)
	options.SegmentBytes = 64 << 20
	bucket := mustOpen(b, nothing(), options)
	size := int64(0)
	for range 200 {
		batch := benchmarkBatch(b, 10_000)
		size += int64(len(batch.Body))
		bucket.Append(batch, []Run{{Rows: 10_000, Time: 1}})
		mustWrite(b, bucket)
	}
	for _, columns := range [][]int{{0}, nil} {
		name := "one column"
		if columns == nil {
			name = "all columns"
		}
		b.Run(name, func(b *testing.B) {
			projection, err := arrowipc.NewProjection(testLayout, columns, nil)
			if err != nil {
				b.Fatal(err)
			}
			var buffers []int
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				cursor, err := bucket.Cursor(0)
				if err != nil {
					b.Fatal(err)
				}
				for {
					stored, err := cursor.Next(noLimit)
					if err != nil {
						b.Fatal(err)
					}
					if stored == nil {
						break
					}
					buffers = projection.AppendBuffers(buffers[:0], &stored.Batch)
					if err := stored.Verify(buffers); err != nil {
						b.Fatal(err)
					}
					_ = projection.Message(&stored.Batch, nil)
				}
				cursor.Close()
			}
		})
	}
}
