package model

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"pgregory.net/rapid"
)

// evolvingTable is a primary-key table that has something of everything.
func evolvingTable(t testing.TB) *Table {
	t.Helper()
	columns, err := ParseColumns("id int64 not null, day date32 not null, name string, age int32, s struct<a: int32 not null, b: list<item: struct<x: int8>>>, " +
		"m map<string, int32>, l list<item: int16>, version uint32, at timestamp[us], total int64, d decimal128(10, 2)")
	if err != nil {
		t.Fatal(err)
	}
	schema, _, _, err := SchemaFromColumns(columns)
	if err != nil {
		t.Fatal(err)
	}
	table := &Table{
		ID: "ID", Name: TableName{"default", "t"}, Schema: schema, SchemaVersion: 1, Buckets: 1,
		PrimaryKey: []string{"id", "day"}, BucketKey: []string{"id"}, Indexes: []Index{{"by_name", []string{"name"}}},
		Options:  map[string]string{"merge.engine": "versioned", "merge.version-column": "version", "row.ttl": "1d", "row.ttl-column": "at"},
		Comments: map[string]string{"name": "of the user"}, Defaults: map[string]any{"age": 5.0, "s": map[string]any{"a": 1.0, "b": []any{map[string]any{"x": 2.0}}}},
	}
	table.NumberFields()
	return table
}

func textType(t testing.TB, text string) arrow.DataType {
	t.Helper()
	parsed, err := ParseType(text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// describe is the columns with their numbers, nested ones in brackets.
func describeTrees(trees []*FieldTree) string {
	var texts []string
	for _, tree := range trees {
		text := fmt.Sprintf("%s %d", tree.Field.Name, tree.ID)
		if len(tree.Children) > 0 {
			text += "(" + describeTrees(tree.Children) + ")"
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, ", ")
}

const evolvingTrees = "id 1, day 2, name 3, age 4, s 5(a 12, b 13(item 14(x 15))), m 6(key 16, value 17), l 7(item 18), version 8, at 9, total 10, d 11"

func TestNumberFields(t *testing.T) {
	if got := describeTrees(evolvingTable(t).Current().Trees()); got != evolvingTrees {
		t.Errorf("the numbers are\n%s, want\n%s", got, evolvingTrees)
	}
}

// columnChange is a test of changes that are allowed.
type columnChange struct {
	name    string
	changes []ColumnChange
	want    string // columns with their numbers; empty: it is refused
	check   func(t *testing.T, changed *Table)
}

// columnChanges are changes of which columns there are and what they are called.
func columnChanges(t *testing.T) []columnChange {
	field := func(text string) arrow.Field { return arrow.Field{Type: textType(t, text), Nullable: true} }
	return []columnChange{
		{"add last", []ColumnChange{AddColumn{Path: ColumnPath{"x"}, Field: field("int8")}}, evolvingTrees + ", x 19", nil},
		{
			"add first and behind, with all there is",
			[]ColumnChange{
				AddColumn{Path: ColumnPath{"x"}, Field: arrow.Field{Type: textType(t, "int8")}, Default: "7", Comment: "a number", Place: Place{First: true}},
				AddColumn{Path: ColumnPath{"y"}, Field: field("struct<p: int8, q: list<item: string>>"), Place: Place{After: "id"}},
			}, "x 19, id 1, y 20(p 21, q 22(item 23)), " + strings.TrimPrefix(evolvingTrees, "id 1, "),
			func(t *testing.T, changed *Table) {
				if changed.Defaults["x"] != 7.0 || changed.Initial[19] != 7.0 || changed.Comments["x"] != "a number" {
					t.Errorf("default %v, initial %v, comment %q", changed.Defaults["x"], changed.Initial[19], changed.Comments["x"])
				}
			},
		},
		{
			"add fields", []ColumnChange{
				AddColumn{Path: ColumnPath{"s", "n"}, Field: field("string"), Default: "d", Place: Place{First: true}},
				AddColumn{Path: ColumnPath{"s", "b", "item", "y"}, Field: field("int8")},
			}, strings.Replace(strings.Replace(evolvingTrees, "(a 12", "(n 19, a 12", 1), "x 15", "x 15, y 20", 1),
			func(t *testing.T, changed *Table) {
				want := map[string]any{"n": "d", "a": 1.0, "b": []any{map[string]any{"x": 2.0, "y": nil}}}
				if !reflect.DeepEqual(changed.Defaults["s"], want) {
					t.Errorf("the default is %v, want %v", changed.Defaults["s"], want)
				}
			},
		},
		{
			"drop, and use the name again", []ColumnChange{DropColumn{ColumnPath{"age"}}, AddColumn{Path: ColumnPath{"age"}, Field: field("string")}},
			strings.Replace(evolvingTrees, ", age 4", "", 1) + ", age 19",
			func(t *testing.T, changed *Table) {
				if _, has := changed.Defaults["age"]; has {
					t.Error("the default of the old column is that of the new one")
				}
			},
		},
		{"drop a field", []ColumnChange{DropColumn{ColumnPath{"s", "a"}}}, strings.Replace(evolvingTrees, "a 12, ", "", 1), func(t *testing.T, changed *Table) {
			if want := map[string]any{"b": []any{map[string]any{"x": 2.0}}}; !reflect.DeepEqual(changed.Defaults["s"], want) {
				t.Errorf("the default is %v, want %v", changed.Defaults["s"], want)
			}
		}},
		{"rename what everything depends on", []ColumnChange{
			RenameColumn{ColumnPath{"id"}, "key"}, RenameColumn{ColumnPath{"name"}, "label"}, RenameColumn{ColumnPath{"version"}, "v"},
			RenameColumn{ColumnPath{"at"}, "until"}, RenameColumn{ColumnPath{"age"}, "years"}, RenameColumn{ColumnPath{"s", "b", "item", "x"}, "z"},
		}, strings.NewReplacer("id 1", "key 1", "name", "label", "version", "v", "at 9", "until 9", "age", "years", "x 15", "z 15").Replace(evolvingTrees), func(t *testing.T, changed *Table) {
			if !slices.Equal(changed.PrimaryKey, []string{"key", "day"}) || changed.BucketKey[0] != "key" || changed.Indexes[0].Columns[0] != "label" ||
				changed.Options["merge.version-column"] != "v" || changed.Options["row.ttl-column"] != "until" || changed.Defaults["years"] != 5.0 ||
				changed.Comments["label"] != "of the user" || !reflect.DeepEqual(changed.Defaults["s"], map[string]any{"a": 1.0, "b": []any{map[string]any{"z": 2.0}}}) {
				t.Errorf("something has the old name: %+v", changed)
			}
		}},
		{"swap two names", []ColumnChange{
			RenameColumn{ColumnPath{"age"}, "x"}, RenameColumn{ColumnPath{"total"}, "age"}, RenameColumn{ColumnPath{"x"}, "total"},
		}, strings.NewReplacer("age 4", "total 4", "total 10", "age 10").Replace(evolvingTrees), nil},
	}
}

// typeChanges are changes of what a column is, and of where it stands.
func typeChanges(t *testing.T) []columnChange {
	return []columnChange{
		{"widen", []ColumnChange{
			SetType{ColumnPath{"age"}, textType(t, "double")}, SetType{ColumnPath{"version"}, textType(t, "int64")},
			SetType{ColumnPath{"l", "item"}, textType(t, "int64")}, SetType{ColumnPath{"m", "value"}, textType(t, "int64")},
			SetType{ColumnPath{"s"}, textType(t, "struct<a: int64, b: large_list<item: int8>>")},
		}, "", nil},
		{"widen by the whole type", []ColumnChange{SetType{ColumnPath{"s"}, textType(t, "struct<a: int64, b: list<element: struct<x: int16>>>")}}, evolvingTrees,
			func(t *testing.T, changed *Table) {
				if got := FormatType(changed.Schema.Field(4).Type); got != "struct<a: int64, b: list<item: struct<x: int16>>>" {
					t.Errorf("the type is %s", got)
				}
			}},
		{"nullable", []ColumnChange{SetNullable{ColumnPath{"s", "a"}}}, evolvingTrees, func(t *testing.T, changed *Table) {
			if got := FormatType(changed.Schema.Field(4).Type); !strings.HasPrefix(got, "struct<a: int32, b") {
				t.Errorf("the type is %s", got)
			}
		}},
		{"move", []ColumnChange{
			MoveColumn{ColumnPath{"d"}, Place{First: true}}, MoveColumn{ColumnPath{"day"}, Place{}}, MoveColumn{ColumnPath{"s", "a"}, Place{After: "b"}},
		}, "d 11, id 1, name 3, age 4, s 5(b 13(item 14(x 15)), a 12), m 6(key 16, value 17), l 7(item 18), version 8, at 9, total 10, day 2", nil},
		{"comments and metadata", []ColumnChange{
			SetComment{"name", ""}, SetComment{"age", "in years"}, SetMetadata{ColumnPath{"s", "a"}, map[string]string{"unit": "m"}},
		}, evolvingTrees, func(t *testing.T, changed *Table) {
			a, _ := changed.Schema.Field(4).Type.(*arrow.StructType).FieldByName("a")
			if !maps.Equal(changed.Comments, map[string]string{"age": "in years"}) || a.Metadata.ToMap()["unit"] != "m" {
				t.Errorf("comments %v, metadata %v", changed.Comments, a.Metadata)
			}
		}},
	}
}

func TestColumnChanges(t *testing.T) {
	for _, test := range append(columnChanges(t), typeChanges(t)...) {
		t.Run(test.name, func(t *testing.T) {
			before := evolvingTable(t)
			changed, err := before.WithColumns(test.changes...)
			if test.want == "" {
				if err == nil {
					t.Fatal("it is taken")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := describeTrees(changed.Current().Trees()); got != test.want {
				t.Errorf("the columns are\n%s, want\n%s", got, test.want)
			}
			if test.check != nil {
				test.check(t, changed)
			}
			if !reflect.DeepEqual(before, evolvingTable(t)) {
				t.Error("the definition before was changed")
			}
		})
	}
}

// TestRefusedChanges has every rule that a change can break.
func TestRefusedChanges(t *testing.T) {
	field := func(text string) arrow.Field { return arrow.Field{Type: textType(t, text), Nullable: true} }
	for _, test := range []struct {
		change ColumnChange
		want   string
	}{
		{AddColumn{Path: ColumnPath{"x"}, Field: arrow.Field{Type: textType(t, "int8")}}, "is NOT NULL and has no default"},
		{AddColumn{Path: ColumnPath{"name"}, Field: field("int8")}, `there is a column "name" already`},
		{AddColumn{Path: ColumnPath{"NAME"}, Field: field("int8")}, "the same name but for case"},
		{AddColumn{Path: ColumnPath{"_Offset"}, Field: field("int8")}, "is reserved for a system column"},
		{AddColumn{Path: ColumnPath{""}, Field: field("int8")}, "has no name"},
		{AddColumn{Path: ColumnPath{"age", "x"}, Field: field("int8")}, `"age" is no struct`},
		{AddColumn{Path: ColumnPath{"l", "x"}, Field: field("int8")}, `"l" is no struct`},
		{AddColumn{Path: ColumnPath{"s", "x"}, Field: field("int8"), Comment: "c"}, "only columns have comments"},
		{AddColumn{Path: ColumnPath{"none", "x"}, Field: field("int8")}, `there is no column "none"`},
		{AddColumn{Path: ColumnPath{"x"}, Field: field("int8"), Default: 300.0}, "want -128 to 127"},
		{AddColumn{Path: ColumnPath{"x"}, Field: field("int64"), Default: AutoIncrement}, "would have no number"},
		{AddColumn{Path: ColumnPath{"x"}, Field: field("string"), Default: strings.Repeat("x", InitialBytesMax)}, "has 258 bytes as text, and at most 256"},
		{AddColumn{Path: ColumnPath{"x"}, Field: field("int8"), Place: Place{After: "none"}}, `there is no column "none"`},
		{AddColumn{Path: ColumnPath{"x"}, Field: field("int8"), Place: Place{After: "id", First: true}}, "first and behind"},
		{AddColumn{Path: nil, Field: field("int8")}, "named by 0 names"},
		{DropColumn{ColumnPath{"id"}}, `column "id" is of the primary key and cannot be dropped`},
		{DropColumn{ColumnPath{"name"}}, "is of the index by_name"},
		{DropColumn{ColumnPath{"version"}}, "is the merge.version-column"},
		{DropColumn{ColumnPath{"at"}}, "is the row.ttl-column"},
		{DropColumn{ColumnPath{"l", "item"}}, "is part of the type of its column"},
		{DropColumn{ColumnPath{"m", "value"}}, "is part of the type of its column"},
		{DropColumn{ColumnPath{"s", "b", "item", "x"}}, "is the only one"},
		{DropColumn{ColumnPath{"none"}}, `there is no column "none"`},
		{RenameColumn{ColumnPath{"age"}, "name"}, `there is a column "name" already`},
		{RenameColumn{ColumnPath{"age"}, "_timestamp"}, "is reserved"},
		{RenameColumn{ColumnPath{"l", "item"}, "x"}, "is part of the type of its column"},
		{RenameColumn{ColumnPath{"s", "a"}, "b"}, `there is a column "s.b" already`},
		{SetType{ColumnPath{"id"}, textType(t, "double")}, "is of the primary key and keeps its type"},
		{SetType{ColumnPath{"name"}, textType(t, "large_string")}, "is of the index by_name and keeps its type"},
		{SetType{ColumnPath{"version"}, textType(t, "double")}, "which is no integer"},
		{SetType{ColumnPath{"age"}, textType(t, "int16")}, "is of type int32, which does not widen to int16"},
		{SetType{ColumnPath{"age"}, textType(t, "float")}, "does not widen to float"},
		{SetType{ColumnPath{"age"}, textType(t, "string")}, "does not widen to string"},
		{SetType{ColumnPath{"total"}, textType(t, "double")}, "does not widen to double"},
		{SetType{ColumnPath{"d"}, textType(t, "decimal128(20, 3)")}, "does not widen"},
		{SetType{ColumnPath{"d"}, textType(t, "decimal128(9, 2)")}, "does not widen"},
		{SetType{ColumnPath{"at"}, textType(t, "timestamp[ns]")}, "does not widen to timestamp[ns]"},
		{SetType{ColumnPath{"m", "key"}, textType(t, "large_string")}, "is the key of a map"},
		{SetType{ColumnPath{"m"}, textType(t, "map<large_string, int32>")}, "does not widen"},
		{SetType{ColumnPath{"s"}, textType(t, "struct<a: int64>")}, "does not widen"},
		{SetType{ColumnPath{"none"}, textType(t, "int8")}, `there is no column "none"`},
		{SetNullable{ColumnPath{"id"}}, "is of the primary key"},
		{SetNullable{ColumnPath{"m", "key"}}, "is the key of a map"},
		{MoveColumn{ColumnPath{"age"}, Place{After: "age"}}, `there is no column "age"`},
		{MoveColumn{ColumnPath{"l", "item"}, Place{First: true}}, "is part of the type of its column"},
		{SetComment{"none", "c"}, `there is no column "none"`},
		{SetMetadata{ColumnPath{"age"}, map[string]string{"ARROW:extension:name": "x"}}, "is Arrow's own"},
	} {
		if _, err := evolvingTable(t).WithColumns(test.change); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%T %+v: %v, want an error with %q", test.change, test.change, err, test.want)
		} else if reason := AsError(err).Reason; reason != BadRequest && reason != ColumnNotFound {
			t.Errorf("%T %+v: the reason is %s", test.change, test.change, reason)
		}
	}
}

func TestWidens(t *testing.T) {
	order := map[string][]string{
		"int8": {"int16", "int32", "int64", "float", "double"}, "int16": {"int32", "int64", "float", "double"}, "int32": {"int64", "double"}, "int64": nil,
		"uint8": {"int16", "int32", "int64", "uint16", "uint32", "uint64", "float", "double"}, "uint16": {"int32", "int64", "uint32", "uint64", "float", "double"},
		"uint32": {"int64", "uint64", "double"}, "uint64": nil, "halffloat": {"float", "double"}, "float": {"double"}, "double": nil,
		"string": {"large_string"}, "large_string": nil, "binary": {"large_binary"}, "date32": nil, "bool": nil,
	}
	for from := range order {
		for to := range order {
			want := from == to || slices.Contains(order[from], to)
			if got := Widens(textType(t, from), textType(t, to)); got != want {
				t.Errorf("%s to %s: %v, want %v", from, to, got, want)
			}
		}
	}
}

// Several versions: numbers are never used again, every version is known, and what rows show is kept.
func TestSucceed(t *testing.T) {
	table := evolvingTable(t)
	step := func(changes ...ColumnChange) {
		t.Helper()
		changed, err := table.WithColumns(changes...)
		if err == nil {
			table, err = table.Succeed(changed)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	nullable := arrow.Field{Type: textType(t, "int8"), Nullable: true}
	step(SetComment{"age", "c"})
	if table.SchemaVersion != 1 || table.Comments["age"] != "c" {
		t.Errorf("a comment made version %d", table.SchemaVersion)
	}
	step(AddColumn{Path: ColumnPath{"x"}, Field: nullable, Default: 1.0}, DropColumn{ColumnPath{"x"}})
	if table.SchemaVersion != 1 || len(table.Initial) != 0 {
		t.Errorf("a column that was added and dropped made version %d, with %v", table.SchemaVersion, table.Initial)
	}
	step(AddColumn{Path: ColumnPath{"x"}, Field: nullable, Default: 1.0})
	step(DropColumn{ColumnPath{"x"}})
	step(AddColumn{Path: ColumnPath{"x"}, Field: nullable})
	one, err := table.WithColumns(DropColumn{ColumnPath{"x"}})
	if err == nil {
		one, err = one.WithColumns(AddColumn{Path: ColumnPath{"x"}, Field: nullable})
	}
	if err != nil || one.FieldIDs[len(one.FieldIDs)-1] != 21 {
		t.Errorf("a number was used again within one change: %v, %v", one.FieldIDs, err)
	}
	if got := table.FieldIDs[len(table.FieldIDs)-1]; got != 20 || table.SchemaVersion != 4 || len(table.Versions) != 3 || table.Initial[19] != 1.0 {
		t.Errorf("the number is %d in version %d, initial values are %v", got, table.SchemaVersion, table.Initial)
	}
	if !table.Had(19, 2) || table.Had(19, 1) || !table.Had(19, 4) || table.Had(20, 3) || !table.Had(15, 1) {
		t.Error("Had is wrong")
	}
	second, known := table.At(2)
	if _, unknown := table.At(9); !known || unknown || second.FieldIDs[len(second.FieldIDs)-1] != 19 {
		t.Errorf("version 2 is %+v", second)
	}
}

func TestAsOfAnEarlierVersion(t *testing.T) {
	table := evolvingTable(t)
	first := table.Current()
	changed, err := table.WithColumns(RenameColumn{ColumnPath{"id"}, "key"}, SetType{ColumnPath{"age"}, textType(t, "int64")}, DropColumn{ColumnPath{"l"}})
	if err == nil {
		table, err = table.Succeed(changed)
	}
	if err != nil {
		t.Fatal(err)
	}
	older := table.AsOf(first, nil)
	if older.PrimaryKey[0] != "id" || older.SchemaVersion != 1 || older.Defaults["age"] != 5.0 || !older.Schema.Equal(first.Schema) {
		t.Errorf("as of version 1 it is %+v", older)
	}
}

func TestVersionsAreBounded(t *testing.T) {
	table := evolvingTable(t)
	for range SchemaVersionsMax {
		changed, err := table.WithColumns(RenameColumn{ColumnPath{table.Schema.Field(3).Name}, fmt.Sprint("a", table.SchemaVersion)})
		if err != nil {
			t.Fatal(err)
		}
		next, err := table.Succeed(changed)
		if errors.Is(err, BadRequest) && table.SchemaVersion == SchemaVersionsMax {
			return
		}
		if err != nil {
			t.Fatalf("version %d: %v", table.SchemaVersion, err)
		}
		table = next
	}
	t.Error("there is no bound")
}

func TestParseAddedColumn(t *testing.T) {
	for text, want := range map[string]string{
		"x int8":                                               `["x"] int8 true <nil> {After: First:false}`,
		"x double default 0 after name":                        `["x"] double true 0 {After:name First:false}`,
		"s.x string not null default new first":                `["s" "x"] string false new {After: First:true}`,
		"`a.b` list<item: int8> default [1, 2]":                `["a.b"] list<item: int8> true [1 2] {After: First:false}`,
		`x string default "two words" after ` + "`o p`":        `["x"] string true two words {After:o p First:false}`,
		"x timestamp[us, tz=UTC] default 2026-11-21T08:00:00Z": `["x"] timestamp[us, tz=UTC] true 2026-11-21T08:00:00Z {After: First:false}`,
	} {
		add, err := ParseAddedColumn(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := fmt.Sprintf("%q %s %v %v %+v", []string(add.Path), FormatType(add.Field.Type), add.Field.Nullable, add.Default, add.Place); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
	for _, text := range []string{"", "x", "x int9", "x int8 default", "x int8 behind y", "s. int8", "x int8 after", "x int8 first after y", "`x int8"} {
		if _, err := ParseAddedColumn(text); !errors.Is(err, BadRequest) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if path, err := ParseColumnPath("a.`b.c`.d"); err != nil || !slices.Equal(path, ColumnPath{"a", "b.c", "d"}) {
		t.Errorf("got %q, %v", path, err)
	}
	if _, err := ParseColumnPath("a b"); !errors.Is(err, BadRequest) {
		t.Errorf("two words: %v", err)
	}
}

func FuzzParseAddedColumn(f *testing.F) {
	for _, seed := range []string{"x int8", "s.x string not null default \"a\" first", "`a``b` list<item: int8> default [1] after y"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		add, err := ParseAddedColumn(text)
		if err == nil && (len(add.Path) == 0 || add.Field.Type == nil) {
			t.Errorf("%q gives %+v", text, add)
		}
	})
}

// Widening is an order: it can be done step by step, and never both ways.
func TestWidensIsAnOrder(t *testing.T) {
	names := slices.Sorted(maps.Keys(plainTypes))
	rapid.Check(t, func(r *rapid.T) {
		draw := func() arrow.DataType {
			leaf := plainTypes[rapid.SampledFrom(names).Draw(r, "type")]
			if rapid.Bool().Draw(r, "nested") {
				return arrow.StructOf(arrow.Field{Name: "a", Type: leaf, Nullable: true})
			}
			return leaf
		}
		a, b, c := draw(), draw(), draw()
		if Widens(a, b) && Widens(b, c) && !Widens(a, c) {
			t.Errorf("%s, %s, %s", a, b, c)
		}
		if Widens(a, b) && Widens(b, a) && !arrow.TypeEqual(a, b) {
			t.Errorf("%s, %s", a, b)
		}
	})
}
