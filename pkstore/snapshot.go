package pkstore

import (
	"iter"
)

// Snapshot is the state of a bucket at one offset. Later writes do not change it. It may be shared.
type Snapshot struct {
	log  *publishedLog
	live frozenRows
}

// Snapshot gives the published state. It waits at most for one Publish that is running; nothing is
// copied: chunks of the bitmap are, when they change for the first time after it.
func (b *Bucket) Snapshot() *Snapshot {
	b.publishing.Lock()
	defer b.publishing.Unlock()
	return b.snapshot()
}

// snapshot is Snapshot for who holds publishing.
func (b *Bucket) snapshot() *Snapshot { return &Snapshot{log: b.log.Load(), live: b.live.freeze()} }

// End is the offset behind the last row of the log that the state includes.
func (s *Snapshot) End() int64 { return s.log.end }

// Count is the number of rows, which is that of the keys.
func (s *Snapshot) Count() int64 { return s.live.count }

// Live is a batch of the log and which of its rows are live.
type Live struct {
	// Stored is the batch. Check is never nil; it must have succeeded before columns other than the key
	// are read.
	Stored
	// Rows are the live rows, ascending; nil: all rows of the batch. They belong to the caller.
	Rows []int32
}

// Batches gives the batches that have live rows, in the order of their offsets. The errors are all nil
// so far: what reads rows from below the log may fail.
func (s *Snapshot) Batches() iter.Seq2[Live, error] {
	return func(yield func(Live, error) bool) {
		for _, batch := range s.log.batches {
			from, to := batch.Base, batch.end()
			n := s.live.countRange(from, to)
			if n == 0 {
				continue
			}
			live := Live{Stored: batch.Stored}
			live.Check = batch.check
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
