package pkstore

// occurrences finds the rows of a request that have the same key. It keeps its memory between
// requests and is owned by one goroutine.
type occurrences struct {
	table []int32 // row + 1
	// first has for each row the first row with the same key.
	first []int32
	// repeats is how many rows have a key that came before.
	repeats int
}

// find looks through rows by the hashes of their keys; equal says whether two rows have the same key.
func (o *occurrences) find(hashes []uint64, equal func(a, b int32) bool) {
	size := 16
	for size < 2*len(hashes) {
		size *= 2
	}
	if cap(o.table) < size {
		o.table = make([]int32, size)
	}
	o.table = o.table[:size]
	clear(o.table)
	o.first, o.repeats = o.first[:0], 0
	mask := uint64(size - 1)
	for row, hash := range hashes {
		first := int32(row)
		i := hash >> 20 & mask
		for ; o.table[i] != 0; i = (i + 1) & mask {
			if other := o.table[i] - 1; hashes[other] == hash && equal(other, int32(row)) {
				first = other
				o.repeats++
				break
			}
		}
		if first == int32(row) {
			o.table[i] = int32(row) + 1
		}
		o.first = append(o.first, first)
	}
}
