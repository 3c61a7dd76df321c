package arrowipc

import "fmt"

// AppendValue appends one value, as View.Value gives it, to a top-level column that is not nested. It
// fails where the column is nested or not there, or value has the wrong size; after an error Finish
// gives no rows. All columns must have got the same number of rows when Finish is called.
func (b *Builder) AppendValue(column int, value []byte) error {
	c, err := b.topColumn(column)
	if err != nil {
		return err
	}
	switch c.column.kind {
	case bitKind:
		if len(value) != 1 || value[0] > 1 {
			return b.fail(fmt.Errorf("%s got the value %x, want one byte that is 0 or 1", c.column.path(), value))
		}
		c.values = growBits(c.values, c.length, 1)
		c.values[c.length>>3] |= value[0] << (c.length & 7)
	case fixedKind:
		if int64(len(value)) != c.column.width {
			return b.fail(fmt.Errorf("%s got a value of %d bytes, want %d", c.column.path(), len(value), c.column.width))
		}
		c.values = append(c.values, value...)
	case offset32Kind, offset64Kind:
		err = c.appendValue(value)
	case viewKind:
		c.values, c.data, err = appendView(c.values, c.data, value)
	default:
		err = fmt.Errorf("%s of type %s does not take single values", c.column.path(), c.column.dataType)
	}
	if err != nil {
		return b.fail(err)
	}
	c.appendBit(true)
	return nil
}

// AppendNull appends a null to a top-level column of any type. What is nested in it is null where it
// may be. A column that is not there is an error that Err gives.
func (b *Builder) AppendNull(column int) {
	if c, err := b.topColumn(column); err == nil {
		b.appendEmpty(c.column.node, 1, false)
	}
}

// topColumn gives a top-level column that is about to be appended to alone.
func (b *Builder) topColumn(column int) (*columnBuilder, error) {
	if b.err != nil {
		return nil, b.err
	}
	if column < 0 || column >= len(b.layout.top) {
		return nil, b.fail(fmt.Errorf("column %d of %d", column, len(b.layout.top)))
	}
	b.columnwise = true
	return &b.columns[b.layout.top[column].node], nil
}
