package streams

import (
	"encoding/binary"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// segmentHead is what the schema message at the beginning of a segment says.
type segmentHead struct {
	id     segmentID
	bucket int32
	base   int64
	// previous is what the first batch names as the CRC of the batch before it.
	previous uint32
	// rewrote is the segment that this one stands for; nil for one that was written by appends.
	rewrote *Extent
	// compression is what that rewrite was to do, empty for none; raw is the length of the file before.
	compression string
	raw         int64
	table       *model.Table
	// partition is the one that the bucket belongs to; nil for none.
	partition *model.Partition
	layout    *arrowipc.Layout
	// size is the length of the message in the file, sum its CRC.
	size int64
	sum  uint32
}

// schemaBytesMax bounds a schema message.
const schemaBytesMax = 64 << 20

// encode gives the schema message as it stands in the file, and sets size and sum.
func (h *segmentHead) encode() ([]byte, error) {
	metadata, err := h.metadata()
	if err != nil {
		return nil, fmt.Errorf("encoding the schema of a segment: %w", err)
	}
	message := arrowipc.EncodeSchema(arrow.NewSchema(h.table.LogSchema().Fields(), &metadata))
	h.size = aligned(prefixBytes + int64(len(message)))
	if h.size > schemaBytesMax {
		return nil, fmt.Errorf("encoding the schema of a segment: it has %d bytes, at most %d are allowed", h.size, schemaBytesMax)
	}
	out := make([]byte, h.size)
	binary.LittleEndian.PutUint32(out, continuation)
	binary.LittleEndian.PutUint32(out[4:], uint32(h.size-prefixBytes))
	copy(out[prefixBytes:], message)
	h.sum = checksum(out)
	return out, nil
}

// readSegmentHead reads the schema message. Its checksum stands in every batch.
func readSegmentHead(get fetch) (*segmentHead, error) {
	prefix, err := get(0, prefixBytes)
	if err != nil {
		return nil, err
	}
	if mark := binary.LittleEndian.Uint32(prefix); mark != continuation {
		return nil, fmt.Errorf("the schema message begins with %08x, want %08x", mark, uint32(continuation))
	}
	size := prefixBytes + int64(binary.LittleEndian.Uint32(prefix[4:]))
	if size > schemaBytesMax || size%alignment != 0 {
		return nil, fmt.Errorf("the length of the schema message is %d", size-prefixBytes)
	}
	raw, err := get(0, size)
	if err != nil {
		return nil, err
	}
	schema, err := arrowipc.DecodeSchema(raw[prefixBytes:], arrowipc.Limits{})
	if err != nil {
		return nil, fmt.Errorf("the schema message: %w", err)
	}
	h := &segmentHead{size: size, sum: checksum(raw)}
	if err := h.parseMetadata(schema); err != nil {
		return nil, fmt.Errorf("the schema message: %w", err)
	}
	if h.layout, err = arrowipc.NewLayout(h.table.LogSchema()); err != nil {
		return nil, fmt.Errorf("the schema message: %w", err)
	}
	return h, nil
}
