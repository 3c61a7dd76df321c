package streams

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

func TestReadFromEveryOffset(t *testing.T) {
	fs := newFS(t)
	b := mustOpen(t, nothing(), testOptions(fs))
	var at Extent
	for i := range int64(30) {
		appendRows(t, b, 10+i, 1000*i)
		b.Append(makePaddedBatch(t, b.Next(), b.Next()+20, 200), []Run{{Rows: 20, Time: 1000 * i}})
		at = mustWrite(t, b)
	}
	end := b.End()
	if stats := b.Stats(); stats.Segments < 2 || stats.Batches != 30 || stats.End != end || stats.Start != 0 {
		t.Errorf("%+v, want 30 batches in several segments", stats)
	}
	for name, b := range map[string]*Bucket{
		"written": b, "opened": mustOpen(t, &at, testOptions(fs)), "rebuilt": mustOpen(t, nil, testOptions(fs)),
	} {
		for from := int64(0); from <= end; from += 17 {
			if got := readAll(t, b, from); got != end {
				t.Fatalf("%s: read from %d ends at %d, want %d", name, from, got, end)
			}
		}
	}
}

// TestFollowersWake waits in a bubble where time stands still: who polled would never come to an end.
func TestFollowersWake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := OpenBucket(testTable(), 0, nothing(), testOptions(newFS(t)))
		if err != nil {
			t.Fatal(err)
		}
		const followers, groups = 8, 20
		var wait sync.WaitGroup
		for range followers {
			wait.Go(func() {
				c, err := b.Cursor(0)
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				for c.Offset() < groups*3 {
					if err := b.Wait(t.Context(), c.Offset()); err != nil {
						t.Error(err)
						return
					}
					stored, err := c.Next(noLimit)
					if err != nil || stored == nil {
						t.Errorf("%v at offset %d", err, c.Offset())
						return
					}
				}
			})
		}
		for range groups {
			synctest.Wait() // all of them sleep
			appendRows(t, b, 3, 1)
			mustWrite(t, b)
		}
		wait.Wait()

		ctx, cancel := context.WithCancel(t.Context())
		var cancelled, closed error
		wait.Go(func() { cancelled = b.Wait(ctx, groups*3) })
		wait.Go(func() { closed = b.Wait(t.Context(), groups*3) })
		synctest.Wait()
		cancel()
		synctest.Wait()
		draining := model.Errorf(model.Draining, "the server stops")
		if err := b.Close(draining); err != nil {
			t.Error(err)
		}
		wait.Wait()
		if !errors.Is(cancelled, context.Canceled) || !errors.Is(closed, model.Draining) {
			t.Errorf("waits end with %v and %v", cancelled, closed)
		}
		if _, err := b.Cursor(0); !errors.Is(err, model.Draining) {
			t.Errorf("a cursor on a closed bucket: %v", err)
		}
		appendRows(t, b, 1, 1)
		if _, err := b.Write(); !errors.Is(err, model.Draining) {
			t.Errorf("a write to a closed bucket: %v", err)
		}
	})
}

// TestReadersBesideTheWriter reads, rewrites, retires and idles while rows are appended.
func TestReadersBesideTheWriter(t *testing.T) {
	fs := newFS(t)
	b := mustOpen(t, nothing(), testOptions(fs))
	const groups, rows = 150, 40
	var wait sync.WaitGroup
	follow := func(from int64) {
		c, err := b.Cursor(from)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { c.Close() }()
		for c.Offset() < groups*rows {
			if err := b.Wait(t.Context(), c.Offset()); err != nil {
				t.Error(err)
				return
			}
			stored, err := c.Next(noLimit)
			if errors.Is(err, model.OffsetTrimmed) {
				c.Close()
				if c, err = b.Cursor(b.Start()); err != nil && !errors.Is(err, model.OffsetTrimmed) {
					t.Error(err)
				}
				if err != nil {
					return
				}
				continue
			}
			if err != nil {
				t.Error(err)
				return
			}
			checkRows(t, stored)
			if _, err := stored.Runs(); err != nil {
				t.Error(err)
			}
		}
	}
	pinned := b.Pin(0)
	for range 3 {
		wait.Go(func() { follow(0) })
	}
	done := make(chan struct{})
	wait.Go(func() {
		for round := 0; ; round++ {
			select {
			case <-done:
				return
			default:
			}
			if _, err := b.Rewrite(t.Context(), Rewriting{}); err != nil {
				t.Error(err)
			}
			if round == 5 {
				pinned()
			}
			if _, err := b.Retain(Retention{Bytes: 300 << 10}); err != nil {
				t.Error(err)
			}
			b.Idle()
			if _, err := b.OffsetAt(b.LastTime()); err != nil {
				t.Error(err)
			}
			_ = b.Stats()
		}
	})
	written := Extent{Segment: b.segmentName(-1)}
	for i := range int64(groups) {
		from := b.Next()
		b.Append(makePaddedBatch(t, from, from+rows, 50), []Run{{Rows: rows, Time: i}})
		if i%5 == 4 { // a group that fails
			if _, err := b.Write(); err != nil {
				t.Fatal(err)
			}
			if err := b.Rollback(written); err != nil {
				t.Fatal(err)
			}
			b.Append(makePaddedBatch(t, from, from+rows, 0), []Run{{Rows: rows, Time: i}})
		}
		written = mustWrite(t, b)
	}
	close(done)
	wait.Wait()
}

// TestMappingsAreGivenBack counts them: a cursor keeps the one that it reads, closing gives all back.
func TestMappingsAreGivenBack(t *testing.T) {
	fs := newFS(t)
	options := testOptions(fs)
	b := mustOpen(t, nothing(), options)
	for range 3 {
		b.Append(makePaddedBatch(t, b.Next(), b.Next()+60, 1000), []Run{{Rows: 60, Time: 1}})
		mustWrite(t, b)
	}
	c, err := b.Cursor(0)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := c.Next(noLimit)
	if err != nil {
		t.Fatal(err)
	}
	kept := stored.Mapping()
	kept.Retain()
	readAll(t, b, 0)
	if n := options.Mappings.Len(); n != 3 {
		t.Errorf("%d mappings, want 3", n)
	}
	b.Idle()
	if n := options.Mappings.Len(); n != 1 {
		t.Errorf("%d mappings when idle, want that of the cursor", n)
	}
	if _, err := b.Retain(Retention{KeepFrom: 60}); err != nil {
		t.Fatal(err)
	}
	checkRows(t, stored) // the file is gone, its bytes are not
	if _, err := c.Next(noLimit); err != nil {
		t.Errorf("a cursor behind what was retired: %v", err)
	}
	c.Close()
	if n := options.Mappings.Len(); n != 2 {
		t.Errorf("%d mappings, want the one that was retained and the cursor's last", n)
	}
	kept.Release()
	if err := b.Close(nil); err != nil {
		t.Fatal(err)
	}
	if n := options.Mappings.Len(); n != 0 {
		t.Errorf("%d mappings of a closed bucket", n)
	}
}

// TestDiskFull fills the disk in the middle of a Write: the bucket is as before, and goes on when there
// is space.
func TestDiskFull(t *testing.T) {
	for _, free := range []int64{0, 1 << 10, 20 << 10, 60 << 10, 100 << 10, 200 << 10} {
		fs := newFS(t)
		b := mustOpen(t, nothing(), testOptions(fs))
		appendRows(t, b, 10, 1)
		before := mustWrite(t, b)
		unlimited, total, err := fs.Space()
		if err != nil {
			t.Fatal(err)
		}
		fs.SetCapacity(total - unlimited + free)
		for range 4 {
			b.Append(makePaddedBatch(t, b.Next(), b.Next()+300, 900), []Run{{Rows: 300, Time: 2}})
		}
		if _, err := b.Write(); !errors.Is(err, vfs.ErrDiskFull) {
			t.Fatalf("%d bytes free: %v", free, err)
		}
		if got, _ := b.Extent(); got != before || b.Next() != 10 {
			t.Errorf("%d bytes free: the log ends at %+v, want %+v", free, got, before)
		}
		if got := readAll(t, b, 0); got != 10 {
			t.Errorf("%d bytes free: read ends at %d, want 10", free, got)
		}
		fs.SetCapacity(0)
		for range 4 {
			b.Append(makePaddedBatch(t, b.Next(), b.Next()+300, 900), []Run{{Rows: 300, Time: 2}})
		}
		at := mustWrite(t, b)
		if got := readAll(t, mustOpen(t, &at, testOptions(fs)), 0); got != 1210 {
			t.Errorf("%d bytes free: read ends at %d, want 1210", free, got)
		}
	}
}

// TestFailedWrite makes the bucket refuse to write; what was written before can be read.
func TestFailedWrite(t *testing.T) {
	mem := newFS(t)
	b := mustOpen(t, nothing(), testOptions(mem))
	appendRows(t, b, 10, 1)
	mustWrite(t, b)
	at, _ := b.Extent()
	fault := vfs.NewFault(mem, vfs.FaultOptions{ChangesOnly: true, Always: true})
	b = mustOpen(t, &at, testOptions(fault))
	appendRows(t, b, 10, 1)
	_, err := b.Write()
	if !errors.Is(err, model.ReadOnly) || !errors.Is(err, vfs.ErrInjected) {
		t.Errorf("error %v, want READ_ONLY", err)
	}
	appendRows(t, b, 10, 1)
	if _, err := b.Write(); !errors.Is(err, model.ReadOnly) {
		t.Errorf("error %v, want READ_ONLY", err)
	}
	if err := b.Rollback(at); !errors.Is(err, model.ReadOnly) {
		t.Errorf("error %v, want READ_ONLY", err)
	}
	if got := readAll(t, b, 0); got != 10 || b.Next() != 10 {
		t.Errorf("read ends at %d, next is %d, want 10", got, b.Next())
	}
}

func TestBadArguments(t *testing.T) {
	fs := newFS(t)
	options := testOptions(fs)
	options.SegmentBytes, options.CoalesceBytes = 1, 1<<30
	if _, err := OpenBucket(testTable(), 0, nil, options); err == nil ||
		!strings.Contains(err.Error(), "SegmentBytes is 1") || !strings.Contains(err.Error(), "CoalesceBytes is") {
		t.Errorf("error %v, want one that names both options", err)
	}
	if _, err := OpenBucket(testTable(), 1, &Extent{Segment: SegmentName{testTableID, 0, 5}}, testOptions(fs)); err == nil {
		t.Error("no error for the extent of another bucket")
	}
	b := mustOpen(t, nothing(), testOptions(fs))
	for name, runs := range map[string][]Run{
		"none":      nil,
		"too few":   {{Rows: 4}},
		"too many":  {{Rows: 4}, {RowStart: 4, Rows: 2}},
		"a gap":     {{Rows: 2}, {RowStart: 3, Rows: 2}},
		"an excess": {{RowStart: -1, Rows: 6}},
	} {
		b.Append(makeBatch(t, 0, 5), runs)
		if _, err := b.Write(); err == nil {
			t.Errorf("runs with %s: no error", name)
		}
		b = mustOpen(t, nothing(), testOptions(fs))
	}
	appendRows(t, b, 10, 1)
	at := mustWrite(t, b)
	if err := b.Rollback(*nothing()); err == nil {
		t.Error("no error for taking back rows that were published")
	}
	if _, err := b.Cursor(11); !errors.Is(err, model.OffsetBeyondEnd) {
		t.Errorf("a cursor beyond the end: %v", err)
	}
	if stored := firstStored(t, b); stored.Verify([]int{99}) == nil {
		t.Error("no error for a buffer that is not there")
	}
	if _, err := OpenBucket(testTable(), 0, &at, testOptions(vfs.NewFault(fs, vfs.FaultOptions{}))); err == nil {
		t.Error("no error for a folder that cannot be listed")
	}
}

func firstStored(t testing.TB, b *Bucket) *Stored {
	t.Helper()
	c, err := b.Cursor(b.Start())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	stored, err := c.Next(b.End())
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

// TestBuffersAreCheckedOnce damages a buffer behind a reader's back: what was checked once is not
// checked again, what was not is.
func TestBuffersAreCheckedOnce(t *testing.T) {
	fs := newFS(t)
	b := mustOpen(t, nothing(), testOptions(fs))
	appendRows(t, b, 100, 1)
	mustWrite(t, b)
	projection, err := arrowipc.NewProjection(testLayout, []int{0}, nil)
	if err != nil {
		t.Fatal(err)
	}
	stored := firstStored(t, b)
	number := projection.AppendBuffers(nil, &stored.Batch)
	if err := stored.Verify(number); err != nil {
		t.Fatal(err)
	}
	body := stored.head.bodyPosition()
	for _, span := range stored.Batch.Buffers {
		if span.Length > 0 {
			flipBit(t, fs, b.segmentName(0).Path(), body+span.Offset, 0)
		}
	}
	if err := stored.Verify(number); err != nil {
		t.Errorf("a buffer was checked again: %v", err)
	}
	err = stored.Verify(nil)
	if !errors.Is(err, model.Corrupt) {
		t.Fatalf("error %v, want CORRUPT", err)
	}
	details := model.AsError(err).Details
	if details["first_offset"] != int64(0) || details["last_offset"] != int64(99) || details["file"] != b.segmentName(0).Path() {
		t.Errorf("details %v", details)
	}
}

// TestTimesNeverFall appends with a clock that goes back.
func TestTimesNeverFall(t *testing.T) {
	b := mustOpen(t, nothing(), testOptions(newFS(t)))
	given := []Run{{Rows: 2, Time: 50}, {RowStart: 2, Rows: 3, Time: 40}}
	appendRows(t, b, 5, 100)
	b.Append(makeBatch(t, 5, 10), given)
	mustWrite(t, b)
	if given[0].Time != 50 || given[1].Time != 40 {
		t.Errorf("the caller's runs were changed: %+v", given)
	}
	for at, err := range b.Runs(0) {
		if err != nil || at.Run.Time != 100 {
			t.Errorf("%+v, error %v, want time 100", at, err)
		}
	}
	if b.LastTime() != 100 {
		t.Errorf("the last time is %d, want 100", b.LastTime())
	}
}

// TestUnpublishedRowsStayApart seals segments whose rows are durable and not published: they are not
// retired, and not merged with rows that can be read.
func TestUnpublishedRowsStayApart(t *testing.T) {
	fs := newFS(t)
	b := mustOpen(t, nothing(), testOptions(fs))
	for i := range 8 {
		if i == 7 {
			b.Seal()
		}
		appendRows(t, b, 5, 1)
		written, err := b.Write()
		if err != nil {
			t.Fatal(err)
		}
		if err := syncWritten(fs, written); err != nil {
			t.Fatal(err)
		}
	}
	b.Publish(10)
	upkeep := func(rewrittenWant int, removedWant bool) {
		t.Helper()
		rewritten, err := b.Rewrite(t.Context(), Rewriting{})
		if err != nil || rewritten != rewrittenWant {
			t.Errorf("%d segments rewritten, error %v, want %d", rewritten, err, rewrittenWant)
		}
		if got := readAll(t, b, 0); got != b.End() {
			t.Errorf("read ends at %d, want %d", got, b.End())
		}
		removed, err := b.Retain(Retention{Bytes: 1})
		if err != nil || removed > 0 != removedWant {
			t.Errorf("%d bytes removed, error %v", removed, err)
		}
	}
	upkeep(0, false)
	b.Publish(40)
	upkeep(1, true)
	if b.Start() != 35 {
		t.Errorf("the log starts at %d, want 35", b.Start())
	}
}

// TestTrash moves files away that do not belong to the log, and never onto one another.
func TestTrash(t *testing.T) {
	fs := newFS(t)
	options := testOptions(fs)
	for range 2 {
		if err := fs.MkdirAll(bucketDir(testTableID, 0)); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"notes.txt", "00000000000000000009.arrow", "00000000000000000009.rewrite", "00000000000000000003.index"} {
			setFile(t, fs, bucketDir(testTableID, 0)+"/"+name, []byte("x"))
		}
		mustOpen(t, nothing(), options)
	}
	names, err := fs.List("trash")
	if err != nil || len(names) != 4 {
		t.Fatalf("%q, error %v, want 4 files", names, err)
	}
	for i, name := range names {
		at, ok := TrashedAt(name)
		if want := options.Clock.Now().UnixMilli() + int64(i%2); !ok || at.UnixMilli() != want {
			t.Errorf("%s was moved at %v, want %d", name, at, want)
		}
	}
	if _, ok := TrashedAt("table-" + testTableID); ok {
		t.Error("a time for a table in the trash")
	}
	if left, err := fs.List(bucketDir(testTableID, 0)); err != nil || len(left) != 0 {
		t.Errorf("%q are left, error %v", left, err)
	}
}

// TestDurableSteps writes down what reaches the disk in what order: each name and each byte before
// anything relies on it.
func TestDurableSteps(t *testing.T) {
	trace := vfs.NewTrace(newFS(t))
	b := mustOpen(t, nothing(), testOptions(trace))
	dir := b.dir
	compare := func(what string, want ...string) {
		t.Helper()
		for i := range want {
			want[i] = strings.ReplaceAll(want[i], "DIR", dir)
		}
		got := trace.Take()
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s:\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	const first, second = "DIR/00000000000000000000", "DIR/00000000000000000020"
	for range 4 {
		appendRows(t, b, 5, 1)
		mustWrite(t, b)
	}
	trace.Take()
	b.Seal()
	appendRows(t, b, 5, 1)
	mustWrite(t, b)
	compare("a roll",
		"truncate "+first+".arrow 4416", "create "+second+".arrow", "allocate "+second+".arrow 8192",
		"write "+second+".arrow 0+2176", "sync "+first+".arrow", "sync "+second+".arrow", "syncdir DIR",
		"close "+first+".arrow")
	if _, err := b.Rewrite(t.Context(), Rewriting{}); err != nil {
		t.Fatal(err)
	}
	compare("a rewrite",
		"remove "+first+".rewrite failed", "create "+first+".rewrite", "write "+first+".rewrite 0+1472",
		"write "+first+".rewrite 1472+1088", "sync "+first+".rewrite", "close "+first+".rewrite",
		"rename "+first+".rewrite "+first+".arrow", "syncdir DIR",
		"remove "+first+".index failed", "create "+first+".index", "write "+first+".index 0+136", "close "+first+".index",
		"close "+first+".arrow")
	b.Seal()
	appendRows(t, b, 5, 1)
	mustWrite(t, b)
	trace.Take()
	if _, err := b.Retain(Retention{KeepFrom: 25}); err != nil {
		t.Fatal(err)
	}
	compare("retirement",
		"remove "+first+".index", "remove "+first+".arrow", "syncdir DIR",
		"remove "+second+".index failed", "remove "+second+".arrow", "syncdir DIR")
}
