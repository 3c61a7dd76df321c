package streams

import (
	"errors"
	"io/fs"

	"github.com/headrace/headrace/internal/vfs"
)

// Measure gives the size of the bucket like Stats, with RawBytes: what its segments had before they were
// compressed. For that it reads the beginnings of index files, once each.
func (b *Bucket) Measure() Stats {
	for _, s := range b.list() {
		s.mu.RLock()
		known := s.measured || s.loaded || !s.durable.Load()
		id, identified := s.id, s.identified
		s.mu.RUnlock()
		if known {
			continue
		}
		x := indexHead(b.options.FS, s.name)
		s.mu.Lock()
		if x != nil && (!identified || x.id == id) && x.end == s.size {
			s.raw = x.raw
		}
		s.measured = true
		s.mu.Unlock()
	}
	return b.Stats()
}

// indexHead reads the beginning of an index file; nil where it is of no use. It is not checked against
// its checksum: it tells sizes to people.
func indexHead(files vfs.FS, name SegmentName) *segmentIndex {
	w, err := openWindow(files, name.indexPath())
	if err != nil {
		return nil
	}
	defer func() { _ = w.close() }() // nothing was written
	head, err := w.bytes(0, indexHeaderBytes)
	if err != nil {
		return nil
	}
	x, _, err := decodeIndexHeader(head)
	if err != nil {
		return nil
	}
	return x
}

// MeasureBucket gives the size of a bucket that is not open, whose newest segment counts up to at. It
// lists the folder and reads the beginnings of index files. Of what TruncateTable has cut off logically it
// knows nothing.
func MeasureBucket(files vfs.FS, at Extent) (Stats, error) {
	stats := Stats{Start: at.Next, End: at.Next}
	dir := bucketDir(at.Segment.TableID, at.Segment.Bucket)
	names, err := files.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return stats, nil
	}
	if err != nil {
		return stats, err
	}
	for _, name := range names {
		base, ok := parseBase(name, segmentSuffix)
		if !ok || base > at.Segment.Base {
			continue
		}
		stats.Segments++
		stats.Start = min(stats.Start, base)
		if base == at.Segment.Base {
			stats.Bytes += at.End
			stats.RawBytes += at.End
			continue
		}
		info, err := files.Stat(dir + "/" + name)
		if err != nil {
			return stats, err
		}
		raw := info.Size
		if x := indexHead(files, SegmentName{at.Segment.TableID, at.Segment.Bucket, base}); x != nil && x.end == info.Size {
			raw = max(x.raw, raw)
		}
		stats.Bytes += info.Size
		stats.RawBytes += raw
	}
	return stats, nil
}
