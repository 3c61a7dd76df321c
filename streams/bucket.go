package streams

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// Bucket is the log of one bucket of a table. See the package comment for which methods are for
// whom.
type Bucket struct {
	tableID string
	number  int32
	// first is the offset at which the log began, or will begin: 0 unless the bucket split from another one.
	first   int64
	options Options
	dir     string
	// definition is what new segments say of the table, layout that of their batches.
	definition atomic.Pointer[model.Table]
	layout     atomic.Pointer[arrowipc.Layout]

	// end is the offset behind the last readable row, start the first readable one, lastTime the time
	// of the newest row, pending ones included.
	start, end, lastTime atomic.Int64
	published            model.Notifier
	// cause is why the bucket was closed; nil while it is open.
	cause atomic.Pointer[error]
	// sealing asks the writer to begin a new segment.
	sealing atomic.Bool
	// used says that somebody has read or written since Quiet was called.
	used atomic.Bool

	// upkeep is held by Retain and Rewrite: one of them at a time.
	upkeep sync.Mutex
	// doomed are segments that were taken out of the log and whose files could not be removed yet;
	// guarded by upkeep.
	doomed []*segment

	// writing guards writer.
	writing sync.Mutex
	writer  writer

	// mu guards trimmed and pins, and changes of segments.
	mu sync.Mutex
	// segments are the files of the log, oldest first, each but the last one with the base of the
	// next as its limit. The slice is replaced as a whole.
	segments atomic.Pointer[[]*segment]
	// trimmed is the logical start.
	trimmed int64
	pins    map[*int64]struct{}
}

// Define replaces what segments that are begun from now on say of the table. layout is that of its rows in the
// log; nil: one is made. Where the table has another schema version than before, the next Write begins a
// segment: batches that are appended from now on have that schema. Then it is for the writer, while nothing is
// pending.
func (b *Bucket) Define(table *model.Table, layout *arrowipc.Layout) error {
	before := b.definition.Load()
	if before == nil || before.SchemaVersion != table.SchemaVersion {
		if layout == nil {
			var err error
			if layout, err = arrowipc.NewLayout(table.LogSchema()); err != nil {
				return err
			}
		}
		b.layout.Store(layout)
	}
	b.definition.Store(table)
	return nil
}

func (b *Bucket) tableName() string { return b.definition.Load().Name.String() }

// list gives the segments, oldest first.
func (b *Bucket) list() []*segment { return *b.segments.Load() }

// setSegments replaces the list. mu is held.
func (b *Bucket) setSegments(segments []*segment) {
	b.segments.Store(&segments)
	b.moveStart()
}

// moveStart sets the first readable offset. mu is held.
func (b *Bucket) moveStart() {
	start := max(b.trimmed, b.first)
	if segments := b.list(); len(segments) > 0 {
		start = max(start, segments[0].name.Base)
	}
	b.start.Store(max(b.start.Load(), min(start, b.end.Load())))
}

// segmentAt gives the segment that an offset belongs to; nil if it is before all of them.
func (b *Bucket) segmentAt(offset int64) *segment {
	segments := b.list()
	i, found := slices.BinarySearchFunc(segments, offset, func(s *segment, offset int64) int {
		return cmp.Compare(s.name.Base, offset)
	})
	if !found {
		i--
	}
	if i < 0 {
		return nil
	}
	return segments[i]
}

// Publish makes the rows below next readable and wakes who waits for them. Calls come in order; one
// with a smaller offset changes nothing.
func (b *Bucket) Publish(next int64) {
	for {
		end := b.end.Load()
		if next <= end {
			return
		}
		if b.end.CompareAndSwap(end, next) {
			break
		}
	}
	b.published.Wake()
}

// Start is the first offset that can be read, End the one behind the last.
func (b *Bucket) Start() int64 { return b.start.Load() }

// End is the offset behind the last row that can be read.
func (b *Bucket) End() int64 { return b.end.Load() }

// LastTime is the append time of the newest row in µs, pending and unpublished rows included; 0 if
// there never was one. Rows appended later must not have an earlier time.
func (b *Bucket) LastTime() int64 { return b.lastTime.Load() }

// Wait returns once rows at or behind the offset beyond are readable. It ends early with the error of
// ctx, or with the cause that was given to Close.
func (b *Bucket) Wait(ctx context.Context, beyond int64) error {
	for {
		woken := b.published.Wait()
		if err := b.closed(); err != nil {
			return err
		}
		if b.End() > beyond {
			return nil
		}
		select {
		case <-woken:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// closed is the cause that was given to Close, or nil.
func (b *Bucket) closed() error {
	if cause := b.cause.Load(); cause != nil {
		return *cause
	}
	return nil
}

// errClosed is the cause of a Close without one.
var errClosed = errors.New("streams: the bucket is closed")

// Close ends the use of the bucket: waiting readers and later calls get cause. What a cursor is
// reading stays mapped until the cursor is closed. Pending rows are forgotten; what was written is
// not synced. Only the first call does something.
func (b *Bucket) Close(cause error) error {
	if cause == nil {
		cause = errClosed
	}
	if !b.cause.CompareAndSwap(nil, &cause) {
		return nil
	}
	b.published.Wake()
	b.writing.Lock()
	defer b.writing.Unlock()
	b.writer.drop()
	b.upkeep.Lock()
	defer b.upkeep.Unlock()
	var errs []error
	for _, s := range b.list() {
		if s.handle != nil {
			errs = append(errs, s.handle.abandon())
		}
		s.release()
	}
	return errors.Join(errs...)
}

// Idle gives back memory and address space that nobody uses at the moment: mappings, and the indexes
// of sealed segments. The next reader makes them anew.
func (b *Bucket) Idle() {
	for _, s := range b.list() {
		s.release()
	}
}

// Unsealed gives the size in bytes of the segment that is written to; 0 where it has no rows.
func (b *Bucket) Unsealed() int64 {
	segments := b.list()
	if len(segments) == 0 {
		return 0
	}
	s := segments[len(segments)-1]
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.limit != noLimit || s.next == s.name.Base {
		return 0
	}
	return s.size
}

// Stats describes a bucket.
type Stats struct {
	// Segments is the number of files, Bytes what they hold.
	Segments int
	Bytes    int64
	// RawBytes is Bytes, with the size that compressed segments had before. Stats knows it of segments that
	// were looked at, Measure of all.
	RawBytes int64
	// Start and End are the readable range of offsets.
	Start, End int64
	// Batches counts the stored batches of the segments that were looked at since they were opened.
	Batches int64
}

// Stats gives the size of the bucket. It reads nothing from the disk.
func (b *Bucket) Stats() Stats {
	stats := Stats{Start: b.Start(), End: b.End()}
	for _, s := range b.list() {
		s.mu.RLock()
		stats.Segments++
		stats.Bytes += s.size
		stats.RawBytes += max(s.size, s.raw)
		stats.Batches += int64(len(s.entries))
		s.mu.RUnlock()
	}
	return stats
}
