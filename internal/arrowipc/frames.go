package arrowipc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// frameBytesMin is the size below which a buffer is not worth a frame: what surrounds it would take as much
// as is saved, and each frame costs its reader a call of the codec.
const frameBytesMin = 128

// frameWriters and frameEncoders are costly to make and hold no user data of meaning. They compress at the
// level that costs least, for buffers that are compressed as often as they are sent.
var (
	frameWriters  sync.Pool
	frameEncoders sync.Pool
)

// appendFrame appends a plain buffer in the form that the codec wants: its length, and a frame; or, where
// that gains too little, the bytes themselves. Of an empty buffer nothing is appended.
func appendFrame(dst, plain []byte, codec Codec) ([]byte, error) {
	if len(plain) == 0 {
		return dst, nil
	}
	start := len(dst)
	if len(plain) >= frameBytesMin {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(len(plain)))
		var err error
		if codec == LZ4 {
			dst, err = appendLZ4(dst, plain)
		} else {
			dst, err = appendZSTD(dst, plain)
		}
		if err != nil {
			return dst[:start], fmt.Errorf("compressing a buffer: %w", err)
		}
		if gains(dst[start:], plain) {
			return dst, nil
		}
	}
	return append(append(dst[:start], notCompressed[:]...), plain...), nil
}

func appendZSTD(dst, plain []byte) ([]byte, error) {
	encoder, _ := frameEncoders.Get().(*zstd.Encoder)
	if encoder == nil {
		var err error
		encoder, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false),
			zstd.WithAllLitEntropyCompression(true))
		if err != nil {
			return dst, err
		}
	}
	dst = encoder.EncodeAll(plain, dst)
	frameEncoders.Put(encoder)
	return dst, nil
}

func appendLZ4(dst, plain []byte) ([]byte, error) {
	out := &sliceWriter{dst}
	writer, _ := frameWriters.Get().(*lz4.Writer)
	if writer == nil {
		writer = lz4.NewWriter(out)
		blocks := lz4.BlockSizeOption(lz4.Block64Kb) // as the Arrow libraries do
		if err := writer.Apply(lz4.ChecksumOption(false), blocks, lz4.CompressionLevelOption(lz4.Fast)); err != nil {
			return dst, err
		}
	} else {
		writer.Reset(out)
	}
	_, err := writer.Write(plain)
	if err = errors.Join(err, writer.Close()); err != nil {
		return out.bytes, err // a writer that has failed is not used again
	}
	frameWriters.Put(writer)
	return out.bytes, nil
}
