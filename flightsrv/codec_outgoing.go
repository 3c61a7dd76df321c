package flightsrv

import (
	"encoding/binary"

	"google.golang.org/grpc/mem"
)

// keepBytes is the length from which on a slice in a mapped segment is sent from where it lies.
// Below it, a copy costs less than the bookkeeping.
const keepBytes = 2 << 10

// bodyAlign is the position of a body in its message, modulo 64. C++ clients place a message 16
// bytes behind a 64-byte boundary, so that the body's buffers come to lie aligned in their memory.
const bodyAlign = 48

// outgoing is a FlightData to send. Its slices need to stay valid only while it is being sent: what
// lies in a mapped segment is held, everything else is copied.
type outgoing struct {
	header   []byte
	metadata []byte
	body     [][]byte
	// bodyBytes is the length of body, all slices together.
	bodyBytes int64
	// holder holds the segments until the network has their bytes.
	holder *connection
}

// marshal gives the message as protobuf in buffers.
func (m *outgoing) marshal() (mem.BufferSlice, error) {
	buffers := make(mem.BufferSlice, 0, 2+2*len(m.body))
	loose := looseBytes{pool: &messageBuffers}
	from := 0
	for i, slice := range m.body {
		if len(slice) < keepBytes || m.holder == nil {
			continue
		}
		held, ok, err := m.holder.hold(slice)
		if err != nil {
			buffers.Free()
			return nil, err
		}
		if !ok {
			continue
		}
		buffers = loose.append(buffers, m.prefixAt(from), m.body[from:i])
		buffers = append(buffers, held)
		from = i + 1
	}
	if from < len(m.body) || from == 0 {
		buffers = loose.append(buffers, m.prefixAt(from), m.body[from:])
	}
	return buffers, nil
}

// prefixAt gives what stands before the body, if the body's slice i is the first one.
func (m *outgoing) prefixAt(i int) []byte {
	if i > 0 {
		return nil
	}
	return m.appendPrefix(make([]byte, 0, len(m.header)+len(m.metadata)+2*binary.MaxVarintLen64+160))
}

// appendPrefix appends the protobuf bytes up to the body. The header gets zero bytes at its end so
// that the body begins at bodyAlign: readers of the flatbuffer never look there.
func (m *outgoing) appendPrefix(dst []byte) []byte {
	padding := 0
	if m.bodyBytes > 0 {
		padding = m.headerPadding()
	}
	if len(m.header) > 0 {
		dst = append(dst, tagHeader)
		dst = binary.AppendUvarint(dst, uint64(len(m.header)+padding))
		dst = append(dst, m.header...)
		dst = append(dst, make([]byte, padding)...)
	}
	if len(m.metadata) > 0 {
		dst = append(dst, tagMetadata)
		dst = binary.AppendUvarint(dst, uint64(len(m.metadata)))
		dst = append(dst, m.metadata...)
	}
	if m.bodyBytes > 0 {
		dst = binary.AppendUvarint(dst, tagBody)
		dst = binary.AppendUvarint(dst, uint64(m.bodyBytes))
	}
	return dst
}

// headerPadding gives the number of zero bytes behind the header, below 128: they may make the
// header's length one byte longer.
func (m *outgoing) headerPadding() int {
	behind := uvarintBytes(tagBody) + uvarintBytes(uint64(m.bodyBytes))
	if n := len(m.metadata); n > 0 {
		behind += 1 + uvarintBytes(uint64(n)) + n
	}
	padding := 0
	for {
		header := len(m.header) + padding
		over := (1 + uvarintBytes(uint64(header)) + header + behind - bodyAlign) & 63
		if over == 0 {
			return padding
		}
		padding += 64 - over
	}
}

func uvarintBytes(value uint64) int {
	n := 1
	for value >= 0x80 {
		value >>= 7
		n++
	}
	return n
}

// looseBytes copies bytes that cannot be held.
type looseBytes struct{ pool mem.BufferPool }

// append appends one buffer with a copy of prefix and slices, if they hold anything.
func (l looseBytes) append(buffers mem.BufferSlice, prefix []byte, slices [][]byte) mem.BufferSlice {
	total := len(prefix)
	for _, slice := range slices {
		total += len(slice)
	}
	if total == 0 {
		return buffers
	}
	if total == len(prefix) {
		return append(buffers, mem.SliceBuffer(prefix))
	}
	buffer := l.pool.Get(total)
	at := copy(*buffer, prefix)
	for _, slice := range slices {
		at += copy((*buffer)[at:], slice)
	}
	return append(buffers, mem.NewBuffer(buffer, l.pool))
}
