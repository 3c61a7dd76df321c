package flightsrv

import (
	"sync"

	"google.golang.org/grpc/mem"
)

// frameBytes is the size of the largest HTTP/2 frame that a client sends where the server does not
// allow more, which is how nearly all bytes of an ingest come in.
const frameBytes = 16 << 10

// framePool keeps the buffers that frames are received in. gRPC's own pool clears a buffer each time
// it hands it out, which is 7 % of the server's time in an ingest; whoever asks here fills the
// buffer before it is read.
type framePool struct {
	frames sync.Pool
	others mem.BufferPool
}

func newFramePool() *framePool {
	return &framePool{
		frames: sync.Pool{New: func() any { frame := make([]byte, frameBytes); return &frame }},
		others: mem.DefaultBufferPool(),
	}
}

// Get gives a buffer of that length and any content.
func (p *framePool) Get(length int) *[]byte {
	if length > frameBytes || length <= frameBytes/4 {
		return p.others.Get(length)
	}
	frame := p.frames.Get().(*[]byte)
	*frame = (*frame)[:length]
	return frame
}

// Put takes back what Get gave.
func (p *framePool) Put(buffer *[]byte) {
	if cap(*buffer) == frameBytes {
		p.frames.Put(buffer)
		return
	}
	p.others.Put(buffer)
}
