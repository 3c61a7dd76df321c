package arrowipc

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// EncodeSchema gives the FlatBuffers Message of a schema, zero-padded to a multiple of 8 bytes.
// Extension types, metadata and nullable flags are kept.
func EncodeSchema(schema *arrow.Schema) []byte {
	payload := ipc.GetSchemaPayload(schema, memory.NewGoAllocator())
	defer payload.Release()
	meta := payload.Meta()
	defer meta.Release()
	out := make([]byte, (meta.Len()+7)/8*8)
	copy(out, meta.Bytes())
	return out
}
