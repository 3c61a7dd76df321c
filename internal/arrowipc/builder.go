package arrowipc

import (
	"errors"
	"fmt"
)

// errTooLong says that 32-bit offsets do not reach.
var errTooLong = errors.New("its values take more than 2 GiB")

// Builder concatenates rows of plain batches to one batch. Where the batches come from other layouts
// it also converts, without loss: strings and binaries of any form into one another, lists of any
// width, dictionaries to values, nulls to any type.
//
// A Builder is owned by one goroutine. It keeps its memory between batches.
type Builder struct {
	layout  *Layout
	columns []columnBuilder // in order of their nodes
	rows    int64
	scratch []vector
	indices []int32
	starts  []int64
	err     error

	// columnwise: something was appended to single columns, so that rows is not kept.
	columnwise bool

	// limit bounds charged: the bytes that conversions may make out of fewer. 0: no limit.
	limit, charged int64
}

// columnBuilder is what a Builder has of one column or nested field.
type columnBuilder struct {
	column   *column
	length   int64
	nulls    int64
	validity []byte // empty as long as nulls is 0
	values   []byte
	data     []byte
}

// NewBuilder gives an empty builder of batches of a layout.
func NewBuilder(l *Layout) *Builder {
	b := &Builder{layout: l, columns: make([]columnBuilder, len(l.all))}
	for i, c := range l.all {
		b.columns[i].column = c
	}
	b.reset()
	return b
}

func (b *Builder) reset() {
	b.rows, b.err, b.charged, b.columnwise = 0, nil, 0, false
	for i := range b.columns {
		c := &b.columns[i]
		c.length, c.nulls = 0, 0
		c.validity, c.values, c.data = c.validity[:0], c.values[:0], c.data[:0]
		switch c.column.kind {
		case offset32Kind, list32Kind:
			c.values = append(c.values, zeros[:4]...)
		case offset64Kind, list64Kind:
			c.values = append(c.values, zeros[:8]...)
		}
	}
}

// Layout is the layout of the batches that the builder makes.
func (b *Builder) Layout() *Layout { return b.layout }

// Rows is how many rows have been appended: those that all columns have, where columns were appended
// to one by one.
func (b *Builder) Rows() int64 {
	if !b.columnwise || len(b.layout.top) == 0 {
		return b.rows
	}
	rows := b.columns[0].length
	for _, c := range b.layout.top {
		rows = min(rows, b.columns[c.node].length)
	}
	return rows
}

// Err is why Finish would give no rows, or nil: an append failed, or the columns were not appended to
// equally often.
func (b *Builder) Err() error {
	if b.err != nil || !b.columnwise {
		return b.err
	}
	rows := b.Rows()
	for _, c := range b.layout.top {
		if got := b.columns[c.node].length; got != rows {
			return fmt.Errorf("building a batch: %s has %d rows, another column %d", c.path(), got, rows)
		}
	}
	return nil
}

// Bytes is how long the body of the batch would be.
func (b *Builder) Bytes() int64 {
	size := int64(0)
	for i := range b.columns {
		c := &b.columns[i]
		size += aligned(int64(len(c.validity))) + aligned(int64(len(c.values))) + aligned(int64(len(c.data)))
	}
	return size
}

// AppendRange appends the rows [from, to) of src, whose layout has the types of the builder's. It
// fails on a compressed batch, on a range outside, on offsets that lead outside, and where 32-bit
// offsets would overflow; after an error Finish gives no rows.
func (b *Builder) AppendRange(src *Batch, from, to int64) error {
	if from < 0 || to < from || to > src.Rows {
		return b.fail(fmt.Errorf("rows %d..%d of a batch of %d", from, to, src.Rows))
	}
	vectors, err := b.open(src)
	if err != nil {
		return err
	}
	for _, c := range b.layout.top {
		if err := b.appendRange(c.node, vectors, c.node, from, to); err != nil {
			return b.fail(err)
		}
	}
	b.rows += to - from
	return nil
}

// AppendRows appends rows of src by index, in that order. It fails as AppendRange does.
func (b *Builder) AppendRows(src *Batch, rows []int32) error {
	for _, row := range rows {
		if row < 0 || int64(row) >= src.Rows {
			return b.fail(fmt.Errorf("row %d of a batch of %d", row, src.Rows))
		}
	}
	vectors, err := b.open(src)
	if err != nil {
		return err
	}
	for _, c := range b.layout.top {
		if err := b.appendRows(c.node, vectors, c.node, rows); err != nil {
			return b.fail(err)
		}
	}
	b.rows += int64(len(rows))
	return nil
}

func (b *Builder) open(src *Batch) ([]vector, error) {
	if b.err != nil {
		return nil, b.err
	}
	if src.Layout != b.layout && !sameShape(src.Layout, b.layout) {
		return nil, b.fail(errors.New("the batch has another schema"))
	}
	vectors, err := openVectors(b.scratch, src, nil)
	if err != nil {
		return nil, b.fail(err)
	}
	b.scratch = vectors
	return vectors, nil
}

func (b *Builder) fail(err error) error {
	b.err = fmt.Errorf("appending rows to a batch: %w", err)
	return b.err
}

// charge counts bytes that are about to be made.
func (b *Builder) charge(bytes int64) error {
	b.charged += bytes
	if b.limit > 0 && b.charged > b.limit {
		return fmt.Errorf("%w: more than %d bytes once converted", errTooMuch, b.limit)
	}
	return nil
}

// sameShape says that batches of the two layouts have the same nodes and buffers.
func sameShape(a, b *Layout) bool {
	if len(a.all) != len(b.all) || len(a.top) != len(b.top) {
		return false
	}
	for i, c := range a.all {
		d := b.all[i]
		same := c.kind == d.kind && c.width == d.width && c.text == d.text && c.nodeEnd == d.nodeEnd
		if !same || c.kind == dictionaryKind {
			return false
		}
	}
	return true
}

// Finish gives the batch, which the caller releases, and makes the builder empty. Nulls of a column
// are counted, sums computed. The batch has no rows where Err is not nil.
func (b *Builder) Finish() *Batch {
	if b.Err() != nil {
		b.reset()
	}
	defer b.reset()
	batch := &Batch{Layout: b.layout, Rows: b.Rows(), Nodes: make([]Node, len(b.columns))}
	w := newBodyWriter(batch, b.Bytes(), b.layout.buffers+b.layout.views)
	for i := range b.columns {
		c := &b.columns[i]
		batch.Nodes[i] = Node{c.length, c.nulls}
		if c.column.kind == nullKind {
			continue
		}
		w.add(c.validity)
		if buffersOf[c.column.kind] > 1 {
			w.add(c.values)
		}
		switch c.column.kind {
		case offset32Kind, offset64Kind:
			w.add(c.data)
		case viewKind:
			count := int64(0)
			if len(c.data) > 0 {
				w.add(c.data)
				count = 1
			}
			batch.Variadic = append(batch.Variadic, count)
		}
	}
	return batch
}

// appendValidity appends the validity of rows [from, to) of v.
func (c *columnBuilder) appendValidity(v *vector, from, to int64) {
	n := to - from
	nulls := v.countNulls(from, to)
	switch {
	case c.column.kind == nullKind:
	case nulls == 0 && c.nulls == 0:
	case nulls == 0:
		c.validity = appendOnes(c.validity, c.length, n)
	default:
		c.beginValidity()
		c.validity = appendBits(c.validity, c.length, v.validity, from, n)
	}
	c.nulls += nulls
	c.length += n
}

// beginValidity makes the bitmap that was not needed so far.
func (c *columnBuilder) beginValidity() {
	if c.nulls == 0 {
		c.validity = appendOnes(c.validity[:0], 0, c.length)
	}
}

// appendBit appends the validity of one row.
func (c *columnBuilder) appendBit(valid bool) {
	if !valid {
		c.beginValidity()
		c.nulls++
	}
	if c.nulls > 0 {
		c.validity = growBits(c.validity, c.length, 1)
		if valid {
			c.validity[c.length>>3] |= 1 << (c.length & 7)
		}
	}
	c.length++
}
