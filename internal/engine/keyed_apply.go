package engine

import (
	"fmt"
	"slices"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/pkstore"
	"github.com/headrace/headrace/streams"
)

// applied is what a request does to one bucket of a primary-key table.
type applied struct {
	bucket  *bucket
	base    int64
	batches []*arrowipc.Batch
}

// placeChanges turns the rows of a request into rows of the changelog. All buckets are asked before
// anything is appended to one of them: a request that fails leaves nothing behind.
func (r *request) placeChanges(g *group) error {
	var all []applied
	next := map[*bucket]int64{}
	abandon := func() {
		for _, a := range slices.Backward(all) {
			a.bucket.keyed.Abandon(a.base)
		}
	}
	r.pending.ack = Ack{Rows: r.rows, Offsets: make(map[int32]model.Range, 1)}
	for _, part := range r.parts {
		if part.batch.Rows == 0 {
			continue
		}
		// The option may have been changed since the stream was opened.
		if behavior := r.table.options.Load().Delete; r.put.keyed.delete && part.expected == nil && behavior != model.DeleteAllow {
			if behavior == model.DeleteRefuse {
				abandon()
				return r.table.errDeleteRefused()
			}
			continue
		}
		b, err := r.table.bucket(part.bucket)
		if err != nil {
			abandon()
			return err
		}
		base, known := next[b]
		if !known {
			base = b.Next()
		}
		a := applied{bucket: b, base: base}
		if a.batches, err = r.change(g, b, part, base); err != nil {
			abandon()
			return err
		}
		for _, batch := range a.batches {
			base += batch.Rows
		}
		next[b] = base
		all = append(all, a)
	}
	r.appendChanges(g, all)
	for _, part := range r.parts {
		part.batch.Release()
	}
	r.parts = nil
	if len(r.pending.ack.Offsets) == 0 && r.sequence != nil {
		return r.placeNothing(g) // its number counts
	}
	return nil
}

// change asks a bucket what a part of the request does to it.
func (r *request) change(g *group, b *bucket, p part, base int64) (batches []*arrowipc.Batch, err error) {
	view, err := arrowipc.NewView(p.batch)
	if err != nil {
		return nil, err
	}
	err = streams.Guard(func() error {
		batches, err = b.keyed.Apply(base, pkstore.Change{
			Rows: view, Columns: r.keyedColumns(), Hashes: p.hashes, Delete: r.put.keyed.delete, Retract: r.put.keyed.retract,
			OnlyNew: r.put.keyed.onlyNew, Expected: p.expected, Time: max(g.time, b.LastTime()),
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("apply to bucket %d of table %s: %w", b.number, b.table.definition.Load().Name, err)
	}
	return batches, nil
}

// appendChanges puts the rows of the changelog into the log, and notes how to take them back.
func (r *request) appendChanges(g *group, all []applied) {
	for _, a := range all {
		g.undo = append(g.undo, func() { a.bucket.keyed.Abandon(a.base) })
		for _, batch := range a.batches {
			rows := batch.Rows
			g.touch(a.bucket)
			base := a.bucket.Append(batch, []streams.Run{r.run(max(g.time, a.bucket.LastTime()), rows)})
			covered, seen := r.pending.ack.Offsets[a.bucket.number]
			if !seen {
				covered.From = base
			}
			r.pending.ack.Offsets[a.bucket.number] = model.Range{From: covered.From, To: base + rows}
		}
	}
}
