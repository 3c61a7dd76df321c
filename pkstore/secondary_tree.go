package pkstore

import (
	"slices"
	"sort"
)

const (
	treeLeafMax  = 128 // entries
	treeInnerMax = 128 // children

	treeNodeBytes  = 48 // of a node without what it points to
	treeEntryBytes = 8
	treeChildBytes = 8
)

// entryTree is an ordered multiset of numbers. Its nodes never change: a change replaces the path to
// each node that it concerns, so that who holds a root reads what was there then.
type entryTree struct {
	root    *entryNode
	rows    int64
	bytes   int64
	scratch []uint64
}

// entryNode is a node of an entryTree. Equal entries are never in two leaves.
type entryNode struct {
	entries  []uint64     // of a leaf all, ascending; of another node the first of each child
	children []*entryNode // nil in a leaf
}

func newEntryTree() *entryTree {
	t := &entryTree{}
	t.root = t.node(nil, nil)
	return t
}

// node makes a node and counts it.
func (t *entryTree) node(entries []uint64, children []*entryNode) *entryNode {
	n := &entryNode{entries, children}
	t.bytes += n.bytes()
	return n
}

func (n *entryNode) bytes() int64 {
	return treeNodeBytes + treeEntryBytes*int64(len(n.entries)) + treeChildBytes*int64(len(n.children))
}

// change adds and removes entries; both are ascending. What is added may be removed at once. It fails
// where an entry that is removed is not there; the tree must not be used then.
func (t *entryTree) change(added, removed []uint64) error {
	if len(added)+len(removed) == 0 {
		return nil
	}
	nodes, err := t.changeNode(t.root, added, removed)
	if err != nil {
		return err
	}
	for len(nodes) > 1 {
		nodes = t.group(nodes)
	}
	if len(nodes) == 0 {
		nodes = append(nodes, t.node(nil, nil))
	}
	t.root = nodes[0]
	for len(t.root.children) == 1 {
		t.bytes -= t.root.bytes()
		t.root = t.root.children[0]
	}
	t.rows += int64(len(added) - len(removed))
	return nil
}

// changeNode gives the nodes that stand for a node after a change.
func (t *entryTree) changeNode(n *entryNode, added, removed []uint64) ([]*entryNode, error) {
	t.bytes -= n.bytes()
	if n.children == nil {
		return t.changeLeaf(n, added, removed)
	}
	children := make([]*entryNode, 0, len(n.children)+2)
	for i, child := range n.children {
		mine, gone := added, removed
		if i+1 < len(n.children) {
			mine, added = cutBelow(added, n.entries[i+1])
			gone, removed = cutBelow(removed, n.entries[i+1])
		}
		if len(mine)+len(gone) == 0 {
			children = t.join(children, child)
			continue
		}
		fresh, err := t.changeNode(child, mine, gone)
		if err != nil {
			return nil, err
		}
		for _, child := range fresh {
			children = t.join(children, child)
		}
	}
	return t.group(children), nil
}

// cutBelow parts ascending entries into those below a bound and the others.
func cutBelow(entries []uint64, bound uint64) (below, rest []uint64) {
	if len(entries) == 0 || entries[0] >= bound {
		return nil, entries
	}
	n := sort.Search(len(entries), func(i int) bool { return entries[i] >= bound })
	return entries[:n], entries[n:]
}

// join appends a node to its neighbours, or makes one of it and the last of them where that one or the
// other is small.
func (t *entryTree) join(nodes []*entryNode, next *entryNode) []*entryNode {
	if len(nodes) == 0 {
		return append(nodes, next)
	}
	last := nodes[len(nodes)-1]
	limit := treeLeafMax
	if last.children != nil {
		limit = treeInnerMax
	}
	a, b := len(last.entries), len(next.entries)
	if min(a, b) >= limit/4 || a+b > limit*3/4 {
		return append(nodes, next)
	}
	t.bytes -= last.bytes() + next.bytes()
	var children []*entryNode
	if last.children != nil {
		children = slices.Concat(last.children, next.children)
	}
	nodes[len(nodes)-1] = t.node(slices.Concat(last.entries, next.entries), children)
	return nodes
}

// group makes nodes of children, each with about as many.
func (t *entryTree) group(children []*entryNode) []*entryNode {
	pieces := (len(children) + treeInnerMax - 1) / treeInnerMax
	nodes := make([]*entryNode, 0, pieces)
	for i := range pieces {
		part := slices.Clone(children[i*len(children)/pieces : (i+1)*len(children)/pieces])
		firsts := make([]uint64, len(part))
		for j, child := range part {
			firsts[j] = child.entries[0]
		}
		nodes = append(nodes, t.node(firsts, part))
	}
	return nodes
}

// changeLeaf gives the leaves that stand for one after a change.
func (t *entryTree) changeLeaf(n *entryNode, added, removed []uint64) ([]*entryNode, error) {
	all := t.scratch[:0]
	old := n.entries
	for len(old)+len(added) > 0 {
		var next uint64
		if len(added) == 0 || len(old) > 0 && old[0] <= added[0] {
			next, old = old[0], old[1:]
		} else {
			next, added = added[0], added[1:]
		}
		if len(removed) > 0 && removed[0] == next {
			removed = removed[1:]
			continue
		}
		all = append(all, next)
	}
	t.scratch = all
	if len(removed) > 0 {
		return nil, errIndexDiffers
	}
	pieces := (len(all) + treeLeafMax - 1) / treeLeafMax
	leaves := make([]*entryNode, 0, pieces)
	from := 0
	for i := range pieces {
		to := max(from, (i+1)*len(all)/pieces)
		for to > 0 && to < len(all) && all[to] == all[to-1] {
			to++
		}
		if from < to {
			leaves = append(leaves, t.node(slices.Clone(all[from:to]), nil))
		}
		from = to
	}
	return leaves, nil
}

// appendRange appends the entries in [from, to] to dst.
func (n *entryNode) appendRange(dst []uint64, from, to uint64) []uint64 {
	for n.children != nil {
		i := n.child(from)
		if i+1 < len(n.entries) && n.entries[i+1] <= to {
			for ; i < len(n.children) && (n.entries[i] <= to); i++ {
				dst = n.children[i].appendRange(dst, from, to)
			}
			return dst
		}
		n = n.children[i]
	}
	for i := lowerBound(n.entries, from); i < len(n.entries) && n.entries[i] <= to; i++ {
		dst = append(dst, n.entries[i])
	}
	return dst
}

// child gives the child in which an entry is, if it is there.
func (n *entryNode) child(entry uint64) int {
	i := lowerBound(n.entries, entry)
	if i < len(n.entries) && n.entries[i] == entry {
		return i
	}
	return max(i-1, 0)
}

// lowerBound gives the index of the first entry that is not below a bound.
func lowerBound(entries []uint64, bound uint64) int {
	low, high := 0, len(entries)
	for low < high {
		middle := int(uint(low+high) >> 1)
		if entries[middle] < bound {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}
