package arrowipc

import (
	"errors"
	"fmt"
)

// Pick is a row of a view, which may be that of Images; a nil View is a row of nulls, whatever Row is.
type Pick struct {
	View *View
	Row  int32
}

// AppendPicks appends rows of any number of views, whose layouts have the types of the builder's, in
// that order. It fails on a row or a type that is not there, on values that lead outside their
// buffers, and where 32-bit offsets would overflow; after an error Finish gives no rows.
func (b *Builder) AppendPicks(picks []Pick) error {
	if b.err != nil {
		return b.err
	}
	_, at, err := samePlace(picks, func(l *Layout) (place, error) {
		if l != b.layout && !sameShape(l, b.layout) {
			return place{}, errors.New("a view has another schema")
		}
		return place{}, nil
	})
	if err != nil {
		return b.fail(err)
	}
	for _, c := range b.layout.top {
		at.node, at.kind = c.node, c.kind
		if err := b.gather(c.node, at, picks); err != nil {
			return b.fail(err)
		}
	}
	b.rows += int64(len(picks))
	return nil
}

// AppendColumnPicks appends to a top-level column the values that the picks have in top-level column
// source of their views. It fails as AppendPicks does; strings and binaries may come from any form.
// All columns must have got the same number of rows when Finish is called.
func (b *Builder) AppendColumnPicks(column, source int, picks []Pick) error {
	c, err := b.topColumn(column)
	if err != nil {
		return err
	}
	return b.appendPicked(c, source, picks)
}

// AppendColumnsPicks is AppendColumnPicks of several columns, from column first on, one for each of sources.
func (b *Builder) AppendColumnsPicks(first int, sources []int, picks []Pick) error {
	at, layout := imagePlace(picks)
	for i, source := range sources {
		if layout == nil {
			if err := b.AppendColumnPicks(first+i, source, picks); err != nil {
				return err
			}
			continue
		}
		c, err := b.topColumn(first + i)
		if err != nil {
			return err
		}
		if at.node, at.kind, err = b.sourceOf(c, layout, source); err == nil {
			err = b.gather(c.column.node, at, picks)
		}
		if err != nil {
			return b.fail(err)
		}
	}
	return nil
}

// AppendStructPicks appends to a top-level struct column: its fields get the values that the picks
// have in the top-level columns sources of their views, and a pick without a view is a null struct. It
// fails as AppendColumnPicks does.
func (b *Builder) AppendStructPicks(column int, sources []int, picks []Pick) error {
	c, err := b.topColumn(column)
	if err != nil {
		return err
	}
	if c.column.kind != structKind || len(c.column.children) != len(sources) {
		return b.fail(fmt.Errorf("%s of type %s got %d fields", c.column.path(), c.column.dataType, len(sources)))
	}
	for i, child := range c.column.children {
		if err := b.appendPicked(&b.columns[child.node], sources[i], picks); err != nil {
			return err
		}
	}
	for i := range picks {
		c.appendBit(picks[i].View != nil)
	}
	return nil
}

// appendPicked appends the values of a top-level column of the picks' views to a column.
func (b *Builder) appendPicked(c *columnBuilder, source int, picks []Pick) error {
	for len(picks) > 0 {
		n, at, err := samePlace(picks, func(l *Layout) (at place, err error) {
			at.node, at.kind, err = b.sourceOf(c, l, source)
			return at, err
		})
		if err == nil {
			err = b.gather(c.column.node, at, picks[:n])
		}
		if err != nil {
			return b.fail(err)
		}
		picks = picks[n:]
	}
	return nil
}

// sourceOf finds a top-level column in a layout whose values are to be appended to another one.
func (b *Builder) sourceOf(c *columnBuilder, l *Layout, source int) (node int, kind kind, err error) {
	if source < 0 || source >= len(l.top) {
		return 0, 0, fmt.Errorf("column %d of a view of %d", source, len(l.top))
	}
	s := l.top[source]
	if !sameColumn(l, s, b.layout, c.column) {
		return 0, 0, fmt.Errorf("%s of type %s got values of type %s", c.column.path(), c.column.dataType, s.dataType)
	}
	return s.node, s.kind, nil
}

// sameColumn says that values of a can be appended to d: their subtrees have the same nodes, or they
// are forms of strings or of binaries.
func sameColumn(la *Layout, a *column, ld *Layout, d *column) bool {
	if a == d || a.kind.binary() && d.kind.binary() {
		return a.text == d.text
	}
	if a.nodeEnd-a.node != d.nodeEnd-d.node {
		return false
	}
	for i, x := range la.all[a.node:a.nodeEnd] {
		y := ld.all[d.node+i]
		same := x.kind == y.kind && x.width == y.width && x.text == y.text
		if !same || x.nodeEnd-a.node != y.nodeEnd-d.node || x.kind == dictionaryKind {
			return false
		}
	}
	return true
}

// place is where picks have a column, and what is known of them there.
type place struct {
	node  int
	kind  kind
	shape *RowShape // nil: in batches
	gaps  bool      // there are picks of nulls
	nulls uint64    // as View.nulls, of all views
}

func (p place) hasNulls() bool { return p.nulls>>(p.node%64)&1 == 1 }

// imagePlace gives the layout of picks all of which are of Images of one layout, or of nothing, and what is known of any
// of their columns; nil where there are others among them.
func imagePlace(picks []Pick) (at place, layout *Layout) {
	for i := range picks {
		p := &picks[i]
		if p.View == nil {
			at.gaps = true
			continue
		}
		if layout == nil {
			layout, at.shape = p.View.layout, p.View.shape
		}
		if p.View.layout != layout || p.View.shape == nil || p.View.shape != at.shape || uint64(p.Row) >= uint64(p.View.rows) {
			return place{}, nil
		}
		at.nulls |= p.View.nulls
	}
	return at, layout
}

// placesKnown is how many layouts samePlace remembers: picks take turns between the layout of a log and
// that of a request.
const placesKnown = 4

// samePlace checks picks, and gives how many of the first ones have their column at the same place.
// find gives node and kind in a layout, or why the layout does not do.
func samePlace(picks []Pick, find func(*Layout) (place, error)) (n int, at place, err error) {
	var known [placesKnown]struct {
		layout *Layout
		place  place
	}
	next, found := 0, false
	var view *View
	for i := range picks {
		p := &picks[i]
		if p.View == nil {
			at.gaps = true
			continue
		}
		if p.View != view {
			view = p.View
			slot := 0
			for slot < placesKnown && known[slot].layout != view.layout {
				slot++
			}
			if slot == placesKnown {
				slot = next % placesKnown
				next++
				if known[slot].place, err = find(view.layout); err != nil {
					return 0, at, err
				}
				known[slot].layout = view.layout
			}
			switch here := known[slot].place; {
			case !found:
				at.node, at.kind, at.shape, found = here.node, here.kind, view.shape, true
			case here.node != at.node || here.kind != at.kind || view.shape != at.shape:
				return i, at, nil
			}
			at.nulls |= view.nulls
		}
		if uint64(p.Row) >= uint64(view.rows) {
			return 0, at, fmt.Errorf("row %d of a batch of %d", p.Row, view.rows)
		}
	}
	return len(picks), at, nil
}
