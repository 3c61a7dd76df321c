package streams

import (
	"context"
	"errors"
	"fmt"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// rewriter writes one segment anew.
type rewriter struct {
	bucket  *Bucket
	source  *segment
	old     segmentIndex
	builder *arrowipc.Builder
	// table is what the new segment of a Renew says of the table.
	table *model.Table
	// compressor is nil where nothing is to be compressed, compression what the new file says of that.
	compressor  *arrowipc.Compressor
	compression string
	pace        func(context.Context) error

	file    vfs.File
	id      segmentID
	schema  uint32
	at      Extent
	made    segmentIndex
	buffer  []byte
	scan    scanner
	current arrowipc.Statistics // of the batch that was read
	// runs, rows and base are of what builder holds.
	runs []Run
	rows int64
	base int64
}

// run gives the segment that stands in the place of the source; nil where nothing was to be gained.
func (r *rewriter) run(ctx context.Context) (replaced *segment, err error) {
	files, name := r.bucket.options.FS, r.source.name
	w, err := openWindow(files, name.Path())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if err := r.createFile(); err != nil {
		return nil, err
	}
	err = r.copy(ctx, w)
	if err == nil {
		err = r.file.Sync()
	}
	err = errors.Join(err, r.file.Close())
	if err != nil || r.compressor == nil && 2*len(r.made.entries) > len(r.old.entries) {
		return nil, errors.Join(err, files.Remove(name.rewritePath()))
	}
	return r.replace()
}

// createFile makes the file that is to replace the old one.
func (r *rewriter) createFile() (err error) {
	if err := r.discardFile(); err != nil {
		return err
	}
	r.file, err = r.bucket.options.FS.Create(r.source.name.rewritePath())
	return err
}

// copy writes the batches of the source, checked, in as few as possible.
func (r *rewriter) copy(ctx context.Context, w *window) error {
	head, err := readSegmentHead(w.bytes)
	if err != nil {
		return err
	}
	if err := r.begin(head); err != nil {
		return err
	}
	r.scan = scanner{window: w, id: r.old.id, schema: head.sum, layout: r.source.layout, limit: r.old.next}
	for _, e := range r.old.entries {
		if err := errors.Join(ctx.Err(), r.bucket.closed()); err != nil {
			return err
		}
		if err := r.copyBatch(e); err != nil {
			return fmt.Errorf("at byte %d: %w", e.position, err)
		}
		if err := r.pace(ctx); err != nil {
			return err
		}
	}
	if err := r.flush(); err != nil {
		return err
	}
	if r.at.Next != r.old.next {
		return fmt.Errorf("the batches end at offset %d, want %d", r.at.Next, r.old.next)
	}
	return nil
}

// copyBatch reads one batch of the source, and writes it or keeps it in builder.
func (r *rewriter) copyBatch(e entry) error {
	h, err := r.scan.read(e.position)
	if err == nil && (h.base != e.offset || h.rows != int64(e.rows)) {
		err = fmt.Errorf("the batch has offset %d, want %d", h.base, e.offset)
	}
	if err != nil {
		return err
	}
	runs, err := h.decodeRuns()
	if err != nil {
		return err
	}
	batch := &r.scan.batch
	if h.statistics > 0 {
		if err := arrowipc.ParseStatistics(r.source.layout, h.storedStatistics(), &r.current); err != nil {
			return err
		}
		batch.Statistics = &r.current
	}
	if batch.Codec == arrowipc.NoCodec || r.compressor == nil && batch.Statistics != nil || batch.Rows == 0 {
		return r.add(batch, e.offset, runs)
	}
	return r.addCompressed(batch, e.offset, runs)
}

// addCompressed is add for a batch that came compressed: it may be small, or lack statistics.
func (r *rewriter) addCompressed(batch *arrowipc.Batch, base int64, runs []Run) error {
	plain, err := arrowipc.Decompress(batch)
	if err != nil {
		return err
	}
	defer plain.Release()
	if r.compressor != nil && r.isSmall(plain, runs) {
		return r.add(plain, base, runs)
	}
	if batch.Statistics == nil {
		if batch.Statistics, err = arrowipc.Summarize(plain); err != nil {
			return err
		}
	}
	return r.add(batch, base, runs)
}

// begin writes the schema message of the new file, which says what it stands for.
func (r *rewriter) begin(old *segmentHead) error {
	head := *old
	var err error
	if r.id, err = r.bucket.newID(); err != nil {
		return err
	}
	head.id = r.id
	if head.rewrote == nil {
		head.rewrote = &Extent{Segment: r.source.name, End: r.old.end, Chain: r.old.chain, Next: r.old.next}
	}
	if r.compressor != nil {
		head.compression, head.raw = r.compression, r.old.end
	}
	r.made.raw = head.raw
	message, err := head.encode()
	if err != nil {
		return err
	}
	r.schema = head.sum
	r.at = Extent{Segment: r.source.name, End: head.size, Chain: head.previous, Next: head.base}
	return r.file.WriteAt([][]byte{message}, 0)
}

// isSmall says that a batch is to be joined with its neighbours.
func (r *rewriter) isSmall(batch *arrowipc.Batch, runs []Run) bool {
	return batch.Codec == arrowipc.NoCodec && int64(len(batch.Body))+runBytes*int64(len(runs)) <= mergedBytesMax/2
}

// add puts a batch behind those that builder holds, or as it is into the file.
func (r *rewriter) add(batch *arrowipc.Batch, base int64, runs []Run) error {
	if !r.isSmall(batch, runs) {
		if err := r.flush(); err != nil {
			return err
		}
		return r.write(batch, base, runs)
	}
	size := int64(len(batch.Body)) + runBytes*int64(len(runs))
	if len(r.runs) > 0 && r.builder.Bytes()+runBytes*int64(len(r.runs))+size > mergedBytesMax {
		if err := r.flush(); err != nil {
			return err
		}
	}
	if len(r.runs) == 0 {
		r.base = base
	}
	r.runs = appendRuns(r.runs, r.rows, runs)
	r.rows += batch.Rows
	return r.builder.AppendRange(batch, 0, batch.Rows)
}

// flush writes what builder holds.
func (r *rewriter) flush() error {
	if len(r.runs) == 0 {
		return nil
	}
	batch := r.builder.Finish()
	defer batch.Release()
	runs := r.runs
	r.runs, r.rows = r.runs[:0], 0
	return r.write(batch, r.base, runs)
}

// shrinkShare is the part of its size by which a batch has to shrink in order to be stored compressed: a
// reader that wants plain batches has to decompress it each time.
const shrinkShare = 16

func (r *rewriter) write(batch *arrowipc.Batch, base int64, runs []Run) error {
	batch, err := summarized(padded(batch))
	if err != nil {
		return err
	}
	if r.compressor != nil && batch.Codec == arrowipc.NoCodec && batch.Rows > 0 {
		packed, err := r.compressor.Compress(batch)
		if err != nil {
			return err
		}
		defer packed.Release()
		if len(packed.Body) <= len(batch.Body)-len(batch.Body)/shrinkShare {
			batch = packed
		}
	}
	h := batchHead{position: r.at.End, id: r.id, base: base, previous: r.at.Chain, schema: r.schema}
	r.buffer = appendHead(r.buffer[:0], &h, batch, runs)
	if err := r.file.WriteAt([][]byte{r.buffer, batch.Body}, r.at.End); err != nil {
		return err
	}
	r.made.entries = append(r.made.entries, entryOf(&h))
	r.made.statistics.add(h.base, h.storedStatistics())
	r.at.End += h.size()
	r.at.Chain, r.at.Next = h.sum, base+batch.Rows
	return nil
}

// replace puts the new file in the place of the old one, on disk and in the log.
func (r *rewriter) replace() (*segment, error) {
	b, old := r.bucket, r.source
	s := &segment{
		bucket: b, name: old.name, size: r.at.End, loaded: true, identified: true, id: r.id, schema: r.schema,
		layout: old.layout, version: old.version, entries: r.made.entries, next: r.at.Next, chain: r.at.Chain,
		compression: r.compression, raw: r.made.raw,
	}
	s.durable.Store(true)
	// Nobody opens the old segment while its name changes hands.
	old.mu.Lock()
	s.limit = old.limit
	if err := b.options.FS.Rename(old.name.rewritePath(), old.name.Path()); err != nil {
		old.mu.Unlock()
		return nil, err
	}
	old.retired = true
	b.exchange(old, s)
	old.mu.Unlock()
	old.release()
	err := b.options.FS.SyncDir(b.dir)
	r.made.id, r.made.end, r.made.next, r.made.chain = s.id, s.size, s.next, s.chain
	b.writeIndex(s, &r.made)
	return s, err
}
