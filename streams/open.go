package streams

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/headrace/headrace/internal/model"
)

// OpenBucket opens the log of a bucket. It lists the folder and looks into the newest segment only.
//
// at is the committed end of the newest segment; a negative base says that nothing was ever
// committed. What lies behind it is cut off, durably, and segments behind it go to the trash. Where
// bytes before it are missing or wrong, they are never cut: those rows give model.Corrupt, all others
// stay readable, and appends go on in a new segment.
//
// A nil at says that nobody knows how far the bucket counts. Then every batch counts whose bytes
// verify, up to where the newest segment has no more of them.
func OpenBucket(table *model.Table, bucket int32, at *Extent, options Options) (*Bucket, error) {
	options = options.withDefaults()
	if err := options.validate(); err != nil {
		return nil, err
	}
	b := &Bucket{
		tableID: table.ID, number: bucket, first: table.First(bucket), options: options,
		dir: bucketDir(table.ID, bucket), pins: map[*int64]struct{}{},
	}
	if err := b.Define(table, options.Layout); err != nil {
		return nil, fmt.Errorf("open bucket %d of table %s: %w", bucket, table.ID, err)
	}
	b.segments.Store(&[]*segment{})
	b.writer.bucket = b
	if at != nil && at.Segment.Base >= 0 && at.Segment != b.segmentName(at.Segment.Base) {
		return nil, fmt.Errorf("open bucket %d of table %s: the extent is of %s", bucket, table.ID, at.Segment.Path())
	}
	o := opening{bucket: b}
	b.start.Store(b.first)
	b.end.Store(b.first)
	if err := o.run(at); err != nil {
		return nil, fmt.Errorf("open bucket %d of table %s: %w", bucket, table.ID, err)
	}
	return b, nil
}

// opening brings a bucket to where the last whole group left it.
type opening struct {
	bucket *Bucket
	// bases are those of the segments in the folder, ascending.
	bases []int64
	// moved says that names in the folder have changed.
	moved bool
}

func (o *opening) run(at *Extent) error {
	if err := o.tidy(); err != nil {
		return err
	}
	var err error
	if at != nil {
		err = o.openAt(*at)
	} else {
		err = o.rebuild()
	}
	if err != nil {
		return err
	}
	if o.moved {
		if err := o.bucket.options.FS.SyncDir(o.bucket.dir); err != nil {
			return err
		}
	}
	return o.bucket.findLastTime()
}

// tidy lists the folder, and removes what an interrupted rewrite and what is not ours left in it.
func (o *opening) tidy() error {
	b := o.bucket
	names, err := b.options.FS.List(b.dir)
	if errors.Is(err, fs.ErrNotExist) {
		b.writer.dirMissing = true
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		if base, ok := parseBase(name, segmentSuffix); ok {
			o.bases = append(o.bases, base)
		}
	}
	for _, name := range names {
		if _, ok := parseBase(name, segmentSuffix); ok {
			continue
		}
		if base, ok := parseBase(name, indexSuffix); ok {
			if _, found := slices.BinarySearch(o.bases, base); found {
				continue
			}
			err = b.options.FS.Remove(b.dir + "/" + name)
		} else if _, ok := parseBase(name, rewriteSuffix); ok {
			err = b.options.FS.Remove(b.dir + "/" + name)
		} else {
			err = b.toTrash(name)
		}
		if err != nil {
			return err
		}
		o.moved = true
	}
	return nil
}

// discard moves segments to the trash, with their indexes.
func (o *opening) discard(bases []int64) error {
	for _, base := range bases {
		if err := o.bucket.discard(base); err != nil {
			return err
		}
		o.moved = true
	}
	return nil
}

func (b *Bucket) discard(base int64) error {
	if err := b.options.FS.Remove(b.segmentName(base).indexPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return b.toTrash(baseText(base) + segmentSuffix)
}

func (b *Bucket) segmentName(base int64) SegmentName {
	return SegmentName{TableID: b.tableID, Bucket: b.number, Base: base}
}

// sealed makes the segments of bases, none of which is written to any more; limit is the limit of
// the last one.
func (o *opening) sealed(bases []int64, limit int64) ([]*segment, error) {
	segments := make([]*segment, len(bases), len(bases)+1)
	for i, base := range bases {
		s := &segment{bucket: o.bucket, name: o.bucket.segmentName(base), limit: limit}
		if i+1 < len(bases) {
			s.limit = bases[i+1]
		}
		s.durable.Store(true)
		info, err := o.bucket.options.FS.Stat(s.name.Path())
		if err != nil {
			return nil, err
		}
		s.size = info.Size
		segments[i] = s
	}
	return segments, nil
}

// openAt opens the bucket at a committed end.
func (o *opening) openAt(at Extent) error {
	b := o.bucket
	var older, behind []int64
	present := false
	for _, base := range o.bases {
		switch {
		case base == at.Segment.Base:
			present = true
		case base < at.Segment.Base:
			older = append(older, base)
		default:
			behind = append(behind, base)
		}
	}
	if err := o.discard(behind); err != nil {
		return err
	}
	if present {
		var err error
		if at, err = Standing(b.options, at); err != nil {
			return err
		}
	}
	b.writer.extent = at
	if at.Segment.Base < 0 {
		b.writer.next, b.writer.written = b.first, b.first
		return nil
	}
	b.writer.next, b.writer.written = at.Next, at.Next
	b.end.Store(at.Next)
	segments, err := o.sealed(older, at.Segment.Base)
	if err != nil {
		return err
	}
	newest := &segment{bucket: b, name: b.segmentName(at.Segment.Base), limit: at.Next}
	if err := newest.loadAt(at, present); err != nil {
		return err
	}
	if newest.rotten && at.Next == at.Segment.Base {
		// It has no rows, so the next segment takes its name.
		if present {
			err = o.discard([]int64{at.Segment.Base})
		}
	} else {
		segments = append(segments, newest)
	}
	newest.durable.Store(newest.rotten) // nobody writes to it any more
	if !newest.rotten {
		newest.limit = noLimit
		b.writer.active = newest
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.setSegments(segments)
	return err
}

// loadAt loads the newest segment up to its committed end and cuts off what lies behind.
func (s *segment) loadAt(at Extent, present bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !present {
		s.rotten = true
		s.lose("the file is missing")
		return nil
	}
	if err := s.load(bounds{end: at.End}); err != nil {
		return err
	}
	s.rotten = s.headless
	if len(s.damage) > 0 || s.size != at.End || s.chain != at.Chain || s.next != at.Next {
		s.rotten = true
		if len(s.damage) == 0 {
			s.bucket.logDamage(s.name.Path(), damage{from: at.Next, to: at.Next, position: s.size, detail: fmt.Sprintf(
				"it ends at byte %d with checksum %08x, want byte %d and %08x", s.size, s.chain, at.End, at.Chain)})
		}
	}
	return s.cut(at.End)
}

// cut shortens the file to end bytes, durably, unless it is shorter.
func (s *segment) cut(end int64) (err error) {
	file, err := s.bucket.options.FS.Open(s.name.Path())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	size, err := file.Size()
	if err != nil || size <= end {
		return err
	}
	s.bucket.options.Logger.Info("what lies behind the last whole group is cut off", "file", s.name.Path(), "from", end, "to", size)
	if err := file.Truncate(end); err != nil {
		return err
	}
	return file.Sync()
}

// rebuild opens the bucket without knowing how far it counts.
func (o *opening) rebuild() error {
	b := o.bucket
	b.writer.extent = Extent{Segment: b.segmentName(-1)}
	b.writer.next, b.writer.written = b.first, b.first
	for len(o.bases) > 0 {
		last := len(o.bases) - 1
		newest := &segment{bucket: b, name: b.segmentName(o.bases[last]), limit: noLimit}
		if err := newest.guess(); err != nil {
			return err
		}
		if len(newest.entries) == 0 {
			if err := o.discard(o.bases[last:]); err != nil {
				return err
			}
			o.bases = o.bases[:last]
			continue
		}
		return o.adopt(newest)
	}
	return nil
}

// guess loads a segment of which nobody knows how far it counts, and cuts off what does not verify.
func (s *segment) guess() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.load(bounds{end: -1, guess: true}); err != nil || len(s.entries) == 0 {
		return err
	}
	s.rotten = s.headless || len(s.damage) > 0
	return s.cut(s.size)
}

// adopt makes a segment that was guessed the newest one.
func (o *opening) adopt(newest *segment) error {
	b := o.bucket
	segments, err := o.sealed(o.bases[:len(o.bases)-1], newest.name.Base)
	if err != nil {
		return err
	}
	next := newest.next
	b.writer.extent = Extent{Segment: newest.name, End: newest.size, Chain: newest.chain, Next: next}
	b.writer.next, b.writer.written = next, next
	b.end.Store(next)
	newest.durable.Store(newest.rotten)
	if newest.rotten {
		newest.limit = next
	} else {
		b.writer.active = newest
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.setSegments(append(segments, newest))
	return nil
}

// findLastTime takes the time of the newest row from the newest segment that has one.
func (b *Bucket) findLastTime() error {
	for _, s := range slices.Backward(b.list()) {
		s.mu.Lock()
		err := s.load(bounds{end: -1})
		entries := s.entries
		s.mu.Unlock()
		if err != nil {
			return err
		}
		if len(entries) > 0 {
			b.lastTime.Store(entries[len(entries)-1].time)
			return nil
		}
	}
	return nil
}
