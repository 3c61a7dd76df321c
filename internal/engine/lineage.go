package engine

import (
	"slices"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/pkstore"
	"github.com/headrace/headrace/streams"
)

// A bucket of a primary-key table that split from another one has a history in several logs: its own, from the
// offset on at which it split, and below that its parent's, which may have split too. Rows of other shares that
// stand there are not its own.

// openParent opens the bucket that a new one has its history from. Nothing happens where there is none.
func (t *table) openParent(b *bucket) (err error) {
	if split, known := t.definition.Load().Splits[b.number]; known && t.keyed != nil {
		b.split = split
		b.parent, err = t.bucket(split.Parent)
	}
	return err
}

// historyStart is the first offset of the rows that are kept of the bucket, in its own log or in its parent's.
func (b *bucket) historyStart() int64 {
	start := b.Start()
	if b.parent == nil || start > b.split.At {
		return start
	}
	return min(start, b.parent.historyStart())
}

// eachStored gives the batches of a range of the bucket's history, with key and change columns in memory and
// verified.
func (b *bucket) eachStored(schema *tableSchema, from, to int64, each func(pkstore.Stored) error) error {
	if from >= to {
		return nil
	}
	if b.parent != nil && from < b.split.At {
		if err := b.parent.eachStored(schema, from, min(to, b.split.At), each); err != nil {
			return err
		}
		from = b.split.At
	}
	return b.eachOwn(schema, from, to, each)
}

// sharedOptions are the options of a bucket with its share of the keys.
func (s *tableSchema) sharedOptions(definition *model.Table, bucket int32) (pkstore.Options, error) {
	options, err := s.bucketOptions(definition, s.keyed, bucket)
	if err == nil && len(definition.Splits) > 0 {
		buckets := s.table.routedTo(bucket)
		options.Share = s.share(definition, slices.Index(buckets, bucket), len(buckets))
	}
	return options, err
}

// share is the part of the keys of the bucket at that place among that many.
func (s *tableSchema) share(definition *model.Table, index, of int) pkstore.Share {
	share := pkstore.Share{Index: uint32(index), Of: uint32(of)}
	for _, name := range definition.BucketKey {
		share.Columns = append(share.Columns, s.log.ColumnIndex(name))
	}
	return share
}

// coldOf gives what a bucket sees of the table's store of retired rows; nil where there is none.
func (s *tableSchema) coldOf(store pkstore.ColdStore, bucket int32) (pkstore.ColdStore, error) {
	definition := s.table.definitionOf(s)
	options, err := s.sharedOptions(definition, bucket)
	if err != nil {
		return nil, err
	}
	return coldWith(definition, store, bucket, options)
}

// coldWith is coldOf for a bucket with these options.
func coldWith(definition *model.Table, store pkstore.ColdStore, bucket int32, options pkstore.Options) (pkstore.ColdStore, error) {
	if store == nil || options.Share.Of == 0 {
		return store, nil
	}
	return pkstore.NewColdLineage(store, options, coldBucket(bucket), coldAncestors(definition, bucket))
}

// coldAncestors tell under what names retired rows of a bucket are beside its own, nearest first.
func coldAncestors(definition *model.Table, bucket int32) []pkstore.ColdAncestor {
	var ancestors []pkstore.ColdAncestor
	for split, known := definition.Splits[bucket]; known; split, known = definition.Splits[split.Parent] {
		ancestors = append(ancestors, pkstore.ColdAncestor{Bucket: coldBucket(split.Parent), Below: split.Retired})
	}
	return ancestors
}

// holds tells whether a bucket may have rows, without opening it: of its own, or of before it split.
func (t *table) holds(number int32) bool {
	if t.written(number) {
		return true
	}
	_, split := t.definition.Load().Splits[number]
	return split && t.keyed != nil
}

// dueHistory gives the offset below which rows of a bucket's history are due to go: in the parent's log too.
func (b *bucket) dueHistory(r streams.Retention) (int64, error) {
	due, err := b.Due(r)
	if err != nil || b.parent == nil || due > b.split.At {
		return due, err
	}
	inherited, err := b.parent.dueHistory(r)
	return min(inherited, b.split.At), err
}

// needed gives the offset at and behind which the log of a bucket still has live rows, or may: of its own, and of
// those that split from it.
func (t *table) needed(b *bucket) (int64, error) {
	needed := b.keyed.Stats().Boundary
	for _, number := range t.definition.Load().Children(b.number) {
		child, err := t.bucket(number)
		if err != nil {
			return 0, err
		}
		below, err := t.needed(child)
		if err != nil {
			return 0, err
		}
		if below < child.split.At {
			needed = min(needed, below)
		}
	}
	return needed, nil
}
