package pkstore

import (
	"fmt"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// order puts the rows that the effects of a change add to the log in order, and notes the last one of
// each key.
func (b *Bucket) order(base int64) {
	w := &b.writer
	w.out, w.kinds = w.out[:0], w.kinds[:0]
	full := b.current().options.Image == model.ImageFull
	for i := range w.effects {
		e := &w.effects[i]
		before, after := e.before.View != nil, e.after.View != nil
		switch {
		case before && after && full:
			w.add(e.before, model.ChangeUpdateBefore)
			w.add(e.after, model.ChangeUpdateAfter)
		case before && after:
			w.add(e.after, model.ChangeUpdateAfter)
		case before:
			w.add(e.before, model.ChangeDelete)
		case after:
			w.add(e.after, model.ChangeInsert)
		default:
			continue
		}
		k := &w.keys[w.repeated.first[i]]
		k.newest, k.deleted = base+int64(len(w.out))-1, !after
	}
}

func (w *writer) add(row arrowipc.Pick, kind model.ChangeType) {
	w.out, w.kinds = append(w.out, row), append(w.kinds, byte(kind))
}

// build makes batches of the rows in order.
func (b *Bucket) build() ([]*arrowipc.View, error) {
	return b.buildRange(nil, 0, len(b.writer.out))
}

// buildRange appends batches of the rows [from, to), in halves as long as they are too large.
func (b *Bucket) buildRange(views []*arrowipc.View, from, to int) ([]*arrowipc.View, error) {
	if from == to {
		return views, nil
	}
	w := &b.writer
	for column := range b.current().change {
		if err := w.builder.AppendColumnPicks(column, column, w.out[from:to]); err != nil {
			return views, fmt.Errorf("writing column %q of the changelog: %w", b.current().options.Layout.Schema().Field(column).Name, err)
		}
	}
	for i := from; i < to; i++ {
		if err := w.builder.AppendValue(b.current().change, w.kinds[i:i+1]); err != nil {
			return views, fmt.Errorf("writing the changelog: %w", err)
		}
	}
	tooLarge := w.builder.Bytes() > b.current().options.BatchBytes
	batch := w.builder.Finish()
	if middle := w.cut(from, to); tooLarge && middle > from && middle < to {
		batch.Release()
		var err error
		if views, err = b.buildRange(views, from, middle); err == nil {
			views, err = b.buildRange(views, middle, to)
		}
		return views, err
	}
	view, err := arrowipc.NewView(batch)
	if err != nil {
		return views, fmt.Errorf("writing the changelog: %w", err)
	}
	return append(views, view), nil
}

// cut gives a place in the middle of rows that does not part the two rows of an update.
func (w *writer) cut(from, to int) int {
	middle := (from + to) / 2
	if model.ChangeType(w.kinds[middle]) == model.ChangeUpdateAfter && middle > 0 &&
		model.ChangeType(w.kinds[middle-1]) == model.ChangeUpdateBefore {
		middle++
	}
	return middle
}
