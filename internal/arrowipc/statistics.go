package arrowipc

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// ColumnStatistics tell what one column of some rows holds.
type ColumnStatistics struct {
	// Nulls is the number of nulls; -1: not known.
	Nulls int64
	// Min and Max bound the values that are not null: no value is below Min, none above Max. They have
	// the bytes of a value as a Batch holds it: of fixed width little-endian, a bool as one byte of 0 or
	// 1, decimals as stored. Of strings and binaries, those of fixed size too, they have the first bytes,
	// at most BoundBytesMax, Max then rounded up: it may be no value of the column.
	//
	// nil: not known. So it is for nested types and intervals, where there is no value, of floats among
	// which is a NaN, and for a Max that cannot be rounded up.
	Min, Max []byte
}

// BoundBytesMax is the most bytes of a string that Min and Max of its column have.
const BoundBytesMax = 32

// Statistics tell about each top-level column of rows: what a filter needs to know that none of them
// can match. Those that Summarize and ParseStatistics give know their layout.
type Statistics struct {
	Rows    int64
	Columns []ColumnStatistics
	layout  *Layout
}

// Summarize gives the statistics of a plain batch, whose content has been verified, in one pass over
// its buffers.
func Summarize(batch *Batch) (*Statistics, error) {
	if batch.Codec != NoCodec {
		return nil, fmt.Errorf("summarizing a batch: it is compressed")
	}
	s := newStatistics(batch.Layout, batch.Rows)
	arena := boundArena(batch.Layout)
	var v vector
	for i, c := range batch.Layout.top {
		if err := v.open(batch, c); err != nil {
			return nil, fmt.Errorf("summarizing a batch: %w", err)
		}
		var err error
		if arena, err = v.summarize(&s.Columns[i], arena); err != nil {
			return nil, fmt.Errorf("summarizing a batch: %w", err)
		}
	}
	return s, nil
}

// summary takes the statistics of a batch while its columns are written, one after the other.
type summary struct {
	arena []byte
}

// beginSummary gives out.Statistics to be filled in, where the options want them; nil where they do not. What
// is in the batch may not have been verified yet: then nothing is known of what they say until it was.
func (d *Decoder) beginSummary(out *Batch) *summary {
	if d.summarizes == 0 || out.Rows < d.summarizes || out.Codec != NoCodec {
		return nil
	}
	out.Statistics = newStatistics(d.target, out.Rows)
	return &summary{boundArena(d.target)}
}

// add takes those of the top-level column that was written last.
func (s *summary) add(out *Batch, top int) error {
	if s == nil {
		return nil
	}
	var v vector
	if err := v.open(out, out.Layout.top[top]); err != nil {
		return err
	}
	var err error
	s.arena, err = v.summarize(&out.Statistics.Columns[top], s.arena)
	return err
}

// summarize gives the statistics of d.vectors, which are verified and lie as in the target. Of columns
// that were not sent, nothing is known.
func (d *Decoder) summarize(rows int64) (*Statistics, error) {
	s := newStatistics(d.target, rows)
	arena := boundArena(d.target)
	for i, c := range d.columns {
		if c == nil {
			s.Columns[i].Nulls = -1
			continue
		}
		var err error
		if arena, err = d.vectors[c.node].summarize(&s.Columns[i], arena); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func newStatistics(layout *Layout, rows int64) *Statistics {
	return &Statistics{Rows: rows, Columns: make([]ColumnStatistics, len(layout.top)), layout: layout}
}

// boundArena gives room for the bounds of all columns of fixed width, and some text.
func boundArena(layout *Layout) []byte {
	size := int64(0)
	for _, c := range layout.top {
		switch {
		case c.order == unordered:
		case c.kind == fixedKind:
			size += 2 * min(c.width, BoundBytesMax)
		default:
			size += 2 * textPrefix
		}
	}
	return make([]byte, 0, size)
}

// open makes v the values of a top-level column of a plain batch.
func (v *vector) open(b *Batch, c *column) error {
	node := b.Nodes[c.node]
	*v = vector{column: c, length: node.Length, nulls: node.Nulls}
	if c.order == unordered {
		return nil
	}
	first := c.buffer + b.shift(c.view)
	if v.nulls > 0 {
		if v.validity = b.bytes(b.Buffers[first]); int64(len(v.validity)) < (v.length+7)/8 {
			return fmt.Errorf("%s has a bitmap of %d bytes for %d values", c.path(), len(v.validity), v.length)
		}
	}
	v.values = b.bytes(b.Buffers[first+1])
	if need := c.bytesNeeded(1, node); int64(len(v.values)) < need {
		return fmt.Errorf("%s has %d bytes, want %d", c.path(), len(v.values), need)
	}
	switch c.kind {
	case offset32Kind, offset64Kind:
		v.data = b.bytes(b.Buffers[first+2])
	case viewKind:
		v.views = make([][]byte, b.Variadic[c.view])
		for i := range v.views {
			v.views[i] = b.bytes(b.Buffers[first+2+i])
		}
	}
	return nil
}

// empty says that there is no value that is not null.
func (c *ColumnStatistics) empty(rows int64) bool { return c.Nulls == rows }

// Merge makes s the statistics of its own rows and of those of other, which has the same layout.
func (s *Statistics) Merge(other *Statistics) {
	for i := range s.Columns {
		if s.layout == nil || i >= len(other.Columns) || len(s.layout.top) != len(s.Columns) {
			s.Columns[i] = ColumnStatistics{Nulls: -1}
			continue
		}
		s.mergeColumn(i, &other.Columns[i], other.Rows)
	}
	s.Rows += other.Rows
}

func (s *Statistics) mergeColumn(i int, d *ColumnStatistics, rows int64) {
	c, order := &s.Columns[i], s.layout.top[i].order
	switch {
	case d.empty(rows):
	case c.empty(s.Rows):
		c.Min, c.Max = d.Min, d.Max
	default:
		if c.Min == nil || d.Min == nil {
			c.Min = nil
		} else if compareBounds(order, d.Min, c.Min) < 0 {
			c.Min = d.Min
		}
		if c.Max == nil || d.Max == nil {
			c.Max = nil
		} else if compareBounds(order, d.Max, c.Max) > 0 {
			c.Max = d.Max
		}
	}
	if c.Nulls < 0 || d.Nulls < 0 {
		c.Nulls = -1
	} else {
		c.Nulls += d.Nulls
	}
}

// Clone gives statistics that a Merge of these leaves alone. The bounds are shared: they never change.
func (s *Statistics) Clone() *Statistics {
	return &Statistics{Rows: s.Rows, Columns: slices.Clone(s.Columns), layout: s.layout}
}

// Append appends the stored form: rows and number of columns, then for each column its nulls, counted
// from 1, 0 for unknown, and Min and Max, each as a byte with its length, counted from 1, 0 for
// unknown, and its bytes. Numbers are unsigned LEB128.
func (s *Statistics) Append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(s.Rows))
	dst = binary.AppendUvarint(dst, uint64(len(s.Columns)))
	for i := range s.Columns {
		c := &s.Columns[i]
		dst = binary.AppendUvarint(dst, uint64(c.Nulls+1))
		dst = appendBound(appendBound(dst, c.Min), c.Max)
	}
	return dst
}

func appendBound(dst, bound []byte) []byte {
	if bound == nil {
		return append(dst, 0)
	}
	return append(append(dst, byte(len(bound)+1)), bound...)
}

// ParseStatistics reads what Append wrote of a batch of a layout into into, whose memory it reuses. The
// bounds point into src.
func ParseStatistics(layout *Layout, src []byte, into *Statistics) error {
	p := statisticsParser{rest: src}
	into.layout = layout
	into.Rows = p.number()
	if columns := p.number(); p.err == nil && columns != int64(len(layout.top)) {
		p.fail("they are of %d columns, the schema has %d", columns, len(layout.top))
	}
	into.Columns = into.Columns[:0]
	for _, c := range layout.top {
		if p.err != nil {
			break
		}
		s := ColumnStatistics{Nulls: p.number() - 1}
		if s.Nulls > into.Rows {
			p.fail("%s has %d nulls in %d rows", c.path(), s.Nulls, into.Rows)
		}
		s.Min, s.Max = p.bound(c), p.bound(c)
		into.Columns = append(into.Columns, s)
	}
	if p.err == nil && len(p.rest) > 0 {
		p.fail("%d bytes follow them", len(p.rest))
	}
	return p.err
}

type statisticsParser struct {
	rest []byte
	err  error
}

func (p *statisticsParser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf("reading statistics: "+format, args...)
	}
	p.rest = nil
}

func (p *statisticsParser) number() int64 {
	n, size := binary.Uvarint(p.rest)
	if size <= 0 || n > 1<<62 {
		p.fail("a number is cut off or too large")
		return 0
	}
	p.rest = p.rest[size:]
	return int64(n)
}

func (p *statisticsParser) bound(c *column) []byte {
	if p.err != nil || len(p.rest) == 0 {
		p.fail("they end early")
		return nil
	}
	length := int(p.rest[0]) - 1
	if length < 0 {
		p.rest = p.rest[1:]
		return nil
	}
	if !c.boundFits(length) || length >= len(p.rest) {
		p.fail("%s has a bound of %d bytes, %d are left", c.path(), length, len(p.rest)-1)
		return nil
	}
	bound := p.rest[1 : 1+length : 1+length]
	p.rest = p.rest[1+length:]
	return bound
}

// boundFits says that a bound of the column may have that many bytes.
func (c *column) boundFits(length int) bool {
	switch c.order {
	case unordered:
		return false
	case boolOrder:
		return length == 1
	case textOrder:
		return length <= BoundBytesMax
	}
	return int64(length) == c.width
}
