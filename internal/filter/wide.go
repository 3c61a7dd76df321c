package filter

import (
	"encoding/binary"
	"math/big"
	"slices"

	"github.com/headrace/headrace/internal/arrowipc"
)

// wide is a decimal of 128 or 256 bits in an order of its own: the most significant part first, the sign
// turned around.
type wide [4]uint64

// wideOf reads a little-endian value in two's complement of up to 32 bytes.
func wideOf(value []byte) wide {
	var w wide
	fill := uint64(0)
	if len(value) > 0 && value[len(value)-1] >= 0x80 {
		fill = ^fill
	}
	for i := range w {
		w[len(w)-1-i] = fill
		if 8*i+8 <= len(value) {
			w[len(w)-1-i] = binary.LittleEndian.Uint64(value[8*i:])
		}
	}
	w[0] ^= 1 << 63
	return w
}

// wideOfInteger is the wide of an integer that fits 256 bits.
func wideOfInteger(value *big.Int) wide {
	var room [32]byte
	if value.Sign() < 0 {
		value = new(big.Int).Add(value, new(big.Int).Lsh(big.NewInt(1), 256))
	}
	value.FillBytes(room[:])
	slices.Reverse(room[:])
	return wideOf(room[:])
}

func (w wide) compare(other wide) int {
	for i := range w {
		switch {
		case w[i] < other[i]:
			return -1
		case w[i] > other[i]:
			return 1
		}
	}
	return 0
}

// wideRange passes decimals of low to high, or all others.
type wideRange struct {
	low, high wide
	negated   bool
}

func (t *wideRange) has(w wide) bool { return t.low.compare(w) <= 0 && w.compare(t.high) <= 0 }

func (t *wideRange) narrow(v *arrowipc.Values, mask []uint64) error {
	width := int(v.Width)
	eachBit(mask, func(row int) bool { return t.has(wideOf(v.Bytes[row*width:(row+1)*width])) != t.negated })
	return nil
}

func (t *wideRange) mayMatch(low, high []byte) bool {
	l, h := wideOf(low), wideOf(high)
	if t.negated {
		return !t.has(l) || !t.has(h)
	}
	return l.compare(t.high) <= 0 && t.low.compare(h) <= 0
}

func (t *wideRange) cost() int { return 8 }

// wideSet passes decimals that are among values, or all others.
type wideSet struct {
	values  []wide // ascending, at least one
	negated bool
}

func newWideSet(values []wide, negated bool) *wideSet {
	slices.SortFunc(values, wide.compare)
	return &wideSet{slices.Compact(values), negated}
}

func (t *wideSet) has(w wide) bool {
	_, found := slices.BinarySearchFunc(t.values, w, wide.compare)
	return found
}

func (t *wideSet) narrow(v *arrowipc.Values, mask []uint64) error {
	width := int(v.Width)
	eachBit(mask, func(row int) bool { return t.has(wideOf(v.Bytes[row*width:(row+1)*width])) != t.negated })
	return nil
}

func (t *wideSet) mayMatch(low, high []byte) bool {
	l, h := wideOf(low), wideOf(high)
	if t.negated {
		return l != h || !t.has(l)
	}
	at, _ := slices.BinarySearchFunc(t.values, l, wide.compare)
	return at < len(t.values) && t.values[at].compare(h) <= 0
}

func (t *wideSet) cost() int { return 16 }
