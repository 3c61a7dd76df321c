package arrowipc

import (
	"fmt"
	"slices"
)

// appendRows appends rows of vectors[source], which has no offset, to the column target, and what is
// nested in it. Row -1 stands for a null.
func (b *Builder) appendRows(target int, vectors []vector, source int, rows []int32) error {
	c, v := &b.columns[target], &vectors[source]
	if v.column.kind == nullKind {
		b.appendEmpty(target, int64(len(rows)), false)
		return nil
	}
	gaps := slices.Contains(rows, -1)
	switch c.column.kind {
	case bitKind:
		c.gatherBits(v, rows)
	case fixedKind:
		c.gatherFixed(v, rows)
	case offset32Kind, offset64Kind, viewKind:
		if err := c.gatherBinaries(v, rows); err != nil {
			return err
		}
	case structKind:
		if gaps {
			return b.appendRuns(target, vectors, source, rows)
		}
		for i, child := range c.column.children {
			if err := b.appendRows(child.node, vectors, v.column.children[i].node, rows); err != nil {
				return err
			}
		}
	default:
		return b.appendRuns(target, vectors, source, rows)
	}
	c.gatherValidity(v, rows, gaps)
	return nil
}

func (c *columnBuilder) gatherValidity(v *vector, rows []int32, gaps bool) {
	if v.nulls == 0 && c.nulls == 0 && !gaps {
		c.length += int64(len(rows))
		return
	}
	for _, row := range rows {
		c.appendBit(row >= 0 && !v.isNull(int64(row)))
	}
}

func (c *columnBuilder) gatherBits(v *vector, rows []int32) {
	c.values = growBits(c.values, c.length, int64(len(rows)))
	for i, row := range rows {
		if row >= 0 && bit(v.values, int64(row)) {
			at := c.length + int64(i)
			c.values[at>>3] |= 1 << (at & 7)
		}
	}
}

// appendRuns appends rows as ranges of neighbours.
func (b *Builder) appendRuns(target int, vectors []vector, source int, rows []int32) error {
	for len(rows) > 0 {
		n := 1
		if first := rows[0]; first < 0 {
			for n < len(rows) && rows[n] < 0 {
				n++
			}
			b.appendEmpty(target, int64(n), false)
		} else {
			for n < len(rows) && rows[n] == first+int32(n) {
				n++
			}
			if err := b.appendRange(target, vectors, source, int64(first), int64(first)+int64(n)); err != nil {
				return err
			}
		}
		rows = rows[n:]
	}
	return nil
}

func (c *columnBuilder) gatherFixed(v *vector, rows []int32) {
	width := int(c.column.width)
	have := len(c.values)
	c.values = append(c.values, make([]byte, len(rows)*width)...)
	out := c.values[have:]
	if width == 8 {
		src, dst := int64s(v.values), int64s(out)
		for i, row := range rows {
			if row >= 0 {
				dst[i] = src[row]
			}
		}
		return
	}
	for i, row := range rows {
		if row >= 0 {
			copy(out[i*width:(i+1)*width], v.values[int(row)*width:])
		}
	}
}

func (c *columnBuilder) gatherBinaries(v *vector, rows []int32) error {
	for _, row := range rows {
		var value []byte
		null := row < 0 || v.isNull(int64(row))
		if !null {
			var ok bool
			if value, ok = v.slot(int64(row)); !ok {
				return fmt.Errorf("%s has an invalid value in row %d", v.column.path(), row)
			}
		}
		var err error
		if c.column.kind != viewKind {
			err = c.appendValue(value)
		} else {
			c.values, c.data, err = appendView(c.values, c.data, value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
