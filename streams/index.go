package streams

import (
	"math"
	"sort"
)

// entry says where a stored batch is. Entries of a segment ascend in every field but rows and
// metadata.
type entry struct {
	// offset is that of the first row, time the append time of the last one in µs.
	offset, position, time int64
	rows                   uint32
	// metadata is the length of the IPC metadata: our header follows it.
	metadata uint32
}

const entryBytes = 32

func (e *entry) end() int64 { return e.offset + int64(e.rows) }

// findOffset gives the index of the entry that holds an offset. Entries without rows hold none.
func findOffset(entries []entry, offset int64) (int, bool) {
	i := sort.Search(len(entries), func(i int) bool { return entries[i].end() > offset })
	return i, i < len(entries) && entries[i].offset <= offset
}

// countBelow gives how many entries lie wholly below an offset.
func countBelow(entries []entry, offset int64) int {
	return sort.Search(len(entries), func(i int) bool { return entries[i].end() > offset })
}

// damage is a range of rows that cannot be read, [from, to).
type damage struct {
	from, to int64
	// position is where in the file the damage begins.
	position int64
	detail   string
}

// noLimit is the limit of a segment that none follows.
const noLimit = math.MaxInt64
