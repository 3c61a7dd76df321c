package pkstore

import (
	"fmt"
	"slices"
)

const (
	pageShift = 12 // rows to an entry of publishedLog.pages
	// pageBatches is how many batches of a page are looked through one by one.
	pageBatches = 8
)

// publishedLog finds the batch of an offset. It is immutable: a longer one shares its memory.
type publishedLog struct {
	schema     *bucketSchema // of all batches
	start, end int64
	bases      []int64 // of the batches, and end
	batches    []*storedBatch
	pages      []uint32 // index of the batch that has offset start + i<<pageShift
}

// extend gives the log with batches that follow it. The first batch of an empty log says where it
// starts. Only the longest log of a family may be extended.
func (l *publishedLog) extend(stored []Stored) (*publishedLog, error) {
	if len(stored) == 0 {
		return l, nil
	}
	longer := *l
	if len(l.batches) == 0 {
		longer.start, longer.end = stored[0].Base, stored[0].Base
		longer.bases = []int64{stored[0].Base}
	}
	longer.batches = slices.Grow(longer.batches, len(stored))
	for _, s := range stored {
		if s.Base != longer.end {
			return nil, fmt.Errorf("a batch of the log begins at offset %d, want %d", s.Base, longer.end)
		}
		if s.View.Rows() == 0 {
			continue
		}
		longer.end = s.end()
		for longer.start+int64(len(longer.pages))<<pageShift < longer.end {
			longer.pages = append(longer.pages, uint32(len(longer.batches)))
		}
		longer.batches = append(longer.batches, newStoredBatch(s))
		longer.bases = append(longer.bases, longer.end)
	}
	if longer.end-longer.start > windowRows {
		return nil, fmt.Errorf("the log has %d rows, an index reaches over %d", longer.end-longer.start, int64(windowRows))
	}
	return &longer, nil
}

// locate gives the batch of an offset, and the row in it; nil where the log does not have it.
func (l *publishedLog) locate(offset int64) (*storedBatch, int32) {
	if offset < l.start || offset >= l.end {
		return nil, 0
	}
	page := int((offset - l.start) >> pageShift)
	i := int(l.pages[page])
	if last := l.lastOf(page); last-i > pageBatches {
		at, _ := slices.BinarySearch(l.bases[i+1:last+1], offset+1)
		i += at
	}
	for l.bases[i+1] <= offset {
		i++
	}
	return l.batches[i], int32(offset - l.bases[i])
}

// lastOf is the index of the last batch that a page may have rows of.
func (l *publishedLog) lastOf(page int) int {
	if page+1 < len(l.pages) {
		return int(l.pages[page+1])
	}
	return len(l.batches) - 1
}
