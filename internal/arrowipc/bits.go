package arrowipc

import (
	"encoding/binary"
	"math/bits"
)

// Bitmaps are as Arrow has them: bit i is bit i%8 of byte i/8. Those that grow keep the bits behind
// their end at zero.

// countBits counts the ones among n bits from bit from.
func countBits(bitmap []byte, from, n int64) int64 {
	count := int64(0)
	for n > 0 {
		if from&7 == 0 && n >= 64 {
			words := bitmap[from>>3:]
			for ; n >= 64; n -= 64 {
				count += int64(bits.OnesCount64(binary.LittleEndian.Uint64(words)))
				words = words[8:]
				from += 64
			}
			continue
		}
		k := min(n, 64)
		count += int64(bits.OnesCount64(loadBits(bitmap, from, k)))
		from += k
		n -= k
	}
	return count
}

// loadBits gives n bits, at most 64, from bit from; the bits above them are zero.
func loadBits(bitmap []byte, from, n int64) uint64 {
	first, shift := from>>3, uint(from&7)
	var word uint64
	if int64(len(bitmap)) >= first+9 {
		word = binary.LittleEndian.Uint64(bitmap[first:])>>shift | uint64(bitmap[first+8])<<(64-shift)
	} else {
		for i, last := first, (from+n-1)>>3; i <= last; i++ {
			at := int(i-first)*8 - int(shift)
			if at < 0 {
				word |= uint64(bitmap[i]) >> -at
			} else {
				word |= uint64(bitmap[i]) << at
			}
		}
	}
	return word & (1<<n - 1)
}

func bit(bitmap []byte, at int64) bool { return bitmap[at>>3]>>(at&7)&1 == 1 }

// growBits makes room for n bits behind the have that dst has, all zero.
func growBits(dst []byte, have, n int64) []byte {
	return append(dst, make([]byte, (have+n+7)/8-int64(len(dst)))...)
}

// appendBits appends n bits of src, from bit from, to the have bits of dst.
func appendBits(dst []byte, have int64, src []byte, from, n int64) []byte {
	if n == 0 {
		return dst
	}
	dst = growBits(dst, have, n)
	if have&7 == 0 && from&7 == 0 {
		target := dst[have>>3:]
		copy(target, src[from>>3:(from+n+7)>>3])
		if rest := (have + n) & 7; rest != 0 {
			dst[len(dst)-1] &= 1<<rest - 1
		}
		return dst
	}
	if head := min(n, (8-have&7)&7); head > 0 {
		dst[have>>3] |= byte(loadBits(src, from, head) << (have & 7))
		have, from, n = have+head, from+head, n-head
	}
	for ; n >= 64; n -= 64 {
		binary.LittleEndian.PutUint64(dst[have>>3:], loadBits(src, from, 64))
		have += 64
		from += 64
	}
	if n > 0 {
		word := loadBits(src, from, n)
		for i := have >> 3; i < int64(len(dst)); i++ {
			dst[i] = byte(word)
			word >>= 8
		}
	}
	return dst
}

// appendOnes appends n ones to the have bits of dst.
func appendOnes(dst []byte, have, n int64) []byte {
	dst = growBits(dst, have, n)
	for n > 0 && have&7 != 0 {
		dst[have>>3] |= 1 << (have & 7)
		have++
		n--
	}
	for ; n >= 8; n -= 8 {
		dst[have>>3] = 0xff
		have += 8
	}
	if n > 0 {
		dst[have>>3] = 1<<n - 1
	}
	return dst
}
