package arrowipc

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// TestBuffersThatShrinkLittleStayPlain compresses random bytes, a tenth of which are zero in the end, and small
// integers.
func TestBuffersThatShrinkLittleStayPlain(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	noise, integers := make([]byte, 80_000), make([]byte, 0, 80_000)
	for i := range 10_000 {
		if i < 9_000 {
			binary.LittleEndian.PutUint64(noise[8*i:], rnd.Uint64())
		}
		integers = binary.LittleEndian.AppendUint64(integers, rnd.Uint64N(1_000_000))
	}
	for _, codec := range []Codec{LZ4, ZSTD} {
		c, err := NewCompressor(codec, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.add(noise); err != nil {
			t.Fatal(err)
		}
		if got := c.frames.bytes; !bytes.Equal(got, append(notCompressed[:], noise...)) {
			t.Errorf("codec %d: they were compressed to %d of %d bytes", codec, len(got), len(noise))
		}
		c.frames.bytes = c.frames.bytes[:0]
		if err := c.add(integers); err != nil {
			t.Fatal(err)
		}
		if got := c.frames.bytes; len(got) > len(integers)*7/8 || binary.LittleEndian.Uint64(got) != uint64(len(integers)) {
			t.Errorf("codec %d: small integers were compressed to %d of %d bytes", codec, len(got), len(integers))
		}
	}
}
