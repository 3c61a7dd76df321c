package flightsrv

import (
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec of all other messages
	"google.golang.org/grpc/mem"
)

// codec moves record batches without copying them: an incoming FlightData stays in the buffers that
// the network filled, an outgoing one goes out of the mapped segment. Every other message goes
// through the protobuf codec, whose name it takes so that clients notice nothing.
type codec struct{ proto encoding.CodecV2 }

func newCodec() codec { return codec{proto: encoding.GetCodecV2("proto")} }

// Name implements encoding.CodecV2.
func (codec) Name() string { return "proto" }

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(message any) (mem.BufferSlice, error) {
	switch message := message.(type) {
	case *outgoing:
		return message.marshal()
	case encoded:
		return mem.BufferSlice{mem.SliceBuffer(message)}, nil
	}
	return c.proto.Marshal(message)
}

// Unmarshal implements encoding.CodecV2. A fault in an incoming FlightData is kept in the message
// rather than returned: grpc would turn it into an INTERNAL error of its own wording.
func (c codec) Unmarshal(data mem.BufferSlice, message any) error {
	if message, ok := message.(*incoming); ok {
		message.unmarshal(data)
		return nil
	}
	return c.proto.Unmarshal(data, message)
}

// encoded is a message that is protobuf already.
type encoded []byte

// Field tags of FlightData and of PutResult: number << 3 | wire type.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5

	fieldDescriptor = 1
	fieldHeader     = 2
	fieldMetadata   = 3
	fieldBody       = 1000

	tagHeader    = fieldHeader<<3 | wireBytes
	tagMetadata  = fieldMetadata<<3 | wireBytes
	tagBody      = fieldBody<<3 | wireBytes
	tagPutResult = 1<<3 | wireBytes
)
