package arrowipc

import "slices"

// AdaptStatistics makes into the statistics of the batch of To that Adapt would give for a batch of From with
// the statistics s. Of columns whose fields are converted, and of values that do not fit, nothing is known. The
// bounds are those of s, or lasting.
func (a *Adapter) AdaptStatistics(s, into *Statistics) {
	columns := into.Columns[:0]
	for i := range a.columns {
		c := &a.columns[i]
		switch {
		case c.misfit != nil || c.source >= len(s.Columns):
			columns = append(columns, ColumnStatistics{Nulls: -1})
		case c.conversion != nil:
			columns = append(columns, c.conversion.link.statistics(s.Columns[c.source]))
		case c.source >= 0:
			columns = append(columns, s.Columns[c.source])
		default:
			columns = append(columns, c.constant.statistics(s.Rows))
		}
	}
	*into = Statistics{Rows: s.Rows, Columns: columns, layout: a.to.layout}
}

// statistics gives those of the column in some rows.
func (c *constant) statistics(rows int64) ColumnStatistics {
	unknown := ColumnStatistics{Nulls: -1}
	one, err := c.atLeast(1)
	if err != nil {
		return unknown
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.summary == nil {
		summary, err := Summarize(one)
		if err != nil {
			return unknown
		}
		c.summary = summary
	}
	column := c.summary.Columns[0]
	if column.Nulls > 0 {
		column.Nulls = rows
	}
	return column
}

// statistics gives those of a column that is converted. Conversions keep the order of values.
func (k *link) statistics(s ColumnStatistics) ColumnStatistics {
	switch {
	case k.children != nil:
		return ColumnStatistics{Nulls: -1}
	case k.number == nil:
		return s
	case s.Min == nil || s.Max == nil || len(s.Min) != len(s.Max):
		return ColumnStatistics{Nulls: s.Nulls}
	}
	bounds := vector{column: k.source, length: 2, values: slices.Concat(s.Min, s.Max)}
	converted, fits := k.number(nil, &bounds, 0, 2)
	if !fits {
		return ColumnStatistics{Nulls: -1}
	}
	width := len(converted) / 2
	return ColumnStatistics{Nulls: s.Nulls, Min: converted[:width], Max: converted[width:]}
}
