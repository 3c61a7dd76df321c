package streams

import "errors"

// SegmentAge says how large and how old a segment is.
type SegmentAge struct {
	// Last is the append time of its newest row, µs; 0 where it has no rows.
	Last int64
	// Bytes is the size of its file.
	Bytes int64
}

// Ages tells of each segment, the oldest first.
func (b *Bucket) Ages() ([]SegmentAge, error) {
	for {
		ages, err := b.ages()
		if !errors.Is(err, errRetired) { // else another segment stands in its place
			return ages, err
		}
	}
}

func (b *Bucket) ages() ([]SegmentAge, error) {
	segments := b.list()
	ages := make([]SegmentAge, len(segments))
	for i, s := range segments {
		s.mu.Lock()
		var err error
		if i < len(segments)-1 {
			err = s.load(bounds{end: -1})
		}
		ages[i].Bytes = s.size
		if n := len(s.entries); n > 0 {
			ages[i].Last = s.entries[n-1].time
		}
		s.mu.Unlock()
		if err != nil {
			return nil, err
		}
	}
	if n := len(ages); n > 0 {
		ages[n-1].Last = max(ages[n-1].Last, b.LastTime())
	}
	return ages, nil
}
