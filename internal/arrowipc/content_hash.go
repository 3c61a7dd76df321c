package arrowipc

import (
	"cmp"
	"encoding/binary"
	"hash/crc32"
	"slices"

	"github.com/zeebo/xxh3"
)

func checksum(bytes []byte) uint32 { return crc32.Checksum(bytes, castagnoli) }

// contentHasher hashes words.
type contentHasher struct {
	hasher xxh3.Hasher
	word   [8]byte
}

func (h *contentHasher) add(v uint64) {
	binary.LittleEndian.PutUint64(h.word[:], v)
	_, _ = h.hasher.Write(h.word[:]) // never fails
}

// ContentHash identifies the content of the batch that Decode took last, which came with body: xxh3-64 over
// its columns in the order of their names, of each its nodes and the sums of its buffers as they were sent,
// and over the dictionaries. So it is the same for the same bytes whatever the target is: a retry of a
// request has the hash of the first try, also where the table's schema has changed in between. The same rows
// cut or compressed in another way have another hash.
func (d *Decoder) ContentHash(body [][]byte) uint64 {
	h := &contentHasher{}
	wire := &d.wire
	h.add(uint64(wire.Rows))
	parts := newScattered(body)
	for _, c := range d.byName {
		for _, n := range wire.Nodes[c.node:c.nodeEnd] {
			h.add(uint64(n.Length))
			h.add(uint64(n.Nulls))
		}
		from, to := wire.bufferRange(c)
		for i, span := range wire.Buffers[from:to] {
			h.add(uint64(span.Length))
			if d.sums != nil {
				h.add(uint64(d.sums[from+i]))
			} else {
				h.add(uint64(parts.checksum(span)))
			}
		}
		for _, inner := range d.source.all[c.node:c.nodeEnd] {
			if inner.kind == dictionaryKind {
				h.add(d.dictionaryHash(inner.dictionary.id))
			}
		}
	}
	return h.hasher.Sum64()
}

// sortByName gives the columns in the order of their names.
func sortByName(columns []*column) []*column {
	return slices.SortedStableFunc(slices.Values(columns), func(a, b *column) int { return cmp.Compare(a.name, b.name) })
}

// hashedDictionary is a dictionary and its hash.
type hashedDictionary struct {
	values *Batch
	hash   uint64
}

// dictionaryHash hashes a dictionary, once for as long as it is not replaced.
func (d *Decoder) dictionaryHash(id int64) uint64 {
	values := d.dictionaries[id]
	if known := d.hashed[id]; known.values == values {
		return known.hash
	}
	h := &contentHasher{}
	h.add(uint64(values.Rows))
	for _, n := range values.Nodes {
		h.add(uint64(n.Length))
		h.add(uint64(n.Nulls))
	}
	for _, sum := range values.Sums {
		h.add(uint64(sum))
	}
	if d.hashed == nil {
		d.hashed = map[int64]hashedDictionary{}
	}
	d.hashed[id] = hashedDictionary{values, h.hasher.Sum64()}
	return d.hashed[id].hash
}

// checksum gives the CRC of bytes that may lie in several parts.
func (s *scattered) checksum(span Span) uint32 {
	sum := uint32(0)
	for done := int64(0); done < span.Length; {
		piece := s.at(span.Offset+done, span.Length-done)
		sum = crc32.Update(sum, castagnoli, piece)
		done += int64(len(piece))
	}
	return sum
}
