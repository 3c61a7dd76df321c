package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"time"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/pkstore"
)

// DropPartition takes the partition with the values out of a table, or with prefix all that have them. It is
// durable when it returns; no new read sees the rows. Plans that have fixed rows of it keep them until they
// end, then the files go to the trash. It gives the number of partitions.
func (e *Engine) DropPartition(ctx context.Context, name model.TableName, values PartitionValues, prefix, missingOK bool) (int, error) {
	e.catalog.changes.Lock()
	defer e.catalog.changes.Unlock()
	t, err := e.partitionedTable(name)
	if err != nil {
		return 0, err
	}
	wanted, err := t.partitions.parse(t, values)
	if err != nil {
		return 0, err
	}
	if wanted.key == "" && (!prefix || len(values) == 0) {
		return 0, t.errIncomplete()
	}
	list := t.partitions.matching([]*parsedValues{wanted})
	if len(list) == 0 {
		if missingOK {
			return 0, nil
		}
		return 0, model.Errorf(model.PartitionNotFound, "table %s has no partition with these values", name).
			With("table", name.String()).WithRemedy("List the partitions to see what is there, or send missing_ok")
	}
	if err := e.dropPartitions(ctx, t, list, false); err != nil {
		return 0, e.diskError(fmt.Sprintf("drop partitions of table %s", name), err)
	}
	return len(list), nil
}

// dropPartitions takes partitions out of a table. The caller holds catalog.changes.
func (e *Engine) dropPartitions(ctx context.Context, t *table, list []*partition, expired bool) error {
	// What the log of the partitions says of producers must be known without it.
	if err := t.producers.load(); err != nil {
		return err
	}
	var snapshot *producersRecord
	if err := e.control(ctx, func() error {
		snapshot = t.producers.snapshot(t.nextOffsets())
		return nil
	}); err != nil {
		return err
	}
	if len(snapshot.Producers) > 0 {
		if err := e.writeSnapshots(ctx, map[*table]*producersRecord{t: snapshot}); err != nil {
			return err
		}
	}
	records := make([]partitionRecord, len(list))
	for i, x := range list {
		records[i] = partitionRecord{Dropped: x.id}
	}
	err := e.control(ctx, func() error {
		if err := t.err(); err != nil {
			return err
		}
		// Nothing of the partitions may be on its way to the disk.
		if err := e.settle(); err != nil {
			return err
		}
		if err := t.partitions.writeLedger(records...); err != nil {
			return err
		}
		t.partitions.drop(list, expired)
		return nil
	})
	if err == nil {
		t.published.Wake() // followers let go
		e.options.Logger.Info("partitions dropped", "table", t.definition.Load().Name, "partitions", len(list), "expired", expired)
	}
	return err
}

// buryAll removes what is left of dropped partitions that nobody reads any more.
func (e *Engine) buryAll(ctx context.Context, now time.Time) {
	for _, t := range e.catalog.all() {
		if t.partitions == nil || e.failed() != nil {
			continue
		}
		if err := e.bury(ctx, t, now); err != nil && ctx.Err() == nil && t.err() == nil {
			e.options.Logger.Warn("remove dropped partitions", "table", t.definition.Load().Name, "error", err)
		}
	}
}

func (e *Engine) bury(ctx context.Context, t *table, now time.Time) error {
	e.catalog.changes.Lock() // the folder stays where it is
	defer e.catalog.changes.Unlock()
	if err := t.err(); err != nil {
		return err
	}
	list := t.partitions.unread()
	stray := t.takeStray()
	if len(list)+len(stray) == 0 {
		return nil
	}
	numbers := append(bucketsOf(list), stray...)
	// A recovery must not look for a segment in order to decide whether a group is whole.
	err := e.control(ctx, func() error {
		e.mark()
		if err := e.failedError(); err != nil {
			return err
		}
		return t.forget(numbers)
	})
	if err != nil {
		return err
	}
	expired := map[int32]bool{}
	for _, x := range list {
		for _, number := range x.numbers() {
			expired[number] = x.expired
		}
	}
	if err := t.forgetCold(numbers); err != nil {
		return err
	}
	return e.trashBuckets(t, numbers, func(number int32) time.Time {
		if expired[number] {
			return time.UnixMilli(0) // nobody dropped it by mistake
		}
		return now
	})
}

// forget closes buckets, and takes them out of what the next checkpoint names.
func (t *table) forget(numbers []int32) error {
	var open []*bucket
	t.mu.Lock()
	for _, number := range numbers {
		if b := t.buckets[number]; b != nil {
			open = append(open, b)
		}
		delete(t.buckets, number)
		delete(t.extents, number)
		delete(t.starts, number)
		delete(t.measured, number)
	}
	t.mu.Unlock()
	var errs []error
	for _, b := range open {
		errs = append(errs, b.Close(t.errPartitionGone(b.number)))
	}
	return errors.Join(errs...)
}

// forgetCold removes the retired rows of buckets.
func (t *table) forgetCold(numbers []int32) error {
	if t.keyed == nil {
		return nil
	}
	cold, err := t.openCold(false)
	if err != nil || cold == nil {
		return err
	}
	buckets := make([]pkstore.ColdBucket, len(numbers))
	for i, number := range numbers {
		buckets[i] = pkstore.ColdBucket{Bucket: uint32(number)}
	}
	return cold.Forget(buckets...)
}

// trashBuckets moves the folders of buckets to the trash, and removes their index files.
func (e *Engine) trashBuckets(t *table, numbers []int32, since func(int32) time.Time) error {
	files, dir := e.options.FS, t.dir()
	if err := files.MkdirAll(trashDir); err != nil {
		return err
	}
	id := t.definition.Load().ID
	var errs []error
	for _, number := range numbers {
		from := fmt.Sprintf("%s/%d", dir, number)
		to := fmt.Sprintf("%s/%s_%s_%d.%d", trashDir, tablesDir, id, number, since(number).UnixMilli())
		if err := files.Rename(from, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		if t.keyed == nil {
			continue
		}
		if err := files.Remove(fmt.Sprintf("%s/%s", dir, indexFileOf(number))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, files.SyncDir(trashDir), files.SyncDir(dir))...)
}

// findStray looks for folders of buckets that no partition has: a crash came between the drop and the
// removal. It is for a table that is not served yet.
func (t *table) findStray() {
	if t.partitions == nil {
		return
	}
	for _, entry := range t.engine.list(t.dir()) {
		number, err := strconv.ParseInt(entry, 10, 32)
		if err == nil && int32(number) != model.HomeBucket && t.partitions.of(int32(number)) == nil {
			t.stray = append(t.stray, int32(number))
		}
	}
	for number := range t.extents {
		if number != model.HomeBucket && t.partitions.of(number) == nil {
			delete(t.extents, number)
		}
	}
	slices.Sort(t.stray)
}

// takeStray gives what findStray found, once.
func (t *table) takeStray() []int32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	stray := t.stray
	t.stray = nil
	return stray
}
