package pkstore

import (
	"iter"
)

// Snapshot is the state of a bucket at one offset. Later writes do not change it. It may be shared.
type Snapshot struct {
	bucket  *Bucket
	log     *publishedLog
	live    frozenRows
	retired *retiredRows // nil: nothing is below the log
}

// Snapshot gives the published state. It waits at most for one Publish that is running; nothing is
// copied: chunks of the bitmap are, when they change for the first time after it.
func (b *Bucket) Snapshot() *Snapshot {
	b.publishing.Lock()
	defer b.publishing.Unlock()
	return b.snapshot()
}

// snapshot is Snapshot for who holds publishing.
func (b *Bucket) snapshot() *Snapshot {
	return &Snapshot{bucket: b, log: b.log.Load(), live: b.live.freeze(), retired: b.retired.Load()}
}

// End is the offset behind the last row of the log that the state includes.
func (s *Snapshot) End() int64 { return s.log.end }

// Count is the number of rows, which is that of the keys.
func (s *Snapshot) Count() int64 { return s.live.count }

// Live is a batch of the log and which of its rows are live, or a batch of live rows from below the log.
type Live struct {
	// Stored is the batch. Check and Whole are never nil. The latter gives the view to read columns other
	// than the key in, and does what Check does.
	Stored
	// Rows are the live rows, ascending; nil: all rows of the batch. They belong to the caller.
	Rows []int32
	// Offsets and Times have, of a batch from below the log, for each row the offset that it had and when it was
	// appended, in µs since 1970 UTC. They ascend in no order, and Base and Keep mean nothing. nil: the batch is of
	// the log.
	Offsets, Times []int64
}

// Offset is that of a row.
func (l Live) Offset(row int32) int64 {
	if l.Offsets != nil {
		return l.Offsets[row]
	}
	return l.Base + int64(row)
}

// Batches gives the batches that have live rows: first those of rows from below the log, in no order, then those
// of the log, in the order of their offsets. It ends with the first error.
func (s *Snapshot) Batches() iter.Seq2[Live, error] {
	return func(yield func(Live, error) bool) {
		if !s.eachRetired(yield) {
			return
		}
		for _, batch := range s.log.batches {
			from, to := batch.Base, batch.end()
			n := s.live.countRange(from, to)
			if n == 0 {
				continue
			}
			live := Live{Stored: batch.Stored}
			live.Check, live.Whole = batch.check, batch.whole
			if n < to-from {
				live.Rows = s.live.appendRows(make([]int32, 0, n), from, to)
			}
			if !yield(live, nil) {
				return
			}
		}
	}
}

// All gives the live rows, ascending.
func (l Live) All() iter.Seq[int32] {
	return func(yield func(int32) bool) {
		if l.Rows == nil {
			for row := range int32(l.View.Rows()) {
				if !yield(row) {
					return
				}
			}
			return
		}
		for _, row := range l.Rows {
			if !yield(row) {
				return
			}
		}
	}
}
