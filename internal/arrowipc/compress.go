package arrowipc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// compressedPrefix is the length of the plain length that stands before each compressed buffer.
const compressedPrefix = 8

// plainLength is how long a compressed buffer claims to be once decompressed.
func plainLength(buffer []byte) (int64, error) {
	if len(buffer) == 0 {
		return 0, nil
	}
	if len(buffer) < compressedPrefix {
		return 0, fmt.Errorf("a compressed buffer has %d bytes, want at least %d", len(buffer), compressedPrefix)
	}
	claim := int64(binary.LittleEndian.Uint64(buffer))
	if claim == -1 {
		return int64(len(buffer)) - compressedPrefix, nil
	}
	if claim < 0 {
		return 0, fmt.Errorf("a compressed buffer claims to hold %d bytes", claim)
	}
	return claim, nil
}

// Decompress gives a plain batch with a body of its own, which the caller releases. A plain batch is
// copied. Before anything is allocated, the sum of what the buffers claim to hold is compared with
// the default of Limits.DecompressedBytes.
func Decompress(b *Batch) (*Batch, error) { return decompress(b, decompressedBytesDefault) }

var errTooMuch = errors.New("it holds too much")

// decompress allows at most budget bytes. Padding is not counted.
func decompress(b *Batch, budget int64) (*Batch, error) {
	size, claimed := int64(0), int64(0)
	for _, s := range b.Buffers {
		if s.isAside() {
			continue // it is plain, and stays where it is
		}
		n := s.Length
		if b.Codec != NoCodec {
			var err error
			if n, err = plainLength(b.bytes(s)); err != nil {
				return nil, err
			}
		}
		if n > budget-claimed {
			return nil, fmt.Errorf("%w: more than %d bytes once decompressed", errTooMuch, budget)
		}
		claimed += n
		size += aligned(n)
	}
	out := &Batch{Layout: b.Layout, Rows: b.Rows, Nodes: append([]Node(nil), b.Nodes...), Statistics: b.Statistics, aside: b.aside}
	out.Variadic = append(out.Variadic, b.Variadic...)
	w := newBodyWriter(out, size, len(b.Buffers))
	for i, s := range b.Buffers {
		switch {
		case s.isAside():
			out.Buffers = append(out.Buffers, s)
			out.Sums = append(out.Sums, 0) // a batch that was adapted has none, as nobody stores it
			continue
		case b.Codec == NoCodec:
			w.add(b.bytes(s))
			continue
		}
		if err := w.addPlain(b.Codec, b.bytes(s)); err != nil {
			out.Release()
			return nil, fmt.Errorf("buffer %d: %w", i, err)
		}
	}
	if err := checkLengths(out); err != nil {
		out.Release()
		return nil, err
	}
	return out, nil
}

// addPlain appends what a compressed buffer holds, without summing it twice over: nobody stores it.
func (w *bodyWriter) addPlain(codec Codec, buffer []byte) error {
	n, _ := plainLength(buffer) // checked when sizes were summed
	if n == 0 || len(buffer) == 0 {
		w.add()
		return nil
	}
	if int64(binary.LittleEndian.Uint64(buffer)) == -1 {
		w.add(buffer[compressedPrefix:])
		return nil
	}
	start := w.position
	target := w.batch.Body[start : start+n : start+n]
	if err := decompressInto(target, codec, buffer[compressedPrefix:]); err != nil {
		return err
	}
	w.position += n
	w.close(start, checksum(target))
	return nil
}

// decompressors and compressors are costly to make and hold no user data of meaning.
var (
	zstdDecoders sync.Pool
	lz4Readers   sync.Pool
)

// decompressInto fills target exactly. A panic of a codec becomes an error: frames come from the wire.
func decompressInto(target []byte, codec Codec, frame []byte) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("decompressing: %v", r)
		}
	}()
	if codec == LZ4 {
		return decompressLZ4(target, frame)
	}
	decoder, _ := zstdDecoders.Get().(*zstd.Decoder)
	if decoder == nil {
		decoder, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(zstdMemoryMax),
			zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderLowmem(true))
		if err != nil {
			return fmt.Errorf("making a zstd decoder: %w", err)
		}
	}
	out, err := decoder.DecodeAll(frame, target[:0])
	zstdDecoders.Put(decoder)
	if err != nil {
		return fmt.Errorf("zstd: %w", err)
	}
	if len(out) != len(target) {
		return fmt.Errorf("zstd: it holds %d bytes, and claims %d", len(out), len(target))
	}
	return nil
}

// zstdMemoryMax bounds what one frame may declare as its window or content.
const zstdMemoryMax = 1 << 30

func decompressLZ4(target, frame []byte) error {
	reader, _ := lz4Readers.Get().(*lz4.Reader)
	if reader == nil {
		reader = lz4.NewReader(nil)
	}
	source := &sliceReader{rest: frame}
	reader.Reset(source)
	if _, err := io.ReadFull(reader, target); err != nil {
		return fmt.Errorf("lz4: %w", err)
	}
	var one [1]byte
	if n, err := reader.Read(one[:]); n != 0 || !errors.Is(err, io.EOF) {
		return fmt.Errorf("lz4: it does not end after the %d bytes that it claims", len(target))
	}
	lz4Readers.Put(reader) // only one that has come to its end
	return nil
}

// sliceReader reads a frame, and lets go of it at its end: a pooled lz4.Reader keeps its source.
type sliceReader struct{ rest []byte }

// Read implements io.Reader.
func (r *sliceReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.rest)
	if r.rest = r.rest[n:]; len(r.rest) == 0 {
		r.rest = nil
	}
	return n, nil
}

// Compress gives the batch with every buffer compressed by codec, in a body of its own, which the
// caller releases. A buffer that would shrink by less than an eighth is stored plainly. level is that of
// NewCompressor, which is what many batches need. NoCodec decompresses.
func Compress(b *Batch, codec Codec, level int) (*Batch, error) {
	plain, err := Decompress(b)
	if err != nil || codec == NoCodec {
		return plain, err
	}
	defer plain.Release()
	c, err := NewCompressor(codec, level)
	if err != nil {
		return nil, err
	}
	return c.Compress(plain)
}
