package arrowipc

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/headrace/headrace/internal/model"
)

// record makes a record of one JSON array of objects.
func jsonRecord(t testing.TB, schema *arrow.Schema, text string) arrow.RecordBatch {
	t.Helper()
	record, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return record
}

func layoutOf(t testing.TB, schema *arrow.Schema) *Layout {
	t.Helper()
	layout, err := NewLayout(schema)
	if err != nil {
		t.Fatal(err)
	}
	return layout
}

// TestConversionsLoseNothing sends one type for another, with nulls, in slices and compressed, and
// compares the texts of the values.
func TestConversionsLoseNothing(t *testing.T) {
	b := arrow.BinaryTypes
	dictionary := func(index, value arrow.DataType) arrow.DataType {
		return &arrow.DictionaryType{IndexType: index, ValueType: value}
	}
	p := arrow.PrimitiveTypes
	type pair struct{ from, to arrow.DataType }
	var pairs []pair
	for _, family := range [][]arrow.DataType{{b.String, b.LargeString, b.StringView}, {b.Binary, b.LargeBinary, b.BinaryView}} {
		for _, from := range family {
			for _, to := range family {
				pairs = append(pairs, pair{from, to},
					pair{arrow.ListOf(arrow.StructOf(nullable("x", from))), arrow.LargeListOf(arrow.StructOf(nullable("x", to)))},
					pair{arrow.FixedSizeListOf(2, from), arrow.FixedSizeListOf(2, to)},
					pair{arrow.LargeListOf(from), arrow.ListOf(to)})
			}
			pairs = append(pairs, pair{dictionary(p.Int8, b.String), b.StringView}, pair{dictionary(p.Uint16, b.Binary), b.LargeBinary})
		}
	}
	for _, index := range []arrow.DataType{p.Int8, p.Uint8, p.Int16, p.Uint16, p.Int32, p.Uint32, p.Int64, p.Uint64} {
		pairs = append(pairs, pair{dictionary(index, p.Int64), p.Int64})
	}
	pairs = append(pairs,
		pair{arrow.ListOf(dictionary(p.Int32, b.String)), arrow.ListOf(b.String)},
		pair{arrow.StructOf(nullable("d", dictionary(p.Int32, b.String))), arrow.StructOf(nullable("d", b.LargeString))},
		pair{dictionary(p.Int32, &arrow.Decimal128Type{Precision: 20, Scale: 2}), &arrow.Decimal128Type{Precision: 20, Scale: 2}})
	for i, c := range pairs {
		for codec, options := range codecs {
			t.Run(fmt.Sprintf("%d %s to %s/%s", i, c.from, c.to, codec), func(t *testing.T) {
				requireConversion(t, c.from, c.to, options)
			})
		}
	}
}

func requireConversion(t *testing.T, from, to arrow.DataType, options []ipc.Option) {
	rnd := rand.New(rand.NewPCG(11, 12))
	schema := schemaOf([]arrow.DataType{from, arrow.PrimitiveTypes.Int8})
	target := layoutOf(t, schemaOf([]arrow.DataType{to, arrow.PrimitiveTypes.Int8}))
	for _, nullEvery := range []int{0, 3} {
		bld := array.NewRecordBuilder(memory.DefaultAllocator, schema)
		for i := range 100 {
			appendConvertible(t, bld.Field(0), rnd, nullEvery, i)
			bld.Field(1).(*array.Int8Builder).Append(int8(i))
		}
		record := bld.NewRecordBatch().NewSlice(7, 95)
		messages := encodeRecords(t, schema, []arrow.RecordBatch{record, record}, options...)
		batches := decodeAll(t, messages, DecoderOptions{Target: target}, rnd)
		for _, got := range batchRecords(t, batches) {
			for row := range int(record.NumRows()) {
				want, value := record.Column(0), got.Column(0)
				if want.IsNull(row) != value.IsNull(row) || want.ValueStr(row) != value.ValueStr(row) {
					t.Fatalf("row %d is %s, want %s", row, value.ValueStr(row), want.ValueStr(row))
				}
			}
		}
		small := decodeAll(t, messages, DecoderOptions{Target: target, MessageBytes: 900}, rnd)
		if len(small) < 4 {
			t.Fatalf("%d batches of at most 900 bytes", len(small))
		}
		parts := batchRecords(t, small)
		requireEqualRecords(t, concatenate(t, target.Schema(), batchRecords(t, batches)), concatenate(t, target.Schema(), parts))
	}
}

// appendConvertible knows dictionaries too.
func appendConvertible(t testing.TB, b array.Builder, rnd *rand.Rand, nullEvery, i int) {
	t.Helper()
	null := nullEvery > 0 && rnd.IntN(nullEvery) == 0
	var err error
	switch b := b.(type) {
	case array.DictionaryBuilder:
		if null {
			b.AppendNull()
			return
		}
		err = b.AppendValueFromString(map[bool]string{true: "YWI=", false: fmt.Sprint(i % 20)}[b.Type().(*arrow.DictionaryType).ValueType.ID() == arrow.BINARY])
	case *array.ListBuilder:
		b.Append(!null)
		for range rnd.IntN(3) {
			appendConvertible(t, b.ValueBuilder(), rnd, nullEvery, i)
		}
	case *array.StructBuilder:
		b.Append(!null)
		for j := range b.NumField() {
			appendConvertible(t, b.FieldBuilder(j), rnd, nullEvery, i)
		}
	default:
		appendRandom(b, rnd, nullEvery)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestColumnsAreMatchedByName(t *testing.T) {
	p := arrow.PrimitiveTypes
	target := layoutOf(t, arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: p.Int64}, nullable("name", arrow.BinaryTypes.String), nullable("score", p.Float64),
		{Name: "tags", Type: arrow.ListOf(arrow.BinaryTypes.String)}, nullable("sv", arrow.BinaryTypes.StringView),
	}, nil))
	sent := arrow.NewSchema([]arrow.Field{nullable("sv", arrow.BinaryTypes.StringView), nullable("name", arrow.BinaryTypes.String), nullable("id", p.Int64)}, nil)
	record := jsonRecord(t, sent, `[{"sv":"a value of more than twelve bytes","name":"x","id":1},{"sv":null,"name":null,"id":2}]`)
	want := jsonRecord(t, target.Schema(), `[
		{"id":1,"name":"x","score":0.5,"tags":["a","b"],"sv":"a value of more than twelve bytes"},
		{"id":2,"name":null,"score":0.5,"tags":["a","b"],"sv":null}]`)
	defaults := map[string]any{"score": 0.5, "tags": []any{"a", "b"}, "name": "unused"}
	for codec, options := range codecs {
		for _, limit := range []int{0, 100} {
			batches := decodeAll(t, encodeRecords(t, sent, []arrow.RecordBatch{record}, options...),
				DecoderOptions{Target: target, Defaults: defaults, MessageBytes: limit}, rand.New(rand.NewPCG(1, 1)))
			if (len(batches) == 1) != (limit == 0) {
				t.Fatalf("%s: %d batches", codec, len(batches))
			}
			requireEqualRecords(t, want, concatenate(t, target.Schema(), batchRecords(t, batches)))
		}
	}
}

func TestMissingColumns(t *testing.T) {
	p := arrow.PrimitiveTypes
	target := layoutOf(t, arrow.NewSchema([]arrow.Field{
		nullable("a", p.Int64), nullable("b", arrow.FixedSizeListOf(2, p.Float32)), nullable("c", arrow.StructOf(arrow.Field{Name: "x", Type: p.Int8})),
		nullable("d", arrow.BinaryTypes.LargeString), nullable("e", arrow.Null), nullable("f", arrow.BinaryTypes.BinaryView),
	}, nil))
	sent := arrow.NewSchema([]arrow.Field{nullable("a", p.Int64)}, nil)
	record := randomRecord(rand.New(rand.NewPCG(1, 1)), sent, 100, 3)
	for codec, options := range codecs {
		batches := decodeAll(t, encodeRecords(t, sent, []arrow.RecordBatch{record}, options...), DecoderOptions{Target: target}, rand.New(rand.NewPCG(1, 1)))
		if (batches[0].Codec == NoCodec) != (codec == "plain") {
			t.Errorf("%s: the batch has codec %d", codec, batches[0].Codec)
		}
		got := batchRecords(t, batches)[0]
		if !array.Equal(got.Column(0), record.Column(0)) {
			t.Error("the sent column is another")
		}
		for i := 1; i < int(got.NumCols()); i++ {
			if got.Column(i).NullN() != 100 {
				t.Errorf("%s: column %d has %d nulls", codec, i, got.Column(i).NullN())
			}
		}
	}
}

func TestSchemaMismatches(t *testing.T) {
	p, b := arrow.PrimitiveTypes, arrow.BinaryTypes
	target := layoutOf(t, arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: p.Int64}, nullable("name", b.String), nullable("at", &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}),
		nullable("in", arrow.StructOf(nullable("x", p.Int8))), nullable("m", arrow.MapOf(b.String, p.Int8)),
	}, nil))
	id := arrow.Field{Name: "id", Type: p.Int64}
	for name, c := range map[string]struct {
		fields []arrow.Field
		want   []string
	}{
		"unknown":         {[]arrow.Field{id, nullable("Name", b.String)}, []string{`"Name" is not in the table`}},
		"missing":         {[]arrow.Field{nullable("name", b.String)}, []string{`"id" is missing`}},
		"all faults":      {[]arrow.Field{nullable("x", b.String), nullable("name", p.Int8)}, []string{`"x" is not`, `"id" is missing`, `"name" is of type int8, want string`}},
		"twice":           {[]arrow.Field{id, id}, []string{"twice"}},
		"unit":            {[]arrow.Field{id, nullable("at", &arrow.TimestampType{Unit: arrow.Millisecond, TimeZone: "UTC"})}, []string{"at"}},
		"zone":            {[]arrow.Field{id, nullable("at", &arrow.TimestampType{Unit: arrow.Microsecond})}, []string{"at"}},
		"nested name":     {[]arrow.Field{id, nullable("in", arrow.StructOf(nullable("y", p.Int8)))}, []string{"in"}},
		"nested type":     {[]arrow.Field{id, nullable("in", arrow.StructOf(nullable("x", p.Int16)))}, []string{"in"}},
		"binary for text": {[]arrow.Field{id, nullable("name", b.Binary)}, []string{"name"}},
		"list for map":    {[]arrow.Field{id, nullable("m", arrow.ListOf(arrow.StructOf(arrow.Field{Name: "key", Type: b.String}, nullable("value", p.Int8))))}, []string{`"m"`}},
		"wrong values":    {[]arrow.Field{id, nullable("name", &arrow.DictionaryType{IndexType: p.Int8, ValueType: p.Int8})}, []string{"name"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewDecoder(EncodeSchema(arrow.NewSchema(c.fields, nil)), DecoderOptions{Target: target})
			if !errors.Is(err, model.SchemaMismatch) {
				t.Fatalf("got %v", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v does not name %s", err, want)
				}
			}
		})
	}
	schema := EncodeSchema(arrow.NewSchema([]arrow.Field{id}, nil))
	if _, err := NewDecoder(schema, DecoderOptions{Target: target, Required: []string{"name"}}); !errors.Is(err, model.SchemaMismatch) {
		t.Errorf("a required column is missing: %v", err)
	}
	if _, err := NewDecoder(schema, DecoderOptions{Target: target, Defaults: map[string]any{"name": 5}}); !errors.Is(err, model.BadRequest) {
		t.Errorf("a default of another type: %v", err)
	}
}

func TestNullsInRequiredColumns(t *testing.T) {
	p := arrow.PrimitiveTypes
	inner := arrow.StructOf(arrow.Field{Name: "x", Type: p.Int8}, nullable("y", p.Int8))
	loose := arrow.StructOf(nullable("x", p.Int8), nullable("y", p.Int8))
	for name, c := range map[string]struct {
		sent, target arrow.Field
		json, want   string
	}{
		"top":              {nullable("c", p.Int64), arrow.Field{Name: "c", Type: p.Int64}, `[{"c":1},{"c":2},{"c":null}]`, "row 2"},
		"none":             {nullable("c", p.Int64), arrow.Field{Name: "c", Type: p.Int64}, `[{"c":1}]`, ""},
		"nulls":            {nullable("c", arrow.Null), arrow.Field{Name: "c", Type: p.Int64}, `[{"c":null}]`, "row 0"},
		"converted":        {nullable("c", arrow.BinaryTypes.StringView), arrow.Field{Name: "c", Type: arrow.BinaryTypes.String}, `[{"c":"a"},{"c":null}]`, "row 1"},
		"nested":           {nullable("c", loose), nullable("c", inner), `[{"c":{"x":1}},{"c":{"x":null}}]`, `"c.x"`},
		"inside a null":    {nullable("c", loose), nullable("c", inner), `[{"c":{"x":1}},{"c":null}]`, ""},
		"elements of null": {nullable("c", arrow.FixedSizeListOf(2, p.Int8)), nullable("c", arrow.FixedSizeListOfNonNullable(2, p.Int8)), `[{"c":[1,2]},{"c":null}]`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			schema := arrow.NewSchema([]arrow.Field{c.sent}, nil)
			target := layoutOf(t, arrow.NewSchema([]arrow.Field{c.target}, nil))
			for codec, options := range codecs {
				for _, limit := range []int{0, 1} {
					messages := encodeRecords(t, schema, []arrow.RecordBatch{jsonRecord(t, schema, c.json)}, options...)
					d, err := NewDecoder(messages[0].header, DecoderOptions{Target: target, MessageBytes: limit})
					if err != nil {
						t.Fatal(err)
					}
					_, err = d.Decode(messages[1].header, [][]byte{messages[1].body})
					if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, model.SchemaMismatch) || !strings.Contains(err.Error(), c.want)) {
						t.Errorf("%s: got %v, want %q", codec, err, c.want)
					}
				}
			}
		})
	}
}

// TestExpansionIsBounded sends little for columns that would take much: it must be refused before
// the memory is there.
func TestExpansionIsBounded(t *testing.T) {
	p := arrow.PrimitiveTypes
	const rows = 1 << 20
	vector := nullable("v", arrow.FixedSizeListOf(1536, p.Float32))
	target := layoutOf(t, arrow.NewSchema([]arrow.Field{nullable("a", arrow.FixedWidthTypes.Boolean), vector}, nil))
	flag := array.NewBooleanBuilder(memory.DefaultAllocator)
	flag.AppendValues(make([]bool, rows), nil)
	flags := flag.NewArray()
	for name, c := range map[string]struct {
		columns  []arrow.Array
		defaults map[string]any
	}{
		"missing":     {[]arrow.Array{flags}, nil},
		"by default":  {[]arrow.Array{flags}, map[string]any{"v": make([]any, 1536)}},
		"null-typed":  {[]arrow.Array{flags, array.NewNull(rows)}, nil},
		"only a null": {[]arrow.Array{array.NewNull(rows)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var fields []arrow.Field
			for i, column := range c.columns {
				fields = append(fields, nullable([]string{"a", "v"}[i], column.DataType()))
			}
			schema := arrow.NewSchema(fields, nil)
			for _, options := range codecs {
				messages := encodeRecords(t, schema, []arrow.RecordBatch{array.NewRecordBatch(schema, c.columns, rows)}, options...)
				d, err := NewDecoder(messages[0].header, DecoderOptions{Target: target, Defaults: c.defaults})
				if err != nil {
					t.Fatal(err)
				}
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				_, err = d.Decode(messages[1].header, [][]byte{messages[1].body})
				runtime.ReadMemStats(&after)
				if !errors.Is(err, model.BatchTooLarge) {
					t.Errorf("got %v", err)
				}
				if got := after.TotalAlloc - before.TotalAlloc; got > 64<<20 {
					t.Errorf("%d bytes were allocated", got)
				}
			}
		})
	}
}
