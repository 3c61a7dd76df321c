package pkstore

import (
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// writer is what Apply keeps between changes. It belongs to the goroutine that calls it.
type writer struct {
	end int64 // of the rows that were applied or published
	// base is where the rows of the change begin, inserted how many of them were not there.
	base, inserted int64
	source         *source
	hasher         *arrowipc.RowHasher
	shared         *shareHasher
	builder        *arrowipc.Builder

	aggregates *aggregates
	merged     *arrowipc.Builder
	unsigned   bool // versions

	repeated occurrences
	resolver resolver
	keys     []keyState
	rows     []int32 // rows to be resolved
	effects  []effect

	out   []arrowipc.Pick
	kinds []byte
	olds  []arrowipc.Pick
	news  []arrowipc.Pick
	// temporary are merged rows, until they are in a batch of the log.
	temporary []*arrowipc.Batch

	// hashes are those of a batch that is replayed, stated those of its rows that say what a key has.
	hashes, stated []uint64
	changes        []keyChange
	places         []int32 // of the rows that are the first of their key, in changes
}

// keyState is the state of a key in the course of a change, kept at the first row that has the key.
type keyState struct {
	row      arrowipc.Pick
	before   int64 // offset of row before the change, or noRow
	newest   int64 // offset of the last row of the changelog that the change makes of the key, or noRow
	previous int   // the pending change of the key before this one, or noChange
	repeats  int32 // rows with this key that were looked at
	deleted  bool
}

// effect is what one row of a change does: nothing where it has neither row.
type effect struct{ before, after arrowipc.Pick }

func (w *writer) open(o Options) error {
	var err error
	if w.hasher, err = arrowipc.NewRowHasher(o.Layout, o.Key); err != nil {
		return err
	}
	if w.shared, err = newShareHasher(o.Layout, o.Key, o.Share); err != nil {
		return err
	}
	w.builder, w.merged = arrowipc.NewBuilder(o.Layout), arrowipc.NewBuilder(o.Layout)
	w.rows = make([]int32, 0, 64) // never nil, which would mean all rows to a resolver
	switch o.Merge.Engine {
	case model.MergeAggregation:
		w.aggregates, err = newAggregates(o.Layout, o.Merge.Aggregates)
	case model.MergeVersioned:
		w.unsigned = arrow.IsUnsignedInteger(o.Layout.Schema().Field(o.Merge.VersionColumn).Type.ID())
	}
	return err
}

// forget drops references to what a change read, and what a failure left in the builders.
func (w *writer) forget(failed bool, layout *arrowipc.Layout) {
	clear(w.keys)
	clear(w.effects)
	clear(w.out)
	clear(w.olds)
	clear(w.news)
	w.resolver.forget()
	for _, batch := range w.temporary {
		batch.Release()
	}
	w.temporary = w.temporary[:0]
	if failed {
		w.builder, w.merged = arrowipc.NewBuilder(layout), arrowipc.NewBuilder(layout)
	}
}

// sourceOf gives how the columns of a change lie.
func (b *Bucket) sourceOf(c *Change) (*source, error) {
	if b.writer.source.fits(c) {
		return b.writer.source, nil
	}
	s, err := newSource(&b.current().options, b.current().change, c)
	if err == nil {
		b.writer.source = s
	}
	return s, err
}

// Apply gives the rows that a change adds to the log, in batches of Options.Layout that the caller
// appends in this order, the first row at offset base; none where nothing changes. The bodies belong
// to the bucket and are valid until the rows are published or abandoned. Readers see nothing of it
// before Publish. An error leaves nothing behind. For the writer: one goroutine.
func (b *Bucket) Apply(base int64, c Change) (batches []*arrowipc.Batch, err error) {
	s, err := b.admit(base, &c)
	if s == nil || err != nil {
		return nil, err
	}
	w := &b.writer
	w.base, w.inserted = base, 0
	failed := true
	b.beginReading()
	defer func() {
		w.forget(failed, b.current().options.Layout)
		b.endReading()
	}()
	if err := b.openKeys(&c, s); err != nil {
		return nil, err
	}
	if err := b.takeEffect(&c, s); err != nil {
		return nil, err
	}
	b.order(base)
	views, err := b.build()
	if err != nil {
		return nil, err
	}
	failed = false
	return b.addPending(base, c.Hashes, views), nil
}

// admit checks a change before anything is done; without a source it has no effect.
func (b *Bucket) admit(base int64, c *Change) (*source, error) {
	switch {
	case base < b.writer.end:
		return nil, fmt.Errorf("applying a change at offset %d: the log ends at %d", base, b.writer.end)
	case int64(len(c.Hashes)) != c.Rows.Rows():
		return nil, fmt.Errorf("applying a change of %d rows: there are %d hashes", c.Rows.Rows(), len(c.Hashes))
	case c.Expected != nil && (!c.Delete || len(c.Expected) != len(c.Hashes)):
		return nil, fmt.Errorf("applying a change of %d rows: %d offsets are expected", len(c.Hashes), len(c.Expected))
	case c.Retract && b.writer.aggregates == nil:
		return nil, errors.New("taking values back: the merge engine is not aggregation")
	}
	if len(c.Hashes) == 0 {
		return nil, nil
	}
	s, err := b.sourceOf(c)
	if err == nil {
		err = s.checkVersion(&b.current().options, c)
	}
	return s, err
}

// beginReading keeps the bodies of pending batches from being released.
func (b *Bucket) beginReading() {
	b.mu.Lock()
	b.applying = true
	b.mu.Unlock()
}

func (b *Bucket) endReading() {
	b.mu.Lock()
	b.applying = false
	b.release()
	b.mu.Unlock()
}

// openKeys finds which rows have the same key, and the row that each key has so far.
func (b *Bucket) openKeys(c *Change, s *source) error {
	w := &b.writer
	w.repeated.find(c.Hashes, func(x, y int32) bool {
		return s.keys.Equal(c.Rows, x, s.keys, c.Rows, y)
	})
	w.keys = append(w.keys[:0], make([]keyState, len(c.Hashes))...)
	w.rows = w.rows[:0]
	b.findPending(c, s)
	keys := Keys{View: c.Rows, Columns: s.keys, Hashes: c.Hashes, Rows: w.rows}
	w.resolver.resolve(b, b.log.Load(), &keys)
	if err := b.addRetired(b.current(), &w.resolver, &keys); err != nil {
		return fmt.Errorf("reading rows from below the log: %w", err)
	}
	for i, f := range w.resolver.found {
		k := &w.keys[w.rows[i]]
		k.before = f.offset()
		if f.batch == nil {
			continue
		}
		view, err := f.batch.whole()
		if err != nil {
			return fmt.Errorf("reading the row at offset %d: %w", f.offset(), err)
		}
		k.row = arrowipc.Pick{View: view, Row: f.row}
	}
	return nil
}

// findPending sets the keys that have a pending change, and notes in rows where the others are. A key
// without a pending change keeps its place in the index until this writer gives it one.
func (b *Bucket) findPending(c *Change, s *source) {
	w := &b.writer
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, first := range w.repeated.first {
		row := int32(i)
		if first != row {
			continue
		}
		k := &w.keys[row]
		k.newest, k.previous = noRow, noChange
		number := b.pending.find(c.Hashes[row], func(offset int64) bool {
			at := b.pendingRow(offset)
			return s.keys.Equal(c.Rows, row, b.current().keys, at.View, at.Row)
		})
		if number == noChange {
			w.rows = append(w.rows, row)
			continue
		}
		k.previous, k.before = number, b.pending.change(number).after()
		if k.before >= 0 {
			k.row = b.pendingRow(k.before)
		}
	}
}

// pendingRow gives the row at an offset that is pending. mu is held.
func (b *Bucket) pendingRow(offset int64) arrowipc.Pick {
	i := len(b.batches) - 1
	for b.batches[i].base > offset {
		i--
	}
	return arrowipc.Pick{View: b.batches[i].view, Row: int32(offset - b.batches[i].base)}
}

// addPending makes the effects of a change pending.
func (b *Bucket) addPending(base int64, hashes []uint64, views []*arrowipc.View) []*arrowipc.Batch {
	if len(views) == 0 {
		return nil
	}
	w := &b.writer
	batches := make([]*arrowipc.Batch, 0, len(views))
	b.mu.Lock()
	defer b.mu.Unlock()
	w.end = base
	for _, view := range views {
		end := w.end + view.Rows()
		b.batches = append(b.batches, pendingBatch{w.end, end, view, view.Batch()})
		batches = append(batches, view.Batch().Shared())
		w.end = end
	}
	b.pending.reserve(len(w.keys))
	for i := range w.keys {
		k := &w.keys[i]
		if w.repeated.first[i] == int32(i) && k.newest >= 0 {
			b.pending.add(keyChange{
				hash: hashes[i], before: k.before, newest: k.newest, previous: k.previous, deleted: k.deleted,
			})
		}
	}
	return batches
}
