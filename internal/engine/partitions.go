package engine

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/streams"
)

// partitions are those of a partitioned table. Readers of any goroutine look at them; they are made and
// dropped in the committer alone.
type partitions struct {
	// shape is replaced where the columns get other names.
	shape atomic.Pointer[partitionShape]
	// ledger is the file that they stand in; nil until it is opened. It is the committer's.
	ledger *ledger

	// grown counts how often the partitions have got buckets; guarded by mu.
	grown int64
	// added grows when buckets are added, so that followers look again.
	added atomic.Int64

	mu sync.RWMutex
	// All of the following is guarded by mu.
	byKey    map[string]*partition // by the key encoding of their values; none that was dropped
	byBucket map[int32]*partition  // also those that were dropped and whose files are there
	order    []*partition          // by id; none that was dropped
	dropped  []*partition          // whose files are there
	// nextID and nextBucket were never used.
	nextID     int64
	nextBucket int32
}

// partitionShape are the partition columns. Their number and their types never change.
type partitionShape struct {
	fields []arrow.Field
	layout *arrowipc.Layout // of these columns alone, as keys are
}

// partition is a partition of a table, or one that is wanted and not there: then it has no id.
type partition struct {
	key     string   // key encoding of the values
	values  [][]byte // of the columns, as arrowipc.View.Value gives them; they point into key
	id      int64
	created time.Time
	// list are the buckets in routing order, ascending. It is replaced as a whole when the table grows.
	list atomic.Pointer[[]int32]

	// gone says that it was dropped. It is set under partitions.mu.
	gone atomic.Bool
	// expired says that it was dropped because its time was over; readers counts the plans and reads that
	// keep its files. Both are guarded by partitions.mu.
	expired bool
	readers int
}

// newPartitions gives nil for a table without partition columns.
func newPartitions(layout *arrowipc.Layout, definition *model.Table) (*partitions, error) {
	if !definition.Partitioned() {
		return nil, nil
	}
	p := &partitions{byKey: map[string]*partition{}, byBucket: map[int32]*partition{}, nextID: 1, nextBucket: model.HomeBucket + 1}
	shape, err := newPartitionShape(layout, definition)
	if err != nil {
		return nil, err
	}
	p.shape.Store(shape)
	if _, err := p.hasher(); err != nil {
		return nil, fmt.Errorf("table %s: %w", definition.Name, err)
	}
	return p, nil
}

func newPartitionShape(layout *arrowipc.Layout, definition *model.Table) (*partitionShape, error) {
	shape := &partitionShape{}
	for _, name := range definition.PartitionBy {
		column := layout.ColumnIndex(name)
		if column < 0 {
			return nil, fmt.Errorf("table %s: there is no partition column %q", definition.Name, name)
		}
		shape.fields = append(shape.fields, layout.Schema().Field(column))
	}
	var err error
	if shape.layout, err = arrowipc.NewLayout(arrow.NewSchema(shape.fields, nil)); err != nil {
		return nil, fmt.Errorf("table %s: %w", definition.Name, err)
	}
	return shape, nil
}

// names are those of the partition columns.
func (s *partitionShape) names() []string {
	names := make([]string, len(s.fields))
	for i, field := range s.fields {
		names[i] = field.Name
	}
	return names
}

// fields are the partition columns.
func (p *partitions) fields() []arrow.Field { return p.shape.Load().fields }

// hasher reads keys of partitions, for one goroutine.
func (p *partitions) hasher() (*arrowipc.RowHasher, error) {
	shape := p.shape.Load()
	columns := make([]int, len(shape.fields))
	for i := range columns {
		columns[i] = i
	}
	return arrowipc.NewRowHasher(shape.layout, columns)
}

// find gives the partition of a key, or nil.
func (p *partitions) find(key []byte) *partition {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.byKey[string(key)]
}

// all gives the partitions in the order in which they were made. The slice is the caller's.
func (p *partitions) all() []*partition {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return slices.Clone(p.order)
}

// seen is what of the partitions somebody knows: all buckets numbered below next, of partitions that had grown so
// many times.
type seen struct {
	next  int32
	grown int64
}

// behind gives partitions, among them all with a bucket that was not seen, and what is seen with them.
func (p *partitions) behind(before seen) ([]*partition, seen) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	from := 0
	if p.grown == before.grown { // else older partitions have got buckets too
		from = len(p.order)
		for from > 0 && p.order[from-1].numbers()[0] >= before.next {
			from--
		}
	}
	return slices.Clone(p.order[from:]), seen{max(before.next, p.nextBucket), p.grown}
}

// of gives the partition that a bucket belongs to, also a dropped one whose files are there; nil if there is
// none.
func (p *partitions) of(bucket int32) *partition {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.byBucket[bucket]
}

// count is how many partitions there are.
func (p *partitions) count() int {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return len(p.order)
}

// next gives the first number that no bucket has had.
func (p *partitions) next() int32 {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.nextBucket
}

// numbers gives the buckets of a partition in routing order, which is ascending; none of one that is not there.
func (x *partition) numbers() []int32 {
	if list := x.list.Load(); list != nil {
		return *list
	}
	return nil
}

// place gives a partition its buckets. mu is held, or nobody knows the partitions yet.
func (p *partitions) place(x *partition, buckets []int32) {
	x.list.Store(&buckets)
	for _, bucket := range buckets {
		p.byBucket[bucket] = x
		p.nextBucket = max(p.nextBucket, bucket+1)
	}
}

// add takes a partition in. mu is held.
func (p *partitions) add(x *partition) {
	p.byKey[x.key] = x
	p.place(x, x.numbers())
	p.nextID = max(p.nextID, x.id+1)
	p.order = append(p.order, x)
	p.added.Add(1)
}

// drop takes partitions out. Their buckets stay known until their files are gone.
func (p *partitions) drop(list []*partition, expired bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, x := range list {
		x.gone.Store(true)
		x.expired = expired
		delete(p.byKey, x.key)
		p.dropped = append(p.dropped, x)
	}
	p.order = slices.DeleteFunc(p.order, func(x *partition) bool { return x.gone.Load() })
}

// hold keeps the files of partitions until release is called, and leaves out those that were dropped. A
// dropped one is kept on where others still hold it.
func (p *partitions) hold(list []*partition, droppedToo bool) (held []*partition, release func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, x := range list {
		if !x.gone.Load() || droppedToo && x.readers > 0 {
			x.readers++
			held = append(held, x)
		}
	}
	return held, sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, x := range held {
			x.readers--
		}
	})
}

// unread takes the dropped partitions that nobody reads any more, to be removed.
func (p *partitions) unread() []*partition {
	p.mu.Lock()
	defer p.mu.Unlock()
	var free []*partition
	p.dropped = slices.DeleteFunc(p.dropped, func(x *partition) bool {
		if x.readers == 0 {
			free = append(free, x)
			for _, bucket := range x.numbers() {
				delete(p.byBucket, bucket)
			}
			return true
		}
		return false
	})
	return free
}

// number gives the numbers of the buckets of partitions, ascending.
func bucketsOf(list []*partition) []int32 {
	numbers := make([]int32, 0, len(list))
	for _, x := range list {
		numbers = append(numbers, x.numbers()...)
	}
	slices.Sort(numbers)
	return numbers
}

// numbers gives the buckets that the table has now, ascending.
func (t *table) numbers() []int32 {
	if t.partitions != nil {
		return bucketsOf(t.partitions.all())
	}
	numbers := make([]int32, t.definition.Load().Buckets)
	for i := range numbers {
		numbers[i] = int32(i)
	}
	return numbers
}

// storedNumbers gives the buckets that may have something in their log: those of numbers, and the home
// bucket.
func (t *table) storedNumbers() []int32 {
	if t.partitions == nil {
		return t.numbers()
	}
	return slices.Insert(t.numbers(), 0, model.HomeBucket)
}

// bucketCount is how many buckets the table has now, at least 1.
func (t *table) bucketCount() int64 {
	definition := t.definition.Load()
	if t.partitions == nil {
		return int64(definition.Buckets)
	}
	t.partitions.mu.RLock()
	defer t.partitions.mu.RUnlock()
	return int64(max(len(t.partitions.byBucket), 1))
}

// checkBucket refuses the number of a bucket that the table never had. Positions may name buckets of
// partitions that were dropped.
func (t *table) checkBucket(number int32) error {
	definition := t.definition.Load()
	end := definition.Buckets
	if t.partitions != nil {
		end = t.partitions.next()
	}
	if number >= 0 && number < end {
		return nil
	}
	return model.Errorf(model.BadRequest, "table %s has no bucket %d", definition.Name, number).
		WithRemedy("Buckets are numbered from 0 to %d", end-1)
}

// isGone says that a bucket belonged to a partition that was dropped.
func (t *table) isGone(number int32) bool {
	if t.partitions == nil || number == model.HomeBucket {
		return false
	}
	x := t.partitions.of(number)
	return x == nil || x.gone.Load()
}

// errPartitionGone is for who reads a bucket whose partition was dropped.
func (t *table) errPartitionGone(number int32) error {
	name := t.definition.Load().Name
	return model.Errorf(model.PartitionNotFound, "the partition of bucket %d of table %s was dropped", number, name).
		With("table", name.String()).With("bucket", number).WithRemedy("Plan the read again")
}

// describe gives a partition in the form that is stored and shown.
func (p *partitions) describe(x *partition) (*model.Partition, error) {
	fields := p.fields()
	described := &model.Partition{ID: x.id, Buckets: x.numbers(), Created: x.created, Values: make([]any, len(fields))}
	for i, field := range fields {
		var err error
		if described.Values[i], err = model.FormatValue(field.Type, x.values[i]); err != nil {
			return nil, fmt.Errorf("partition column %q: %w", field.Name, err)
		}
	}
	return described, nil
}

// byID sorts partitions by id.
func byID(a, b *partition) int { return cmp.Compare(a.id, b.id) }

// bucketOptions gives the options that a bucket is opened with, which tell new segments of its partition.
func (t *table) bucketOptions(number int32) (streams.Options, error) {
	options := t.engine.options.streams()
	if err := t.checkBucket(number); err != nil {
		return options, err
	}
	if t.partitions == nil || number == model.HomeBucket {
		return options, nil
	}
	x := t.partitions.of(number)
	if x == nil {
		return options, t.errPartitionGone(number)
	}
	var err error
	options.Partition, err = t.partitions.describe(x)
	return options, err
}
