package flightsrv

import (
	"net"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc/mem"

	"github.com/headrace/headrace/internal/vfs"
)

const (
	// waitingBytesMax bounds what waits to be written to one connection. As much again may be under
	// way in the kernel call.
	waitingBytesMax = 1 << 20
	// lingerTime is how long a closed connection may go on writing what was queued.
	lingerTime = 5 * time.Second
)

// connection is a network connection that gathers writes: Write queues and returns, a goroutine of
// its own sends all that is queued in one system call. Bytes in mapped segments are queued where
// they lie and hold their segment until they are sent; all others are copied.
//
// It also owns what the messages above it hold (see hold). grpc forgets queued messages when a
// connection dies, and never gives their buffers back; Close does it in its place.
//
// Write is for one goroutine at a time; all other methods are safe for concurrent use.
type connection struct {
	net.Conn
	mappings *vfs.Mappings
	// byReference says that Write may queue slices where they lie. Off under TLS, which writes each
	// slice as records of its own.
	byReference bool
	onEnd       func()

	mu      sync.Mutex
	wake    sync.Cond // something waits, or closed
	space   sync.Cond // waiting has become shorter, or err is set, or closed
	waiting writeQueue
	err     error // of the flusher: the connection is dead
	closed  bool
	holds   holdList
}

// newConnection starts the flusher of a connection; onEnd is called when it ends, which it does
// some time after Close.
func newConnection(conn net.Conn, mappings *vfs.Mappings, byReference bool, onEnd func()) *connection {
	c := &connection{Conn: conn, mappings: mappings, byReference: byReference, onEnd: onEnd}
	c.wake.L, c.space.L = &c.mu, &c.mu
	go c.flush()
	return c
}

// Write queues p. It blocks while too much is queued, until the peer has read some, the write
// deadline passes or the connection is closed.
func (c *connection) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.waiting.bytes >= waitingBytesMax && c.err == nil && !c.closed {
		c.space.Wait()
	}
	switch {
	case c.closed:
		return 0, net.ErrClosed
	case c.err != nil:
		return 0, c.err
	case len(p) == 0:
		return 0, nil
	}
	if c.waiting.bytes == 0 {
		c.wake.Signal()
	}
	if c.byReference && len(p) >= keepBytes {
		if mapping, ok := c.mappings.Retain(p); ok {
			c.waiting.addHeld(p, mapping)
			return len(p), nil
		}
	}
	c.waiting.addCopy(p)
	return len(p), nil
}

// Read implements net.Conn.
func (c *connection) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil && c.isClosed() {
		err = net.ErrClosed
	}
	return n, err
}

func (c *connection) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// Close unblocks reads and writes, and gives back what messages hold. What was queued is still
// written, for lingerTime at most, and then the connection below is closed; Close does not wait
// for that.
func (c *connection) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.closed = true
	c.holds.releaseAll()
	c.wake.Signal()
	c.space.Broadcast()
	return c.expire()
}

// expire lets reads fail at once and writes after lingerTime.
func (c *connection) expire() error {
	if err := c.SetReadDeadline(time.Unix(1, 0)); err != nil {
		return err
	}
	return c.SetWriteDeadline(time.Now().Add(lingerTime))
}

// flush sends what is queued until the connection is closed or dies.
func (c *connection) flush() {
	defer c.onEnd()
	var batch writeQueue
	for c.take(&batch) {
		err := batch.writeTo(c.Conn)
		batch.reset()
		if err != nil {
			c.fail(err)
			break
		}
	}
	c.Conn.Close() // nobody is left to hear of an error
}

// take moves what waits into batch, which is empty; it blocks until something waits, and is false
// when all is sent that ever will be.
func (c *connection) take(batch *writeQueue) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.waiting.bytes == 0 && !c.closed {
		c.wake.Wait()
	}
	*batch, c.waiting = c.waiting, *batch
	c.space.Broadcast()
	return batch.bytes > 0
}

func (c *connection) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if os.IsTimeout(err) {
		err = os.ErrDeadlineExceeded
	}
	c.err = err
	c.waiting.reset()
	c.space.Broadcast()
}

// hold gives a buffer over slice, which keeps the slice's segment mapped until the buffer is freed
// or the connection is closed. It is false for a slice that lies in no mapped segment, and an error
// on a closed connection.
func (c *connection) hold(slice []byte) (mem.Buffer, bool, error) {
	mapping, ok := c.mappings.Retain(slice)
	if !ok {
		return nil, false, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		mapping.Release()
		return nil, false, net.ErrClosed
	}
	h := &held{owner: c, slice: slice, mapping: mapping}
	c.holds.add(h)
	return mem.NewBuffer(&h.slice, h), true, nil
}
