package arrowipc

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/model"
)

// ColumnSet chooses top-level columns of batches of one layout, and gives them as plain batches of a
// layout of their own: for who reads values of a few columns. It is immutable and may be shared.
type ColumnSet struct {
	layout  *Layout
	columns []*column
	chosen  *Layout
}

// NewColumnSet chooses columns, by index and in that order.
func NewColumnSet(l *Layout, columns []int) (*ColumnSet, error) {
	s := &ColumnSet{layout: l}
	fields := make([]arrow.Field, 0, len(columns))
	for _, i := range columns {
		if i < 0 || i >= len(l.top) {
			return nil, model.Errorf(model.ColumnNotFound, "there is no column %d, the table has %d", i, len(l.top))
		}
		fields = append(fields, l.schema.Field(i))
		s.columns = append(s.columns, l.top[i])
	}
	metadata := l.schema.Metadata()
	var err error
	s.chosen, err = NewLayout(arrow.NewSchema(fields, &metadata))
	return s, err
}

// Layout is the layout of the chosen columns.
func (s *ColumnSet) Layout() *Layout { return s.chosen }

// AppendBuffers appends the indexes of those buffers of b that the columns have, without empty ones:
// what must be in memory, and checked, before Read.
func (s *ColumnSet) AppendBuffers(dst []int, b *Batch) []int {
	for _, c := range s.columns {
		from, to := b.bufferRange(c)
		for i := from; i < to; i++ {
			if b.Buffers[i].Length > 0 {
				dst = append(dst, i)
			}
		}
	}
	return dst
}

// Read gives the columns of b as a plain batch, in dst's memory. Of a plain batch it is a view of the
// same body; of a compressed one it has a body of its own, of these columns alone. The caller releases
// it in both cases. Its buffers stand in the order of the columns, which need not be that of the body,
// and have no sums: it is for reading, not for storing.
func (s *ColumnSet) Read(b, dst *Batch) error {
	*dst = Batch{
		Layout: s.chosen, Rows: b.Rows,
		Nodes: dst.Nodes[:0], Buffers: dst.Buffers[:0], Variadic: dst.Variadic[:0], Body: b.Body, aside: b.aside, source: b.source,
	}
	for _, c := range s.columns {
		dst.Nodes = append(dst.Nodes, b.Nodes[c.node:c.nodeEnd]...)
		from, to := b.bufferRange(c)
		dst.Buffers = append(dst.Buffers, b.Buffers[from:to]...)
		if len(b.Variadic) > 0 {
			dst.Variadic = append(dst.Variadic, b.Variadic[c.view:c.viewEnd]...)
		}
	}
	if b.Codec == NoCodec {
		return nil
	}
	packed := *dst
	packed.Codec = b.Codec
	plain, err := Decompress(&packed)
	if err != nil {
		return fmt.Errorf("reading columns: %w", err)
	}
	dst.Body, dst.Buffers, dst.owned = plain.Body, plain.Buffers, true
	return nil
}
