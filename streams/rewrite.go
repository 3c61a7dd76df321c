package streams

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/vfs"
)

// Rewrite rewrites sealed segments that consist of small batches into ones of large batches, with the
// same offsets and the same run tables, and writes missing index files. It gives the number of
// rewritten segments. A new file replaces the old one as a whole; readers of the old one go on. It
// may run beside appends and reads.
func (b *Bucket) Rewrite(ctx context.Context) (rewritten int, err error) {
	b.upkeep.Lock()
	defer b.upkeep.Unlock()
	segments := b.list()
	if len(segments) == 0 {
		return 0, nil
	}
	for i, s := range segments[:len(segments)-1] {
		if err := errors.Join(ctx.Err(), b.closed()); err != nil {
			return rewritten, err
		}
		// A batch must not hold rows that can be read together with some that cannot yet.
		if s.settled || s.rotten || !s.durable.Load() || segments[i+1].name.Base > b.End() {
			continue
		}
		done, err := b.rewriteIfSmall(ctx, s)
		if err != nil {
			return rewritten, fmt.Errorf("rewrite segment %s: %w", s.name.Path(), err)
		}
		if done {
			rewritten++
		}
	}
	return rewritten, nil
}

// rewriteIfSmall rewrites one segment where that makes its batches half as many at least.
func (b *Bucket) rewriteIfSmall(ctx context.Context, s *segment) (bool, error) {
	s.mu.Lock()
	err := s.load(bounds{end: -1})
	x := segmentIndex{id: s.id, end: s.size, next: s.next, chain: s.chain, entries: s.entries}
	damaged := s.headless || len(s.damage) > 0
	s.mu.Unlock()
	if err != nil {
		return false, err
	}
	if damaged { // kept as it is: what is left of it is evidence
		s.settled = true
		return false, nil
	}
	if 2*mergedCount(x.entries, x.end) > len(x.entries) {
		s.settled = true
		b.keepIndex(s, &x)
		return false, nil
	}
	r := rewriter{bucket: b, source: s, old: x, builder: arrowipc.NewBuilder(s.layout)}
	replaced, err := r.run(ctx)
	if err == nil && !replaced {
		s.settled = true
		b.keepIndex(s, &x)
	}
	return replaced, err
}

// keepIndex writes the index file unless there is a right one.
func (b *Bucket) keepIndex(s *segment, x *segmentIndex) {
	known, err := readIndex(b.options.FS, s.name.indexPath())
	if err == nil && known.id == x.id && known.end == x.end {
		return
	}
	b.writeIndex(s, x)
}

// writeIndex writes the index file. Without one, the segment is scanned when it is opened.
func (b *Bucket) writeIndex(s *segment, x *segmentIndex) {
	if err := writeIndex(b.options.FS, s.name.indexPath(), x); err != nil {
		b.options.Logger.Warn("an index cannot be written", "file", s.name.indexPath(), "error", err)
	}
}

// mergedCount estimates how many batches are left when neighbours are merged.
func mergedCount(entries []entry, end int64) int {
	count, bytes := 0, int64(mergedBytesMax)
	for i, e := range entries {
		next := end
		if i+1 < len(entries) {
			next = entries[i+1].position
		}
		if bytes+next-e.position > mergedBytesMax {
			count++
			bytes = 0
		}
		bytes += next - e.position
	}
	return count
}

// rewriter writes one segment anew.
type rewriter struct {
	bucket  *Bucket
	source  *segment
	old     segmentIndex
	builder *arrowipc.Builder

	file    vfs.File
	id      segmentID
	schema  uint32
	at      Extent
	entries []entry
	buffer  []byte
	// runs, rows and base are of what builder holds.
	runs []Run
	rows int64
	base int64
}

func (r *rewriter) run(ctx context.Context) (replaced bool, err error) {
	files, name := r.bucket.options.FS, r.source.name
	w, err := openWindow(files, name.Path())
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if err := files.Remove(name.rewritePath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if r.file, err = files.Create(name.rewritePath()); err != nil {
		return false, err
	}
	err = r.copy(ctx, w)
	if err == nil {
		err = r.file.Sync()
	}
	err = errors.Join(err, r.file.Close())
	if err != nil || 2*len(r.entries) > len(r.old.entries) {
		return false, errors.Join(err, files.Remove(name.rewritePath()))
	}
	return r.replace()
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
	scan := scanner{window: w, id: r.old.id, schema: head.sum, layout: r.source.layout, limit: r.old.next}
	for _, e := range r.old.entries {
		if err := errors.Join(ctx.Err(), r.bucket.closed()); err != nil {
			return err
		}
		h, err := scan.read(e.position)
		if err == nil && (h.base != e.offset || h.rows != int64(e.rows)) {
			err = fmt.Errorf("the batch has offset %d, want %d", h.base, e.offset)
		}
		if err != nil {
			return fmt.Errorf("at byte %d: %w", e.position, err)
		}
		runs, err := h.decodeRuns()
		if err != nil {
			return err
		}
		if err := r.add(&scan.batch, e.offset, runs); err != nil {
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
	message, err := head.encode()
	if err != nil {
		return err
	}
	r.schema = head.sum
	r.at = Extent{Segment: r.source.name, End: head.size, Chain: head.previous, Next: head.base}
	return r.file.WriteAt([][]byte{message}, 0)
}

// add puts a batch behind those that builder holds, or as it is into the file.
func (r *rewriter) add(batch *arrowipc.Batch, base int64, runs []Run) error {
	size := int64(len(batch.Body)) + runBytes*int64(len(runs))
	if batch.Codec != arrowipc.NoCodec || size > mergedBytesMax/2 {
		if err := r.flush(); err != nil {
			return err
		}
		return r.write(batch, base, runs)
	}
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

func (r *rewriter) write(batch *arrowipc.Batch, base int64, runs []Run) error {
	batch = padded(batch)
	h := batchHead{position: r.at.End, id: r.id, base: base, previous: r.at.Chain, schema: r.schema}
	r.buffer = appendHead(r.buffer[:0], &h, batch, runs)
	if err := r.file.WriteAt([][]byte{r.buffer, batch.Body}, r.at.End); err != nil {
		return err
	}
	r.entries = append(r.entries, entryOf(&h))
	r.at.End += h.size()
	r.at.Chain, r.at.Next = h.sum, base+batch.Rows
	return nil
}

// replace puts the new file in the place of the old one, on disk and in the log.
func (r *rewriter) replace() (bool, error) {
	b, old := r.bucket, r.source
	s := &segment{
		bucket: b, name: old.name, settled: true, size: r.at.End, loaded: true, identified: true, id: r.id, schema: r.schema,
		layout: old.layout, entries: r.entries, next: r.at.Next, chain: r.at.Chain,
	}
	s.durable.Store(true)
	// Nobody opens the old segment while its name changes hands.
	old.mu.Lock()
	s.limit = old.limit
	if err := b.options.FS.Rename(old.name.rewritePath(), old.name.Path()); err != nil {
		old.mu.Unlock()
		return false, err
	}
	old.retired = true
	b.mu.Lock()
	segments := slices.Clone(b.list())
	segments[slices.Index(segments, old)] = s
	b.setSegments(segments)
	b.mu.Unlock()
	old.mu.Unlock()
	old.release()
	err := b.options.FS.SyncDir(b.dir)
	b.writeIndex(s, &segmentIndex{id: s.id, end: s.size, next: s.next, chain: s.chain, entries: s.entries})
	return true, err
}
