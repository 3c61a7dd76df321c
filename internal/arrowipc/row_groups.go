package arrowipc

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/zeebo/xxh3"
)

// RowGroups parts the rows of batches by the values of some columns. A value is known by the key encoding of
// RowHasher, so that rows are in one group if their values are equal bit by bit. It keeps its memory between
// batches and is owned by one goroutine.
type RowGroups struct {
	hasher *RowHasher
	// table finds groups by hash: the number of a group plus one, or 0. Its length is a power of two.
	table  []int32
	hashes []uint64 // by group
	ends   []int    // by group: where its key ends in keys
	keys   []byte
	first  []int32 // by group: its first row
	rows   []int32 // by row: its group
}

// NewRowGroups chooses the columns by index, in order, as NewRowHasher does.
func NewRowGroups(l *Layout, columns []int) (*RowGroups, error) {
	hasher, err := NewRowHasher(l, columns)
	if err != nil {
		return nil, err
	}
	return &RowGroups{hasher: hasher, table: make([]int32, groupsTableMin)}, nil
}

const groupsTableMin = 64

// Group gives each row of b, a plain batch of the layout, the number of its group; groups are numbered from 0
// in the order of their first rows. What it gives is valid until the next call.
func (g *RowGroups) Group(b *Batch) ([]int32, error) {
	vectors, err := openVectors(g.hasher.scratch, b, nil)
	if err != nil {
		return nil, err
	}
	g.hasher.scratch = vectors
	g.reset()
	if int64(cap(g.rows)) < b.Rows {
		g.rows = make([]int32, b.Rows)
	}
	g.rows = g.rows[:b.Rows]
	key, group := g.hasher.key, int32(-1)
	for row := range b.Rows {
		key = key[:0]
		for _, c := range g.hasher.columns {
			key = vectors[c.node].appendKey(key, row)
		}
		// Rows of a group are often neighbours.
		if group < 0 || !bytes.Equal(key, g.Key(int(group))) {
			group = g.group(key, int32(row))
		}
		g.rows[row] = group
	}
	g.hasher.key = key
	return g.rows, nil
}

func (g *RowGroups) reset() {
	clear(g.table)
	g.hashes, g.ends, g.keys, g.first = g.hashes[:0], g.ends[:0], g.keys[:0], g.first[:0]
}

// group gives the group of a key, making it where it is new.
func (g *RowGroups) group(key []byte, row int32) int32 {
	hash := xxh3.Hash(key)
	mask := uint64(len(g.table) - 1)
	at := hash & mask
	for ; g.table[at] != 0; at = (at + 1) & mask {
		if found := g.table[at] - 1; g.hashes[found] == hash && bytes.Equal(g.Key(int(found)), key) {
			return found
		}
	}
	group := int32(len(g.hashes))
	g.table[at] = group + 1
	g.hashes, g.first = append(g.hashes, hash), append(g.first, row)
	g.keys = append(g.keys, key...)
	g.ends = append(g.ends, len(g.keys))
	if 2*len(g.hashes) > len(g.table) {
		g.grow()
	}
	return group
}

func (g *RowGroups) grow() {
	g.table = make([]int32, 2*len(g.table))
	mask := uint64(len(g.table) - 1)
	for group, hash := range g.hashes {
		at := hash & mask
		for g.table[at] != 0 {
			at = (at + 1) & mask
		}
		g.table[at] = int32(group + 1)
	}
}

// Len is the number of groups of the last batch.
func (g *RowGroups) Len() int { return len(g.hashes) }

// Key gives the key encoding of a group's values. It is valid until the next call of Group.
func (g *RowGroups) Key(group int) []byte {
	from := 0
	if group > 0 {
		from = g.ends[group-1]
	}
	return g.keys[from:g.ends[group]]
}

// First is the first row of a group.
func (g *RowGroups) First(group int) int32 { return g.first[group] }

// CutKey gives the values of the chosen columns in a key encoding, as View.Value does; nil for a null. They
// point into key. It fails on bytes that are no key of these columns.
func (h *RowHasher) CutKey(key []byte) ([][]byte, error) {
	values := make([][]byte, len(h.columns))
	for i, c := range h.columns {
		if len(key) == 0 || key[0] > 1 {
			return nil, fmt.Errorf("the key of %s is not whole", c.path())
		}
		null := key[0] == 0
		key = key[1:]
		if null {
			continue
		}
		length := uint64(c.width)
		switch c.kind {
		case bitKind:
			length = 1
		case offset32Kind, offset64Kind:
			n := 0
			if length, n = binary.Uvarint(key); n <= 0 {
				return nil, fmt.Errorf("the key of %s is not whole", c.path())
			}
			key = key[n:]
		}
		if length > uint64(len(key)) {
			return nil, fmt.Errorf("the key of %s is not whole", c.path())
		}
		values[i], key = key[:length:length], key[length:]
	}
	if len(key) > 0 {
		return nil, fmt.Errorf("%d bytes stand behind the key", len(key))
	}
	return values, nil
}

// AppendKey appends the key encoding of one row of a view of the hasher's layout. It panics on a row that is
// not there.
func (h *RowHasher) AppendKey(dst []byte, v *View, row int32) []byte {
	for _, c := range h.columns {
		dst = v.vectors[c.node].appendKey(dst, int64(row))
	}
	return dst
}
