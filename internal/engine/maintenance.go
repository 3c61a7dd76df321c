package engine

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/streams"
)

// upkeep collects what the maintenance has to look at.
type upkeep struct {
	mu sync.Mutex
	// buckets have segments that were sealed since the last round; guarded by mu.
	buckets map[*bucket]bool
	// snapshots are the states of producers to be written, by table; guarded by mu.
	snapshots map[*table]*producersRecord
}

// sealed notes that a bucket has a sealed segment. It is for the committer, which alone sees the
// producers between two batches.
func (u *upkeep) sealed(b *bucket) {
	snapshot := b.table.producers.snapshot(b.table.nextOffsets())
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.buckets == nil {
		u.buckets, u.snapshots = map[*bucket]bool{}, map[*table]*producersRecord{}
	}
	u.buckets[b] = true
	if snapshot != nil {
		u.snapshots[b.table] = snapshot
	}
}

// take gives what has come together and forgets it.
func (u *upkeep) take() (map[*bucket]bool, map[*table]*producersRecord) {
	u.mu.Lock()
	defer u.mu.Unlock()
	buckets, snapshots := u.buckets, u.snapshots
	u.buckets, u.snapshots = nil, nil
	return buckets, snapshots
}

// nextOffsets gives for each bucket that was ever written the offset behind its last written row.
func (t *table) nextOffsets() model.Offsets {
	t.mu.Lock()
	defer t.mu.Unlock()
	offsets := model.Offsets{}
	for number, x := range t.extents {
		offsets[number] = x.Next
	}
	return offsets
}

// runMaintenance does now and then what nobody waits for: it ends plans, retires and rewrites
// segments, ends sessions of groups, takes down the state of producers, and clears the trash.
func (e *Engine) runMaintenance(ctx context.Context) {
	for {
		select {
		case <-e.options.Clock.After(e.options.MaintenancePeriod):
			e.Maintain(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// Maintain does one round of maintenance. It is called every MaintenancePeriod; an operator or a
// test may call it too.
func (e *Engine) Maintain(ctx context.Context) {
	now := e.options.Clock.Now()
	e.plans.expire(now)
	buckets, snapshots := e.upkeep.take()
	if e.failed() == nil {
		if err := e.writeSnapshots(ctx, snapshots); err != nil {
			e.options.Logger.Warn("write snapshots of producers", "error", err) // the log still says it all
		}
		for b := range buckets {
			if b.keyed != nil {
				continue // its state points into the segments
			}
			if _, err := b.Rewrite(ctx); err != nil && ctx.Err() == nil && b.table.err() == nil {
				e.options.Logger.Warn("rewrite segments", "table", b.table.definition.Load().Name, "bucket", b.number, "error", err)
			}
		}
	}
	e.followTime(ctx, now)
	e.buryAll(ctx, now)
	e.keepGroups()
	e.expireAll(ctx, now)
	e.retireAll(ctx, now)
	e.saveIndexes(false)
	e.retainAll(ctx, now)
	if e.options.Mappings.Len() > mappingsMax {
		for _, t := range e.catalog.all() {
			for _, b := range t.opened() {
				b.Idle()
			}
		}
	}
	e.clearTrash(now)
}

// mappingsMax is the number of mapped segments above which those that nobody reads are given back.
// Linux allows a process 65,530 mappings.
const mappingsMax = 4096

// retainAll removes the segments that may go. Before, all that was committed is marked as durable: a
// recovery must not look for a segment in order to decide whether a group is whole.
func (e *Engine) retainAll(ctx context.Context, now time.Time) {
	var due []*table
	for _, t := range e.catalog.all() {
		if t.keyed != nil {
			continue // any segment may hold live rows: retireAll
		}
		if options := t.options.Load(); options.TTL > 0 || options.MaxBytes > 0 || len(t.logicalStarts()) > 0 {
			due = append(due, t)
		}
	}
	if len(due) == 0 || e.failed() != nil {
		return
	}
	marked := func() error {
		e.mark()
		return e.failedError()
	}
	if err := e.control(ctx, marked); err != nil {
		return
	}
	for _, t := range due {
		if err := e.keepProducers(ctx, t); err != nil {
			e.options.Logger.Warn("nothing is retired", "table", t.definition.Load().Name, "error", err)
			continue
		}
		e.retain(ctx, t, now)
	}
}

// keepProducers takes down what the log says of the producers of a table that nobody has written to
// since the start, before segments with their runs go. A table that is written to has a snapshot of
// each sealed segment.
func (e *Engine) keepProducers(ctx context.Context, t *table) error {
	if t.producers.isLoaded() {
		return nil
	}
	if err := t.producers.load(); err != nil {
		return err
	}
	var snapshot *producersRecord
	err := e.control(ctx, func() error {
		snapshot = t.producers.snapshot(t.nextOffsets())
		return nil
	})
	if err != nil {
		return err
	}
	return e.writeSnapshots(ctx, map[*table]*producersRecord{t: snapshot})
}

// writeSnapshots writes the states of producers. The rows that a snapshot covers are made durable
// first: it must never know of a batch that the log has lost.
func (e *Engine) writeSnapshots(ctx context.Context, snapshots map[*table]*producersRecord) error {
	if len(snapshots) == 0 {
		return nil
	}
	if err := e.Flush(ctx, model.Fsync); err != nil {
		return err
	}
	var errs []error
	for t, snapshot := range snapshots {
		if t.err() == nil {
			errs = append(errs, writeCatalogFile(e.options.FS, t.dir(), producersFile, snapshot))
		}
	}
	return errors.Join(errs...)
}

// retain removes the segments of a table that its options and truncations give free.
func (e *Engine) retain(ctx context.Context, t *table, now time.Time) {
	options, starts := t.options.Load(), t.logicalStarts()
	definition := t.definition.Load()
	retention := t.retention(now)
	if t.partitions != nil && options.MaxBytes > 0 {
		cutoff, err := t.bytesCutoff(options.MaxBytes)
		if err != nil {
			e.options.Logger.Warn("measure segments", "table", definition.Name, "error", err)
		}
		retention.Bytes, retention.Before = 0, max(retention.Before, cutoff)
	}
	for _, number := range t.retained() {
		if !t.written(number) {
			continue
		}
		b, err := t.bucket(number)
		if err != nil && t.isGone(number) {
			continue
		}
		if err != nil {
			return // the table is gone
		}
		retention.KeepFrom = starts[number]
		removed := int64(0)
		for _, r := range t.retentions(number, retention) {
			var more int64
			more, err = e.retainBucket(ctx, b, r)
			removed += more
		}
		if err != nil {
			e.options.Logger.Warn("retire segments", "table", definition.Name, "bucket", number, "error", err)
		}
		if removed > 0 {
			e.options.Logger.Info("segments retired", "table", definition.Name, "bucket", number, "bytes", removed)
		}
	}
}

func (e *Engine) retainBucket(ctx context.Context, b *bucket, r streams.Retention) (removed int64, err error) {
	removed, err = b.Retain(r)
	if err == nil && b.Sealing() {
		e.roll(ctx, b)
		var more int64
		more, err = b.Retain(r)
		removed += more
	}
	return removed, err
}

// roll begins a new segment in a bucket whose rows may all go: the newest segment always stays, since
// it is what knows the next offset after a restart.
func (e *Engine) roll(ctx context.Context, b *bucket) {
	if pending, err := e.submit(ctx, &request{table: b.table, roll: b, level: b.table.level()}); err == nil {
		<-pending.Done() // a failure shows at the next write
	}
}

// clearTrash removes what has been in the trash for longer than the grace time.
func (e *Engine) clearTrash(now time.Time) {
	e.catalog.changes.Lock() // what is brought back must not be removed
	defer e.catalog.changes.Unlock()
	for _, entry := range e.list(trashDir) {
		path := trashDir + "/" + entry
		since := now
		if strings.HasPrefix(entry, tableTrash) {
			if record, err := readTableRecord(e.options.FS, path); err == nil {
				since = record.Dropped
			}
		} else if at, known := streams.TrashedAt(entry); known {
			since = at
		}
		if now.Sub(since) < e.options.TrashGrace {
			continue
		}
		if err := e.options.FS.RemoveAll(path); err != nil {
			e.options.Logger.Warn("clear trash", "path", path, "error", err)
		}
	}
}
