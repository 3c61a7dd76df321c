package pkstore

import (
	"fmt"
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
// goroutines may call it.
func (b *Bucket) Lookup(keys Keys, into []arrowipc.Pick) (picks []arrowipc.Pick, asOf int64, err error) {
	r := resolvers.Get().(*resolver)
	defer resolvers.Put(r)
	defer r.forget()
	if asOf, err = b.resolveSnapshot(r, &keys); err != nil {
		return into, asOf, fmt.Errorf("reading rows from below the log: %w", err)
	}
	for _, f := range r.found {
		if f.batch == nil {
			into = append(into, arrowipc.Pick{})
			continue
		}
		view, err := f.batch.whole()
		if err != nil {
			return into, asOf, fmt.Errorf("reading the row at offset %d: %w", f.offset(), err)
		}
		into = append(into, arrowipc.Pick{View: view, Row: f.row})
	}
	return into, asOf, nil
}
