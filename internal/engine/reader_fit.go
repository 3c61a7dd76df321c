package engine

import (
	"github.com/headrace/headrace/internal/arrowipc"
)

// cut makes the rows [from, to) of a piece's batch wait, in copies no larger than the client wants: columns that the
// stored rows lack may be much larger than what is stored.
func (r *Reader) cut(p piece, from, to int64) error {
	batch := p.batch
	if batch.Codec != arrowipc.NoCodec {
		plain, err := arrowipc.Decompress(batch)
		if err != nil {
			return err
		}
		defer plain.Release()
		batch = plain
	}
	step := to - from
	if size, limit := r.size(p.projection, batch), r.limit(); size > limit {
		step = max(1, batch.Rows/(size/limit+1))
	}
	for row := from; row < to; row += step {
		rows, err := arrowipc.Slice(batch, row, min(row+step, to))
		if err != nil {
			return err
		}
		part := p
		part.batch, part.offset = rows, p.offset+row-from
		if err := r.fit(part); err != nil { // rows differ in size
			return err
		}
	}
	return nil
}

// fit puts a piece, which lies on the heap and is plain, among those that wait, in parts no larger
// than the client wants unless one row is.
func (r *Reader) fit(p piece) error {
	limit := r.limit()
	size := r.size(p.projection, p.batch)
	if size <= limit || p.batch.Rows <= 1 {
		r.waiting = append(r.waiting, p)
		return nil
	}
	step := max(1, p.batch.Rows/(size/limit+1))
	for row := int64(0); row < p.batch.Rows; row += step {
		batch, err := arrowipc.Slice(p.batch, row, min(row+step, p.batch.Rows))
		if err != nil {
			return err
		}
		part := p
		part.batch, part.offset = batch, p.offset+row
		if row+batch.Rows < p.batch.Rows {
			part.next = 0
		}
		if p.gathered != nil {
			part.gathered = p.gathered.cut(row, row+batch.Rows)
			part.offset = part.gathered.offsets[0]
		}
		if err := r.fit(part); err != nil { // rows differ in size
			return err
		}
	}
	return nil
}

// messageBytesDefault is the largest message where the client names none. Clients take 4 MiB by
// default; app_metadata and the framing need a little of it.
const messageBytesDefault = 4<<20 - 64<<10

// limit is the size of the largest message that the client wants.
func (r *Reader) limit() int64 {
	if r.scan.MessageBytes > 0 {
		return int64(r.scan.MessageBytes)
	}
	return messageBytesDefault
}

// size is about what the message of a batch takes, in bytes, and rather more.
func (r *Reader) size(projection *arrowipc.Projection, b *arrowipc.Batch) int64 {
	const (
		metadata   = 1 << 10
		perBuffer  = 24 // its place in the metadata, and half of its node
		alignment  = 64
		systemRow  = 4 + 8 + 8 + 4 + 2
		systemRest = 5 * (alignment + 2*perBuffer)
	)
	r.buffers = projection.AppendBuffers(r.buffers[:0], b)
	size := int64(metadata + perBuffer*len(r.buffers))
	for _, i := range r.buffers {
		size += (b.Buffers[i].Length + alignment - 1) &^ (alignment - 1)
	}
	if r.scan.SystemColumns {
		size += systemRow*b.Rows + systemRest
	}
	return size
}
