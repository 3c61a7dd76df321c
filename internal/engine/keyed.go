package engine

import (
	"sync"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/pkstore"
	"github.com/headrace/headrace/streams"
)

// keyedTable is what a primary-key table has beside its log, whatever its schema.
type keyedTable struct {
	// publishing is held while a group is published and while a state is fixed, so that a state over
	// several buckets has all of a request or nothing of it.
	publishing sync.Mutex
	// upkeep is held while rows are retired and index files are written, and while the table grows.
	upkeep sync.Mutex
	// cold has the rows below the logs.
	cold *tableCold
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
	cold, err := t.openCold(false)
	if err == nil {
		cold, err = b.schema.coldOf(cold, b.number)
	}
	if err != nil {
		return err
	}
	if err := b.checkBoundary(cold); err != nil {
		return err
	}
	if !t.loadIndex(b, cold) {
		store, err := b.newState()
		if err != nil {
			return err
		}
		if err := b.useCold(store, cold); err != nil {
			return err
		}
		b.keyed = store
	}
	return b.eachStored(b.schema, max(b.historyStart(), b.keyed.End()), b.End(), func(stored pkstore.Stored) error {
		return streams.Guard(func() error { return b.keyed.Replay(stored) })
	})
}

// newState makes a state without rows.
func (b *bucket) newState() (*pkstore.Bucket, error) {
	options, err := b.schema.sharedOptions(b.table.definitionOf(b.schema), b.number)
	if err != nil {
		return nil, err
	}
	return pkstore.NewBucket(options)
}

// eachOwn gives the batches of a range of a bucket's own log, with key and change columns in memory and
// verified.
func (b *bucket) eachOwn(schema *tableSchema, from, to int64, each func(pkstore.Stored) error) error {
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
		if buffers, err = schema.verifyKeys(stored, buffers); err != nil {
			return err
		}
		kept, err := schema.keep(stored.Keep())
		if err != nil {
			return err
		}
		if err := each(kept); err != nil {
			return err
		}
	}
}

// publishChanges makes the changes of a bucket below end the state that readers see. The rows are
// readable in the log already.
func (b *bucket) publishChanges(end int64) error {
	var added []pkstore.Stored
	err := b.eachStored(b.table.schema.Load(), b.keyed.End(), end, func(stored pkstore.Stored) error {
		added = append(added, stored)
		return nil
	})
	if err != nil || len(added) == 0 {
		return err
	}
	return b.keyed.Publish(end, added)
}
