package pkstore

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// secondaryIndex leads from the values of some columns to the keys of the rows that have them. It knows
// both by their hashes: what it leads to is verified in the rows. An update that leaves the columns as
// they are changes nothing in it. Rows with a null in one of the columns are not in it.
//
// An entry is, from the top, 32 bits of the hash of the columns and 32 bits of the hash of the key.
type secondaryIndex struct {
	name string
	// shapes say where the columns are, by version of the schema; the last one is that of the bucket. The
	// list is replaced as a whole, by who holds publishing.
	shapes atomic.Pointer[[]*indexShape]

	// root is what readers see; nil until the index is built.
	root atomic.Pointer[entryNode]
	// failed is why the index cannot be built.
	failed atomic.Pointer[error]
	// dropped ends the building.
	dropped atomic.Bool
	// renews is the index that this one will replace when it is built; nil for others.
	renews atomic.Pointer[secondaryIndex]
	// rows and done are how many rows there were when the building began, and how many of them are in.
	rows, done atomic.Int64
	// count and bytes are figures of tree.
	count, bytes atomic.Int64

	// The rest belongs to who holds publishing; tree to the build while that runs.
	hasher  *arrowipc.RowHasher
	tree    *entryTree
	late    *entryChanges // what was published since the build began; nil when it has ended
	changes entryChanges  // reused
}

// entryChanges are entries to be added and removed.
type entryChanges struct{ added, removed []uint64 }

func (c *entryChanges) reset() { c.added, c.removed = c.added[:0], c.removed[:0] }

func (c *entryChanges) sort() {
	slices.Sort(c.added)
	slices.Sort(c.removed)
}

func entryOf(columns, key uint64) uint64 { return columns&^(1<<32-1) | key>>32 }

// secondaryIndexes are those of a bucket; the list is replaced as a whole, by who holds publishing.
type secondaryIndexes struct {
	list atomic.Pointer[[]*secondaryIndex]
}

func (s *secondaryIndexes) all() []*secondaryIndex {
	if list := s.list.Load(); list != nil {
		return *list
	}
	return nil
}

func (s *secondaryIndexes) find(name string) *secondaryIndex {
	for _, x := range s.all() {
		if x.name == name && x.renews.Load() == nil {
			return x
		}
	}
	return nil
}

func newSecondaryIndex(name string, s *bucketSchema, columns []int) (*secondaryIndex, error) {
	x := &secondaryIndex{name: name, tree: newEntryTree()}
	shape, err := newIndexShape(s, columns)
	if err != nil {
		return nil, fmt.Errorf("columns of index %q: %w", name, err)
	}
	x.evolve(shape)
	return x, nil
}

// DropIndex removes a secondary index; nothing happens where there is none of that name. A build of it
// that runs ends with its next step.
func (b *Bucket) DropIndex(name string) {
	b.publishing.Lock()
	defer b.publishing.Unlock()
	var left []*secondaryIndex
	for _, x := range b.secondary.all() {
		if x.name == name {
			x.dropped.Store(true)
		} else {
			left = append(left, x)
		}
	}
	b.secondary.list.Store(&left)
}

// pendingRows finds rows of the log that is published, or is about to be.
type pendingRows struct {
	log      *publishedLog
	batches  []pendingBatch
	replaced map[int64]arrowipc.Pick // rows from below the log
}

func (p *pendingRows) at(offset int64) (arrowipc.Pick, error) {
	// The rows that Apply made are still in memory; those of the log have to be checked first.
	if n := len(p.batches); n > 0 && offset >= p.batches[0].base && offset < p.batches[n-1].end {
		i, found := slices.BinarySearchFunc(p.batches, offset, func(b pendingBatch, offset int64) int { return cmp.Compare(b.base, offset) })
		if !found {
			i--
		}
		return arrowipc.Pick{View: p.batches[i].view, Row: int32(offset - p.batches[i].base)}, nil
	}
	batch, row := p.log.locate(offset)
	if batch == nil {
		if row, retired := p.replaced[offset]; retired {
			return row, nil
		}
		return arrowipc.Pick{}, fmt.Errorf("the log has no row at offset %d", offset)
	}
	view, err := batch.whole()
	if err != nil {
		return arrowipc.Pick{}, fmt.Errorf("reading the row at offset %d: %w", offset, err)
	}
	return arrowipc.Pick{View: view, Row: row}, nil
}

// noteSecondary takes changes of keys into the secondary indexes; readers see nothing of it before
// showSecondary. log is the one that is to be published. publishing is held.
func (b *Bucket) noteSecondary(log *publishedLog, changes []keyChange) error {
	indexes := b.secondary.all()
	if len(indexes) == 0 || len(changes) == 0 {
		return nil
	}
	b.mu.Lock()
	rows := pendingRows{log: log, batches: b.batches}
	b.mu.Unlock()
	if err := b.fetchReplaced(&rows, changes); err != nil {
		return err
	}
	for _, x := range indexes {
		if x.failed.Load() != nil {
			continue
		}
		into := x.late
		if into == nil {
			into = &x.changes
			into.reset()
		}
		for i := range changes {
			if err := x.note(&changes[i], &rows, into); err != nil {
				return fmt.Errorf("index %q: %w", x.name, err)
			}
		}
		if x.late != nil {
			continue
		}
		into.sort()
		if err := x.tree.change(into.added, into.removed); err != nil {
			return fmt.Errorf("index %q: %w", x.name, err)
		}
		x.count.Store(x.tree.rows)
		x.bytes.Store(x.tree.bytes)
	}
	return nil
}

// note appends what a change of a key does to the index.
func (x *secondaryIndex) note(c *keyChange, rows *pendingRows, into *entryChanges) error {
	before, was, err := x.entry(c.before, c.hash, rows)
	if err != nil {
		return err
	}
	after, is, err := x.entry(c.after(), c.hash, rows)
	if err != nil {
		return err
	}
	if was && is && before == after {
		return nil
	}
	if was {
		into.removed = append(into.removed, before)
	}
	if is {
		into.added = append(into.added, after)
	}
	return nil
}

// entry gives the entry of the row of a key at an offset; false where there is no row, or a null in it.
func (x *secondaryIndex) entry(offset int64, key uint64, rows *pendingRows) (uint64, bool, error) {
	if offset < 0 {
		return 0, false, nil
	}
	row, err := rows.at(offset)
	if err != nil {
		return 0, false, err
	}
	hash, null := x.hasher.HashRow(row.View, row.Row)
	return entryOf(hash, key), !null, nil
}

// showSecondary makes what noteSecondary noted visible. publishing is held, and sequence is odd.
func (b *Bucket) showSecondary() {
	for _, x := range b.secondary.all() {
		if x.root.Load() != nil {
			x.root.Store(x.tree.root)
		}
	}
}

// IndexStats are figures of a secondary index.
type IndexStats struct {
	Name string
	// Rows is the number of rows that the index leads to. Rows with a null in its columns are not among
	// them.
	Rows int64
	// Bytes is the memory that it takes.
	Bytes int64
	// Built says that lookups can use it; Progress goes from 0 to 1 until then.
	Built    bool
	Progress float64
	// Err is why it cannot be built.
	Err error
}

func (x *secondaryIndex) stats() IndexStats {
	s := IndexStats{Name: x.name, Rows: x.count.Load(), Bytes: x.bytes.Load(), Built: x.root.Load() != nil, Progress: 1}
	if failed := x.failed.Load(); failed != nil {
		s.Err = *failed
	}
	if !s.Built {
		s.Progress = min(float64(x.done.Load())/float64(max(x.rows.Load(), 1)), 0.99)
	}
	return s
}

// IndexStats gives the figures of all secondary indexes, in the order in which they were added.
func (b *Bucket) IndexStats() []IndexStats {
	var all []IndexStats
	for _, x := range b.secondary.all() {
		if x.renews.Load() == nil {
			all = append(all, x.stats())
		}
	}
	return all
}

// IndexReady says why lookups cannot use an index, as LookupBy would; nil if they can.
func (b *Bucket) IndexReady(name string) error {
	_, err := b.usable(name)
	return err
}

// usable gives an index that lookups can use.
func (b *Bucket) usable(name string) (*secondaryIndex, error) {
	x := b.secondary.find(name)
	if x == nil {
		return nil, model.Errorf(model.IndexNotFound, "there is no index %q", name)
	}
	if x.root.Load() != nil {
		return x, nil
	}
	s := x.stats()
	if s.Err != nil {
		return nil, fmt.Errorf("building the index %q: %w", name, s.Err)
	}
	return nil, model.Errorf(model.IndexNotReady, "the index %q is being built, %d %% are done", name, int(100*s.Progress)).
		With("index", name).With("progress", s.Progress).WithRemedy("Try again later; DescribeTable tells how far it is")
}

// ErrIndexDropped ends the building of an index that was dropped.
var ErrIndexDropped = errors.New("the index was dropped")
