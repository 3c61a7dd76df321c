package pkstore

import (
	"sync/atomic"
)

// index maps the hash of a key to the offset of its newest row. Equal windows of hashes are told
// apart by who asks, who reads the keys in the log.
//
// It is extendible hashing: the first bits of a hash choose an entry of a directory, which points to
// a shard; a shard that becomes full is replaced by a larger one, or by two of which each has the
// keys with one value of the next bit. One goroutine writes. Others read without a lock: a shard that
// they hold after it was replaced has everything that was in the index by then.
type index struct {
	directory atomic.Pointer[shardDirectory]
	keys      atomic.Int64
	size      atomic.Int64 // bytes
	epoch     uint64       // shards of an earlier one are part of a frozen state: copied before they change
}

// shardDirectory has 1<<depth entries. A shard of a lower depth stands in several that are
// neighbours.
type shardDirectory struct {
	depth  uint8
	shards []atomic.Pointer[shard]
}

const directoryEntryBytes = 8

// reset makes the index empty.
func (x *index) reset() {
	x.keys.Store(0)
	x.size.Store(0)
	x.directory.Store(nil)
	x.setDirectory(newShardDirectory(0))
	x.place(0, newShard(0, x.epoch, 0))
}

func newShardDirectory(depth uint8) *shardDirectory {
	return &shardDirectory{depth: depth, shards: make([]atomic.Pointer[shard], 1<<depth)}
}

func (x *index) setDirectory(d *shardDirectory) {
	if old := x.directory.Load(); old != nil {
		x.size.Add(-directoryEntryBytes * int64(len(old.shards)))
	}
	x.size.Add(directoryEntryBytes * int64(len(d.shards)))
	x.directory.Store(d)
}

// at gives the shard of a hash.
func (x *index) at(hash uint64) *shard {
	d := x.directory.Load()
	return d.shards[hash>>(64-d.depth)].Load()
}

// first gives the first slot that may be that of a key with this hash, or 0 if there is none.
func (x *index) first(hash uint64) uint64 { return x.at(hash).first(slotTag(hash)) }

// touch loads the slot where the search for a hash begins. Many touches wait for memory at the same time, where searches
// wait one after the other: what they do next depends on what they find.
func (x *index) touch(hash uint64) uint64 {
	s := x.at(hash)
	return atomic.LoadUint64(&s.slots[s.home(slotTag(hash))])
}

// find gives the slot with the tag of a hash that matches accepts, or 0.
func (x *index) find(hash uint64, matches func(slot uint64) bool) uint64 {
	return x.at(hash).find(slotTag(hash), matches)
}

// update moves a key from the row at offset before to the row at after; below 0 stands for no row.
// It gives false where before is not what the index has. For the writer.
func (x *index) update(hash uint64, before, after int64) bool {
	s := x.writable(hash)
	if before < 0 {
		if after >= 0 {
			x.insert(s, slotOf(hash, after))
		}
		return true
	}
	position := s.position(slotOf(hash, before))
	switch {
	case position < 0:
		return false
	case after >= 0:
		atomic.StoreUint64(&s.slots[position], slotOf(hash, after))
	default:
		s.remove(position)
		x.keys.Add(-1)
		if s.sparse() {
			x.rebuild(hash, s)
		}
	}
	return true
}

func (x *index) insert(s *shard, slot uint64) {
	hash := slot >> offsetBits << windowLow // its top bits, which is all that is looked at
	if s.full() {
		x.rebuild(hash, s)
		s = x.at(hash)
	}
	s.insert(slot)
	x.keys.Add(1)
}

// writable gives the shard of a hash as one that is not part of a frozen state.
func (x *index) writable(hash uint64) *shard {
	s := x.at(hash)
	if s.epoch == x.epoch {
		return s
	}
	fresh := *s
	fresh.epoch = x.epoch
	fresh.slots = append(make([]uint64, 0, len(s.slots)), s.slots...)
	x.replaceShard(hash, s, &fresh)
	return &fresh
}

// rebuild replaces a shard by one without tombstones that has room, or by two.
func (x *index) rebuild(hash uint64, s *shard) {
	splits := slotsFor(s.keys) > shardSlotsMax && s.depth < depthMax && x.keys.Load()>>(s.depth+1) >= splitKeys
	if !splits {
		fresh := newShard(s.depth, x.epoch, s.keys)
		for _, slot := range s.slots {
			if slot&occupied != 0 {
				fresh.fill(slot)
			}
		}
		x.replaceShard(hash, s, fresh)
		return
	}
	// The bit of a slot that tells the halves apart: the top bit is taken by occupied.
	bit := uint64(1) << (62 - s.depth)
	high := 0
	for _, slot := range s.slots {
		if slot&occupied != 0 && slot&bit != 0 {
			high++
		}
	}
	halves := [2]*shard{newShard(s.depth+1, x.epoch, s.keys-high), newShard(s.depth+1, x.epoch, high)}
	for _, slot := range s.slots {
		switch {
		case slot&occupied == 0:
		case slot&bit != 0:
			halves[1].fill(slot)
		default:
			halves[0].fill(slot)
		}
	}
	x.splitShard(hash, s, halves)
}

// entries gives the range of directory entries that the shard of a hash stands in.
func (d *shardDirectory) entries(hash uint64, depth uint8) (from, to int) {
	from = int(hash >> (64 - depth) << (d.depth - depth))
	return from, from + 1<<(d.depth-depth)
}

func (x *index) replaceShard(hash uint64, old, fresh *shard) {
	d := x.directory.Load()
	from, to := d.entries(hash, old.depth)
	for i := from; i < to; i++ {
		d.shards[i].Store(fresh)
	}
	x.size.Add(fresh.bytes() - old.bytes())
}

// place sets one entry of a new directory.
func (x *index) place(entry int, fresh *shard) {
	x.directory.Load().shards[entry].Store(fresh)
	x.size.Add(fresh.bytes())
}

func (x *index) splitShard(hash uint64, old *shard, halves [2]*shard) {
	d := x.directory.Load()
	if old.depth == d.depth {
		larger := newShardDirectory(d.depth + 1)
		for i := range d.shards {
			s := d.shards[i].Load()
			larger.shards[2*i].Store(s)
			larger.shards[2*i+1].Store(s)
		}
		x.setDirectory(larger)
		d = larger
	}
	from, to := d.entries(hash, old.depth)
	middle := (from + to) / 2
	for i := from; i < to; i++ {
		if i < middle {
			d.shards[i].Store(halves[0])
		} else {
			d.shards[i].Store(halves[1])
		}
	}
	x.size.Add(halves[0].bytes() + halves[1].bytes() - old.bytes())
}

// freeze gives the shards as they are now, in order of the hashes; they will not change any more.
// For the writer.
func (x *index) freeze() []*shard {
	x.epoch++
	d := x.directory.Load()
	var shards []*shard
	for i := 0; i < len(d.shards); {
		s := d.shards[i].Load()
		shards = append(shards, s)
		i += 1 << (d.depth - s.depth)
	}
	return shards
}
