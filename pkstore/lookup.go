package pkstore

import (
	"fmt"
	"slices"
	"sync"

	"github.com/headrace/headrace/internal/arrowipc"
)

// lookupTries is how often Lookup looks for a quiet moment before it holds up Publish for one.
const lookupTries = 4

// resolvers are kept for lookups. It is a cache that the garbage collector may empty at any time.
var resolvers = sync.Pool{New: func() any { return new(resolver) }}

// Lookup appends the newest published row of each key to into, in the order of the keys: all of them
// as they were when the log ended at asOf. A key without a row gives a Pick without a View. It fails
// where a row cannot be read. All picks have one layout, that of the schema of the moment. Any number of
// goroutines may call it, with a reader each; nil: no cache is used.
func (b *Bucket) Lookup(keys Keys, reader *RowReader, into []arrowipc.Pick) (picks []arrowipc.Pick, asOf int64, err error) {
	r := resolvers.Get().(*resolver)
	defer resolvers.Put(r)
	defer r.forget()
	r.images, r.reader = reader.next(), reader
	if asOf, err = b.resolveSnapshot(r, &keys); err != nil {
		return into, asOf, fmt.Errorf("reading rows from below the log: %w", err)
	}
	into = slices.Grow(into, len(r.found))
	for _, f := range r.found {
		pick := arrowipc.Pick{}
		switch f.batch {
		case nil:
		case cachedRow:
			reader.hits++
			pick = r.images.Pick(f.row)
		default:
			view, err := f.batch.whole()
			if err != nil {
				return into, asOf, fmt.Errorf("reading the row at offset %d: %w", f.offset(), err)
			}
			pick = arrowipc.Pick{View: view, Row: f.row}
		}
		into = append(into, pick)
	}
	if r.images == nil || r.schema.shape == nil {
		return into, asOf, nil
	}
	return into, asOf, r.keepRows(into[len(into)-len(r.found):])
}

// keepRows puts images in the place of the rows of the log that were found, and has the cache get them, unless the
// reader rests.
func (r *resolver) keepRows(picks []arrowipc.Pick) error {
	r.missing = r.missing[:0]
	for i, f := range r.found {
		if f.batch != nil && f.batch != cachedRow && f.batch.offsets == nil {
			r.missing = append(r.missing, int32(i))
		}
	}
	r.reader.misses += len(r.missing)
	if !r.reader.filling {
		return nil
	}
	for missing := range slices.Chunk(r.missing, keptAtOnce) {
		r.reader.rows = r.reader.rows[:0]
		for _, i := range missing {
			r.reader.rows = append(r.reader.rows, picks[i])
		}
		r.touched += r.schema.shape.TouchRows(r.reader.rows)
		for _, i := range missing {
			offset := r.found[i].offset()
			pick, err := r.reader.keep(r.schema, r.images, offset, picks[i])
			if err != nil {
				return fmt.Errorf("reading the row at offset %d: %w", offset, err)
			}
			picks[i] = pick
		}
	}
	return nil
}

// keptAtOnce is how many rows are brought near before images are made of them: a level-two cache holds them.
const keptAtOnce = 256
