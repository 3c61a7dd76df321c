package engine

import (
	"slices"

	"github.com/headrace/headrace/internal/model"
)

// laterBuckets are the buckets that appear while a table is followed.
type laterBuckets struct {
	pruner *pruner
	// next is the number from which on buckets were not seen, added the counter of the table's partitions then.
	next  int32
	added int64
}

// newLaterBuckets gives nil for a scan that does not read buckets that appear.
func (t *table) newLaterBuckets(scan Scan, next int32) (*laterBuckets, error) {
	if t.partitions == nil || scan.To.Kind != BoundNever || scan.Buckets != nil && scan.LaterFrom == 0 {
		return nil, nil
	}
	if scan.LaterFrom > 0 {
		next = scan.LaterFrom
	}
	pruner, err := t.newPruner(scan)
	return &laterBuckets{pruner: pruner, next: next, added: -1}, err
}

// addLater takes in the buckets that have appeared: they are read from their beginning, or from where the scan
// begins in them.
func (r *Reader) addLater() {
	if r.later == nil || !r.follow {
		return
	}
	added := r.table.partitions.added.Load()
	if added == r.later.added {
		return
	}
	r.later.added = added
	for _, x := range r.table.partitions.behind(r.later.next) {
		if r.later.pruner.keeps(x) {
			for _, number := range x.buckets {
				r.sources = append(r.sources, &source{number: number, next: r.startOf(number)})
			}
		}
		r.later.next = max(r.later.next, slices.Max(x.buckets)+1)
	}
}

// startOf gives where a scan begins in a bucket that has appeared since it was planned.
func (r *Reader) startOf(number int32) int64 {
	if r.scan.From.Kind == BoundOffsets {
		return r.scan.From.Position.Offsets[number]
	}
	return 0
}

// letGo lets a reader that follows go on without a bucket whose partition was dropped; false for other
// readers and other causes.
func (r *Reader) letGo(s *source) bool {
	if !r.follow || !r.table.isGone(s.number) {
		return false
	}
	if s.cursor != nil {
		s.cursor.Close()
	}
	at := slices.Index(r.sources, s)
	r.sources = slices.Delete(r.sources, at, at+1)
	if r.turn >= len(r.sources) {
		r.turn = 0
	}
	return true
}

// partitionsOf tells which partition each bucket belongs to; nil in a table without partitions.
func (t *table) partitionsOf(ranges map[int32]model.Range) map[int32]*model.Partition {
	if t.partitions == nil {
		return nil
	}
	found := make(map[int32]*model.Partition, len(ranges))
	described := map[*partition]*model.Partition{}
	for number := range ranges {
		x := t.partitions.of(number)
		if x == nil {
			continue
		}
		if described[x] == nil {
			var err error
			if described[x], err = t.partitions.describe(x); err != nil {
				continue // its values were checked when it was made
			}
		}
		found[number] = described[x]
	}
	return found
}
