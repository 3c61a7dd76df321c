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
			if pick, err = r.read(f); err != nil {
				return into, asOf, fmt.Errorf("reading the row at offset %d: %w", f.offset(), err)
			}
		}
		into = append(into, pick)
	}
	return into, asOf, nil
}

// read gives the pick of a row that is not in the cache.
func (r *resolver) read(f found) (arrowipc.Pick, error) {
	view, err := f.batch.whole()
	if err != nil || r.images == nil || r.schema.shape == nil || f.batch.offsets != nil {
		return arrowipc.Pick{View: view, Row: f.row}, err
	}
	return r.reader.read(r.schema, r.images, f.offset(), arrowipc.Pick{View: view, Row: f.row})
}
