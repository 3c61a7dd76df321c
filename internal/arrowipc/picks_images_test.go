package arrowipc

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"pgregory.net/rapid"
)

// flatTypes are those that images have.
func flatTypes() []arrow.DataType { return leafTypes()[1:] }

// imageOf gives the image of a row with nothing around it that could be read by mistake.
func imageOf(t testing.TB, v *View, row int32) *byte {
	t.Helper()
	image, err := v.Layout().RowShape().AppendImage(nil, v, row)
	if err != nil {
		t.Fatal(err)
	}
	return &bytes.Clone(image)[0]
}

// TestImagesAgainstSlices appends rows that lie one by one, and others among them, and compares them with what
// arrow-go slices.
func TestImagesAgainstSlices(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		schema := schemaOf(rapid.SliceOfN(rapid.SampledFrom(flatTypes()), 1, 70).Draw(rt, "types"))
		p := drawPool(t, rt, schema)
		picks, pieces := p.draw(rt)
		var images Images
		images.Reset(p.views[0].Layout())
		every := rapid.SampledFrom([]int{1, 1, 2}).Draw(rt, "every")
		for i, pick := range picks {
			if pick.View != nil && i%every == 0 {
				picks[i] = images.Add(imageOf(t, pick.View, pick.Row))
			}
		}
		rows, columns, several := NewBuilder(p.views[0].Layout()), NewBuilder(layoutOf(t, schema)), NewBuilder(layoutOf(t, schema))
		var sources []int
		for i := range schema.NumFields() {
			sources = append(sources, i)
		}
		if err := several.AppendColumnsPicks(0, sources, picks); err != nil {
			rt.Fatal(err)
		}
		if every == 1 { // AppendPicks takes rows of one place
			if err := rows.AppendPicks(picks); err != nil {
				rt.Fatal(err)
			}
		}
		for i := range schema.NumFields() {
			cut := rapid.IntRange(0, len(picks)).Draw(rt, "cut")
			for _, part := range [][]Pick{picks[:cut], picks[cut:]} {
				if err := columns.AppendColumnPicks(i, i, part); err != nil {
					rt.Fatal(err)
				}
			}
		}
		want := concatenate(t, schema, append(pieces, p.records[0].NewSlice(0, 0)))
		requireEqualRecords(t, want, batchRecords(t, []*Batch{columns.Finish()})[0])
		requireEqualRecords(t, want, batchRecords(t, []*Batch{several.Finish()})[0])
		if every == 1 {
			requireEqualRecords(t, want, batchRecords(t, []*Batch{rows.Finish()})[0])
		}
	})
}

// TestImagesOfOtherForms takes texts of images into columns of other forms.
func TestImagesOfOtherForms(t *testing.T) {
	rnd := rand.New(rand.NewPCG(4, 4))
	for _, form := range binaryForms {
		for _, target := range binaryForms {
			batch, record := sample(t, rnd, schemaOf([]arrow.DataType{arrow.PrimitiveTypes.Int16, form}), 50, 5)
			view := viewOf(t, batch)
			var images Images
			images.Reset(batch.Layout)
			var picks []Pick
			for row := range int32(50) {
				picks = append(picks, images.Add(imageOf(t, view, row)))
			}
			builder := NewBuilder(layoutOf(t, schemaOf([]arrow.DataType{target})))
			if err := builder.AppendColumnPicks(0, 1, picks); err != nil {
				t.Fatal(err)
			}
			got := batchRecords(t, []*Batch{builder.Finish()})[0].Column(0)
			for i := range picks {
				if got.GetOneForMarshal(i) != record.Column(1).GetOneForMarshal(i) {
					t.Fatalf("%s as %s: row %d: got %v, want %v", form, target, i, got.GetOneForMarshal(i), record.Column(1).GetOneForMarshal(i))
				}
			}
		}
	}
}

// TestEqualKeyOfImages compares keys with images as KeyColumns.Equal compares them with rows of batches.
func TestEqualKeyOfImages(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		key := rapid.SliceOfN(rapid.SampledFrom([]arrow.DataType{
			arrow.PrimitiveTypes.Int64, arrow.PrimitiveTypes.Uint8, arrow.FixedWidthTypes.Boolean, arrow.BinaryTypes.String,
			arrow.BinaryTypes.LargeString, arrow.BinaryTypes.StringView, &arrow.FixedSizeBinaryType{ByteWidth: 1},
		}), 1, 3).Draw(rt, "key")
		schema := schemaOf(append([]arrow.DataType{arrow.PrimitiveTypes.Int32}, key...))
		p := drawPool(t, rt, schema)
		var columns []int
		for i := range key {
			columns = append(columns, i+1)
		}
		keys, err := NewKeyColumns(p.views[0].Layout(), columns)
		if err != nil {
			rt.Fatal(err)
		}
		shape := p.views[0].Layout().RowShape()
		for _, v := range p.views {
			other := p.views[0]
			for range 20 {
				a, b := int32(rapid.Int64Range(0, v.Rows()-1).Draw(rt, "a")), int32(rapid.Int64Range(0, other.Rows()-1).Draw(rt, "b"))
				null := false
				for _, column := range columns {
					null = null || other.IsNull(column, b)
				}
				want := !null && keys.Equal(v, a, keys, other, b)
				if got := shape.EqualKey(imageOf(t, v, a), keys, keys, other, b); got != want {
					rt.Fatalf("%v of row %d and row %d: got %v, want %v", key, a, b, got, want)
				}
			}
		}
	})
}

func TestColumnsOfImagesRefuse(t *testing.T) {
	batch, _ := sample(t, rand.New(rand.NewPCG(1, 1)), schemaOf([]arrow.DataType{arrow.PrimitiveTypes.Int64, arrow.BinaryTypes.String}), 3, 0)
	var images Images
	images.Reset(batch.Layout)
	row := images.Add(imageOf(t, viewOf(t, batch), 1))
	for what, test := range map[string]struct {
		sources []int
		pick    Pick
	}{
		"a column that is not there": {[]int{2, 1}, row}, "a negative one": {[]int{-1, 1}, row}, "another type": {[]int{1, 1}, row},
		"more columns than there are": {[]int{0, 1, 0}, row}, "a row that is not there": {[]int{0, 1}, images.Pick(1)},
		"a row below 0": {[]int{0, 1}, images.Pick(-1)},
	} {
		builder := NewBuilder(batch.Layout)
		if err := builder.AppendColumnsPicks(0, test.sources, []Pick{row, test.pick}); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

func TestRowShapeRefuses(t *testing.T) {
	for _, dataType := range append(nestedTypes(), arrow.Null) {
		if layoutOf(t, schemaOf([]arrow.DataType{arrow.PrimitiveTypes.Int8, dataType})).RowShape() != nil {
			t.Errorf("%s has a shape", dataType)
		}
	}
	wide := make([]arrow.DataType, rowFixedMax/8)
	for i := range wide {
		wide[i] = arrow.PrimitiveTypes.Int64
	}
	if layoutOf(t, schemaOf(wide)).RowShape() != nil || layoutOf(t, schemaOf(wide[:200])).RowShape() == nil {
		t.Error("a shape must have at most rowFixedMax bytes besides texts")
	}
	texts := newTextBatch(t, RowImageMax-2, RowImageMax-3) // 3 bytes are before them
	view := viewOf(t, texts)
	shape := texts.Layout.RowShape()
	if _, err := shape.AppendImage(nil, view, 0); !errors.Is(err, ErrRowTooLarge) {
		t.Errorf("a row above RowImageMax: got %v, want %v", err, ErrRowTooLarge)
	}
	if image, err := shape.AppendImage(nil, view, 1); err != nil || len(image) > RowImageMax {
		t.Errorf("a row of RowImageMax bytes: got %d bytes and %v", len(image), err)
	}
	for i := 4; i < 8; i++ {
		texts.Body[texts.Buffers[1].Offset+int64(i)] = 0xff // the end of the first text
	}
	if _, err := shape.AppendImage(nil, view, 0); err == nil {
		t.Error("a text that leads outside has an image")
	}
}

// newTextBatch gives a batch of one column of texts of these lengths.
func newTextBatch(t testing.TB, lengths ...int) *Batch {
	t.Helper()
	builder := NewBuilder(layoutOf(t, schemaOf([]arrow.DataType{arrow.BinaryTypes.String})))
	for _, n := range lengths {
		if err := builder.AppendValue(0, bytes.Repeat([]byte("x"), n)); err != nil {
			t.Fatal(err)
		}
	}
	return builder.Finish()
}

func BenchmarkAppendColumnPicksOfImages(b *testing.B) {
	rnd := rand.New(rand.NewPCG(1, 1))
	batch, _ := sample(b, rnd, schemaOf(profileTypes()), 10_000, 0)
	view := viewOf(b, batch)
	var images Images
	images.Reset(batch.Layout)
	var picks []Pick
	for range 1000 {
		picks = append(picks, images.Add(imageOf(b, view, int32(rnd.IntN(10_000)))))
	}
	benchColumnPicks(b, batch.Layout, picks)
}

func BenchmarkAppendImage(b *testing.B) {
	batch, _ := sample(b, rand.New(rand.NewPCG(1, 1)), schemaOf(profileTypes()), 10_000, 0)
	view, shape := viewOf(b, batch), batch.Layout.RowShape()
	var image []byte
	for i := 0; b.Loop(); i++ {
		var err error
		if image, err = shape.AppendImage(image[:0], view, int32(i%10_000)); err != nil {
			b.Fatal(err)
		}
	}
}
