package arrowipc

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/model"
)

// FieldLayout is a layout whose columns and nested fields have lasting numbers. It is immutable and may be
// shared.
type FieldLayout struct {
	layout *Layout
	ids    []int32 // by node; 0 where a node has none of its own
}

// NewFieldLayout numbers the columns of a layout, the first ones by trees, in their order. Columns behind
// those have no lasting number: they are the same in two layouts if they are the same behind the others.
func NewFieldLayout(l *Layout, trees []*model.FieldTree) (*FieldLayout, error) {
	f := &FieldLayout{layout: l, ids: make([]int32, len(l.all))}
	if len(trees) > len(l.top) {
		return nil, fmt.Errorf("there are %d columns, and %d with a number", len(l.top), len(trees))
	}
	for i, c := range l.top {
		if i >= len(trees) {
			f.ids[c.node] = int32(len(trees) - i - 1)
			continue
		}
		if err := f.number(c, trees[i]); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// Layout is the layout itself.
func (f *FieldLayout) Layout() *Layout { return f.layout }

// number numbers a column and what is nested in it.
func (f *FieldLayout) number(c *column, tree *model.FieldTree) error {
	f.ids[c.node] = tree.ID
	children := c.children
	if c.dataType.ID() == arrow.MAP && len(children) == 1 {
		children = children[0].children // key and value: the entries have no number
	}
	if len(tree.Children) == 0 {
		return nil // a plain type, or an extension type
	}
	if len(children) != len(tree.Children) {
		return fmt.Errorf("%s has %d fields, and %d with a number", c.path(), len(children), len(tree.Children))
	}
	for i, child := range children {
		if err := f.number(child, tree.Children[i]); err != nil {
			return err
		}
	}
	return nil
}

// single gives a layout of one of the columns.
func (f *FieldLayout) single(top int) (*FieldLayout, error) {
	l, err := NewLayout(arrow.NewSchema([]arrow.Field{f.layout.schema.Field(top)}, nil))
	if err != nil {
		return nil, err
	}
	c := f.layout.top[top]
	return &FieldLayout{layout: l, ids: f.ids[c.node:c.nodeEnd]}, nil
}

// columnBatch gives a top-level column of b as a batch of its own, in a layout of single, over the same
// bytes.
func (b *Batch) columnBatch(top int, single *Layout) *Batch {
	c := b.Layout.top[top]
	from, to := b.bufferRange(c)
	one := &Batch{
		Layout: single, Rows: b.Rows, Nodes: b.Nodes[c.node:c.nodeEnd], Buffers: b.Buffers[from:to],
		Codec: b.Codec, Body: b.Body, aside: b.aside,
	}
	if len(b.Variadic) > 0 {
		one.Variadic = b.Variadic[c.view:c.viewEnd]
	}
	return one
}
