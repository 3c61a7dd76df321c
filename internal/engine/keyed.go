package engine

import (
	"fmt"
	"slices"
	"sync"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/pkstore"
	"github.com/headrace/headrace/streams"
)

// keyedTable is what a primary-key table has beside its log.
type keyedTable struct {
	// key are the columns of the primary key, by index; routed says that they are the bucket key too,
	// in the same order, so that one hash serves both.
	key    []int
	routed bool
	// columns reads the key of rows of the log.
	columns *arrowipc.KeyColumns
	// replayed chooses the columns that a replay of the log reads: the key and the change column.
	replayed *arrowipc.Projection
	// publishing is held while a group is published and while a state is fixed, so that a state over
	// several buckets has all of a request or nothing of it.
	publishing sync.Mutex
	// upkeep is held while rows are retired and index files are written, and while the table grows.
	upkeep sync.Mutex
	// cold has the rows below the logs.
	cold *tableCold
	// numbered are the columns that get a number where a row is inserted, defaults the values of all
	// others that a row which is inserted does not name.
	numbered []int
	defaults *arrowipc.View
}

// newKeyedTable gives nil for a log table.
func newKeyedTable(t *table, definition *model.Table) (*keyedTable, error) {
	if !definition.Keyed() {
		return nil, nil
	}
	k := &keyedTable{cold: newTableCold(), routed: slices.Equal(definition.PrimaryKey, definition.BucketKey)}
	for _, name := range definition.PrimaryKey {
		k.key = append(k.key, t.layout.ColumnIndex(name))
	}
	var err error
	if k.columns, err = arrowipc.NewKeyColumns(t.log, k.key); err != nil {
		return nil, fmt.Errorf("primary key of table %s: %w", definition.Name, err)
	}
	change := t.log.ColumnIndex(model.ChangeColumn)
	if k.replayed, err = arrowipc.NewProjection(t.log, append(slices.Clone(k.key), change), nil); err != nil {
		return nil, fmt.Errorf("primary key of table %s: %w", definition.Name, err)
	}
	for i, field := range definition.Schema.Fields() {
		if model.AutoIncremented(field, definition.Defaults[field.Name]) {
			k.numbered = append(k.numbered, i)
		}
	}
	row, err := arrowipc.DefaultRow(t.layout, definition.Defaults)
	if err != nil {
		return nil, fmt.Errorf("defaults of table %s: %w", definition.Name, err)
	}
	if k.defaults, err = arrowipc.NewView(row); err != nil {
		return nil, fmt.Errorf("defaults of table %s: %w", definition.Name, err)
	}
	if _, err := pkstore.NewBucket(t.keyedOptions(definition, k, 0)); err != nil {
		return nil, fmt.Errorf("table %s: %w", definition.Name, err)
	}
	return k, nil
}

// keyedOptions are the options of the table as one of its buckets sees them.
func (t *table) keyedOptions(definition *model.Table, k *keyedTable, bucket int32) pkstore.Options {
	options := t.options.Load()
	merge := pkstore.MergeOptions{Engine: options.Merge}
	if options.VersionColumn != "" {
		merge.VersionColumn = t.layout.ColumnIndex(options.VersionColumn)
	}
	for name, function := range options.Aggregates {
		if merge.Aggregates == nil {
			merge.Aggregates = map[int]pkstore.AggregateFunction{}
		}
		merge.Aggregates[t.layout.ColumnIndex(name)] = pkstore.AggregateFunction(function)
	}
	return pkstore.Options{
		Layout: t.log, Key: k.key, Merge: merge, Image: options.Image,
		Deletes:    model.DeleteAllow, // the engine looks at the option, which can be changed
		IndexBytes: options.IndexMaxBytes / int64(definition.Buckets), Defaults: k.defaults,
		AutoIncrement: k.numbered, Number: int64(bucket), Step: numberStep(definition),
	}
}

// numberStep is the difference between two numbers that a bucket gives to rows: buckets give different ones,
// also those of partitions that come later.
func numberStep(definition *model.Table) int64 {
	if definition.Partitioned() {
		return 1 << 31
	}
	return int64(definition.Buckets)
}

// openKeyed makes the state of a bucket: from its index file, and from what the log has behind it.
func (t *table) openKeyed(b *bucket) error {
	definition := t.definition.Load()
	cold, err := t.openCold(false)
	if err == nil {
		cold, err = t.coldOf(definition, cold, b.number, t.sharedOptions(definition, b.number))
	}
	if err != nil {
		return err
	}
	if err := b.checkBoundary(cold); err != nil {
		return err
	}
	if !t.loadIndex(b, cold) {
		store, err := pkstore.NewBucket(t.sharedOptions(definition, b.number))
		if err != nil {
			return err
		}
		if err := b.useCold(store, cold); err != nil {
			return err
		}
		b.keyed = store
	}
	return b.eachStored(max(b.historyStart(), b.keyed.End()), b.End(), func(stored pkstore.Stored) error {
		return streams.Guard(func() error { return b.keyed.Replay(stored) })
	})
}

// eachStored gives the batches of a range of a bucket's own log, with key and change columns in memory and
// verified.
func (t *table) eachStored(b *bucket, from, to int64, each func(pkstore.Stored) error) error {
	if from >= to {
		return nil
	}
	cursor, err := b.Cursor(from)
	if err != nil {
		return err
	}
	defer cursor.Close()
	var buffers []int
	for {
		stored, err := cursor.Next(to)
		if err != nil || stored == nil {
			return err
		}
		buffers = t.keyed.replayed.AppendBuffers(buffers[:0], &stored.Batch)
		if err := stored.Verify(buffers); err != nil {
			return err
		}
		kept, err := keep(stored)
		if err != nil {
			return err
		}
		if err := each(kept); err != nil {
			return err
		}
	}
}

// keep makes a stored batch one that outlives its cursor.
func keep(stored *streams.Stored) (pkstore.Stored, error) {
	kept := stored.Keep()
	view, err := arrowipc.NewView(&kept.Batch)
	if err != nil {
		return pkstore.Stored{}, err
	}
	return pkstore.Stored{Base: kept.Base, View: view, Check: func() error { return kept.Verify(nil) }, Keep: kept}, nil
}

// publishChanges makes the changes of a bucket below end the state that readers see. The rows are
// readable in the log already.
func (b *bucket) publishChanges(end int64) error {
	var added []pkstore.Stored
	err := b.table.eachStored(b, b.keyed.End(), end, func(stored pkstore.Stored) error {
		added = append(added, stored)
		return nil
	})
	if err != nil || len(added) == 0 {
		return err
	}
	return b.keyed.Publish(end, added)
}
