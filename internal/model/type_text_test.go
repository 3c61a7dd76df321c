package model

import (
	"errors"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/extensions"
	"pgregory.net/rapid"
)

// typeTexts are texts as pyarrow 26 prints them.
var typeTexts = []string{
	"null", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
	"halffloat", "float", "double", "string", "large_string", "string_view",
	"binary", "large_binary", "binary_view", "fixed_size_binary[16]", "fixed_size_binary[1]",
	"date32[day]", "date64[ms]", "time32[s]", "time32[ms]", "time64[us]", "time64[ns]",
	"timestamp[s]", "timestamp[ms]", "timestamp[us]", "timestamp[ns]",
	"timestamp[us, tz=UTC]", "timestamp[ns, tz=+05:30]", "timestamp[us, tz=Europe/Berlin]",
	"duration[s]", "duration[ns]", "month_day_nano_interval",
	"decimal32(5, 2)", "decimal64(18, 0)", "decimal128(10, 2)", "decimal256(10, -2)",
	"list<item: string>", "list<item: string not null>", "large_list<x: int8 not null>",
	"fixed_size_list<item: float>[3]", "struct<>",
	"struct<a: int64, b: list<item: string not null> not null>", "struct<a b: int64, ü: null>",
	"map<string, int64>", "map<string, int64, keys_sorted>", "map<string, list<item: map<int8, double>>>",
	"list<item: struct<a: map<string, timestamp[us, tz=UTC]>, b: fixed_size_list<item: list<item: bool>>[2]>>",
}

func TestTypesReadBackAsPyarrowPrintsThem(t *testing.T) {
	for _, text := range typeTexts {
		parsed, err := ParseType(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := FormatType(parsed); got != text {
			t.Errorf("%s is printed as %s", text, got)
		}
	}
}

func TestOtherSpellingsOfTypes(t *testing.T) {
	for text, want := range map[string]string{
		"float16": "halffloat", "float32": "float", "float64": "double", "date32": "date32[day]",
		"utf8": "string", "boolean": "bool", "decimal(10,2)": "decimal128(10, 2)", "decimal64(3)": "decimal64(3, 0)",
		"list<string>": "list<item: string>", "list< list<x:int8> >": "list<item: list<x: int8>>",
		"large_list<int8 not null>":      "large_list<item: int8 not null>",
		"list<timestamp[us, tz=+01:00]>": "list<item: timestamp[us, tz=+01:00]>",
		" struct< a : int64 NOT NULL >":  "struct<a: int64 not null>", "struct<`a,b``:`: int8>": "struct<`a,b``:`: int8>",
		"struct<``: int8>":                                                         "struct<``: int8>",
		"map<string, int64 not null>":                                              "map<string, int64 not null>",
		"dictionary<values=string, indices=int32, ordered=0>":                      "string",
		"list<item: dictionary<values=large_string, indices=uint8, ordered=1>>":    "list<item: large_string>",
		"dictionary<values=struct<a: int8>, indices=int64>":                        "struct<a: int8>",
		"struct<timestamp: timestamp[us], list: list<item: int8>, not null: int8>": "struct<timestamp: timestamp[us], list: list<item: int8>, not null: int8>",
	} {
		parsed, err := ParseType(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := FormatType(parsed); got != want {
			t.Errorf("%s is read as %s, want %s", text, got, want)
		}
	}
}

func TestTypesThatAreOnlyPrinted(t *testing.T) {
	dictionary := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int16, ValueType: arrow.BinaryTypes.String, Ordered: true}
	for want, typ := range map[string]arrow.DataType{
		"dictionary<values=string, indices=int16, ordered=1>": dictionary,
		"extension<arrow.uuid[fixed_size_binary[16]]>":        extensions.NewUUIDType(),
	} {
		if got := FormatType(typ); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestFaultsInTypesNameTheirPlace(t *testing.T) {
	for text, want := range map[string]string{
		"":                           "at character 1: got the end",
		"int":                        `at character 1: "int" is not a type`,
		"int64 x":                    `at character 7: got "x", want the end`,
		"list<item: strin>":          `at character 12: "strin>" is not a type`,
		"list<item: string":          `at character 18: got the end, want ">"`,
		"struct<ü: x>":               `at character 11: "x>" is not a type`,
		"struct<a int8>":             `at character 14: got ">", want ":"`,
		"timestamp":                  `at character 10: got the end, want "["`,
		"timestamp[m]":               "want a unit: s, ms, us or ns",
		"timestamp[us, tz=]":         "want a time zone",
		"timestamp[us, tz=UTC":       "want a time zone",
		"time32[us]":                 `at character 1: "time32[us]" is not a type`,
		"decimal128(39, 2)":          `got "39", want a number from 1 to 38`,
		"decimal32(9, 100)":          "scale of decimal32",
		"fixed_size_list<int8>[0]":   "want a number from 1 to",
		"fixed_size_binary[9999999]": "want a number from 1 to",
		"dictionary<values=string>":  `want ","`,
		"dictionary<values=string, indices=float>": "want a type of integers",
		"map<string>":                     `want ","`,
		"map<string, int8, sorted>":       `got "sorted", want keys_sorted`,
		"extension<arrow.uuid>":           "is not a type",
		"struct<`a: int8>":                "no closing backquote",
		strings.Repeat("list<item: ", 40): "nested deeper than 32",
	} {
		_, err := ParseType(text)
		if err == nil {
			t.Errorf("%s is read without an error", text)
			continue
		}
		if !errors.Is(err, BadRequest) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

// drawType gives any type that has a text of its own.
func drawType(t *rapid.T, depth int) arrow.DataType {
	if depth == 0 || rapid.Bool().Draw(t, "flat") {
		typ, err := ParseType(rapid.SampledFrom(typeTexts[:40]).Draw(t, "text"))
		if err != nil {
			t.Fatal(err)
		}
		return typ
	}
	field := func(name string) arrow.Field {
		return arrow.Field{Name: name, Type: drawType(t, depth-1), Nullable: rapid.Bool().Draw(t, "nullable")}
	}
	switch rapid.IntRange(0, 4).Draw(t, "kind") {
	case 0:
		return arrow.ListOfField(field(rapid.String().Draw(t, "name")))
	case 1:
		return arrow.LargeListOfField(field("item"))
	case 2:
		return arrow.FixedSizeListOfField(rapid.Int32Range(1, 100).Draw(t, "length"), field("item"))
	case 3:
		m := arrow.MapOfFields(arrow.Field{Type: drawType(t, depth-1)}, field("value"))
		m.KeysSorted = rapid.Bool().Draw(t, "sorted")
		return m
	}
	var fields []arrow.Field
	for range rapid.IntRange(0, 4).Draw(t, "fields") {
		fields = append(fields, field(rapid.String().Draw(t, "name")))
	}
	return arrow.StructOf(fields...)
}

func TestEveryTypeReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawType(t, 4)
		got, err := ParseType(FormatType(want))
		if err != nil {
			t.Fatalf("%s: %v", FormatType(want), err)
		}
		if !arrow.TypeEqual(got, want) || FormatType(got) != FormatType(want) {
			t.Fatalf("%s is read as %s", FormatType(want), FormatType(got))
		}
	})
}

func FuzzParseType(f *testing.F) {
	for _, text := range typeTexts {
		f.Add(text)
	}
	f.Add("dictionary<values=string, indices=int32, ordered=0>")
	f.Add("struct<`a``b`: list<int8 not null>>")
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := ParseType(text)
		if err != nil {
			if !errors.Is(err, BadRequest) {
				t.Fatalf("%q: the reason of %v is not BAD_REQUEST", text, err)
			}
			return
		}
		again, err := ParseType(FormatType(parsed))
		if err != nil || !arrow.TypeEqual(again, parsed) {
			t.Fatalf("%q is printed as %q, which is read as %v, %v", text, FormatType(parsed), again, err)
		}
	})
}

func FuzzParseColumns(f *testing.F) {
	f.Add("id int64 not null, tags list<item: string>, `a b`: double")
	f.Fuzz(func(t *testing.T, text string) {
		columns, err := ParseColumns(text)
		if err != nil {
			return
		}
		if _, _, _, err := SchemaFromColumns(columns); err != nil {
			t.Fatalf("%q is read as %v, whose schema fails: %v", text, columns, err)
		}
	})
}
