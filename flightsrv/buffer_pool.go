package flightsrv

import (
	"math/bits"
	"sync"
)

// bufferPool keeps the buffers that frames are received in and that messages are sent from. gRPC's own pool clears a
// buffer each time it hands it out, which is 7 % of the server's time in an ingest and 3 % in lookups; whoever asks here
// fills the buffer before it is read.
type bufferPool struct {
	classes [bufferClasses]sync.Pool // the buffers of each are twice as large as those of the one before
}

const (
	bufferShiftMin = 8  // the smallest buffer has 256 bytes
	bufferShiftMax = 22 // a buffer above 4 MiB is not kept
	bufferClasses  = bufferShiftMax - bufferShiftMin + 1
)

// messageBuffers are those of all connections.
var messageBuffers bufferPool

// bufferClass gives the class whose buffers have n bytes or more; false where there is none.
func bufferClass(n int) (class int, ok bool) {
	class = max(bits.Len(uint(max(n, 1)-1))-bufferShiftMin, 0)
	return class, class < bufferClasses
}

// Get implements mem.BufferPool: it gives a buffer of that length and any content.
func (p *bufferPool) Get(length int) *[]byte {
	class, ok := bufferClass(length)
	if !ok {
		buffer := make([]byte, length)
		return &buffer
	}
	if buffer, ok := p.classes[class].Get().(*[]byte); ok {
		*buffer = (*buffer)[:length]
		return buffer
	}
	buffer := make([]byte, length, 1<<(class+bufferShiftMin))
	return &buffer
}

// Put implements mem.BufferPool: it takes back what Get gave.
func (p *bufferPool) Put(buffer *[]byte) {
	if class, ok := bufferClass(cap(*buffer)); ok && cap(*buffer) == 1<<(class+bufferShiftMin) {
		p.classes[class].Put(buffer)
	}
}
