package engine

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/headrace/headrace/streams"
)

// Thousands of buckets cost little as long as nobody uses them: a restart opens none, and one that was
// used rests after a while.

// openedMax bounds the buckets that one round of the maintenance opens.
const openedMax = 256

// openDue opens some of the buckets that were not used since the start and that the maintenance has to look
// into: their rows may be due, or segments uncompressed.
func (e *Engine) openDue() {
	left := openedMax
	for _, t := range e.catalog.all() {
		options := t.options.Load()
		if t.keyed != nil || options.TTL == 0 && options.MaxBytes == 0 && options.Compression.Codec == "" && len(t.logicalStarts()) == 0 {
			continue
		}
		for _, number := range t.unopened(left) {
			left--
			if _, err := t.bucket(number); err != nil && t.err() == nil && !t.isGone(number) {
				e.options.Logger.Warn("open bucket", "table", t.definition.Load().Name, "bucket", number, "error", err)
			}
		}
	}
}

// unopened gives at most n buckets that were written and not used since the start.
func (t *table) unopened(n int) []int32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	var numbers []int32
	if len(t.extents) <= len(t.buckets) {
		return nil
	}
	for number := range t.extents {
		if len(numbers) >= n {
			break
		}
		if t.buckets[number] == nil && t.opening[number] == nil {
			numbers = append(numbers, number)
		}
	}
	return numbers
}

// measure tells what is kept of a bucket. One that was not used since the start is not opened: its folder
// says enough.
func (t *table) measure(number int32) (BucketState, error) {
	t.mu.Lock()
	b, at, start := t.buckets[number], t.extents[number], t.starts[number]
	stats, known := t.measured[number]
	t.mu.Unlock()
	if b != nil {
		stats = b.Measure()
	} else if !known && at.Segment.TableID != "" {
		var err error
		if stats, err = streams.MeasureBucket(t.engine.options.FS, at); err != nil {
			return BucketState{}, err
		}
		t.mu.Lock()
		if t.buckets[number] == nil {
			t.measured[number] = stats
		}
		t.mu.Unlock()
	}
	definition := t.definition.Load()
	first := definition.First(number)
	stats.Start, stats.End = max(stats.Start, first), max(stats.End, first)
	state := BucketState{
		Bucket: number, Start: min(max(stats.Start, start), stats.End), End: stats.End, Bytes: stats.Bytes, RawBytes: stats.RawBytes,
	}
	if split, known := definition.Splits[number]; known && len(definition.BucketKey) > 0 {
		state.Split = &split
	}
	return state, nil
}

// restsAtOnce is how many buckets are made to rest between two groups: that takes less than a
// millisecond.
const restsAtOnce = 32

// restIdle makes buckets rest that nobody has used for RestIdle.
func (e *Engine) restIdle(ctx context.Context, now time.Time) {
	var idle []*bucket
	for _, t := range e.catalog.all() {
		for _, b := range t.opened() {
			if !b.Quiet() || b.usedAt.IsZero() {
				b.usedAt, b.rests = now, false
			} else if !b.rests && now.Sub(b.usedAt) >= e.options.RestIdle {
				idle = append(idle, b)
			}
		}
	}
	for some := range slices.Chunk(idle, restsAtOnce) {
		err := e.control(ctx, func() error {
			// What was written is synced, so that nobody holds the files any more.
			e.mark()
			if err := e.failedError(); err != nil {
				return err
			}
			for _, b := range some {
				e.rest(b)
			}
			e.holding = slices.DeleteFunc(e.holding, func(b *bucket) bool { return !b.holding })
			return nil
		})
		if err != nil {
			return
		}
	}
}

// rest gives back what a bucket holds. It is for the committer, once all is synced.
func (e *Engine) rest(b *bucket) {
	var err error
	if b.keyed != nil {
		err = b.CloseFile() // its state points into the segments
	} else {
		err = b.Rest()
	}
	b.rests, b.holding, b.group = true, false, nil
	if err != nil {
		e.options.Logger.Warn("close the file of a bucket", "table", b.table.definition.Load().Name, "bucket", b.number, "error", err)
	}
}

// hold notes that a bucket was written to, and has its file open. A group that writes to more buckets than
// may be open closes their files at once: so many are synced with the whole file system, never one by one.
// It is for the committer.
func (e *Engine) hold(g *group, b *bucket) {
	e.writes++
	b.written = e.writes
	switch {
	case b.holding:
	case len(e.holding) >= e.options.OpenFiles && len(g.written.Files) > flushFilesMax:
		e.closeFile(b)
	default:
		b.holding = true
		e.holding = append(e.holding, b)
	}
}

func (e *Engine) closeFile(b *bucket) {
	if err := b.CloseFile(); err != nil {
		e.options.Logger.Warn("close the file of a bucket", "table", b.table.definition.Load().Name, "bucket", b.number, "error", err)
	}
}

// boundFiles closes the files of the buckets that were written longest ago, half of them, where more than
// OpenFiles are open. It is for the committer, before a group is written.
func (e *Engine) boundFiles() error {
	if len(e.holding) < e.options.OpenFiles {
		return nil
	}
	// What was written has to be synced before: who syncs holds the files.
	if err := e.settle(); err != nil {
		return err
	}
	slices.SortFunc(e.holding, func(a, b *bucket) int { return cmp.Compare(a.written, b.written) })
	closed := e.holding[:len(e.holding)-e.options.OpenFiles/2]
	e.holding = slices.Clone(e.holding[len(closed):])
	for _, b := range closed {
		b.holding = false
		e.closeFile(b)
	}
	return nil
}
