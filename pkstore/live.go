package pkstore

import (
	"math/bits"
	"slices"
	"sync/atomic"
)

const (
	chunkShift = 15
	chunkRows  = 1 << chunkShift // 4 KiB of bits
	chunkWords = chunkRows / 64
)

// liveRows is a bitmap of the offsets that are the newest rows of their keys, in chunks. A frozen
// state shares the chunks: they are copied before they change for the first time. A chunk without live
// rows takes no memory of its own, and none at all before the first live row.
type liveRows struct {
	first  int64 // number of chunks[0]: its first offset by chunkRows
	chunks []liveChunk
	epoch  uint64 // chunks of an earlier one are part of a frozen state
	shared bool   // chunks itself is part of one
	count  int64
	words  int64 // chunks that have bits, for the memory they take
	mirror *liveMirror
}

type liveChunk struct {
	bits  *[chunkWords]uint64 // nil: none is set
	epoch uint64
	count int32
}

// frozenRows is a state of liveRows that does not change.
type frozenRows struct {
	first  int64
	chunks []liveChunk
	count  int64
}

// freeze gives the state as it is now.
func (l *liveRows) freeze() frozenRows {
	l.epoch++
	l.shared = true
	return frozenRows{l.first, l.chunks, l.count}
}

// bytes is the memory that the bitmap takes.
func (l *liveRows) bytes() int64 { return l.words*chunkWords*8 + int64(len(l.chunks))*24 }

// writable gives the chunk of an offset with bits that may be changed.
func (l *liveRows) writable(offset int64) *liveChunk {
	number := offset >> chunkShift
	switch {
	case len(l.chunks) == 0:
		l.first = number
	case number < l.first:
		l.chunks = append(make([]liveChunk, l.first-number), l.chunks...)
		l.first, l.shared, l.mirror = number, false, nil
	}
	if l.shared {
		l.chunks, l.shared = slices.Clone(l.chunks), false
	}
	i := int(number - l.first)
	for i >= len(l.chunks) {
		l.chunks = append(l.chunks, liveChunk{})
	}
	c := &l.chunks[i]
	switch {
	case c.bits == nil:
		c.bits = new([chunkWords]uint64)
		l.words++
	case c.epoch != l.epoch:
		fresh := *c.bits
		c.bits = &fresh
	}
	c.epoch = l.epoch
	l.mirror.put(number, c.bits)
	return c
}

// next is the number behind the last chunk.
func (l *liveRows) next() int64 { return l.first + int64(len(l.chunks)) }

// place puts a chunk with bits behind all others. The caller counts its rows.
func (l *liveRows) place(number int64, c liveChunk) {
	if len(l.chunks) == 0 {
		l.first = number
	}
	for l.next() < number {
		l.chunks = append(l.chunks, liveChunk{})
	}
	l.chunks = append(l.chunks, c)
	l.words++
}

// placeCounted is place of a chunk that may have no rows; it counts them.
func (l *liveRows) placeCounted(number int64, words *[chunkWords]uint64) {
	n := 0
	for _, word := range words {
		n += bits.OnesCount64(word)
	}
	if n > 0 {
		l.place(number, liveChunk{bits: words, count: int32(n)})
		l.count += int64(n)
	}
}

func (l *liveRows) set(offset int64) {
	c := l.writable(offset)
	word, bit := &c.bits[offset%chunkRows/64], uint64(1)<<(offset%64)
	if *word&bit == 0 {
		atomic.StoreUint64(word, *word|bit)
		c.count++
		l.count++
	}
}

func (l *liveRows) clear(offset int64) {
	if !l.frozen().has(offset) {
		return
	}
	c := l.writable(offset)
	word := &c.bits[offset%chunkRows/64]
	atomic.StoreUint64(word, *word&^(1<<(offset%64)))
	c.count--
	l.count--
	if c.count == 0 {
		c.bits = nil
		l.words--
		l.mirror.put(offset>>chunkShift, nil)
	}
	for len(l.chunks) > 0 && l.chunks[0].bits == nil {
		l.chunks = l.chunks[1:]
		l.first++
	}
}

// frozen gives the state for reading at once, before the next change.
func (l *liveRows) frozen() frozenRows { return frozenRows{l.first, l.chunks, l.count} }

func (f frozenRows) has(offset int64) bool {
	i := int(offset>>chunkShift - f.first)
	return i >= 0 && i < len(f.chunks) && f.chunks[i].bits != nil &&
		f.chunks[i].bits[offset%chunkRows/64]>>(offset%64)&1 == 1
}

// each calls do with every word of bits that has some in [from, to), and the offset of its first bit.
// Bits outside the range are zero.
func (f frozenRows) each(from, to int64, do func(base int64, word uint64)) {
	from = max(from, f.first<<chunkShift)
	for base := from &^ 63; base < to; {
		i := int(base>>chunkShift - f.first)
		if i >= len(f.chunks) {
			return
		}
		if f.chunks[i].bits == nil {
			base = (base>>chunkShift + 1) << chunkShift
			continue
		}
		word := f.chunks[i].bits[base%chunkRows/64]
		if base < from {
			word &= ^uint64(0) << (from - base)
		}
		if to-base < 64 {
			word &= 1<<(to-base) - 1
		}
		if word != 0 {
			do(base, word)
		}
		base += 64
	}
}

// countRange counts the live offsets in [from, to).
func (f frozenRows) countRange(from, to int64) int64 {
	n := int64(0)
	from = max(from, f.first<<chunkShift)
	for from < to {
		end := min(to, (from>>chunkShift+1)<<chunkShift)
		i := int(from>>chunkShift - f.first)
		switch {
		case i >= len(f.chunks):
			return n
		case end-from == chunkRows:
			n += int64(f.chunks[i].count)
		default:
			f.each(from, end, func(_ int64, word uint64) { n += int64(bits.OnesCount64(word)) })
		}
		from = end
	}
	return n
}

// appendRows appends the live offsets in [from, to) as rows counted from from.
func (f frozenRows) appendRows(rows []int32, from, to int64) []int32 {
	f.each(from, to, func(base int64, word uint64) {
		for ; word != 0; word &= word - 1 {
			rows = append(rows, int32(base+int64(bits.TrailingZeros64(word))-from))
		}
	})
	return rows
}
