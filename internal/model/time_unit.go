package model

import (
	"fmt"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
)

// TimeUnit is the unit of time that partitions are of. Units begin in UTC.
type TimeUnit string

// The units of time.
const (
	TimeUnitHour    TimeUnit = "hour"
	TimeUnitDay     TimeUnit = "day"
	TimeUnitMonth   TimeUnit = "month"
	TimeUnitQuarter TimeUnit = "quarter"
	TimeUnitYear    TimeUnit = "year"
)

const timeUnitRange = "hour, day, month, quarter, year"

const monthsOfQuarter = 3

// Start gives the beginning of the unit that a time is in, UTC.
func (u TimeUnit) Start(at time.Time) time.Time {
	at = at.UTC()
	year, month, day := at.Date()
	switch u {
	case TimeUnitHour:
		return time.Date(year, month, day, at.Hour(), 0, 0, 0, time.UTC)
	case TimeUnitDay:
		return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	case TimeUnitMonth:
		return time.Date(year, month, 1, 0, 0, 0, 0, time.UTC)
	case TimeUnitQuarter:
		return time.Date(year, month-(month-1)%monthsOfQuarter, 1, 0, 0, 0, 0, time.UTC)
	}
	return time.Date(year, time.January, 1, 0, 0, 0, 0, time.UTC)
}

// Add gives the beginning of the unit that is n units behind the one that a time is in; n may be negative.
func (u TimeUnit) Add(at time.Time, n int) time.Time {
	start := u.Start(at)
	switch u {
	case TimeUnitHour:
		return start.Add(time.Duration(n) * time.Hour)
	case TimeUnitDay:
		return start.AddDate(0, 0, n)
	case TimeUnitMonth:
		return start.AddDate(0, n, 0)
	case TimeUnitQuarter:
		return start.AddDate(0, monthsOfQuarter*n, 0)
	}
	return start.AddDate(n, 0, 0)
}

// form is the layout of package time of the text of a unit; quarters have none.
func (u TimeUnit) form() string {
	switch u {
	case TimeUnitHour:
		return "2006-01-02T15"
	case TimeUnitDay:
		return dateLayout
	case TimeUnitMonth:
		return "2006-01"
	}
	return "2006"
}

// Text writes a unit: 2026-11-21T08, 2026-11-21, 2026-11, 2026-Q4 or 2026.
func (u TimeUnit) Text(at time.Time) string {
	if u == TimeUnitQuarter {
		return fmt.Sprintf("%04d-Q%d", at.Year(), (at.Month()-1)/monthsOfQuarter+1)
	}
	return at.UTC().Format(u.form())
}

// parse reads what Text wrote, and nothing else.
func (u TimeUnit) parse(text string) (time.Time, error) {
	var at time.Time
	var err error
	if u == TimeUnitQuarter {
		var year, quarter int
		if _, err = fmt.Sscanf(text, "%4d-Q%1d", &year, &quarter); err == nil {
			at = time.Date(year, time.Month(monthsOfQuarter*(quarter-1)+1), 1, 0, 0, 0, 0, time.UTC)
		}
	} else {
		at, err = time.Parse(u.form(), text)
	}
	if err != nil || u.Text(at) != text {
		return time.Time{}, fmt.Errorf("%q is no %s, want the form %s", clip(text, 60), u, u.Text(time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)))
	}
	return at, nil
}

// Value gives the beginning of a unit as the value of a partition column of a type, in the form of
// CheckDefault.
func (u TimeUnit) Value(t arrow.DataType, at time.Time) any {
	switch t.ID() {
	case arrow.DATE32, arrow.DATE64:
		return at.UTC().Format(dateLayout)
	case arrow.TIMESTAMP:
		return at.UTC().Format(time.RFC3339Nano)
	}
	return u.Text(at)
}

// Time is the inverse of Value: it fails on a value that is not the beginning of a unit.
func (u TimeUnit) Time(t arrow.DataType, value any) (time.Time, error) {
	text, ok := value.(string)
	if !ok {
		return time.Time{}, fmt.Errorf("%v is no %s", value, u)
	}
	var at time.Time
	var err error
	switch t.ID() {
	case arrow.DATE32, arrow.DATE64:
		at, err = time.Parse(dateLayout, text)
	case arrow.TIMESTAMP:
		at, err = time.Parse(time.RFC3339Nano, text)
	default:
		return u.parse(text)
	}
	if err == nil && !u.Start(at).Equal(at) {
		err = fmt.Errorf("%s is not the beginning of a %s", text, u)
	}
	return at, err
}
