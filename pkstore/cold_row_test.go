package pkstore

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"pgregory.net/rapid"

	"github.com/headrace/headrace/internal/arrowipc"
)

// rowFields are columns of every form.
func rowFields() []arrow.Field {
	inner := arrow.StructOf(
		arrow.Field{Name: "a", Type: arrow.BinaryTypes.String, Nullable: true},
		arrow.Field{Name: "b", Type: arrow.FixedSizeListOf(2, arrow.PrimitiveTypes.Int16), Nullable: true},
		arrow.Field{Name: "c", Type: arrow.FixedWidthTypes.Boolean, Nullable: true},
		arrow.Field{Name: "n", Type: arrow.Null, Nullable: true},
	)
	types := []arrow.DataType{
		arrow.PrimitiveTypes.Int64, arrow.FixedWidthTypes.Boolean, arrow.BinaryTypes.String,
		arrow.BinaryTypes.LargeString, arrow.BinaryTypes.StringView, &arrow.Decimal128Type{Precision: 9, Scale: 2}, arrow.Null,
		inner, arrow.ListOf(inner), arrow.LargeListOf(arrow.BinaryTypes.StringView),
		arrow.MapOf(arrow.BinaryTypes.String, arrow.PrimitiveTypes.Float32),
		arrow.FixedSizeListOf(3, arrow.BinaryTypes.LargeString),
	}
	var fields []arrow.Field
	for i, dataType := range types {
		fields = append(fields, arrow.Field{Name: fmt.Sprint("c", i), Type: dataType, Nullable: true})
	}
	return fields
}

// rowTexts are rows of rowFields in JSON.
const rowTexts = `[
{"c0":-5,"c1":true,"c2":"text","c3":"large","c4":"a view of more than twelve bytes","c5":"1.25","c6":null,
 "c7":{"a":"x","b":[1,null],"c":false,"n":null},"c8":[{"a":null,"b":null,"c":null,"n":null},null],
 "c9":["short",null,"long enough to lie in a buffer"],"c10":[{"key":"k","value":0.5},{"key":"l","value":null}],
 "c11":["p",null,"q"]},
{"c0":null,"c1":null,"c2":null,"c3":null,"c4":null,"c5":null,"c6":null,"c7":null,"c8":null,"c9":null,"c10":null,"c11":null},
{"c0":7,"c1":false,"c2":"","c3":"é","c4":"","c5":"0","c6":null,"c7":{"a":"","b":[3,4],"c":true,"n":null},
 "c8":[],"c9":[],"c10":[],"c11":[null,"",""]}
]`

func rowCodec(t testing.TB, l *arrowipc.Layout) (*RowEncoder, *RowDecoder) {
	t.Helper()
	encoder, err := NewRowEncoder(l, 300)
	if err != nil {
		t.Fatal(err)
	}
	decoder, err := NewRowDecoder(l)
	if err != nil {
		t.Fatal(err)
	}
	return encoder, decoder
}

func recordOf(t testing.TB, b *arrowipc.Batch) arrow.RecordBatch {
	t.Helper()
	record, err := b.Record(memory.NewGoAllocator())
	if err != nil {
		t.Fatal(err)
	}
	return record
}

func TestRowsDecodeToWhatWasEncoded(t *testing.T) {
	l := fieldsLayout(t, rowFields()...)
	encoder, decoder := rowCodec(t, l)
	view := jsonView(t, l, rowTexts)
	var golden strings.Builder
	order := []int32{2, 0, 0, 1, 2}
	for _, row := range order {
		encoded, err := encoder.Append(nil, view, row)
		if err != nil {
			t.Fatal(err)
		}
		if row < 2 || golden.Len() == 0 {
			fmt.Fprintf(&golden, "row %d: %x\n", row, encoded)
		}
		if version, err := RowSchemaVersion(encoded); err != nil || version != 300 {
			t.Errorf("the schema version is %d (%v), want 300", version, err)
		}
		if err := decoder.Append(encoded); err != nil {
			t.Fatal(err)
		}
	}
	compareGolden(t, "row_encoding_1", golden.String())
	batch, err := decoder.Finish()
	if err != nil {
		t.Fatal(err)
	}
	openView(t, batch)
	want := arrowipc.NewBuilder(l)
	if err := want.AppendRows(view.Batch(), order); err != nil {
		t.Fatal(err)
	}
	left, right := recordOf(t, want.Finish()), recordOf(t, batch)
	if !array.RecordEqual(left, right) {
		t.Errorf("got %v\nwant %v", right, left)
	}
}

func TestRowsOfManyBatches(t *testing.T) {
	l := fieldsLayout(t,
		arrow.Field{Name: "n", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
		arrow.Field{Name: "l", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true})
	encoder, decoder := rowCodec(t, l)
	rapid.Check(t, func(rt *rapid.T) {
		var texts []string
		var views []*arrowipc.View
		for range rapid.IntRange(1, 3).Draw(rt, "batches") {
			var rows []string
			for range rapid.IntRange(1, 20).Draw(rt, "rows") {
				number := rapid.SampledFrom([]string{"null", "1", "-7"}).Draw(rt, "number")
				list := rapid.SampledFrom([]string{"null", "[]", `["a",null]`, `["","bcd","e"]`}).Draw(rt, "list")
				rows = append(rows, `{"n":`+number+`,"l":`+list+`}`)
			}
			texts = append(texts, rows...)
			views = append(views, jsonView(t, l, "["+strings.Join(rows, ",")+"]"))
		}
		for _, view := range views {
			for row := range view.Rows() {
				encoded, err := encoder.Append(nil, view, int32(row))
				if err != nil {
					rt.Fatal(err)
				}
				if err := decoder.Append(encoded); err != nil {
					rt.Fatal(err)
				}
			}
		}
		batch, err := decoder.Finish()
		if err != nil {
			rt.Fatal(err)
		}
		all := jsonView(t, l, "["+strings.Join(texts, ",")+"]")
		if left, right := recordOf(t, all.Batch()), recordOf(t, batch); !array.RecordEqual(left, right) {
			rt.Fatalf("got %v\nwant %v", right, left)
		}
	})
}

func TestRowDecoderRefusesWhatIsCutShort(t *testing.T) {
	l := fieldsLayout(t, rowFields()...)
	encoder, decoder := rowCodec(t, l)
	encoded, err := encoder.Append(nil, jsonView(t, l, rowTexts), 0)
	if err != nil {
		t.Fatal(err)
	}
	for n := range encoded {
		decoder.Reset()
		if decoder.Append(encoded[:n]) == nil {
			t.Errorf("%d of %d bytes were taken for a row", n, len(encoded))
		}
		if _, err := decoder.Finish(); err == nil {
			t.Error("Finish forgets the error")
		}
	}
	if decoder.Append(append(encoded, 0)) == nil {
		t.Error("a byte behind the row was not noticed")
	}
	decoder.Reset()
	if err := decoder.Append(encoded); err != nil {
		t.Errorf("after a reset: %v", err)
	}
}

// What is taken for a row gives a batch that reads as it was written.
func FuzzRowDecoder(f *testing.F) {
	l := fieldsLayout(f, rowFields()...)
	encoder, decoder := rowCodec(f, l)
	view := jsonView(f, l, rowTexts)
	for row := range view.Rows() {
		encoded, err := encoder.Append(nil, view, int32(row))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded)
	}
	f.Fuzz(func(t *testing.T, row []byte) {
		decoder.Reset()
		if decoder.Append(row) != nil {
			return
		}
		batch, err := decoder.Finish()
		if err != nil {
			t.Fatal(err)
		}
		view := openView(t, batch)
		again, err := encoder.Append(nil, view, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := decoder.Append(again); err != nil {
			t.Fatalf("%x became %x: %v", row, again, err)
		}
		back, err := decoder.Finish()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(back.Body, batch.Body) {
			t.Fatalf("%x became %x", row, again)
		}
		record := recordOf(t, batch)
		defer record.Release()
		if _, err := record.MarshalJSON(); err != nil {
			t.Skip("arrow-go cannot write it as JSON")
		}
	})
}

func BenchmarkRowCodec(b *testing.B) {
	fields := []arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64}}
	text := `{"id":7`
	for i := range 5 {
		name := fmt.Sprint("s", i)
		fields = append(fields, arrow.Field{Name: name, Type: arrow.BinaryTypes.String, Nullable: true},
			arrow.Field{Name: "n" + name, Type: arrow.PrimitiveTypes.Int32, Nullable: true})
		text += fmt.Sprintf(`,"%s":"some text","n%s":%d`, name, name, i)
	}
	l := fieldsLayout(b, fields...)
	encoder, decoder := rowCodec(b, l)
	view := jsonView(b, l, "["+text+"}]")
	row, err := encoder.Append(nil, view, 0)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.SetBytes(int64(len(row)))
		for b.Loop() {
			row, _ = encoder.Append(row[:0], view, 0)
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.SetBytes(int64(len(row)))
		for b.Loop() {
			if err := decoder.Append(row); err != nil {
				b.Fatal(err)
			}
			if decoder.Rows() == 1000 {
				if _, err := decoder.Finish(); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
