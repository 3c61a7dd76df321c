package engine

import (
	"context"
	"sync"
	"time"

	"github.com/headrace/headrace/streams"
)

// rewriting is what rewrites segments: one at a time, in a goroutine of its own, since a large one that is
// compressed takes a second of a processor.
type rewriting struct {
	// running is held while a segment is rewritten.
	running sync.Mutex
	asked   chan struct{}
}

// ask wakes the goroutine that rewrites.
func (r *rewriting) ask() {
	select {
	case r.asked <- struct{}{}:
	default: // it will look anyway
	}
}

func (e *Engine) runRewriting(ctx context.Context) {
	for {
		select {
		case <-e.rewriting.asked:
			e.rewriteAll(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// rewriteRetry is how long a bucket is left alone after its segments could not be rewritten.
const rewriteRetry = 5 * time.Minute

// rewriteAll looks at the sealed segments of the buckets that were noted, and rewrites those that consist
// of small batches or are to be compressed.
func (e *Engine) rewriteAll(ctx context.Context) {
	e.rewriting.running.Lock()
	defer e.rewriting.running.Unlock()
	for ctx.Err() == nil && e.failed() == nil {
		b := e.upkeep.takeBucket()
		if b == nil {
			return
		}
		if b.keyed != nil {
			continue // its state points into the segments
		}
		what := streams.Rewriting{Compression: b.table.options.Load().Compression, Pace: e.pacing()}
		err := e.space(e.options.SegmentBytes)
		if err == nil {
			_, err = b.Rewrite(ctx, what)
		}
		if err != nil && ctx.Err() == nil && b.table.err() == nil {
			e.options.Logger.Warn("rewrite segments", "table", b.table.definition.Load().Name, "bucket", b.number, "error", err)
			e.upkeep.postpone(b, e.options.Clock.Now().Add(rewriteRetry))
		}
	}
}

// pauseMost bounds how long the rewriting waits at once.
const pauseMost = 100 * time.Millisecond

// pacing gives what the rewriting calls between batches: where somebody has written meanwhile, it rests
// for as long as it has worked, and so takes half of a processor at most.
func (e *Engine) pacing() func(context.Context) error {
	began, groups := e.options.Clock.Now(), e.counters.groups.Load()
	return func(ctx context.Context) error {
		if now := e.counters.groups.Load(); now != groups {
			groups = now
			select {
			case <-e.options.Clock.After(min(e.options.Clock.Now().Sub(began), pauseMost)):
			case <-ctx.Done():
			}
		}
		began = e.options.Clock.Now()
		return ctx.Err()
	}
}

// idleBytesMin is the size of a segment from which on it is sealed in order to be compressed though nobody
// writes any more, or a quarter of a full one: the segment that follows it takes some kilobytes.
const idleBytesMin = 256 << 10

// idleSealsMax bounds the segments that are sealed in one round.
const idleSealsMax = 256

// sealIdle begins new segments in buckets that nobody has written to for SealIdle, so that the ones before
// are compressed.
func (e *Engine) sealIdle(ctx context.Context, now time.Time) {
	before := now.Add(-e.options.SealIdle).UnixMicro()
	least := min(idleBytesMin, e.options.SegmentBytes/4)
	var idle []*bucket
	for _, t := range e.catalog.all() {
		if t.options.Load().Compression.Codec == "" || t.keyed != nil {
			continue
		}
		for _, b := range t.opened() {
			if len(idle) < idleSealsMax && b.Unsealed() >= least && b.LastTime() < before {
				idle = append(idle, b)
			}
		}
	}
	var rolls []*Pending
	for _, b := range idle {
		b.Seal()
		pending, err := e.submit(ctx, &request{table: b.table, roll: b, level: b.table.level()})
		if err != nil {
			break
		}
		rolls = append(rolls, pending)
	}
	for _, pending := range rolls {
		<-pending.Done() // a failure shows at the next write
	}
}
