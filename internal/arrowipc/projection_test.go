package arrowipc

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"pgregory.net/rapid"

	"github.com/headrace/headrace/internal/model"
)

var systemColumns = []arrow.Field{
	{Name: "_bucket", Type: arrow.PrimitiveTypes.Int32},
	{Name: "_offset", Type: arrow.PrimitiveTypes.Int64},
	{Name: "_change_type", Type: arrow.BinaryTypes.String, Nullable: true},
}

// systemBuffers gives bucket 7, offsets from 100, and "+I" or null.
func systemBuffers(rows int64, nulls bool) [][][]byte {
	var buckets, offsets, starts, text, validity []byte
	starts = binary.LittleEndian.AppendUint32(starts, 0)
	validity = make([]byte, (rows+7)/8)
	for i := range rows {
		buckets = binary.LittleEndian.AppendUint32(buckets, 7)
		offsets = binary.LittleEndian.AppendUint64(offsets, uint64(100+i))
		if i%3 != 0 {
			text = append(text, "+I"...)
			validity[i/8] |= 1 << (i % 8)
		}
		starts = binary.LittleEndian.AppendUint32(starts, uint32(len(text)))
	}
	if !nulls {
		validity = nil
	}
	return [][][]byte{{nil, buckets}, {nil, offsets}, {validity, starts, text}}
}

func checkMessage(t testing.TB, m Message) {
	t.Helper()
	length := int64(0)
	for _, part := range m.Body {
		length += int64(len(part))
	}
	if length != m.BodyLength || length%alignment != 0 {
		t.Fatalf("the body has %d bytes, BodyLength says %d", length, m.BodyLength)
	}
	before := 1 + varintSize(int64(len(m.Header))) + len(m.Header) + 2 + varintSize(m.BodyLength)
	if before%alignment != 0 {
		t.Fatalf("the body begins %d bytes into the message", before)
	}
}

func TestProjectionIsReadBack(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 3))
		types := append(leafTypes(), nestedTypes()...)
		rnd.Shuffle(len(types), func(i, j int) { types[i], types[j] = types[j], types[i] })
		schema := schemaOf(types[:rapid.IntRange(1, 12).Draw(rt, "types")])
		rows := rapid.SampledFrom([]int{0, 1, 5, 100}).Draw(rt, "rows")
		plain, record := sample(t, rnd, schema, rows, rapid.IntRange(0, 4).Draw(rt, "nulls"))
		codec := rapid.SampledFrom([]Codec{NoCodec, LZ4, ZSTD}).Draw(rt, "codec")
		batch, err := Compress(plain, codec, 0)
		if err != nil {
			rt.Fatal(err)
		}
		columns := rapid.SliceOfN(rapid.IntRange(0, schema.NumFields()-1), 0, 6).Draw(rt, "columns")
		slices.Sort(columns)
		columns = slices.Compact(columns)
		if rapid.Bool().Draw(rt, "reversed") {
			slices.Reverse(columns)
		}
		var extra []arrow.Field
		var buffers [][][]byte
		if rapid.Bool().Draw(rt, "extra") {
			extra, buffers = systemColumns, systemBuffers(batch.Rows, rapid.Bool().Draw(rt, "null"))
		}
		if rapid.Bool().Draw(rt, "all") {
			columns = nil
		}
		p, err := NewProjection(batch.Layout, columns, extra)
		if err != nil {
			rt.Fatal(err)
		}
		requireProjection(t, p, batch, buffers, record)
	})
}

// requireProjection reads a projection with arrow-go, twice: with rows, and empty.
func requireProjection(t testing.TB, p *Projection, batch *Batch, extra [][][]byte, record arrow.RecordBatch) {
	t.Helper()
	if len(p.Schema().Fields()) == 0 {
		return
	}
	message, empty := p.Message(batch, extra), p.Empty()
	checkMessage(t, message)
	checkMessage(t, empty)
	stream := appendMessage(nil, p.SchemaMessage())
	stream = appendMessage(stream, message.Header, message.Body...)
	stream = appendMessage(stream, empty.Header, empty.Body...)
	got := readStream(t, stream)
	if len(got) != 2 || got[0].NumRows() != batch.Rows || got[1].NumRows() != 0 {
		t.Fatalf("got %d batches", len(got))
	}
	for i, f := range p.Schema().Fields() {
		if at := record.Schema().FieldIndices(f.Name); len(at) == 1 {
			if !equalArrays(record.Column(at[0]), got[0].Column(i)) {
				t.Fatalf("column %q: got %v, want %v", f.Name, got[0].Column(i), record.Column(at[0]))
			}
			continue
		}
		for row := range int(batch.Rows) {
			value, want := got[0].Column(i).ValueStr(row), ""
			switch c := got[0].Column(i).(type) {
			case *array.Int32:
				want = "7"
			case *array.Int64:
				if c.Value(row) == int64(100+row) {
					want = value
				}
			case *array.String:
				want = "+I"
				if c.IsNull(row) != (extra[2][0] != nil && row%3 == 0) {
					t.Fatalf("row %d of %q is %q", row, f.Name, value)
				}
				if row%3 == 0 {
					want = value
				}
			}
			if value != want {
				t.Fatalf("row %d of %q is %q", row, f.Name, value)
			}
		}
	}
}

func TestProjectionReadsOnlyItsBuffers(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 3))
	schema := schemaOf([]arrow.DataType{arrow.BinaryTypes.StringView, arrow.BinaryTypes.String, arrow.BinaryTypes.StringView, arrow.PrimitiveTypes.Int64})
	batch, _ := sample(t, rnd, schema, 100, 0)
	p, err := NewProjection(batch.Layout, []int{1, 2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	read := map[int]bool{}
	for _, i := range p.AppendBuffers(nil, batch) {
		read[i] = true
	}
	for i, s := range batch.Buffers {
		want := s.Length > 0 && i >= 3 && i < 9 // the first view column has three buffers
		if read[i] != want {
			t.Errorf("buffer %d is read: %v, want %v", i, read[i], want)
		}
	}
	// What is not read may hold anything.
	for i, s := range batch.Buffers {
		if !read[i] {
			copy(batch.bytes(s), slices.Repeat([]byte{0xee}, int(s.Length)))
		}
	}
	message := p.Message(batch, nil)
	for _, part := range message.Body {
		if slices.Contains(part, 0xee) {
			t.Error("a neighbour's bytes are sent")
		}
	}
	if len(message.Body) != 1 {
		t.Errorf("the body has %d parts, want neighbours in one", len(message.Body))
	}
	whole, err := NewProjection(batch.Layout, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if all := whole.Message(batch, nil); len(all.Body) != 1 || &all.Body[0][0] != &batch.Body[0] {
		t.Error("the whole batch is not sent as it is")
	}
}

func TestProjectionRefuses(t *testing.T) {
	layout, err := NewLayout(schemaOf([]arrow.DataType{arrow.PrimitiveTypes.Int64}))
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{-1, 1} {
		if _, err := NewProjection(layout, []int{i}, nil); !errors.Is(err, model.ColumnNotFound) {
			t.Errorf("column %d: %v", i, err)
		}
	}
	for _, extra := range []arrow.DataType{arrow.BinaryTypes.StringView, arrow.ListOf(arrow.PrimitiveTypes.Int8)} {
		if _, err := NewProjection(layout, nil, []arrow.Field{nullable("x", extra)}); !errors.Is(err, model.UnsupportedType) {
			t.Errorf("an extra %s: %v", extra, err)
		}
	}
}
