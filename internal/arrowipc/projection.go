package arrowipc

import (
	"math/bits"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/model"
)

// Projection chooses top-level columns of stored batches, and may append columns of its own. It
// rewrites metadata and points at the bytes that are there; it never decodes. It is immutable and
// may be shared.
type Projection struct {
	layout  *Layout
	columns []*column
	extras  []*column
	schema  *arrow.Schema
	message []byte
	whole   bool // all columns in their order and nothing else

	nodes, buffers, views int // of the result, without variadic buffers
}

// Message is one IPC message as it goes onto the wire.
type Message struct {
	// Header is the FlatBuffers Message, followed by zero bytes. See Projection.Message.
	Header []byte
	// Body are the parts of the body in order. They must not be changed.
	Body [][]byte
	// BodyLength is the sum of the lengths of Body.
	BodyLength int64
}

// NewProjection chooses columns, by index and in that order; nil means all. The fields of extra are
// appended behind them, and must be of fixed width or string.
func NewProjection(l *Layout, columns []int, extra []arrow.Field) (*Projection, error) {
	p := &Projection{layout: l, whole: columns == nil && len(extra) == 0}
	if columns == nil {
		for i := range l.top {
			columns = append(columns, i)
		}
	}
	var fields []arrow.Field
	for _, i := range columns {
		if i < 0 || i >= len(l.top) {
			return nil, model.Errorf(model.ColumnNotFound, "there is no column %d, the table has %d", i, len(l.top))
		}
		c := l.top[i]
		fields = append(fields, l.schema.Field(i))
		p.columns = append(p.columns, c)
		p.nodes += c.nodeEnd - c.node
		p.buffers += c.bufferEnd - c.buffer
		p.views += c.viewEnd - c.view
	}
	behind, err := NewLayout(arrow.NewSchema(extra, nil))
	if err != nil {
		return nil, err
	}
	for i, c := range behind.top {
		if c.kind != fixedKind && c.kind != offset32Kind {
			return nil, model.Errorf(model.UnsupportedType, "column %q: %s cannot be appended", c.name, c.dataType)
		}
		fields = append(fields, extra[i])
		p.extras = append(p.extras, c)
		p.nodes++
		p.buffers += buffersOf[c.kind]
	}
	metadata := l.schema.Metadata()
	p.schema = arrow.NewSchema(fields, &metadata)
	p.message = EncodeSchema(p.schema)
	return p, nil
}

// Schema is the schema of the result.
func (p *Projection) Schema() *arrow.Schema { return p.schema }

// SchemaMessage is EncodeSchema of the result's schema. It must not be changed.
func (p *Projection) SchemaMessage() []byte { return p.message }

// AppendBuffers appends the indexes of those buffers of b that the projection reads, without empty
// ones: what must be in memory, and checked, before Message.
func (p *Projection) AppendBuffers(dst []int, b *Batch) []int {
	for _, c := range p.columns {
		from, to := b.bufferRange(c)
		for i := from; i < to; i++ {
			if b.Buffers[i].Length > 0 {
				dst = append(dst, i)
			}
		}
	}
	return dst
}

// bufferRange gives the buffers of the subtree of c.
func (b *Batch) bufferRange(c *column) (from, to int) {
	if len(b.Variadic) == 0 {
		return c.buffer, c.bufferEnd
	}
	shift := b.shift(c.view)
	for _, count := range b.Variadic[c.view:c.viewEnd] {
		to += int(count)
	}
	return c.buffer + shift, c.bufferEnd + shift + to
}

// Message gives the projection of b. extra has for each extra column its buffers, plain: validity
// (nil: no nulls), then offsets where it is a string, then values.
//
// The parts of the body point into b.Body and extra: both must stay until they have been sent. The
// header is padded so that, in a FlightData of header and body alone, the body begins at a multiple
// of 64 bytes; clients then find their buffers aligned.
func (p *Projection) Message(b *Batch, extra [][][]byte) Message {
	if p.whole {
		return p.wholeMessage(b)
	}
	shape := headerShape{rows: b.Rows, nodes: p.nodes, buffers: p.buffers, codec: b.Codec}
	if len(b.Variadic) > 0 {
		shape.variadic = p.views
		for _, c := range p.columns {
			for _, count := range b.Variadic[c.view:c.viewEnd] {
				shape.buffers += int(count)
			}
		}
	}
	r := &run{batch: b, parts: make([][]byte, 0, len(p.columns)+4*len(p.extras)+1)}
	r.header = newHeader(shape, 0, alignment)
	for _, c := range p.columns {
		for _, n := range b.Nodes[c.node:c.nodeEnd] {
			r.header.addNode(n)
		}
		from, to := b.bufferRange(c)
		for _, s := range b.Buffers[from:to] {
			r.add(s)
		}
		if shape.variadic > 0 {
			for _, count := range b.Variadic[c.view:c.viewEnd] {
				r.header.addCount(count)
			}
		}
	}
	r.flush()
	for i, c := range p.extras {
		r.addExtra(c, extra[i])
	}
	return finishMessage(r.header, r.parts, r.length)
}

func (p *Projection) wholeMessage(b *Batch) Message {
	header := newHeaderWriter(b, 0, alignment)
	for _, n := range b.Nodes {
		header.addNode(n)
	}
	for _, s := range b.Buffers {
		header.addSpan(s.Offset, s.Length)
	}
	for _, count := range b.Variadic {
		header.addCount(count)
	}
	length := int64(len(b.Body))
	if length == 0 {
		return finishMessage(header, nil, 0)
	}
	parts := [][]byte{b.Body}
	if padding := aligned(length) - length; padding > 0 {
		parts = append(parts, zeros[:padding])
	}
	return finishMessage(header, parts, aligned(length))
}

// Empty is the projection of a batch without rows.
func (p *Projection) Empty() Message {
	header := newHeader(headerShape{nodes: p.nodes, buffers: p.buffers, variadic: p.views}, 0, alignment)
	return finishMessage(header, nil, 0)
}

// finishMessage sets the length of the body, and cuts the header's alignment zero bytes at the end
// to as many as align the body: in a FlightData stand before it the tag and length of the header,
// the header, and the tag (2 bytes) and length of the body.
func finishMessage(w *headerWriter, parts [][]byte, length int64) Message {
	header := w.out
	for i := range 8 {
		header[24+i] = byte(length >> (8 * i))
	}
	size := len(header) - alignment
	for padding := range alignment {
		n := size + padding
		if (1+varintSize(int64(n))+n+2+varintSize(length))%alignment == 0 {
			size = n
			break
		}
	}
	return Message{Header: header[:size:size], Body: parts, BodyLength: length}
}

func varintSize(n int64) int { return (bits.Len64(uint64(n)|1) + 6) / 7 }

// run joins neighbouring buffers of a body to one part.
type run struct {
	batch    *Batch
	header   *headerWriter
	parts    [][]byte
	length   int64 // of all parts and the run
	from, to int64 // the run, in the batch's body
}

func (r *run) add(s Span) {
	r.header.addSpan(r.length, s.Length)
	if s.Length == 0 {
		return
	}
	if s.Offset != r.to {
		r.flush()
		r.from = s.Offset
	}
	size := aligned(s.Length)
	r.to = s.Offset + size
	r.length += size
	if beyond := r.to - int64(len(r.batch.Body)); beyond > 0 {
		r.to -= beyond
		r.flush()
		r.parts = append(r.parts, zeros[:beyond])
	}
}

func (r *run) flush() {
	if r.to > r.from {
		r.parts = append(r.parts, r.batch.Body[r.from:r.to:r.to])
	}
	r.from = r.to
}

// notCompressed is the length before a buffer that is stored plainly in a compressed batch.
var notCompressed = [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

func (r *run) addExtra(c *column, buffers [][]byte) {
	node := Node{Length: r.batch.Rows}
	if validity := buffers[0]; validity != nil {
		node.Nulls = node.Length - countBits(validity, 0, node.Length)
	}
	r.header.addNode(node)
	for i, buffer := range buffers[:buffersOf[c.kind]] {
		if i == 0 && node.Nulls == 0 || len(buffer) == 0 {
			r.header.addSpan(r.length, 0)
			continue
		}
		size := int64(len(buffer))
		if r.batch.Codec != NoCodec {
			size += int64(len(notCompressed))
			r.parts = append(r.parts, notCompressed[:])
		}
		r.parts = append(r.parts, buffer)
		r.header.addSpan(r.length, size)
		if padding := aligned(size) - size; padding > 0 {
			r.parts = append(r.parts, zeros[:padding])
		}
		r.length += aligned(size)
	}
}
