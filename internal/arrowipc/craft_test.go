package arrowipc

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	flatbuffers "github.com/google/flatbuffers/go"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// crafter builds messages that no Arrow library would send.
type crafter struct{ *flatbuffers.Builder }

func newCrafter() crafter { return crafter{flatbuffers.NewBuilder(256)} }

func (c crafter) message(kind byte, header flatbuffers.UOffsetT, body int64) []byte {
	c.StartObject(5)
	c.PrependInt16Slot(0, versionV5, 0)
	c.PrependByteSlot(1, kind, 0)
	c.PrependUOffsetTSlot(2, header, 0)
	c.PrependInt64Slot(3, body, 0)
	c.Finish(c.EndObject())
	return bytes.Clone(c.FinishedBytes())
}

func (c crafter) references(offsets ...flatbuffers.UOffsetT) flatbuffers.UOffsetT {
	c.StartVector(4, len(offsets), 4)
	for i := len(offsets) - 1; i >= 0; i-- {
		c.PrependUOffsetT(offsets[i])
	}
	return c.EndVector(len(offsets))
}

func (c crafter) field(name string, typeID byte, children ...flatbuffers.UOffsetT) flatbuffers.UOffsetT {
	text := c.CreateString(name)
	c.StartObject(2)
	if typeID == typeInt {
		c.PrependInt32Slot(0, 64, 0)
		c.PrependBoolSlot(1, true, false)
	}
	dataType := c.EndObject()
	vector := c.references(children...)
	c.StartObject(7)
	c.PrependUOffsetTSlot(0, text, 0)
	c.PrependBoolSlot(1, true, false)
	c.PrependByteSlot(2, typeID, 0)
	c.PrependUOffsetTSlot(3, dataType, 0)
	c.PrependUOffsetTSlot(5, vector, 0)
	return c.EndObject()
}

func (c crafter) schema(fields ...flatbuffers.UOffsetT) []byte {
	vector := c.references(fields...)
	c.StartObject(4)
	c.PrependUOffsetTSlot(1, vector, 0)
	return c.message(schemaMessage, c.EndObject(), 0)
}

// craftSchema gives a schema of one column.
func craftSchema(typeID byte) []byte {
	c := newCrafter()
	return c.schema(c.field("c", typeID))
}

// craftBatch gives the metadata of any batch, as it is told.
func craftBatch(rows int64, nodes []Node, spans []Span, codec Codec, body int64) []byte {
	b := &Batch{Rows: rows, Nodes: nodes, Buffers: spans, Codec: codec}
	return b.message(0, body, 0)
}

// pointer gives where a field of a table leads.
func pointer(header []byte, table uint32, slot int) uint32 {
	vtable := table - binary.LittleEndian.Uint32(header[table:])
	at := table + uint32(binary.LittleEndian.Uint16(header[vtable+4+uint32(2*slot):]))
	return at + binary.LittleEndian.Uint32(header[at:])
}

// fieldsVector gives where the fields of a schema message are.
func fieldsVector(header []byte) uint32 {
	return pointer(header, pointer(header, binary.LittleEndian.Uint32(header), 2), 1)
}

func nestedStructs(depth, children int) []byte {
	c := newCrafter()
	field := c.field("x", typeNull)
	for range depth {
		same := make([]flatbuffers.UOffsetT, children)
		for i := range same {
			same[i] = field
		}
		field = c.field("x", typeStruct, same...)
	}
	return c.schema(field)
}

func cyclicSchema() []byte {
	c := newCrafter()
	header := c.schema(c.field("p", typeStruct, c.field("k", typeNull)))
	vector := fieldsVector(header)
	parent := vector + 4 + binary.LittleEndian.Uint32(header[vector+4:])
	child := pointer(header, parent, 5) + 4
	binary.LittleEndian.PutUint32(header[child:], parent-child) // wraps round
	return header
}

func longFieldsVector(n uint32) []byte {
	header := craftSchema(typeInt)
	binary.LittleEndian.PutUint32(header[fieldsVector(header):], n)
	return header
}

// sharedMetadata has many keys whose values are all the same bytes.
func sharedMetadata() []byte {
	c := newCrafter()
	text := c.CreateString(string(make([]byte, metadataMax-1)))
	c.StartObject(2)
	c.PrependUOffsetTSlot(0, text, 0)
	c.PrependUOffsetTSlot(1, text, 0)
	pair := c.EndObject()
	pairs := make([]flatbuffers.UOffsetT, 50000)
	for i := range pairs {
		pairs[i] = pair
	}
	metadata := c.references(pairs...)
	fields := c.references()
	c.StartObject(4)
	c.PrependUOffsetTSlot(1, fields, 0)
	c.PrependUOffsetTSlot(2, metadata, 0)
	return c.message(schemaMessage, c.EndObject(), 0)
}

// bomb compresses size zeros, and claims that there are so many.
func bomb(t testing.TB, codec Codec, size, claim int64) []byte {
	t.Helper()
	out := bytes.NewBuffer(binary.LittleEndian.AppendUint64(nil, uint64(claim)))
	write := func(w interface {
		Write([]byte) (int, error)
		Close() error
	}) {
		block := make([]byte, 1<<20)
		for ; size > 0; size -= int64(len(block)) {
			if _, err := w.Write(block); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if codec == LZ4 {
		write(lz4.NewWriter(out))
	} else {
		w, err := zstd.NewWriter(out)
		if err != nil {
			t.Fatal(err)
		}
		write(w)
	}
	return pad(out.Bytes())
}

func pad(b []byte) []byte { return append(b, zeros[:aligned(int64(len(b)))-int64(len(b))]...) }

// manyColumns gives a schema of n integer columns.
func manyColumns(n int) []byte {
	c := newCrafter()
	var fields []flatbuffers.UOffsetT
	for i := range n {
		fields = append(fields, c.field(fmt.Sprint("c", i), typeInt))
	}
	return c.schema(fields...)
}
