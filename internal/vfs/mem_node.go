package vfs

import (
	"slices"
	"time"
)

// memNode is a file or folder of a Mem, whatever names it has. Its fields are guarded by Mem.mu.
type memNode struct {
	number   int64 // in order of making: puts nodes into an order that does not change from run to run
	isDir    bool
	modified time.Time

	// A folder: the names that callers see, and those that a power cut leaves.
	entries, durable map[string]*memNode
	// gone says that the folder is durably removed.
	gone bool

	// A file: what callers see is storage up to size, what a power cut leaves is synced, and pending
	// leads from the one to the other, oldest first.
	storage *memStorage
	// mirrors are storages that were outgrown while mapped; writes go there too.
	mirrors []*memStorage
	size    int64
	synced  []byte
	pending []*memOp

	// The file holds space while it has a name, an open handle or a mapping.
	named             bool
	handles, mappings int
	reserved, charged int64
}

// memOp is a change that is not durable yet.
type memOp struct {
	sequence int64
	node     *memNode
	kind     memOpKind
	// A write: bytes, never changed, at position. A resize: the new length is position.
	position int64
	bytes    []byte
	// A change of name: from nowhere for a new node, to nowhere for a removed one.
	from, to memPlace
	// fromSynced and toSynced say which of the two folders has been synced since.
	fromSynced, toSynced bool
}

type memOpKind uint8

const (
	opWrite memOpKind = iota
	opResize
	opName
)

// memPlace is a name in a folder; the zero value is nowhere.
type memPlace struct {
	dir  *memNode
	name string
}

func (p memPlace) node() *memNode { return p.dir.entries[p.name] }

// unreachable says that nobody can sync the folder any more.
func (p memPlace) unreachable() bool { return p.dir == nil || p.dir.gone }

func (m *Mem) newNode(isDir bool) *memNode {
	m.sequence++
	node := &memNode{number: m.sequence, isDir: isDir, modified: m.time()}
	if isDir {
		node.entries, node.durable = map[string]*memNode{}, map[string]*memNode{}
	} else {
		node.storage = &memStorage{}
	}
	return node
}

// time gives the time of a change that happens now.
func (m *Mem) time() time.Time {
	if m.now != nil {
		return m.now()
	}
	return time.UnixMicro(m.sequence).UTC()
}

// changeName moves node between two places, at once for callers, later for a power cut.
func (m *Mem) changeName(node *memNode, from, to memPlace) {
	m.sequence++
	if from.dir != nil {
		delete(from.dir.entries, from.name)
		from.dir.modified = m.time()
	}
	if to.dir != nil {
		if replaced := to.node(); replaced != nil {
			replaced.named = false
			m.freeUnused(replaced)
		}
		to.dir.entries[to.name] = node
		to.dir.modified = m.time()
	}
	node.named = to.dir != nil
	m.freeUnused(node)
	m.names = append(m.names, &memOp{
		sequence: m.sequence, node: node, kind: opName, from: from, to: to,
		fromSynced: from.dir == nil, toSynced: to.dir == nil,
	})
}

// syncNames makes the changes of names in dir durable. One that another folder is part of waits for
// that folder, unless something that is durable now depends on it.
func (m *Mem) syncNames(dir *memNode) {
	settled := map[*memOp]bool{}
	for i, op := range m.names {
		op.fromSynced = op.fromSynced || op.from.dir == dir || op.from.dir.gone
		op.toSynced = op.toSynced || op.to.dir == dir
		if op.fromSynced && op.toSynced {
			settle(m.names[:i+1], settled)
		}
	}
	for _, op := range slices.Backward(m.names) {
		settled[op] = settled[op] || op.from.unreachable() && op.to.unreachable()
		if settled[op] && op.to.dir == nil {
			op.node.gone = true
		}
	}
	m.names = slices.DeleteFunc(m.names, func(op *memOp) bool { return settled[op] })
}

// settle makes the last of ops durable, and before it those that it depends on: earlier changes of
// the same node or the same name. No file system turns these round.
func settle(ops []*memOp, settled map[*memOp]bool) {
	op := ops[len(ops)-1]
	if settled[op] {
		return
	}
	for i, earlier := range ops[:len(ops)-1] {
		if !settled[earlier] && op.dependsOn(earlier) {
			settle(ops[:i+1], settled)
		}
	}
	op.makeDurable()
	settled[op] = true
}

func (op *memOp) dependsOn(earlier *memOp) bool {
	return op.node == earlier.node || op.touches(earlier.from) || op.touches(earlier.to)
}

func (op *memOp) touches(place memPlace) bool {
	return place.dir != nil && (op.from == place || op.to == place)
}

// makeDurable changes the names that a power cut leaves.
func (op *memOp) makeDurable() {
	if op.from.dir != nil && op.from.dir.durable[op.from.name] == op.node {
		delete(op.from.dir.durable, op.from.name)
	}
	if op.to.dir != nil {
		op.to.dir.durable[op.to.name] = op.node
	}
}

// makeDurable carries the pending writes of a file over into what a power cut leaves.
func (n *memNode) makeDurable() {
	for _, op := range n.pending {
		switch op.kind {
		case opWrite:
			n.synced = writeInto(n.synced, op.bytes, op.position)
		default:
			n.synced = resized(n.synced, op.position)
		}
	}
	n.pending = nil
}

// writeInto writes bytes into content at position, which may lie behind its end.
func writeInto(content, bytes []byte, position int64) []byte {
	if end := position + int64(len(bytes)); end > int64(len(content)) {
		content = resized(content, end)
	}
	copy(content[position:], bytes)
	return content
}

// resized cuts content, or extends it with zeros.
func resized(content []byte, size int64) []byte {
	length := int64(len(content))
	if size <= length {
		return content[:size]
	}
	content = slices.Grow(content, int(size-length))[:size]
	clear(content[length:])
	return content
}
