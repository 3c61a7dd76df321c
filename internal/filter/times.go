package filter

import (
	"math/big"
	"strings"
	"time"
)

// instant is a moment, or a moment of a clock without a zone.
type instant struct {
	nanos *big.Int // since 1970
	// shift is the offset from UTC that the text names, in seconds; zoned says that it names one.
	shift int
	zoned bool
}

// instantLayouts are the texts of times; package time reads a fraction behind the seconds by itself.
var instantLayouts = []struct {
	layout string
	zoned  bool
}{
	{"2006-01-02T15:04:05Z07:00", true},
	{"2006-01-02T15:04:05", false},
	{"2006-01-02", false},
}

// readInstant reads a date, or a date and a time with a T or a blank between them, with or without a
// zone.
func readInstant(text string) (instant, bool) {
	if len(text) > 10 && text[10] == ' ' {
		text = text[:10] + "T" + text[11:]
	}
	if strings.Contains(text, ",") || tooFine(text) {
		return instant{}, false
	}
	for _, form := range instantLayouts {
		at, err := time.Parse(form.layout, text)
		if err != nil {
			continue
		}
		_, shift := at.Zone()
		nanos := new(big.Int).Mul(big.NewInt(at.Unix()), big.NewInt(int64(time.Second)))
		return instant{nanos.Add(nanos, big.NewInt(int64(at.Nanosecond()))), shift, form.zoned}, true
	}
	return instant{}, false
}

// readTimeOfDay reads a time of day, in nanoseconds.
func readTimeOfDay(text string) (int64, bool) {
	if strings.Contains(text, ",") || tooFine(text) {
		return 0, false
	}
	at, err := time.Parse("15:04:05", text)
	if err != nil {
		return 0, false
	}
	return int64(at.Sub(time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC))), true
}

// tooFine says that there are more than nine digits behind the point, which package time would drop.
func tooFine(text string) bool {
	_, fraction, _ := strings.Cut(text, ".")
	return len(fraction)-len(strings.TrimLeft(fraction, "0123456789")) > 9
}

// The seconds since 1970 of the years that texts of times can name.
const (
	yearMinUnix = -62167219200 // 0000-01-01
	yearMaxUnix = 253402300799 // 9999-12-31T23:59:59
)
