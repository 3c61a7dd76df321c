package pkstore

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"
	"unsafe"
)

// RowCache keeps rows that were looked up as images: a row that is looked up again is read from one place, where the log
// has each of its columns at another one. Rows do not change: what is kept is the row at an offset, so that nothing is
// ever taken back. It belongs to all buckets that use it, and any number of goroutines may read and fill it at a time
// through RowReaders.
//
// Rows are written one behind the other in a ring of chunks, and the oldest chunk makes room for new ones:
//
//	row    8 bytes  owner, a bucket and the version of its schema, above 16 bits: how many units of 16 bytes it takes
//	       8 bytes  offset
//	       bytes    image, then 0 to 15 bytes of any content
//
// They are found by a table of sets of 8 entries, a cache line each. An entry is 0, or from the top 26 bits of the row's
// hash, a bit that says that the row has more than 64 bytes, and 37 bits: where it is, in units of 16 bytes from 1. The
// table grows with the rows, set by set (W. Litwin, Linear hashing, 1980), so that memory which is not needed is not
// touched. An entry that gives way to another one, or that somebody does not see as its set is being split, only costs a
// miss.
//
// No reader ever waits, and none reads what is being overwritten: the entries of a chunk are removed one turn before it
// is written to again, and that waits for all who began to read before they were removed (the epochs of K. Fraser,
// Practical lock-freedom, 2004, of which the two last ones are told apart).
type RowCache struct {
	memory []byte
	rows   []byte
	sets   []rowSet
	inUse  atomic.Uint64 // of sets

	// epoch is raised when the entries of a chunk have been removed; readers counts who reads, by its lowest bit.
	epoch   atomic.Uint64
	readers [2]readerCount
	owners  atomic.Uint64

	filling sync.Mutex
	ring    rowRing // guarded by filling
	live    uint64  // entries that are not 0; guarded by filling

	hits, misses atomic.Int64
	// full says that rows had to make room.
	full atomic.Bool
}

// rowRing is where rows are written.
type rowRing struct {
	chunk int // bytes of one
	// next is where the next row goes, end where its chunk ends, in bytes.
	next, end int
	// counts are the rows of each chunk, taken how many chunks were ever written to.
	counts []int
	taken  int
}

// readerCount has a cache line of its own.
type readerCount struct {
	atomic.Int64
	_ [56]byte
}

type rowSet [rowSetEntries]uint64

const (
	rowSetEntries = 8
	// rowSetLoad is how many rows a set has on average before another set is split: few have more than 8 then.
	rowSetLoad = 3
	// rowSetsMin is how many sets there are at first.
	rowSetsShift = 9
	rowSetsMin   = 1 << rowSetsShift

	// The lowest bits of a hash say which set a row is in. An entry has those from rowSetsShift on: the lowest of them
	// say how its set is split, the others tell rows apart.
	tagShift  = 38
	longRow   = 1 << 37
	placeMask = longRow - 1

	rowHeadBytes = 16
	rowUnit      = 16
	rowUnitBits  = 16
	longRowBytes = 64

	rowChunkBytes = 1 << 20
	// rowChunksMin is how many chunks there are at least: one is written to, and one has no entries.
	rowChunksMin = 16

	pageBytes = 4 << 10

	// RowCacheBytesMin is the least memory of a RowCache.
	RowCacheBytesMin = 1 << 20
)

// NewRowCache makes a cache of memory, at least RowCacheBytesMin of zeros that nobody else uses, and whose first byte is
// at the beginning of a page. A seventh of it is for the table.
func NewRowCache(memory []byte) (*RowCache, error) {
	if len(memory) < RowCacheBytesMin {
		return nil, fmt.Errorf("a cache of rows has %d bytes, want %d or more", len(memory), RowCacheBytesMin)
	}
	c := &RowCache{memory: memory}
	table := len(memory) / 7 &^ (pageBytes - 1)
	c.sets = unsafe.Slice((*rowSet)(unsafe.Pointer(unsafe.SliceData(memory))), table/int(unsafe.Sizeof(rowSet{})))
	c.inUse.Store(rowSetsMin)
	rest, chunk := len(memory)-table, rowChunkBytes
	for rest < rowChunksMin*chunk {
		chunk /= 2
	}
	c.rows = memory[table : table+rest/chunk*chunk]
	c.ring = rowRing{chunk: chunk, counts: make([]int, rest/chunk)}
	return c, nil
}

// newOwner gives a number for the rows of a bucket in a version of its schema.
func (c *RowCache) newOwner() uint64 { return c.owners.Add(1) }

// enter begins to read: rows that are found until leave stay as they are.
func (c *RowCache) enter() (epoch uint64) {
	for {
		epoch = c.epoch.Load()
		c.readers[epoch&1].Add(1)
		if c.epoch.Load() == epoch {
			return epoch
		}
		c.readers[epoch&1].Add(-1)
	}
}

func (c *RowCache) leave(epoch uint64) { c.readers[epoch&1].Add(-1) }

// set gives the set of a row, and the part of its hash that entries have.
func (c *RowCache) set(owner uint64, offset int64) (set *rowSet, tag uint64) {
	high, low := bits.Mul64(uint64(offset)^owner<<48^owner>>16^0x9e3779b97f4a7c15, 0xd6e8feb86659fd93)
	hash, inUse := high^low, c.inUse.Load()
	// As many as the next power of two, of which the last ones are not in use yet: what would be in one of them is in the
	// set that it will be split from.
	all := uint64(1) << bits.Len64(inUse-1)
	at := hash & (all - 1)
	if at >= inUse {
		at -= all / 2
	}
	return &c.sets[at], hash << (tagShift - rowSetsShift) >> tagShift
}

// touch loads the set of a row, as index.touch does.
func (c *RowCache) touch(owner uint64, offset int64) uint64 {
	set, _ := c.set(owner, offset)
	return atomic.LoadUint64(&set[0])
}

// find gives the entry of what may be a row, 0 if there is none. Between enter and leave.
func (c *RowCache) find(owner uint64, offset int64) (entry uint64) {
	set, tag := c.set(owner, offset)
	for i := range set {
		if entry := atomic.LoadUint64(&set[i]); entry>>tagShift == tag && entry != 0 {
			return entry
		}
	}
	return 0
}

// at is where the row of an entry begins.
func (c *RowCache) at(entry uint64) uint64 { return (entry&placeMask - 1) * rowUnit }

// touchRow loads the first two cache lines of what find gave.
func (c *RowCache) touchRow(entry uint64) uint64 {
	at := c.at(entry)
	touched := uint64(c.rows[at])
	if entry&longRow != 0 {
		touched += uint64(c.rows[at+longRowBytes])
	}
	return touched
}

// image gives the image of a row whose entry find gave; nil if another one is there, which is rare.
func (c *RowCache) image(entry, owner uint64, offset int64) *byte {
	p := unsafe.Pointer(&c.rows[c.at(entry)])
	if *(*uint64)(p)>>rowUnitBits != owner || *(*int64)(unsafe.Add(p, 8)) != offset {
		return nil
	}
	return (*byte)(unsafe.Add(p, rowHeadBytes))
}

// freshRow is a row that is not in the cache.
type freshRow struct {
	owner  uint64
	offset int64
	end    int // of its image
}

// add keeps rows, whose images follow each other in images up to their ends. What finds no room, or somebody else
// filling the cache, is not kept. Not between enter and leave.
func (c *RowCache) add(rows []freshRow, images []byte) {
	if len(rows) == 0 || !c.filling.TryLock() {
		return
	}
	defer c.filling.Unlock()
	from := 0
	for _, row := range rows {
		if !c.put(row.owner, row.offset, images[from:row.end]) {
			return
		}
		from = row.end
	}
}

// put keeps a row; false if there is no room now. filling is held.
func (c *RowCache) put(owner uint64, offset int64, image []byte) bool {
	if entry := c.find(owner, offset); entry != 0 && c.image(entry, owner, offset) != nil {
		return true // somebody else was faster
	}
	units := (rowHeadBytes + len(image) + rowUnit - 1) / rowUnit
	need := units * rowUnit
	if need > c.ring.chunk {
		return true
	}
	if c.ring.next+need > c.ring.end && !c.advance() {
		return false
	}
	at := c.ring.next
	c.ring.next += need
	c.ring.counts[at/c.ring.chunk]++
	row := c.rows[at : at+need]
	binary.NativeEndian.PutUint64(row, owner<<rowUnitBits|uint64(units))
	binary.NativeEndian.PutUint64(row[8:], uint64(offset))
	copy(row[rowHeadBytes:], image)
	if c.live >= rowSetLoad*c.inUse.Load() && c.inUse.Load() < uint64(len(c.sets)) {
		c.split()
	}
	set, tag := c.set(owner, offset)
	entry := tag<<tagShift | uint64(at/rowUnit+1)
	if need > longRowBytes {
		entry |= longRow
	}
	victim := &set[c.live%rowSetEntries]
	for i := range set {
		if set[i] == 0 {
			victim = &set[i]
			c.live++
			break
		}
	}
	atomic.StoreUint64(victim, entry)
	return true
}

// split takes one set more into use. filling is held.
func (c *RowCache) split() {
	inUse := c.inUse.Load()
	shift := bits.Len64(inUse) - 1
	from, to := &c.sets[inUse-1<<shift], &c.sets[inUse]
	n := 0
	for i := range from {
		if entry := from[i]; entry>>(tagShift+shift-rowSetsShift)&1 == 1 {
			to[n] = entry
			n++
			atomic.StoreUint64(&from[i], 0)
		}
	}
	c.inUse.Store(inUse + 1)
}

// advance takes the next chunk, and removes the entries of the one behind it; false while somebody may still read the
// next one, whose entries were removed the last time. filling is held.
func (c *RowCache) advance() bool {
	epoch, r := c.epoch.Load(), &c.ring
	if c.readers[(epoch+1)&1].Load() > 0 {
		return false
	}
	chunk := r.taken % len(r.counts)
	r.taken++
	r.next, r.end, r.counts[chunk] = chunk*r.chunk, (chunk+1)*r.chunk, 0
	c.remove(r.taken % len(r.counts))
	c.epoch.Store(epoch + 1)
	return true
}

// remove removes the entries of a chunk. filling is held.
func (c *RowCache) remove(chunk int) {
	at := chunk * c.ring.chunk
	for range c.ring.counts[chunk] {
		head := binary.NativeEndian.Uint64(c.rows[at:])
		set, tag := c.set(head>>rowUnitBits, int64(binary.NativeEndian.Uint64(c.rows[at+8:])))
		for i := range set {
			if set[i]>>tagShift == tag && set[i]&placeMask == uint64(at/rowUnit+1) {
				atomic.StoreUint64(&set[i], 0)
				c.live--
			}
		}
		at += int(head&(1<<rowUnitBits-1)) * rowUnit
		c.full.Store(true)
	}
}

// RowCacheStats are figures of a RowCache.
type RowCacheStats struct {
	// Bytes is what the cache may take, UsedBytes how much of it has been written to.
	Bytes, UsedBytes int64
	// Hits counts the rows that were found in it, Misses those that were in the log alone, since it was made.
	Hits, Misses int64
}

// Stats gives the figures as they are now; those of no cache are 0.
func (c *RowCache) Stats() RowCacheStats {
	if c == nil {
		return RowCacheStats{}
	}
	c.filling.Lock()
	defer c.filling.Unlock()
	s := RowCacheStats{Bytes: int64(len(c.memory)), Hits: c.hits.Load(), Misses: c.misses.Load()}
	if chunks := min(c.ring.taken, len(c.ring.counts)); chunks > 0 {
		s.UsedBytes = int64(chunks*c.ring.chunk) + int64(c.inUse.Load())*int64(unsafe.Sizeof(rowSet{}))
	}
	return s
}
