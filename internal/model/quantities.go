package model

import (
	"math"
	"strconv"
	"strings"
	"time"
)

var durationUnits = map[string]time.Duration{
	"w": 7 * 24 * time.Hour, "d": 24 * time.Hour, "h": time.Hour, "m": time.Minute, "s": time.Second,
	"ms": time.Millisecond, "us": time.Microsecond, "µs": time.Microsecond, "ns": time.Nanosecond,
}

const durationRemedy = "Write a number and a unit, such as 7d, 12h, 30m, 90s or 1h30m"

// ParseDuration reads a duration such as 7d, 12h or 1h30m; the units are w, d, h, m, s, ms, us and
// ns, a day being 24 hours. "0" needs no unit. Negative durations are refused.
func ParseDuration(text string) (time.Duration, error) {
	fault := Errorf(BadRequest, "%q is not a duration", clip(text, 40)).WithRemedy(durationRemedy)
	rest := strings.TrimSpace(text)
	if rest == "0" {
		return 0, nil
	}
	if rest == "" {
		return 0, fault
	}
	total := 0.0
	for rest != "" {
		number, unit, after := cutQuantity(rest)
		scale, ok := durationUnits[unit]
		value, err := strconv.ParseFloat(number, 64)
		if !ok || err != nil {
			return 0, fault
		}
		total += value * float64(scale)
		rest = after
	}
	if total >= math.MaxInt64 {
		return 0, Errorf(BadRequest, "the duration %q is longer than 292 years", clip(text, 40)).WithRemedy(durationRemedy)
	}
	return time.Duration(math.Round(total)), nil
}

// cutQuantity splits "12.5ms3s" into "12.5", "ms" and "3s".
func cutQuantity(text string) (number, unit, rest string) {
	isNumber := func(r rune) bool { return r >= '0' && r <= '9' || r == '.' }
	n := strings.IndexFunc(text, func(r rune) bool { return !isNumber(r) })
	if n < 0 {
		return text, "", ""
	}
	u := strings.IndexFunc(text[n:], isNumber)
	if u < 0 {
		u = len(text) - n
	}
	return text[:n], strings.TrimSpace(text[n : n+u]), text[n+u:]
}

var sizeUnits = map[string]float64{
	"": 1, "b": 1,
	"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12, "pb": 1e15,
	"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40, "pib": 1 << 50,
}

// ParseSize reads a number of bytes such as 10GB (10^10), 512MiB (2^29) or 4096. Case does not
// count. Negative sizes are refused.
func ParseSize(text string) (int64, error) {
	fault := Errorf(BadRequest, "%q is not a size", clip(text, 40)).
		WithRemedy("Write a number of bytes, or a number and a unit, such as 512MiB, 10GB or 2TB")
	number, unit, rest := cutQuantity(strings.TrimSpace(text))
	scale, ok := sizeUnits[strings.ToLower(unit)]
	if !ok || rest != "" {
		return 0, fault
	}
	if whole, err := strconv.ParseInt(number, 10, 64); err == nil && scale == 1 {
		return whole, nil
	}
	value, err := strconv.ParseFloat(number, 64)
	if err != nil || value*scale >= math.MaxInt64 {
		return 0, fault
	}
	return int64(math.Round(value * scale)), nil
}
