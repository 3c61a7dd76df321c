package streams

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// writer is the appending side of a bucket. Bucket.writing guards it.
type writer struct {
	bucket *Bucket
	// active is the segment that is written to; nil: the next batch begins one.
	active *segment
	// extent is how far the newest segment is written; its base is negative if there is none.
	extent Extent
	// written is the offset behind the last row in a file, next that behind the last pending one.
	written, next int64
	pending       []*pendingBatch
	// allocated is how much space active has reserved.
	allocated int64
	// dirMissing says that the bucket's folder has not been made yet.
	dirMissing bool
	// failed is why nothing can be written any more; nil while something can.
	failed error

	builder *arrowipc.Builder
	heads   []byte // reused by Write
}

// pendingBatch is what becomes one stored batch.
type pendingBatch struct {
	base, rows, bytes int64
	parts             []*arrowipc.Batch
	runs              []Run
	// small says that all parts are small enough to be merged.
	small bool
	// fault is what is wrong with the batch; it fails the Write.
	fault error
}

// Next is the offset that the next row gets, behind pending rows. It is for the writer.
func (b *Bucket) Next() int64 {
	b.writing.Lock()
	defer b.writing.Unlock()
	return b.writer.next
}

// Extent is how far the newest segment is written; false if nothing was ever written. It is for the
// writer.
func (b *Bucket) Extent() (Extent, bool) {
	b.writing.Lock()
	defer b.writing.Unlock()
	return b.writer.extent, b.writer.extent.Segment.Base >= 0
}

// Append puts a batch behind the pending ones and gives the offset of its first row. It takes the
// batch over, which must have the columns of the table; nothing is written before Write. runs cover
// the rows of batch in order; a batch without rows has runs without rows. A time before LastTime
// becomes that.
func (b *Bucket) Append(batch *arrowipc.Batch, runs []Run) int64 {
	b.writing.Lock()
	defer b.writing.Unlock()
	w := &b.writer
	base := w.next
	w.next += batch.Rows
	runs = b.raiseTimes(runs)
	if last := w.mergeable(batch, len(runs)); last != nil {
		last.fault = errors.Join(last.fault, checkRuns(runs, batch.Rows))
		last.runs = appendRuns(last.runs, last.rows, runs)
		last.parts = append(last.parts, batch)
		last.rows += batch.Rows
		last.bytes += int64(len(batch.Body))
		return base
	}
	p := &pendingBatch{base: base, rows: batch.Rows, bytes: int64(len(batch.Body)), parts: []*arrowipc.Batch{batch}}
	p.small = w.isSmall(batch)
	p.runs = appendRuns(nil, 0, runs)
	p.fault = checkRuns(runs, batch.Rows)
	if batch.Rows > rowsMax {
		p.fault = errors.Join(p.fault, fmt.Errorf("the batch has %d rows, at most %d are allowed", batch.Rows, int64(rowsMax)))
	}
	w.pending = append(w.pending, p)
	return base
}

// raiseTimes gives runs whose times do not fall behind those of the rows before.
func (b *Bucket) raiseTimes(runs []Run) []Run {
	last := b.lastTime.Load()
	raised := runs
	for i, r := range runs {
		if r.Time < last {
			if &raised[0] == &runs[0] { // the caller's are not to be changed
				raised = append([]Run(nil), runs...)
			}
			raised[i].Time = last
		}
		last = raised[i].Time
	}
	b.lastTime.Store(last)
	return raised
}

func (w *writer) isSmall(batch *arrowipc.Batch) bool {
	return batch.Codec == arrowipc.NoCodec && int64(len(batch.Body)) < w.bucket.options.CoalesceBytes
}

// mergeable gives the pending batch that batch can be merged with, or nil.
func (w *writer) mergeable(batch *arrowipc.Batch, runs int) *pendingBatch {
	if len(w.pending) == 0 || !w.isSmall(batch) {
		return nil
	}
	last := w.pending[len(w.pending)-1]
	if !last.small || last.bytes >= w.bucket.options.CoalesceBytes ||
		last.bytes+int64(len(batch.Body))+runBytes*int64(len(last.runs)+runs) > mergedBytesMax || last.rows+batch.Rows > math.MaxInt32 {
		return nil
	}
	return last
}

// Drop forgets the pending rows; the next row gets the offset behind the last written one.
func (b *Bucket) Drop() {
	b.writing.Lock()
	defer b.writing.Unlock()
	b.writer.drop()
}

func (w *writer) drop() {
	for _, p := range w.pending {
		p.release()
	}
	w.pending = w.pending[:0]
	w.next = w.written
}

func (p *pendingBatch) release() {
	for _, part := range p.parts {
		part.Release()
	}
	p.parts = nil
}

// Seal makes the next batch begin a new segment.
func (b *Bucket) Seal() { b.sealing.Store(true) }

// Sealing says that the next batch begins a new segment because Seal or Retain asked for it.
func (b *Bucket) Sealing() bool { return b.sealing.Load() }

// Write writes the pending rows: one call of WriteAt for each segment that it touches. It does not
// sync. After an error the pending rows are dropped. If that is vfs.ErrDiskFull, the segments are as
// they were before the call and a later Write can succeed; after any other one the bucket refuses to
// write until it is opened again, with model.ReadOnly.
func (b *Bucket) Write() (Written, error) {
	b.writing.Lock()
	defer b.writing.Unlock()
	w := &b.writer
	b.used.Store(true)
	if err := errors.Join(b.closed(), w.failed); err != nil {
		w.drop()
		return Written{}, err
	}
	if len(w.pending) == 0 {
		return Written{}, nil
	}
	t := transaction{writer: w, before: w.extent, beforeActive: w.active}
	if err := t.run(); err != nil {
		w.drop()
		return Written{}, t.undo(err)
	}
	w.commit(&t)
	return t.written, nil
}

// commit makes what a transaction has written the state of the writer.
func (w *writer) commit(t *transaction) {
	for _, p := range w.pending {
		p.release()
	}
	w.pending = w.pending[:0]
	w.extent = t.at
	w.written = w.next
	if len(t.created) == 0 {
		return
	}
	b := w.bucket
	b.mu.Lock()
	defer b.mu.Unlock()
	segments := append([]*segment(nil), b.list()...)
	b.setSegments(append(segments, t.created...))
}

// fail makes the bucket refuse to write from now on.
func (w *writer) fail(cause error) error {
	w.failed = model.Errorf(model.ReadOnly, "bucket %d of table %s takes no more rows: a write to the disk has failed",
		w.bucket.number, w.bucket.tableName()).
		WithRemedy("See the server's log and the disk, then restart the server").
		With("table", w.bucket.tableName()).With("bucket", w.bucket.number).WithCause(cause)
	w.bucket.options.Logger.Error("a bucket takes no more rows", "table", w.bucket.tableName(),
		"bucket", w.bucket.number, "error", cause)
	return w.failed
}

// newID makes the UUID of a segment.
func (b *Bucket) newID() (segmentID, error) {
	var id segmentID
	if _, err := io.ReadFull(b.options.Entropy, id[:]); err != nil {
		return id, fmt.Errorf("making the id of a segment: %w", err)
	}
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80 // version 4, variant 1
	return id, nil
}

// createFile makes the file of a new segment. A file that has the name already is not part of the
// log.
func (b *Bucket) createFile(name SegmentName) (vfs.File, error) {
	file, err := b.options.FS.Create(name.Path())
	if errors.Is(err, fs.ErrExist) {
		if err := b.discard(name.Base); err != nil {
			return nil, err
		}
		file, err = b.options.FS.Create(name.Path())
	}
	return file, err
}
