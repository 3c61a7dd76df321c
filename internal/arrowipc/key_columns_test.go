package arrowipc

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"pgregory.net/rapid"

	"github.com/headrace/headrace/internal/model"
)

// keyKinds are types of key columns with what stands for one value in them; forms of one kind take the
// same values.
var keyKinds = [][]arrow.DataType{
	{arrow.PrimitiveTypes.Int64}, {arrow.PrimitiveTypes.Int16}, {arrow.FixedWidthTypes.Boolean},
	{&arrow.Decimal128Type{Precision: 20, Scale: 2}},
	{arrow.BinaryTypes.String, arrow.BinaryTypes.LargeString, arrow.BinaryTypes.StringView},
}

// appendKeyValue appends the value of a small number: other numbers are other values, but for bools.
func appendKeyValue(b array.Builder, number int) error {
	if number < 0 {
		b.AppendNull()
		return nil
	}
	switch b.Type().ID() {
	case arrow.BOOL:
		return b.AppendValueFromString(fmt.Sprint(number%2 == 1))
	case arrow.INT16, arrow.INT64, arrow.DECIMAL128:
		return b.AppendValueFromString(fmt.Sprint(number))
	}
	text := fmt.Sprint("the key ", number*number*number)
	return b.AppendValueFromString(text[:min(len(text), 8*number)]) // the first is empty
}

// keyTable is a view whose columns stand in any order among others.
type keyTable struct {
	view    *View
	columns []int // of the key
	numbers [][]int
}

func drawKeyTable(t testing.TB, rt *rapid.T, kinds []int, plain bool) keyTable {
	table := keyTable{}
	order := rapid.Permutation([]int{0, 1, 2, 3, 4, 5}[:len(kinds)+1]).Draw(rt, "order")
	types := make([]arrow.DataType, len(order))
	table.columns = order[:len(kinds)]
	types[order[len(kinds)]] = nestedTypes()[0]
	for i, k := range kinds {
		forms := keyKinds[k]
		if plain {
			forms = forms[:min(len(forms), 2)]
		}
		types[order[i]] = rapid.SampledFrom(forms).Draw(rt, "form")
	}
	schema := schemaOf(types)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	low := rapid.SampledFrom([]int{0, -1}).Draw(rt, "nulls")
	rows := rapid.IntRange(1, 20).Draw(rt, "rows")
	for range rows {
		var key []int
		for i := range kinds {
			number := rapid.IntRange(low, 3).Draw(rt, "value")
			if err := appendKeyValue(b.Field(order[i]), number); err != nil {
				rt.Fatal(err)
			}
			if len(keyKinds[kinds[i]]) == 1 && kinds[i] == 2 && number >= 0 {
				number %= 2
			}
			key = append(key, number)
		}
		table.numbers = append(table.numbers, key)
		b.Field(order[len(kinds)]).AppendNull()
	}
	batch, err := FromRecord(layoutOf(t, schema), b.NewRecordBatch())
	if err != nil {
		rt.Fatal(err)
	}
	table.view = viewOf(t, batch)
	return table
}

// TestKeysAcrossLayouts compares keys, and hashes of keys, with the numbers they were made of: of two
// tables that have the key at other places and its strings in other forms.
func TestKeysAcrossLayouts(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		kinds := rapid.SliceOfN(rapid.IntRange(0, len(keyKinds)-1), 1, 3).Draw(rt, "kinds")
		plain := rapid.Bool().Draw(rt, "plain")
		var tables [2]keyTable
		var keys [2]*KeyColumns
		var hashes [2][]uint64
		for i := range tables {
			tables[i] = drawKeyTable(t, rt, kinds, plain)
			var err error
			if keys[i], err = NewKeyColumns(tables[i].view.Layout(), tables[i].columns); err != nil {
				rt.Fatal(err)
			}
			if plain {
				hashes[i] = hashKeys(rt, tables[i].view, tables[i].columns)
			}
		}
		a, b := tables[0], tables[1]
		for ra, left := range a.numbers {
			for rb, right := range b.numbers {
				want := slices.Equal(left, right)
				if got := keys[0].Equal(a.view, int32(ra), keys[1], b.view, int32(rb)); got != want {
					rt.Fatalf("keys %v and %v: %v", left, right, got)
				}
				if plain && (hashes[0][ra] == hashes[1][rb]) != want {
					rt.Fatalf("hashes of keys %v and %v: %x, %x", left, right, hashes[0][ra], hashes[1][rb])
				}
			}
		}
	})
}

func hashKeys(t interface{ Fatal(...any) }, view *View, columns []int) []uint64 {
	hasher, err := NewRowHasher(view.Layout(), columns)
	if err != nil {
		t.Fatal(err)
	}
	hashes, err := hasher.Hash(view.Batch(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return hashes
}

// TestHashOfKeysAlone has the key in a layout of its own, with strings that are large there.
func TestHashOfKeysAlone(t *testing.T) {
	p, b := arrow.PrimitiveTypes, arrow.BinaryTypes
	full := arrow.NewSchema([]arrow.Field{nullable("v", b.StringView), nullable("s", b.String), nullable("n", p.Float64), nullable("i", p.Int32)}, nil)
	alone := arrow.NewSchema([]arrow.Field{nullable("i", p.Int32), nullable("s", b.LargeString)}, nil)
	const rows = `[{"i":1,"s":"ab","n":0.5,"v":"x"},{"i":null,"s":"","n":null,"v":null},{"i":-3,"s":null,"v":"a text that is not short"}]`
	var table []map[string]any
	if err := json.Unmarshal([]byte(rows), &table); err != nil {
		t.Fatal(err)
	}
	for _, row := range table {
		delete(row, "n")
		delete(row, "v")
	}
	keys, err := json.Marshal(table)
	if err != nil {
		t.Fatal(err)
	}
	var views [2]*View
	for i, of := range []struct {
		schema *arrow.Schema
		rows   string
	}{{full, rows}, {alone, string(keys)}} {
		batch, err := FromRecord(layoutOf(t, of.schema), jsonRecord(t, of.schema, of.rows))
		if err != nil {
			t.Fatal(err)
		}
		views[i] = viewOf(t, batch)
	}
	want, got := hashKeys(t, views[0], []int{3, 1}), hashKeys(t, views[1], []int{0, 1})
	if !slices.Equal(want, got) {
		t.Errorf("hashes of keys alone: %x, in the table %x", got, want)
	}
	if turned := hashKeys(t, views[1], []int{1, 0}); slices.Equal(turned, got) {
		t.Error("the order of the key columns makes no difference")
	}
}

func TestKeyColumnsRefuse(t *testing.T) {
	layout := layoutOf(t, schemaOf([]arrow.DataType{arrow.Null, arrow.ListOf(arrow.PrimitiveTypes.Int8)}))
	for i := range 2 {
		if _, err := NewKeyColumns(layout, []int{i}); !errors.Is(err, model.UnsupportedType) {
			t.Errorf("column %d: %v", i, err)
		}
	}
	for _, i := range []int{2, -1} {
		if _, err := NewKeyColumns(layout, []int{i}); !errors.Is(err, model.ColumnNotFound) {
			t.Errorf("column %d, which is not there: %v", i, err)
		}
	}
}

// TestKeysThatCannotBeRead equal nothing; a row that is not there panics, as an index does.
func TestKeysThatCannotBeRead(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 3))
	for _, dataType := range []arrow.DataType{arrow.BinaryTypes.String, arrow.BinaryTypes.LargeString, arrow.BinaryTypes.StringView} {
		for _, damage := range []byte{0x70, 0x80} {
			batch, _ := sample(t, rnd, schemaOf([]arrow.DataType{dataType}), 4, 0)
			good, _ := sample(t, rnd, schemaOf([]arrow.DataType{dataType}), 4, 0)
			keys, err := NewKeyColumns(batch.Layout, []int{0})
			if err != nil {
				t.Fatal(err)
			}
			values := batch.bytes(batch.Buffers[1])
			width := len(values) / 4
			if dataType == arrow.BinaryTypes.StringView {
				width = 4 // the length in the first view
			}
			values[width-1] = damage // a view's length, or the end of the first value
			if dataType != arrow.BinaryTypes.StringView {
				width = int(batch.Layout.top[0].offsetWidth())
				values[width-1], values[2*width-1] = 0, damage
			}
			view, other := viewOf(t, batch), viewOf(t, good)
			if keys.Equal(view, 0, keys, other, 0) || keys.Equal(other, 0, keys, view, 0) {
				t.Errorf("%s, damaged by %x: a value that cannot be read equals another", dataType, damage)
			}
			if keys.Equal(view, 0, keys, view, 0) {
				t.Errorf("%s, damaged by %x: a value that cannot be read equals itself", dataType, damage)
			}
			if !keys.Equal(view, 3, keys, view, 3) {
				t.Errorf("%s: a value does not equal itself", dataType)
			}
			if view.Value(0, 0) != nil {
				t.Errorf("%s, damaged by %x: the value is %x", dataType, damage, view.Value(0, 0))
			}
		}
	}
}

func TestKeyRowsBeyond(t *testing.T) {
	for _, dataType := range []arrow.DataType{arrow.PrimitiveTypes.Int64, arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int16} {
		// 25 rows of one value: the padding behind them would hold more.
		batch, err := Slice(constantBatch(t, dataType, 40), 0, 25)
		if err != nil {
			t.Fatal(err)
		}
		keys, err := NewKeyColumns(batch.Layout, []int{0})
		if err != nil {
			t.Fatal(err)
		}
		view := viewOf(t, batch)
		for _, rows := range [][2]int32{{-1, 1}, {1, -1}, {25, 1}, {1, 25}} {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s: rows %d of 25 were compared", dataType, rows)
					}
				}()
				keys.Equal(view, rows[0], keys, view, rows[1])
			}()
		}
	}
}

// constantBatch has one value that is zero or empty in all rows.
func constantBatch(t *testing.T, dataType arrow.DataType, rows int) *Batch {
	schema := schemaOf([]arrow.DataType{dataType})
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	for range rows {
		b.Field(0).AppendEmptyValue()
	}
	batch, err := FromRecord(layoutOf(t, schema), b.NewRecordBatch())
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

// TestKeysOfOtherTypes are not equal, whatever their bytes.
func TestKeysOfOtherTypes(t *testing.T) {
	p := arrow.PrimitiveTypes
	types := []arrow.DataType{p.Int64, p.Int32, arrow.FixedWidthTypes.Boolean, arrow.BinaryTypes.String, &arrow.FixedSizeBinaryType{ByteWidth: 1}}
	schema := schemaOf(types)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	for _, f := range b.Fields() {
		f.AppendEmptyValue()
	}
	batch, err := FromRecord(layoutOf(t, schema), b.NewRecordBatch())
	if err != nil {
		t.Fatal(err)
	}
	view := viewOf(t, batch)
	keys := make([]*KeyColumns, len(types))
	for i := range types {
		if keys[i], err = NewKeyColumns(batch.Layout, []int{i}); err != nil {
			t.Fatal(err)
		}
	}
	pair, err := NewKeyColumns(batch.Layout, []int{0, 1})
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range keys {
		for j, b := range append(keys, pair) {
			if got := a.Equal(view, 0, b, view, 0); got != (i == j) {
				t.Errorf("keys %d and %d: %v", i, j, got)
			}
		}
	}
}

func TestKeysDoNotAllocate(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 5))
	types := []arrow.DataType{arrow.PrimitiveTypes.Int64, arrow.BinaryTypes.String, arrow.BinaryTypes.LargeString, arrow.FixedWidthTypes.Boolean}
	batch, _ := sample(t, rnd, schemaOf(types), 1000, 5)
	view := viewOf(t, batch)
	all := []int{0, 1, 2, 3}
	keys, err := NewKeyColumns(batch.Layout, all)
	if err != nil {
		t.Fatal(err)
	}
	hasher, err := NewRowHasher(batch.Layout, all)
	if err != nil {
		t.Fatal(err)
	}
	var hashes []uint64
	size := 0
	allocations := testing.AllocsPerRun(10, func() {
		if hashes, err = hasher.Hash(batch, hashes[:0]); err != nil {
			t.Fatal(err)
		}
		for row := range int32(1000) {
			if !keys.Equal(view, row, keys, view, row) {
				t.Fatalf("row %d does not equal itself", row)
			}
			for i := range all {
				if !view.IsNull(i, row) {
					size += len(view.Value(i, row))
				}
			}
		}
	})
	if allocations > 0 || size == 0 {
		t.Errorf("%v allocations for 1000 rows of %d bytes", allocations, size)
	}
}

func BenchmarkEqualKeys(b *testing.B) {
	p, t := arrow.PrimitiveTypes, arrow.BinaryTypes
	for _, key := range [][]arrow.DataType{{p.Int64}, {t.String}, {p.Int32}, {p.Int64, t.String}} {
		b.Run(fmt.Sprint(key), func(b *testing.B) {
			rnd := rand.New(rand.NewPCG(1, 1))
			batch, _ := sample(b, rnd, schemaOf(key), 10_000, 0)
			columns := []int{0, 1}[:len(key)]
			keys, err := NewKeyColumns(batch.Layout, columns)
			if err != nil {
				b.Fatal(err)
			}
			view, equal := viewOf(b, batch), 0
			b.ReportAllocs()
			for b.Loop() {
				for row := range int32(10_000) {
					if keys.Equal(view, row, keys, view, row) {
						equal++
					}
				}
			}
			if equal != 10_000*b.N {
				b.Fatalf("%d keys are equal", equal)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/10_000, "ns/key")
		})
	}
}
