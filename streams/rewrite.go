package streams

import (
	"context"
	"errors"
	"fmt"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// Rewriting says what Rewrite is to do.
type Rewriting struct {
	// Compression is what segments are compressed with that were not before. The zero value: they are not.
	Compression model.Compression
	// Pace is called after each batch that was written, and may wait, so that the rewriting leaves time for
	// others; its error ends the rewriting. Default: it does not wait.
	Pace func(ctx context.Context) error
}

// Rewrite rewrites sealed segments that consist of small batches into ones of large batches, compresses
// those that are to be, and writes missing index files. Offsets and run tables stay the same, and batches
// without statistics get them. It gives the number of rewritten segments. A new file replaces the old one
// as a whole; readers of the old one go on. It may run beside appends and reads, and holds up Retain for
// one segment at most. It needs the memory of a few batches.
//
// Batches that came compressed stay as they are, unless they are small and the segment is to be compressed.
// A segment that a Rewrite has compressed is not compressed again in another way.
func (b *Bucket) Rewrite(ctx context.Context, what Rewriting) (rewritten int, err error) {
	if what.Pace == nil {
		what.Pace = func(context.Context) error { return nil }
	}
	for last := int64(-1); ; {
		s, done, err := b.rewriteBehind(ctx, last, what)
		if s == nil || err != nil {
			return rewritten, err
		}
		if done {
			rewritten++
		}
		last = s.name.Base
	}
}

// rewriteBehind rewrites the first segment with a greater base that may be rewritten, if it is due; nil:
// there is none.
func (b *Bucket) rewriteBehind(ctx context.Context, base int64, what Rewriting) (s *segment, done bool, err error) {
	b.upkeep.Lock()
	defer b.upkeep.Unlock()
	segments := b.list()
	for i, s := range segments {
		if err := errors.Join(ctx.Err(), b.closed()); err != nil {
			return nil, false, err
		}
		// A batch must not hold rows that can be read together with some that cannot yet.
		if i == len(segments)-1 || segments[i+1].name.Base > b.End() {
			break
		}
		if s.name.Base <= base || s.settled == what.Compression.String() || s.rotten || !s.durable.Load() {
			continue
		}
		if done, err = b.rewriteIfDue(ctx, s, what); err != nil {
			return nil, false, fmt.Errorf("rewrite segment %s: %w", s.name.Path(), err)
		}
		return s, done, nil
	}
	return nil, false, nil
}

// rewriteIfDue rewrites one segment where that makes its batches half as many at least, or compresses
// it.
func (b *Bucket) rewriteIfDue(ctx context.Context, s *segment, what Rewriting) (bool, error) {
	s.mu.Lock()
	err := s.load(bounds{end: -1})
	x := segmentIndex{id: s.id, end: s.size, next: s.next, chain: s.chain, raw: s.raw, entries: s.entries}
	damaged := s.headless || len(s.damage) > 0
	compression := s.compression
	s.mu.Unlock()
	if err != nil {
		return false, err
	}
	settled := what.Compression.String()
	if damaged { // kept as it is: what is left of it is evidence
		s.settled = settled
		return false, nil
	}
	r := rewriter{bucket: b, source: s, old: x, compression: compression, pace: what.Pace}
	if compression == "" && what.Compression.Codec != "" {
		r.compression = settled
		if r.compressor, err = newCompressor(what.Compression); err != nil {
			return false, err
		}
	} else if 2*mergedCount(x.entries, x.end) > len(x.entries) {
		s.settled = settled
		return false, b.keepIndex(s, &x)
	}
	r.builder = arrowipc.NewBuilder(s.layout)
	replaced, err := r.run(ctx)
	if err == nil && replaced != nil {
		replaced.settled = settled
	}
	if err == nil && replaced == nil {
		s.settled = settled
		err = b.keepIndex(s, &x)
	}
	return replaced != nil, err
}

// newCompressor gives what compresses as an option says.
func newCompressor(c model.Compression) (*arrowipc.Compressor, error) {
	if c.Codec == model.CompressionLZ4 {
		return arrowipc.NewCompressor(arrowipc.LZ4, c.Level)
	}
	return arrowipc.NewCompressor(arrowipc.ZSTD, c.Level)
}

// keepIndex writes the index file unless there is a right one.
func (b *Bucket) keepIndex(s *segment, x *segmentIndex) error {
	known, err := readIndex(b.options.FS, s.name.indexPath())
	if err == nil && known.id == x.id && known.end == x.end {
		return nil
	}
	w, err := openWindow(b.options.FS, s.name.Path())
	if err != nil {
		return err
	}
	err = x.statistics.addHeads(w.bytes, x.id, x.entries)
	if err = errors.Join(err, w.close()); err == nil {
		b.writeIndex(s, x)
	}
	return err
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
