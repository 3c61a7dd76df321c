package arrowipc

import (
	"fmt"
	"slices"

	"github.com/headrace/headrace/internal/model"
)

// Adapter gives batches of one version of a table's schema the layout of another one. Columns are the same
// where their numbers are.
//
// A column whose type is the same is taken as it lies, compressed or not; nothing of it is read or copied.
// One that the batch lacks has the same value in each row: its buffers are made once and shared. One of
// another type is converted. Buffers of the last two kinds lie aside of the batch's body.
//
// An Adapter may be used by several goroutines.
type Adapter struct {
	from, to *FieldLayout
	columns  []adaptedColumn // by top-level column of to
	exact    bool
}

// adaptedColumn says what one column is made of.
type adaptedColumn struct {
	source int // index in the layout of from; -1: the batch lacks the column
	// constant is what stands for a column that is not there, or is not wanted.
	constant *constant
	// conversion is for a column of another type; nil: it is taken as it is.
	conversion *conversion
	// required says that the column must have no null, and that its source may have some.
	required bool
	// misfit is why the column cannot be had; nil if it can.
	misfit error
}

// MissingValue gives the value, in JSON form, that rows show in a field that they lack, by its number; nil:
// null.
type MissingValue func(id int32) any

// NewAdapter makes an adapter of batches of from. A column that cannot be had, since no value of the one
// type is one of the other, or since rows lack it that it does not allow null for, is an error of Adapt.
func NewAdapter(from, to *FieldLayout, missing MissingValue) (*Adapter, error) {
	a := &Adapter{from: from, to: to, exact: true}
	for i, c := range to.layout.top {
		id := to.ids[c.node]
		source := slices.IndexFunc(from.layout.top, func(s *column) bool { return from.ids[s.node] == id })
		column, err := a.column(i, source, missing)
		if err != nil {
			return nil, fmt.Errorf("adapting %s: %w", c.path(), err)
		}
		a.exact = a.exact && column.conversion == nil
		a.columns = append(a.columns, column)
	}
	return a, nil
}

// column says what column i of the result is made of.
func (a *Adapter) column(i, source int, missing MissingValue) (column adaptedColumn, err error) {
	column.source = source
	c, field := a.to.layout.top[i], a.to.layout.schema.Field(i)
	if source < 0 {
		value := missing(a.to.ids[c.node])
		if value == nil && !c.nullable {
			column.misfit = errLacking(c)
		}
		column.constant, err = newConstant(field, value)
		return column, err
	}
	if column.constant, err = newConstant(field, nil); err != nil {
		return column, err
	}
	left, err := a.from.single(source)
	if err != nil {
		return column, err
	}
	right, err := a.to.single(i)
	if err != nil {
		return column, err
	}
	maker := linkMaker{from: left, to: right, missing: missing}
	link, err := maker.link(right.layout.top[0], left.layout.top[0])
	switch {
	case err != nil:
		return column, err
	case maker.misfit != nil:
		column.misfit = maker.misfit
	case !link.same:
		column.conversion = &conversion{from: left.layout, to: right.layout, link: link}
	default:
		column.required = !c.nullable && a.from.layout.top[source].nullable
	}
	return column, nil
}

func errLacking(c *column) error {
	return model.Errorf(model.SchemaChanged, "rows lack %s, which is NOT NULL", c.path()).With("column", c.name).
		WithRemedy("Open the stream again for the table's present schema")
}

// From is the layout of the batches that Adapt takes, To that of those it gives.
func (a *Adapter) From() *Layout { return a.from.layout }

// To is the layout of the batches that Adapt gives.
func (a *Adapter) To() *Layout { return a.to.layout }

// Exact says that nothing is converted: Adapt reads no buffer of a batch.
func (a *Adapter) Exact() bool { return a.exact }

// Converts says that one of the columns, by index in To, is converted; nil means all columns.
func (a *Adapter) Converts(columns []int) bool {
	if columns == nil {
		return slices.ContainsFunc(a.columns, func(c adaptedColumn) bool { return c.conversion != nil })
	}
	return slices.ContainsFunc(columns, func(i int) bool { return a.columns[i].conversion != nil })
}

// AppendBuffers appends the indexes of those buffers of b, a batch of From, that columns are made of, by
// index in To; nil means all. Empty buffers are left out.
func (a *Adapter) AppendBuffers(dst []int, b *Batch, columns []int) []int {
	add := func(i int) {
		source := a.columns[i].source
		if source < 0 {
			return
		}
		from, to := b.bufferRange(a.from.layout.top[source])
		for at := from; at < to; at++ {
			if b.Buffers[at].Length > 0 {
				dst = append(dst, at)
			}
		}
	}
	if columns == nil {
		for i := range a.columns {
			add(i)
		}
		return dst
	}
	for _, i := range columns {
		add(i)
	}
	return dst
}

// Adapt gives a batch of To over the bytes of b, a batch of From: it is valid as long as b's body is, and
// has no Sums. Of columns that are converted only those in columns, by index in To, are: the others are
// null. nil means all. Where a value does not fit it fails with model.SchemaChanged.
func (a *Adapter) Adapt(b *Batch, columns []int) (*Batch, error) { return a.adapt(b, columns, false) }

// AdaptSome is Adapt for who reads no others than columns: those that would be large nulls are hollow, which is that
// they have no rows. Slice leaves them so.
func (a *Adapter) AdaptSome(b *Batch, columns []int) (*Batch, error) {
	return a.adapt(b, columns, true)
}

func (a *Adapter) adapt(b *Batch, columns []int, hollow bool) (*Batch, error) {
	layout := a.to.layout
	out := &Batch{
		Layout: layout, Rows: b.Rows, Codec: b.Codec, Body: b.Body, aside: append([][]byte{}, b.aside...), source: b,
		Nodes: make([]Node, 0, len(layout.all)), Buffers: make([]Span, 0, layout.buffers+layout.views),
	}
	if layout.views > 0 {
		out.Variadic = make([]int64, 0, layout.views)
	}
	for i := range a.columns {
		wanted := columns == nil || slices.Contains(columns, i)
		if err := a.columns[i].appendTo(out, b, wanted, hollow && !wanted); err != nil {
			return nil, fmt.Errorf("adapting rows to another version of the schema: %w", err)
		}
	}
	return out, nil
}

// appendTo appends the column to a batch that is being made of b.
func (c *adaptedColumn) appendTo(out, b *Batch, wanted, hollow bool) error {
	if wanted && c.misfit != nil {
		return c.misfit
	}
	if c.source < 0 || c.misfit != nil || c.conversion != nil && !wanted {
		return c.constant.appendTo(out, hollow)
	}
	if c.conversion != nil {
		converted, err := c.conversion.convert(b, c.source)
		if err != nil {
			return err
		}
		out.appendAside(converted)
		return nil
	}
	source := b.Layout.top[c.source]
	if wanted && c.required && b.Nodes[source.node].Nulls > 0 {
		return errNulls(source)
	}
	out.Nodes = append(out.Nodes, b.Nodes[source.node:source.nodeEnd]...)
	from, to := b.bufferRange(source)
	out.Buffers = append(out.Buffers, b.Buffers[from:to]...)
	if len(b.Variadic) > 0 {
		out.Variadic = append(out.Variadic, b.Variadic[source.view:source.viewEnd]...)
	}
	return nil
}

func errNulls(c *column) error {
	return model.Errorf(model.SchemaChanged, "%s has nulls, which it had not before", c.path()).With("column", c.name).
		WithRemedy("Open the stream again for the table's present schema")
}

// appendAside appends all columns of a plain batch, whose body stays where it is.
func (b *Batch) appendAside(more *Batch) {
	b.aside = append(b.aside, more.Body)
	base := int64(len(b.aside)) << asideShift
	b.Nodes = append(b.Nodes, more.Nodes...)
	for _, s := range more.Buffers {
		b.Buffers = append(b.Buffers, Span{base + s.Offset, s.Length})
	}
	b.Variadic = append(b.Variadic, more.Variadic...)
}

// Size is what the buffers of the batch take, as they are stored.
func (b *Batch) Size() int64 {
	size := int64(0)
	for _, s := range b.Buffers {
		size += s.Length
	}
	return size
}

// Joined gives the batch with all of its bytes in one body, with Sums, as it can be stored. The caller
// releases it. Compressed buffers stay as they are.
func (b *Batch) Joined() *Batch {
	size := int64(0)
	for _, s := range b.Buffers {
		size += aligned(s.Length + int64(len(notCompressed)))
	}
	out := &Batch{Layout: b.Layout, Rows: b.Rows, Codec: b.Codec, Nodes: slices.Clone(b.Nodes), Variadic: slices.Clone(b.Variadic)}
	w := newBodyWriter(out, size, len(b.Buffers))
	for _, s := range b.Buffers {
		if b.Codec != NoCodec && s.isAside() && s.Length > 0 {
			w.add(notCompressed[:], b.bytes(s))
		} else {
			w.add(b.bytes(s))
		}
	}
	out.Body = out.Body[:w.position]
	return out
}
