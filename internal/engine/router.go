package engine

import (
	"fmt"
	"iter"

	"github.com/headrace/headrace/internal/arrowipc"
)

// router says which rows of a batch go to which bucket: first by the values of the partition columns, then by
// the hash of the bucket key. It keeps its memory between batches and belongs to one goroutine.
type router struct {
	table *table
	// hasher is nil where there is no bucket key: then all rows of a partition go to one bucket.
	hasher *arrowipc.RowHasher
	// groups is nil in a table without partitions.
	groups *arrowipc.RowGroups
	// lenient says that rows of which no partition can be have a place without one.
	lenient bool

	hashes []uint64
	places []place  // by slot
	starts []int32  // by group: its first slot
	slots  []uint64 // by row
	sorted bucketRows
	// known are partitions that the last batches went to.
	known map[string]*partition
}

// place is where rows go: a bucket, or where the partition is not there yet, the index of the bucket in it.
type place struct {
	bucket    int32
	partition *partition // nil in a table without partitions
	index     int32
}

// newRouter makes a router of rows of a layout, which has the bucket key and the partition columns.
func (s *tableSchema) newRouter(layout *arrowipc.Layout, key []string) (*router, error) {
	r := &router{table: s.table, known: map[string]*partition{}}
	var err error
	if len(key) > 0 {
		if r.hasher, err = hasherOf(layout, key); err != nil {
			return nil, err
		}
	}
	if by := s.definition.PartitionBy; len(by) > 0 {
		columns := make([]int, len(by))
		for i, name := range by {
			columns[i] = layout.ColumnIndex(name)
		}
		r.groups, err = arrowipc.NewRowGroups(layout, columns)
	}
	return r, err
}

// splits says that the rows of a batch may go to several buckets.
func (r *router) splits() bool {
	return r.groups != nil || r.hasher != nil && r.table.definition.Load().Buckets > 1
}

// route gives the rows of a plain batch by place, in the order of the first one; sticky chooses the bucket of a
// partition where there is no bucket key. Rows are nil where all go to one place. What it gives is valid until
// the next call.
func (r *router) route(batch *arrowipc.Batch, sticky int32) (iter.Seq2[place, []int32], error) {
	r.hashes, r.places = r.hashes[:0], r.places[:0]
	var err error
	if r.hasher != nil {
		if r.hashes, err = r.hasher.Hash(batch, r.hashes); err != nil {
			return nil, fmt.Errorf("route rows to buckets: %w", err)
		}
	}
	if r.groups == nil {
		return r.byHash(uint64(r.table.definition.Load().Buckets), sticky), nil
	}
	rows, err := r.groups.Group(batch)
	if err != nil {
		return nil, fmt.Errorf("route rows to partitions: %w", err)
	}
	if err := r.choosePartitions(sticky); err != nil {
		return nil, err
	}
	if len(r.places) <= 1 {
		return r.whole, nil
	}
	r.slots = r.slots[:0]
	for row, group := range rows {
		slot := uint64(r.starts[group])
		if r.hasher != nil {
			slot += r.hashes[row] % uint64(r.starts[group+1]-r.starts[group])
		}
		r.slots = append(r.slots, slot)
	}
	return r.bySlot, nil
}

// choosePartitions finds the partitions of the groups, and gives their buckets slots.
func (r *router) choosePartitions(sticky int32) error {
	p := r.table.partitions
	r.starts = r.starts[:0]
	if len(r.known) > 2*r.groups.Len()+knownMax {
		clear(r.known)
	}
	for group := range r.groups.Len() {
		r.starts = append(r.starts, int32(len(r.places)))
		key := r.groups.Key(group)
		x := r.known[string(key)]
		if x == nil || x.gone.Load() || x.id == 0 {
			if x = p.find(key); x == nil {
				var err error
				if x, err = p.draft(key); err != nil && !r.lenient {
					return err
				}
				if err != nil {
					r.places = append(r.places, place{bucket: -1})
					continue
				}
			}
			r.known[x.key] = x
		}
		buckets, list := r.table.definition.Load().Buckets, x.numbers()
		if x.id != 0 {
			buckets = int32(len(list))
		}
		first, count := int32(0), buckets
		if r.hasher == nil {
			first, count = sticky%buckets, 1
		}
		for index := first; index < first+count; index++ {
			at := place{partition: x, index: index, bucket: -1}
			if x.id != 0 {
				at.bucket = list[index]
			}
			r.places = append(r.places, at)
		}
	}
	r.starts = append(r.starts, int32(len(r.places)))
	return nil
}

// knownMax is how many partitions a router remembers beside those of the batch at hand.
const knownMax = 1024

// whole gives the one place that there is.
func (r *router) whole(yield func(place, []int32) bool) {
	if len(r.places) == 1 {
		yield(r.places[0], nil)
	}
}

func (r *router) byHash(buckets uint64, sticky int32) iter.Seq2[place, []int32] {
	if buckets == 1 || r.hasher == nil {
		r.places = append(r.places, place{bucket: int32(uint64(sticky) % buckets)})
		return r.whole
	}
	return func(yield func(place, []int32) bool) {
		for bucket, rows := range r.sorted.sort(r.hashes, buckets) {
			if !yield(place{bucket: bucket}, rows) {
				return
			}
		}
	}
}

func (r *router) bySlot(yield func(place, []int32) bool) {
	for slot, rows := range r.sorted.sort(r.slots, uint64(len(r.places))) {
		if !yield(r.places[slot], rows) {
			return
		}
	}
}
