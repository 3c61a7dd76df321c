package arrowipc

import "fmt"

// copyDirect copies what d.wire describes to a batch of the target, buffer by buffer, and fills the
// columns that were not sent. It gives nil where the message would be larger than it may be.
func (d *Decoder) copyDirect(parts *scattered) (*Batch, error) {
	wire := &d.wire
	out := &Batch{Layout: d.target, Rows: wire.Rows, Codec: wire.Codec, Nodes: make([]Node, 0, len(d.target.all))}
	filled := make([]*Batch, len(d.columns))
	defer func() {
		for _, b := range filled {
			if b != nil {
				b.Release()
			}
		}
	}()
	size, buffers := int64(0), 0
	for i, c := range d.columns {
		if c == nil {
			var err error
			if filled[i], err = d.fills[i].batch(wire.Rows, d.limits.DecompressedBytes); err != nil {
				return nil, err
			}
			buffers += len(filled[i].Buffers)
			size += int64(len(filled[i].Body)) + int64(len(filled[i].Buffers))*alignment // room for prefixes
			continue
		}
		from, to := wire.bufferRange(c)
		buffers += to - from
		for _, s := range wire.Buffers[from:to] {
			size += aligned(s.Length)
		}
	}
	header := headerSize(len(d.target.all), buffers, d.target.views, wire.Codec)
	if wire.Rows > 1 && int64(header)+size > d.max {
		return nil, nil
	}
	w := newBodyWriter(out, size, buffers)
	sums := make([]uint32, len(wire.Buffers))
	s := d.beginSummary(out)
	for i, c := range d.columns {
		if c == nil {
			w.addBatch(filled[i])
		} else {
			w.addColumn(wire, c, parts)
			from, to := wire.bufferRange(c)
			copy(sums[from:to], out.Sums[len(out.Sums)-(to-from):])
		}
		if err := s.add(out, i); err != nil {
			out.Release()
			return nil, err
		}
	}
	out.Body = out.Body[:w.position]
	d.sums = sums
	return out, nil
}

// addColumn appends a column of a batch as it came.
func (w *bodyWriter) addColumn(wire *Batch, c *column, parts *scattered) {
	w.batch.Nodes = append(w.batch.Nodes, wire.Nodes[c.node:c.nodeEnd]...)
	from, to := wire.bufferRange(c)
	for _, s := range wire.Buffers[from:to] {
		w.addFrom(parts, s)
	}
	w.batch.Variadic = append(w.batch.Variadic, wire.Variadic[c.view:c.viewEnd]...)
}

// addBatch appends all of a plain batch, in the form that the codec of w's batch wants.
func (w *bodyWriter) addBatch(b *Batch) {
	w.batch.Nodes = append(w.batch.Nodes, b.Nodes...)
	w.batch.Variadic = append(w.batch.Variadic, b.Variadic...)
	for _, s := range b.Buffers {
		if w.batch.Codec != NoCodec && s.Length > 0 {
			w.add(notCompressed[:], b.bytes(s))
		} else {
			w.add(b.bytes(s))
		}
	}
}

// checkDirect verifies a plain batch that copyDirect made.
func (d *Decoder) checkDirect(out *Batch, err error) ([]*Batch, error) {
	if err != nil {
		return nil, err
	}
	garbage := false
	d.vectors, err = openVectors(d.vectors, out, nil)
	if err == nil {
		garbage, err = verify(d.vectors)
	}
	if err == nil {
		err = d.checkRequired(d.vectors, d.target.top)
	}
	if err != nil {
		out.Release()
		return nil, err
	}
	if !garbage {
		return []*Batch{out}, nil
	}
	defer out.Release()
	return d.split(d.vectors, d.target.top, out.Rows)
}

// convert makes batches of the target from d.vectors, which are verified.
func (d *Decoder) convert(rows int64) ([]*Batch, error) {
	b := d.builder
	b.reset()
	for i, target := range d.target.top {
		var err error
		if c := d.columns[i]; c != nil {
			err = b.appendRange(target.node, d.vectors, c.node, 0, rows)
		} else {
			err = d.fills[i].append(b, target.node, rows)
		}
		if err != nil {
			b.reset()
			return nil, err
		}
	}
	b.rows = rows
	whole := b.Finish()
	vectors, err := openVectors(nil, whole, nil)
	if err == nil {
		err = d.checkRequired(vectors, d.target.top)
	}
	if err != nil {
		whole.Release()
		return nil, err
	}
	if whole.Rows <= 1 || whole.messageBytes() <= d.max {
		return []*Batch{whole}, nil
	}
	defer whole.Release()
	return d.split(vectors, d.target.top, rows)
}

// messageBytes is what Message(0) and the body take.
func (b *Batch) messageBytes() int64 {
	return int64(headerSize(len(b.Nodes), len(b.Buffers), len(b.Variadic), b.Codec)) + int64(len(b.Body))
}

// split cuts rows of vectors, which lie as in the target, so that each message fits. columns are
// those of the vectors, in the target's order.
func (d *Decoder) split(vectors []vector, columns []*column, rows int64) ([]*Batch, error) {
	var batches []*Batch
	fail := func(err error) ([]*Batch, error) {
		for _, b := range batches {
			b.Release()
		}
		d.builder.reset()
		return nil, err
	}
	for from := int64(0); from < rows || rows == 0 && from == 0; {
		n := d.fit(vectors, columns, from, rows)
		for i, target := range d.target.top {
			if err := d.builder.appendRange(target.node, vectors, columns[i].node, from, from+n); err != nil {
				return fail(fmt.Errorf("splitting it: %w", err))
			}
		}
		d.builder.rows = n
		batches = append(batches, d.builder.Finish())
		if rows == 0 {
			break
		}
		from += n
	}
	return batches, nil
}

// fit gives the most rows from from on that fit into a message: all, a multiple of 8, or fewer
// than 8, at least one.
func (d *Decoder) fit(vectors []vector, columns []*column, from, rows int64) int64 {
	fits := func(n int64) bool {
		size := int64(headerSize(len(d.target.all), d.target.buffers+d.target.views, d.target.views, NoCodec))
		s := sizer{vectors: vectors, padded: true}
		for _, c := range columns {
			size += s.bytes(c.node, from, from+n)
		}
		return size <= d.max
	}
	if rows == from || fits(rows-from) {
		return rows - from
	}
	step := int64(8)
	low, high := int64(0), (rows-from+7)/8 // in steps: low fits, high does not
	for high-low > 1 {
		if middle := (low + high) / 2; fits(middle * step) {
			low = middle
		} else {
			high = middle
		}
	}
	if low > 0 {
		return low * step
	}
	for n := min(int64(7), rows-from); n > 1; n-- {
		if fits(n) {
			return n
		}
	}
	return 1
}
