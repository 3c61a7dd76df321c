package pkstore

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"pgregory.net/rapid"

	"github.com/headrace/headrace/internal/arrowipc"
)

// jsonView gives the rows of a JSON array of objects as a view.
func jsonView(t testing.TB, l *arrowipc.Layout, rows string) *arrowipc.View {
	t.Helper()
	record, _, err := array.RecordFromJSON(memory.NewGoAllocator(), l.Schema(), strings.NewReader(rows))
	if err != nil {
		t.Fatalf("reading %s: %v", rows, err)
	}
	defer record.Release()
	batch, err := arrowipc.FromRecord(l, record)
	if err != nil {
		t.Fatal(err)
	}
	return openView(t, batch)
}

func openView(t testing.TB, b *arrowipc.Batch) *arrowipc.View {
	t.Helper()
	view, err := arrowipc.NewView(b)
	if err != nil {
		t.Fatal(err)
	}
	return view
}

func oneColumn(t testing.TB, dataType arrow.DataType) *arrowipc.Layout {
	t.Helper()
	return fieldsLayout(t, arrow.Field{Name: "v", Type: dataType, Nullable: true})
}

func fieldsLayout(t testing.TB, fields ...arrow.Field) *arrowipc.Layout {
	t.Helper()
	l, err := arrowipc.NewLayout(arrow.NewSchema(fields, nil))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// aggregateOne merges values into nothing, one after the other, and gives the state behind each as
// arrow-go prints it. A value that begins with ~ is taken back.
func aggregateOne(t testing.TB, function AggregateFunction, dataType arrow.DataType, values []string) []string {
	t.Helper()
	l := oneColumn(t, dataType)
	a, err := newAggregates(l, map[int]AggregateFunction{0: function})
	if err != nil {
		t.Fatal(err)
	}
	builder := arrowipc.NewBuilder(l)
	var state arrowipc.Pick
	var texts []string
	for _, value := range values {
		value, retract := strings.CutPrefix(value, "~")
		fresh := arrowipc.Pick{View: jsonView(t, l, `[{"v":`+value+`}]`)}
		if err := a.merge(builder, 0, []arrowipc.Pick{state}, []arrowipc.Pick{fresh}, retract); err != nil {
			t.Fatal(err)
		}
		state = arrowipc.Pick{View: openView(t, builder.Finish())}
		record, err := state.View.Batch().Record(memory.NewGoAllocator())
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, record.Column(0).ValueStr(0))
		record.Release()
	}
	return texts
}

func TestAggregateFunctions(t *testing.T) {
	decimal := &arrow.Decimal128Type{Precision: 3, Scale: 1}
	cases := []struct {
		function AggregateFunction
		dataType arrow.DataType
		values   string
		want     string
	}{
		{"sum", arrow.PrimitiveTypes.Int64, "1 null 5 ~2 ~null", "1 1 6 4 4"},
		{"sum", arrow.PrimitiveTypes.Int64, "null ~3 3", "(null) -3 0"},
		{"sum", arrow.PrimitiveTypes.Int8, "127 1 ~1", "127 -128 127"},
		{"sum", arrow.PrimitiveTypes.Uint16, "65535 2 ~2", "65535 1 65535"},
		{"sum", arrow.PrimitiveTypes.Float32, "0.5 0.25 ~0.5", "0.5 0.75 0.25"},
		{"sum", arrow.FixedWidthTypes.Float16, "0.5 0.25", "0.5 0.75"},
		{"sum", arrow.FixedWidthTypes.Float16, "2048 3", "2048 2052"},
		{"sum", decimal, `"99.9" "0.1" ~"0.1" "-99.9"`, "99.9 -99.9 99.9 0"},
		{"sum", &arrow.Decimal32Type{Precision: 9}, `"5" ~"8" "1"`, "5 -3 -2"},
		{"sum", arrow.FixedWidthTypes.Duration_s, `7 8`, "7s 15s"},
		{"product", arrow.PrimitiveTypes.Int32, "3 null -4 ~3 ~5 ~0", "3 3 -12 -4 -4 -4"},
		{"product", arrow.PrimitiveTypes.Uint8, "16 16 ~16", "16 0 0"},
		{"product", arrow.PrimitiveTypes.Float64, "3 0.5 ~3 ~0", "3 1.5 0.5 0.5"},
		{"min", arrow.PrimitiveTypes.Int16, "null 5 -3 4 null ~-3", "(null) 5 -3 -3 -3 -3"},
		{"max", arrow.PrimitiveTypes.Uint64, "1 18446744073709551615 3", "1 18446744073709551615 18446744073709551615"},
		{"max", arrow.PrimitiveTypes.Float64, "1 3 2", "1 3 3"},
		{"min", decimal, `"1.5" "-1.5" "0.0"`, "1.5 -1.5 -1.5"},
		{"min", &arrow.Decimal256Type{Precision: 60, Scale: 0}, `"5" "-7"`, "5 -7"},
		{"max", arrow.BinaryTypes.String, `"b" "a" "bb" ""`, "b b bb bb"},
		{"min", arrow.BinaryTypes.StringView, `"a longer text, not inline" "a"`, "a longer text, not inline a"},
		{"max", arrow.FixedWidthTypes.Date32, `"2020-01-02" "1960-01-01"`, "2020-01-02 2020-01-02"},
		{"bool_and", arrow.FixedWidthTypes.Boolean, "null true false true", "(null) true false false"},
		{"bool_or", arrow.FixedWidthTypes.Boolean, "null false true false ~true", "(null) false true true true"},
		{"first_value", arrow.PrimitiveTypes.Int64, "null 1", "(null) (null)"},
		{"first_value_ignore_nulls", arrow.PrimitiveTypes.Int64, "null 1 2", "(null) 1 1"},
		{"last_value", arrow.PrimitiveTypes.Int64, "1 null 2 ~2", "1 (null) 2 2"},
		{"last_value_ignore_nulls", arrow.PrimitiveTypes.Int64, "1 null 2", "1 1 2"},
		{"last_value", arrow.ListOf(arrow.PrimitiveTypes.Int8), "[1,2] null [3]", "[1,2] (null) [3]"},
		{"listagg", arrow.BinaryTypes.String, `"a" null "b" ~"a"`, "a a a,b a,b"},
		{"listagg:;", arrow.BinaryTypes.LargeString, `"a" "b"`, "a a;b"},
		{"listagg:", arrow.BinaryTypes.StringView, `"a" "b"`, "a ab"},
	}
	for _, c := range cases {
		t.Run(fmt.Sprintf("%s of %s", c.function, c.dataType), func(t *testing.T) {
			got := aggregateOne(t, c.function, c.dataType, splitWords(c.values))
			if got := strings.Join(got, " "); got != c.want {
				t.Errorf("after %s: %s, want %s", c.values, got, c.want)
			}
		})
	}
}

// splitWords splits at spaces outside quotes.
func splitWords(text string) []string {
	quoted := false
	return strings.FieldsFunc(text, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return r == ' ' && !quoted
	})
}

func TestNoFunctionKeepsTheLastNotNull(t *testing.T) {
	l := oneColumn(t, arrow.PrimitiveTypes.Int64)
	a, err := newAggregates(l, nil)
	if err != nil {
		t.Fatal(err)
	}
	rows := jsonView(t, l, `[{"v":1},{"v":null}]`)
	builder := arrowipc.NewBuilder(l)
	if err := a.merge(builder, 0, []arrowipc.Pick{{View: rows}}, []arrowipc.Pick{{View: rows, Row: 1}}, false); err != nil {
		t.Fatal(err)
	}
	if got := openView(t, builder.Finish()).Value(0, 0); len(got) == 0 || got[0] != 1 {
		t.Errorf("1 and null give %x, want 1", got)
	}
}

func TestNaNIsAboveEverything(t *testing.T) {
	order := []float64{math.Inf(-1), -1, math.Copysign(0, -1), 0, 1, math.Inf(1), math.NaN()}
	for i, a := range order {
		for j, b := range order {
			want := max(-1, min(1, i-j))
			if got := compareFloats(a, b); got != want {
				t.Errorf("%v against %v is %d, want %d", a, b, got, want)
			}
		}
	}
}

func TestListIsBounded(t *testing.T) {
	long := strconv.Quote(strings.Repeat("x", ListBytesMax-2))
	got := aggregateOne(t, AggregateList, arrow.BinaryTypes.String, []string{long, `"ab"`, `"c"`})
	if n := len(got[1]); n != ListBytesMax-2 {
		t.Errorf("a value that does not fit leaves %d bytes, want %d", n, ListBytesMax-2)
	}
	if n := len(got[2]); n != ListBytesMax {
		t.Errorf("a value that fits leaves %d bytes, want %d", n, ListBytesMax)
	}
}

func TestNewAggregatesNamesEveryFault(t *testing.T) {
	l := fieldsLayout(t,
		arrow.Field{Name: "text", Type: arrow.BinaryTypes.String},
		arrow.Field{Name: "day", Type: arrow.FixedWidthTypes.Date32},
		arrow.Field{Name: "price", Type: &arrow.Decimal128Type{Precision: 9, Scale: 2}},
		arrow.Field{Name: "list", Type: arrow.ListOf(arrow.PrimitiveTypes.Int8)},
		arrow.Field{Name: "number", Type: arrow.PrimitiveTypes.Int64},
	)
	_, err := newAggregates(l, map[int]AggregateFunction{
		0: "sum", 1: "sum", 2: "product", 3: "min", 4: "max:,", 7: "sum",
	})
	if err == nil {
		t.Fatal("all of it was taken")
	}
	for _, want := range []string{
		"sum does not take values of type string", "sum does not take values of type date32",
		"product does not take values of type decimal128(9, 2)", "min does not take values of type list",
		"max takes no delimiter", "column 7",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
	for _, function := range []AggregateFunction{"", "avg", "bool_and", "listagg"} {
		if _, err := newAggregates(l, map[int]AggregateFunction{4: function}); err == nil {
			t.Errorf("function %q was taken for an int64", function)
		}
	}
}

// A sum wraps round in the range of its precision, whatever the order, and taking back undoes it.
func TestDecimalSumsWrapRound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		precision := rapid.Int32Range(1, 76).Draw(t, "precision")
		bound := newDecimalBound(precision)
		modulus := bound.modulus
		half := bound.most.big()
		draw := func(name string) (wide, *big.Int) {
			digits := rapid.StringMatching(`-?[0-9]{1,76}`).Draw(t, name)
			number, _ := new(big.Int).SetString(digits, 10)
			w := wideOf(number)
			if w.big().Cmp(number) != 0 {
				t.Fatalf("%s became %s", number, w.big())
			}
			return w, number
		}
		want := func(number *big.Int) *big.Int {
			residue := new(big.Int).Mod(number, modulus)
			if residue.Cmp(half) > 0 {
				residue.Sub(residue, modulus)
			}
			return residue
		}
		x, a := draw("x")
		y, b := draw("y")
		sum := bound.add(x, y)
		if exact := want(new(big.Int).Add(a, b)); sum.big().Cmp(exact) != 0 {
			t.Fatalf("%s + %s = %s, want %s", a, b, sum.big(), exact)
		}
		if back := bound.add(sum, bound.fit(y).negated()); back != bound.fit(x) {
			t.Fatalf("taking back %s leaves %s, want %s", b, back.big(), bound.fit(x).big())
		}
		if got, exact := x.compare(y), a.Cmp(b); got != exact {
			t.Fatalf("%s against %s is %d, want %d", a, b, got, exact)
		}
	})
}

// Merging (a, b) and then c is merging a with (b, c), for every function that takes int32.
func TestAggregatesAreAssociative(t *testing.T) {
	functions := []AggregateFunction{
		AggregateSum, AggregateProduct, AggregateMin, AggregateMax, AggregateFirst, AggregateFirstNotNull,
		AggregateLast, AggregateLastNotNull,
	}
	l := oneColumn(t, arrow.PrimitiveTypes.Int32)
	rapid.Check(t, func(rt *rapid.T) {
		function := rapid.SampledFrom(functions).Draw(rt, "function")
		a, err := newAggregates(l, map[int]AggregateFunction{0: function})
		if err != nil {
			rt.Fatal(err)
		}
		builder := arrowipc.NewBuilder(l)
		row := func(name string) arrowipc.Pick {
			value := rapid.SampledFrom([]string{"null", "0", "1", "-1", "7", "2147483647", "-2147483648"}).Draw(rt, name)
			return arrowipc.Pick{View: jsonView(t, l, `[{"v":`+value+`}]`)}
		}
		merge := func(x, y arrowipc.Pick) arrowipc.Pick {
			if err := a.merge(builder, 0, []arrowipc.Pick{x}, []arrowipc.Pick{y}, false); err != nil {
				rt.Fatal(err)
			}
			return arrowipc.Pick{View: openView(t, builder.Finish())}
		}
		text := func(p arrowipc.Pick) string { return fmt.Sprint(p.View.IsNull(0, 0), p.View.Value(0, 0)) }
		x, y, z := row("x"), row("y"), row("z")
		left, right := text(merge(merge(x, y), z)), text(merge(x, merge(y, z)))
		if left != right {
			rt.Fatalf("%s: (x y) z = %s, x (y z) = %s", function, left, right)
		}
	})
}

func BenchmarkAggregateSum(b *testing.B) {
	l := oneColumn(b, arrow.PrimitiveTypes.Int64)
	a, err := newAggregates(l, map[int]AggregateFunction{0: AggregateSum})
	if err != nil {
		b.Fatal(err)
	}
	const rows = 1000
	view := jsonView(b, l, "["+strings.Repeat(`{"v":1},`, rows-1)+`{"v":2}]`)
	picks := make([]arrowipc.Pick, rows)
	for i := range picks {
		picks[i] = arrowipc.Pick{View: view, Row: int32(i)}
	}
	builder := arrowipc.NewBuilder(l)
	b.SetBytes(8 * rows)
	for b.Loop() {
		if err := a.merge(builder, 0, picks, picks, false); err != nil {
			b.Fatal(err)
		}
		builder.Finish().Release()
	}
}
