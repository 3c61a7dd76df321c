package pkstore

// pendingKeys knows the newest row of each key that has changes which are not published yet, and
// what publishing them does to the index. Its owner serialises all calls.
//
// Changes have numbers that ascend; they are published in that order and dropped in the other.
type pendingKeys struct {
	changes []keyChange
	first   int // changes before it are published
	number  int // of changes[0]
	table   []int32
	used    int // entries of table that are not free
}

// keyChange is what one request did to one key.
type keyChange struct {
	hash     uint64
	before   int64 // offset of the row that the key had, or noRow
	newest   int64 // offset of the key's last row in the log, which may be that of its deletion
	previous int   // number of the pending change of the same key before it, or noChange
	deleted  bool
	replaced bool // a newer change of the key is pending, which has its entry in the table
}

const (
	noRow    = -1
	noChange = -1

	freeEntry    = -1
	droppedEntry = -2

	pendingTableMin = 1 << 10
	// pendingTableMax is how many entries an idle table keeps.
	pendingTableMax = 1 << 17
)

// after is the offset of the row that the change leaves, or noRow.
func (c *keyChange) after() int64 {
	if c.deleted {
		return noRow
	}
	return c.newest
}

func (p *pendingKeys) empty() bool { return p.first == len(p.changes) }

// pending is the number of changes.
func (p *pendingKeys) pending() int { return len(p.changes) - p.first }

func (p *pendingKeys) change(number int) *keyChange { return &p.changes[number-p.number] }

func (p *pendingKeys) home(hash uint64) int { return int(hash>>20) & (len(p.table) - 1) }

// find gives the number of the newest change of a key, or noChange; matches says whether the row at an
// offset has the key.
func (p *pendingKeys) find(hash uint64, matches func(offset int64) bool) int {
	if p.empty() {
		return noChange
	}
	for i := p.home(hash); p.table[i] != freeEntry; i = (i + 1) & (len(p.table) - 1) {
		if at := p.table[i]; at >= 0 {
			if c := &p.changes[at]; c.hash == hash && matches(c.newest) {
				return p.number + int(at)
			}
		}
	}
	return noChange
}

// entry gives the place of a change in the table; it must be the newest one of its key.
func (p *pendingKeys) entry(hash uint64, at int32) int {
	i := p.home(hash)
	for p.table[i] != at {
		i = (i + 1) & (len(p.table) - 1)
	}
	return i
}

// reserve makes room for n changes.
func (p *pendingKeys) reserve(n int) {
	if (p.used+n)*2 <= len(p.table) {
		return
	}
	p.rebuild(n)
}

// rebuild makes the table anew, with room for n more changes.
func (p *pendingKeys) rebuild(n int) {
	size := pendingTableMin
	for size < (p.pending()+n)*3 {
		size *= 2
	}
	if size != len(p.table) {
		p.table = make([]int32, size)
	}
	for i := range p.table {
		p.table[i] = freeEntry
	}
	p.used = 0
	for at := p.first; at < len(p.changes); at++ {
		if c := &p.changes[at]; !c.replaced {
			p.insert(c.hash, int32(at))
		}
	}
}

func (p *pendingKeys) insert(hash uint64, at int32) {
	i := p.home(hash)
	for p.table[i] >= 0 {
		i = (i + 1) & (len(p.table) - 1)
	}
	if p.table[i] == freeEntry {
		p.used++
	}
	p.table[i] = at
}

// add appends a change; room was reserved. c.previous must be what find gave, if that is still
// pending.
func (p *pendingKeys) add(c keyChange) {
	if c.previous != noChange && c.previous < p.number+p.first {
		c.previous = noChange
	}
	at := int32(len(p.changes))
	p.changes = append(p.changes, c)
	if c.previous != noChange {
		previous := int32(c.previous - p.number)
		p.changes[previous].replaced = true
		p.table[p.entry(c.hash, previous)] = at
		return
	}
	p.insert(c.hash, at)
}

// below gives the changes whose rows all lie before end. They stay pending until they are dropped,
// and the slice stays as it is until then.
func (p *pendingKeys) below(end int64) []keyChange {
	n := p.first
	for n < len(p.changes) && p.changes[n].newest < end {
		n++
	}
	return p.changes[p.first:n:n]
}

// drop forgets the n oldest changes: they were published.
func (p *pendingKeys) drop(n int) {
	for range n {
		c := &p.changes[p.first]
		if !c.replaced {
			p.table[p.entry(c.hash, int32(p.first))] = droppedEntry
		}
		p.first++
	}
	p.tidy()
}

// abandon forgets the changes with rows at and behind an offset.
func (p *pendingKeys) abandon(from int64) {
	for len(p.changes) > p.first && p.changes[len(p.changes)-1].newest >= from {
		at := len(p.changes) - 1
		c := p.changes[at]
		p.changes = p.changes[:at]
		i := p.entry(c.hash, int32(at))
		if c.previous != noChange && c.previous >= p.number+p.first {
			p.table[i] = int32(c.previous - p.number)
			p.change(c.previous).replaced = false
		} else {
			p.table[i] = droppedEntry
		}
	}
	p.tidy()
}

// tidy gives back what published changes took.
func (p *pendingKeys) tidy() {
	switch {
	case p.empty():
		p.number += len(p.changes)
		p.changes, p.first, p.used = p.changes[:0], 0, 0
		if len(p.table) > pendingTableMax {
			p.table, p.changes = nil, nil
		}
		for i := range p.table {
			p.table[i] = freeEntry
		}
	case p.first > pendingTableMin && p.first > len(p.changes)/2:
		// The entries of the table count from changes[0]: they are made anew.
		p.changes = append(make([]keyChange, 0, 2*p.pending()), p.changes[p.first:]...)
		p.number, p.first = p.number+p.first, 0
		p.rebuild(0)
	}
}
