package pkstore

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/x448/float16"
)

// numberKind is how the bytes of a value are to be read as a number.
type numberKind uint8

const (
	noNumber numberKind = iota
	signedNumber
	unsignedNumber
	floatNumber
	decimalNumber
)

// numberKinds are the types whose values have an order as numbers.
var numberKinds = map[arrow.Type]numberKind{
	arrow.INT8: signedNumber, arrow.INT16: signedNumber, arrow.INT32: signedNumber, arrow.INT64: signedNumber,
	arrow.UINT8: unsignedNumber, arrow.UINT16: unsignedNumber,
	arrow.UINT32: unsignedNumber, arrow.UINT64: unsignedNumber,
	arrow.DATE32: signedNumber, arrow.DATE64: signedNumber,
	arrow.TIME32: signedNumber, arrow.TIME64: signedNumber,
	arrow.TIMESTAMP: signedNumber, arrow.DURATION: signedNumber, arrow.INTERVAL_MONTHS: signedNumber,
	arrow.FLOAT16: floatNumber, arrow.FLOAT32: floatNumber, arrow.FLOAT64: floatNumber,
	arrow.DECIMAL32: decimalNumber, arrow.DECIMAL64: decimalNumber,
	arrow.DECIMAL128: decimalNumber, arrow.DECIMAL256: decimalNumber,
}

// summable says that values of a type can be added.
func summable(t arrow.DataType) bool {
	switch t.ID() {
	case arrow.DATE32, arrow.DATE64, arrow.TIME32, arrow.TIME64, arrow.TIMESTAMP, arrow.INTERVAL_MONTHS:
		return false
	}
	return numberKinds[t.ID()] != noNumber
}

// comparison gives the order of the values of a type; nil where there is none.
func comparison(t arrow.DataType) func(a, b []byte) int {
	switch numberKinds[t.ID()] {
	case signedNumber:
		return func(a, b []byte) int { return cmp.Compare(loadSigned(a), loadSigned(b)) }
	case unsignedNumber:
		return func(a, b []byte) int { return cmp.Compare(loadUnsigned(a), loadUnsigned(b)) }
	case floatNumber:
		return func(a, b []byte) int { return compareFloats(loadFloat(a), loadFloat(b)) }
	case decimalNumber:
		return func(a, b []byte) int { return loadWide(a).compare(loadWide(b)) }
	}
	switch t.ID() {
	case arrow.BOOL, arrow.STRING, arrow.LARGE_STRING, arrow.STRING_VIEW,
		arrow.BINARY, arrow.LARGE_BINARY, arrow.BINARY_VIEW, arrow.FIXED_SIZE_BINARY:
		return bytes.Compare
	}
	return nil
}

// compareFloats orders -0 below 0, and NaN, all of which are equal, above everything.
func compareFloats(a, b float64) int {
	switch {
	case a != a || b != b:
		return -cmp.Compare(a, b) // which has NaN below everything
	case a == b:
		return cmp.Compare(math.Copysign(1, a), math.Copysign(1, b))
	}
	return cmp.Compare(a, b)
}

// sum makes a add.
func (a *aggregate) sum(t arrow.DataType) bool {
	if !summable(t) {
		return false
	}
	switch numberKinds[t.ID()] {
	case floatNumber:
		a.compute = func(dst, old, fresh []byte) []byte {
			return appendFloat(dst, loadFloat(old)+loadFloat(fresh), len(old))
		}
		a.takeBack = func(dst, old, fresh []byte) []byte {
			return appendFloat(dst, loadFloat(old)-loadFloat(fresh), len(old))
		}
	case decimalNumber:
		bound := newDecimalBound(t.(arrow.DecimalType).GetPrecision())
		a.compute = func(dst, old, fresh []byte) []byte {
			return bound.add(loadWide(old), loadWide(fresh)).append(dst, len(old))
		}
		a.takeBack = func(dst, old, fresh []byte) []byte {
			return bound.add(loadWide(old), bound.fit(loadWide(fresh)).negated()).append(dst, len(old))
		}
	default:
		a.compute = func(dst, old, fresh []byte) []byte {
			return appendInteger(dst, loadUnsigned(old)+loadUnsigned(fresh), len(old))
		}
		a.takeBack = func(dst, old, fresh []byte) []byte {
			return appendInteger(dst, loadUnsigned(old)-loadUnsigned(fresh), len(old))
		}
	}
	a.zero = make([]byte, t.(arrow.FixedWidthDataType).BitWidth()/8)
	return true
}

// product makes a multiply.
func (a *aggregate) product(t arrow.DataType) bool {
	switch kind := numberKinds[t.ID()]; {
	case !summable(t) || t.ID() == arrow.DURATION || kind == decimalNumber:
		return false
	case kind == floatNumber:
		a.compute = func(dst, old, fresh []byte) []byte {
			return appendFloat(dst, loadFloat(old)*loadFloat(fresh), len(old))
		}
		a.takeBack = takeFloatBack
	default:
		a.compute = func(dst, old, fresh []byte) []byte {
			return appendInteger(dst, loadUnsigned(old)*loadUnsigned(fresh), len(old))
		}
		a.takeBack = takeUnsignedBack
		if kind == signedNumber {
			a.takeBack = takeSignedBack
		}
	}
	return true
}

func takeFloatBack(dst, old, fresh []byte) []byte {
	if divisor := loadFloat(fresh); divisor != 0 {
		return appendFloat(dst, loadFloat(old)/divisor, len(old))
	}
	return append(dst, old...)
}

func takeSignedBack(dst, old, fresh []byte) []byte {
	product, divisor := loadSigned(old), loadSigned(fresh)
	if divisor == 0 || product%divisor != 0 {
		return append(dst, old...)
	}
	return appendInteger(dst, uint64(product/divisor), len(old))
}

func takeUnsignedBack(dst, old, fresh []byte) []byte {
	product, divisor := loadUnsigned(old), loadUnsigned(fresh)
	if divisor == 0 || product%divisor != 0 {
		return append(dst, old...)
	}
	return appendInteger(dst, product/divisor, len(old))
}

// loadUnsigned reads a little-endian integer of 1, 2, 4 or 8 bytes.
func loadUnsigned(value []byte) uint64 {
	switch len(value) {
	case 8:
		return binary.LittleEndian.Uint64(value)
	case 4:
		return uint64(binary.LittleEndian.Uint32(value))
	case 2:
		return uint64(binary.LittleEndian.Uint16(value))
	}
	return uint64(value[0])
}

// loadSigned is loadUnsigned for two's complement.
func loadSigned(value []byte) int64 {
	shift := 64 - 8*len(value)
	return int64(loadUnsigned(value)<<shift) >> shift
}

// appendInteger appends the lowest width bytes of v.
func appendInteger(dst []byte, v uint64, width int) []byte {
	var word [8]byte
	binary.LittleEndian.PutUint64(word[:], v)
	return append(dst, word[:width]...)
}

// loadFloat reads a float of 2, 4 or 8 bytes.
func loadFloat(value []byte) float64 {
	switch len(value) {
	case 8:
		return math.Float64frombits(binary.LittleEndian.Uint64(value))
	case 4:
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(value)))
	}
	return float64(float16.Frombits(binary.LittleEndian.Uint16(value)).Float32())
}

// appendFloat appends v as a float of width bytes. One operation on two floats of less than 8 bytes,
// rounded to 8 and then to their own width, is the operation in their own width.
func appendFloat(dst []byte, v float64, width int) []byte {
	switch width {
	case 8:
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(v))
	case 4:
		return binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(v)))
	}
	return binary.LittleEndian.AppendUint16(dst, float16.Fromfloat32(float32(v)).Bits())
}
