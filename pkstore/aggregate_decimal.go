package pkstore

import (
	"cmp"
	"encoding/binary"
	"math/big"
	"math/bits"
)

// wide is an integer of 256 bits in two's complement, lowest word first: a decimal of any width without
// its scale.
type wide [4]uint64

// loadWide reads a little-endian integer of 4, 8, 16 or 32 bytes.
func loadWide(value []byte) wide {
	var w wide
	words := len(value) / 8
	if words == 0 {
		w[0], words = uint64(loadSigned(value)), 1
	} else {
		for i := range words {
			w[i] = binary.LittleEndian.Uint64(value[8*i:])
		}
	}
	for i := words; i < len(w); i++ {
		w[i] = uint64(int64(w[words-1]) >> 63)
	}
	return w
}

// append appends the lowest width bytes.
func (w wide) append(dst []byte, width int) []byte {
	var all [32]byte
	for i, word := range w {
		binary.LittleEndian.PutUint64(all[8*i:], word)
	}
	return append(dst, all[:width]...)
}

func (w wide) compare(other wide) int {
	if order := cmp.Compare(int64(w[3]), int64(other[3])); order != 0 {
		return order
	}
	for i := 2; i >= 0; i-- {
		if order := cmp.Compare(w[i], other[i]); order != 0 {
			return order
		}
	}
	return 0
}

func (w wide) plus(other wide) wide {
	var sum wide
	carry := uint64(0)
	for i := range w {
		sum[i], carry = bits.Add64(w[i], other[i], carry)
	}
	return sum
}

func (w wide) negated() wide {
	for i := range w {
		w[i] = ^w[i]
	}
	return w.plus(wide{1})
}

// big gives w in a form that knows division.
func (w wide) big() *big.Int {
	negative := int64(w[3]) < 0
	if negative {
		w = w.negated() // the smallest value is its own negative, and right as an unsigned one
	}
	var all [32]byte
	for i, word := range w {
		binary.BigEndian.PutUint64(all[8*(3-i):], word)
	}
	number := new(big.Int).SetBytes(all[:])
	if negative {
		number.Neg(number)
	}
	return number
}

// wideOf takes a number of at most 255 bits.
func wideOf(number *big.Int) wide {
	var all [32]byte
	new(big.Int).Abs(number).FillBytes(all[:])
	var w wide
	for i := range w {
		w[i] = binary.BigEndian.Uint64(all[8*(3-i):])
	}
	if number.Sign() < 0 {
		return w.negated()
	}
	return w
}

// decimalBound knows the range of the decimals of one precision, and wraps sums round in it.
type decimalBound struct {
	most, least wide
	size        wide // how many values the range has
	modulus     *big.Int
}

func newDecimalBound(precision int32) *decimalBound {
	most := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(precision)), nil)
	most.Sub(most, big.NewInt(1))
	modulus := new(big.Int).Add(new(big.Int).Lsh(most, 1), big.NewInt(1))
	b := &decimalBound{most: wideOf(most), size: wideOf(modulus), modulus: modulus}
	b.least = b.most.negated()
	return b
}

// fit wraps a value into the range. Clients may have sent what has more digits than its type says.
func (b *decimalBound) fit(w wide) wide {
	if w.compare(b.most) <= 0 && w.compare(b.least) >= 0 {
		return w
	}
	residue := new(big.Int).Mod(w.big(), b.modulus) // 0..modulus-1
	if residue.Cmp(b.most.big()) > 0 {
		residue.Sub(residue, b.modulus)
	}
	return wideOf(residue)
}

// add wraps round. Two values in range are far from overflowing a wide: 10^76 is below 2^253.
func (b *decimalBound) add(x, y wide) wide {
	sum := b.fit(x).plus(b.fit(y))
	switch {
	case sum.compare(b.most) > 0:
		return sum.plus(b.size.negated())
	case sum.compare(b.least) < 0:
		return sum.plus(b.size)
	}
	return sum
}
