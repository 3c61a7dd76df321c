package streams

import (
	"errors"
	"slices"
)

// restBytesMax is the size of the newest segment up to which Rest forgets where its batches are: whoever
// asks next has to read their heads. Above it, that would take longer than the memory is worth.
const restBytesMax = 8 << 20

// Quiet tells whether nobody has read or written since the call before.
func (b *Bucket) Quiet() bool { return !b.used.Swap(false) }

// CloseFile closes the file that is written to and gives back the space that is reserved in it; the next
// Write opens it again. It is for the writer, once all that was written is synced and nobody holds a
// Written any more. After an error the bucket can be written to all the same.
func (b *Bucket) CloseFile() error {
	b.writing.Lock()
	defer b.writing.Unlock()
	return b.writer.closeFile()
}

func (w *writer) closeFile() error {
	if w.active == nil || w.active.handle == nil || w.active.handle.isClosed() {
		return nil
	}
	var err error
	if w.allocated > w.extent.End {
		err = w.active.handle.Truncate(w.extent.End)
	}
	err = errors.Join(err, w.active.handle.abandon())
	w.active.handle, w.allocated = nil, 0
	return err
}

// Rest is CloseFile, and gives back all memory that is not needed to know how far the log goes: mappings
// and indexes, that of the newest segment too where it is small. Readers go on, and whatever is asked for
// next is made anew. Like CloseFile, it is for the writer.
func (b *Bucket) Rest() error {
	b.writing.Lock()
	defer b.writing.Unlock()
	if b.closed() != nil {
		return nil
	}
	w := &b.writer
	err := w.closeFile()
	if len(w.pending) == 0 {
		w.pending, w.builder, w.heads = nil, nil, nil
	}
	b.upkeep.Lock()
	defer b.upkeep.Unlock()
	if s := w.active; s != nil {
		if rested := s.rested(); rested != nil {
			w.active = rested
			b.exchange(s, rested)
			s.release()
		}
	}
	for _, s := range b.list() {
		s.release()
	}
	return err
}

// exchange puts a segment in the place of one that has the same rows.
func (b *Bucket) exchange(old, with *segment) {
	b.mu.Lock()
	segments := slices.Clone(b.list())
	segments[slices.Index(segments, old)] = with
	b.setSegments(segments)
	b.mu.Unlock()
}

// rested gives a segment that is not loaded and takes the place of s, which is written to; nil where s is
// too large, damaged, or not loaded. A cursor that stands in s goes on there.
func (s *segment) rested() *segment {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.loaded || len(s.damage) > 0 || s.headless || s.retired || s.size > restBytesMax {
		return nil
	}
	s.retired = true
	return &segment{
		bucket: s.bucket, name: s.name, limit: s.limit, size: s.size, next: s.next, chain: s.chain, resting: true,
		identified: true, id: s.id, schema: s.schema, layout: s.layout, version: s.version,
	}
}

// wake loads a segment that rests, up to where it was written. mu is held.
func (s *segment) wake() error {
	size, next, chain := s.size, s.next, s.chain
	s.resting = false
	if err := s.load(bounds{end: size}); err != nil {
		s.resting = true
		return err
	}
	if s.size == size && s.next == next && s.chain == chain {
		return nil
	}
	// What was there is not there any more. Appends go on behind it.
	from := s.name.Base
	if len(s.entries) > 0 {
		last := s.entries[len(s.entries)-1]
		from = last.end()
	}
	if from < next {
		lost := damage{position: s.size, detail: "rows are missing"}
		if n := len(s.damage); n > 0 && s.damage[n-1].from >= from { // of the file as a whole
			lost = s.damage[n-1]
			s.damage = s.damage[:n-1]
		}
		lost.from, lost.to = from, next
		s.damage = append(s.damage, lost)
		s.bucket.logDamage(s.name.Path(), lost)
	}
	s.size, s.next, s.chain = size, next, chain
	return nil
}
