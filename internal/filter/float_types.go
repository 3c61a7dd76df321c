package filter

import (
	"math"
	"math/big"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/x448/float16"
)

// floatsOf gives the type as floats; nil if it has none.
func floatsOf(t arrow.DataType) *floats {
	switch t.ID() {
	case arrow.FLOAT64:
		return &floats{8, math.MaxFloat64, roundDouble, nextDouble}
	case arrow.FLOAT32:
		return &floats{4, math.MaxFloat32, roundFloat, nextFloat}
	case arrow.FLOAT16:
		return &floats{2, halfMax, roundHalf, nextHalf}
	}
	return nil
}

func roundDouble(r *big.Rat) float64 {
	value, _ := r.Float64()
	return value
}

func roundFloat(r *big.Rat) float64 {
	value, _ := r.Float32()
	return float64(value)
}

// halfMax is the largest float16.
const halfMax = 65504

// halfLimit is from where on a number is rounded to infinity: in the middle of halfMax and the next power of 2.
var halfLimit = big.NewRat(65520, 1)

// roundHalf rounds to the nearest float16, ties to even. A float32 has so many more digits that it tells
// on which side of the middle of two float16 a number lies, except where it falls on the middle itself.
func roundHalf(r *big.Rat) float64 {
	value := halfFloat(float16.Fromfloat32(float32(roundFloat(r))).Bits())
	if math.IsInf(value, 0) {
		if new(big.Rat).Abs(r).Cmp(halfLimit) < 0 {
			return math.Copysign(halfMax, value)
		}
		return value
	}
	best, distance := value, halfDistance(r, value)
	for _, up := range []bool{false, true} {
		other := nextHalf(value, up)
		if math.IsInf(other, 0) {
			continue
		}
		if d := halfDistance(r, other); d.Cmp(distance) < 0 {
			best, distance = other, d
		}
	}
	return best
}

func halfDistance(r *big.Rat, value float64) *big.Rat {
	d := new(big.Rat).SetFloat64(value)
	return d.Abs(d.Sub(d, r))
}

func nextDouble(x float64, up bool) float64 {
	if up {
		return math.Nextafter(x, math.Inf(1))
	}
	return math.Nextafter(x, math.Inf(-1))
}

func nextFloat(x float64, up bool) float64 {
	if up {
		return float64(math.Nextafter32(float32(x), float32(math.Inf(1))))
	}
	return float64(math.Nextafter32(float32(x), float32(math.Inf(-1))))
}

// nextHalf steps through the bits of float16, which are ordered by value but for the sign.
func nextHalf(x float64, up bool) float64 {
	if x == 0 {
		least := halfFloat(1)
		if up {
			return least
		}
		return -least
	}
	bits := float16.Fromfloat32(float32(x)).Bits()
	if up == (x > 0) {
		bits++
	} else {
		bits--
	}
	return halfFloat(bits)
}
