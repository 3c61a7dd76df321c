package arrowipc

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Compressor compresses batches, buffer by buffer. It keeps its tables between them, some megabytes at
// high levels, and is owned by one goroutine.
type Compressor struct {
	codec  Codec
	zstd   *zstd.Encoder
	lz4    *lz4.Writer
	frames sliceWriter // reused
}

// NewCompressor gives a compressor of a codec, LZ4 or ZSTD. level is the codec's own: lz4 0..9, zstd
// 1..22, of which 1 and 2, 3 to 5, 6 to 9, and those from 10 on are the same; 0 means its default, lz4 0
// and zstd 3.
func NewCompressor(codec Codec, level int) (*Compressor, error) {
	c := &Compressor{codec: codec}
	switch codec {
	case LZ4:
		depth := lz4.Fast
		if level > 0 {
			depth = lz4.CompressionLevel(1 << (8 + min(level, 9)))
		}
		c.lz4 = lz4.NewWriter(nil)
		blocks := lz4.BlockSizeOption(lz4.Block64Kb) // as the Arrow libraries do
		if err := c.lz4.Apply(lz4.ChecksumOption(false), blocks, lz4.CompressionLevelOption(depth)); err != nil {
			return nil, fmt.Errorf("making an lz4 encoder: %w", err)
		}
	case ZSTD:
		speed := zstd.SpeedDefault
		if level > 0 {
			speed = zstd.EncoderLevelFromZstd(level)
		}
		var err error
		// A buffer's checksum stands beside it: one of the frame would be computed by every client. Buffers of
		// numbers often have no matches, and bytes of which some are frequent.
		c.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(speed), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false),
			zstd.WithAllLitEntropyCompression(true))
		if err != nil {
			return nil, fmt.Errorf("making a zstd encoder: %w", err)
		}
	default:
		return nil, fmt.Errorf("there is no codec %d", codec)
	}
	return c, nil
}

// gainMin is the share of a buffer, 1/gainMin, by which it has to shrink: every reader pays for its
// decompression, and many floats would shrink by a twentieth.
const gainMin = 8

// gains says that the stored form of a buffer is worth its decompression.
func gains(stored, plain []byte) bool { return len(stored) <= len(plain)-len(plain)/gainMin }

// Compress gives a plain batch with every buffer compressed, in a body of its own, which the caller
// releases. A buffer that would shrink by less than an eighth is stored plainly.
func (c *Compressor) Compress(plain *Batch) (*Batch, error) {
	if plain.Codec != NoCodec {
		return nil, errors.New("compressing a batch: it is compressed")
	}
	c.frames.bytes = c.frames.bytes[:0]
	ends := make([]int, len(plain.Buffers))
	size, begin := int64(0), 0
	for i, s := range plain.Buffers {
		if s.Length > 0 {
			if err := c.add(plain.bytes(s)); err != nil {
				return nil, fmt.Errorf("compressing buffer %d: %w", i, err)
			}
		}
		ends[i] = len(c.frames.bytes)
		size += aligned(int64(ends[i] - begin))
		begin = ends[i]
	}
	out := &Batch{Layout: plain.Layout, Rows: plain.Rows, Codec: c.codec, Statistics: plain.Statistics}
	out.Nodes = append(out.Nodes, plain.Nodes...)
	out.Variadic = append(out.Variadic, plain.Variadic...)
	w := newBodyWriter(out, size, len(ends))
	begin = 0
	for _, end := range ends {
		w.add(c.frames.bytes[begin:end])
		begin = end
	}
	return out, nil
}

// add appends the stored form of a buffer to frames: the plain length, then a frame.
func (c *Compressor) add(plain []byte) error {
	begin := len(c.frames.bytes)
	c.frames.bytes = binary.LittleEndian.AppendUint64(c.frames.bytes, uint64(len(plain)))
	if c.codec == ZSTD {
		c.frames.bytes = c.zstd.EncodeAll(plain, c.frames.bytes)
	} else {
		c.lz4.Reset(&c.frames)
		_, err := c.lz4.Write(plain)
		if err = errors.Join(err, c.lz4.Close()); err != nil {
			return err
		}
	}
	if !gains(c.frames.bytes[begin:], plain) {
		c.frames.bytes = append(append(c.frames.bytes[:begin], notCompressed[:]...), plain...)
	}
	return nil
}

type sliceWriter struct{ bytes []byte }

// Write implements io.Writer.
func (w *sliceWriter) Write(p []byte) (int, error) {
	w.bytes = append(w.bytes, p...)
	return len(p), nil
}
