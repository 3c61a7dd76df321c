package arrowipc

// Columns is how many columns the key has.
func (k *KeyColumns) Columns() int { return len(k.columns) }

// Value gives a column of the key of a row as View.Value does, counted in the order of the key; null says
// that there is none. v has the layout that k was made of, or one of the same shape.
func (k *KeyColumns) Value(column int, v *View, row int32) (value []byte, null bool) {
	c := &v.vectors[k.columns[column].node]
	if c.isNull(int64(row)) {
		return nil, true
	}
	return c.value(int64(row)), false
}
