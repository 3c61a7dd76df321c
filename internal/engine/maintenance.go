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
	// round is held during a round: an operator or a test may ask for one beside those of the clock.
	round sync.Mutex

	mu sync.Mutex
	// buckets have segments to look at, since they were sealed or their table's options have changed; guarded
	// by mu.
	buckets map[*bucket]bool
	// later are buckets to be noted at a time, since a rewriting has failed; guarded by mu.
	later map[*bucket]time.Time
	// snapshots are the states of producers to be written, by table; guarded by mu.
	snapshots map[*table]*producersRecord
}

// note notes that a bucket has segments that may have to be rewritten.
func (u *upkeep) note(b *bucket) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.add(b)
}

// add is note for who holds mu.
func (u *upkeep) add(b *bucket) {
	if u.buckets == nil {
		u.buckets = map[*bucket]bool{}
	}
	u.buckets[b] = true
}

// postpone notes a bucket at a later time, when revive is told of it.
func (u *upkeep) postpone(b *bucket, until time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.later == nil {
		u.later = map[*bucket]time.Time{}
	}
	u.later[b] = until
}

// revive notes the buckets whose time has come.
func (u *upkeep) revive(now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for b, until := range u.later {
		if !now.Before(until) {
			delete(u.later, b)
			u.add(b)
		}
	}
}

// sealed takes down the producers of a table that has sealed a segment. It is for the committer, which
// alone sees them between two batches.
func (u *upkeep) sealed(t *table) {
	if !t.producers.isLoaded() {
		return
	}
	snapshot := t.producers.snapshot(t.nextOffsets())
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.snapshots == nil {
		u.snapshots = map[*table]*producersRecord{}
	}
	u.snapshots[t] = snapshot
}

// takeSnapshots gives the states of producers that have come together and forgets them.
func (u *upkeep) takeSnapshots() map[*table]*producersRecord {
	u.mu.Lock()
	defer u.mu.Unlock()
	snapshots := u.snapshots
	u.snapshots = nil
	return snapshots
}

// takeBucket gives one of the buckets that were noted and forgets it; nil: there is none.
func (u *upkeep) takeBucket() *bucket {
	u.mu.Lock()
	defer u.mu.Unlock()
	for b := range u.buckets {
		delete(u.buckets, b)
		return b
	}
	return nil
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
			e.maintain(ctx)
			e.rewriting.ask()
		case <-ctx.Done():
			return
		}
	}
}

// Maintain does one round of maintenance. It is called every MaintenancePeriod; an operator or a
// test may call it too.
func (e *Engine) Maintain(ctx context.Context) {
	e.maintain(ctx)
	e.rewriteAll(ctx)
}

// maintain is a round without the rewriting of segments, which may take long.
func (e *Engine) maintain(ctx context.Context) {
	e.upkeep.round.Lock()
	defer e.upkeep.round.Unlock()
	now := e.options.Clock.Now()
	e.plans.expire(now)
	if e.failed() == nil {
		if err := e.writeSnapshots(ctx, e.upkeep.takeSnapshots()); err != nil {
			e.options.Logger.Warn("write snapshots of producers", "error", err) // the log still says it all
		}
	}
	e.upkeep.revive(now)
	e.followTime(ctx, now)
	e.buryAll(ctx, now)
	e.openDue()
	e.sealIdle(ctx, now)
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
	e.restIdle(ctx, now)
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
			errs = append(errs, t.producers.write(snapshot))
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
	for _, b := range t.opened() {
		number := b.number
		retention.KeepFrom = starts[number]
		removed, err := int64(0), error(nil)
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
