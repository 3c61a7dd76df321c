package pkstore

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/headrace/headrace/internal/arrowipc"
)

// bucketSchema is a version of the table's schema as a bucket reads and writes it. It is immutable: readers
// take the one of the log that they read, all batches of which have its layout.
type bucketSchema struct {
	options  Options
	keys     *arrowipc.KeyColumns // in the layout of the log
	change   int                  // the change column, behind the table's columns
	fetchers sync.Pool
	// shape is how rows lie in Options.RowCache, and owner stands for them there; nil: they are not kept there.
	shape *arrowipc.RowShape
	owner uint64
}

// newBucketSchema takes options with defaults filled in.
func newBucketSchema(o Options) (*bucketSchema, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("options of a keyed bucket: %w", err)
	}
	s := &bucketSchema{options: o, change: o.Layout.Schema().NumFields() - 1}
	s.fetchers.New = func() any { return &fetcher{schema: s} }
	if o.RowCache != nil {
		s.shape, s.owner = o.Layout.RowShape(), o.RowCache.newOwner()
	}
	var err error
	s.keys, err = arrowipc.NewKeyColumns(o.Layout, o.Key)
	return s, err
}

// current is the schema that rows are written with.
func (b *Bucket) current() *bucketSchema { return b.schema.Load() }

var errEvolvePending = errors.New("changes are pending")

// Evolution is what Evolve needs to know of the new schema beside Options.
type Evolution struct {
	// Stored gives a batch of the log that the bucket holds with a view in the new layout.
	Stored func(Stored) (Stored, error)
	// Moved has, by column of the old layout, its index in the new one; negative: it was dropped, or has another
	// type. The key columns and the change column stay. Indexes of columns that do not are dropped.
	Moved []int
}

// Evolving is a bucket that is about to get another version of the table's schema. Publish, Snapshot and Retire wait
// until Apply or Cancel, one of which is called.
type Evolving struct {
	bucket *Bucket
	schema *bucketSchema
	writer writer
	log    publishedLog
	// indexes are the secondary indexes that stay, shapes what they become.
	indexes []*secondaryIndex
	shapes  []*indexShape
}

// Evolve prepares another version of the table's schema: its options say the layout. It is for the writer, while
// nothing is pending and Publish does not run. After an error the bucket is as it was.
func (b *Bucket) Evolve(o Options, e Evolution) (x *Evolving, err error) {
	x = &Evolving{bucket: b}
	if x.schema, err = newBucketSchema(o.withDefaults()); err != nil {
		return nil, err
	}
	if err := x.writer.open(x.schema.options); err != nil {
		return nil, err
	}
	b.publishing.Lock()
	prepared := false
	defer func() { // also where a page cannot be read
		if !prepared {
			b.publishing.Unlock()
		}
	}()
	if err := x.prepare(e); err != nil {
		return nil, fmt.Errorf("changing the schema of a keyed bucket: %w", err)
	}
	prepared = true
	return x, nil
}

func (x *Evolving) prepare(e Evolution) error {
	b := x.bucket
	b.mu.Lock()
	pending := b.pending.pending() > 0 || len(b.batches) > 0
	b.mu.Unlock()
	if pending {
		return errEvolvePending
	}
	old := b.log.Load()
	x.log = *old
	x.log.schema = x.schema
	x.log.batches = make([]*storedBatch, len(old.batches))
	for i, batch := range old.batches {
		stored, err := e.Stored(batch.Stored)
		if err != nil {
			return err
		}
		x.log.batches[i] = newStoredBatch(stored)
	}
	for _, index := range b.secondary.all() {
		shape, err := index.latest().moved(x.schema, e.Moved)
		if err != nil {
			return err
		}
		if shape != nil {
			x.indexes, x.shapes = append(x.indexes, index), append(x.shapes, shape)
		}
	}
	x.writer.end = b.writer.end
	return nil
}

// Apply makes the version that of the bucket. Rows that are there are read in its layout from then on; snapshots that
// were taken before go on with the one they have.
func (x *Evolving) Apply() {
	b := x.bucket
	defer b.publishing.Unlock()
	b.writer = x.writer
	b.sequence.Add(1)
	defer b.sequence.Add(1)
	for _, index := range b.secondary.all() {
		if at := slices.Index(x.indexes, index); at >= 0 {
			index.evolve(x.shapes[at])
		} else {
			index.dropped.Store(true)
		}
	}
	b.secondary.list.Store(&x.indexes)
	b.schema.Store(x.schema)
	b.log.Store(&x.log)
}

// Cancel leaves the bucket as it is.
func (x *Evolving) Cancel() { x.bucket.publishing.Unlock() }

// Layout is that of the rows that the state has.
func (s *Snapshot) Layout() *arrowipc.Layout { return s.log.schema.options.Layout }
