package vfs

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
)

// CutMode says what a power cut leaves of the operations that were not durable.
type CutMode uint8

// The modes. Whatever the mode, what was synced is there.
const (
	// KeepNone leaves nothing that was not synced.
	KeepNone CutMode = iota
	// KeepAll leaves everything.
	KeepAll
	// KeepPrefix leaves all operations up to a random point of the order in which they were called,
	// over all files and folders. The write at that point is torn at a multiple of 512 bytes.
	KeepPrefix
	// KeepRandom leaves each operation or not, independently of the others, so that they seem
	// reordered: each write, in half of the cases each 512-byte or 4-KiB piece of it; each change of
	// length, in part where a write made it; each change of a name, a rename as a whole. Changes of
	// one name, and of one file's or folder's name, keep their order. Bytes that were lost below the
	// length that was kept read as what was there before, or zeros.
	KeepRandom
)

// Cut says how the power is cut.
type Cut struct {
	Mode CutMode
	// Rand decides for KeepPrefix and KeepRandom. The same seed over the same operations leaves the
	// same files. Default: a fixed seed.
	Rand *rand.Rand
}

// sectorBytes is what a disk writes as a whole; pageBytes is what a file system writes back.
const (
	sectorBytes = 512
	pageBytes   = 4096
)

// Kill gives the file system as it is after the process was killed: all that was done is there, and
// what was not durable can still be lost by a Crash. Locks are free. The receiver and its files go
// on by themselves.
func (m *Mem) Kill() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := cloner{nodes: map[*memNode]*memNode{}, to: NewMem(MemOptions{Capacity: m.capacity, Now: m.now})}
	c.to.sequence = m.sequence
	c.to.root = c.node(m.root)
	for _, op := range m.names {
		copied := *op
		copied.node = c.node(op.node)
		copied.from.dir, copied.to.dir = c.node(op.from.dir), c.node(op.to.dir)
		c.to.names = append(c.to.names, &copied)
	}
	for node := range m.dirty {
		c.to.dirty[c.node(node)] = struct{}{}
	}
	for _, node := range c.nodes {
		c.to.freeUnused(node)
	}
	return c.to
}

// Crash gives the file system as it is after a power cut: what was durable, and of the rest what
// cut keeps; all of it is durable from then on. Locks are free. The receiver and its files go on by
// themselves.
func (m *Mem) Crash(cut Cut) *Mem {
	after := m.Kill()
	after.cut(cut)
	return after
}

// cloner copies nodes into another Mem.
type cloner struct {
	nodes map[*memNode]*memNode
	to    *Mem
}

func (c *cloner) node(from *memNode) *memNode {
	if from == nil {
		return nil
	}
	if to := c.nodes[from]; to != nil {
		return to
	}
	to := &memNode{
		number: from.number, isDir: from.isDir, modified: from.modified, gone: from.gone,
		named: from.named, reserved: from.reserved, synced: slices.Clone(from.synced),
	}
	c.nodes[from] = to
	if from.isDir {
		to.entries, to.durable = c.names(from.entries), c.names(from.durable)
		return to
	}
	to.storage = &memStorage{bytes: slices.Clone(from.storage.bytes[:from.size])}
	to.size = from.size
	for _, op := range from.pending {
		copied := *op
		copied.node = to
		to.pending = append(to.pending, &copied)
	}
	c.to.used += from.charged
	to.charged = from.charged
	return to
}

func (c *cloner) names(from map[string]*memNode) map[string]*memNode {
	to := make(map[string]*memNode, len(from))
	for name, node := range from {
		to[name] = c.node(node)
	}
	return to
}

// cut makes what is kept durable and forgets the rest.
func (m *Mem) cut(cut Cut) {
	k := m.keeper(cut)
	k.names(m)
	nodes := slices.SortedFunc(maps.Keys(m.dirty), func(a, b *memNode) int { return cmp.Compare(a.number, b.number) })
	for _, node := range nodes {
		node.synced = k.content(node)
		node.pending = nil
	}
	clear(m.dirty)
	m.names = nil
	m.used = 0
	m.reload(m.root)
}

// reload makes callers see what is durable below node.
func (m *Mem) reload(node *memNode) {
	if node.isDir {
		node.entries = maps.Clone(node.durable)
		for _, below := range node.entries {
			m.reload(below)
		}
		return
	}
	node.named = true
	node.size = int64(len(node.synced))
	node.storage = &memStorage{bytes: slices.Clone(node.synced)}
	node.reserved = 0
	node.charged = node.size
	m.used += node.charged
}

// keeper decides what a power cut leaves.
type keeper struct {
	mode   CutMode
	random *rand.Rand
	// point is where KeepPrefix cuts: earlier operations are kept, later ones lost.
	point int64
	// share is the part of the operations that KeepRandom keeps.
	share float64
}

func (m *Mem) keeper(cut Cut) *keeper {
	k := &keeper{mode: cut.Mode, random: cut.Rand}
	if k.random == nil {
		k.random = rand.New(rand.NewPCG(1, 2))
	}
	k.share = []float64{0.05, 0.5, 0.95}[k.random.IntN(3)]
	var points []int64
	for _, op := range m.names {
		points = append(points, op.sequence)
	}
	for node := range m.dirty {
		for _, op := range node.pending {
			points = append(points, op.sequence)
		}
	}
	slices.Sort(points)
	points = append(points, m.sequence+1) // nothing is lost
	k.point = points[k.random.IntN(len(points))]
	return k
}

// whole says whether an operation that cannot be torn is kept.
func (k *keeper) whole(op *memOp) bool {
	switch k.mode {
	case KeepAll:
		return true
	case KeepPrefix:
		return op.sequence < k.point
	case KeepRandom:
		return k.random.Float64() < k.share
	}
	return false
}

func (k *keeper) names(m *Mem) {
	kept := map[*memOp]bool{}
	for i, op := range m.names {
		if k.whole(op) {
			settle(m.names[:i+1], kept)
		}
	}
}

// content gives what is left of a file.
func (k *keeper) content(node *memNode) []byte {
	content, length := node.synced, int64(len(node.synced))
	for _, op := range node.pending {
		if op.kind == opResize {
			if k.whole(op) {
				// Cut and grown again: what was behind the end does not come back.
				content = resized(resized(content, min(op.position, int64(len(content)))), op.position)
				length = op.position
			}
			continue
		}
		end := op.position + int64(len(op.bytes))
		pieces := k.pieces(op)
		for _, piece := range pieces {
			content = writeInto(content, op.bytes[piece[0]-op.position:piece[1]-op.position], piece[0])
		}
		length = max(length, k.length(op, length, end, pieces))
	}
	return resized(content, length)
}

// pieces gives the ranges of the file that are kept of a write.
func (k *keeper) pieces(op *memOp) [][2]int64 {
	start, end := op.position, op.position+int64(len(op.bytes))
	switch {
	case k.mode == KeepPrefix && op.sequence == k.point:
		sectors := (end-1)/sectorBytes - start/sectorBytes + 1
		torn := min(end, (start/sectorBytes+k.random.Int64N(sectors))*sectorBytes)
		if torn <= start {
			return nil
		}
		return [][2]int64{{start, torn}}
	case k.mode == KeepRandom && k.random.IntN(2) == 0:
		unit := []int64{sectorBytes, pageBytes}[k.random.IntN(2)]
		var kept [][2]int64
		for at := start; at < end; {
			next := min(end, (at/unit+1)*unit)
			if k.random.Float64() < k.share {
				kept = append(kept, [2]int64{at, next})
			}
			at = next
		}
		return kept
	case k.whole(op):
		return [][2]int64{{start, end}}
	}
	return nil
}

// length gives how far a write is kept to have extended the file from length on. A file system
// writes the length apart from the bytes: either can be there without the other.
func (k *keeper) length(op *memOp, length, end int64, pieces [][2]int64) int64 {
	if k.mode == KeepRandom && end > length {
		switch k.random.IntN(4) {
		case 0:
			return length
		case 1:
			return end
		case 2:
			return length + k.random.Int64N(end-length)
		}
	}
	if len(pieces) == 0 {
		return length
	}
	return pieces[len(pieces)-1][1]
}
