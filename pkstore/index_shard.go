package pkstore

import (
	"sync/atomic"
)

const (
	shardSlots     = 4096 // of a shard that is one of many
	shardSlotsStep = 1024
	shardSlotsMax  = 7168 // beyond it a shard splits
	shardSlotsMin  = 64   // of the only shard of a small index

	// A shard is rebuilt when 4/5 of its slots are not empty, and then filled to 18/25 at most: with
	// the steps above a key takes 10 to 13 bytes on average.
	fullNumerator, fullDenominator = 4, 5
	fillNumerator, fillDenominator = 18, 25

	// splitKeys is how many keys a shard of a depth must have on average for a shard to split to it.
	// Where there are fewer, hashes are not spread evenly and splitting would not help.
	splitKeys = 256
	// depthMax bounds the directory to 8 MiB; beyond some 5 billion keys shards become larger instead.
	depthMax = 20
)

// shard is an open-addressed table with linear probing. The slots are written by one goroutine and
// read by any with atomic operations; the other fields of a published shard belong to the writer,
// except depth, which does not change.
type shard struct {
	slots []uint64
	depth uint8  // bits of the hash that all keys of the shard share
	epoch uint64 // of the index when the shard was made
	keys  int
	used  int // slots that are not empty
}

// home is where the search for a hash window begins.
func (s *shard) home(tag uint64) int {
	rest := tag << s.depth & windowMask
	return int(rest * uint64(len(s.slots)) >> windowBits)
}

// first gives the first slot with a tag, or 0.
func (s *shard) first(tag uint64) uint64 {
	slots := s.slots
	i := s.home(tag)
	for range slots {
		slot := atomic.LoadUint64(&slots[i])
		if slot>>offsetBits == tag || slot == 0 {
			return slot
		}
		if i++; i == len(slots) {
			i = 0
		}
	}
	return 0
}

// find gives the first slot with a tag that matches accepts, or 0.
func (s *shard) find(tag uint64, matches func(slot uint64) bool) uint64 {
	slots := s.slots
	i := s.home(tag)
	for range slots {
		slot := atomic.LoadUint64(&slots[i])
		if slot == 0 {
			return 0
		}
		if slot>>offsetBits == tag && matches(slot) {
			return slot
		}
		if i++; i == len(slots) {
			i = 0
		}
	}
	return 0
}

// position gives where a slot of exactly this value is, or -1.
func (s *shard) position(slot uint64) int {
	slots := s.slots
	i := s.home(slot >> offsetBits)
	for range slots {
		switch slots[i] {
		case slot:
			return i
		case 0:
			return -1
		}
		if i++; i == len(slots) {
			i = 0
		}
	}
	return -1
}

// insert puts a slot where there is room, which the caller has seen to.
func (s *shard) insert(slot uint64) {
	slots := s.slots
	i := s.home(slot >> offsetBits)
	for slots[i]&occupied != 0 {
		if i++; i == len(slots) {
			i = 0
		}
	}
	if slots[i] == 0 {
		s.used++
	}
	s.keys++
	atomic.StoreUint64(&slots[i], slot)
}

// fill is insert for a shard that nobody else sees yet.
func (s *shard) fill(slot uint64) {
	slots := s.slots
	i := s.home(slot >> offsetBits)
	for slots[i] != 0 {
		if i++; i == len(slots) {
			i = 0
		}
	}
	slots[i] = slot
	s.keys++
	s.used++
}

// remove empties a position. A search for another key that comes by must go on, unless the next
// slot would end it anyway.
func (s *shard) remove(position int) {
	s.keys--
	n := len(s.slots)
	if s.slots[(position+1)%n] != 0 {
		atomic.StoreUint64(&s.slots[position], tombstone)
		return
	}
	for ; ; position = (position + n - 1) % n {
		s.used--
		atomic.StoreUint64(&s.slots[position], 0)
		if s.slots[(position+n-1)%n] != tombstone {
			return
		}
	}
}

// full says that the shard must be rebuilt before another key is inserted.
func (s *shard) full() bool { return (s.used+1)*fullDenominator > len(s.slots)*fullNumerator }

// sparse says that the shard may be rebuilt with fewer slots.
func (s *shard) sparse() bool { return len(s.slots) > shardSlotsMin && s.keys*8 < len(s.slots) }

// slotsFor is how many slots a shard with that many keys is made with.
func slotsFor(keys int) int {
	want := (keys + 1) * fillDenominator / fillNumerator
	if want > shardSlots {
		return (want + shardSlotsStep - 1) / shardSlotsStep * shardSlotsStep
	}
	n := shardSlotsMin
	for n < want {
		n *= 2
	}
	return n
}

func newShard(depth uint8, epoch uint64, keys int) *shard {
	return &shard{slots: make([]uint64, slotsFor(keys)), depth: depth, epoch: epoch}
}

// bytes is the memory that the shard takes.
func (s *shard) bytes() int64 { return int64(len(s.slots))*8 + 64 }
