package model

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/x448/float16"
)

// FormatValue gives a value that is not null in the form of CheckDefault. value are its bytes: of fixed
// width little-endian, of bool one byte, of text and binary as they are. It fails where the type or the value
// has no such form: NaN with another bit pattern than the usual one, times outside the years 0 to 9999.
func FormatValue(t arrow.DataType, value []byte) (any, error) {
	for {
		extension, ok := t.(arrow.ExtensionType)
		if !ok {
			break
		}
		t = extension.StorageType()
	}
	if fixed, ok := t.(arrow.FixedWidthDataType); ok && len(value) != (fixed.BitWidth()+7)/8 {
		return nil, fmt.Errorf("a value of %s has %d bytes", FormatType(t), len(value))
	}
	if decimal, ok := t.(arrow.DecimalType); ok {
		return formatDecimal(littleInteger(value), int(decimal.GetScale())), nil
	}
	switch t.ID() {
	case arrow.BOOL:
		return value[0] != 0, nil
	case arrow.STRING, arrow.LARGE_STRING, arrow.STRING_VIEW:
		return string(value), nil
	case arrow.BINARY, arrow.LARGE_BINARY, arrow.BINARY_VIEW, arrow.FIXED_SIZE_BINARY:
		return base64.StdEncoding.EncodeToString(value), nil
	case arrow.UINT8, arrow.UINT16, arrow.UINT32, arrow.UINT64:
		return integerValue(new(big.Int).SetUint64(unsigned(value))), nil
	case arrow.INT8, arrow.INT16, arrow.INT32, arrow.INT64, arrow.DURATION:
		return integerValue(littleInteger(value)), nil
	case arrow.FLOAT16, arrow.FLOAT32, arrow.FLOAT64:
		return floatValue(value), nil
	}
	return timeValue(t, littleInteger(value).Int64())
}

// unsigned reads up to 8 little-endian bytes.
func unsigned(value []byte) uint64 {
	var word [8]byte
	copy(word[:], value)
	return binary.LittleEndian.Uint64(word[:])
}

// littleInteger reads a little-endian two's complement.
func littleInteger(value []byte) *big.Int {
	big := slices.Clone(value)
	slices.Reverse(big)
	return signedInteger(big)
}

func signedInteger(bytes []byte) *big.Int {
	n := new(big.Int).SetBytes(bytes)
	if len(bytes) > 0 && bytes[0]&0x80 != 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(bytes))))
	}
	return n
}

// integerValue gives an integer as integerDefault does.
func integerValue(n *big.Int) any {
	if n.CmpAbs(big.NewInt(exactIntegerMax)) <= 0 {
		return float64(n.Int64())
	}
	return n.String()
}

func floatValue(value []byte) any {
	var number float64
	switch len(value) {
	case 2:
		number = float64(float16.Frombits(binary.LittleEndian.Uint16(value)).Float32())
	case 4:
		number = float64(math.Float32frombits(binary.LittleEndian.Uint32(value)))
	default:
		number = math.Float64frombits(binary.LittleEndian.Uint64(value))
	}
	switch {
	case math.IsNaN(number):
		return "NaN"
	case math.IsInf(number, 1):
		return "Infinity"
	case math.IsInf(number, -1):
		return "-Infinity"
	}
	return number
}

const secondsOfDay = 86_400

// timeValue gives a date or time as temporalDefault does.
func timeValue(t arrow.DataType, n int64) (any, error) {
	switch t := t.(type) {
	case *arrow.Date32Type:
		return dateText(time.Unix(n*secondsOfDay, 0))
	case *arrow.Date64Type:
		return dateText(time.UnixMilli(n))
	case *arrow.Time32Type:
		return timeOfDayText(n, t.Unit)
	case *arrow.Time64Type:
		return timeOfDayText(n, t.Unit)
	case *arrow.TimestampType:
		at := t.Unit.Multiplier()
		perSecond := int64(time.Second / at)
		seconds, rest := n/perSecond, n%perSecond
		if rest < 0 {
			seconds, rest = seconds-1, rest+perSecond
		}
		return stampText(time.Unix(seconds, rest*int64(at)))
	}
	return nil, fmt.Errorf("values of %s have no text form", FormatType(t))
}

func dateText(at time.Time) (any, error) {
	at = at.UTC()
	if at.Year() < 0 || at.Year() > 9999 {
		return nil, fmt.Errorf("the date is in the year %d, which has no text form", at.Year())
	}
	return at.Format(dateLayout), nil
}

func stampText(at time.Time) (any, error) {
	at = at.UTC()
	if at.Year() < 0 || at.Year() > 9999 {
		return nil, fmt.Errorf("the time is in the year %d, which has no text form", at.Year())
	}
	return at.Format(time.RFC3339Nano), nil
}

func timeOfDayText(n int64, unit arrow.TimeUnit) (any, error) {
	if n < 0 || n >= secondsOfDay*int64(time.Second/unit.Multiplier()) {
		return nil, fmt.Errorf("%d is no time of day", n)
	}
	return time.Unix(0, 0).UTC().Add(time.Duration(n) * unit.Multiplier()).Format(timeLayout), nil
}
