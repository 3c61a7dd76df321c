package arrowipc

import (
	"errors"
	"fmt"
	"math"
)

// appendRange appends the rows [from, to) of vectors[source] to the column target, and what is
// nested in it.
func (b *Builder) appendRange(target int, vectors []vector, source int, from, to int64) error {
	c, v := &b.columns[target], &vectors[source]
	from, to = from+v.offset, to+v.offset
	if from == to {
		return nil
	}
	if v.column.kind == nullKind {
		if err := b.charge((to - from) * c.column.emptyRowBytes()); err != nil {
			return err
		}
		b.appendEmpty(target, to-from, false)
		return nil
	}
	if v.column.kind == dictionaryKind {
		return b.appendIndexed(target, v, from, to)
	}
	if err := b.appendValues(target, vectors, source, from, to); err != nil {
		return err
	}
	c.appendValidity(v, from, to)
	return nil
}

// appendValues is appendRange without the validity. The range counts from the values' beginning.
func (b *Builder) appendValues(target int, vectors []vector, source int, from, to int64) error {
	c, v := &b.columns[target], &vectors[source]
	switch c.column.kind {
	case bitKind:
		c.values = appendBits(c.values, c.length, v.values, from, to-from)
	case fixedKind:
		width := c.column.width
		c.values = append(c.values, v.values[from*width:to*width]...)
	case offset32Kind, offset64Kind:
		return c.appendBinaries(v, from, to)
	case viewKind:
		return c.appendViews(v, from, to)
	case list32Kind, list64Kind:
		child := v.column.children[0].node
		first, last, err := c.appendOffsets(v, from, to, vectors[child].length)
		if err != nil {
			return err
		}
		return b.appendRange(c.column.children[0].node, vectors, child, first, last)
	case fixedListKind:
		width, child := c.column.width, v.column.children[0].node
		return b.appendRange(c.column.children[0].node, vectors, child, from*width, to*width)
	case structKind:
		for i, child := range c.column.children {
			if err := b.appendRange(child.node, vectors, v.column.children[i].node, from, to); err != nil {
				return err
			}
		}
	}
	return nil
}

// appendBinaries appends values of any form to offsets and data.
func (c *columnBuilder) appendBinaries(v *vector, from, to int64) error {
	if v.column.kind != viewKind {
		first, last, err := c.appendOffsets(v, from, to, int64(len(v.data)))
		if err != nil {
			return err
		}
		c.data = append(c.data, v.data[first:last]...)
		return nil
	}
	for row := from; row < to; row++ {
		var value []byte
		if !v.isNull(row) {
			var ok bool
			if value, ok = v.slot(row); !ok {
				return fmt.Errorf("%s has an invalid view in row %d", v.column.path(), row)
			}
		}
		if err := c.appendValue(value); err != nil {
			return err
		}
	}
	return nil
}

// appendValue appends one value, without its validity, to offsets and data.
func (c *columnBuilder) appendValue(value []byte) error {
	c.data = append(c.data, value...)
	return c.appendOffset(int64(len(c.data)))
}

// appendOffset appends one end of a value.
func (c *columnBuilder) appendOffset(end int64) error {
	var room [8]byte
	if c.column.kind == offset64Kind || c.column.kind == list64Kind {
		int64s(room[:])[0] = end
		c.values = append(c.values, room[:]...)
		return nil
	}
	if end > math.MaxInt32 {
		return errTooLong
	}
	int32s(room[:4])[0] = int32(end)
	c.values = append(c.values, room[:4]...)
	return nil
}

// lastOffset is where the next value begins.
func (c *columnBuilder) lastOffset() int64 {
	if c.column.kind == offset64Kind || c.column.kind == list64Kind {
		return int64s(c.values[len(c.values)-8:])[0]
	}
	return int64(int32s(c.values[len(c.values)-4:])[0])
}

// appendOffsets appends the offsets of rows [from, to) of v, moved to where c ends, and gives what
// they span: of limit bytes or values at most.
func (c *columnBuilder) appendOffsets(v *vector, from, to, limit int64) (first, last int64, err error) {
	base, have := c.lastOffset(), len(c.values)
	narrow := c.column.kind == offset32Kind || c.column.kind == list32Kind
	width := 8
	if narrow {
		width = 4
	}
	c.values = append(c.values, make([]byte, int(to-from)*width)...)
	grown := c.values[have:]
	fine := false
	if v.column.kind == offset32Kind || v.column.kind == list32Kind {
		src := int32s(v.values)[from : to+1]
		first, last = int64(src[0]), int64(src[to-from])
		if narrow {
			fine = moveOffsets(int32s(grown), src, base)
		} else {
			fine = moveOffsets(int64s(grown), src, base)
		}
	} else {
		src := int64s(v.values)[from : to+1]
		first, last = src[0], src[to-from]
		if narrow {
			fine = moveOffsets(int32s(grown), src, base)
		} else {
			fine = moveOffsets(int64s(grown), src, base)
		}
	}
	if !fine || last > limit {
		return 0, 0, fmt.Errorf("%s has offsets that decrease or lead beyond %d", v.column.path(), limit)
	}
	if narrow && base+last-first > math.MaxInt32 {
		return 0, 0, errTooLong
	}
	return first, last, nil
}

// moveOffsets writes src[1:], moved so that src[0] would be base. False: an offset is negative or
// less than the one before it.
func moveOffsets[T, S int32 | int64](dst []T, src []S, base int64) bool {
	previous := src[0]
	move := base - int64(previous)
	signs := previous
	rest := src[1:]
	dst = dst[:len(rest)]
	for i, offset := range rest {
		signs |= offset | (offset - previous)
		previous = offset
		dst[i] = T(int64(offset) + move)
	}
	return signs >= 0
}

// appendViews appends values of any form to views; long ones go to the one data buffer.
func (c *columnBuilder) appendViews(v *vector, from, to int64) error {
	var err error
	for row := from; row < to; row++ {
		if v.isNull(row) {
			c.values = append(c.values, zeros[:viewWidth]...)
			continue
		}
		value, ok := v.slot(row)
		if !ok {
			return fmt.Errorf("%s has an invalid value in row %d", v.column.path(), row)
		}
		if c.values, c.data, err = appendView(c.values, c.data, value); err != nil {
			return err
		}
	}
	return nil
}

// appendEmpty appends n rows without a value: nulls, or zeros where valid. What is nested in them is
// null where it may be.
func (b *Builder) appendEmpty(target int, n int64, valid bool) {
	c := &b.columns[target]
	switch c.column.kind {
	case bitKind:
		c.values = growBits(c.values, c.length, n)
	case fixedKind:
		c.values = append(c.values, make([]byte, n*c.column.width)...)
	case viewKind:
		c.values = append(c.values, make([]byte, n*viewWidth)...)
	case offset32Kind, offset64Kind, list32Kind, list64Kind:
		end := c.lastOffset()
		for range n {
			_ = c.appendOffset(end) // it fits: it is there already
		}
	case fixedListKind:
		child := c.column.children[0]
		b.appendEmpty(child.node, n*c.column.width, valid || !child.nullable)
	case structKind:
		for _, child := range c.column.children {
			b.appendEmpty(child.node, n, valid || !child.nullable)
		}
	}
	switch {
	case c.column.kind == nullKind:
		c.nulls += n
	case !valid:
		c.beginValidity()
		c.validity = growBits(c.validity, c.length, n)
		c.nulls += n
	case c.nulls > 0:
		c.validity = appendOnes(c.validity, c.length, n)
	}
	c.length += n
}

var errIndex = errors.New("a dictionary index is out of range")

// appendIndexed appends the values that indices [from, to) of v point to.
func (b *Builder) appendIndexed(target int, v *vector, from, to int64) error {
	rows := b.indices[:0]
	limit, empty := v.dictionary[0].length, b.columns[target].column.emptyRowBytes()
	sizes := sizer{vectors: v.dictionary}
	for row := from; row < to; row++ {
		index := int64(-1)
		if !v.isNull(row) {
			if index = v.index(row); index < 0 || index >= limit {
				return errIndex
			}
			if err := b.charge(sizes.bytes(0, index, index+1)); err != nil {
				return err
			}
		} else if err := b.charge(empty); err != nil {
			return err
		}
		rows = append(rows, int32(index))
	}
	b.indices = rows
	return b.appendRows(target, v.dictionary, 0, rows)
}

// index gives the dictionary index of a row; one that is too large for an int64 is negative.
func (v *vector) index(row int64) int64 {
	width := v.column.width
	word := uint64(0)
	for i, part := range v.values[row*width : (row+1)*width] {
		word |= uint64(part) << (8 * i)
	}
	if unused := 64 - 8*width; v.column.dictionary.signed {
		return int64(word<<unused) >> unused
	}
	return int64(word)
}
