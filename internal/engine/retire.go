package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/pkstore"
	"github.com/headrace/headrace/streams"
)

const (
	// retireOffsets is how much of a log is retired at once: what is cut off is done again from its beginning.
	retireOffsets = 1 << 19
	// An index above its bound is brought to this part of it, so that it is not done again at once.
	indexShareKept, indexShareOf = 3, 4
)

// dueBucket is a bucket whose rows were retired as a retention asks for.
type dueBucket struct {
	bucket    *bucket
	retention streams.Retention
}

// retireAll moves the live rows of the oldest parts of primary-key tables below their logs, where the options
// want their segments to go or their indexes to be smaller, and removes the segments.
func (e *Engine) retireAll(ctx context.Context, now time.Time) {
	if !e.options.retires() {
		return
	}
	pace := e.newPacer()
	for _, t := range e.catalog.all() {
		if t.keyed == nil || e.failed() != nil {
			continue
		}
		if err := e.retireTable(ctx, t, now, pace); err != nil && ctx.Err() == nil && t.err() == nil {
			e.options.Logger.Warn("retire rows", "table", t.definition.Load().Name, "error", err)
		}
	}
}

func (e *Engine) retireTable(ctx context.Context, t *table, now time.Time, pace *pacer) error {
	t.keyed.upkeep.Lock()
	defer t.keyed.upkeep.Unlock()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(t.keyed.cold.closing, stop)()
	options := t.options.Load()
	bounded := options.TTL > 0 || options.MaxBytes > 0 || options.IndexMaxBytes > 0
	var errs []error
	var due []dueBucket
	for _, number := range t.numbers() {
		// Without bounds, only what was cut off is brought to its end, and that in buckets that are used.
		if !t.holds(number) || !bounded && !t.isOpen(number) {
			continue
		}
		b, err := t.bucket(number)
		if err != nil && t.isGone(number) {
			continue
		}
		if err != nil {
			return err
		}
		retired, err := e.retireRows(ctx, b, now, pace)
		due = append(due, retired...)
		errs = append(errs, err)
	}
	// Behind all of them: a bucket that split from another one may have had the last live rows of a segment of that.
	for _, x := range due {
		if err := e.removeRetired(ctx, x.bucket, x.retention); err != nil && !t.isGone(x.bucket.number) {
			errs = append(errs, fmt.Errorf("bucket %d: %w", x.bucket.number, err))
		}
	}
	return errors.Join(errs...)
}

// retireRows moves the rows of a bucket below its log that are due, and gives how far that has come.
func (e *Engine) retireRows(ctx context.Context, b *bucket, now time.Time, pace *pacer) (due []dueBucket, err error) {
	t := b.table
	var errs []error
	for _, retention := range t.retentions(b.number, t.retention(now)) {
		before, err := b.retireBefore(retention)
		if err == nil {
			err = e.retireBucket(ctx, b, before, pace)
		}
		if err == nil {
			due = append(due, dueBucket{b, retention})
		} else if !t.isGone(b.number) {
			errs = append(errs, fmt.Errorf("bucket %d: %w", b.number, err))
		}
	}
	return due, errors.Join(errs...)
}

// retention gives what of the log of each bucket the options of the table let go.
func (t *table) retention(now time.Time) streams.Retention {
	options := t.options.Load()
	r := streams.Retention{Bytes: options.MaxBytes / t.bucketCount()}
	if options.TTL > 0 {
		r.Before = now.Add(-options.TTL).UnixMicro()
	}
	return r
}

// retireBefore gives the offset below which rows are due to be retired.
func (b *bucket) retireBefore(r streams.Retention) (before int64, err error) {
	if r.Before > 0 || r.Bytes > 0 {
		if before, err = b.dueHistory(r); err != nil {
			return 0, err
		}
	}
	stats := b.keyed.Stats()
	bound := b.table.options.Load().IndexMaxBytes / b.table.bucketCount()
	if bound == 0 || !stats.OverBudget && stats.IndexBytes <= bound {
		return before, nil
	}
	indexed := float64(stats.Keys - stats.RetiredKeys)
	kept := int64(indexed * float64(bound) / float64(stats.IndexBytes) * indexShareKept / indexShareOf)
	return max(before, b.keyed.OffsetKeeping(kept)), nil
}

// retireBucket moves the live rows below an offset, some at a time.
func (e *Engine) retireBucket(ctx context.Context, b *bucket, before int64, pace *pacer) error {
	stats := b.keyed.Stats()
	if before <= stats.Boundary && stats.Start >= stats.Boundary {
		return nil
	}
	if !b.retires {
		cold, err := b.table.openCold(true)
		if err == nil {
			cold, err = b.table.schema.Load().coldOf(cold, b.number)
		}
		if err != nil {
			return err
		}
		if err := b.useCold(b.keyed, cold); err != nil {
			return err
		}
	}
	if b.Behind() {
		e.roll(ctx, b) // rows that are retired are of the present schema: let a segment say what that is
	}
	began, moved := e.options.Clock.Now(), int64(0)
	for at := max(stats.Boundary, stats.Start); ; {
		at = min(at+retireOffsets, max(before, stats.Boundary))
		n := int64(0)
		err := streams.Guard(func() (err error) {
			n, err = b.keyed.Retire(ctx, pkstore.Retirement{Before: at, Times: appendTimes, Rest: pace.rest, Durable: func(ctx context.Context) error {
				return e.Flush(ctx, model.Fsync)
			}})
			return err
		})
		if moved += n; err != nil {
			return err
		}
		if at >= before {
			break
		}
	}
	b.indexed = -1 // the index file has keys that have gone
	e.options.Logger.Info("rows retired", "table", b.table.definition.Load().Name, "bucket", b.number,
		"rows", moved, "boundary", b.keyed.Stats().Boundary, "took", e.options.Clock.Now().Sub(began))
	return nil
}

// removeRetired removes the segments that may go and whose live rows are retired.
func (e *Engine) removeRetired(ctx context.Context, b *bucket, r streams.Retention) error {
	needed, err := b.table.needed(b)
	if err != nil || needed <= b.Start() {
		return err
	}
	if r.Until == 0 || needed < r.Until {
		r.Until = needed
	}
	due, err := b.Due(r)
	if err != nil || due <= b.Start() && !b.Sealing() {
		return err
	}
	// A recovery must not look for a segment in order to decide whether a group is whole.
	marked := func() error {
		e.mark()
		return e.failedError()
	}
	if err := e.control(ctx, marked); err != nil {
		return err
	}
	if err := e.keepProducers(ctx, b.table); err != nil {
		return err
	}
	if b.Sealing() {
		e.roll(ctx, b)
	}
	removed, err := b.Retain(r)
	if removed > 0 {
		e.options.Logger.Info("segments retired", "table", b.table.definition.Load().Name, "bucket", b.number, "bytes", removed)
	}
	return err
}
