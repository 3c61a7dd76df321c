package arrowipc

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"pgregory.net/rapid"
)

func viewOf(t testing.TB, b *Batch) *View {
	t.Helper()
	view, err := NewView(b)
	if err != nil {
		t.Fatal(err)
	}
	return view
}

// pool is some views of one schema with the records they hold; the last record is one row of nulls.
type pool struct {
	views   []*View
	records []arrow.RecordBatch
}

func drawPool(t testing.TB, rt *rapid.T, schema *arrow.Schema) *pool {
	p := &pool{}
	rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 3))
	for range rapid.IntRange(1, 4).Draw(rt, "views") {
		batch, record := sample(t, rnd, schema, rapid.IntRange(1, 100).Draw(rt, "rows"), rapid.SampledFrom([]int{0, 0, 1, 3}).Draw(rt, "nulls"))
		p.views, p.records = append(p.views, viewOf(t, batch)), append(p.records, record)
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	for _, f := range b.Fields() {
		f.AppendNull()
	}
	p.records = append(p.records, b.NewRecordBatch())
	return p
}

// draw gives picks of neighbours and of single rows, and the rows as arrow-go slices them.
func (p *pool) draw(rt *rapid.T) (picks []Pick, pieces []arrow.RecordBatch) {
	gaps := rapid.Bool().Draw(rt, "gaps")
	for range rapid.IntRange(0, 30).Draw(rt, "pieces") {
		from := rapid.IntRange(0, len(p.views)-1).Draw(rt, "from")
		if gaps && rapid.IntRange(0, 4).Draw(rt, "gap") == 0 {
			picks = append(picks, Pick{Row: -7})
			pieces = append(pieces, p.records[len(p.views)])
			continue
		}
		view := p.views[from]
		row := rapid.Int32Range(0, int32(view.Rows()-1)).Draw(rt, "row")
		n := rapid.SampledFrom([]int32{1, 1, 1, 2, 90}).Draw(rt, "neighbours")
		n = min(n, int32(view.Rows())-row)
		for i := range n {
			picks = append(picks, Pick{view, row + i})
		}
		pieces = append(pieces, p.records[from].NewSlice(int64(row), int64(row+n)))
	}
	return picks, pieces
}

// TestPicksAgainstSlices compares picks of rows with array.Concatenate of array.NewSlice, and picks of
// columns with both.
func TestPicksAgainstSlices(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		schema := drawSchema(rt)
		p := drawPool(t, rt, schema)
		rows, columns := NewBuilder(p.views[0].Layout()), NewBuilder(layoutOf(t, schema))
		pieces := []arrow.RecordBatch{p.records[0].NewSlice(0, 0)}
		if rapid.Bool().Draw(rt, "after a range") { // appends meet what is there already, not only nothing
			n := rapid.Int64Range(0, p.views[0].Rows()).Draw(rt, "range")
			for _, b := range []*Builder{rows, columns} {
				if err := b.AppendRange(p.views[0].Batch(), 0, n); err != nil {
					rt.Fatal(err)
				}
			}
			pieces = append(pieces, p.records[0].NewSlice(0, n))
		}
		for range rapid.IntRange(1, 3).Draw(rt, "appends") {
			picks, more := p.draw(rt)
			pieces = append(pieces, more...)
			if err := rows.AppendPicks(picks); err != nil {
				rt.Fatal(err)
			}
			for i := range schema.NumFields() {
				cut := rapid.IntRange(0, len(picks)).Draw(rt, "cut")
				for _, part := range [][]Pick{picks[:cut], picks[cut:]} {
					if err := columns.AppendColumnPicks(i, i, part); err != nil {
						rt.Fatal(err)
					}
				}
			}
		}
		want := concatenate(t, schema, pieces)
		for _, b := range []*Builder{rows, columns} {
			size := b.Bytes()
			if err := b.Err(); err != nil || b.Rows() != want.NumRows() {
				rt.Fatalf("%d rows, %v, want %d", b.Rows(), err, want.NumRows())
			}
			batch := b.Finish()
			if int64(len(batch.Body)) != size {
				rt.Fatalf("a body of %d bytes, Bytes said %d", len(batch.Body), size)
			}
			requireEqualRecords(t, want, batchRecords(t, []*Batch{batch})[0])
			if again := b.Finish(); again.Rows != 0 {
				rt.Fatalf("%d rows after Finish", again.Rows)
			}
		}
	})
}

// TestValuesAgainstSlices takes all values out of views one by one, and puts them together again.
func TestValuesAgainstSlices(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		schema := schemaOf(rapid.SliceOfN(rapid.SampledFrom(leafTypes()), 1, 6).Draw(rt, "types"))
		p := drawPool(t, rt, schema)
		picks, pieces := p.draw(rt)
		builder := NewBuilder(p.views[0].Layout())
		for i := range schema.NumFields() {
			for _, pick := range picks {
				if pick.View == nil || pick.View.IsNull(i, pick.Row) {
					if pick.View != nil && pick.View.Value(i, pick.Row) != nil {
						rt.Fatal("a null has a value")
					}
					builder.AppendNull(i)
				} else if err := builder.AppendValue(i, pick.View.Value(i, pick.Row)); err != nil {
					rt.Fatal(err)
				}
			}
		}
		want := concatenate(t, schema, append(pieces, p.records[0].NewSlice(0, 0)))
		requireEqualRecords(t, want, batchRecords(t, []*Batch{builder.Finish()})[0])
	})
}

// binaryForms are the types that take each other's values.
var binaryForms = []arrow.DataType{arrow.BinaryTypes.String, arrow.BinaryTypes.LargeString, arrow.BinaryTypes.StringView}

// TestPicksOfMixedLayouts takes one column from views whose layouts have it at other nodes and in other
// forms, in turns: as the old rows of a log and the new rows of a request come.
func TestPicksOfMixedLayouts(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 4))
		before := []arrow.DataType{arrow.PrimitiveTypes.Int32, nestedTypes()[0], arrow.ListOf(arrow.BinaryTypes.StringView)}
		var views []*View
		var records []arrow.RecordBatch
		for range rapid.IntRange(2, 7).Draw(rt, "layouts") {
			form := rapid.SampledFrom(binaryForms).Draw(rt, "form")
			schema := schemaOf([]arrow.DataType{rapid.SampledFrom(before).Draw(rt, "before"), form})
			batch, record := sample(t, rnd, schema, 20, rapid.IntRange(0, 3).Draw(rt, "nulls"))
			views, records = append(views, viewOf(t, batch)), append(records, record)
		}
		target := rapid.SampledFrom(binaryForms).Draw(rt, "target")
		builder := NewBuilder(layoutOf(t, schemaOf([]arrow.DataType{target})))
		var picks []Pick
		var want []any
		for range rapid.IntRange(1, 60).Draw(rt, "picks") {
			i := rapid.IntRange(-1, len(views)-1).Draw(rt, "view")
			if i < 0 {
				picks, want = append(picks, Pick{}), append(want, nil)
				continue
			}
			row := rapid.IntRange(0, 19).Draw(rt, "row")
			picks, want = append(picks, Pick{views[i], int32(row)}), append(want, records[i].Column(1).GetOneForMarshal(row))
		}
		if err := builder.AppendColumnPicks(0, 1, picks); err != nil {
			rt.Fatal(err)
		}
		got := batchRecords(t, []*Batch{builder.Finish()})[0].Column(0)
		for i, value := range want {
			if got.GetOneForMarshal(i) != value {
				rt.Fatalf("row %d: got %v, want %v", i, got.GetOneForMarshal(i), value)
			}
		}
	})
}

func TestPicksRefuse(t *testing.T) {
	rnd := rand.New(rand.NewPCG(9, 9))
	b, p := arrow.BinaryTypes, arrow.PrimitiveTypes
	schema := schemaOf([]arrow.DataType{b.String, p.Int64, arrow.FixedWidthTypes.Boolean, arrow.ListOf(p.Int8)})
	batch, _ := sample(t, rnd, schema, 10, 0)
	good := viewOf(t, batch)
	otherBatch, _ := sample(t, rnd, schemaOf([]arrow.DataType{b.Binary, p.Int32, b.LargeString, arrow.ListOf(p.Int16)}), 10, 0)
	other := viewOf(t, otherBatch)
	rotten := func(end int32) *View { // of the first value
		c := *batch
		c.Body = append([]byte(nil), batch.Body...)
		binary.LittleEndian.PutUint32(c.Body[4:], uint32(end))
		return viewOf(t, &c)
	}
	high, negative := rotten(1<<30), rotten(-1)
	for name, try := range map[string]func(*Builder) error{
		"another schema":        func(b *Builder) error { return b.AppendPicks([]Pick{{good, 0}, {other, 0}}) },
		"another type":          func(b *Builder) error { return b.AppendColumnPicks(1, 1, []Pick{{good, 0}, {other, 0}}) },
		"bytes for text":        func(b *Builder) error { return b.AppendColumnPicks(0, 0, []Pick{{other, 0}}) },
		"another nested type":   func(b *Builder) error { return b.AppendColumnPicks(3, 3, []Pick{{other, 0}}) },
		"a row beyond":          func(b *Builder) error { return b.AppendPicks([]Pick{{good, 9}, {good, 10}}) },
		"a number beyond":       func(b *Builder) error { return b.AppendColumnPicks(1, 1, []Pick{{good, 10}}) },
		"a negative row":        func(b *Builder) error { return b.AppendColumnPicks(1, 1, []Pick{{good, -1}}) },
		"a column beyond":       func(b *Builder) error { return b.AppendColumnPicks(4, 0, []Pick{{good, 0}}) },
		"a source beyond":       func(b *Builder) error { return b.AppendColumnPicks(0, 4, []Pick{{good, 0}}) },
		"a negative source":     func(b *Builder) error { return b.AppendColumnPicks(0, -1, []Pick{{good, 0}}) },
		"an end outside":        func(b *Builder) error { return b.AppendPicks([]Pick{{high, 0}}) },
		"a beginning outside":   func(b *Builder) error { return b.AppendPicks([]Pick{{high, 1}}) },
		"a negative end":        func(b *Builder) error { return b.AppendPicks([]Pick{{negative, 0}}) },
		"a negative beginning":  func(b *Builder) error { return b.AppendPicks([]Pick{{negative, 1}}) },
		"a value too short":     func(b *Builder) error { return b.AppendValue(1, make([]byte, 7)) },
		"a bool of two bytes":   func(b *Builder) error { return b.AppendValue(2, []byte{0, 1}) },
		"a bool of 2":           func(b *Builder) error { return b.AppendValue(2, []byte{2}) },
		"a list as a value":     func(b *Builder) error { return b.AppendValue(3, nil) },
		"a value of no column":  func(b *Builder) error { return b.AppendValue(-1, nil) },
		"a null of no column":   func(b *Builder) error { b.AppendNull(4); return b.Err() },
		"columns not alike":     func(b *Builder) error { b.AppendNull(3); return b.Err() },
		"less rows in a column": func(b *Builder) error { b.AppendNull(0); b.AppendNull(0); b.AppendNull(1); return b.Err() },
	} {
		t.Run(name, func(t *testing.T) {
			b := NewBuilder(batch.Layout)
			if err := b.AppendPicks([]Pick{{good, 1}}); err != nil {
				t.Fatal(err)
			}
			if err := try(b); err == nil {
				t.Fatal("it was accepted")
			}
			if got := b.Finish(); got.Rows != 0 || got.Nodes[0].Length != 0 || got.Nodes[3].Length != 0 {
				t.Fatalf("%d rows after an error", got.Rows)
			}
			if err := b.AppendPicks([]Pick{{good, 1}, {good, 2}}); err != nil || b.Finish().Rows != 2 {
				t.Fatalf("after an error and Finish: %v", err)
			}
		})
	}
}

// TestPicksOfStructs takes a struct from another node than it will have, and nulls whose required field
// is not null.
func TestPicksOfStructs(t *testing.T) {
	rnd := rand.New(rand.NewPCG(8, 9))
	required := arrow.StructOf(nullable("s", arrow.BinaryTypes.String), arrow.Field{Name: "i", Type: arrow.PrimitiveTypes.Int32})
	source, record := sample(t, rnd, schemaOf([]arrow.DataType{nestedTypes()[0], required}), 10, 0)
	builder := NewBuilder(layoutOf(t, schemaOf([]arrow.DataType{required, arrow.PrimitiveTypes.Int8})))
	view := viewOf(t, source)
	whole := []Pick{{view, 3}, {view, 1}, {view, 7}}
	withNull := []Pick{{view, 5}, {}}
	for _, picks := range [][]Pick{whole, withNull} {
		if err := builder.AppendColumnPicks(0, 1, picks); err != nil {
			t.Fatal(err)
		}
	}
	if rows := builder.Rows(); rows != 0 || builder.Err() == nil {
		t.Errorf("%d rows where a column has none, %v", rows, builder.Err())
	}
	for range 5 {
		builder.AppendNull(1)
	}
	batch := builder.Finish()
	if got := batch.Nodes[:3]; got[0] != (Node{5, 1}) || got[1] != (Node{5, 1}) || got[2] != (Node{5, 0}) {
		t.Errorf("nodes of a struct, a field that may be null and one that may not: %v", got)
	}
	got := batchRecords(t, []*Batch{batch})[0].Column(0)
	for i, row := range []int{3, 1, 7, 5} {
		if got.ValueStr(i) != record.Column(1).ValueStr(row) {
			t.Errorf("row %d: got %s, want %s", i, got.ValueStr(i), record.Column(1).ValueStr(row))
		}
	}
}

// TestPicksOfManyColumns has more nodes than View.nulls has bits.
func TestPicksOfManyColumns(t *testing.T) {
	rnd := rand.New(rand.NewPCG(8, 8))
	schema := schemaOf(append(leafTypes(), nestedTypes()...))
	for nullEvery := range 3 {
		batch, record := sample(t, rnd, schema, 200, nullEvery)
		if len(batch.Layout.all) <= 64 {
			t.Fatalf("%d nodes", len(batch.Layout.all))
		}
		view, builder := viewOf(t, batch), NewBuilder(batch.Layout)
		var picks []Pick
		var pieces []arrow.RecordBatch
		for range 300 {
			row := rnd.Int32N(200)
			picks, pieces = append(picks, Pick{view, row}), append(pieces, record.NewSlice(int64(row), int64(row)+1))
		}
		if err := builder.AppendPicks(picks); err != nil {
			t.Fatal(err)
		}
		requireEqualRecords(t, concatenate(t, schema, pieces), batchRecords(t, []*Batch{builder.Finish()})[0])
	}
}

// TestPicksOfNullsAreZero: what a builder had before does not show under nulls.
func TestPicksOfNullsAreZero(t *testing.T) {
	types := slices.DeleteFunc(leafTypes(), func(dataType arrow.DataType) bool { return dataType.ID() == arrow.NULL })
	batch, _ := sample(t, rand.New(rand.NewPCG(6, 6)), schemaOf(types), 100, 0)
	view, builder := viewOf(t, batch), NewBuilder(batch.Layout)
	picks := make([]Pick, 100)
	for i := range picks {
		picks[i] = Pick{view, int32(i)}
	}
	if err := builder.AppendPicks(picks); err != nil {
		t.Fatal(err)
	}
	builder.Finish().Release()
	clear(picks)
	if err := builder.AppendPicks(picks); err != nil {
		t.Fatal(err)
	}
	if got := builder.Finish(); strings.Trim(string(got.Body), "\x00") != "" {
		t.Error("the body of nulls is not zero")
	}
}

// TestPicksTooLong has 32-bit offsets that do not reach; 64-bit ones are not tried, as they would.
func TestPicksTooLong(t *testing.T) {
	const size = 1 << 24
	schema := schemaOf([]arrow.DataType{arrow.BinaryTypes.Binary})
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	b.Field(0).(*array.BinaryBuilder).Append(make([]byte, size))
	batch, err := FromRecord(layoutOf(t, schema), b.NewRecordBatch())
	if err != nil {
		t.Fatal(err)
	}
	picks := slices.Repeat([]Pick{{viewOf(t, batch), 0}}, math.MaxInt32/size+1)
	if err := NewBuilder(batch.Layout).AppendPicks(picks); !errors.Is(err, errTooLong) {
		t.Errorf("2 GiB of values: %v", err)
	}
}

func TestNewViewRefuses(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2, 2))
	batch, _ := sample(t, rnd, schemaOf([]arrow.DataType{arrow.PrimitiveTypes.Int64}), 100, 0)
	packed, err := Compress(batch, ZSTD, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewView(packed); err == nil {
		t.Error("a compressed batch was opened")
	}
	short := *batch
	short.Buffers = append([]Span(nil), batch.Buffers...)
	short.Buffers[1].Length--
	if _, err := NewView(&short); err == nil {
		t.Error("a batch whose values are too short was opened")
	}
	fewer := *batch
	fewer.Nodes = []Node{{99, 0}}
	if _, err := NewView(&fewer); err == nil {
		t.Error("a batch whose column is shorter than its rows was opened")
	}
}

func TestSharedDoesNotRelease(t *testing.T) {
	batch, want := sample(t, rand.New(rand.NewPCG(2, 2)), schemaOf(leafTypes()), 10, 0)
	shared := batch.Shared()
	again := batch.Shared()
	again.Release()
	requireEqualRecords(t, want, batchRecords(t, []*Batch{shared})[0])
	if again.Body != nil || shared.owned || !batch.owned {
		t.Errorf("owned: %v by the copy, %v by the batch", shared.owned, batch.owned)
	}
}

// TestPicksDoNotAllocate counts allocations of a builder that has had its memory.
func TestPicksDoNotAllocate(t *testing.T) {
	room := make([]byte, 0, 1024)
	if testing.AllocsPerRun(10, func() { room = append(room[:0], make([]byte, cap(room))...) }) > 0 {
		t.Skip("this build allocates what is appended, as with the race detector")
	}
	rnd := rand.New(rand.NewPCG(5, 5))
	var views []*View
	for range 5 {
		batch, _ := sample(t, rnd, schemaOf(append(leafTypes(), nestedTypes()...)), 50, 3)
		views = append(views, viewOf(t, batch))
	}
	var picks []Pick
	for i := range 300 {
		picks = append(picks, Pick{views[rnd.IntN(5)], int32(rnd.IntN(50))})
		if i%20 == 0 {
			picks = append(picks, Pick{})
		}
	}
	builder := NewBuilder(views[0].Layout())
	allocations := testing.AllocsPerRun(10, func() {
		builder.reset()
		err := builder.AppendPicks(picks)
		for i := range builder.layout.top {
			if err == nil {
				err = builder.AppendColumnPicks(i, i, picks)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	if allocations > 0 {
		t.Errorf("%v allocations for %d picks", allocations, len(picks))
	}
}

// profileTypes are the columns of a table of users.
func profileTypes() []arrow.DataType {
	p, b := arrow.PrimitiveTypes, arrow.BinaryTypes
	return []arrow.DataType{
		p.Int64, b.String, b.String, p.Int32, p.Float64, arrow.FixedWidthTypes.Timestamp_us,
		arrow.FixedWidthTypes.Boolean, p.Int64, &arrow.Decimal128Type{Precision: 20, Scale: 2}, p.Int16,
	}
}

func BenchmarkAppendPicks(b *testing.B) {
	for _, shape := range []struct {
		name                     string
		views, rows, nulls, side int
	}{{"1000 views", 1000, 10_000, 0, 1}, {"1000 views with nulls", 1000, 10_000, 10, 1}, {"1 view", 1, 10_000, 0, 1}, {"neighbours", 1, 10_000, 0, 1000}} {
		b.Run(shape.name, func(b *testing.B) {
			rnd := rand.New(rand.NewPCG(1, 1))
			batch, _ := sample(b, rnd, schemaOf(profileTypes()), shape.rows, shape.nulls)
			views := make([]*View, shape.views)
			for i := range views {
				c := *batch
				c.Body = append([]byte(nil), batch.Body...)
				views[i] = viewOf(b, &c)
			}
			sets := make([][]Pick, 64) // so that what is picked is not in a cache
			for i := range sets {
				for len(sets[i]) < 1000 {
					view, row := views[rnd.IntN(len(views))], rnd.IntN(shape.rows-shape.side)
					for j := range shape.side {
						sets[i] = append(sets[i], Pick{view, int32(row + j)})
					}
				}
			}
			builder := NewBuilder(batch.Layout)
			b.SetBytes(int64(len(batch.Body) / shape.rows * 1000))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := builder.AppendPicks(sets[i%len(sets)]); err != nil {
					b.Fatal(err)
				}
				builder.reset()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/row")
		})
	}
}

func BenchmarkAppendColumnPicks(b *testing.B) {
	rnd := rand.New(rand.NewPCG(1, 1))
	batch, _ := sample(b, rnd, schemaOf(profileTypes()), 10_000, 0)
	// As old and new rows of updates come: two layouts in turns.
	other, _ := sample(b, rnd, schemaOf(append(profileTypes(), arrow.PrimitiveTypes.Uint8)), 10_000, 0)
	views := []*View{viewOf(b, batch), viewOf(b, other)}
	var picks []Pick
	for i := range 1000 {
		picks = append(picks, Pick{views[i%2], int32(rnd.IntN(10_000))})
	}
	benchColumnPicks(b, batch.Layout, picks)
}

// benchColumnPicks appends picks of rows of users, each column on its own.
func benchColumnPicks(b *testing.B, layout *Layout, picks []Pick) {
	for i, dataType := range profileTypes() {
		b.Run(fmt.Sprintf("%d %s", i, dataType), func(b *testing.B) {
			builder := NewBuilder(layout)
			for b.Loop() {
				if err := builder.AppendColumnPicks(i, i, picks); err != nil {
					b.Fatal(err)
				}
				builder.reset()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(picks)), "ns/value")
		})
	}
}

// TestStructPicks makes structs of the columns of two views, with gaps.
func TestStructPicks(t *testing.T) {
	fields := []arrow.Field{{Name: "a", Type: arrow.PrimitiveTypes.Int64}, {Name: "b", Type: arrow.BinaryTypes.String, Nullable: true}}
	source, err := NewLayout(arrow.NewSchema(fields, nil))
	if err != nil {
		t.Fatal(err)
	}
	view := func(text string) *View {
		record, _, err := array.RecordFromJSON(memory.DefaultAllocator, source.Schema(), strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		defer record.Release()
		batch, err := FromRecord(source, record)
		if err != nil {
			t.Fatal(err)
		}
		v, err := NewView(batch)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	x, y := view(`[{"a":1,"b":"one"},{"a":2,"b":null}]`), view(`[{"a":3,"b":"three"}]`)
	both, err := NewLayout(arrow.NewSchema([]arrow.Field{{Name: "s", Type: arrow.StructOf(fields[1], fields[0]), Nullable: true}}, nil))
	if err != nil {
		t.Fatal(err)
	}
	b := NewBuilder(both)
	if err := b.AppendStructPicks(0, []int{1, 0}, []Pick{{x, 1}, {}, {y, 0}, {x, 0}}); err != nil {
		t.Fatal(err)
	}
	batch := b.Finish()
	defer batch.Release()
	record, err := batch.Record(memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	defer record.Release()
	text, err := record.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"s":{"a":2,"b":null}},{"s":null},{"s":{"a":3,"b":"three"}},{"s":{"a":1,"b":"one"}}]`
	var got, wanted any
	if json.Unmarshal(text, &got) != nil || json.Unmarshal([]byte(want), &wanted) != nil || !reflect.DeepEqual(got, wanted) {
		t.Errorf("got %s, want %s", text, want)
	}
	if err := b.AppendStructPicks(0, []int{0}, nil); err == nil {
		t.Error("a struct of two fields took one")
	}
}
