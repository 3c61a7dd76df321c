package engine

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/pkstore"
	"github.com/headrace/headrace/streams"
)

// table is a table that is being served: its definition and its open buckets.
type table struct {
	engine *Engine
	// keyed is for primary-key tables; nil for a log table.
	keyed *keyedTable
	// schema is the version of the schema that rows are written with. It is replaced by the committer,
	// under mu, when nothing is on its way.
	schema atomic.Pointer[tableSchema]
	// partitions is for partitioned tables; nil for others.
	partitions *partitions
	// definition and options are replaced as a whole when the table is altered.
	definition *atomic.Pointer[model.Table]
	options    atomic.Pointer[model.Options]
	// routed is where rows go by their bucket key; nil for the moment in which a primary-key table grows. See router.
	routed atomic.Pointer[routing]
	// parents are those of buckets that split from others, for consumer groups.
	parents atomic.Pointer[groupParents]
	// published wakes followers.
	published model.Notifier
	producers producers
	groups    tableGroups

	mu sync.Mutex
	// buckets are those that were used since the start; guarded by mu.
	buckets map[int32]*bucket
	// opening are those that somebody is opening; guarded by mu.
	opening map[int32]*opening
	// extents say how far the newest segment of each bucket counts; guarded by mu.
	extents map[int32]streams.Extent
	// measured are the sizes of buckets that are not open, where somebody has asked; guarded by mu.
	measured map[int32]streams.Stats
	// starts are the logical starts that TruncateTable set; guarded by mu.
	starts map[int32]int64
	// stray are folders of buckets that no partition has any more; guarded by mu.
	stray []int32
	// gone is why the table is not served any more; nil while it is. Guarded by mu.
	gone error
}

// bucket is an open bucket of a table.
type bucket struct {
	*streams.Bucket
	table  *table
	number int32
	// parent is the bucket that this one split from as split says, whose log its history begins in; nil for none,
	// and in a log table.
	parent *bucket
	split  model.Split
	// group is the newest group that touched the bucket; for the committer alone.
	group *group
	// keyed is the state of a bucket of a primary-key table; nil in a log table. schema is that of keyed:
	// for who opens the bucket, then guarded by the table's mu.
	keyed  *pkstore.Bucket
	schema *tableSchema
	// indexed is the offset up to which the index file goes; −1: the file does not fit any more. For who holds
	// keyedTable.upkeep, as retires.
	indexed int64
	// usedAt is when the maintenance last saw that the bucket was used, rests that it has nothing more to give
	// back since; for the maintenance.
	usedAt time.Time
	rests  bool
	// holding says that the file that is written to is open, written is the number of the bucket's newest
	// write; for the committer.
	holding bool
	written int64
	// retires says that keyed has a store for retired rows.
	retires bool
	// indexes are the secondary indexes of keyed.
	indexes bucketIndexes
}

// opening is a bucket that somebody is opening; others wait for done.
type opening struct {
	done   chan struct{}
	bucket *bucket
	err    error
}

func newTable(e *Engine, record *tableRecord) (*table, error) {
	t := &table{
		engine: e, definition: new(atomic.Pointer[model.Table]),
		buckets: map[int32]*bucket{}, opening: map[int32]*opening{},
		extents: map[int32]streams.Extent{}, measured: map[int32]streams.Stats{}, starts: record.Starts,
	}
	t.producers.table, t.groups.table = t, t
	schema, err := newTableSchema(t, record.definition)
	if err != nil {
		return nil, err
	}
	if t.partitions, err = newPartitions(schema.layout, record.definition); err != nil {
		return nil, err
	}
	t.schema.Store(schema)
	t.routed.Store(&routing{record.definition.Buckets})
	if record.definition.Keyed() {
		t.keyed = &keyedTable{cold: newTableCold()}
	}
	return t, t.define(record.definition)
}

// define sets another definition. A new version of the schema is there before: see evolve.
func (t *table) define(definition *model.Table) error {
	options, err := model.ParseOptions(definition.Options)
	if err != nil {
		return fmt.Errorf("table %s: %w", definition.Name, err)
	}
	t.options.Store(&options)
	t.definition.Store(definition)
	t.parents.Store(parentsOf(definition))
	for _, b := range t.opened() {
		if err := b.Define(definition, t.schema.Load().log); err != nil {
			return fmt.Errorf("table %s: %w", definition.Name, err)
		}
		if options.Compression.Codec != "" {
			t.engine.upkeep.note(b)
		}
		if b.keyed != nil {
			b.defineIndexes(definition, &sync.WaitGroup{})
		}
	}
	return nil
}

// bucket gives a bucket, opening it where needed. An error is for the user.
func (t *table) bucket(number int32) (*bucket, error) {
	t.mu.Lock()
	if t.gone != nil {
		defer t.mu.Unlock()
		return nil, t.gone
	}
	if b := t.buckets[number]; b != nil {
		t.mu.Unlock()
		return b, nil
	}
	if o := t.opening[number]; o != nil {
		t.mu.Unlock()
		<-o.done
		return o.bucket, o.err
	}
	o := &opening{done: make(chan struct{})}
	t.opening[number] = o
	at, known := t.extents[number]
	t.mu.Unlock()

	defer close(o.done)
	if !known {
		// Nothing of this bucket was ever committed: whatever lies there is of a group that did not
		// become whole.
		at = streams.Extent{Segment: streams.SegmentName{TableID: t.definition.Load().ID, Bucket: number, Base: -1}}
	}
	o.bucket, o.err = t.open(number, at)
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.opening, number)
	switch {
	case o.err != nil:
	case t.gone != nil:
		o.err = errors.Join(t.gone, o.bucket.Close(t.gone))
		o.bucket = nil
	default:
		if o.err = o.bucket.adopt(t.definition.Load()); o.err != nil {
			o.err = errors.Join(o.err, o.bucket.Close(o.err))
			o.bucket = nil
			break
		}
		if extent, any := o.bucket.Extent(); any {
			t.extents[number] = extent // it may stand for the one that was committed
		}
		t.buckets[number] = o.bucket
		delete(t.measured, number)
	}
	if o.err == nil && t.options.Load().Compression.Codec != "" {
		t.engine.upkeep.note(o.bucket) // a restart may have come between sealing and compressing
	}
	return o.bucket, o.err
}

// adopt brings a bucket that has been opened to what the table has become meanwhile. The table's mu is held.
func (b *bucket) adopt(definition *model.Table) error {
	t := b.table
	b.Trim(t.starts[b.number])
	if err := b.Define(definition, t.schema.Load().log); err != nil {
		return err
	}
	if b.keyed == nil {
		return nil
	}
	if schema := t.schema.Load(); b.schema != schema {
		evolving, err := b.evolve(schema, definition)
		if err != nil {
			return err
		}
		evolving.apply()
	}
	b.openIndexes(definition)
	return nil
}

// open opens a bucket. It takes as long as its log takes to read, in a primary-key table: nothing is
// locked meanwhile.
func (t *table) open(number int32, at streams.Extent) (*bucket, error) {
	schema, definition := t.schema.Load(), t.definition.Load()
	options, err := t.bucketOptions(number)
	if err != nil {
		return nil, err
	}
	options.Layout = schema.log
	log, err := streams.OpenBucket(definition, number, &at, options)
	if err != nil {
		return nil, fmt.Errorf("open bucket %d of table %s: %w", number, definition.Name, err)
	}
	t.mu.Lock()
	log.Trim(t.starts[number])
	t.mu.Unlock()
	b := &bucket{Bucket: log, table: t, number: number, schema: schema}
	if t.keyed == nil {
		return b, nil
	}
	if err := t.openParent(b); err != nil {
		return nil, errors.Join(err, log.Close(err))
	}
	if err := t.openKeyed(b); err != nil {
		err = fmt.Errorf("open bucket %d of table %s: %w", number, definition.Name, err)
		return nil, errors.Join(err, log.Close(err))
	}
	return b, nil
}

// written tells whether rows of a bucket may exist, without opening it.
func (t *table) written(number int32) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, known := t.extents[number]
	return known || t.buckets[number] != nil
}

// isOpen tells whether a bucket was used since the start.
func (t *table) isOpen(number int32) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buckets[number] != nil
}

// nextOffset gives the offset behind the last row that was written to a bucket; false where none ever was.
func (t *table) nextOffset(number int32) (next int64, written bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, known := t.extents[number]
	return at.Next, known || t.buckets[number] != nil
}

// readable gives the range of offsets of a bucket that can be read.
func (t *table) readable(number int32) (model.Range, error) {
	if !t.written(number) {
		first := t.definition.Load().First(number)
		return model.Range{From: first, To: first}, nil
	}
	b, err := t.bucket(number)
	if err != nil {
		return model.Range{}, err
	}
	return model.Range{From: b.Start(), To: b.End()}, nil
}

// end is the offset behind what readers of a bucket see: of a primary-key table, in its state.
func (t *table) end(number int32) (int64, error) {
	rows, err := t.readable(number)
	if err != nil || t.keyed == nil || !t.isOpen(number) {
		return rows.To, err
	}
	b, err := t.bucket(number)
	if err != nil {
		return 0, err
	}
	return b.keyed.End(), nil
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
	if t.keyed != nil {
		failed = errors.Join(failed, t.closeCold())
	}
	return errors.Join(failed, t.closeLedger(), t.groups.close(cause))
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
