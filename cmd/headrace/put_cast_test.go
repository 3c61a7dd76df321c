package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/extensions"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// rowsOf makes a batch of JSON objects.
func rowsOf(t *testing.T, schema *arrow.Schema, objects string) arrow.RecordBatch {
	t.Helper()
	batch, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader("["+objects+"]"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(batch.Release)
	return batch
}

// writeRows writes a batch in a format and gives the path.
func writeRows(t *testing.T, format string, batch arrow.RecordBatch) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "rows."+format))
	if err != nil {
		t.Fatal(err)
	}
	writer, err := newRowWriter(format, f, batch.Schema())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(writer.Write(batch), writer.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// typed are types that a file has not, or not as they are, with a value each.
var typed = map[string]string{
	"decimal32(5, 2)": `"-123.45"`, "decimal64(18, 0)": `"999999999999999999"`, "decimal256(50, 3)": `"1.250"`,
	"string_view": `"a text that is not inline"`, "binary_view": `"AAEC"`, "large_string": `"x"`, "large_binary": `""`,
	"date64[ms]": `"2026-11-21"`, "time32[s]": `"08:00:01"`, "timestamp[s]": `"2026-11-21T08:00:00"`,
	"timestamp[s, tz=Europe/Berlin]": `"2026-11-21T08:00:00Z"`, "timestamp[ns, tz=+05:30]": `"2026-11-21T08:00:00.123456789Z"`,
	"halffloat": `1.5`, "bool": `true`, "null": `null`, "uint64": `18446744073709551615`,
	"fixed_size_list<item: float>[2]":               `[1.5,null]`,
	"fixed_size_list<item: string_view>[1]":         `["a"]`,
	"list<item: fixed_size_list<item: int8>[2]>":    `[[1,2],null,[3,4]]`,
	"large_list<item: list<item: decimal32(3, 1)>>": `[["1.5"],null,[]]`,
	"struct<a: string_view, b: list<item: int64>>":  `{"a":"x","b":[9007199254740993]}`,
	"map<string, list<item: string_view>>":          `[{"key":"k","value":["a",null]}]`,
	"fixed_size_binary[3]":                          `"AAEC"`,
}

// TestFilesGiveBackEveryType writes values and nulls of each type, and reads them for a table of that type.
func TestFilesGiveBackEveryType(t *testing.T) {
	for text, value := range typed {
		schema := parseSchema(t, "id int64, v "+text)
		batch := rowsOf(t, schema, `{"id":1,"v":`+value+`},{"id":2,"v":null},{"id":3,"v":`+value+`}`)
		for _, format := range []string{"parquet", "arrow", "jsonl", "csv"} {
			if format == "csv" && (text == "large_binary" || text == "null") {
				continue // nothing and null are the same there
			}
			source, err := openSource(t.Context(), writeRows(t, format, batch), nil, sourceOptions{table: schema, nulls: []string{""}})
			if err != nil {
				t.Errorf("%s, %s: %v", text, format, err)
				continue
			}
			got, err := source.Next()
			if err != nil {
				t.Errorf("%s, %s: %v", text, format, err)
			} else if !arrow.TypeEqual(storage(got.Column(1).DataType()), storage(batch.Column(1).DataType())) && !strings.Contains(text, "view") ||
				!sameValues(got.Column(1), batch.Column(1), format) {
				t.Errorf("%s, %s: got %s %v, want %v", text, format, got.Column(1).DataType(), got.Column(1), batch.Column(1))
			}
			source.close()
		}
	}
}

// sameValues compares as JSON; CSV has no null text.
func sameValues(a, b arrow.Array, format string) bool {
	left, right := jsonCells(a), jsonCells(b)
	for row := range b.Len() {
		if format == "csv" && b.IsNull(row) && isText(b.DataType()) {
			continue
		}
		if string(left(nil, row)) != string(right(nil, row)) {
			return false
		}
	}
	return a.Len() == b.Len()
}

func TestExtensionTypesGoThroughFiles(t *testing.T) {
	jsonType, err := extensions.NewJSONType(arrow.BinaryTypes.String)
	if err != nil {
		t.Fatal(err)
	}
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "u", Type: extensions.NewUUIDType(), Nullable: true}, {Name: "b", Type: extensions.NewBool8Type(), Nullable: true},
		{Name: "j", Type: jsonType, Nullable: true},
	}, nil)
	const id = "01234567-89ab-cdef-0123-456789abcdef"
	build := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer build.Release()
	for i, text := range []string{id, "true", `{"a":"ü"}`} {
		if err := build.Field(i).AppendValueFromString(text); err != nil {
			t.Fatal(err)
		}
		build.Field(i).AppendNull()
	}
	batch := build.NewRecordBatch()
	defer batch.Release()
	for format, want := range map[string]string{
		"jsonl": `{"u":"` + id + `","b":1,"j":"{\"a\":\"ü\"}"}` + "\n" + `{"u":null,"b":null,"j":null}` + "\n",
		"csv":   "u,b,j\n" + id + ",1,\"{\"\"a\"\":\"\"ü\"\"}\"\n,,\n",
	} {
		path := writeRows(t, format, batch)
		if text, err := os.ReadFile(path); err != nil || string(text) != want {
			t.Errorf("%s: got %s, %v", format, text, err)
		}
		source, err := openSource(t.Context(), path, nil, sourceOptions{table: schema, nulls: []string{""}})
		if err != nil {
			t.Fatal(err)
		}
		rows, err := readAll(source)
		if source.close(); err != nil || !strings.HasPrefix(rows, `{"u":"`+id+`","b":1,"j":"{\"a\":\"ü\"}"}`) {
			t.Errorf("%s: got %s, %v", format, rows, err)
		}
	}
}

func TestParquetFaultsNameTheColumn(t *testing.T) {
	for text, want := range map[string]string{
		"duration[s]":             "Parquet has no durations",
		"month_day_nano_interval": "Parquet has no intervals",
		"struct<>":                "Parquet has no structs without fields",
		"decimal128(5, -2)":       "Parquet has no decimals with a negative scale",
		"list<item: struct<a: map<string, duration[us]>>>": "Parquet has no durations",
	} {
		_, err := newRowWriter("parquet", io.Discard, parseSchema(t, "id int8, odd "+text))
		if err == nil || !strings.Contains(err.Error(), `column "odd" is of type `+text) || !strings.Contains(err.Error(), want) ||
			!strings.Contains(err.Error(), "--columns") {
			t.Errorf("%s: got %v", text, err)
		}
	}
}

func TestCastsThatLoseSomethingNameTheColumn(t *testing.T) {
	for name, c := range map[string]struct{ from, to, value string }{
		"a number that is too large":        {"int64", "int8", "300"},
		"a fraction":                        {"double", "int32", "1.5"},
		"a part of a second":                {"timestamp[ms]", "timestamp[s]", `"2026-11-21T08:00:00.5"`},
		"bytes that are no text":            {"binary", "string", `"/w=="`},
		"bytes that are no text, as a view": {"binary", "string_view", `"/w=="`},
		"a list of another length":          {"list<item: int8>", "fixed_size_list<item: int8>[3]", "[1,2]"},
		"digits":                            {"decimal128(10, 1)", "decimal32(3, 1)", `"123.4"`},
		"a field of a struct":               {"struct<a: int64>", "struct<a: int8>", `{"a":300}`},
	} {
		batch := rowsOf(t, parseSchema(t, "odd "+c.from), `{"odd":`+c.value+`}`)
		source, err := openSource(t.Context(), writeRows(t, "arrow", batch), nil, sourceOptions{table: parseSchema(t, "odd "+c.to)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := source.Next(); err == nil || !strings.Contains(err.Error(), `column "odd": `) {
			t.Errorf("%s: got %v", name, err)
		}
		source.close()
	}
}

// TestTypesThatMeanSomethingElseAreNotCast leaves them to the server, which refuses them by name.
func TestTypesThatMeanSomethingElseAreNotCast(t *testing.T) {
	for _, c := range [][2]string{
		{"string", "int64"}, {"int64", "string"}, {"timestamp[us]", "timestamp[us, tz=UTC]"}, {"timestamp[us]", "date32[day]"},
		{"bool", "int8"}, {"double", "decimal128(10, 2)"}, {"struct<a: int8>", "struct<b: int8>"}, {"list<item: int8>", "int8"},
		{"decimal32(5, 2)", "decimal128(9, 3)"}, {"map<string, int8>", "list<item: int8>"},
	} {
		if castable(parseSchema(t, "v "+c[0]).Field(0).Type, parseSchema(t, "v "+c[1]).Field(0).Type) {
			t.Errorf("%s becomes %s", c[0], c[1])
		}
	}
}

func TestColumnsOfParquetAreChosen(t *testing.T) {
	schema := parseSchema(t, "a int64, s struct<x: int8, y: list<item: string>>, z string")
	batch := rowsOf(t, schema, `{"a":1,"s":{"x":2,"y":["p"]},"z":"q"}`)
	path := writeRows(t, "parquet", batch)
	source, err := openSource(t.Context(), path, nil, sourceOptions{columns: []string{"z", "s"}})
	if err != nil {
		t.Fatal(err)
	}
	rows, err := readAll(source)
	if source.close(); err != nil || rows != `{"z":"q","s":{"x":2,"y":["p"]}}`+"\n" {
		t.Errorf("got %s, %v", rows, err)
	}
	if _, err := openSource(t.Context(), path, nil, sourceOptions{columns: []string{"z", "t"}}); err == nil ||
		!strings.Contains(err.Error(), `no column "t" in it; there are a, s, z`) {
		t.Errorf("a column that is not there: %v", err)
	}
}

func TestNamesWithDotsAreFields(t *testing.T) {
	schema := parseSchema(t, "a struct<b: int8>, `x.y` int8")
	for name, want := range map[string]string{"a.b": `["a","b"]`, "a": `"a"`, "x.y": `"x.y"`, "n.o": `"n.o"`, "a.b.c": `["a","b","c"]`} {
		got, err := fieldPath(schema, name).MarshalJSON()
		if err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v", name, got, err)
		}
	}
}
