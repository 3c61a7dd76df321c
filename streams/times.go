package streams

import (
	"errors"
	"iter"
	"math"
	"sort"

	"github.com/headrace/headrace/internal/vfs"
)

// OffsetAt gives the first readable offset whose append time is at or behind a time in µs; End where
// there is none. Rows that cannot be read are passed over.
func (b *Bucket) OffsetAt(timeMicros int64) (int64, error) {
	for {
		if err := b.closed(); err != nil {
			return 0, err
		}
		offset, err := b.offsetAt(b.list(), timeMicros)
		if !errors.Is(err, errRetired) { // else another segment stands in its place
			return offset, err
		}
	}
}

func (b *Bucket) offsetAt(segments []*segment, timeMicros int64) (int64, error) {
	end := b.End() // behind the list: a segment that was rewritten lies below it as a whole
	var failed error
	first := sort.Search(len(segments), func(i int) bool {
		last, err := lastTimeUpTo(segments, i, end)
		if err != nil {
			failed = err
		}
		return err != nil || last >= timeMicros
	})
	if failed != nil {
		return 0, failed
	}
	for _, s := range segments[first:] {
		entries, _, err := s.view(end)
		if err != nil {
			return 0, err
		}
		at := sort.Search(len(entries), func(i int) bool { return entries[i].time >= timeMicros })
		for at < len(entries) && entries[at].rows == 0 {
			at++
		}
		if at == len(entries) {
			continue
		}
		offset, err := b.offsetWithin(s, entries[at], at, timeMicros)
		return max(offset, b.Start()), err
	}
	return end, nil
}

// lastTimeUpTo gives the time of the last readable row of segment i, or of those before it where it
// has none.
func lastTimeUpTo(segments []*segment, i int, end int64) (int64, error) {
	for ; i >= 0; i-- {
		entries, _, err := segments[i].view(end)
		if err != nil {
			return 0, err
		}
		if len(entries) > 0 {
			return entries[len(entries)-1].time, nil
		}
	}
	return math.MinInt64, nil
}

// offsetWithin gives the first offset of a batch at or behind a time.
func (b *Bucket) offsetWithin(s *segment, e entry, at int, timeMicros int64) (int64, error) {
	mapping, _, err := s.use(e.end())
	if err != nil {
		return 0, err
	}
	defer mapping.Release()
	var stored Stored
	if err := stored.read(s, mapping, at, e); err != nil {
		return 0, err
	}
	runs, err := stored.Runs()
	if err != nil {
		return 0, err
	}
	for _, r := range runs {
		if r.Time >= timeMicros && r.Rows > 0 {
			return e.offset + r.RowStart, nil
		}
	}
	return e.offset, nil
}

// Runs gives the runs of every readable batch at or behind an offset, in order: what the state of
// producers is rebuilt from. A run that begins before the offset and reaches beyond it is among them.
// Rows that cannot be read show as an error, behind which the iteration goes on.
func (b *Bucket) Runs(from int64) iter.Seq2[RunAt, error] {
	return func(yield func(RunAt, error) bool) {
		w := runWalk{from: from, yield: yield}
		last := int64(-1)
		for {
			s := b.segmentBehind(last)
			if s == nil {
				return
			}
			w.end = b.End() // behind the list: a segment that was rewritten lies below it as a whole
			if !s.endsBelow(from) {
				err := w.segment(s)
				if errors.Is(err, errRetired) {
					continue // it is gone, or another one stands in its place
				}
				if w.stopped || err != nil && !yield(RunAt{}, err) {
					return
				}
			}
			last = s.name.Base
		}
	}
}

// segmentBehind gives the first segment with a greater base; nil if there is none.
func (b *Bucket) segmentBehind(base int64) *segment {
	for _, s := range b.list() {
		if s.name.Base > base {
			return s
		}
	}
	return nil
}

// endsBelow says that all rows of the segment lie below an offset, and batches without rows too.
func (s *segment) endsBelow(offset int64) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.limit < offset
}

// runWalk yields runs.
type runWalk struct {
	from    int64
	end     int64 // that of what is readable
	yield   func(RunAt, error) bool
	stopped bool
	stored  Stored
}

// segment yields the runs of one segment. An error says that it could not be opened.
func (w *runWalk) segment(s *segment) error {
	entries, damaged, err := s.view(w.end)
	if err != nil {
		return err
	}
	for _, d := range damaged {
		if d.to > w.from && !w.give(RunAt{}, damagedRows(s.name.Path(), d)) {
			return nil
		}
	}
	if len(entries) == 0 {
		return nil
	}
	mapping, _, err := s.use(w.end)
	if err != nil {
		return err
	}
	defer mapping.Release()
	for i, e := range entries {
		if w.reaches(e.end(), int64(e.rows)) && !w.batch(s, mapping, i, e) {
			return nil
		}
	}
	return nil
}

// reaches says that rows up to end are wanted, or that there are none and end is wanted.
func (w *runWalk) reaches(end, rows int64) bool { return end > w.from || end == w.from && rows == 0 }

// batch yields the runs of one batch; false ends the walk.
func (w *runWalk) batch(s *segment, mapping *vfs.Mapping, i int, e entry) bool {
	var runs []Run
	err := w.stored.read(s, mapping, i, e)
	if err == nil {
		runs, err = w.stored.Runs()
	}
	if err != nil {
		return w.give(RunAt{}, err)
	}
	for _, r := range runs {
		offset := e.offset + r.RowStart
		if !w.reaches(offset+r.Rows, r.Rows) {
			continue
		}
		if !w.give(RunAt{Offset: offset, Run: r}, nil) {
			return false
		}
	}
	return true
}

func (w *runWalk) give(at RunAt, err error) bool {
	w.stopped = !w.yield(at, err)
	return !w.stopped
}
