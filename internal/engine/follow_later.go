package engine

import (
	"slices"

	"github.com/headrace/headrace/internal/model"
)

// laterBuckets are the buckets that appear while a table is followed.
type laterBuckets struct {
	pruner *pruner // nil in a table without partitions
	kind   LaterBuckets
	// seen are the buckets that are known, by number. routed is the routing, in a table without partitions, and
	// added the counter of the table's partitions then.
	seen   seen
	routed *routing
	added  int64
}

// newLaterBuckets gives nil for a scan that does not read buckets that appear.
func (t *table) newLaterBuckets(scan Scan, schema *tableSchema, next int32) (later *laterBuckets, err error) {
	later = &laterBuckets{kind: scan.Later, seen: seen{next, -1}, added: -1}
	if scan.LaterFrom > 0 {
		later.seen.next = scan.LaterFrom
	}
	if later.kind == LaterDefault && (scan.Buckets == nil || scan.LaterFrom > 0) {
		later.kind = LaterAll
	}
	if scan.To.Kind != BoundNever || later.kind == LaterDefault || later.kind == LaterNone {
		return nil, nil
	}
	if t.partitions != nil {
		later.pruner, err = t.newPruner(scan, schema)
	}
	return later, err
}

// addLater takes in the buckets that have appeared: they are read from their beginning, or from where the scan
// begins in them.
func (r *Reader) addLater() error {
	if r.later == nil || !r.follow {
		return nil
	}
	numbers := r.later.look(r.table)
	if len(numbers) == 0 {
		return nil
	}
	definition := r.table.definition.Load()
	known := make(map[int32]bool, len(r.sources))
	for _, s := range r.sources {
		known[s.number] = true
	}
	for _, number := range numbers {
		split, splits := definition.Splits[number]
		if known[number] || splits && !known[split.Parent] || !splits && r.later.kind == LaterFamily {
			continue
		}
		from, err := r.startOf(number)
		if err != nil && r.table.isGone(number) {
			continue
		}
		if err != nil {
			return err
		}
		known[number] = true
		r.sources = append(r.sources, &source{number: number, next: from, to: from, told: from})
	}
	r.linkSources()
	return nil
}

// look gives the buckets that may have appeared since it was called last, ascending.
func (l *laterBuckets) look(t *table) []int32 {
	if t.partitions != nil {
		return l.lookInPartitions(t)
	}
	routed, next := t.routing(), t.definition.Load().Buckets
	if l.routed == routed {
		return nil
	}
	l.routed = routed
	var numbers []int32
	for number := l.seen.next; number < next; number++ {
		numbers = append(numbers, number)
	}
	l.seen.next = max(l.seen.next, next)
	return numbers
}

// lookInPartitions is look for a table with partitions.
func (l *laterBuckets) lookInPartitions(t *table) []int32 {
	added := t.partitions.added.Load() // before looking: what is added meanwhile is looked at next time
	if l.added == added {
		return nil
	}
	list, now := t.partitions.behind(l.seen)
	first := l.seen.next
	l.added, l.seen = added, now
	list = slices.DeleteFunc(list, func(x *partition) bool { return !l.pruner.keeps(x) })
	numbers := slices.DeleteFunc(bucketsOf(list), func(number int32) bool { return number < first || number >= now.next })
	t.routing() // waits until buckets that are being made can be read
	return numbers
}

// startOf gives where a scan begins in a bucket that has appeared since it was planned.
func (r *Reader) startOf(number int32) (int64, error) {
	if offset, named := r.scan.From.Position.Offsets[number]; named && r.scan.From.Kind == BoundOffsets {
		return offset, nil
	}
	rows, err := r.table.readable(number)
	return rows.From, err
}

// stopFollowing makes a read that follows one that ends with what is readable now, once the engine
// drains: streams that were open before may go on writing.
func (r *Reader) stopFollowing() error {
	select {
	case <-r.engine.draining:
	default:
		return nil
	}
	if !r.follow {
		return nil
	}
	if err := r.addLater(); err != nil {
		return err
	}
	for _, s := range slices.Clone(r.sources) {
		rows, err := r.table.readable(s.number)
		if err != nil && r.letGo(s) {
			continue
		}
		if err != nil {
			return err
		}
		s.to = max(s.next, rows.To)
	}
	r.follow, r.word = false, EndDraining
	return nil
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
	for _, other := range r.sources {
		if other.before == s {
			other.before = nil
		}
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
