package flightsrv

import (
	"net"
	"sync"

	"github.com/headrace/headrace/internal/vfs"
)

// chunkBytes is the size of the pieces of memory that copied bytes are gathered in.
const chunkBytes = 64 << 10

// chunkPool keeps chunks of chunkBytes for reuse by any connection.
var chunkPool = sync.Pool{New: func() any { return new([chunkBytes]byte) }}

// writeQueue is a run of bytes to be written: slices of mapped segments, each holding its mapping,
// and copies in chunks. The zero value is empty.
type writeQueue struct {
	parts    net.Buffers
	mappings []*vfs.Mapping
	chunks   []*[chunkBytes]byte
	used     int  // bytes used in the last chunk
	open     bool // the last part ends where the last chunk's free room begins
	bytes    int
}

func (q *writeQueue) addHeld(p []byte, mapping *vfs.Mapping) {
	q.parts = append(q.parts, p)
	q.mappings = append(q.mappings, mapping)
	q.open = false
	q.bytes += len(p)
}

func (q *writeQueue) addCopy(p []byte) {
	q.bytes += len(p)
	for len(p) > 0 {
		if len(q.chunks) == 0 || q.used == chunkBytes {
			q.chunks = append(q.chunks, chunkPool.Get().(*[chunkBytes]byte))
			q.used, q.open = 0, false
		}
		chunk := q.chunks[len(q.chunks)-1]
		n := copy(chunk[q.used:], p)
		if q.open {
			last := &q.parts[len(q.parts)-1]
			*last = (*last)[:len(*last)+n]
		} else {
			q.parts = append(q.parts, chunk[q.used:q.used+n])
			q.open = true
		}
		q.used += n
		p = p[n:]
	}
}

// writeTo writes everything; the queue keeps what it holds until reset.
func (q *writeQueue) writeTo(conn net.Conn) error {
	parts := q.parts // WriteTo eats its receiver
	_, err := parts.WriteTo(conn)
	return err
}

// reset empties q and gives back what it holds. The memory of its lists is kept for reuse.
func (q *writeQueue) reset() {
	for _, mapping := range q.mappings {
		mapping.Release()
	}
	for _, chunk := range q.chunks {
		chunkPool.Put(chunk)
	}
	clear(q.parts)
	clear(q.mappings)
	clear(q.chunks)
	*q = writeQueue{parts: q.parts[:0], mappings: q.mappings[:0], chunks: q.chunks[:0]}
}
