package model

import "sync"

// Notifier wakes everybody who waits for the next event. The zero value is ready for use. It is safe
// for concurrent use.
type Notifier struct {
	mu      sync.Mutex
	waiting chan struct{} // nil: nobody waits; guarded by mu
}

// Wait gives a channel that is closed at the next Wake. Look at the state after the call, and then
// wait: an event in between is not missed.
func (n *Notifier) Wait() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.waiting == nil {
		n.waiting = make(chan struct{})
	}
	return n.waiting
}

// Wake wakes everybody who waits.
func (n *Notifier) Wake() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.waiting != nil {
		close(n.waiting)
		n.waiting = nil
	}
}
