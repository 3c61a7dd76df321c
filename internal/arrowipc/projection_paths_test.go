package arrowipc

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"pgregory.net/rapid"

	"github.com/headrace/headrace/internal/model"
)

// pathsSchema has fields three structs deep, of two types that are drawn.
func pathsSchema(first, second arrow.DataType) *arrow.Schema {
	inner := arrow.StructOf(nullable("y", first), nullable("z", second))
	middle := arrow.StructOf(nullable("x", inner), nullable("w", second), arrow.Field{Name: "v", Type: first, Nullable: true})
	return arrow.NewSchema([]arrow.Field{
		nullable("top", second), nullable("s", middle), nullable("view", arrow.BinaryTypes.StringView),
	}, nil)
}

// choices are ways into pathsSchema.
var choices = []struct {
	column int
	path   []string
}{
	{0, nil}, {1, nil}, {1, []string{"x"}}, {1, []string{"w"}}, {1, []string{"v"}}, {1, []string{"x", "y"}}, {1, []string{"x", "z"}}, {2, nil},
}

func TestEncodeIsReadBack(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 9))
		types := append(leafTypes(), nestedTypes()...)
		schema := pathsSchema(rapid.SampledFrom(types).Draw(rt, "first"), rapid.SampledFrom(types).Draw(rt, "second"))
		rows := rapid.SampledFrom([]int{0, 1, 9, 64, 700}).Draw(rt, "rows")
		plain, record := sample(t, rnd, schema, rows, rapid.IntRange(0, 4).Draw(rt, "nulls"))
		stored := rapid.SampledFrom([]Codec{NoCodec, LZ4, ZSTD}).Draw(rt, "stored")
		sent := stored
		if stored == NoCodec {
			sent = rapid.SampledFrom([]Codec{NoCodec, LZ4, ZSTD}).Draw(rt, "sent")
		}
		batch, err := Compress(plain, stored, 0)
		if err != nil {
			rt.Fatal(err)
		}
		var columns []int
		var paths [][]string
		for _, at := range rapid.SliceOfN(rapid.IntRange(0, len(choices)-1), 0, 6).Draw(rt, "choices") {
			columns, paths = append(columns, choices[at].column), append(paths, choices[at].path)
		}
		var extra []arrow.Field
		var buffers [][][]byte
		if rapid.Bool().Draw(rt, "extra") || columns == nil {
			extra, buffers = systemColumns, systemBuffers(batch.Rows, true)
			columns = append([]int{}, columns...)
		}
		p, err := NewNestedProjection(batch.Layout, columns, paths, extra)
		if err != nil {
			rt.Fatal(err)
		}
		message, err := p.Encode(batch, buffers, sent)
		if err != nil {
			rt.Fatal(err)
		}
		checkMessage(t, message)
		stream := appendMessage(appendMessage(nil, p.SchemaMessage()), message.Header, message.Body...)
		got := readStream(t, stream)[0]
		for i, column := range columns {
			requireChosen(t, record.Column(column), paths[i], got.Column(i))
		}
		if !p.Reads(batch, sent) {
			again := p.Message(batch, buffers)
			if !slices.Equal(slices.Concat(again.Body...), slices.Concat(message.Body...)) || !slices.Equal(again.Header, message.Header) {
				t.Fatal("Message and Encode differ")
			}
		}
		requireEnough(t, p, batch, buffers, sent, message)
	})
}

// requireChosen compares what a projection gave with what the path leads to, row by row.
func requireChosen(t testing.TB, column arrow.Array, path []string, got arrow.Array) {
	t.Helper()
	above := make([]bool, column.Len())
	for _, name := range path {
		outer := column.(*array.Struct)
		for row := range above {
			above[row] = above[row] || outer.IsNull(row)
		}
		at, _ := outer.DataType().(*arrow.StructType).FieldIdx(name)
		column = outer.Field(at)
	}
	if got.Len() != column.Len() || !sameType(got.DataType(), column.DataType()) {
		t.Fatalf("%v: got %d rows of %s, want %d of %s", path, got.Len(), got.DataType(), column.Len(), column.DataType())
	}
	nulls := 0
	for row := range above {
		isNull := above[row] || column.IsNull(row)
		if isNull {
			nulls++
		}
		if column.DataType().ID() == arrow.NULL {
			continue
		}
		if got.IsNull(row) != isNull || !isNull && got.ValueStr(row) != column.ValueStr(row) {
			t.Fatalf("%v, row %d: got %s, want %s, null above: %t", path, row, got.ValueStr(row), column.ValueStr(row), above[row])
		}
	}
	if column.DataType().ID() != arrow.NULL && got.NullN() != nulls {
		t.Fatalf("%v: got %d nulls, want %d", path, got.NullN(), nulls)
	}
}

// requireEnough makes the message again with all buffers cleared that the projection did not name.
func requireEnough(t testing.TB, p *Projection, batch *Batch, extra [][][]byte, codec Codec, want Message) {
	t.Helper()
	named := p.AppendBuffers(nil, batch)
	other := *batch
	other.Body = make([]byte, len(batch.Body))
	for _, i := range named {
		s := batch.Buffers[i]
		copy(other.Body[s.Offset:s.Offset+s.Length], batch.Body[s.Offset:])
	}
	got, err := p.Encode(&other, extra, codec)
	if err != nil || !slices.Equal(slices.Concat(got.Body...), slices.Concat(want.Body...)) {
		t.Fatalf("the message needs buffers that AppendBuffers does not name: %v", err)
	}
}

func TestPathsThatLeadNowhere(t *testing.T) {
	pair := arrow.StructOf(nullable("b", arrow.PrimitiveTypes.Int8))
	layout, err := NewLayout(arrow.NewSchema([]arrow.Field{
		nullable("a", pair), nullable("l", arrow.ListOf(pair)), nullable("m", arrow.MapOf(arrow.BinaryTypes.String, pair)),
	}, nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		column int
		path   []string
		want   string
	}{
		{0, []string{"B"}, `"a" has no field "B". Its fields are b`},
		{0, []string{"b", "c"}, `the column "a" has no field "c": "a.b" is of type int8`},
		{1, []string{"b"}, `the column "l" has no field "b": "l" is of type list<item: struct<b: int8>>`},
		{2, []string{"value"}, `the column "m" has no field "value": "m" is of type map<string, struct<b: int8>>`},
		{3, nil, "there is no column 3"},
	} {
		_, err := NewNestedProjection(layout, []int{test.column}, [][]string{test.path}, nil)
		if !errors.Is(err, model.ColumnNotFound) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%d %v: got %v, want %s", test.column, test.path, err, test.want)
		}
	}
}

func TestFieldsHaveTheNullsAroundThem(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{nullable("a", arrow.StructOf(
		arrow.Field{Name: "b", Type: arrow.PrimitiveTypes.Int8, Metadata: arrow.MetadataFrom(map[string]string{"k": "v"})}))}, nil)
	layout, err := NewLayout(schema)
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewNestedProjection(layout, nil, [][]string{{"b"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	field := p.Schema().Field(0)
	if field.Name != "a.b" || !field.Nullable || field.Metadata.Len() != 1 {
		t.Errorf("got %v", field)
	}
}

func TestAnotherCodecIsRefused(t *testing.T) {
	batch, _ := sample(t, rand.New(rand.NewPCG(1, 1)), schemaOf(leafTypes()), 10, 2)
	packed, err := Compress(batch, ZSTD, 0)
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewProjection(packed.Layout, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, codec := range []Codec{NoCodec, LZ4} {
		if _, err := p.Encode(packed, nil, codec); err == nil {
			t.Errorf("codec %d: no error", codec)
		}
	}
}
