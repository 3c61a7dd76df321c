package arrowipc

import "hash/crc32"

// Node is what a record batch says of one column or nested field: its values, and how many of them
// are null.
type Node struct{ Length, Nulls int64 }

// Span is a range of bytes of Batch.Body, or of bytes aside: see Adapter.
type Span struct{ Offset, Length int64 }

// asideShift is where in an offset the number of the bytes aside stands, from 1; 0 is Body.
const asideShift = 48

// isAside says that the bytes are not in Body. They are plain then, whatever the codec.
func (s Span) isAside() bool { return s.Offset>>asideShift != 0 }

// Codec is how the buffers of a batch are compressed, each on its own: 8 bytes that give the plain
// length (-1: not compressed), then a frame of the codec.
type Codec uint8

// The codecs.
const (
	NoCodec Codec = iota
	LZ4
	ZSTD
)

// Batch is one record batch as buffers in one contiguous body.
//
// A copy of a Batch shares all its slices; only one of the copies may be released.
type Batch struct {
	Layout *Layout
	Rows   int64
	// Nodes has one entry for each column and nested field, in IPC order.
	Nodes []Node
	// Buffers are in IPC order, variadic ones included. The offsets of non-empty ones ascend and are
	// multiples of 64; the bytes between them are zero.
	Buffers []Span
	// Variadic has the number of data buffers of each view node.
	Variadic []int64
	Codec    Codec
	Body     []byte
	// Sums has the CRC-32C of each buffer's bytes as stored, without padding; nil where it was not
	// computed.
	Sums []uint32
	// Statistics are those of the rows; nil where they were not taken. They do not change any more.
	Statistics *Statistics

	owned bool     // Body is from newBody
	aside [][]byte // what spans that are aside lie in
	// source is the batch whose body this one reads: whoever holds this one holds that.
	source *Batch
}

// Release gives the body back for reuse, after which the batch and what was read from it without
// copying must not be used. It does nothing to a body that the batch does not own, such as mapped
// memory, and nothing when called again.
func (b *Batch) Release() {
	if b.owned {
		recycleBody(b.Body)
	}
	b.Body, b.owned = nil, false
}

// Shared gives a copy that reads the same body and does not own it: its Release does nothing to the
// body, and it must not be used once the body's owner has released it.
func (b *Batch) Shared() *Batch {
	shared := *b
	shared.owned = false
	return &shared
}

// castagnoli is the table of Batch.Sums.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// zeros is where padding comes from. It is never written.
var zeros [alignment]byte

func (b *Batch) bytes(span Span) []byte {
	body, from := b.Body, span.Offset
	if part := from >> asideShift; part != 0 {
		body, from = b.aside[part-1], from-part<<asideShift
	}
	return body[from : from+span.Length : from+span.Length]
}

// Buffer gives the bytes of a buffer, as they are stored. They must not be changed.
func (b *Batch) Buffer(i int) []byte { return b.bytes(b.Buffers[i]) }

// shift is how many variadic buffers come before those of a column that has views view nodes before
// it.
func (b *Batch) shift(views int) int {
	n := int64(0)
	for _, count := range b.Variadic[:views] {
		n += count
	}
	return int(n)
}

// bodyWriter fills a body of known size with buffers, each at an aligned offset, and sums them.
type bodyWriter struct {
	batch    *Batch
	position int64
}

// newBodyWriter begins the body of batch; size is the sum of the aligned lengths of its buffers.
func newBodyWriter(batch *Batch, size int64, buffers int) *bodyWriter {
	batch.Body, batch.owned = newBody(int(size)), true
	batch.Buffers = make([]Span, 0, buffers)
	batch.Sums = make([]uint32, 0, buffers)
	return &bodyWriter{batch: batch}
}

// sumStride is how much is copied before it is summed: what a level-one cache holds.
const sumStride = 16 << 10

// add appends one buffer that lies in parts.
func (w *bodyWriter) add(parts ...[]byte) {
	start, sum := w.position, uint32(0)
	for _, part := range parts {
		for len(part) > 0 {
			n := min(len(part), sumStride)
			target := w.batch.Body[w.position : w.position+int64(n)]
			copy(target, part)
			sum = crc32.Update(sum, castagnoli, target)
			part = part[n:]
			w.position += int64(n)
		}
	}
	w.close(start, sum)
}

func (w *bodyWriter) close(start int64, sum uint32) {
	w.batch.Buffers = append(w.batch.Buffers, Span{start, w.position - start})
	w.batch.Sums = append(w.batch.Sums, sum)
	end := aligned(w.position)
	clear(w.batch.Body[w.position:end])
	w.position = end
}
