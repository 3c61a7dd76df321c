package arrowipc

import (
	"encoding/binary"
	"math/big"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/x448/float16"
)

// numberConversion appends the rows [from, to) of v, as values of another type, to dst; false where one of
// them is none of that type. What stands in place of a null does not count.
type numberConversion func(dst []byte, v *vector, from, to int64) ([]byte, bool)

// number are the types that Go's conversions turn into one another.
type number interface {
	~int8 | ~int16 | ~int32 | ~int64 | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~float32 | ~float64
}

// numbersOf gives how numbers of one type become those of another; nil: they never do.
func numbersOf(from, to arrow.DataType) numberConversion {
	if decimal, ok := from.(arrow.DecimalType); ok {
		if wider, ok := to.(arrow.DecimalType); ok && wider.GetScale() == decimal.GetScale() {
			return decimals(decimal, wider)
		}
		return nil
	}
	if halves := halvesOf(from.ID(), to.ID()); halves != nil {
		return halves
	}
	switch from.ID() {
	case arrow.INT8:
		return numbersTo[int8](to.ID())
	case arrow.INT16:
		return numbersTo[int16](to.ID())
	case arrow.INT32:
		return numbersTo[int32](to.ID())
	case arrow.INT64:
		return numbersTo[int64](to.ID())
	case arrow.UINT8:
		return numbersTo[uint8](to.ID())
	case arrow.UINT16:
		return numbersTo[uint16](to.ID())
	case arrow.UINT32:
		return numbersTo[uint32](to.ID())
	case arrow.UINT64:
		return numbersTo[uint64](to.ID())
	case arrow.FLOAT32:
		return numbersTo[float32](to.ID())
	case arrow.FLOAT64:
		return numbersTo[float64](to.ID())
	}
	return nil
}

// halvesOf is numbersOf where one of the types is float16, which Go has no type for.
func halvesOf(from, to arrow.Type) numberConversion {
	switch [2]arrow.Type{from, to} {
	case [2]arrow.Type{arrow.FLOAT16, arrow.FLOAT32}:
		return halfTo[float32]
	case [2]arrow.Type{arrow.FLOAT16, arrow.FLOAT64}:
		return halfTo[float64]
	case [2]arrow.Type{arrow.FLOAT32, arrow.FLOAT16}:
		return toHalf[float32]
	case [2]arrow.Type{arrow.FLOAT64, arrow.FLOAT16}:
		return toHalf[float64]
	}
	return nil
}

// numbersTo is numbersOf where the first type is known.
func numbersTo[S number](to arrow.Type) numberConversion {
	switch to {
	case arrow.INT8:
		return convertNumbers[S, int8]
	case arrow.INT16:
		return convertNumbers[S, int16]
	case arrow.INT32:
		return convertNumbers[S, int32]
	case arrow.INT64:
		return convertNumbers[S, int64]
	case arrow.UINT8:
		return convertNumbers[S, uint8]
	case arrow.UINT16:
		return convertNumbers[S, uint16]
	case arrow.UINT32:
		return convertNumbers[S, uint32]
	case arrow.UINT64:
		return convertNumbers[S, uint64]
	case arrow.FLOAT32:
		return convertNumbers[S, float32]
	case arrow.FLOAT64:
		return convertNumbers[S, float64]
	}
	return nil
}

// grow makes room for n values of T behind dst.
func grow[T any](dst []byte, n int64) (longer []byte, added []T) {
	var value T
	have, size := len(dst), int(n)*binary.Size(value)
	longer = slices.Grow(dst, size)[:have+size]
	return longer, castSlice[T](longer[have:])
}

func convertNumbers[S, T number](dst []byte, v *vector, from, to int64) ([]byte, bool) {
	dst, out := grow[T](dst, to-from)
	src := castSlice[S](v.values)[from:to]
	out = out[:len(src)]
	for i, x := range src {
		y := T(x)
		out[i] = y
		if lossy := S(y) != x || (x < 0) != (y < 0); lossy && (x == x || y == y) && !v.isNull(from+int64(i)) {
			return dst, false // NaN is that in all types of floats, and no integer
		}
	}
	return dst, true
}

func halfTo[T float32 | float64](dst []byte, v *vector, from, to int64) ([]byte, bool) {
	dst, out := grow[T](dst, to-from)
	for i, bits := range castSlice[uint16](v.values)[from:to] {
		out[i] = T(float16.Frombits(bits).Float32())
	}
	return dst, true
}

func toHalf[S float32 | float64](dst []byte, v *vector, from, to int64) ([]byte, bool) {
	dst, out := grow[uint16](dst, to-from)
	for i, x := range castSlice[S](v.values)[from:to] {
		half := float16.Fromfloat32(float32(x))
		out[i] = half.Bits()
		if S(half.Float32()) != x && x == x && !v.isNull(from+int64(i)) {
			return dst, false
		}
	}
	return dst, true
}

// decimals converts decimals of the same scale: their bytes are integers in two's complement.
func decimals(from, to arrow.DecimalType) numberConversion {
	source, target := int64(from.BitWidth()/8), int64(to.BitWidth()/8)
	limit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(to.GetPrecision())), nil)
	narrows := to.GetPrecision() < from.GetPrecision()
	return func(dst []byte, v *vector, from, to int64) ([]byte, bool) {
		var room [arrow.Decimal256SizeBytes]byte
		for row := from; row < to; row++ {
			value := v.values[row*source : (row+1)*source]
			if v.isNull(row) {
				dst = append(dst, make([]byte, target)...)
				continue
			}
			if narrows && twosComplement(value).CmpAbs(limit) >= 0 {
				return dst, false
			}
			n := copy(room[:], value)
			sign := byte(0)
			if value[source-1]&0x80 != 0 {
				sign = 0xff
			}
			for ; n < len(room); n++ {
				room[n] = sign
			}
			dst = append(dst, room[:target]...)
		}
		return dst, true
	}
}

// twosComplement reads a little-endian integer.
func twosComplement(value []byte) *big.Int {
	reversed := slices.Clone(value)
	slices.Reverse(reversed)
	n := new(big.Int).SetBytes(reversed)
	if value[len(value)-1]&0x80 != 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(value))))
	}
	return n
}
