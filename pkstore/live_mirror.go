package pkstore

import (
	"sync/atomic"
)

// liveMirror lets lookups read the live rows below an offset without a lock. It has the chunks of a liveRows,
// which replaces them here when it copies or drops one; words are read and written atomically.
type liveMirror struct {
	first  int64
	chunks []atomic.Pointer[[chunkWords]uint64]
}

// mirrorBelow makes the mirror of the rows below an offset, which from now on is kept up to date; the one before
// it is not any more.
func (l *liveRows) mirrorBelow(end int64) *liveMirror {
	n := 0
	if len(l.chunks) > 0 {
		n = int(min(max((end+chunkRows-1)>>chunkShift-l.first, 0), int64(len(l.chunks))))
	}
	m := &liveMirror{first: l.first, chunks: make([]atomic.Pointer[[chunkWords]uint64], n)}
	for i := range m.chunks {
		m.chunks[i].Store(l.chunks[i].bits)
	}
	l.mirror = m
	return m
}

// put replaces a chunk; nil stands for one without live rows.
func (m *liveMirror) put(number int64, bits *[chunkWords]uint64) {
	if m == nil {
		return
	}
	if i := number - m.first; i >= 0 && i < int64(len(m.chunks)) {
		m.chunks[i].Store(bits)
	}
}

func (m *liveMirror) has(offset int64) bool {
	i := offset>>chunkShift - m.first
	if i < 0 || i >= int64(len(m.chunks)) {
		return false
	}
	bits := m.chunks[i].Load()
	return bits != nil && atomic.LoadUint64(&bits[offset%chunkRows/64])>>(offset%64)&1 == 1
}
