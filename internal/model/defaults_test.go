package model

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
)

// defaultCases are defaults and what is kept of them, or an error.
var defaultCases = []struct {
	typ   string
	value any
	want  any // an error text if it is of type error
}{
	{"bool", true, true},
	{"bool", 1.0, errors.New("got 1, want true or false")},
	{"int64", 7.0, 7.0},
	{"int64", json.Number("7"), 7.0},
	{"int64", "9007199254740993", "9007199254740993"},
	{"int64", "9223372036854775808", errors.New("want -9223372036854775808 to")},
	{"int64", 9007199254740994.0, errors.New("write it as a string")},
	{"int64", 1.5, errors.New("want an integer")},
	{"int64", "1e3", errors.New("want an integer")},
	{"int64", "", errors.New("want an integer")},
	{"int64", nil, nil},
	{"int8", -129.0, errors.New("got -129, want -128 to 127")},
	{"uint8", "255", 255.0},
	{"uint64", "18446744073709551615", "18446744073709551615"},
	{"uint64", -1.0, errors.New("got -1, want 0 to 18446744073709551615")},
	{"double", 1.25, 1.25},
	{"double", json.Number("1e3"), 1000.0},
	{"double", "NaN", "NaN"},
	{"double", "-Infinity", "-Infinity"},
	{"double", "1.5", errors.New("want a number")},
	{"double", math.Inf(1), errors.New("does not fit double")},
	{"float", 1e39, errors.New("does not fit float")},
	{"halffloat", 65505.0, errors.New("does not fit halffloat")},
	{"decimal128(5, 2)", "1.5", "1.50"},
	{"decimal128(5, 2)", -1.25, "-1.25"},
	{"decimal128(5, 2)", "-0.05", "-0.05"},
	{"decimal128(5, 2)", 0.0, "0.00"},
	{"decimal128(5, 2)", "1.500", "1.50"},
	{"decimal128(5, 2)", "1.255", errors.New("at most 2 digits behind the point")},
	{"decimal128(5, 2)", "1000", errors.New("at most 5 digits")},
	{"decimal128(5, -2)", "1200", "1200"},
	{"decimal128(5, -2)", "1250", errors.New("behind the point")},
	{"decimal128(5, 2)", "1e5", errors.New("want a decimal")},
	{"decimal128(5, 2)", "+-1", errors.New("want a decimal")},
	{"decimal256(76, 0)", strings.Repeat("9", 76), strings.Repeat("9", 76)},
	{"string", "a", "a"},
	{"string", "\xff", errors.New("want a string")},
	{"string_view", 1.0, errors.New("got 1, want a string")},
	{"binary", "-_8", "+/8="},
	{"binary", "+/8=", "+/8="},
	{"binary", "a!", errors.New("want base64")},
	{"fixed_size_binary[2]", "AAA=", "AAA="},
	{"fixed_size_binary[2]", "AA==", errors.New("got 1 bytes, want 2")},
	{"date32", "2026-11-21", "2026-11-21"},
	{"date32", "2026-11-31", errors.New("want a date such as")},
	{"time32[s]", "08:00:00", "08:00:00"},
	{"time32[s]", "08:00:00.5", errors.New("finer than time32[s]")},
	{"time64[ns]", "08:00:00.123456789", "08:00:00.123456789"},
	{"timestamp[us, tz=UTC]", "2026-11-21T09:00:00.5+01:00", "2026-11-21T08:00:00.5Z"},
	{"timestamp[us]", "2026-11-21T09:00:00Z", "2026-11-21T09:00:00Z"},
	{"timestamp[us]", "2026-11-21T09:00:00+01:00", errors.New("column without a time zone")},
	{"timestamp[us]", "2026-11-21 09:00:00", errors.New("want a time with its zone")},
	{"timestamp[us]", "2026-11-21T09:00:00.0000001Z", errors.New("finer than timestamp[us]")},
	{"timestamp[ns]", "2026-11-21T09:00:00.0000000001Z", errors.New("want a time with its zone")},
	{"timestamp[ns]", "3000-01-01T00:00:00Z", errors.New("want a year")},
	{"duration[s]", 60.0, 60.0},
	{"list<item: int8 not null>", []any{1.0, 2.0}, []any{1.0, 2.0}},
	{"list<item: int8 not null>", []any{1.0, nil}, errors.New("value 1: null is no value")},
	{"list<item: int8>", 1.0, errors.New("want an array")},
	{"fixed_size_list<item: float>[2]", []any{1.0}, errors.New("got an array of 1 values, want 2")},
	{"struct<a: int8, b: string>", map[string]any{"a": 1.0}, map[string]any{"a": 1.0, "b": nil}},
	{"struct<a: int8 not null>", map[string]any{}, errors.New(`field "a": null is no value`)},
	{"struct<a: int8>", map[string]any{"x": 1.0}, errors.New(`no field "x"`)},
	{"struct<a: int8>", []any{}, errors.New("got an array, want an object")},
	{"map<string, int8>", map[string]any{}, errors.New("no default but null")},
	{"month_day_nano_interval", "1", errors.New("no default but null")},
}

func TestCheckDefault(t *testing.T) {
	for _, c := range defaultCases {
		typ, err := ParseType(c.typ)
		if err != nil {
			t.Fatal(err)
		}
		got, err := CheckDefault(arrow.Field{Name: "c", Type: typ, Nullable: true}, c.value)
		if want, ok := c.want.(error); ok {
			if err == nil || !errors.Is(err, BadRequest) || !strings.Contains(err.Error(), want.Error()) {
				t.Errorf("%s %v: got %v, %v, want %v", c.typ, c.value, got, err, want)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s %v: got %#v, %v, want %#v", c.typ, c.value, got, err, c.want)
			continue
		}
		again, err := CheckDefault(arrow.Field{Type: typ, Nullable: true}, got)
		if err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("%s %v: the kept form %v is read as %v, %v", c.typ, c.value, got, again, err)
		}
	}
}

func TestDefaultsOfASchema(t *testing.T) {
	schema := schemaOf(arrow.Field{Name: "a", Type: arrow.PrimitiveTypes.Int8}, column("b", arrow.BinaryTypes.String))
	checked, err := CheckDefaults(schema, map[string]any{"a": "5", "b": nil})
	if err != nil || !reflect.DeepEqual(checked, map[string]any{"a": 5.0, "b": nil}) {
		t.Errorf("got %v, %v", checked, err)
	}
	_, err = CheckDefaults(schema, map[string]any{"a": nil, "b": 1.0, "c": 2.0})
	for _, want := range []string{`"a": null is no value`, `"b": got 1, want a string`, `column "c" that is not there`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %s", err, want)
		}
	}
}

func FuzzCheckDefault(f *testing.F) {
	f.Add("decimal128(5, 2)", `"-1.5"`)
	f.Add("list<item: struct<a: timestamp[us]>>", `[{"a":"2026-11-21T09:00:00Z"}]`)
	f.Add("binary", `"_w"`)
	f.Fuzz(func(t *testing.T, typeText, valueText string) {
		typ, err := ParseType(typeText)
		if err != nil {
			return
		}
		var value any
		if json.Unmarshal([]byte(valueText), &value) != nil {
			return
		}
		field := arrow.Field{Type: typ, Nullable: true}
		got, err := CheckDefault(field, value)
		if err != nil {
			return
		}
		encoded, err := json.Marshal(got)
		if err != nil {
			t.Fatalf("%s %s: kept form %v: %v", typeText, valueText, got, err)
		}
		var decoded any
		if err := json.Unmarshal(encoded, &decoded); err != nil || !reflect.DeepEqual(decoded, got) {
			t.Fatalf("%s %s: kept form %#v comes back from JSON as %#v", typeText, valueText, got, decoded)
		}
		if again, err := CheckDefault(field, got); err != nil || !reflect.DeepEqual(again, got) {
			t.Fatalf("%s %s: kept form %#v is read as %#v, %v", typeText, valueText, got, again, err)
		}
	})
}
