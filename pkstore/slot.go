package pkstore

// A slot of the index is 8 bytes: from the top, 1 bit that says that a key is there, the window of
// the key's hash (its top 27 bits), and the low 36 bits of the offset of the key's newest row. The
// window chooses the shard by its first bits and the slot in it by those that follow, so that a
// shard splits without its keys.
const (
	offsetBits = 36
	windowBits = 27
	offsetMask = 1<<offsetBits - 1
	windowMask = 1<<windowBits - 1
	windowLow  = 64 - windowBits // the window's place in a hash

	occupied = 1 << 63
	// tombstone is a slot whose key was deleted: a search goes on behind it.
	tombstone = 1
	// windowRows is how many rows the offsets of one index may span.
	windowRows = 1 << offsetBits
)

// slotTag is what slots of keys with this hash have above their offset.
func slotTag(hash uint64) uint64 { return occupied>>offsetBits | hash>>windowLow }

func slotOf(hash uint64, offset int64) uint64 {
	return slotTag(hash)<<offsetBits | uint64(offset)&offsetMask
}

// slotOffset gives the offset in a slot; start is that of the first row that any slot may mean.
func slotOffset(slot uint64, start int64) int64 {
	return start + int64((slot-uint64(start))&offsetMask)
}
