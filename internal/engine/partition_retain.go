package engine

import (
	"cmp"
	"slices"

	"github.com/headrace/headrace/streams"
)

// bytesCutoff gives the time in µs before which rows of a partitioned table have to go so that its segments
// have at most so many bytes, the oldest of all partitions first; 0 where none have to. It is for the
// maintenance.
func (t *table) bytesCutoff(bytesMax int64) (int64, error) {
	numbers := t.numbers()
	total := int64(0)
	for _, number := range numbers {
		measured, err := t.measure(number)
		if err != nil {
			return 0, err
		}
		total += measured.Bytes
	}
	if total <= bytesMax {
		return 0, nil
	}
	var ages []streams.SegmentAge
	for _, number := range numbers {
		if !t.written(number) {
			continue
		}
		b, err := t.bucket(number)
		if err != nil && t.isGone(number) {
			continue
		}
		if err != nil {
			return 0, err
		}
		of, err := b.Ages()
		if err != nil {
			return 0, err
		}
		ages = append(ages, of...)
	}
	slices.SortFunc(ages, func(a, b streams.SegmentAge) int { return cmp.Compare(a.Last, b.Last) })
	cutoff := int64(0)
	for _, age := range ages {
		if total <= bytesMax {
			break
		}
		total -= age.Bytes
		cutoff = age.Last + 1
	}
	return cutoff, nil
}
