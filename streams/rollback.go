package streams

import (
	"errors"
	"fmt"
	"io/fs"
)

// Rollback takes written rows out of the bucket again, back to an extent that an earlier Write gave
// or that the bucket was opened with: for a group that could not be completed. Rows that were
// published cannot be taken back. Pending rows are dropped.
func (b *Bucket) Rollback(to Extent) error {
	b.writing.Lock()
	defer b.writing.Unlock()
	w := &b.writer
	w.drop()
	if err := errors.Join(b.closed(), w.failed); err != nil {
		return err
	}
	if to == w.extent || to.Segment.Base < 0 && w.extent.Segment.Base < 0 {
		return nil
	}
	if to.Segment.Base < 0 {
		to.Next = b.first
	}
	if to.Next < b.End() {
		return fmt.Errorf("roll back bucket %d of table %s to offset %d: the rows below %d are published",
			b.number, b.tableID, to.Next, b.End())
	}
	if err := w.rollback(to); err != nil {
		return w.fail(fmt.Errorf("roll back bucket: %w", err))
	}
	return nil
}

func (w *writer) rollback(to Extent) error {
	b := w.bucket
	b.mu.Lock()
	var kept, removed []*segment
	for _, s := range b.list() {
		if s.name.Base > to.Segment.Base {
			removed = append(removed, s)
		} else {
			kept = append(kept, s)
		}
	}
	b.setSegments(kept)
	b.mu.Unlock()
	for i := len(removed) - 1; i >= 0; i-- {
		b.removeSegment(removed[i])
	}
	w.active, w.allocated = nil, 0
	w.dirMissing = len(kept) == 0 // its name has not been synced, maybe
	if len(kept) > 0 && to.Segment.Base >= 0 {
		if s := kept[len(kept)-1]; s.name.Base == to.Segment.Base && !s.rotten {
			if err := w.shrink(s, to); err != nil {
				return err
			}
			w.active = s
		}
	}
	w.extent = to
	if to.Segment.Base < 0 {
		w.extent = Extent{Segment: b.segmentName(-1)}
	}
	w.next, w.written = to.Next, to.Next
	return nil
}

// removeSegment removes the file of a segment that nobody has seen rows of. Where that fails the file
// is left over: it is moved away when the name is needed, or at the next start.
func (b *Bucket) removeSegment(s *segment) {
	s.mu.Lock()
	s.retired = true
	s.mu.Unlock()
	s.release()
	var err error
	if s.handle != nil {
		err = s.handle.abandon()
	}
	err = errors.Join(err, b.options.FS.Remove(s.name.Path()))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.options.Logger.Warn("a segment that is not used cannot be removed", "file", s.name.Path(), "error", err)
	}
}

// shrink cuts a segment back to an extent and makes it ready for appends.
func (w *writer) shrink(s *segment, to Extent) error {
	s.mu.Lock()
	n := countBelow(s.entries, to.Next)
	for n < len(s.entries) && s.entries[n].position < to.End { // batches without rows
		n++
	}
	for n > 0 && s.entries[n-1].position >= to.End {
		n--
	}
	s.entries = s.entries[:n:n]
	if len(s.checks) > n {
		s.checks = s.checks[:n:n]
	}
	written := s.size > to.End
	s.size, s.next, s.chain, s.limit = to.End, to.Next, to.Chain, noLimit
	s.mu.Unlock()
	w.allocated = 0
	if s.handle == nil {
		if !written {
			return nil
		}
		return s.cut(to.End) // CloseFile came between
	}
	s.handle.setSealed(false)
	return s.handle.Truncate(to.End)
}
