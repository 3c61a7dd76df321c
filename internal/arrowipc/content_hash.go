package arrowipc

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/zeebo/xxh3"
)

func checksum(bytes []byte) uint32 { return crc32.Checksum(bytes, castagnoli) }

// ContentHash identifies the content of a request: xxh3-64 over rows, nodes and sums of its batches.
// Batches without Sums are summed. The same rows cut or compressed in another way have another hash.
func ContentHash(batches []*Batch) uint64 {
	hasher := xxh3.New()
	var word [8]byte
	put := func(v uint64) {
		binary.LittleEndian.PutUint64(word[:], v)
		_, _ = hasher.Write(word[:]) // never fails
	}
	for _, b := range batches {
		put(uint64(b.Rows))
		for _, n := range b.Nodes {
			put(uint64(n.Length))
			put(uint64(n.Nulls))
		}
		for i, s := range b.Buffers {
			put(uint64(s.Length))
			if b.Sums != nil {
				put(uint64(b.Sums[i]))
			} else {
				put(uint64(checksum(b.bytes(s))))
			}
		}
	}
	return hasher.Sum64()
}
