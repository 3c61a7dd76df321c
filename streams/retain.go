package streams

import (
	"errors"
	"fmt"
	"io/fs"
)

// Retention says which rows may go. The zero value keeps all.
type Retention struct {
	// Before is a time in µs: a segment all of whose rows were appended before it goes.
	Before int64
	// Bytes bounds the files of the bucket: while they have more, the oldest segment goes. 0: no bound.
	Bytes int64
	// Until bounds all of this: a segment with rows at or behind it stays. 0: no bound.
	Until int64
	// KeepFrom is the logical start: a segment all of whose rows lie below it goes. See Trim.
	KeepFrom int64
}

// Pin keeps the segments that hold rows at or behind an offset from being retired, until release is
// called. Rows that are gone already stay gone: compare with Start after the call.
func (b *Bucket) Pin(from int64) (release func()) {
	pin := &from
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pins[pin] = struct{}{}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.pins, pin)
	}
}

// Trim makes the rows below an offset unreadable, at most all that are readable. It is not kept on
// disk; Retain removes the files.
func (b *Bucket) Trim(before int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trimmed = max(b.trimmed, min(before, b.end.Load()))
	b.moveStart()
}

// Retain removes whole segments, the oldest first, and gives the bytes that became free. Pinned ones
// stay, and so does the one that is written to: where all of its rows have expired, the next append
// begins another one. It may run beside appends and reads.
func (b *Bucket) Retain(r Retention) (removedBytes int64, err error) {
	b.upkeep.Lock()
	defer b.upkeep.Unlock()
	if err := b.closed(); err != nil {
		return 0, err
	}
	b.Trim(r.KeepFrom)
	due, err := b.due(r)
	b.retire(due)
	removedBytes, failed := b.removeDoomed()
	return removedBytes, errors.Join(err, failed)
}

// due counts the segments at the beginning of the list that may go, pins aside.
func (b *Bucket) due(r Retention) (int, error) {
	segments := b.list()
	if len(segments) == 0 {
		return 0, nil
	}
	total := b.Stats().Bytes
	for i, s := range segments[:len(segments)-1] {
		s.mu.RLock()
		limit, size := s.limit, s.size
		s.mu.RUnlock()
		if !s.durable.Load() || limit > b.End() {
			return i, nil // a rollback may still need it, or nobody could read its rows yet
		}
		if r.Until > 0 && limit > r.Until {
			return i, nil
		}
		over := r.Bytes > 0 && total > r.Bytes
		if !over && limit > b.trim() {
			expired, err := s.expired(r.Before)
			if err != nil || !expired {
				return i, err
			}
		}
		total -= size
	}
	// All sealed segments go. What is left is written to, or was the newest one before.
	newest := segments[len(segments)-1]
	if b.End() > newest.name.Base && (b.LastTime() < r.Before || b.trim() >= b.End()) {
		b.Seal()
	}
	return len(segments) - 1, nil
}

func (b *Bucket) trim() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.trimmed
}

// expired says that all rows of the segment were appended before a time in µs.
func (s *segment) expired(before int64) (bool, error) {
	if before <= 0 {
		return false, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.load(bounds{end: -1}); err != nil {
		return false, err
	}
	return len(s.entries) > 0 && s.entries[len(s.entries)-1].time < before, nil
}

// retire takes up to n segments from the beginning of the log, but no pinned ones.
func (b *Bucket) retire(n int) {
	b.mu.Lock()
	segments := b.list()
	n = max(0, min(n, len(segments)-1)) // the newest one may have been rolled back
	for i := range n {
		if b.pinned(segments[i+1].name.Base) {
			n = i
			break
		}
	}
	retired := segments[:n]
	if n > 0 {
		b.setSegments(append([]*segment(nil), segments[n:]...))
	}
	b.mu.Unlock()
	for _, s := range retired {
		s.mu.Lock()
		s.retired = true
		s.mu.Unlock()
		s.release()
		b.doomed = append(b.doomed, s)
	}
}

// pinned says that rows below an offset are pinned. mu is held.
func (b *Bucket) pinned(limit int64) bool {
	for from := range b.pins {
		if *from < limit {
			return true
		}
	}
	return false
}

// removeDoomed removes the files of retired segments, the oldest first, each durably before the next:
// a power cut must not leave a hole in the log.
func (b *Bucket) removeDoomed() (removedBytes int64, err error) {
	for len(b.doomed) > 0 {
		s := b.doomed[0]
		for _, path := range []string{s.name.indexPath(), s.name.Path()} {
			if err := b.options.FS.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return removedBytes, fmt.Errorf("remove segment: %w", err)
			}
		}
		if err := b.options.FS.SyncDir(b.dir); err != nil {
			return removedBytes, fmt.Errorf("remove segment: %w", err)
		}
		s.mu.RLock()
		removedBytes += s.size
		s.mu.RUnlock()
		b.doomed = b.doomed[1:]
	}
	return removedBytes, nil
}
