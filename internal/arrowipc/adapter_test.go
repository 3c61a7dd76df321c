package arrowipc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/headrace/headrace/internal/model"
)

// evolved is a table and what it becomes.
func evolved(t testing.TB, columns string, changes ...model.ColumnChange) (before, after *model.Table) {
	t.Helper()
	parsed, err := model.ParseColumns(columns)
	if err != nil {
		t.Fatal(err)
	}
	schema, _, _, err := model.SchemaFromColumns(parsed)
	if err != nil {
		t.Fatal(err)
	}
	before = &model.Table{Schema: schema, SchemaVersion: 1}
	before.NumberFields()
	changed, err := before.WithColumns(changes...)
	if err == nil {
		after, err = before.Succeed(changed)
	}
	if err != nil {
		t.Fatal(err)
	}
	return before, after
}

// adapterOf makes an adapter between two definitions of a table.
func adapterOf(t testing.TB, from, to *model.Table, initial map[int32]any) *Adapter {
	t.Helper()
	layouts := make([]*FieldLayout, 2)
	for i, table := range []*model.Table{from, to} {
		l, err := NewLayout(table.Schema)
		if err == nil {
			layouts[i], err = NewFieldLayout(l, table.Current().Trees())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	a, err := NewAdapter(layouts[0], layouts[1], func(id int32) any { return initial[id] })
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func recordOf(t testing.TB, schema *arrow.Schema, rows string) arrow.RecordBatch {
	t.Helper()
	record, _, err := array.RecordFromJSON(memory.NewGoAllocator(), schema, strings.NewReader(rows))
	if err != nil {
		t.Fatalf("%s: %v", rows, err)
	}
	return record
}

func plainOf(t testing.TB, schema *arrow.Schema, rows string) *Batch {
	t.Helper()
	l, err := NewLayout(schema)
	if err != nil {
		t.Fatal(err)
	}
	b, err := FromRecord(l, recordOf(t, schema, rows))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func field(columns string) arrow.Field {
	parsed, err := model.ParseColumns(columns)
	if err != nil {
		panic(err)
	}
	f, err := parsed[0].Field()
	if err != nil {
		panic(err)
	}
	return f
}

func typeOf(text string) arrow.DataType { return field("x " + text).Type }

type path = model.ColumnPath

// adaptations are rows, changes, and the rows behind them. back is what rows behind them become in the
// schema before; empty: what they were.
var adaptations = []struct {
	name, columns, rows string
	changes             []model.ColumnChange
	want, back          string
	exact               bool
}{
	{
		name: "nothing", columns: "a int32, b string", rows: `[{"a":1,"b":"x"},{"a":null,"b":null}]`,
		want: `[{"a":1,"b":"x"},{"a":null,"b":null}]`, exact: true,
	},
	{
		name: "rename and move", columns: "a int32, b string, c list<item: int8>", rows: `[{"a":1,"b":"x","c":[1,2]},{"a":2,"b":null,"c":null}]`,
		changes: []model.ColumnChange{
			model.RenameColumn{Path: path{"a"}, To: "z"}, model.MoveColumn{Path: path{"c"}, Place: model.Place{First: true}},
		},
		want: `[{"c":[1,2],"z":1,"b":"x"},{"c":null,"z":2,"b":null}]`, exact: true,
	},
	{
		name: "add and drop", columns: "a int32, b string", rows: `[{"a":1,"b":"x"},{"a":2,"b":"y"},{"a":3,"b":"z"}]`,
		changes: []model.ColumnChange{
			model.AddColumn{Path: path{"n"}, Field: field("n double")},
			model.AddColumn{Path: path{"d"}, Field: field("d string not null"), Default: "new", Place: model.Place{After: "a"}},
			model.AddColumn{Path: path{"l"}, Field: field("l list<item: int32>"), Default: []any{1.0, nil}},
			model.AddColumn{Path: path{"v"}, Field: field("v string_view"), Default: "a text that is long"},
			model.AddColumn{Path: path{"t"}, Field: field("t bool"), Default: true},
			model.DropColumn{Path: path{"b"}},
		},
		want: `[{"a":1,"d":"new","n":null,"l":[1,null],"v":"a text that is long","t":true},
			{"a":2,"d":"new","n":null,"l":[1,null],"v":"a text that is long","t":true},
			{"a":3,"d":"new","n":null,"l":[1,null],"v":"a text that is long","t":true}]`,
		back: `[{"a":1,"b":null},{"a":2,"b":null},{"a":3,"b":null}]`, exact: true,
	},
	{
		name: "widen", columns: "a int8, b uint16, c halffloat, d decimal128(5, 2), e string, f int32, g binary",
		rows: `[{"a":-1,"b":65535,"c":1.5,"d":"-1.25","e":"x","f":2147483647,"g":"AQ=="},{"a":null,"b":null,"c":null,"d":null,"e":null,"f":null,"g":null},
			{"a":127,"b":0,"c":-2,"d":"999.99","e":"","f":-5,"g":""}]`,
		changes: []model.ColumnChange{
			model.SetType{Path: path{"a"}, Type: typeOf("int64")}, model.SetType{Path: path{"b"}, Type: typeOf("int32")},
			model.SetType{Path: path{"c"}, Type: typeOf("double")}, model.SetType{Path: path{"d"}, Type: typeOf("decimal256(40, 2)")},
			model.SetType{Path: path{"e"}, Type: typeOf("large_string")}, model.SetType{Path: path{"f"}, Type: typeOf("double")},
			model.SetType{Path: path{"g"}, Type: typeOf("large_binary")},
		},
		want: `[{"a":-1,"b":65535,"c":1.5,"d":"-1.25","e":"x","f":2147483647,"g":"AQ=="},{"a":null,"b":null,"c":null,"d":null,"e":null,"f":null,"g":null},
			{"a":127,"b":0,"c":-2,"d":"999.99","e":"","f":-5,"g":""}]`,
	},
	{
		name: "structs", columns: "s struct<a: int32, b: string, c: int8> not null", rows: `[{"s":{"a":1,"b":"x","c":3}},{"s":{"a":null,"b":null,"c":null}},{"s":{"a":2,"b":"y","c":4}}]`,
		changes: []model.ColumnChange{
			model.RenameColumn{Path: path{"s", "a"}, To: "z"}, model.DropColumn{Path: path{"s", "b"}},
			model.SetType{Path: path{"s", "c"}, Type: typeOf("int16")},
			model.AddColumn{Path: path{"s", "d"}, Field: field("d int64 not null"), Default: 7.0, Place: model.Place{First: true}},
			model.AddColumn{Path: path{"s", "e"}, Field: field("e struct<x: int8>")},
		},
		want: `[{"s":{"d":7,"z":1,"c":3,"e":null}},{"s":{"d":7,"z":null,"c":null,"e":null}},{"s":{"d":7,"z":2,"c":4,"e":null}}]`,
		back: `[{"s":{"a":1,"b":null,"c":3}},{"s":{"a":null,"b":null,"c":null}},{"s":{"a":2,"b":null,"c":4}}]`,
	},
	{
		name: "renamed fields lie as they are", columns: "s struct<a: int32, b: string>", rows: `[{"s":{"a":1,"b":"x"}},{"s":null}]`,
		changes: []model.ColumnChange{model.RenameColumn{Path: path{"s", "a"}, To: "z"}},
		want:    `[{"s":{"z":1,"b":"x"}},{"s":null}]`, exact: true,
	},
	{
		name: "in lists and maps", columns: "l list<item: struct<a: int32>>, m map<string, float>, f fixed_size_list<item: int8>[2]",
		rows: `[{"l":[{"a":1},null,{"a":2}],"m":[{"key":"k","value":0.5}],"f":[1,2]},{"l":null,"m":null,"f":null},{"l":[],"m":[],"f":[3,null]}]`,
		changes: []model.ColumnChange{
			model.AddColumn{Path: path{"l", "item", "b"}, Field: field("b string"), Default: "d"},
			model.SetType{Path: path{"m", "value"}, Type: typeOf("double")},
			model.SetType{Path: path{"f", "item"}, Type: typeOf("int16")},
		},
		want: `[{"l":[{"a":1,"b":"d"},null,{"a":2,"b":"d"}],"m":[{"key":"k","value":0.5}],"f":[1,2]},{"l":null,"m":null,"f":null},{"l":[],"m":[],"f":[3,null]}]`,
	},
	{
		name: "no rows", columns: "a int8, b string", rows: `[]`,
		changes: []model.ColumnChange{
			model.SetType{Path: path{"a"}, Type: typeOf("int64")}, model.AddColumn{Path: path{"l"}, Field: field("l list<item: int32>"), Default: []any{1.0}},
		},
		want: `[]`,
	},
}

func TestAdapter(t *testing.T) {
	for _, test := range adaptations {
		t.Run(test.name, func(t *testing.T) {
			before, after := evolved(t, test.columns, test.changes...)
			forth := adapterOf(t, before, after, after.Initial)
			if forth.Exact() != test.exact {
				t.Errorf("Exact is %v, want %v", forth.Exact(), test.exact)
			}
			b := plainOf(t, before.Schema, test.rows)
			checkAdapted(t, forth, b, recordOf(t, after.Schema, test.want))
			back := test.back
			if back == "" {
				back = test.rows
			}
			adapted, err := forth.Adapt(b, nil)
			if err != nil {
				t.Fatal(err)
			}
			checkAdapted(t, adapterOf(t, after, before, nil), adapted.Joined(), recordOf(t, before.Schema, back))
		})
	}
}

// checkAdapted adapts a batch, plain and compressed, and reads the result in each way that there is.
func checkAdapted(t *testing.T, a *Adapter, b *Batch, want arrow.RecordBatch) {
	t.Helper()
	for _, codec := range []Codec{NoCodec, LZ4, ZSTD} {
		source := b
		if codec != NoCodec {
			var err error
			if source, err = Compress(b, codec, 0); err != nil {
				t.Fatal(err)
			}
		}
		adapted, err := a.Adapt(source, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(a.to.layout.top) > 0 && adapted.Codec != codec {
			t.Errorf("codec %d became %d", codec, adapted.Codec)
		}
		record, err := adapted.Record(nil)
		if err != nil {
			t.Fatal(err)
		}
		requireEqualRecords(t, want, record)
		joined := adapted.Joined()
		checkBatch(t, joined)
		if record, err = joined.Record(nil); err != nil {
			t.Fatal(err)
		}
		requireEqualRecords(t, want, record)
		for _, columns := range [][]int{nil, {len(a.columns) - 1, 0}} {
			projection, err := NewProjection(a.To(), columns, nil)
			if err != nil {
				t.Fatal(err)
			}
			m := projection.Message(adapted, nil)
			stream := appendMessage(nil, projection.SchemaMessage())
			got := readStream(t, appendMessage(stream, m.Header, m.Body...))
			if columns == nil {
				requireEqualRecords(t, want, concatenate(t, want.Schema(), got))
			}
		}
		if codec == NoCodec {
			checkAdaptedStatistics(t, a, b, joined)
			view, err := NewView(adapted)
			if err != nil {
				t.Fatal(err)
			}
			builder := NewBuilder(a.To())
			for row := range int32(adapted.Rows) {
				if err := builder.AppendPicks([]Pick{{View: view, Row: row}}); err != nil {
					t.Fatal(err)
				}
			}
			record, err := builder.Finish().Record(nil)
			if err != nil {
				t.Fatal(err)
			}
			requireEqualRecords(t, want, record)
		}
	}
}

// checkAdaptedStatistics compares the statistics of a batch, adapted, with those of the adapted batch.
func checkAdaptedStatistics(t *testing.T, a *Adapter, b, adapted *Batch) {
	t.Helper()
	stored, err := Summarize(b)
	if err != nil {
		t.Fatal(err)
	}
	want, err := Summarize(adapted)
	if err != nil {
		t.Fatal(err)
	}
	got := Statistics{Columns: make([]ColumnStatistics, 1)}
	a.AdaptStatistics(stored, &got)
	if got.Rows != want.Rows || len(got.Columns) != len(want.Columns) || got.layout != adapted.Layout {
		t.Fatalf("the statistics are %+v, want %+v", got, want)
	}
	for i, c := range got.Columns {
		w := want.Columns[i]
		if converted := a.columns[i].conversion; converted != nil && converted.link.children != nil {
			w = ColumnStatistics{Nulls: -1}
		} else if b.Rows == 0 {
			w.Min, w.Max = c.Min, c.Max
		}
		if c.Nulls != w.Nulls || !bytes.Equal(c.Min, w.Min) || !bytes.Equal(c.Max, w.Max) {
			t.Errorf("column %d: the statistics are %+v, want %+v", i, c, w)
		}
	}
}

// Values that the narrower type has not are refused, those that are null or not wanted are not looked at.
func TestAdapterRefuses(t *testing.T) {
	for _, test := range []struct{ columns, wider, rows, refused string }{
		{"a int8", "int64", `[{"a":127},{"a":null}]`, `[{"a":128}]`},
		{"a int8", "int64", `[{"a":-128}]`, `[{"a":1},{"a":-129}]`},
		{"a uint8", "int16", `[{"a":255}]`, `[{"a":-1}]`},
		{"a uint32", "int64", `[{"a":4294967295}]`, `[{"a":4294967296}]`},
		{"a int32", "double", `[{"a":-7}]`, `[{"a":0.5}]`},
		{"a int32", "double", `[{"a":-7}]`, `[{"a":1e300}]`},
		{"a float", "double", `[{"a":0.5}]`, `[{"a":0.1}]`},
		{"a halffloat", "float", `[{"a":0.5}]`, `[{"a":0.1}]`},
		{"a decimal32(3, 1)", "decimal128(20, 1)", `[{"a":"-99.9"}]`, `[{"a":"100.0"}]`},
	} {
		before, after := evolved(t, test.columns, model.SetType{Path: path{"a"}, Type: typeOf(test.wider)})
		a := adapterOf(t, after, before, nil)
		name := fmt.Sprint(test.columns, " ", test.wider)
		fitting := plainOf(t, after.Schema, test.rows)
		if _, err := a.Adapt(fitting, nil); err != nil {
			t.Errorf("%s: %s: %v", name, test.rows, err)
		}
		refused := plainOf(t, after.Schema, test.refused)
		if _, err := a.Adapt(refused, nil); !errors.Is(err, model.SchemaChanged) {
			t.Errorf("%s: %s: got %v", name, test.refused, err)
		}
		if adapted, err := a.Adapt(refused, []int{}); err != nil || adapted.Nodes[0].Nulls != refused.Rows {
			t.Errorf("%s: a column that is not wanted: %v", name, err)
		}
	}
	before, after := evolved(t, "a int8 not null, b int8 not null, s struct<x: int8 not null>", model.SetNullable{Path: path{"a"}},
		model.SetNullable{Path: path{"s", "x"}}, model.DropColumn{Path: path{"b"}})
	a := adapterOf(t, after, before, nil)
	rows := plainOf(t, after.Schema, `[{"a":1,"s":{"x":2}},{"a":null,"s":{"x":null}}]`)
	for column, want := range []string{"nulls", "lack", "null in row 1"} {
		if _, err := a.Adapt(rows, []int{column}); !errors.Is(err, model.SchemaChanged) || !strings.Contains(err.Error(), want) {
			t.Errorf("column %d: %v, want one with %q", column, err, want)
		}
	}
	fitting := plainOf(t, after.Schema, `[{"a":1,"s":{"x":2}},{"a":3,"s":null}]`)
	if _, err := a.Adapt(fitting, []int{0, 2}); err != nil {
		t.Error(err)
	}
}

// TestHalvesAreWidenedAndNarrowed goes through all float16, the smallest ones and those that are no number too.
func TestHalvesAreWidenedAndNarrowed(t *testing.T) {
	p, half := arrow.PrimitiveTypes, arrow.FixedWidthTypes.Float16
	column := plainOf(t, arrow.NewSchema([]arrow.Field{field("x halffloat")}, nil), "[]").Layout.top[0]
	for bits := range 1 << 16 {
		stored := binary.LittleEndian.AppendUint16(nil, uint16(bits))
		want := math.Ldexp(float64(bits&0x3ff), -24)
		switch exponent := bits >> 10 & 0x1f; {
		case exponent == 0x1f && bits&0x3ff == 0:
			want = math.Inf(1)
		case exponent == 0x1f:
			want = math.NaN()
		case exponent > 0:
			want = math.Ldexp(float64(1024+bits&0x3ff), exponent-25)
		}
		if bits>>15 == 1 {
			want = -want
		}
		v := vector{column: column, length: 1, values: stored}
		raw, _ := numbersOf(half, p.Float64)(nil, &v, 0, 1)
		if got := math.Float64frombits(binary.LittleEndian.Uint64(raw)); math.Float64bits(got) != math.Float64bits(want) && (got == got || want == want) {
			t.Fatalf("%#04x is %g as a double, want %g", bits, got, want)
		}
		v.values = raw
		back, fits := numbersOf(p.Float64, half)(nil, &v, 0, 1)
		if !fits || !bytes.Equal(back, stored) && want == want {
			t.Fatalf("%g goes back to %x, %v, want %x", want, back, fits, stored)
		}
		if want != want || math.IsInf(want, 0) {
			continue
		}
		v.values = binary.LittleEndian.AppendUint64(nil, math.Float64bits(math.Nextafter(want, 2e5)))
		if _, fits := numbersOf(p.Float64, half)(nil, &v, 0, 1); fits {
			t.Fatalf("what is beside %g fits", want)
		}
	}
}

// TestNotANumberIsNoInteger narrows what is NaN, as floats and as integers.
func TestNotANumberIsNoInteger(t *testing.T) {
	column := plainOf(t, arrow.NewSchema([]arrow.Field{field("x double")}, nil), "[]").Layout.top[0]
	v := vector{column: column, length: 1, values: binary.LittleEndian.AppendUint64(nil, math.Float64bits(math.NaN()))}
	for to, fits := range map[arrow.DataType]bool{
		arrow.PrimitiveTypes.Int32: false, arrow.PrimitiveTypes.Uint8: false, arrow.PrimitiveTypes.Float32: true, arrow.FixedWidthTypes.Float16: true,
	} {
		if _, got := numbersOf(arrow.PrimitiveTypes.Float64, to)(nil, &v, 0, 1); got != fits {
			t.Errorf("NaN as %s: %v, want %v", to, got, fits)
		}
	}
}

// A column that is the same is not copied, and constants are made once.
func TestAdapterCopiesNothing(t *testing.T) {
	before, after := evolved(t, "a int64, b string, c int8", model.RenameColumn{Path: path{"b"}, To: "x"}, model.MoveColumn{Path: path{"a"}},
		model.AddColumn{Path: path{"n"}, Field: field("n string"), Default: "default"}, model.SetType{Path: path{"c"}, Type: typeOf("int32")})
	a := adapterOf(t, before, after, after.Initial)
	b := plainOf(t, before.Schema, `[{"a":1,"b":"x","c":1},{"a":2,"b":"yy","c":2}]`)
	adapted, err := a.Adapt(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := a.Adapt(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	same := func(x, y []byte) bool { return len(x) > 0 && &x[0] == &y[0] }
	at := a.To().ColumnIndex
	values := func(b *Batch, column int) []byte { return b.Buffer(b.Layout.top[column].buffer + 1) }
	if !same(values(adapted, at("a")), values(b, 0)) || !same(values(adapted, at("x")), values(b, 1)) {
		t.Error("columns that are the same were copied")
	}
	if !same(values(adapted, at("n")), values(again, at("n"))) {
		t.Error("a constant was made twice")
	}
	if got := a.AppendBuffers(nil, b, nil); len(got) != 4 || slices.Contains(got, 0) {
		t.Errorf("it reads the buffers %v", got)
	}
	if got := a.AppendBuffers(nil, b, []int{at("n"), at("c")}); len(got) != 1 || got[0] != b.Layout.top[2].buffer+1 {
		t.Errorf("n and c are made of the buffers %v", got)
	}
	if a.Converts([]int{at("a")}) || !a.Converts([]int{at("c")}) || !a.Converts(nil) {
		t.Error("Converts is wrong")
	}
}

func BenchmarkAdapt(b *testing.B) {
	before, after := evolved(b, "a int64, b string, c int32", model.AddColumn{Path: path{"n"}, Field: field("n double"), Default: 1.0},
		model.SetType{Path: path{"c"}, Type: typeOf("int64")})
	a := adapterOf(b, before, after, after.Initial)
	rows := "[" + strings.Repeat(`{"a":1,"b":"text","c":5},`, 64<<10)
	batch := plainOf(b, before.Schema, rows[:len(rows)-1]+"]")
	for _, test := range []struct {
		name    string
		columns []int
	}{{"exact", []int{0, 1, 3}}, {"widened", nil}} {
		b.Run(test.name, func(b *testing.B) {
			b.SetBytes(4 * batch.Rows)
			for b.Loop() {
				if _, err := a.Adapt(batch, test.columns); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
