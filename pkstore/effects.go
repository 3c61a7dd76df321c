package pkstore

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// takeEffect decides what each row of a change does to its key, in the order of the rows.
func (b *Bucket) takeEffect(c *Change, s *source) error {
	w := &b.writer
	w.effects = append(w.effects[:0], make([]effect, len(c.Hashes))...)
	if c.Delete || s.whole && w.aggregates == nil {
		for i := range w.effects {
			row := int32(i)
			k := &w.keys[w.repeated.first[row]]
			fresh := arrowipc.Pick{View: c.Rows, Row: row}
			if !b.wins(c, s, k.row, fresh) {
				continue
			}
			if c.Delete {
				fresh = arrowipc.Pick{}
			}
			w.effects[i] = effect{k.row, fresh}
			k.row = fresh
		}
		return nil
	}
	return b.mergeWaves(c, s)
}

// wins says whether a row has an effect on a key whose row is old.
func (b *Bucket) wins(c *Change, s *source, old, fresh arrowipc.Pick) bool {
	m := &b.current().options.Merge
	switch {
	case c.Expected != nil:
		first := b.writer.repeated.first[fresh.Row]
		return old.View != nil && b.writer.keys[first].before == c.Expected[fresh.Row]
	case c.Delete, c.Retract:
		return old.View != nil
	case c.OnlyNew || m.Engine == model.MergeFirstRow:
		return old.View == nil
	case m.Engine != model.MergeVersioned:
		return true
	}
	number, ok := version(fresh, s.at[m.VersionColumn], b.writer.unsigned)
	if !ok || old.View == nil {
		return ok
	}
	// The old version is null where the row was inserted as a new key only.
	stored, ok := version(old, m.VersionColumn, b.writer.unsigned)
	return !ok || number >= stored
}

// mergeWaves makes the new rows of a change whose rows do not stand for themselves. The rows that are
// the first of their keys are merged together, then those that are the second, and so on: each wave
// reads what the one before it made.
func (b *Bucket) mergeWaves(c *Change, s *source) error {
	w := &b.writer
	rows, sizes := w.waves()
	for _, size := range sizes {
		w.olds, w.news, w.rows = w.olds[:0], w.news[:0], w.rows[:0]
		for _, row := range rows[:size] {
			k := &w.keys[w.repeated.first[row]]
			if fresh := (arrowipc.Pick{View: c.Rows, Row: row}); b.wins(c, s, k.row, fresh) {
				w.rows, w.olds, w.news = append(w.rows, row), append(w.olds, k.row), append(w.news, fresh)
			}
		}
		rows = rows[size:]
		if len(w.rows) == 0 {
			continue
		}
		view, err := b.merge(s, c.Retract)
		if err != nil {
			return err
		}
		for i, row := range w.rows {
			k := &w.keys[w.repeated.first[row]]
			after := arrowipc.Pick{View: view, Row: int32(i)}
			w.effects[row] = effect{k.row, after}
			k.row = after
		}
	}
	return nil
}

// waves gives the rows of a change, sorted by how many rows before have the same key, and how many
// rows there are of each number.
func (w *writer) waves() (rows []int32, sizes []int) {
	number := make([]int32, len(w.effects))
	for i, first := range w.repeated.first {
		k := &w.keys[first]
		number[i] = k.repeats
		if int(k.repeats) == len(sizes) {
			sizes = append(sizes, 0)
		}
		sizes[k.repeats]++
		k.repeats++
	}
	starts := make([]int, len(sizes))
	for i := 1; i < len(sizes); i++ {
		starts[i] = starts[i-1] + sizes[i-1]
	}
	rows = make([]int32, len(number))
	for row, n := range number {
		rows[starts[n]] = int32(row)
		starts[n]++
	}
	return rows, sizes
}

// merge makes one row of each of olds and news. retract: the values of news are taken back.
func (b *Bucket) merge(s *source, retract bool) (*arrowipc.View, error) {
	w := &b.writer
	aligned := w.news
	if w.aggregates != nil && !s.whole {
		var err error
		if aligned, err = b.align(s); err != nil {
			return nil, err
		}
	}
	keyed := make([]bool, b.current().change)
	for _, column := range b.current().options.Key {
		keyed[column] = true
	}
	for column, at := range s.at {
		var err error
		switch {
		case at < 0:
			err = b.keep(column)
		case w.aggregates == nil || keyed[column]:
			err = w.merged.AppendColumnPicks(column, at, w.news)
		default:
			err = w.aggregates.merge(w.merged, column, w.olds, aligned, retract)
		}
		if err != nil {
			return nil, fmt.Errorf("merging column %q: %w", b.current().options.Layout.Schema().Field(column).Name, err)
		}
	}
	for _, old := range w.olds {
		if old.View == nil {
			w.inserted++
		}
	}
	return b.finishMerged(len(w.olds))
}

// keep gives a column that the change does not name its old values, and in rows that were not there
// its default.
func (b *Bucket) keep(column int) error {
	w := &b.writer
	if slices.Contains(b.current().options.AutoIncrement, column) {
		return b.number(column)
	}
	if b.current().options.Defaults == nil {
		return w.merged.AppendColumnPicks(column, column, w.olds)
	}
	kept := slices.Clone(w.olds)
	for i := range kept {
		if kept[i].View == nil {
			kept[i] = arrowipc.Pick{View: b.current().options.Defaults}
		}
	}
	return w.merged.AppendColumnPicks(column, column, kept)
}

// number gives rows that were not there a number, and the others the one that they have. A row that is
// inserted adds at least one row to the log, so the offset at which the change begins and the count of
// its insertions make a number that no other row has had or will get.
func (b *Bucket) number(column int) error {
	w := &b.writer
	inserted := w.inserted
	var text [8]byte
	for i, old := range w.olds {
		if old.View != nil {
			if err := w.merged.AppendColumnPicks(column, column, w.olds[i:i+1]); err != nil {
				return err
			}
			continue
		}
		number := (w.base+inserted)*b.current().options.Step + b.current().options.Number + 1
		inserted++
		binary.LittleEndian.PutUint64(text[:], uint64(number))
		if err := w.merged.AppendValue(column, text[:]); err != nil {
			return err
		}
	}
	return nil
}

// align gives the new rows with each column at its place in the log.
func (b *Bucket) align(s *source) ([]arrowipc.Pick, error) {
	w := &b.writer
	nulls := make([]arrowipc.Pick, len(w.news))
	for column, at := range s.at {
		picks := w.news
		if at < 0 {
			at, picks = column, nulls
		}
		if err := w.merged.AppendColumnPicks(column, at, picks); err != nil {
			return nil, fmt.Errorf("taking column %q: %w", b.current().options.Layout.Schema().Field(column).Name, err)
		}
	}
	view, err := b.finishMerged(len(w.news))
	if err != nil {
		return nil, err
	}
	for i := range nulls {
		nulls[i] = arrowipc.Pick{View: view, Row: int32(i)}
	}
	return nulls, nil
}

// finishMerged gives the rows in w.merged, which have no kind of change yet.
func (b *Bucket) finishMerged(rows int) (*arrowipc.View, error) {
	zero := []byte{0}
	for range rows {
		if err := b.writer.merged.AppendValue(b.current().change, zero); err != nil {
			return nil, err
		}
	}
	batch := b.writer.merged.Finish()
	b.writer.temporary = append(b.writer.temporary, batch)
	return arrowipc.NewView(batch)
}
