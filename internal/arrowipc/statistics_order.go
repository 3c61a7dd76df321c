package arrowipc

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/x448/float16"
)

// order is how the values of a column compare, and so what their bounds are.
type order uint8

const (
	unordered order = iota // nested types, intervals, nulls
	boolOrder
	int8Order
	int16Order
	int32Order
	int64Order
	uint8Order
	uint16Order
	uint32Order
	uint64Order
	float16Order
	float32Order
	float64Order
	decimalOrder // signed, of 16 or 32 bytes
	textOrder    // byte by byte
)

// orders are those of the types of values that are not nested.
var orders = map[arrow.Type]order{
	arrow.BOOL: boolOrder,
	arrow.INT8: int8Order, arrow.INT16: int16Order, arrow.INT32: int32Order, arrow.INT64: int64Order,
	arrow.UINT8: uint8Order, arrow.UINT16: uint16Order, arrow.UINT32: uint32Order, arrow.UINT64: uint64Order,
	arrow.FLOAT16: float16Order, arrow.FLOAT32: float32Order, arrow.FLOAT64: float64Order,
	arrow.DATE32: int32Order, arrow.DATE64: int64Order, arrow.TIME32: int32Order, arrow.TIME64: int64Order,
	arrow.TIMESTAMP: int64Order, arrow.DURATION: int64Order,
	arrow.DECIMAL32: int32Order, arrow.DECIMAL64: int64Order, arrow.DECIMAL128: decimalOrder, arrow.DECIMAL256: decimalOrder,
	arrow.STRING: textOrder, arrow.LARGE_STRING: textOrder, arrow.STRING_VIEW: textOrder,
	arrow.BINARY: textOrder, arrow.LARGE_BINARY: textOrder, arrow.BINARY_VIEW: textOrder,
	arrow.FIXED_SIZE_BINARY: textOrder,
}

// compareBounds compares two bounds of a column.
func compareBounds(o order, a, b []byte) int {
	le := binary.LittleEndian
	switch o {
	case int8Order:
		return cmp.Compare(int8(a[0]), int8(b[0]))
	case int16Order:
		return cmp.Compare(int16(le.Uint16(a)), int16(le.Uint16(b)))
	case int32Order:
		return cmp.Compare(int32(le.Uint32(a)), int32(le.Uint32(b)))
	case int64Order:
		return cmp.Compare(int64(le.Uint64(a)), int64(le.Uint64(b)))
	case uint16Order:
		return cmp.Compare(le.Uint16(a), le.Uint16(b))
	case uint32Order:
		return cmp.Compare(le.Uint32(a), le.Uint32(b))
	case uint64Order:
		return cmp.Compare(le.Uint64(a), le.Uint64(b))
	case float16Order:
		return cmp.Compare(float16.Frombits(le.Uint16(a)).Float32(), float16.Frombits(le.Uint16(b)).Float32())
	case float32Order:
		return cmp.Compare(math.Float32frombits(le.Uint32(a)), math.Float32frombits(le.Uint32(b)))
	case float64Order:
		return cmp.Compare(math.Float64frombits(le.Uint64(a)), math.Float64frombits(le.Uint64(b)))
	case decimalOrder:
		return compareDecimals(a, b)
	}
	return bytes.Compare(a, b) // uint8, bool, text
}

// compareDecimals compares two little-endian signed integers of the same length, a multiple of 8.
func compareDecimals(a, b []byte) int {
	top := len(a) - 8
	if c := cmp.Compare(int64(binary.LittleEndian.Uint64(a[top:])), int64(binary.LittleEndian.Uint64(b[top:]))); c != 0 {
		return c
	}
	for at := top - 8; at >= 0; at -= 8 {
		if c := cmp.Compare(binary.LittleEndian.Uint64(a[at:]), binary.LittleEndian.Uint64(b[at:])); c != 0 {
			return c
		}
	}
	return 0
}
