package model

import (
	"fmt"
	"math"
	"math/big"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
)

// decimalDefault reads a decimal that has the type's precision and scale without rounding, and
// gives it with all digits of the scale.
func decimalDefault(t arrow.DecimalType, value any) (any, error) {
	text, err := numberText(value)
	if err != nil {
		return nil, err
	}
	unscaled, ok := unscaledDecimal(text, int(t.GetScale()))
	if !ok {
		return nil, fmt.Errorf("got %s, want a decimal with at most %d digits behind the point", describe(value), t.GetScale())
	}
	if digits := len(new(big.Int).Abs(unscaled).String()); unscaled.Sign() != 0 && digits > int(t.GetPrecision()) {
		return nil, fmt.Errorf("got %s, want at most %d digits", describe(value), t.GetPrecision())
	}
	return formatDecimal(unscaled, int(t.GetScale())), nil
}

// unscaledDecimal gives text × 10^scale, if that is an integer.
func unscaledDecimal(text string, scale int) (*big.Int, bool) {
	whole, fraction, _ := strings.Cut(text, ".")
	fraction = strings.TrimRight(fraction, "0")
	digits := strings.TrimLeft(whole, "+-") + fraction
	if len(text) > 200 || digits == "" && !strings.Contains(text, "0") || strings.Trim(digits, "0123456789") != "" {
		return nil, false
	}
	unscaled, ok := new(big.Int).SetString(whole[:len(whole)-len(strings.TrimLeft(whole, "+-"))]+"0"+digits, 10)
	if !ok {
		return nil, false
	}
	ten := big.NewInt(10)
	if shift := scale - len(fraction); shift >= 0 {
		return unscaled.Mul(unscaled, new(big.Int).Exp(ten, big.NewInt(int64(shift)), nil)), true
	} else if unscaled.Sign() != 0 {
		divisor := new(big.Int).Exp(ten, big.NewInt(int64(-shift)), nil)
		rest := new(big.Int)
		unscaled.QuoRem(unscaled, divisor, rest)
		return unscaled, rest.Sign() == 0
	}
	return unscaled, true
}

func formatDecimal(unscaled *big.Int, scale int) string {
	sign, digits := "", new(big.Int).Abs(unscaled).String()
	if unscaled.Sign() < 0 {
		sign = "-"
	}
	if scale <= 0 {
		if unscaled.Sign() == 0 {
			return "0"
		}
		return sign + digits + strings.Repeat("0", -scale)
	}
	if missing := scale + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	point := len(digits) - scale
	return sign + digits[:point] + "." + digits[point:]
}

const (
	dateLayout = "2006-01-02"
	timeLayout = "15:04:05.999999999"
)

func temporalDefault(t arrow.DataType, value any) (any, error) {
	if t.ID() == arrow.DURATION {
		return boundedInteger(value, big.NewInt(math.MinInt64), big.NewInt(math.MaxInt64))
	}
	text, ok := value.(string)
	if !ok {
		return nil, fmt.Errorf("got %s, want %s", describe(value), temporalForm(t))
	}
	switch t := t.(type) {
	case *arrow.Date32Type, *arrow.Date64Type:
		at, err := time.Parse(dateLayout, text)
		if err != nil {
			return nil, fmt.Errorf("got %s, want %s", describe(value), temporalForm(t))
		}
		return at.Format(dateLayout), nil
	case *arrow.Time32Type:
		return timeOfDayDefault(text, t.Unit, t)
	case *arrow.Time64Type:
		return timeOfDayDefault(text, t.Unit, t)
	case *arrow.TimestampType:
		return timestampDefault(text, t)
	}
	return nil, fmt.Errorf("columns of type %s have no default but null", FormatType(t))
}

// temporalForm shows the text form of a type.
func temporalForm(t arrow.DataType) string {
	switch t.ID() {
	case arrow.DATE32, arrow.DATE64:
		return `a date such as "2026-11-21"`
	case arrow.TIME32, arrow.TIME64:
		return `a time such as "08:00:00"`
	case arrow.TIMESTAMP:
		return `a time with its zone such as "2026-11-21T08:00:00Z"`
	}
	return "null"
}

func timeOfDayDefault(text string, unit arrow.TimeUnit, t arrow.DataType) (any, error) {
	at, err := time.Parse(timeLayout, text)
	if err != nil || tooFine(text) {
		return nil, fmt.Errorf("got %s, want %s", describe(text), temporalForm(t))
	}
	if at.Nanosecond()%int(unit.Multiplier()) != 0 {
		return nil, fmt.Errorf("got %s, which is finer than %s", describe(text), FormatType(t))
	}
	return at.Format(timeLayout), nil
}

func timestampDefault(text string, t *arrow.TimestampType) (any, error) {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || tooFine(text) {
		return nil, fmt.Errorf("got %s, want %s", describe(text), temporalForm(t))
	}
	if _, offset := at.Zone(); t.TimeZone == "" && offset != 0 {
		return nil, fmt.Errorf("got %s for a column without a time zone, want a time in UTC, with Z at its end", describe(text))
	}
	at = at.UTC()
	if at.Nanosecond()%int(t.Unit.Multiplier()) != 0 {
		return nil, fmt.Errorf("got %s, which is finer than %s", describe(text), FormatType(t))
	}
	if t.Unit == arrow.Nanosecond && (at.Year() < 1678 || at.Year() > 2261) {
		return nil, fmt.Errorf("got %s, want a year from 1678 to 2261 for %s", describe(text), FormatType(t))
	}
	return at.Format(time.RFC3339Nano), nil
}

// tooFine says that a time has more than nine digits behind the point, the last of which package
// time would drop.
func tooFine(text string) bool {
	_, fraction, _ := strings.Cut(text, ".")
	return len(fraction)-len(strings.TrimLeft(fraction, "0123456789")) > 9
}
