package pkstore

import (
	"errors"

	"github.com/headrace/headrace/internal/arrowipc"
)

// RowReader is what a stream of lookups reads and fills a RowCache through. The zero value, and a nil one, use none.
// It is owned by one goroutine.
type RowReader struct {
	cache   *RowCache
	reading bool
	epoch   uint64
	// images are the rows that were found, by lookup, of which there were so many since Begin.
	images  []*arrowipc.Images
	lookups int

	// fresh are rows that the cache gets at End, scratch their images; unless filling is off.
	filling bool
	fresh   []freshRow
	scratch []byte
	rows    []arrowipc.Pick // reused

	hits, misses int
	// rest is for how many lookups nothing is added, because that does not pay.
	rest int
}

const (
	// A lookup that finds less than one in fillHits of its rows in a cache that is full adds what it read to the cache,
	// and the next fillRest lookups do not: the cache is too small for what is asked for, and should not cost
	// much then.
	fillHits = 4
	fillRest = 15

	// scratchKept is how large scratch may be that is kept.
	scratchKept = 1 << 20
)

// NewRowReader gives a reader of a cache; nil: of none.
func NewRowReader(cache *RowCache) *RowReader { return &RowReader{cache: cache} }

// Begin allows lookups. The rows that they find stay where they are until End.
func (r *RowReader) Begin() {
	if r.cache == nil || r.reading {
		return
	}
	r.reading, r.lookups, r.hits, r.misses = true, 0, 0, 0
	r.epoch = r.cache.enter()
	r.filling = r.rest == 0
	r.rest = max(r.rest-1, 0)
}

// End ends what Begin began: rows that were found must not be read any more. It may be called without Begin.
func (r *RowReader) End() {
	if !r.reading {
		return
	}
	r.reading = false
	r.cache.leave(r.epoch)
	r.cache.hits.Add(int64(r.hits))
	r.cache.misses.Add(int64(r.misses))
	r.cache.add(r.fresh, r.scratch)
	clear(r.rows) // they keep batches
	r.fresh, r.scratch = r.fresh[:0], r.scratch[:0]
	if cap(r.scratch) > scratchKept {
		r.scratch = nil
	}
	if r.filling && r.cache.full.Load() && r.hits*fillHits < r.hits+r.misses {
		r.rest = fillRest
	}
}

// next gives what the rows of another lookup are put in; nil where no cache is used.
func (r *RowReader) next() *arrowipc.Images {
	if r == nil || !r.reading {
		return nil
	}
	if r.lookups == len(r.images) {
		r.images = append(r.images, new(arrowipc.Images))
	}
	r.lookups++
	return r.images[r.lookups-1]
}

// keep gives the image of a row of the log, which the cache gets; or the row itself where it is too large.
func (r *RowReader) keep(s *bucketSchema, images *arrowipc.Images, offset int64, row arrowipc.Pick) (arrowipc.Pick, error) {
	from := len(r.scratch)
	scratch, err := s.shape.AppendImage(r.scratch, row.View, row.Row)
	if err != nil {
		if errors.Is(err, arrowipc.ErrRowTooLarge) {
			err = nil
		}
		return row, err
	}
	r.scratch = scratch
	r.fresh = append(r.fresh, freshRow{owner: s.owner, offset: offset, end: len(scratch)})
	return images.Add(&scratch[from]), nil
}
