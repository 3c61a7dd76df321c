package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	flatbuffers "github.com/google/flatbuffers/go"
	"github.com/klauspost/compress/zstd"
)

// Numbers of Arrow's FlatBuffers.
const (
	schemaMessage, batchMessage          = 1, 3
	typeNull, typeInt, typeText, typeRow = 1, 2, 5, 13
	noCodec, zstdCodec                   = -1, 1
)

// crafter builds messages that no Arrow library would send.
type crafter struct{ *flatbuffers.Builder }

func newCrafter() crafter { return crafter{flatbuffers.NewBuilder(256)} }

func (c crafter) message(kind byte, header flatbuffers.UOffsetT, body int64) []byte {
	c.StartObject(5)
	c.PrependInt16Slot(0, 4, 0)
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

func (c crafter) schema(fields ...flatbuffers.UOffsetT) *flight.FlightData {
	vector := c.references(fields...)
	c.StartObject(4)
	c.PrependUOffsetTSlot(1, vector, 0)
	return &flight.FlightData{DataHeader: c.message(schemaMessage, c.EndObject(), 0)}
}

// craftSchema gives a schema of columns c0, c1 and so on of one type.
func craftSchema(typeID byte, columns int) *flight.FlightData {
	c := newCrafter()
	var fields []flatbuffers.UOffsetT
	for i := range columns {
		fields = append(fields, c.field(fmt.Sprint("c", i), typeID))
	}
	return c.schema(fields...)
}

// pair is a buffer (offset and length) or a node (length and nulls) of a batch.
type pair struct{ a, b int64 }

func (c crafter) pairs(pairs []pair) flatbuffers.UOffsetT {
	c.StartVector(16, len(pairs), 8)
	for i := len(pairs) - 1; i >= 0; i-- {
		c.Prep(8, 16)
		c.PrependInt64(pairs[i].b)
		c.PrependInt64(pairs[i].a)
	}
	return c.EndVector(len(pairs))
}

// claim is what the metadata of a batch says, right or not.
type claim struct {
	rows           int64
	nodes, buffers []pair
	codec          int8
}

// batch gives a message of the claim with a body.
func (b claim) batch(body []byte) *flight.FlightData {
	message := b.sized(int64(len(body)))
	message.DataBody = body
	return message
}

// sized gives a message that claims the size of its body and has none.
func (b claim) sized(size int64) *flight.FlightData {
	c := newCrafter()
	var compression flatbuffers.UOffsetT
	if b.codec != noCodec {
		c.StartObject(2)
		c.PrependInt8Slot(0, b.codec, 0)
		compression = c.EndObject()
	}
	nodes, buffers := c.pairs(b.nodes), c.pairs(b.buffers)
	c.StartObject(5)
	c.PrependInt64Slot(0, b.rows, 0)
	c.PrependUOffsetTSlot(1, nodes, 0)
	c.PrependUOffsetTSlot(2, buffers, 0)
	if b.codec != noCodec {
		c.PrependUOffsetTSlot(3, compression, 0)
	}
	return &flight.FlightData{DataHeader: c.message(batchMessage, c.EndObject(), size)}
}

// column claims one column of rows with the buffers given.
func column(rows, nulls int64, buffers ...pair) claim {
	return claim{rows: rows, nodes: []pair{{rows, nulls}}, buffers: buffers, codec: noCodec}
}

// compressed claims one column of int64 in a buffer that begins with the length it says to have.
func compressed(rows, length int64, frame []byte) *flight.FlightData {
	body := append(binary.LittleEndian.AppendUint64(nil, uint64(length)), frame...)
	claimed := column(rows, 0, pair{}, pair{0, int64(len(body))})
	claimed.codec = zstdCodec
	return claimed.batch(padded(body))
}

func padded(body []byte) []byte {
	return append(body, make([]byte, -len(body)&63)...)
}

// bomb compresses so many MiB of zeros.
func bomb(t testing.TB, mebibytes int) []byte {
	t.Helper()
	var out bytes.Buffer
	writer, err := zstd.NewWriter(&out, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 1<<20)
	for range mebibytes {
		if _, err := writer.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// nested gives a schema of structs in structs; with two children, both are the same bytes.
func nested(depth, children int) *flight.FlightData {
	c := newCrafter()
	field := c.field("x", typeNull)
	for range depth {
		same := make([]flatbuffers.UOffsetT, children)
		for i := range same {
			same[i] = field
		}
		field = c.field("x", typeRow, same...)
	}
	return c.schema(field)
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

// cycle gives a schema whose column contains itself.
func cycle() *flight.FlightData {
	c := newCrafter()
	message := c.schema(c.field("p", typeRow, c.field("k", typeNull)))
	header := message.DataHeader
	vector := fieldsVector(header)
	parent := vector + 4 + binary.LittleEndian.Uint32(header[vector+4:])
	child := pointer(header, parent, 5) + 4
	binary.LittleEndian.PutUint32(header[child:], parent-child) // wraps round
	return message
}

func longFieldsVector(length uint32) *flight.FlightData {
	message := craftSchema(typeInt, 1)
	binary.LittleEndian.PutUint32(message.DataHeader[fieldsVector(message.DataHeader):], length)
	return message
}

// recorder keeps what a Flight writer sends.
type recorder struct{ messages []*flight.FlightData }

func (r *recorder) Send(message *flight.FlightData) error {
	r.messages = append(r.messages, &flight.FlightData{
		DataHeader: bytes.Clone(message.DataHeader), DataBody: bytes.Clone(message.DataBody),
	})
	return nil
}

// dictionary gives the schema, the dictionary and the batch of a column that is sound.
func dictionary(t testing.TB) []*flight.FlightData {
	t.Helper()
	encoded := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}
	schema := arrow.NewSchema([]arrow.Field{{Name: "c0", Type: encoded, Nullable: true}}, nil)
	builder := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer builder.Release()
	if err := builder.Field(0).(*array.BinaryDictionaryBuilder).AppendString("a"); err != nil {
		t.Fatal(err)
	}
	batch := builder.NewRecordBatch()
	defer batch.Release()
	var sent recorder
	writer := flight.NewRecordWriter(&sent, ipc.WithSchema(schema))
	if err := writer.Write(batch); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	return sent.messages
}
