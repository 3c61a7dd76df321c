package arrowipc

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// What the IPC format calls things.
const (
	versionV4 = 3
	versionV5 = 4

	schemaMessage     = 1
	dictionaryMessage = 2
	batchMessage      = 3
)

// Where the parts of a record-batch message are. The vectors follow, the variadic counts last.
const (
	headerFixed       = 88  // root offset, both vtables, both tables
	headerCompression = 104 // the same with the table for compression
)

// headerWriter writes the metadata of a record batch. The message has one allocation, and offsets
// lead forward only.
type headerWriter struct {
	out               []byte
	node, span, count int
}

// headerSize is the length of a message, a multiple of 8.
func headerSize(nodes, buffers, variadic int, codec Codec) int {
	size := headerFixed
	if codec != NoCodec {
		size = headerCompression
	}
	size += 8 + 16*nodes + 8 + 16*buffers
	if variadic > 0 {
		size += 8 + 8*variadic
	}
	return size
}

// newHeaderWriter writes all but the elements of the vectors. The message gets padding more zero
// bytes at its end.
func newHeaderWriter(shape *Batch, bodyLength int64, padding int) *headerWriter {
	nodes, buffers, variadic := len(shape.Nodes), len(shape.Buffers), len(shape.Variadic)
	return newHeader(headerShape{shape.Rows, nodes, buffers, variadic, shape.Codec}, bodyLength, padding)
}

type headerShape struct {
	rows                     int64
	nodes, buffers, variadic int
	codec                    Codec
}

func newHeader(shape headerShape, bodyLength int64, padding int) *headerWriter {
	out := make([]byte, headerSize(shape.nodes, shape.buffers, shape.variadic, shape.codec)+padding)
	put16 := func(at int, values ...uint16) {
		for i, v := range values {
			binary.LittleEndian.PutUint16(out[at+2*i:], v)
		}
	}
	put32 := func(at, v int) { binary.LittleEndian.PutUint32(out[at:], uint32(v)) }
	put64 := func(at int, v int64) { binary.LittleEndian.PutUint64(out[at:], uint64(v)) }

	// Message: vtable at 4, table at 20 with header at 12, bodyLength at 4, version, type.
	put32(0, 20)
	put16(4, 12, 20, 16, 18, 12, 4)
	put32(20, 20-4)
	put64(24, bodyLength)
	put32(32, 60-32)
	put16(36, versionV5)
	out[38] = batchMessage
	// RecordBatch: vtable at 40, table at 60.
	vtable := [7]uint16{14, 28, 4, 12, 16, 0, 0}
	at := headerFixed
	if shape.codec != NoCodec {
		vtable[5] = 20
		put32(80, 96-80)
		put16(88, 8, 8, 4, 5) // BodyCompression: vtable at 88, table at 96
		put32(96, 96-88)
		out[100] = byte(shape.codec - LZ4)
		at = headerCompression
	}
	put32(60, 60-40)
	put64(64, shape.rows)
	w := &headerWriter{out: out}
	vector := func(field, n, width int) int {
		put32(field, at+4-field)
		put32(at+4, n)
		first := at + 8
		at = first + n*width
		return first
	}
	w.node = vector(72, shape.nodes, 16)
	w.span = vector(76, shape.buffers, 16)
	if shape.variadic > 0 {
		vtable[6] = 24
		w.count = vector(84, shape.variadic, 8)
	}
	put16(40, vtable[:]...)
	return w
}

func (w *headerWriter) addNode(n Node) {
	binary.LittleEndian.PutUint64(w.out[w.node:], uint64(n.Length))
	binary.LittleEndian.PutUint64(w.out[w.node+8:], uint64(n.Nulls))
	w.node += 16
}

func (w *headerWriter) addSpan(offset, length int64) {
	binary.LittleEndian.PutUint64(w.out[w.span:], uint64(offset))
	binary.LittleEndian.PutUint64(w.out[w.span+8:], uint64(length))
	w.span += 16
}

func (w *headerWriter) addCount(count int64) {
	binary.LittleEndian.PutUint64(w.out[w.count:], uint64(count))
	w.count += 8
}

// Message gives the FlatBuffers Message of a record batch whose body is lead bytes of something
// else, a multiple of 64, followed by b.Body. Its length is a multiple of 8.
func (b *Batch) Message(lead int64) []byte { return b.message(lead, lead+int64(len(b.Body)), 0) }

func (b *Batch) message(lead, bodyLength int64, padding int) []byte {
	w := newHeaderWriter(b, bodyLength, padding)
	for _, n := range b.Nodes {
		w.addNode(n)
	}
	for _, s := range b.Buffers {
		w.addSpan(lead+s.Offset, s.Length)
	}
	for _, c := range b.Variadic {
		w.addCount(c)
	}
	return w.out
}

// ParseMessage is the inverse of Batch.Message: it reads header, the FlatBuffers Message, into into,
// whose slices it reuses. Body becomes body[lead:] without copying; Sums and Statistics become nil.
//
// It is safe on any bytes: counts, lengths and positions are checked against layout and body. What
// the buffers hold is not looked at.
func ParseMessage(layout *Layout, header, body []byte, lead int64, into *Batch) error {
	f := &flat{data: header, tables: 8}
	root := f.root()
	if kind := f.byteField(root, 1); f.err == nil && kind != batchMessage {
		f.fail("it is of kind %d, want %d", kind, batchMessage)
	}
	if n := f.int64Field(root, 3); f.err == nil && n != int64(len(body)) {
		f.fail("it is for a body of %d bytes, got %d", n, len(body))
	}
	table, ok := f.tableField(root, 2)
	if !ok {
		f.fail("it has no record batch")
	}
	into.Layout, into.Sums, into.Statistics, into.owned = layout, nil, nil, false
	readBatch(f, table, into)
	if f.err != nil {
		return fmt.Errorf("parsing the metadata of a record batch: %w", f.err)
	}
	if lead < 0 || lead > int64(len(body)) {
		return fmt.Errorf("parsing the metadata of a record batch: body of %d bytes, want %d", len(body), lead)
	}
	into.Body = body[lead:]
	err := errors.Join(checkSpans(into, lead, int64(len(into.Body)), alignment), checkNodes(into, lengthMax))
	if err == nil && into.Codec == NoCodec {
		err = checkLengths(into)
	}
	if err != nil {
		return fmt.Errorf("parsing the metadata of a record batch: %w", err)
	}
	return nil
}

// readBatch reads a RecordBatch table into into, whose Layout is set, and checks that it has as many
// nodes, buffers and counts as the layout needs. Spans stay as they are in the message.
func readBatch(f *flat, table flatTable, into *Batch) {
	layout := into.Layout
	into.Rows = f.int64Field(table, 0)
	into.Codec = NoCodec
	if compression, ok := f.tableField(table, 3); ok {
		codec, method := f.byteField(compression, 0), f.byteField(compression, 1)
		if codec > 1 || method != 0 {
			f.fail("it has the unknown codec %d with method %d", codec, method)
		}
		into.Codec = LZ4 + Codec(codec)
	}
	nodeAt, nodes := f.vector(table, 1, 16)
	spanAt, spans := f.vector(table, 2, 16)
	countAt, counts := f.vector(table, 4, 8)
	if f.err == nil && (nodes != len(layout.all) || counts != layout.views) {
		f.fail("it has %d nodes and %d variadic counts, the schema needs %d and %d",
			nodes, counts, len(layout.all), layout.views)
	}
	if f.err != nil {
		return
	}
	want := int64(layout.buffers)
	into.Variadic = into.Variadic[:0]
	for i := range counts {
		count := f.int64(countAt + 8*i)
		if count < 0 || count > int64(spans) {
			f.fail("it has a column of %d data buffers", count)
			return
		}
		into.Variadic = append(into.Variadic, count)
		want += count
	}
	if int64(spans) != want {
		f.fail("it has %d buffers, the schema needs %d", spans, want)
		return
	}
	into.Nodes, into.Buffers = into.Nodes[:0], into.Buffers[:0]
	for i := range nodes {
		into.Nodes = append(into.Nodes, Node{f.int64(nodeAt + 16*i), f.int64(nodeAt + 16*i + 8)})
	}
	for i := range spans {
		into.Buffers = append(into.Buffers, Span{f.int64(spanAt + 16*i), f.int64(spanAt + 16*i + 8)})
	}
}
