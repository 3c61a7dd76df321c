package model

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
)

func TestTimeUnits(t *testing.T) {
	at := time.Date(2026, 11, 21, 8, 59, 59, 1, time.FixedZone("", 3600))
	stamp := &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
	for _, c := range []struct {
		unit              TimeUnit
		text, stamp, next string
	}{
		{TimeUnitHour, "2026-11-21T07", "2026-11-21T07:00:00Z", "2026-11-21T08"},
		{TimeUnitDay, "2026-11-21", "2026-11-21T00:00:00Z", "2026-11-22"},
		{TimeUnitMonth, "2026-11", "2026-11-01T00:00:00Z", "2026-12"},
		{TimeUnitQuarter, "2026-Q4", "2026-10-01T00:00:00Z", "2027-Q1"},
		{TimeUnitYear, "2026", "2026-01-01T00:00:00Z", "2027"},
	} {
		start := c.unit.Start(at)
		if got := c.unit.Value(arrow.BinaryTypes.String, start); got != c.text {
			t.Errorf("%s: text %v, want %s", c.unit, got, c.text)
		}
		if got := c.unit.Value(stamp, start); got != c.stamp {
			t.Errorf("%s: time %v, want %s", c.unit, got, c.stamp)
		}
		if got := c.unit.Text(c.unit.Add(at, 1)); got != c.next {
			t.Errorf("%s: the next one is %s, want %s", c.unit, got, c.next)
		}
		if got := c.unit.Add(c.unit.Add(at, -30), 30); !got.Equal(start) {
			t.Errorf("%s: 30 back and forth is %v, want %v", c.unit, got, start)
		}
		for _, value := range []struct {
			dataType arrow.DataType
			value    any
		}{{arrow.BinaryTypes.String, c.text}, {stamp, c.stamp}} {
			if back, err := c.unit.Time(value.dataType, value.value); err != nil || !back.Equal(start) {
				t.Errorf("%s: %v is %v, %v", c.unit, value.value, back, err)
			}
		}
		for _, wrong := range []string{"", "x", c.text + "0", " " + c.text, "2026-11-21T08:00:00", "2026-Q5", "2026-13", "0x26"} {
			if back, err := c.unit.Time(arrow.BinaryTypes.String, wrong); err == nil {
				t.Errorf("%s: %q is %v", c.unit, wrong, back)
			}
		}
		if _, err := c.unit.Time(stamp, "2026-11-21T07:00:00.000001Z"); err == nil {
			t.Errorf("%s: a time within is taken for its beginning", c.unit)
		}
		if _, err := c.unit.Time(stamp, 7.0); err == nil {
			t.Errorf("%s: a number is taken for a time", c.unit)
		}
	}
}

// TestFormatValue gives values that CheckDefault reads as the same.
func TestFormatValue(t *testing.T) {
	p := arrow.PrimitiveTypes
	for _, c := range []struct {
		dataType arrow.DataType
		bytes    string
		want     any
	}{
		{arrow.FixedWidthTypes.Boolean, "\x01", true},
		{p.Int8, "\xff", -1.0}, {p.Uint8, "\xff", 255.0}, {p.Int64, "\x01\x00\x00\x00\x00\x00\x20\x00", "9007199254740993"},
		{p.Uint64, "\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615"}, {p.Int16, "\x00\x80", -32768.0},
		{arrow.FixedWidthTypes.Float16, "\x00\x3e", 1.5}, {p.Float32, "\x00\x00\x00\xc0", -2.0},
		{p.Float64, "\x00\x00\x00\x00\x00\x00\xf0\x7f", "Infinity"}, {p.Float64, "\x00\x00\x00\x00\x00\x00\xf0\xff", "-Infinity"},
		{p.Float64, "\x01\x00\x00\x00\x00\x00\xf8\x7f", "NaN"},
		{&arrow.Decimal128Type{Precision: 5, Scale: 2}, "\x85\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "-1.23"},
		{p.Date32, "\xff\xff\xff\xff", "1969-12-31"}, {p.Date64, "\x00\x5c\x26\x05\x00\x00\x00\x00", "1970-01-02"},
		{&arrow.Time32Type{Unit: arrow.Millisecond}, "\x01\x00\x00\x00", "00:00:00.001"},
		{&arrow.Time64Type{Unit: arrow.Nanosecond}, "\x01\x00\x00\x00\x00\x00\x00\x00", "00:00:00.000000001"},
		{&arrow.TimestampType{Unit: arrow.Second}, "\xff\xff\xff\xff\xff\xff\xff\xff", "1969-12-31T23:59:59Z"},
		{&arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"}, "\xff\xff\xff\xff\xff\xff\xff\xff", "1969-12-31T23:59:59.999999999Z"},
		{&arrow.DurationType{Unit: arrow.Second}, "\x07\x00\x00\x00\x00\x00\x00\x00", 7.0},
		{arrow.BinaryTypes.String, "ü", "ü"}, {arrow.BinaryTypes.LargeString, "", ""}, {arrow.BinaryTypes.Binary, "\x00\xff", "AP8="},
		{&arrow.FixedSizeBinaryType{ByteWidth: 2}, "ab", "YWI="},
	} {
		got, err := FormatValue(c.dataType, []byte(c.bytes))
		if err != nil || got != c.want {
			t.Errorf("%s: got %v, %v, want %v", c.dataType, got, err, c.want)
		}
		checked, err := CheckDefault(arrow.Field{Name: "x", Type: c.dataType}, got)
		if err != nil || checked != got {
			t.Errorf("%s: %v is read as %v, %v", c.dataType, got, checked, err)
		}
	}
	for _, c := range []struct {
		dataType arrow.DataType
		bytes    string
	}{
		{p.Int32, "\x00"}, {p.Date32, "\xff\xff\xff\x7f"}, {&arrow.TimestampType{Unit: arrow.Second}, "\xff\xff\xff\xff\xff\xff\xff\x7f"},
		{&arrow.Time32Type{Unit: arrow.Second}, "\xff\xff\xff\xff"}, {arrow.FixedWidthTypes.MonthInterval, "\x01\x00\x00\x00"},
	} {
		if got, err := FormatValue(c.dataType, []byte(c.bytes)); err == nil {
			t.Errorf("%s: %x is %v", c.dataType, c.bytes, got)
		}
	}
}

func TestPartitionColumns(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "day", Type: arrow.PrimitiveTypes.Date32}, {Name: "at", Type: &arrow.TimestampType{Unit: arrow.Second}},
		{Name: "country", Type: arrow.BinaryTypes.String}, {Name: "city", Type: arrow.BinaryTypes.String},
		{Name: "id", Type: arrow.PrimitiveTypes.Int64}, {Name: "list", Type: arrow.ListOf(arrow.PrimitiveTypes.Int8)},
		{Name: "nothing", Type: arrow.Null}, {Name: "months", Type: arrow.FixedWidthTypes.MonthInterval},
	}, nil)
	for _, c := range []struct {
		columns string
		time    int
		reason  Reason
	}{
		{"day", 0, ""}, {"country", 0, ""}, {"id", -1, ""}, {"country,day", 1, ""}, {"country,city", -1, ""}, {"day,at", -1, ""}, {"id,city", 1, ""},
		{"list", -1, UnsupportedType}, {"nothing", -1, UnsupportedType}, {"months", -1, UnsupportedType}, {"x", -1, ColumnNotFound},
		{"id,id", -1, BadRequest},
	} {
		table := &Table{Schema: schema, PartitionBy: strings.Split(c.columns, ",")}
		err := table.CheckPartitionBy()
		if c.reason == "" && err != nil || c.reason != "" && !errors.Is(err, c.reason) {
			t.Errorf("%s: error %v, want %q", c.columns, err, c.reason)
		}
		if got := table.TimePartition(); got != c.time {
			t.Errorf("%s: the column of time is %d, want %d", c.columns, got, c.time)
		}
	}
	table := &Table{Schema: schema, PartitionBy: []string{"country"}, PrimaryKey: []string{"country", "city", "id"}, BucketKey: []string{"city"}}
	if got := table.RoutingKey(); strings.Join(got, ",") != "city,id" {
		t.Errorf("the routing key is %v", got)
	}
	if got := table.LookupPrefix(); strings.Join(got, ",") != "country,city" {
		t.Errorf("rows are found by %v", got)
	}
	table.BucketKey = []string{"city", "id"}
	if got := table.LookupPrefix(); got != nil {
		t.Errorf("rows are found by %v", got)
	}
}
