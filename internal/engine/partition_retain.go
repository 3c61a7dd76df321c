package engine

import (
	"cmp"
	"slices"

	"github.com/headrace/headrace/streams"
)

// idleChecks is how many buckets of a partitioned table that nobody uses a round of maintenance opens to see
// whether their rows are over: the others have their turn in later rounds.
const idleChecks = 256

// retained gives the buckets that a round looks at: those in use, and some of the others.
func (t *table) retained() []int32 {
	if t.partitions == nil {
		return t.numbers()
	}
	var chosen, idle []int32
	for _, number := range t.storedNumbers() {
		if t.isOpen(number) {
			chosen = append(chosen, number)
		} else if t.written(number) {
			idle = append(idle, number)
		}
	}
	behind, _ := slices.BinarySearch(idle, t.idleTurn)
	for i := range min(idleChecks, len(idle)) {
		number := idle[(behind+i)%len(idle)]
		chosen = append(chosen, number)
		t.idleTurn = number + 1
	}
	return chosen
}

// bytesCutoff gives the time in µs before which rows of a partitioned table have to go so that its segments
// have at most so many bytes, the oldest of all partitions first; 0 where none have to. It is for the
// maintenance.
func (t *table) bytesCutoff(bytesMax int64) (int64, error) {
	numbers := t.numbers()
	total := int64(0)
	for _, number := range numbers {
		bytes, err := t.sizeOf(number)
		if err != nil {
			return 0, err
		}
		total += bytes
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

// sizeOf gives the bytes of a bucket. That of one which is not in use does not change.
func (t *table) sizeOf(number int32) (int64, error) {
	open := t.isOpen(number)
	if bytes, known := t.idleBytes[number]; known && !open {
		return bytes, nil
	}
	measured, err := t.measure(number)
	if err != nil || open {
		delete(t.idleBytes, number)
		return measured.Bytes, err
	}
	if t.idleBytes == nil {
		t.idleBytes = map[int32]int64{}
	}
	t.idleBytes[number] = measured.Bytes
	return measured.Bytes, nil
}
