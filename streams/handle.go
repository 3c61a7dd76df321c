package streams

import (
	"sync"

	"github.com/headrace/headrace/internal/vfs"
)

// handle is the file of a segment that is written to. The writer and whoever syncs both hold it:
// Close, which the latter calls for a sealed segment, closes the file only if the segment has not
// been opened for writing again by a rollback.
type handle struct {
	vfs.File
	segment *segment

	mu             sync.Mutex
	sealed, closed bool
}

// Close implements vfs.File for the caller of Bucket.Write.
func (h *handle) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.sealed || h.closed {
		return nil
	}
	h.closed = true
	h.segment.durable.Store(true)
	return h.File.Close()
}

func (h *handle) setSealed(sealed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sealed = sealed
}

func (h *handle) isClosed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed
}

// abandon closes the file for the writer.
func (h *handle) abandon() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil
	}
	h.closed = true
	return h.File.Close()
}
