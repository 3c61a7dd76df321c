package engine

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/pkstore"
	"github.com/headrace/headrace/streams"
)

// evolve makes the next version of the schema the one that rows are written with, and in which the states of
// buckets are read. It is for the committer, when everything is published. Streams go on with the version
// that they were opened with. After an error the table is in memory as it was.
func (t *table) evolve(next *tableSchema) error {
	defer t.lockStates()()
	return t.evolveLocked(next)
}

// lockStates keeps others from opening buckets, and from publishing and fixing their states, until unlock.
func (t *table) lockStates() (unlock func()) {
	if t.keyed == nil {
		t.mu.Lock()
		return t.mu.Unlock
	}
	t.keyed.publishing.Lock()
	t.mu.Lock()
	return func() {
		t.mu.Unlock()
		t.keyed.publishing.Unlock()
	}
}

// evolveLocked is evolve for who has locked what lockStates locks.
func (t *table) evolveLocked(next *tableSchema) error {
	return t.evolving(next, func(shape *partitionShape, all []*evolvingBucket) {
		for _, evolving := range all {
			evolving.apply()
		}
		if shape != nil {
			t.partitions.shape.Store(shape)
		}
		t.schema.Store(next)
		t.definition.Store(next.definition)
	})
}

// tryEvolve does all of evolve that may fail, and leaves the table as it is.
func (t *table) tryEvolve(next *tableSchema) error {
	defer t.lockStates()()
	return t.evolving(next, func(_ *partitionShape, all []*evolvingBucket) {
		for _, evolving := range all {
			evolving.state.Cancel()
		}
	})
}

// evolving prepares what evolve needs for then; shape is nil in a table without partitions. What lockStates locks is
// locked.
func (t *table) evolving(next *tableSchema, then func(shape *partitionShape, all []*evolvingBucket)) (err error) {
	var shape *partitionShape
	if t.partitions != nil {
		if shape, err = newPartitionShape(next.layout, next.definition); err != nil {
			return err
		}
	}
	var all []*evolvingBucket
	for _, b := range t.buckets {
		if b.keyed == nil {
			continue
		}
		evolving, err := b.evolve(next, next.definition)
		if err != nil {
			for _, evolving := range all {
				evolving.state.Cancel()
			}
			return fmt.Errorf("bucket %d of table %s: %w", b.number, next.definition.Name, err)
		}
		all = append(all, evolving)
	}
	then(shape, all)
	return nil
}

// evolvingBucket is a bucket that is about to get another version of the schema.
type evolvingBucket struct {
	bucket *bucket
	schema *tableSchema
	state  *pkstore.Evolving
	// indexes are those that the bucket goes on with.
	indexes []model.Index
}

// evolve prepares the state of a bucket for another version of the schema. The table's mu is held until apply, or
// until the state's Cancel.
func (b *bucket) evolve(next *tableSchema, definition *model.Table) (*evolvingBucket, error) {
	options, err := next.sharedOptions(definition, b.number)
	if err != nil {
		return nil, err
	}
	before := b.schema
	moved := make([]int, before.log.Schema().NumFields())
	for i := range moved {
		moved[i] = next.log.Schema().NumFields() - 1 // the change column is the last one
		if i < len(before.trees) {
			moved[i] = next.placeOf(before, i)
		}
	}
	x := &evolvingBucket{bucket: b, schema: next}
	for _, index := range b.indexes.defined {
		if renamed, stays := next.renamedIndex(index, before); stays {
			x.indexes = append(x.indexes, renamed)
		}
	}
	err = streams.Guard(func() (err error) {
		x.state, err = b.keyed.Evolve(options, pkstore.Evolution{
			Stored: func(s pkstore.Stored) (pkstore.Stored, error) { return next.keep(s.Keep.(*streams.Stored)) },
			Moved:  moved,
		})
		return err
	})
	return x, err
}

// apply gives the bucket its schema. The table's mu is held.
func (x *evolvingBucket) apply() {
	x.state.Apply()
	x.bucket.schema, x.bucket.indexes.defined = x.schema, x.indexes
}

// placeOf gives the index of a column of the version before; -1 where it is not there any more, or has another type.
func (s *tableSchema) placeOf(before *tableSchema, column int) int {
	at := s.columnOf(before.trees[column].ID)
	if at >= 0 && !arrow.TypeEqual(s.layout.Schema().Field(at).Type, before.layout.Schema().Field(column).Type) {
		return -1
	}
	return at
}

// renamedIndex gives an index of the version before as the schema calls its columns; false where one of them is not
// there any more, or has another type: then it is another index, whatever its name is.
func (s *tableSchema) renamedIndex(x model.Index, before *tableSchema) (renamed model.Index, stays bool) {
	renamed.Name = x.Name
	for _, name := range x.Columns {
		at := s.placeOf(before, before.layout.ColumnIndex(name))
		if at < 0 {
			return renamed, false
		}
		renamed.Columns = append(renamed.Columns, s.layout.Schema().Field(at).Name)
	}
	return renamed, true
}

// renew makes a bucket ready for rows whose newest segment has none and is of an earlier version of the
// schema. It is for the committer.
func (e *Engine) renew(b *bucket) error {
	if !b.Outdated() {
		return nil
	}
	if err := e.settle(); err != nil {
		return err
	}
	extent, err := b.Renew()
	if err != nil {
		return err
	}
	b.setExtent(extent)
	return e.checkpoint()
}
