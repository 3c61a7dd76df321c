package filter

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"

	"github.com/x448/float16"

	"github.com/headrace/headrace/internal/arrowipc"
)

// floatRange passes floats of low to high, and NaN where nan is set; or all others. low above high is
// the range without a number.
type floatRange struct {
	width     int // bytes of a value
	low, high float64
	nan       bool
	negated   bool
}

func (t *floatRange) has(x float64) bool { return x >= t.low && x <= t.high || t.nan && x != x }

func (t *floatRange) narrow(v *arrowipc.Values, mask []uint64) error {
	switch t.width {
	case 8:
		narrowFloats(t, arrowipc.Words[float64](v), mask)
	case 4:
		narrowFloats(t, arrowipc.Words[float32](v), mask)
	default:
		values := arrowipc.Words[uint16](v)
		eachBit(mask, func(row int) bool { return t.has(halfFloat(values[row])) != t.negated })
	}
	return nil
}

// halfFloat gives the value of a float16. (That of arrow-go has subnormal ones wrong, and cuts off where it
// should round.)
func halfFloat(bits uint16) float64 { return float64(float16.Frombits(bits).Float32()) }

func narrowFloats[F float32 | float64](t *floatRange, values []F, mask []uint64) {
	// The bounds are values of F: they were rounded to it.
	low, high, flip, nan := F(t.low), F(t.high), uint64(0), uint64(0)
	if t.negated {
		flip = ^flip
	}
	if t.nan {
		nan = 1
	}
	whole := len(values) / 64
	for i, rows := range mask {
		switch {
		case rows == 0:
		case i < whole && bits.OnesCount64(rows) > sparse:
			inside := uint64(0)
			for at, x := range (*[64]F)(values[64*i:]) {
				inside |= (one(x >= low)&one(x <= high) | one(x != x)&nan) << (at & 63)
			}
			mask[i] = rows & (inside ^ flip)
		default:
			for left := rows; left != 0; left &= left - 1 {
				at := bits.TrailingZeros64(left)
				if t.has(float64(values[64*i+at])) == t.negated {
					rows &^= 1 << at
				}
			}
			mask[i] = rows
		}
	}
}

// one is 1 for true, without a branch.
func one(b bool) uint64 {
	var bit uint64
	if b {
		bit = 1
	}
	return bit
}

func (t *floatRange) mayMatch(low, high []byte) bool {
	l, h := floatOfBytes(low), floatOfBytes(high)
	if t.negated {
		return !t.has(l) || !t.has(h)
	}
	return t.low <= t.high && l <= t.high && h >= t.low || t.nan && (l != l || h != h)
}

func (t *floatRange) cost() int { return 2 }

// floatOfBytes reads a little-endian float of 2, 4 or 8 bytes.
func floatOfBytes(value []byte) float64 {
	switch len(value) {
	case 8:
		return math.Float64frombits(binary.LittleEndian.Uint64(value))
	case 4:
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(value)))
	case 2:
		return halfFloat(binary.LittleEndian.Uint16(value))
	}
	return math.NaN()
}

// floatSet passes floats that are among values, and NaN where nan is set; or all others.
type floatSet struct {
	width   int
	values  []float64 // ascending
	nan     bool
	negated bool
}

func newFloatSet(width int, values []float64, negated bool) *floatSet {
	t := &floatSet{width: width, negated: negated}
	for _, x := range values {
		if x != x {
			t.nan = true
			continue
		}
		t.values = append(t.values, x)
	}
	slices.Sort(t.values)
	return t
}

func (t *floatSet) has(x float64) bool {
	if x != x {
		return t.nan
	}
	_, found := slices.BinarySearch(t.values, x)
	return found
}

func (t *floatSet) narrow(v *arrowipc.Values, mask []uint64) error {
	width := t.width
	eachBit(mask, func(row int) bool { return t.has(floatOfBytes(v.Bytes[row*width:(row+1)*width])) != t.negated })
	return nil
}

func (t *floatSet) mayMatch(low, high []byte) bool {
	l, h := floatOfBytes(low), floatOfBytes(high)
	if t.negated || l != l || h != h {
		return true
	}
	at, _ := slices.BinarySearch(t.values, l)
	return at < len(t.values) && t.values[at] <= h
}

func (t *floatSet) cost() int { return 14 }
