package engine

import (
	"slices"
)

// LaterBuckets says which buckets that a table gets while a read follows it are part of the read.
type LaterBuckets uint8

// The kinds of LaterBuckets.
const (
	// LaterDefault is LaterAll where the scan names no buckets, else LaterNone.
	LaterDefault LaterBuckets = iota
	// LaterNone: none.
	LaterNone
	// LaterFamily: those that split from a bucket of the read.
	LaterFamily
	// LaterAll: those that split from a bucket of the read, and all others that split from none.
	LaterAll
)

// linkSources tells each source that has to wait for another one: rows of a bucket that split from another one go
// out behind those of that one, so that the rows of a key keep their order.
func (r *Reader) linkSources() {
	definition := r.table.definition.Load()
	for _, s := range r.sources {
		split, known := definition.Splits[s.number]
		if !known || s.before != nil {
			continue
		}
		if i := slices.IndexFunc(r.sources, func(x *source) bool { return x.number == split.Parent }); i >= 0 {
			s.before, s.splitAt = r.sources[i], split.At
		}
	}
}

// released says that a source does not wait any more that did when it was looked at: a filter has passed over
// the rest of the one before it.
func (r *Reader) released() bool {
	for _, s := range r.sources {
		if !s.held {
			continue
		}
		if waits, err := s.waits(r); !waits && err == nil {
			return true
		}
	}
	return false
}

// waits says that rows of the source must not go out yet.
func (s *source) waits(r *Reader) (bool, error) {
	if s.before == nil {
		return false, nil
	}
	// A bucket without rows may have split again: where it waits, so does what came from it.
	if waits, err := s.before.waits(r); waits || err != nil {
		return waits, err
	}
	if !r.follow {
		return s.before.next < min(s.splitAt, s.before.to), nil
	}
	if s.before.next >= s.splitAt {
		return false, nil
	}
	// Where the end of a log was damaged, nothing more comes.
	rows, err := r.table.readable(s.before.number)
	return s.before.next < min(s.splitAt, rows.To), err
}
