package flightsrv

import "github.com/headrace/headrace/internal/vfs"

// held is one slice of a segment in a message on its way. It is the pool of its own buffer: the
// buffer's last reference gives it back through Put.
type held struct {
	owner          *connection
	slice          []byte
	mapping        *vfs.Mapping // nil once released; guarded by owner.mu
	previous, next *held        // in owner.holds; guarded by owner.mu
}

// Get implements mem.BufferPool; nothing is ever asked of this pool.
func (h *held) Get(length int) *[]byte {
	buffer := make([]byte, length)
	return &buffer
}

// Put implements mem.BufferPool.
func (h *held) Put(*[]byte) {
	h.owner.mu.Lock()
	defer h.owner.mu.Unlock()
	if h.mapping != nil {
		h.owner.holds.remove(h)
	}
}

// holdList is a list of what a connection holds.
type holdList struct{ first *held }

func (l *holdList) add(h *held) {
	h.next = l.first
	if l.first != nil {
		l.first.previous = h
	}
	l.first = h
}

// remove takes h out of the list and releases its mapping.
func (l *holdList) remove(h *held) {
	if h.previous != nil {
		h.previous.next = h.next
	} else {
		l.first = h.next
	}
	if h.next != nil {
		h.next.previous = h.previous
	}
	h.previous, h.next = nil, nil
	h.mapping.Release()
	h.mapping = nil
}

func (l *holdList) releaseAll() {
	for l.first != nil {
		l.remove(l.first)
	}
}
