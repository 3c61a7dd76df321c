package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/headrace/headrace/internal/model"
)

// schemaText shows a schema as columns.
func schemaText(schema *arrow.Schema) string {
	var columns []string
	for _, field := range schema.Fields() {
		columns = append(columns, field.Name+" "+model.FormatType(field.Type))
	}
	return strings.Join(columns, ", ")
}

// readAll gives the rows of a source as JSON lines.
func readAll(source recordSource) (string, error) {
	var out bytes.Buffer
	writer, err := newRowWriter("jsonl", &out, source.Schema())
	if err != nil {
		return "", err
	}
	for {
		batch, err := source.Next()
		if errors.Is(err, io.EOF) {
			err := writer.Close()
			return out.String(), err
		}
		if err != nil {
			return "", err
		}
		err = writer.Write(batch)
		batch.Release()
		if err != nil {
			return "", err
		}
	}
}

func parseSchema(t *testing.T, text string) *arrow.Schema {
	t.Helper()
	columns, err := model.ParseColumns(text)
	if err != nil {
		t.Fatal(err)
	}
	schema, _, _, err := model.SchemaFromColumns(columns)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func TestTextSources(t *testing.T) {
	for name, c := range map[string]struct {
		format, text, table string
		columns             []string
		schema, rows        string // rows: an error text if it begins with "error: "
	}{
		"inferred CSV": {
			format: "csv",
			text:   "\ufeffid,x,b,day,at,local,code,s,none\n1,1,true,2013-01-01,2013-01-01 05:00:00+01:00,2013-01-01 05:00:00,007,NA,\n2,2.5,NA,2013-01-02,2013-01-01T10:00:00Z,2013-01-02,8,\"a,b\",\n",
			schema: "id int64, x double, b bool, day date32[day], at timestamp[us, tz=UTC], local timestamp[us], code string, s string, none string",
			rows: `{"id":1,"x":1,"b":true,"day":"2013-01-01","at":"2013-01-01T04:00:00Z","local":"2013-01-01T05:00:00","code":"007","s":"NA","none":""}` + "\n" +
				`{"id":2,"x":2.5,"b":null,"day":"2013-01-02","at":"2013-01-01T10:00:00Z","local":"2013-01-02T00:00:00","code":"8","s":"a,b","none":""}` + "\n",
		},
		"CSV with the types of the table": {
			format: "csv", text: "b,a\n1,2\n", table: "a int8 not null, b string, c double",
			schema: "b string, a int8", rows: `{"b":"1","a":2}` + "\n",
		},
		"some columns of CSV": {
			format: "csv", text: "a,b\n1,2\n", columns: []string{"b"}, schema: "b int64", rows: `{"b":2}` + "\n",
		},
		"a wrong value in CSV": {
			format: "csv", text: "a\n1\nx\n", table: "a int8", schema: "a int8", rows: `error: row 2, column "a": "x" is not of type int8`,
		},
		"a value too many in CSV": {format: "csv", text: "a\n1\n1,2\n", table: "a int8", schema: "a int8", rows: "error: record on line 3: wrong number of fields"},
		"CSV without rows":        {format: "csv", text: "a,b\n", schema: "a string, b string"},
		"inferred JSON": {
			format: "jsonl",
			text: `{"id":1,"x":1,"o":{"p":1},"l":[1],"e":[]}` + "\n\n" +
				`{"x":2.5,"id":2,"o":{"q":"a"},"l":[null,2.5],"at":"2013-01-01T05:00:00Z","m":1}` + "\n" + `{"m":"a","e":["x"]}`,
			schema: "id int64, x double, o struct<p: int64, q: string>, l list<item: double>, e list<item: string>, at timestamp[us, tz=UTC], m string",
			rows:   `error: object 2, column "m": 1 is not of type string`,
		},
		"JSON with the types of the table": {
			format: "jsonl", text: `{"b":"x","a":9007199254740993}` + "\n{}\n", table: "a int64 not null, b string, c double not null",
			schema: "b string, a int64", rows: `{"b":"x","a":9007199254740993}` + "\n" + `{"b":null,"a":null}` + "\n",
		},
		"JSON twice on a line": {format: "jsonl", text: `{"a":1} {"a":2}`, schema: "a int64", rows: "error: object 1: something stands behind"},
		"a member twice":       {format: "jsonl", text: `{"a":1,"a":2}`, schema: "a int64", rows: `error: object 1: jsontext: duplicate object member name "a"`},
		"half floats in CSV": {
			format: "csv", text: "a\n0.33\n 6e-8\nNA\n-65519\nInf\n", table: "a halffloat", schema: "a halffloat",
			rows: `{"a":0.33007812}` + "\n" + `{"a":5.9604645e-08}` + "\n" + `{"a":null}` + "\n" + `{"a":-65504}` + "\n" + `{"a":"Infinity"}` + "\n",
		},
		"half floats in JSON": {
			format: "jsonl", text: `{"a":0.33}` + "\n" + `{"a":6e-8}` + "\n" + `{"a":null}` + "\n" + `{"a":"-Infinity"}` + "\n", table: "a halffloat", schema: "a halffloat",
			rows: `{"a":0.33007812}` + "\n" + `{"a":5.9604645e-08}` + "\n" + `{"a":null}` + "\n" + `{"a":"-Infinity"}` + "\n",
		},
		"too large a half float in CSV":  {format: "csv", text: "a\n1\n65520\n", table: "a halffloat", schema: "a halffloat", rows: `error: row 2, column "a": "65520" is not of type halffloat: the largest is 65504`},
		"too large a half float in JSON": {format: "jsonl", text: `{"a":1e5}`, table: "a halffloat", schema: "a halffloat", rows: `error: object 1, column "a": 1e5 is not of type halffloat: the largest is 65504`},
		"a number that is no int":        {format: "jsonl", text: `{"a":1}` + "\n" + `{"a":1.5}`, table: "a int64", schema: "a int64", rows: `error: object 2, column "a"`},
	} {
		options := sourceOptions{format: c.format, columns: c.columns, nulls: defaultNulls}
		if c.table != "" {
			options.table = parseSchema(t, c.table)
		}
		source, err := openSource(t.Context(), "-", strings.NewReader(c.text), options)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := schemaText(source.Schema()); got != c.schema {
			t.Errorf("%s: got schema  %s\nwant %s", name, got, c.schema)
		}
		rows, err := readAll(source)
		source.close()
		if want, wrong := strings.CutPrefix(c.rows, "error: "); wrong {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %s", name, err, want)
			}
		} else if err != nil || rows != c.rows {
			t.Errorf("%s: %v\ngot  %s\nwant %s", name, err, rows, c.rows)
		}
	}
}

func TestSourcesThatCannotBeOpened(t *testing.T) {
	for name, c := range map[string]struct{ format, text, table, want string }{
		"empty CSV":           {"csv", "", "", "the first line must name the columns"},
		"unknown CSV column":  {"csv", "a,x\n", "a int8", `its column "x" is not one of the table, which has a`},
		"unknown JSON member": {"jsonl", `{"x":1}`, "a int8", `its column "x" is not one of the table`},
		"no JSON object":      {"jsonl", "[1]", "", "object 1: want a JSON object"},
		"broken JSON":         {"jsonl", "{", "", "object 1"},
		"Parquet from a pipe": {"parquet", "PAR1", "", "cannot be read from a pipe"},
		"broken Arrow":        {"arrow", "nonsense", "", ""},
		"no format":           {"", "", "", "say the format"},
		"unknown format":      {"xml", "", "", "want one of parquet, csv, jsonl, arrow"},
	} {
		options := sourceOptions{format: c.format}
		if c.table != "" {
			options.table = parseSchema(t, c.table)
		}
		source, err := openSource(t.Context(), "-", strings.NewReader(c.text), options)
		if err == nil {
			source.close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
	if _, err := openSource(t.Context(), filepath.Join(t.TempDir(), "x.csv"), nil, sourceOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: got %v", err)
	}
	if _, err := openSource(t.Context(), "x.doc", nil, sourceOptions{}); err == nil || !strings.Contains(err.Error(), "does not tell the format") {
		t.Errorf("an unknown name: got %v", err)
	}
}

// writeFormats writes the batch to a file of each binary format.
func writeFormats(t *testing.T, batch arrow.RecordBatch) []string {
	t.Helper()
	dir := t.TempDir()
	var paths []string
	for name, format := range map[string]string{"a.parquet": "parquet", "stream.arrow": "arrow"} {
		f, err := os.Create(filepath.Join(dir, name))
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
		paths = append(paths, f.Name())
	}
	f, err := os.Create(filepath.Join(dir, "file.feather"))
	if err != nil {
		t.Fatal(err)
	}
	writer, err := ipc.NewFileWriter(f, ipc.WithSchema(batch.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(writer.Write(batch), writer.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return append(paths, f.Name())
}

func TestBinarySourcesGiveBackWhatIsWritten(t *testing.T) {
	schema := parseSchema(t, "id int64 not null, s string, l list<item: double>, at timestamp[us, tz=UTC]")
	const text = `{"id":1,"s":"a","l":[1.5,null],"at":"2026-11-21T08:00:00Z"}` + "\n" + `{"id":2,"s":null,"l":null,"at":null}` + "\n"
	batch, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader("["+strings.ReplaceAll(strings.TrimSpace(text), "\n", ",")+"]"))
	if err != nil {
		t.Fatal(err)
	}
	defer batch.Release()
	for _, path := range writeFormats(t, batch) {
		source, err := openSource(t.Context(), path, nil, sourceOptions{columns: []string{"id", "s", "l", "at"}})
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		rows, err := readAll(source)
		if err != nil || rows != text || strings.ReplaceAll(schemaText(source.Schema()), "element", "item") != schemaText(schema) {
			t.Errorf("%s: %v\ngot  %s %s", path, err, schemaText(source.Schema()), rows)
		}
		if strings.HasSuffix(path, ".parquet") && source.share() != 1 {
			t.Errorf("%s: %v of it was read", path, source.share())
		}
		source.close()
	}
}
