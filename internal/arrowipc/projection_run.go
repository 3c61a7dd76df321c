package arrowipc

// run makes the body of a message. Buffers that stay as they are are referred to, neighbours as one part;
// all others are kept in frames, once any buffer has to be compressed.
type run struct {
	batch    *Batch
	codec    Codec // of the message
	header   *headerWriter
	parts    [][]byte
	length   int64 // of all parts, the run and frames
	from, to int64 // the run, in the batch's body
	frames   []byte
	err      error
}

// compresses says that every buffer is compressed.
func (r *run) compresses() bool { return r.codec != r.batch.Codec }

// addColumn appends a chosen column with all that is nested in it.
func (r *run) addColumn(c chosen) {
	b := r.batch
	first, last := b.bufferRange(c.column)
	node := b.Nodes[c.node]
	if masks := c.nullsAbove(b); len(masks) > 0 {
		node.Nulls = b.Nodes[masks[0].node].Nulls
		if len(masks) == 1 {
			r.header.addNode(node)
			r.add(b.validity(masks[0]))
		} else {
			bitmap, nulls, err := b.joinValidity(masks)
			if err != nil {
				r.fail(err)
				return
			}
			node.Nulls = nulls
			r.header.addNode(node)
			r.addPlain(bitmap)
		}
		first++
	} else {
		r.header.addNode(node)
	}
	for _, n := range b.Nodes[c.node+1 : c.nodeEnd] {
		r.header.addNode(n)
	}
	for _, s := range b.Buffers[first:last] {
		r.add(s)
	}
	if len(b.Variadic) > 0 {
		for _, count := range b.Variadic[c.view:c.viewEnd] {
			r.header.addCount(count)
		}
	}
}

func (r *run) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// add appends a buffer of the batch.
func (r *run) add(s Span) {
	if r.compresses() {
		r.addFrame(r.batch.bytes(s))
		return
	}
	if s.isAside() && s.Length > 0 {
		r.addPlain(r.batch.bytes(s))
		return
	}
	r.header.addSpan(r.length, s.Length)
	if s.Length == 0 {
		return
	}
	if s.Offset != r.to {
		r.flush()
		r.from = s.Offset
	}
	size := aligned(s.Length)
	r.to = s.Offset + size
	r.length += size
	if beyond := r.to - int64(len(r.batch.Body)); beyond > 0 {
		r.to -= beyond
		r.flush()
		r.parts = append(r.parts, zeros[:beyond])
	}
}

func (r *run) flush() {
	if r.to > r.from {
		r.parts = append(r.parts, r.batch.Body[r.from:r.to:r.to])
	}
	r.from = r.to
}

// addFrame appends a plain buffer as a frame.
func (r *run) addFrame(plain []byte) {
	if r.err != nil {
		return
	}
	start := len(r.frames)
	var err error
	if r.frames, err = appendFrame(r.frames, plain, r.codec); err != nil {
		r.fail(err)
		return
	}
	size := int64(len(r.frames) - start)
	r.header.addSpan(r.length, size)
	r.frames = append(r.frames, zeros[:aligned(size)-size]...)
	r.length += aligned(size)
}

// notCompressed is the length before a buffer that is stored plainly in a compressed batch.
var notCompressed = [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// addPlain appends a plain buffer that is not in the body of the batch.
func (r *run) addPlain(buffer []byte) {
	if r.compresses() {
		r.addFrame(buffer)
		return
	}
	r.flush()
	size := int64(len(buffer))
	if r.codec != NoCodec {
		size += int64(len(notCompressed))
		r.parts = append(r.parts, notCompressed[:])
	}
	r.parts = append(r.parts, buffer)
	r.header.addSpan(r.length, size)
	if padding := aligned(size) - size; padding > 0 {
		r.parts = append(r.parts, zeros[:padding])
	}
	r.length += aligned(size)
}

// addExtra appends a column that is not of the batch.
func (r *run) addExtra(c *column, buffers [][]byte) {
	node := Node{Length: r.batch.Rows}
	if validity := buffers[0]; validity != nil {
		node.Nulls = node.Length - countBits(validity, 0, node.Length)
	}
	r.header.addNode(node)
	for i, buffer := range buffers[:buffersOf[c.kind]] {
		if i == 0 && node.Nulls == 0 || len(buffer) == 0 {
			r.header.addSpan(r.length, 0)
			continue
		}
		r.addPlain(buffer)
	}
}

// finish gives the parts of the body.
func (r *run) finish() [][]byte {
	r.flush()
	if len(r.frames) > 0 {
		return [][]byte{r.frames}
	}
	return r.parts
}
