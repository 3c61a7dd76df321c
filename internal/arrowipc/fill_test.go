package arrowipc

import (
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
)

// TestDefaultsOfEveryType compares with what arrow-go writes for the value.
func TestDefaultsOfEveryType(t *testing.T) {
	p, f, b := arrow.PrimitiveTypes, arrow.FixedWidthTypes, arrow.BinaryTypes
	for _, c := range []struct {
		dataType arrow.DataType
		value    any
		want     string
	}{
		{f.Boolean, true, "true"}, {p.Int8, -3.0, "-3"}, {p.Int64, "9007199254740993", "9007199254740993"},
		{p.Uint64, "18446744073709551615", "18446744073709551615"}, {f.Float16, 0.5, "0.5"}, {f.Float16, 0.33, "0.33007812"}, {f.Float16, 65503.0, "65504"}, {p.Float32, "NaN", "NaN"},
		{p.Float64, "-Infinity", "-Inf"}, {b.String, "ä", "ä"}, {b.LargeString, "x", "x"},
		{b.StringView, "more than twelve bytes", "more than twelve bytes"}, {b.Binary, "AQI=", "AQI="},
		{&arrow.FixedSizeBinaryType{ByteWidth: 2}, "AQI=", "AQI="}, {&arrow.Decimal128Type{Precision: 10, Scale: 2}, "1.50", "1.5"},
		{&arrow.Decimal256Type{Precision: 50, Scale: 1}, "-2.5", "-2.5"}, {&arrow.Decimal32Type{Precision: 5, Scale: 1}, "2.5", "2.5"},
		{f.Date32, "2026-11-21", "2026-11-21"}, {f.Date64, "2026-11-21", "2026-11-21"},
		{f.Time32ms, "08:00:00.123", "08:00:00.123"}, {f.Time64ns, "08:00:00.123456789", "08:00:00.123456789"},
		{f.Timestamp_us, "2026-11-21T08:00:00Z", "2026-11-21T08:00:00Z"},
		{&arrow.TimestampType{Unit: arrow.Second}, "2026-11-21T08:00:00Z", "2026-11-21T08:00:00"},
		{&arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "Europe/Paris"}, "2026-11-21T08:00:00.5Z", "2026-11-21T09:00:00.5+01:00"},
		{f.Duration_ms, 1500.0, "1500ms"}, {f.Duration_ns, "9007199254740993", "9007199254740993ns"},
		{arrow.ListOf(arrow.StructOf(nullable("t", &arrow.TimestampType{Unit: arrow.Second}))),
			[]any{map[string]any{"t": "2026-11-21T08:00:00Z"}}, `[{"t":"2026-11-21T08:00:00"}]`},
		{arrow.ListOf(p.Int8), []any{1.0, nil}, "[1,null]"},
		{arrow.FixedSizeListOf(2, p.Float32), []any{1.0, 2.0}, "[1,2]"},
		{arrow.StructOf(nullable("x", p.Int8), nullable("y", b.String)), map[string]any{"x": 1.0}, `{"x":1,"y":null}`},
	} {
		t.Run(c.dataType.String(), func(t *testing.T) {
			target := layoutOf(t, arrow.NewSchema([]arrow.Field{nullable("a", p.Int8), {Name: "c", Type: c.dataType}}, nil))
			sent := arrow.NewSchema([]arrow.Field{nullable("a", p.Int8)}, nil)
			record := randomRecord(rand.New(rand.NewPCG(1, 1)), sent, 3000, 0)
			batches := decodeAll(t, encodeRecords(t, sent, []arrow.RecordBatch{record}),
				DecoderOptions{Target: target, Defaults: map[string]any{"c": c.value}}, rand.New(rand.NewPCG(1, 1)))
			got := batchRecords(t, batches)[0].Column(1)
			if got.Len() != 3000 || got.NullN() != 0 || got.ValueStr(0) != c.want || got.ValueStr(2999) != c.want {
				t.Fatalf("got %d values, %d null, %s and %s, want %s", got.Len(), got.NullN(), got.ValueStr(0), got.ValueStr(2999), c.want)
			}
		})
	}
}
