package pkstore

// dropBelow removes the keys whose rows are below an offset from n shards, beginning with that of the hash from;
// start is the first offset that any slot may mean. It gives the hash to go on from, and false at the end. For
// the writer.
func (x *index) dropBelow(from uint64, before, start int64, n int) (next uint64, more bool) {
	for range n {
		s := x.at(from)
		left := 0
		for _, slot := range s.slots {
			if slot&occupied != 0 && slotOffset(slot, start) >= before {
				left++
			}
		}
		if dropped := s.keys - left; dropped > 0 {
			fresh := newShard(s.depth, x.epoch, left)
			for _, slot := range s.slots {
				if slot&occupied != 0 && slotOffset(slot, start) >= before {
					fresh.fill(slot)
				}
			}
			x.replaceShard(from, s, fresh)
			x.keys.Add(-int64(dropped))
		}
		if s.depth == 0 {
			return 0, false
		}
		size := uint64(1) << (64 - s.depth)
		if from = from&^(size-1) + size; from == 0 {
			return 0, false
		}
	}
	return from, true
}
