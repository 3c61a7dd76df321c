package model

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
)

func TestColumnsGiveASchemaAndComeBack(t *testing.T) {
	const text = `[{"name":"id","type":"int64","nullable":false,"comment":"the number","default":0},
		{"name":"tags","type":"list<item: string not null>","default":["a"],"metadata":{"k":"v"}},
		{"name":"at","type":"timestamp[us, tz=UTC]","default":"2026-11-21T09:00:00+01:00"}]`
	var columns []Column
	if err := json.Unmarshal([]byte(text), &columns); err != nil {
		t.Fatal(err)
	}
	schema, defaults, comments, err := SchemaFromColumns(columns)
	if err != nil {
		t.Fatal(err)
	}
	if got := schema.Field(0); got.Nullable || got.Type.ID() != arrow.INT64 {
		t.Errorf("id is %v", got)
	}
	if got := schema.Field(1); !got.Nullable || got.Metadata.ToMap()["k"] != "v" {
		t.Errorf("tags is %v", got)
	}
	want := map[string]any{"id": 0.0, "tags": []any{"a"}, "at": "2026-11-21T08:00:00Z"}
	if !reflect.DeepEqual(defaults, want) {
		t.Errorf("defaults are %v, want %v", defaults, want)
	}
	again := ColumnsOf(&Table{Schema: schema, Defaults: defaults, Comments: comments})
	second, defaultsAgain, commentsAgain, err := SchemaFromColumns(again)
	if err != nil {
		t.Fatal(err)
	}
	if !second.Equal(schema) || !reflect.DeepEqual(defaultsAgain, defaults) || !reflect.DeepEqual(commentsAgain, comments) {
		t.Errorf("came back as %v, %v, %v", second, defaultsAgain, commentsAgain)
	}
	encoded, err := json.Marshal(again[0])
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"name":"id","type":"int64","nullable":false,"comment":"the number","default":0}`; string(encoded) != want {
		t.Errorf("got %s, want %s", encoded, want)
	}
}

func TestFaultsOfColumnsComeTogether(t *testing.T) {
	_, _, _, err := SchemaFromColumns([]Column{
		{Name: "a", Type: "int"}, {Name: "b", Type: "int8", Default: 300.0},
		{Name: "c", Type: "string", Metadata: map[string]string{"ARROW:extension:name": "arrow.uuid"}}, {Name: "d", Type: "string"},
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{`column "a": type "int"`, `column "b": got 300, want -128 to 127`, `"ARROW:extension:name" is Arrow's own`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %s", err, want)
		}
	}
	if strings.Contains(err.Error(), `"d"`) {
		t.Errorf("%v blames d", err)
	}
}

func TestParseColumns(t *testing.T) {
	for text, want := range map[string]string{
		"id int64 not null, name string":             "id:int64! name:string",
		"id: int64 NOT NULL\n, `a, b` list<double> ": "id:int64! a, b:list<item: double>",
		"m map<string, int64 not null> not null":     "m:map<string, int64 not null>!",
	} {
		columns, err := ParseColumns(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var got []string
		for _, c := range columns {
			mark := ""
			if !*c.Nullable {
				mark = "!"
			}
			got = append(got, c.Name+":"+c.Type+mark)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: got %v, want %s", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"":                    "want the name of a column",
		"id":                  "want a type",
		"id int64,":           "at character 10: got the end, want the name of a column",
		"id int64 nullable":   `got "nullable", want ","`,
		"id int64 not, b int": `got "not, b int", want ","`,
		"`id int64":           "no closing backquote",
	} {
		if _, err := ParseColumns(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}
