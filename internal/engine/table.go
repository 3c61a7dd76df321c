package engine

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/streams"
)

// table is a table that is being served: its definition and its open buckets.
type table struct {
	engine *Engine
	layout *arrowipc.Layout
	// key are the columns of the bucket key; nil where there is none.
	key []int
	// definition and options are replaced as a whole when the table is altered.
	definition atomic.Pointer[model.Table]
	options    atomic.Pointer[model.Options]
	// published wakes followers.
	published model.Notifier
	producers producers

	mu sync.Mutex
	// buckets are those that were used since the start; guarded by mu.
	buckets map[int32]*bucket
	// extents say how far the newest segment of each bucket counts; guarded by mu.
	extents map[int32]streams.Extent
	// starts are the logical starts that TruncateTable set; guarded by mu.
	starts map[int32]int64
	// gone is why the table is not served any more; nil while it is. Guarded by mu.
	gone error
}

// bucket is an open bucket of a table.
type bucket struct {
	*streams.Bucket
	table  *table
	number int32
	// group is the newest group that touched the bucket; for the committer alone.
	group *group
}

func newTable(e *Engine, record *tableRecord) (*table, error) {
	layout, err := arrowipc.NewLayout(record.definition.Schema)
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", record.definition.Name, err)
	}
	t := &table{
		engine: e, layout: layout, buckets: map[int32]*bucket{},
		extents: map[int32]streams.Extent{}, starts: record.Starts,
	}
	if len(record.definition.BucketKey) > 0 {
		t.key = make([]int, len(record.definition.BucketKey))
		for i, name := range record.definition.BucketKey {
			t.key[i] = layout.ColumnIndex(name)
		}
		if _, err := t.newRouter(); err != nil {
			return nil, fmt.Errorf("table %s: %w", record.definition.Name, err)
		}
	}
	t.producers.table = t
	return t, t.define(record.definition)
}

// newRouter makes what hashes the bucket key, for one goroutine at a time; nil where there is none.
func (t *table) newRouter() (*arrowipc.RowHasher, error) {
	if t.key == nil {
		return nil, nil
	}
	return arrowipc.NewRowHasher(t.layout, t.key)
}

// define sets another definition with the same schema.
func (t *table) define(definition *model.Table) error {
	options, err := model.ParseOptions(definition.Options)
	if err != nil {
		return fmt.Errorf("table %s: %w", definition.Name, err)
	}
	t.options.Store(&options)
	t.definition.Store(definition)
	for _, b := range t.opened() {
		b.Define(definition)
	}
	return nil
}

// bucket gives a bucket, opening it where needed. An error is for the user.
func (t *table) bucket(number int32) (*bucket, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gone != nil {
		return nil, t.gone
	}
	if b := t.buckets[number]; b != nil {
		return b, nil
	}
	definition := t.definition.Load()
	if number < 0 || number >= definition.Buckets {
		return nil, model.Errorf(model.BadRequest, "table %s has no bucket %d", definition.Name, number).
			WithRemedy("Buckets are numbered from 0 to %d", definition.Buckets-1)
	}
	at, known := t.extents[number]
	if !known {
		// Nothing of this bucket was ever committed: whatever lies there is of a group that did not
		// become whole.
		at = streams.Extent{Segment: streams.SegmentName{TableID: definition.ID, Bucket: number, Base: -1}}
	}
	log, err := streams.OpenBucket(definition, number, &at, t.engine.options.streams())
	if err != nil {
		return nil, fmt.Errorf("open bucket %d of table %s: %w", number, definition.Name, err)
	}
	log.Trim(t.starts[number])
	b := &bucket{Bucket: log, table: t, number: number}
	t.buckets[number] = b
	return b, nil
}

// written tells whether rows of a bucket may exist, without opening it.
func (t *table) written(number int32) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, known := t.extents[number]
	return known || t.buckets[number] != nil
}

// readable gives the range of offsets of a bucket that can be read.
func (t *table) readable(number int32) (model.Range, error) {
	if !t.written(number) {
		return model.Range{}, nil
	}
	b, err := t.bucket(number)
	if err != nil {
		return model.Range{}, err
	}
	return model.Range{From: b.Start(), To: b.End()}, nil
}

// opened gives the buckets that were used since the start.
func (t *table) opened() []*bucket {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]*bucket, 0, len(t.buckets))
	for _, b := range t.buckets {
		all = append(all, b)
	}
	return all
}

// close ends the use of the table; readers and writers get cause.
func (t *table) close(cause error) error {
	t.mu.Lock()
	t.gone = cause
	buckets := t.buckets
	t.buckets = map[int32]*bucket{}
	t.mu.Unlock()
	t.published.Wake()
	var failed error
	for _, b := range buckets {
		if err := b.Close(cause); err != nil && failed == nil {
			failed = err
		}
	}
	return failed
}

// err is why the table is not served any more, or nil.
func (t *table) err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.gone
}

// level is the durability that readers of the table wait for.
func (t *table) level() model.Durability {
	return max(t.options.Load().Durability, model.OS)
}
