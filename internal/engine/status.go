package engine

import (
	"context"
	"time"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/pkstore"
)

// Status is a picture of the engine, for operators and metrics.
type Status struct {
	Tables []TableStatus
	// Rows, Bytes, Groups and Syncs count what was ingested since the start; ScannedRows what was
	// read; SyncTime is the time spent in syncs.
	Rows, Bytes, Groups, Syncs, ScannedRows int64
	SyncTime                                time.Duration
	// Free and Total are the bytes of the file system of the data folder.
	Free, Total int64
	// Plans are the plans that pin rows.
	Plans []PlanState
	// ConsumerGroups are the groups of all tables, by table and name, with their lag.
	ConsumerGroups []*GroupState
	// ReadOnly is why nothing can be written until a restart; empty if all is well.
	ReadOnly string
	// RowCache is the cache of rows of primary-key tables that were looked up.
	RowCache pkstore.RowCacheStats
	Recovery Recovery
}

// TableStatus is what Status says of a table.
type TableStatus struct {
	Name    model.TableName
	ID      string
	Buckets int32
	// Partitions is how many partitions there are; 0 in a table without partition columns.
	Partitions int
	// OpenedBuckets are those that were used since the start; Bytes and Rows count only these, so
	// that looking at the status opens nothing.
	OpenedBuckets int
	Rows, Bytes   int64
	// RetiredKeys are those of Keys whose rows are below the logs, in the store on disk.
	RetiredKeys int64
	// Keys, IndexBytes and LiveBytes are for primary-key tables: the keys, and the memory of the index
	// and of the bitmaps of live rows.
	Keys, IndexBytes, LiveBytes int64
}

// Status gives a picture of the engine.
func (e *Engine) Status() Status {
	s := Status{
		Rows: e.counters.rows.Load(), Bytes: e.counters.bytes.Load(), Groups: e.counters.groups.Load(),
		Syncs: e.counters.syncs.Load(), ScannedRows: e.counters.scanned.Load(),
		SyncTime: time.Duration(e.counters.syncMicros.Load()) * time.Microsecond,
		Plans:    e.Plans(), Recovery: e.recovery, RowCache: e.rowCache.Stats(),
	}
	if free, total, err := e.options.FS.Space(); err == nil {
		s.Free, s.Total = free, total
	}
	if broken := e.failed(); broken != nil {
		s.ReadOnly = broken.Text
	}
	for _, t := range e.catalog.all() {
		definition := t.definition.Load()
		entry := TableStatus{Name: definition.Name, ID: definition.ID, Buckets: definition.Buckets}
		if t.partitions != nil {
			entry.Partitions, entry.Buckets = t.partitions.count(), int32(len(t.numbers()))
		}
		for _, b := range t.opened() {
			stats := b.Stats()
			entry.OpenedBuckets++
			entry.Rows += stats.End - stats.Start
			entry.Bytes += stats.Bytes
			if b.keyed == nil {
				continue
			}
			state := b.keyed.Stats()
			entry.Keys += state.Keys
			entry.RetiredKeys += state.RetiredKeys
			entry.IndexBytes += state.IndexBytes + state.SecondaryBytes
			entry.LiveBytes += state.LiveBytes
		}
		s.Tables = append(s.Tables, entry)
		groups, err := t.groupStates()
		if err != nil && t.err() == nil {
			e.options.Logger.Warn("status of groups", "table", definition.Name, "error", err)
		}
		s.ConsumerGroups = append(s.ConsumerGroups, groups...)
	}
	return s
}

// WaitFor returns once the rows below a position are readable.
func (e *Engine) WaitFor(ctx context.Context, name model.TableName, position model.Position) error {
	t, err := e.table(name)
	if err != nil {
		return err
	}
	if err := t.checkBounds(Scan{From: Bound{Kind: BoundOffsets, Position: position}}); err != nil {
		return err
	}
	for _, number := range position.Offsets.Buckets() {
		for {
			published := t.published.Wait()
			if t.isGone(number) {
				break // its rows are not coming back
			}
			end, err := t.end(number)
			if err == nil {
				err = t.err()
			}
			if err != nil {
				return err
			}
			if end >= position.Offsets[number] {
				break
			}
			select {
			case <-published:
			case <-e.draining:
				return errClosed()
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}
