package flightsrv

import (
	"google.golang.org/grpc/mem"

	"github.com/headrace/headrace/internal/model"
)

// Bounds of the parts of a FlightData that are copied out of the network's buffers.
const (
	descriptorBytesMax = 1 << 20
	headerBytesMax     = 16 << 20
	metadataBytesMax   = 64 << 10
)

// incoming is a received FlightData. header and body lie in the network's buffers and are valid
// until the next receive into the same message, or until free; descriptor and metadata are copies.
type incoming struct {
	descriptor []byte
	header     []byte
	metadata   []byte
	body       [][]byte
	bodyBytes  int
	// fault is what is wrong with the message; the other fields mean nothing then.
	fault error

	scattered []byte // a header that lay in several buffers
	data      mem.BufferSlice
}

// free gives the network's buffers back.
func (m *incoming) free() {
	m.data.Free()
	clear(m.body)
	*m = incoming{body: m.body[:0], scattered: m.scattered[:0]}
}

// unmarshal reads the protobuf bytes in data, taking a reference on them. Where a field occurs
// twice, the last one counts, as everywhere in protobuf.
func (m *incoming) unmarshal(data mem.BufferSlice) {
	m.free()
	data.Ref()
	m.data = data
	at := cursor{buffers: data, left: data.Len()}
	for at.left > 0 && m.fault == nil {
		m.readField(&at)
		if at.torn && m.fault == nil {
			m.fault = model.Errorf(model.BadRequest, "the FlightData message is not valid protobuf").
				WithRemedy("Send it with an Arrow Flight library")
		}
	}
}

func (m *incoming) readField(at *cursor) {
	tag := at.uvarint()
	switch tag & 7 {
	case wireVarint:
		at.uvarint()
	case wireFixed64:
		at.skip(8)
	case wireFixed32:
		at.skip(4)
	case wireBytes:
		length := at.uvarint()
		if length > uint64(at.left) {
			at.torn = true
		}
		if !at.torn {
			m.readBytes(at, tag>>3, int(length))
		}
	default:
		at.torn = true
	}
}

// readBytes reads a field of length bytes, all of which are there.
func (m *incoming) readBytes(at *cursor, field uint64, length int) {
	switch field {
	case fieldDescriptor:
		m.descriptor = m.copied(at, "descriptor", length, descriptorBytesMax)
	case fieldMetadata:
		m.metadata = m.copied(at, "app_metadata", length, metadataBytesMax)
	case fieldHeader:
		if length > headerBytesMax {
			m.fault = tooLong("data_header", length, headerBytesMax)
			return
		}
		m.header = at.contiguous(length, &m.scattered)
	case fieldBody:
		m.body, m.bodyBytes = at.scattered(length, m.body[:0]), length
	default:
		at.skip(length)
	}
}

// copied reads a field of length bytes into memory of its own.
func (m *incoming) copied(at *cursor, name string, length, most int) []byte {
	if length > most {
		m.fault = tooLong(name, length, most)
		return nil
	}
	bytes := make([]byte, 0, length)
	for length > 0 {
		piece := at.piece(length)
		bytes = append(bytes, piece...)
		length -= len(piece)
	}
	return bytes
}

func tooLong(name string, length, most int) error {
	return model.Errorf(model.BadRequest, "%s has %d bytes, at most %d are allowed", name, length, most)
}

// cursor walks through buffers that hold one message.
type cursor struct {
	buffers mem.BufferSlice
	current []byte
	left    int  // bytes up to the end of the message
	torn    bool // the message ended within a value, or a value cannot be
}

// piece takes up to length bytes that lie side by side, at least one; left must not be 0.
func (c *cursor) piece(length int) []byte {
	for len(c.current) == 0 {
		c.current = c.buffers[0].ReadOnlyData()
		c.buffers = c.buffers[1:]
	}
	n := min(length, len(c.current))
	piece := c.current[:n:n]
	c.current = c.current[n:]
	c.left -= n
	return piece
}

// uvarint reads a number; 0 with torn set if there is none.
func (c *cursor) uvarint() uint64 {
	var value uint64
	for shift := 0; shift < 64; shift += 7 {
		if c.left == 0 {
			break
		}
		b := c.piece(1)[0]
		if shift == 63 && b > 1 {
			break
		}
		value |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return value
		}
	}
	c.torn = true
	return 0
}

func (c *cursor) skip(length int) {
	if length > c.left {
		c.torn = true
		return
	}
	for length > 0 {
		length -= len(c.piece(length))
	}
}

// scattered appends the next length bytes to pieces, where they lie.
func (c *cursor) scattered(length int, pieces [][]byte) [][]byte {
	for length > 0 {
		piece := c.piece(length)
		pieces = append(pieces, piece)
		length -= len(piece)
	}
	return pieces
}

// contiguous gives the next length bytes side by side, copied into spare only if they are not.
func (c *cursor) contiguous(length int, spare *[]byte) []byte {
	if length == 0 {
		return nil
	}
	first := c.piece(length)
	if len(first) == length {
		return first
	}
	*spare = append((*spare)[:0], first...)
	for length -= len(first); length > 0; {
		piece := c.piece(length)
		*spare = append(*spare, piece...)
		length -= len(piece)
	}
	return *spare
}
