package engine

import (
	"fmt"
	"slices"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/pkstore"
	"github.com/headrace/headrace/streams"
)

// keyColumns is what a version of the schema of a primary-key table has beside that of its log.
type keyColumns struct {
	// key are the columns of the primary key, by index; routed says that they are the bucket key too,
	// in the same order, so that one hash serves both.
	key    []int
	routed bool
	// columns reads the key of rows of the log.
	columns *arrowipc.KeyColumns
	// replayed are the columns that a replay of the log reads, the key and the change column, and a
	// projection of them.
	replayed   []int
	projection *arrowipc.Projection
	// numbered are the columns that get a number where a row is inserted, defaults the values of all
	// others that a row which is inserted does not name.
	numbered []int
	defaults *arrowipc.View
}

// newKeyedSchema gives nil for a log table.
func newKeyedSchema(s *tableSchema) (*keyColumns, error) {
	definition := s.definition
	if !definition.Keyed() {
		return nil, nil
	}
	k := &keyColumns{routed: slices.Equal(definition.PrimaryKey, definition.BucketKey)}
	for _, name := range definition.PrimaryKey {
		k.key = append(k.key, s.layout.ColumnIndex(name))
	}
	var err error
	if k.columns, err = arrowipc.NewKeyColumns(s.log, k.key); err != nil {
		return nil, fmt.Errorf("primary key: %w", err)
	}
	k.replayed = append(slices.Clone(k.key), s.log.ColumnIndex(model.ChangeColumn))
	if k.projection, err = arrowipc.NewProjection(s.log, k.replayed, nil); err != nil {
		return nil, fmt.Errorf("primary key: %w", err)
	}
	for i, field := range definition.Schema.Fields() {
		if model.AutoIncremented(field, definition.Defaults[field.Name]) {
			k.numbered = append(k.numbered, i)
		}
	}
	row, err := arrowipc.DefaultRow(s.layout, definition.Defaults)
	if err != nil {
		return nil, fmt.Errorf("defaults: %w", err)
	}
	if k.defaults, err = arrowipc.NewView(row); err != nil {
		return nil, fmt.Errorf("defaults: %w", err)
	}
	options, err := s.bucketOptions(definition, k, 0)
	if err != nil {
		return nil, err
	}
	_, err = pkstore.NewBucket(options)
	return k, err
}

// bucketOptions are the options of a table, given by a definition with this schema, as one of its buckets
// sees them.
func (s *tableSchema) bucketOptions(definition *model.Table, k *keyColumns, bucket int32) (pkstore.Options, error) {
	options, err := model.ParseOptions(definition.Options)
	if err != nil {
		return pkstore.Options{}, err
	}
	merge := pkstore.MergeOptions{Engine: options.Merge}
	if options.VersionColumn != "" {
		merge.VersionColumn = s.layout.ColumnIndex(options.VersionColumn)
	}
	for name, function := range options.Aggregates {
		if merge.Aggregates == nil {
			merge.Aggregates = map[int]pkstore.AggregateFunction{}
		}
		merge.Aggregates[s.layout.ColumnIndex(name)] = pkstore.AggregateFunction(function)
	}
	return pkstore.Options{
		Layout: s.log, SchemaVersion: s.version, Adapter: s.adapters.adapter, Key: k.key, Merge: merge, Image: options.Image,
		IndexBytes: options.IndexMaxBytes / int64(definition.Buckets), Defaults: k.defaults,
		AutoIncrement: k.numbered, Number: int64(bucket), Step: numberStep(definition), RowCache: s.table.engine.rowCache,
	}, nil
}

// verifyKeys brings key and change columns of a stored batch into memory and checks them.
func (s *tableSchema) verifyKeys(stored *streams.Stored, buffers []int) ([]int, error) {
	adapter, err := s.adapter(stored.SchemaVersion())
	switch {
	case err != nil:
		return buffers, err
	case adapter != nil:
		buffers = adapter.AppendBuffers(buffers[:0], &stored.Batch, s.keyed.replayed)
	default:
		buffers = s.keyed.projection.AppendBuffers(buffers[:0], &stored.Batch)
	}
	return buffers, stored.Verify(buffers)
}

// keep gives a stored batch that outlives its cursor, with key and change columns in memory, as the state of
// a bucket holds it.
func (s *tableSchema) keep(kept *streams.Stored) (pkstore.Stored, error) {
	result := pkstore.Stored{Base: kept.Base, Check: func() error { return kept.Verify(nil) }, Keep: kept}
	adapter, err := s.adapter(kept.SchemaVersion())
	if err != nil {
		return result, err
	}
	batch := &kept.Batch
	if adapter == nil {
		batch.Layout = s.log // one of the same shape: lookups tell versions apart by it
	} else {
		if batch, err = adapter.Adapt(batch, s.keyed.replayed); err != nil {
			return result, err
		}
	}
	if result.View, err = arrowipc.NewView(batch); err != nil || adapter == nil || adapter.Exact() {
		return result, err
	}
	result.Whole = func() (*arrowipc.View, error) {
		whole, err := adapter.Adapt(&kept.Batch, nil)
		if err != nil {
			return nil, err
		}
		return arrowipc.NewView(whole)
	}
	return result, nil
}
