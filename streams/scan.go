package streams

import (
	"errors"
	"fmt"

	"github.com/headrace/headrace/internal/arrowipc"
)

// scanner walks the batches of a segment and tells which of them are there.
type scanner struct {
	window *window
	// id and schema are what every batch of the segment has.
	id     segmentID
	schema uint32
	// layout is set where bodies are to be checked too.
	layout *arrowipc.Layout
	// guess says that nobody knows how far the file counts: what has another chain behind what
	// counts is left over from before a cut.
	guess bool
	// strict says that the scan ends at the first fault.
	strict bool
	// limit is the offset from which on rows do not count.
	limit int64

	// position, next and chain are those behind the last batch that was taken.
	position, next int64
	chain          uint32
	entries        []entry
	// statistics are those of entries, where collect is set.
	collect    bool
	statistics storedStatistics
	damage     []damage
	// rot are batches whose header is right and whose body is not. They are among entries: what of
	// them can be read is for the reader to find out.
	rot []damage
	// doubtful is the state before the batches at the end of a guess whose bodies are wrong; nil: the
	// last batch is whole.
	doubtful *scanner
	// fault says why the scan ended before the window did; nil if it did not.
	fault error

	batch  arrowipc.Batch      // reused
	parsed arrowipc.Statistics // reused
}

// run takes batches up to the end of the window. Behind damage it looks for the next whole batch.
// An error is one of the disk.
func (s *scanner) run() error {
	for s.position < s.window.size && s.fault == nil {
		h, err := s.read(s.position)
		if misfit := s.follows(&h); err == nil && misfit != nil {
			err = misfit
		} else if broken, ok := errors.AsType[*bodyError](err); ok && misfit == nil && !s.strict {
			s.takeBroken(&h, broken)
			continue
		}
		if err == nil {
			s.take(&h)
			s.doubtful = nil
			continue
		}
		if failed := asReadError(err); failed != nil {
			return failed
		}
		if err := s.skip(&h, err); err != nil {
			return err
		}
	}
	s.settle()
	return nil
}

// skip goes on behind damage, or ends the scan.
func (s *scanner) skip(h *batchHead, fault error) error {
	stale := s.guess && h.raw != nil && h.id == s.id && h.previous != s.chain
	if stale || s.strict {
		s.fault = fault
		return nil
	}
	found, err := s.resume(fault)
	if err == nil && !found {
		s.fault = fault
	}
	return err
}

// takeBroken takes a batch whose header is right and whose body is not.
func (s *scanner) takeBroken(h *batchHead, broken *bodyError) {
	if s.guess && s.doubtful == nil {
		before := *s
		before.fault = broken
		s.doubtful = &before
	}
	s.rot = append(s.rot, damage{from: h.base, to: h.base + h.rows, position: h.position, detail: broken.Error()})
	s.take(h)
}

// settle ends a guess: broken batches with no whole one behind them are a torn end.
func (s *scanner) settle() {
	if s.doubtful != nil {
		*s = *s.doubtful
	}
}

// bodyError says what is wrong with the body of a batch whose header is right.
type bodyError struct{ cause error }

func (e *bodyError) Error() string { return e.cause.Error() }
func (e *bodyError) Unwrap() error { return e.cause }

// read reads the batch at a position and checks all of it that is asked for.
func (s *scanner) read(position int64) (batchHead, error) {
	h, err := readHead(s.window.bytes, position, true)
	if err != nil {
		h.raw = nil
		return h, err
	}
	switch {
	case h.id != s.id:
		return h, fmt.Errorf("a batch is of segment %x, want %x", h.id, s.id)
	case h.schema != s.schema:
		return h, fmt.Errorf("a batch names %08x as the checksum of the schema, want %08x", h.schema, s.schema)
	case h.position+h.size() > s.window.size:
		return h, errTorn
	}
	if s.layout == nil {
		return h, nil
	}
	return h, s.body(&h)
}

// body checks the buffers of a batch, the bytes between them and its run table.
func (s *scanner) body(h *batchHead) error {
	raw, err := s.window.bytes(h.position, h.size())
	if err != nil {
		return err
	}
	h.raw = raw[:h.headerAt()+h.header]
	if err := s.checkBody(h, raw[h.headerAt():]); err != nil {
		return &bodyError{err}
	}
	return nil
}

// checkBody checks the body of a message: our header and what follows it.
func (s *scanner) checkBody(h *batchHead, body []byte) error {
	if err := arrowipc.ParseMessage(s.layout, h.message(), body, h.header, &s.batch); err != nil {
		return err
	}
	if s.batch.Rows != h.rows || len(s.batch.Buffers) != h.buffers {
		return fmt.Errorf("the metadata has %d rows and %d buffers, the header %d and %d",
			s.batch.Rows, len(s.batch.Buffers), h.rows, h.buffers)
	}
	if _, err := h.decodeRuns(); err != nil {
		return err
	}
	if err := s.checkStatistics(h); err != nil {
		return err
	}
	return checkBuffers(h, &s.batch)
}

// checkStatistics checks that the statistics can be read and are of as many rows.
func (s *scanner) checkStatistics(h *batchHead) error {
	if h.statistics == 0 {
		return nil
	}
	if err := arrowipc.ParseStatistics(s.layout, h.storedStatistics(), &s.parsed); err != nil {
		return err
	}
	if s.parsed.Rows != h.rows {
		return fmt.Errorf("the statistics are of %d rows, the batch has %d", s.parsed.Rows, h.rows)
	}
	return nil
}

// checkBuffers checks the sum of every buffer, and that the bytes between them are zero.
func checkBuffers(h *batchHead, batch *arrowipc.Batch) error {
	end := int64(0)
	for i, span := range batch.Buffers {
		if span.Length > 0 {
			if !isZero(batch.Body[end:span.Offset]) {
				return fmt.Errorf("the bytes before buffer %d are not zero", i)
			}
			end = span.Offset + span.Length
		}
		if got, want := checksum(batch.Body[span.Offset:span.Offset+span.Length]), h.bufferSum(i); got != want {
			return fmt.Errorf("the checksum of buffer %d is %08x, want %08x", i, got, want)
		}
	}
	if !isZero(batch.Body[end:]) {
		return fmt.Errorf("the bytes behind the last buffer are not zero")
	}
	return nil
}

func isZero(bytes []byte) bool {
	for _, b := range bytes {
		if b != 0 {
			return false
		}
	}
	return true
}

// follows says why a batch does not follow the ones that were taken.
func (s *scanner) follows(h *batchHead) error {
	switch {
	case h.previous != s.chain:
		return fmt.Errorf("a batch names %08x as the one before it, want %08x", h.previous, s.chain)
	case h.base != s.next:
		return fmt.Errorf("a batch begins at offset %d, want %d", h.base, s.next)
	case h.base+h.rows > s.limit:
		return fmt.Errorf("a batch ends at offset %d, beyond %d", h.base+h.rows, s.limit)
	}
	return nil
}

func (s *scanner) take(h *batchHead) {
	s.entries = append(s.entries, entryOf(h))
	if s.collect {
		s.statistics.add(h.base, h.storedStatistics())
	}
	s.position += h.size()
	s.next = h.base + h.rows
	s.chain = h.sum
}

func entryOf(h *batchHead) entry {
	return entry{offset: h.base, position: h.position, time: h.time(), rows: uint32(h.rows), metadata: uint32(h.metadata)}
}

// resume looks for the first whole batch behind damage and goes on there. A batch where the fault is
// can be right only if it is known to begin later: otherwise it may be what stood there before.
func (s *scanner) resume(fault error) (bool, error) {
	for position := s.position; position < s.window.size; position += alignment {
		h, err := s.read(position)
		if failed := asReadError(err); failed != nil {
			return false, failed
		}
		beyond := h.base > s.next || h.base == s.next && position > s.position
		if err != nil || !beyond || h.base+h.rows > s.limit {
			continue
		}
		s.damage = append(s.damage, damage{from: s.next, to: h.base, position: s.position, detail: fault.Error()})
		s.position, s.next, s.chain = position, h.base, h.previous
		return true, nil
	}
	return false, nil
}

// firstBatch looks for the first whole batch at or behind a position, of whatever segment.
func firstBatch(w *window, position int64) (batchHead, bool, error) {
	for position = aligned(position); position < w.size; position += alignment {
		h, err := readHead(w.bytes, position, true)
		if err == nil {
			return h, true, nil
		}
		if failed := asReadError(err); failed != nil {
			return h, false, failed
		}
	}
	return batchHead{}, false, nil
}
