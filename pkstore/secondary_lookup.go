package pkstore

import (
	"cmp"
	"fmt"
	"slices"
	"sync"

	"github.com/headrace/headrace/internal/arrowipc"
)

// Match is a row that LookupBy found.
type Match struct {
	// Key is the row of Keys.View that it was found for.
	Key int32
	// Row is the row, in the layout of the log.
	Row arrowipc.Pick
	// Offset is where it stands in the log.
	Offset int64
}

// matchers are kept for lookups. It is a cache that the garbage collector may empty at any time.
var matchers = sync.Pool{New: func() any { return new(matcher) }}

const (
	// matchesHeld is how many keys a lookup resolves while it holds up Publish.
	matchesHeld = 4 << 10
	// matchesKept is how large a matcher may be that is kept.
	matchesKept = 64 << 10
)

// matcher finds the candidates of keys: rows whose hashes fit. It is owned by one goroutine.
type matcher struct {
	entries []uint64 // of all keys
	ends    []int    // by key, in entries
	found   []found
	bounds  []int // by key, in found
}

// LookupBy appends the published rows whose columns, those of a secondary index, have the values of a
// key: 0 to n rows a key, in the order of the keys, and the rows of a key in that of their offsets; all
// of them as they were when the log ended at asOf. keys.Columns and keys.Hashes are those of the columns
// of the index, in their order. A null finds nothing. It fails with model.IndexNotFound and
// model.IndexNotReady, and where a row cannot be read. Any number of goroutines may call it.
func (b *Bucket) LookupBy(index string, keys Keys, into []Match) (matches []Match, asOf int64, err error) {
	x, err := b.usable(index)
	if err != nil {
		return into, 0, err
	}
	m := matchers.Get().(*matcher)
	defer func() {
		clear(m.found) // batches keep mapped segments
		if cap(m.found)+cap(m.entries) <= matchesKept {
			matchers.Put(m)
		}
	}()
	var log *publishedLog
	for {
		if log, err = b.matchSnapshot(m, x, &keys); err != nil {
			return into, 0, err
		}
		// One that was renewed meanwhile may not have heard of the newest rows.
		now, err := b.usable(index)
		if err != nil {
			return into, 0, err
		}
		if now == x {
			break
		}
		x = now
	}
	shape, asOf := x.shape(log.schema), log.end
	begin := 0
	for i, end := range m.bounds {
		row := keys.row(i)
		first := len(into)
		for _, f := range m.found[begin:end] {
			view, err := f.batch.whole()
			if err != nil {
				return into, asOf, fmt.Errorf("reading the row at offset %d: %w", f.offset(), err)
			}
			if keys.Columns.Equal(keys.View, row, shape.columns, view, f.row) {
				into = append(into, Match{row, arrowipc.Pick{View: view, Row: f.row}, f.offset()})
			}
		}
		if len(into) > first+1 {
			slices.SortFunc(into[first:], func(a, b Match) int { return cmp.Compare(a.Offset, b.Offset) })
		}
		begin = end
	}
	return into, asOf, nil
}

// collect reads the entries of all keys.
func (m *matcher) collect(root *entryNode, k *Keys) {
	m.entries, m.ends = m.entries[:0], m.ends[:0]
	for i := range k.count() {
		first := k.Hashes[k.row(i)] &^ (1<<32 - 1)
		m.entries = root.appendRange(m.entries, first, first|(1<<32-1))
		m.ends = append(m.ends, len(m.entries))
	}
}

// resolve finds the rows of the keys that the entries lead to, and of others with nearly the same hash.
func (m *matcher) resolve(directory *shardDirectory, log *publishedLog, k *Keys) {
	m.found, m.bounds = m.found[:0], m.bounds[:0]
	collect := func(slot uint64) bool {
		if batch, row := log.locate(slotOffset(slot, log.start)); batch != nil {
			m.found = append(m.found, found{batch, row})
		}
		return false
	}
	begin := 0
	for _, end := range m.ends {
		last := uint64(0)
		for _, entry := range m.entries[begin:end] {
			hash := entry << 32
			// Entries are ascending: those of one tag, which leads to all of its rows at once, are
			// neighbours.
			if tag := slotTag(hash); tag != last {
				last = tag
				directory.at(hash).find(tag, collect)
			}
		}
		m.bounds = append(m.bounds, len(m.found))
		begin = end
	}
}

// at gives the shard of a hash.
func (d *shardDirectory) at(hash uint64) *shard { return d.shards[hash>>(64-d.depth)].Load() }

// frozenDirectory gives the shards as they are now; they will not change any more. For the writer.
func (x *index) frozenDirectory() *shardDirectory {
	x.epoch++
	d := x.directory.Load()
	frozen := newShardDirectory(d.depth)
	for i := range d.shards {
		frozen.shards[i].Store(d.shards[i].Load())
	}
	return frozen
}
