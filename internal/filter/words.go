package filter

import (
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/headrace/headrace/internal/arrowipc"
)

// word are values of fixed width as they lie in a buffer: integers, decimals up to 64 bits and times,
// signed or not.
type word interface {
	~uint8 | ~uint16 | ~uint32 | ~uint64
}

// order maps words to numbers in the order of their values: it turns the sign of signed ones around.
// Keys are compared with keys, and the words of a range are those that lie at most its width above its
// beginning, whatever the sign.
type order struct{ signed bool }

func keyOf[W word](o order, w W) uint64 {
	if !o.signed {
		return uint64(w)
	}
	var zero W
	shift := 64 - bits.Len64(uint64(^zero))
	return uint64(int64(w)<<shift>>shift) ^ 1<<63
}

// wordOf is the word of a key.
func wordOf[W word](o order, key uint64) W {
	if o.signed {
		key ^= 1 << 63
	}
	return W(key)
}

// keyOfBytes is the key of a little-endian value of up to 8 bytes, as statistics have them.
func keyOfBytes(o order, value []byte) uint64 {
	var room [8]byte
	copy(room[:], value)
	w := binary.LittleEndian.Uint64(room[:])
	if !o.signed {
		return w
	}
	shift := 64 - 8*min(len(value), 8)
	return uint64(int64(w)<<shift>>shift) ^ 1<<63
}

// wordRange passes values whose keys are low to high, or all others.
type wordRange[W word] struct {
	order
	low, high uint64
	negated   bool
}

// sparse is how many bits of a mask's word are still looked at one by one: more are faster at once.
const sparse = 6

func (t *wordRange[W]) narrow(v *arrowipc.Values, mask []uint64) error {
	values := arrowipc.Words[W](v)
	first, span := wordOf[W](t.order, t.low), W(t.high-t.low)
	flip := uint64(0)
	if t.negated {
		flip = ^flip
	}
	whole := len(values) / 64
	for i, rows := range mask {
		switch {
		case rows == 0:
		case i < whole && bits.OnesCount64(rows) > sparse:
			mask[i] = rows & (rangeWord((*[64]W)(values[64*i:]), first, span) ^ flip)
		default:
			for left := rows; left != 0; left &= left - 1 {
				at := bits.TrailingZeros64(left)
				if (values[64*i+at]-first <= span) == t.negated {
					rows &^= 1 << at
				}
			}
			mask[i] = rows
		}
	}
	return nil
}

// rangeWord gives a bit for each value, one where it is at most span above first. The borrow of a
// subtraction is that bit, turned around: there is no branch and no flag to be moved.
func rangeWord[W word](values *[64]W, first, span W) uint64 {
	width := uint64(span)
	outside := uint64(0)
	for i := 0; i < 64; i += 8 {
		v := (*[8]W)(values[i:])
		_, b := bits.Sub64(width, uint64(v[7]-first), 0)
		eight := b
		_, b = bits.Sub64(width, uint64(v[6]-first), 0)
		eight = eight + eight + b
		_, b = bits.Sub64(width, uint64(v[5]-first), 0)
		eight = eight + eight + b
		_, b = bits.Sub64(width, uint64(v[4]-first), 0)
		eight = eight + eight + b
		_, b = bits.Sub64(width, uint64(v[3]-first), 0)
		eight = eight + eight + b
		_, b = bits.Sub64(width, uint64(v[2]-first), 0)
		eight = eight + eight + b
		_, b = bits.Sub64(width, uint64(v[1]-first), 0)
		eight = eight + eight + b
		_, b = bits.Sub64(width, uint64(v[0]-first), 0)
		eight = eight + eight + b
		outside |= eight << (i & 63)
	}
	return ^outside
}

func (t *wordRange[W]) mayMatch(low, high []byte) bool {
	l, h := keyOfBytes(t.order, low), keyOfBytes(t.order, high)
	if t.negated {
		return l < t.low || h > t.high
	}
	return l <= t.high && h >= t.low
}

func (t *wordRange[W]) cost() int { return 1 }

// meet is the test that passes what both pass, where that is a range; empty says that there is none.
func (t *wordRange[W]) meet(other test) (both test, empty, ok bool) {
	o, same := other.(*wordRange[W])
	if !same || t.negated || o.negated || t.order != o.order {
		return nil, false, false
	}
	met := &wordRange[W]{order: t.order, low: max(t.low, o.low), high: min(t.high, o.high)}
	return met, met.low > met.high, true
}

// rangeTest is a wordRange of any width.
type rangeTest interface {
	test
	meet(other test) (both test, empty, ok bool)
}

// wordSet passes values that are among keys, or all others.
type wordSet[W word] struct {
	order
	keys    []uint64 // ascending, at least one
	dense   []uint64 // one bit for each key from keys[0] on; nil where keys lie far apart
	negated bool
}

// denseMax is how many bits a set may take as a bitmap.
const denseMax = 1 << 17

func newWordSet[W word](o order, keys []uint64, negated bool) *wordSet[W] {
	slices.Sort(keys)
	keys = slices.Compact(keys)
	t := &wordSet[W]{order: o, keys: keys, negated: negated}
	if span := keys[len(keys)-1] - keys[0]; span < denseMax {
		t.dense = make([]uint64, span/64+1)
		for _, key := range keys {
			at := key - keys[0]
			t.dense[at/64] |= 1 << (at % 64)
		}
	}
	return t
}

func (t *wordSet[W]) has(key uint64) bool {
	at := key - t.keys[0]
	switch {
	case key < t.keys[0] || key > t.keys[len(t.keys)-1]:
		return false
	case t.dense != nil:
		return t.dense[at/64]>>(at%64)&1 == 1
	}
	_, found := slices.BinarySearch(t.keys, key)
	return found
}

func (t *wordSet[W]) narrow(v *arrowipc.Values, mask []uint64) error {
	values := arrowipc.Words[W](v)
	if !t.negated {
		ends := wordRange[W]{order: t.order, low: t.keys[0], high: t.keys[len(t.keys)-1]}
		if err := ends.narrow(v, mask); err != nil {
			return err
		}
	}
	eachBit(mask, func(row int) bool { return t.has(keyOf(t.order, values[row])) != t.negated })
	return nil
}

func (t *wordSet[W]) mayMatch(low, high []byte) bool {
	l, h := keyOfBytes(t.order, low), keyOfBytes(t.order, high)
	if t.negated {
		return l != h || !t.has(l)
	}
	at, _ := slices.BinarySearch(t.keys, l)
	return at < len(t.keys) && t.keys[at] <= h
}

func (t *wordSet[W]) cost() int {
	if t.dense != nil {
		return 4
	}
	return 12
}

// eachBit clears the bits of rows that keep is false for.
func eachBit(mask []uint64, keep func(row int) bool) {
	for i, rows := range mask {
		for left := rows; left != 0; left &= left - 1 {
			if at := bits.TrailingZeros64(left); !keep(64*i + at) {
				rows &^= 1 << at
			}
		}
		mask[i] = rows
	}
}

// boolTest passes false, true or both.
type boolTest struct{ whenFalse, whenTrue bool }

func (t boolTest) narrow(v *arrowipc.Values, mask []uint64) error {
	for i, rows := range mask {
		ones := loadWord(v.Bytes, i)
		switch {
		case !t.whenTrue && !t.whenFalse:
			rows = 0
		case !t.whenTrue:
			rows &^= ones
		case !t.whenFalse:
			rows &= ones
		}
		mask[i] = rows
	}
	return nil
}

func (t boolTest) mayMatch(low, high []byte) bool {
	if len(low) != 1 || len(high) != 1 {
		return true
	}
	return t.whenFalse && low[0] == 0 || t.whenTrue && high[0] == 1
}

func (t boolTest) cost() int { return 1 }
