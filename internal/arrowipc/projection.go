package arrowipc

import (
	"fmt"
	"math/bits"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/model"
)

// Projection chooses columns of stored batches, or fields of structs within them, and may append columns
// of its own. It rewrites metadata and points at the bytes that are there; it decodes nothing, unless
// Encode is asked for another codec. It is immutable and may be shared.
type Projection struct {
	layout  *Layout
	columns []chosen
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
	return NewNestedProjection(l, columns, nil, extra)
}

// NewNestedProjection is NewProjection, where paths[i] leads from columns[i] to a field of structs within
// it, by name; an empty path is the column itself. The field is null where a struct around it is, and is
// called by all names that lead to it, with dots between them. A path that leads nowhere is
// model.ColumnNotFound.
func NewNestedProjection(l *Layout, columns []int, paths [][]string, extra []arrow.Field) (*Projection, error) {
	p := &Projection{layout: l, whole: columns == nil && len(extra) == 0}
	for _, path := range paths {
		p.whole = p.whole && len(path) == 0
	}
	if columns == nil {
		for i := range l.top {
			columns = append(columns, i)
		}
	}
	var fields []arrow.Field
	for at, i := range columns {
		var path []string
		if at < len(paths) {
			path = paths[at]
		}
		c, field, err := l.choose(i, path)
		if err != nil {
			return nil, err
		}
		fields = append(fields, field)
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
		for _, outer := range c.above {
			if i := outer.buffer + b.shift(outer.view); b.Buffers[i].Length > 0 {
				dst = append(dst, i)
			}
		}
		from, to := b.bufferRange(c.column)
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

// Message gives the projection of b, in b's codec. extra has for each extra column its buffers, plain:
// validity (nil: no nulls), then offsets where it is a string, then values. Where Reads says that bytes of
// b have to be read, use Encode.
//
// The parts of the body point into b.Body and extra: both must stay until they have been sent. The
// header is padded so that, in a FlightData of header and body alone, the body begins at a multiple
// of 64 bytes; clients then find their buffers aligned.
func (p *Projection) Message(b *Batch, extra [][][]byte) Message {
	if p.whole && b.aside == nil {
		return p.wholeMessage(b)
	}
	message, _ := p.Encode(b, extra, b.Codec) // nothing is decoded that could fail
	return message
}

// Reads says that Encode reads bytes of b, which must be in memory then: it compresses them, or has to
// find out where fields are null for what is around them.
func (p *Projection) Reads(b *Batch, codec Codec) bool {
	if codec != b.Codec {
		return true
	}
	for _, c := range p.columns {
		if len(c.nullsAbove(b)) > 1 {
			return true
		}
	}
	return false
}

// Encode is Message with the buffers in a codec: that of b, or any where b is plain. Buffers that would
// shrink by less than an eighth stay plain, as the format allows.
func (p *Projection) Encode(b *Batch, extra [][][]byte, codec Codec) (Message, error) {
	if codec != b.Codec && b.Codec != NoCodec {
		return Message{}, fmt.Errorf("encoding a batch: its codec is %d, want %d or none", b.Codec, codec)
	}
	if p.whole && b.aside == nil && codec == b.Codec {
		return p.wholeMessage(b), nil
	}
	shape := headerShape{rows: b.Rows, nodes: p.nodes, buffers: p.buffers, codec: codec}
	if len(b.Variadic) > 0 {
		shape.variadic = p.views
		for _, c := range p.columns {
			for _, count := range b.Variadic[c.view:c.viewEnd] {
				shape.buffers += int(count)
			}
		}
	}
	r := &run{batch: b, codec: codec, parts: make([][]byte, 0, len(p.columns)+4*len(p.extras)+1)}
	r.header = newHeader(shape, 0, alignment)
	for _, c := range p.columns {
		r.addColumn(c)
	}
	for i, c := range p.extras {
		r.addExtra(c, extra[i])
	}
	if r.err != nil {
		return Message{}, fmt.Errorf("encoding a batch: %w", r.err)
	}
	return finishMessage(r.header, r.finish(), r.length), nil
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
