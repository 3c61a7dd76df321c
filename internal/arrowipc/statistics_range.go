package arrowipc

import (
	"encoding/binary"
	"math"
	"math/bits"
	"unsafe"

	"github.com/x448/float16"
)

// summarize fills in the statistics of one column. It appends the bounds to arena.
func (v *vector) summarize(into *ColumnStatistics, arena []byte) ([]byte, error) {
	into.Nulls = v.nulls
	if v.column.kind == nullKind {
		into.Nulls = v.length
	}
	if v.column.order == unordered || v.nulls >= v.length {
		return arena, nil
	}
	if v.column.order == textOrder {
		return v.boundText(into, arena)
	}
	return bounders[v.column.order](v, into, arena), nil
}

// bounders bound the values of fixed width by their order. They are called where there is a value, fill in
// Min and Max and append their bytes to arena.
var bounders = [...]func(v *vector, into *ColumnStatistics, arena []byte) []byte{
	boolOrder: (*vector).boundBits,
	int8Order: boundInts[int8], int16Order: boundInts[int16], int32Order: boundInts[int32], int64Order: boundInts[int64],
	uint8Order: boundInts[uint8], uint16Order: boundInts[uint16], uint32Order: boundInts[uint32], uint64Order: boundInts[uint64],
	float16Order: (*vector).boundHalves, float32Order: boundFloats[float32, uint32], float64Order: boundFloats[float64, uint64],
	decimalOrder: (*vector).boundDecimals,
}

// keep appends a bound to arena, and gives it.
func keep(arena, bound []byte) (bigger, kept []byte) {
	at := len(arena)
	arena = append(arena, bound...)
	return arena, arena[at:len(arena):len(arena)]
}

// keepBounds appends both bounds of a column to arena.
func (c *ColumnStatistics) keepBounds(arena, low, high []byte) []byte {
	arena, c.Min = keep(arena, low)
	arena, c.Max = keep(arena, high)
	return arena
}

// valid gives the runs of rows that are not null, [from, to), in order.
func (v *vector) valid(yield func(from, to int64) bool) {
	if v.validity == nil {
		yield(0, v.length)
		return
	}
	for at := int64(0); at < v.length; at += 64 {
		n := min(64, v.length-at)
		word := loadBits(v.validity, at, n)
		if word == 1<<n-1 {
			if !yield(at, at+n) {
				return
			}
			continue
		}
		for word != 0 {
			first := int64(bits.TrailingZeros64(word))
			length := int64(bits.TrailingZeros64(^(word >> first)))
			if !yield(at+first, at+first+length) {
				return
			}
			if first+length >= 64 {
				break
			}
			word &^= 1<<(first+length) - 1
		}
	}
}

type integer interface {
	int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64
}

type float interface{ float32 | float64 }

// valuesOf sees the values of a vector as numbers. Buffers are aligned.
func valuesOf[T integer | float](v *vector) []T {
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(v.values))), v.length)
}

// bytesOf sees a number as its bytes.
func bytesOf[T integer | float](value *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(value)), unsafe.Sizeof(*value))
}

func boundInts[T integer](v *vector, into *ColumnStatistics, arena []byte) []byte {
	values := valuesOf[T](v)
	var low, high T
	first := true
	for from, to := range v.valid {
		if first {
			low, high, first = values[from], values[from], false
		}
		low, high = rangeOfInts(values[from:to], low, high)
	}
	return into.keepBounds(arena, bytesOf(&low), bytesOf(&high))
}

// rangeOfInts widens a range to hold all values. Most are in it, which one comparison tells: how far a
// value lies above low, without a sign. Sorted values are in it too once the last one is.
func rangeOfInts[T integer](values []T, low, high T) (T, T) {
	last := values[len(values)-1]
	low, high = min(low, last), max(high, last)
	base, span := uint64(low), uint64(high)-uint64(low)
	for _, a := range values {
		if uint64(a)-base > span {
			low, high = min(low, a), max(high, a)
			base, span = uint64(low), uint64(high)-uint64(low)
		}
	}
	return low, high
}

// boundFloats leaves the bounds unknown where there is a NaN. Zeros are equal: a lower bound of zero
// becomes the negative one, an upper one the positive one. B is the type of T's bits.
func boundFloats[T float, B uint32 | uint64](v *vector, into *ColumnStatistics, arena []byte) []byte {
	values, patterns := valuesOf[T](v), valuesOf[B](v)
	low, high := T(math.Inf(1)), T(math.Inf(-1))
	for from, to := range v.valid {
		for from < to {
			// After one that is not surely inside, some are compared without asking.
			next := min(from+floatsCompared, to)
			var number bool
			if low, high, number = rangeOfFloats(values[from:next], low, high); !number {
				return arena
			}
			from = next + countInside(patterns[next:to], *(*B)(unsafe.Pointer(&low)), *(*B)(unsafe.Pointer(&high)))
		}
	}
	if low == 0 {
		low = T(math.Copysign(0, -1))
	}
	if high == 0 {
		high = 0
	}
	return into.keepBounds(arena, bytesOf(&low), bytesOf(&high))
}

// floatsCompared is enough to make the cost of countInside small where it finds none.
const floatsCompared = 32

// rangeOfFloats widens a range to hold all values; false if one of them is NaN.
func rangeOfFloats[T float](values []T, low, high T) (T, T, bool) {
	for _, a := range values {
		if a >= low && a <= high {
			continue
		}
		if a != a {
			return low, high, false
		}
		low, high = min(low, a), max(high, a)
	}
	return low, high, true
}

// countInside counts values, at the beginning, that surely lie between low and high, by their bits
// alone: of one sign, bits compare as the numbers do; around zero, whatever is nearer to it than both
// ends is inside.
func countInside[B uint32 | uint64](values []B, low, high B) int64 {
	sign := ^(^B(0) >> 1)
	if low&sign != 0 && high&sign == 0 {
		reach := min(low<<1, high<<1)
		for i, a := range values {
			if a<<1 > reach {
				return int64(i)
			}
		}
		return int64(len(values))
	}
	if low&sign != 0 {
		low, high = high, low
	}
	span := high - low
	for i, a := range values {
		if a-low > span {
			return int64(i)
		}
	}
	return int64(len(values))
}

func (v *vector) boundHalves(into *ColumnStatistics, arena []byte) []byte {
	low, high := float32(math.Inf(1)), float32(math.Inf(-1))
	for from, to := range v.valid {
		for row := from; row < to; row++ {
			a := float16.Frombits(binary.LittleEndian.Uint16(v.values[2*row:])).Float32()
			if a != a {
				return arena
			}
			low, high = min(low, a), max(high, a)
		}
	}
	least, most := float16.Fromfloat32(low).Bits(), float16.Fromfloat32(high).Bits()
	if low == 0 {
		least = 1 << 15
	}
	if high == 0 {
		most = 0
	}
	return into.keepBounds(arena, bytesOf(&least), bytesOf(&most))
}

// boundBits bounds booleans.
func (v *vector) boundBits(into *ColumnStatistics, arena []byte) []byte {
	ones, values := int64(0), int64(0)
	for from, to := range v.valid {
		ones += countBits(v.values, from, to-from)
		values += to - from
	}
	var low, high uint8
	if ones == values {
		low = 1
	}
	if ones > 0 {
		high = 1
	}
	return into.keepBounds(arena, []byte{low}, []byte{high})
}

func (v *vector) boundDecimals(into *ColumnStatistics, arena []byte) []byte {
	var low, high []byte
	width := v.column.width
	for from, to := range v.valid {
		for row := from; row < to; row++ {
			a := v.values[row*width : (row+1)*width]
			if low == nil {
				low, high = a, a
			} else if compareDecimals(a, low) < 0 {
				low = a
			} else if compareDecimals(a, high) > 0 {
				high = a
			}
		}
	}
	return into.keepBounds(arena, low, high)
}
