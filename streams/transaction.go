package streams

import (
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/vfs"
)

// transaction is one Write: all of the pending rows get into the files, or none.
type transaction struct {
	writer  *writer
	written Written
	// created are the segments that this Write began.
	created []*segment
	// before and beforeActive are what undo goes back to.
	before       Extent
	beforeActive *segment
	sealAsked    bool // somebody asked for a new segment
	madeDir      bool // the folder was made

	// The following is what goes into the active segment with the next WriteAt.
	at      Extent // behind it
	entries []entry
	heads   []headRange
	bodies  []*arrowipc.Batch
	merged  []*arrowipc.Batch // made here, to be released
	schema  []byte            // the schema message of a new segment
	buffer  []byte
}

// headRange is where a head lies in transaction.buffer.
type headRange struct{ from, to int }

func (t *transaction) run() error {
	w := t.writer
	t.at, t.buffer = w.extent, w.heads[:0]
	defer func() {
		w.heads = t.buffer[:0]
		for _, batch := range t.merged {
			batch.Release()
		}
	}()
	t.sealAsked = w.bucket.sealing.Swap(false)
	if (t.sealAsked || w.outdated()) && w.active != nil && t.at.Next > t.at.Segment.Base {
		if err := t.seal(); err != nil {
			return err
		}
	}
	if w.outdated() {
		return errOutdated
	}
	for _, p := range w.pending {
		if p.fault != nil {
			return fmt.Errorf("appending a batch: %w", p.fault)
		}
		if err := t.add(p); err != nil {
			return err
		}
	}
	return t.flush()
}

// merge gives the one batch that holds all parts of a pending one, with statistics.
func (t *transaction) merge(p *pendingBatch) (*arrowipc.Batch, error) {
	if len(p.parts) == 1 {
		return summarized(padded(p.parts[0]))
	}
	w := t.writer
	if w.builder == nil || w.builder.Layout() != w.bucket.layout.Load() {
		w.builder = arrowipc.NewBuilder(w.bucket.layout.Load())
	}
	for _, part := range p.parts {
		if err := w.builder.AppendRange(part, 0, part.Rows); err != nil {
			w.builder.Finish().Release()
			return nil, fmt.Errorf("merging batches: %w", err)
		}
	}
	batch := w.builder.Finish()
	t.merged = append(t.merged, batch)
	batch.Statistics = mergedStatistics(p.parts)
	return summarized(batch)
}

// padded gives the batch with a body whose length is a multiple of 64.
func padded(batch *arrowipc.Batch) *arrowipc.Batch {
	length := int64(len(batch.Body))
	if length == aligned(length) {
		return batch
	}
	longer := *batch
	longer.Body = make([]byte, aligned(length))
	copy(longer.Body, batch.Body)
	return &longer
}

// add puts a pending batch behind what goes into the active segment, beginning a new one where it is
// full.
func (t *transaction) add(p *pendingBatch) error {
	w := t.writer
	batch, err := t.merge(p)
	if err != nil {
		return err
	}
	if w.active == nil {
		if err := t.begin(p.base); err != nil {
			return err
		}
	}
	from := len(t.buffer)
	h := t.head(batch, p.base, p.runs)
	if t.at.End+h.size() > w.bucket.options.SegmentBytes && p.base > w.active.name.Base {
		t.buffer = t.buffer[:from]
		if err := t.seal(); err != nil {
			return err
		}
		if err := t.begin(p.base); err != nil {
			return err
		}
		from = len(t.buffer)
		h = t.head(batch, p.base, p.runs)
	}
	t.heads = append(t.heads, headRange{from, len(t.buffer)})
	t.bodies = append(t.bodies, batch)
	t.entries = append(t.entries, entryOf(&h))
	t.at.End += h.size()
	t.at.Chain, t.at.Next = h.sum, p.base+p.rows
	return nil
}

// head encodes the head of a batch at the end of the active segment.
func (t *transaction) head(batch *arrowipc.Batch, base int64, runs []Run) batchHead {
	s := t.writer.active
	h := batchHead{position: t.at.End, id: s.id, base: base, previous: t.at.Chain, schema: s.schema}
	t.buffer = appendHead(t.buffer, &h, batch, runs)
	return h
}

// begin makes a new segment the active one.
func (t *transaction) begin(base int64) error {
	w := t.writer
	b := w.bucket
	if w.dirMissing {
		if err := b.options.FS.MkdirAll(b.dir); err != nil {
			return fmt.Errorf("make folder of bucket: %w", err)
		}
		t.madeDir, w.dirMissing = true, false
		t.written.Dirs = append(t.written.Dirs, path.Dir(b.dir))
	}
	id, err := b.newID()
	if err != nil {
		return err
	}
	head := segmentHead{id: id, bucket: b.number, base: base, previous: t.at.Chain, table: b.definition.Load(), partition: b.options.Partition}
	if t.schema, err = head.encode(); err != nil {
		return err
	}
	name := b.segmentName(base)
	file, err := b.createFile(name)
	if err != nil {
		return fmt.Errorf("begin segment: %w", err)
	}
	s := &segment{
		bucket: b, name: name, limit: noLimit, loaded: true, identified: true, id: id, schema: head.sum, layout: b.layout.Load(),
		version: head.table.SchemaVersion, next: base, chain: head.previous,
	}
	s.handle = &handle{File: file, segment: s}
	t.created = append(t.created, s)
	w.active, w.allocated = s, 0
	t.at = Extent{Segment: name, End: head.size, Chain: head.previous, Next: base}
	if !slices.Contains(t.written.Dirs, b.dir) {
		t.written.Dirs = append(t.written.Dirs, b.dir)
	}
	return nil
}

// flush writes what was put behind the active segment.
func (t *transaction) flush() error {
	w := t.writer
	if len(t.heads) == 0 {
		return nil
	}
	s := w.active
	if err := t.openHandle(s); err != nil {
		return err
	}
	position := t.entries[0].position
	parts := make([][]byte, 0, 2*len(t.heads)+1)
	if t.schema != nil {
		parts = append(parts, t.schema)
		position = 0
	}
	for i, head := range t.heads {
		parts = append(parts, t.buffer[head.from:head.to], t.bodies[i].Body)
	}
	if err := t.allocate(s.handle, t.at.End); err != nil {
		return err
	}
	if err := s.handle.WriteAt(parts, position); err != nil {
		return fmt.Errorf("write segment: %w", err)
	}
	s.mu.Lock()
	if s.loaded {
		s.entries = append(s.entries, t.entries...)
	}
	s.size, s.next, s.chain = t.at.End, t.at.Next, t.at.Chain
	s.mu.Unlock()
	t.note(s, position)
	t.heads, t.bodies, t.entries, t.schema = t.heads[:0], t.bodies[:0], t.entries[:0], nil
	t.buffer = t.buffer[:0]
	return nil
}

// note says that a segment has been written to from a position on.
func (t *transaction) note(s *segment, position int64) {
	if n := len(t.written.Extents); n == 0 || t.written.Extents[n-1].Segment != s.name {
		t.written.Extents = append(t.written.Extents, t.at)
		t.written.Tails = append(t.written.Tails, Tail{SegmentID: s.id, From: position})
		t.written.Files = append(t.written.Files, s.handle)
	} else {
		t.written.Extents[n-1] = t.at
	}
}

func (t *transaction) openHandle(s *segment) error {
	if s.handle != nil && !s.handle.isClosed() {
		return nil
	}
	file, err := t.writer.bucket.options.FS.Open(s.name.Path())
	if err != nil {
		return fmt.Errorf("open segment: %w", err)
	}
	s.handle = &handle{File: file, segment: s}
	t.writer.allocated = 0
	return nil
}

// allocateStep is what file systems give out at least.
const allocateStep = 4 << 10

// allocate reserves space up to need bytes and as much again: a file that grows in large steps lies in
// few places of the disk, and a small one stays small.
func (t *transaction) allocate(file vfs.File, need int64) error {
	w := t.writer
	if need <= w.allocated {
		return nil
	}
	size := (2*need + allocateStep - 1) &^ (allocateStep - 1)
	size = max(min(size, w.bucket.options.SegmentBytes), need)
	err := file.Allocate(size)
	if errors.Is(err, vfs.ErrDiskFull) && size > need {
		size = need // there may be room for this much
		err = file.Allocate(size)
	}
	if err != nil {
		return fmt.Errorf("reserve space for segment: %w", err)
	}
	w.allocated = size
	return nil
}

// seal writes what is left for the active segment and ends it.
func (t *transaction) seal() error {
	w := t.writer
	if err := t.flush(); err != nil {
		return err
	}
	s := w.active
	if err := t.openHandle(s); err != nil {
		return err
	}
	if err := s.handle.Truncate(t.at.End); err != nil { // gives back what was reserved
		return fmt.Errorf("seal segment: %w", err)
	}
	t.note(s, t.at.End)
	s.handle.setSealed(true)
	t.written.Sealed = append(t.written.Sealed, s.handle)
	s.mu.Lock()
	s.limit = t.at.Next
	s.mu.Unlock()
	w.active, w.allocated = nil, 0
	return nil
}

// undo brings the files back to what they were before the Write.
func (t *transaction) undo(cause error) error {
	w := t.writer
	if t.sealAsked {
		w.bucket.sealing.Store(true)
	}
	w.dirMissing = w.dirMissing || t.madeDir
	if !errors.Is(cause, vfs.ErrDiskFull) {
		w.active = nil
		return w.fail(cause)
	}
	for _, s := range slices.Backward(t.created) {
		w.bucket.removeSegment(s)
	}
	w.active, w.extent = t.beforeActive, t.before
	if s := w.active; s != nil {
		if err := w.shrink(s, t.before); err != nil {
			return w.fail(errors.Join(cause, err))
		}
	}
	return cause
}
