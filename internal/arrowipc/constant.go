package arrowipc

import (
	"sync"
	"sync/atomic"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/model"
)

// constant is a column that has one value in all rows. Its buffers are shared by all batches that have it.
type constant struct {
	mu      sync.Mutex // guards fill and summary
	fill    *fill
	summary *Statistics // of some rows; nil until somebody asks
	// longest is what was made so far; shorter ones are its beginning. Of a column of nulls it is not made: all of
	// its buffers are zeros.
	longest atomic.Pointer[Batch]
	zeros   atomic.Pointer[[]byte]
}

// ConstantRowMax bounds what the value takes that rows show in a column which they lack, in bytes a row, where it
// is not null: it is made for all rows of a batch.
const ConstantRowMax = 64

const (
	// constantBytesMax bounds the work of making the values of a column; ConstantRowMax bounds what they take.
	constantBytesMax = 4 << 30
	// zerosMax bounds the longest buffer of a column of nulls. It is address space, and no memory but for what is
	// read.
	zerosMax = 1 << 30
	// heavyRow is from how many bytes a row on a column is hollow where it may be.
	heavyRow = 512
)

// ValueBytes gives what a value in JSON form takes in a column, in bytes a row.
func ValueBytes(field arrow.Field, value any) (int64, error) {
	f, err := newFill(field, value)
	if err != nil {
		return 0, err
	}
	one, err := f.batch(1, decompressedBytesDefault)
	if err != nil {
		return 0, err
	}
	size := int64(0)
	for _, s := range one.Buffers {
		size += s.Length
	}
	one.Release()
	return size, nil
}

// constantRowsMin is how many rows are made at least.
const constantRowsMin = 1 << 10

// newConstant takes a value in JSON form; nil: null.
func newConstant(field arrow.Field, value any) (*constant, error) {
	f, err := newFill(field, value)
	if err != nil {
		return nil, err
	}
	return &constant{fill: f}, nil
}

// atLeast gives a batch of the column alone with that many rows or more.
func (c *constant) atLeast(rows int64) (*Batch, error) {
	if made := c.longest.Load(); made != nil && made.Rows >= rows {
		return made, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	made := c.longest.Load()
	if made != nil && made.Rows >= rows {
		return made, nil
	}
	longer := max(rows, constantRowsMin)
	if made != nil {
		longer = max(longer, 2*made.Rows)
	}
	batch, err := c.fill.batch(longer, constantBytesMax)
	if err != nil && longer > rows {
		batch, err = c.fill.batch(rows, constantBytesMax)
	}
	if err != nil {
		return nil, err
	}
	batch.owned = false // batches that are being sent read it
	c.longest.Store(batch)
	return batch, nil
}

// appendTo appends the column to a batch that is being made; hollow says that it need not have rows.
func (c *constant) appendTo(out *Batch, hollow bool) error {
	if c.fill.value == nil {
		return c.appendNulls(out, hollow && c.fill.rowBytes >= heavyRow)
	}
	whole, err := c.atLeast(out.Rows)
	if err != nil {
		return err
	}
	head := &Batch{Layout: whole.Layout, Rows: out.Rows, Body: whole.Body, Variadic: whole.Variadic}
	head.Nodes = make([]Node, len(whole.Nodes))
	head.Buffers = append([]Span(nil), whole.Buffers...)
	head.cutTo(whole, whole.Layout.top[0], out.Rows)
	out.appendAside(head)
	return nil
}

// cutTo makes b the first rows of whole, as far as column and what is nested in it go: whole has the same
// value in all rows, so that everything in it is in proportion.
func (b *Batch) cutTo(whole *Batch, c *column, length int64) {
	all := whole.Nodes[c.node]
	node := Node{Length: length}
	if all.Length > 0 {
		node.Nulls = all.Nulls * length / all.Length
	}
	b.Nodes[c.node] = node
	first := c.buffer + whole.shift(c.view)
	for i := range buffersOf[c.kind] {
		if need := c.bytesNeeded(i, node); i < 2 {
			b.Buffers[first+i].Length = min(need, b.Buffers[first+i].Length)
		}
	}
	if c.kind == offset32Kind || c.kind == offset64Kind {
		if last := &b.Buffers[first+2]; all.Length > 0 {
			last.Length = last.Length * length / all.Length
		}
	}
	for _, child := range c.children {
		below := whole.Nodes[child.node].Length
		if all.Length > 0 {
			below = below * length / all.Length
		}
		b.cutTo(whole, child, below)
	}
}

// appendNulls appends a column of nulls to a batch that is being made.
func (c *constant) appendNulls(out *Batch, hollow bool) error {
	layout := c.fill.builder.layout
	head := &Batch{
		Layout: layout, Rows: out.Rows, Nodes: make([]Node, len(layout.all)), Buffers: make([]Span, layout.buffers), Variadic: make([]int64, layout.views),
	}
	longest := int64(0)
	if !hollow {
		longest = head.setEmpty(layout.top[0], out.Rows, false)
	}
	if longest > zerosMax {
		return model.Errorf(model.BatchTooLarge, "%d rows lack the column %s, and nulls of it take more than %d bytes for them",
			out.Rows, layout.top[0].path(), int64(zerosMax)).WithRemedy("Read other columns of these rows")
	}
	zeros := c.zeros.Load()
	if zeros == nil || int64(len(*zeros)) < longest {
		more := make([]byte, longest)
		zeros = &more
		c.zeros.Store(zeros)
	}
	head.Body = (*zeros)[:longest]
	out.appendAside(head)
	return nil
}

// setEmpty makes a column of b one of rows that are null, or, if valid, zero, all buffers of which are zeros, and
// gives the length of the longest.
func (b *Batch) setEmpty(c *column, rows int64, valid bool) (longest int64) {
	node := Node{Length: rows}
	if c.kind == nullKind || !valid {
		node.Nulls = rows
	}
	b.Nodes[c.node] = node
	for i := range buffersOf[c.kind] {
		length := c.bytesNeeded(i, node)
		b.Buffers[c.buffer+i].Length = length
		longest = max(longest, length)
	}
	for _, child := range c.children {
		below := int64(0)
		switch c.kind {
		case structKind:
			below = rows
		case fixedListKind:
			below = rows * min(c.width, zerosMax/max(rows, 1)+1) // too long is too long
		}
		longest = max(longest, b.setEmpty(child, below, valid || !child.nullable))
	}
	return longest
}
