package engine

import (
	"context"

	"github.com/headrace/headrace/internal/arrowipc"
)

// codec is how the message of a batch is compressed.
func (r *Reader) codec(b *arrowipc.Batch) arrowipc.Codec {
	switch r.scan.Compression {
	case CompressionNone:
		return arrowipc.NoCodec
	case CompressionLZ4:
		return arrowipc.LZ4
	case CompressionZSTD:
		return arrowipc.ZSTD
	}
	return b.Codec
}

// send makes a chunk of the piece that waits first.
func (r *Reader) send(ctx context.Context) (Chunk, error) {
	p := r.waiting[0]
	r.waiting = r.waiting[1:]
	if p.projection == nil {
		chunk := Chunk{Message: r.projection.Empty(), Bucket: p.bucket, Offset: p.offset, Next: p.next, Time: p.time}
		r.tell(&chunk)
		return chunk, nil
	}
	rows := p.batch.Rows
	chunk := Chunk{Bucket: p.bucket, Offset: p.offset, Rows: rows, Next: p.offset + rows, Time: p.time}
	switch {
	case p.next > 0:
		chunk.Next = p.next
	case p.gathered != nil:
		chunk.Next = p.gathered.offsets[rows-1] + 1
	}
	var extra [][][]byte
	if r.scan.SystemColumns {
		extra = systemColumns(p)
	}
	if r.showsChanges() {
		extra = append(extra, changeColumn(p))
	}
	var err error
	if chunk.Message, err = r.encode(ctx, p, extra); err != nil {
		return Chunk{}, err
	}
	if p.stored != nil {
		chunk.Mapping = p.stored.Mapping()
	}
	r.tell(&chunk)
	r.engine.counters.scanned.Add(rows)
	return chunk, nil
}

// encode makes the message of a piece. Few messages are compressed at the same time, so that readers who
// ask for it take no more than a share of the processors.
func (r *Reader) encode(ctx context.Context, p piece, extra [][][]byte) (message arrowipc.Message, err error) {
	codec := r.codec(p.batch)
	if !p.projection.Reads(p.batch, codec) {
		return p.projection.Message(p.batch, extra), nil
	}
	if codec != p.batch.Codec {
		if err := r.engine.compressing.Acquire(ctx, 1); err != nil {
			return message, err
		}
		defer r.engine.compressing.Release(1)
	}
	work := func() error {
		message, err = p.projection.Encode(p.batch, extra, codec)
		return err
	}
	if p.stored == nil {
		err = work()
		return message, err
	}
	if err := r.listBuffers(p.stored); err != nil {
		return message, err
	}
	if err := p.stored.Load(r.buffers); err != nil {
		return message, err
	}
	err = p.stored.Use(work)
	return message, err
}
