package pkstore

import (
	"fmt"
	"runtime"
	"sync"

	"github.com/headrace/headrace/internal/arrowipc"
)

// lookupTries is how often Lookup looks for a quiet moment before it holds up Publish for one.
const lookupTries = 4

// resolvers are kept for lookups. It is a cache that the garbage collector may empty at any time.
var resolvers = sync.Pool{New: func() any { return new(resolver) }}

// Lookup appends the newest published row of each key to into, in the order of the keys: all of them
// as they were when the log ended at asOf. A key without a row gives a Pick without a View. It fails
// where a row cannot be read. Any number of goroutines may call it.
func (b *Bucket) Lookup(keys Keys, into []arrowipc.Pick) (picks []arrowipc.Pick, asOf int64, err error) {
	r := resolvers.Get().(*resolver)
	defer resolvers.Put(r)
	defer func() { clear(r.found) }() // batches keep mapped segments
	asOf = b.resolveSnapshot(r, &keys)
	for _, f := range r.found {
		if f.batch == nil {
			into = append(into, arrowipc.Pick{})
			continue
		}
		if err := f.batch.check(); err != nil {
			return into, asOf, fmt.Errorf("reading the row at offset %d: %w", f.offset(), err)
		}
		into = append(into, arrowipc.Pick{View: f.batch.View, Row: f.row})
	}
	return into, asOf, nil
}

// resolveSnapshot finds all keys as of one moment, and gives the end of the log then.
func (b *Bucket) resolveSnapshot(r *resolver, k *Keys) int64 {
	for range lookupTries {
		before := b.sequence.Load()
		if before&1 == 0 {
			log := b.log.Load()
			r.resolve(b, log, k)
			if b.sequence.Load() == before {
				return log.end
			}
		}
		runtime.Gosched()
	}
	b.publishing.Lock()
	defer b.publishing.Unlock()
	log := b.log.Load()
	r.resolve(b, log, k)
	return log.end
}
