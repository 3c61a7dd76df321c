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
// Rows are written one behind the other in a ring of chunks, and the oldest chunk makes room for new ones. Positions
// count from when the cache was made, in words of 8 bytes, and never go back:
//
//	row    uint64   owner: a bucket and the version of its schema
//	       int64    offset
//	       bytes    image, then 0 to 7 bytes of any content
//
// Rows are found by a table of sets of 8 entries, a cache line each: uint64s, from the top 12 bits of the hash, a bit
// that says that the row has more than 64 bytes, and 51 bits of the position; 0 is an empty one. An entry that is
// replaced only costs a miss.
//
// No reader ever waits, and none reads what is being overwritten: a chunk is given up one turn before it is written
// to again, which happens only once all who began to read before it was given up have ended (the epochs of K. Fraser,
// Practical lock-freedom, 2004, with the two last ones told apart).
type RowCache struct {
	memory []byte
	rows   []byte
	sets   []rowSet
	chunk  uint64 // bytes

	// oldest is the position from which on rows may be read, in bytes. It is raised before epoch, whose readers
	// are counted by its lowest bit.
	oldest  atomic.Uint64
	epoch   atomic.Uint64
	readers [2]readerCount
	owners  atomic.Uint64

	filling sync.Mutex
	// next is where the next row goes, end where its chunk ends, in bytes. Guarded by filling.
	next, end uint64

	hits, misses atomic.Int64
	full         atomic.Bool
}

// readerCount has a cache line of its own.
type readerCount struct {
	atomic.Int64
	_ [56]byte
}

const (
	rowSetEntries = 8
	rowHeadBytes  = 16
	tagShift      = 52
	longRow       = 1 << 51
	longRowBytes  = 64
	positionMask  = longRow - 1

	rowChunkBytes = 1 << 20
	// rowChunksMin is how many chunks there are at least: one is written to, one given up.
	rowChunksMin = 16

	// RowCacheBytesMin is the least memory of a RowCache.
	RowCacheBytesMin = 1 << 20
)

type rowSet [rowSetEntries]uint64

// NewRowCache makes a cache of memory, at least RowCacheBytesMin of zeros that nobody else uses, and whose first byte is
// at the beginning of a page. An eighth of it or less is the table.
func NewRowCache(memory []byte) (*RowCache, error) {
	if len(memory) < RowCacheBytesMin {
		return nil, fmt.Errorf("a cache of rows has %d bytes, want %d or more", len(memory), RowCacheBytesMin)
	}
	c := &RowCache{memory: memory, chunk: rowChunkBytes}
	table := 1 << (bits.Len(uint(len(memory)/8)) - 1)
	c.sets = unsafe.Slice((*rowSet)(unsafe.Pointer(unsafe.SliceData(memory))), table/int(unsafe.Sizeof(rowSet{})))
	rest := uint64(len(memory) - table)
	for rest < rowChunksMin*c.chunk {
		c.chunk /= 2
	}
	c.rows = memory[table : table+int(rest/c.chunk*c.chunk)]
	size := uint64(len(c.rows))
	c.next, c.end = size, size // position 0 is nothing
	c.oldest.Store(size)
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

// place gives the set of a row, and the part of its hash that entries have.
func (c *RowCache) place(owner uint64, offset int64) (set *rowSet, tag uint64) {
	high, low := bits.Mul64(uint64(offset)^owner<<48^owner>>16^0x9e3779b97f4a7c15, 0xd6e8feb86659fd93)
	hash := high ^ low
	return &c.sets[hash&uint64(len(c.sets)-1)], hash >> tagShift
}

// touch loads the set of a row, as index.touch does.
func (c *RowCache) touch(owner uint64, offset int64) uint64 {
	set, _ := c.place(owner, offset)
	return atomic.LoadUint64(&set[0])
}

// touchRow loads the first two cache lines of what find gave.
func (c *RowCache) touchRow(entry uint64) uint64 {
	at := c.at(entry)
	touched := uint64(c.rows[at])
	if entry&longRow != 0 {
		touched += uint64(c.rows[at+longRowBytes])
	}
	return touched
}

// at is where the row of an entry begins.
func (c *RowCache) at(entry uint64) uint64 { return entry & positionMask * 8 % uint64(len(c.rows)) }

// find gives the entry of what may be a row, 0 if there is nothing. Between enter and leave.
func (c *RowCache) find(owner uint64, offset int64) (entry uint64) {
	set, tag := c.place(owner, offset)
	for i := range set {
		if entry := atomic.LoadUint64(&set[i]); entry>>tagShift == tag && entry&positionMask*8 >= c.oldest.Load() {
			return entry
		}
	}
	return 0
}

// image gives the image of a row whose entry find gave; nil if another one is there, which is rare.
func (c *RowCache) image(entry, owner uint64, offset int64) *byte {
	p := unsafe.Pointer(&c.rows[c.at(entry)])
	if *(*uint64)(p) != owner || *(*int64)(unsafe.Add(p, 8)) != offset {
		return nil
	}
	return (*byte)(unsafe.Add(p, rowHeadBytes))
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

// freshRow is a row that is not in the cache.
type freshRow struct {
	owner  uint64
	offset int64
	end    int // of its image
}

// put keeps a row; false if there is no room now. filling is held.
func (c *RowCache) put(owner uint64, offset int64, image []byte) bool {
	if entry := c.find(owner, offset); entry > 0 && c.image(entry, owner, offset) != nil {
		return true // somebody else was faster
	}
	need := uint64(rowHeadBytes+len(image)+7) &^ 7
	if c.next+need > c.end && (need > c.chunk || !c.advance()) {
		return need > c.chunk
	}
	at := c.next % uint64(len(c.rows))
	row := c.rows[at : at+need]
	binary.NativeEndian.PutUint64(row, owner)
	binary.NativeEndian.PutUint64(row[8:], uint64(offset))
	copy(row[rowHeadBytes:], image)
	set, tag := c.place(owner, offset)
	entry := tag<<tagShift | c.next/8
	if need > longRowBytes {
		entry |= longRow
	}
	atomic.StoreUint64(&set[c.victim(set)], entry)
	c.next += need
	return true
}

// victim gives the entry of a set that is empty, or that of the oldest row.
func (c *RowCache) victim(set *rowSet) (oldest int) {
	for i := range set {
		if set[i]&positionMask < set[oldest]&positionMask {
			oldest = i
		}
	}
	return oldest
}

// advance takes the next chunk, which was given up the last time, and gives up the one behind it; false while somebody
// may still read the next one. filling is held.
func (c *RowCache) advance() bool {
	epoch := c.epoch.Load()
	if c.readers[(epoch+1)&1].Load() > 0 {
		return false
	}
	c.next = c.end
	c.end += c.chunk
	if size := uint64(len(c.rows)); c.end+c.chunk > 2*size {
		c.oldest.Store(c.end + c.chunk - size)
		c.full.Store(true)
	}
	c.epoch.Store(epoch + 1)
	return true
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
	used := min(c.end-uint64(len(c.rows)), uint64(len(c.rows))) + uint64(len(c.memory)-len(c.rows))
	if c.end == uint64(len(c.rows)) {
		used = 0
	}
	return RowCacheStats{Bytes: int64(len(c.memory)), UsedBytes: int64(used), Hits: c.hits.Load(), Misses: c.misses.Load()}
}
