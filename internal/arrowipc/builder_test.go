package arrowipc

import (
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"pgregory.net/rapid"
)

// sample gives a random batch of some types, and the record it holds.
func sample(t testing.TB, rnd *rand.Rand, schema *arrow.Schema, rows, nullEvery int) (*Batch, arrow.RecordBatch) {
	t.Helper()
	layout, err := NewLayout(schema)
	if err != nil {
		t.Fatal(err)
	}
	record := randomRecord(rnd, schema, rows, nullEvery)
	batch, err := FromRecord(layout, record)
	if err != nil {
		t.Fatal(err)
	}
	checkBatch(t, batch)
	return batch, record
}

func drawSchema(rt *rapid.T) *arrow.Schema {
	types := append(leafTypes(), nestedTypes()...)
	return schemaOf(rapid.SliceOfN(rapid.SampledFrom(types), 1, 4).Draw(rt, "types"))
}

// TestBuilderConcatenatesRanges compares with array.Concatenate of array.NewSlice.
func TestBuilderConcatenatesRanges(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		schema := drawSchema(rt)
		var builder *Builder
		var pieces []arrow.RecordBatch
		for range rapid.IntRange(1, 5).Draw(rt, "batches") {
			rows := rapid.IntRange(0, 150).Draw(rt, "rows")
			batch, record := sample(t, rnd, schema, rows, rapid.IntRange(0, 4).Draw(rt, "nulls"))
			if builder == nil {
				builder = NewBuilder(batch.Layout)
			}
			from := rapid.IntRange(0, rows).Draw(rt, "from")
			to := rapid.IntRange(from, rows).Draw(rt, "to")
			if err := builder.AppendRange(batch, int64(from), int64(to)); err != nil {
				rt.Fatal(err)
			}
			pieces = append(pieces, record.NewSlice(int64(from), int64(to)))
			batch.Release()
		}
		want := concatenate(t, schema, pieces)
		if builder.Rows() != want.NumRows() {
			rt.Fatalf("%d rows, want %d", builder.Rows(), want.NumRows())
		}
		size := builder.Bytes()
		batch := builder.Finish()
		if int64(len(batch.Body)) != size {
			rt.Fatalf("a body of %d bytes, Bytes said %d", len(batch.Body), size)
		}
		requireEqualRecords(t, want, batchRecords(t, []*Batch{batch})[0])
		if empty := builder.Finish(); empty.Rows != 0 {
			rt.Fatalf("%d rows after Finish", empty.Rows)
		}
	})
}

// TestBuilderGathersRows compares with appending single rows one by one.
func TestBuilderGathersRows(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 2))
		schema := drawSchema(rt)
		batch, record := sample(t, rnd, schema, rapid.IntRange(1, 60).Draw(rt, "rows"), rapid.IntRange(0, 4).Draw(rt, "nulls"))
		rows := rapid.SliceOfN(rapid.Int32Range(0, int32(batch.Rows-1)), 1, 80).Draw(rt, "picked")
		builder := NewBuilder(batch.Layout)
		if err := builder.AppendRows(batch, rows[:1]); err != nil {
			rt.Fatal(err)
		}
		if err := builder.AppendRows(batch, rows[1:]); err != nil {
			rt.Fatal(err)
		}
		var pieces []arrow.RecordBatch
		for _, row := range rows {
			pieces = append(pieces, record.NewSlice(int64(row), int64(row)+1))
		}
		requireEqualRecords(t, concatenate(t, schema, pieces), batchRecords(t, []*Batch{builder.Finish()})[0])
	})
}

func TestSliceOfCompressedBatches(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	schema := schemaOf(append(leafTypes(), nestedTypes()...))
	plain, record := sample(t, rnd, schema, 500, 4)
	for _, codec := range []Codec{NoCodec, LZ4, ZSTD} {
		for _, level := range []int{0, 1, 9} {
			packed, err := Compress(plain, codec, level)
			if err != nil {
				t.Fatal(err)
			}
			requireEqualRecords(t, record, batchRecords(t, []*Batch{packed})[0])
			again, err := Compress(packed, LZ4, 0) // from any codec to any other
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range []*Batch{packed, again} {
				cut, err := Slice(b, 13, 487)
				if err != nil {
					t.Fatal(err)
				}
				requireEqualRecords(t, record.NewSlice(13, 487), batchRecords(t, []*Batch{cut})[0])
				b.Release()
				b.Release() // a second time does nothing
			}
		}
	}
	if _, err := Slice(plain, 3, 501); err == nil {
		t.Error("a slice beyond the end was given")
	}
}

func TestBuilderRefuses(t *testing.T) {
	rnd := rand.New(rand.NewPCG(9, 9))
	batch, _ := sample(t, rnd, schemaOf([]arrow.DataType{arrow.BinaryTypes.String}), 10, 0)
	other, _ := sample(t, rnd, schemaOf([]arrow.DataType{arrow.BinaryTypes.LargeString}), 10, 0)
	packed, err := Compress(batch, LZ4, 0)
	if err != nil {
		t.Fatal(err)
	}
	rotten := *batch
	rotten.Body = append([]byte(nil), batch.Body...)
	rotten.Body[7] = 0x70
	for name, try := range map[string]func(*Builder) error{
		"another schema":    func(b *Builder) error { return b.AppendRange(other, 0, 1) },
		"a compressed one":  func(b *Builder) error { return b.AppendRange(packed, 0, 1) },
		"rows beyond":       func(b *Builder) error { return b.AppendRange(batch, 0, 11) },
		"a row beyond":      func(b *Builder) error { return b.AppendRows(batch, []int32{10}) },
		"a negative row":    func(b *Builder) error { return b.AppendRows(batch, []int32{-1}) },
		"offsets beyond":    func(b *Builder) error { return b.AppendRange(&rotten, 0, 10) },
		"an offset of rows": func(b *Builder) error { return b.AppendRows(&rotten, []int32{0, 1}) },
	} {
		t.Run(name, func(t *testing.T) {
			b := NewBuilder(batch.Layout)
			if err := try(b); err == nil {
				t.Fatal("it was accepted")
			}
			if err := b.AppendRange(batch, 0, 10); err == nil {
				t.Fatal("it was accepted after an error")
			}
			if got := b.Finish(); got.Rows != 0 || got.Nodes[0].Length != 0 {
				t.Fatalf("%d rows after an error", got.Rows)
			}
			if err := b.AppendRange(batch, 0, 10); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestFromRecordRefusesOtherTypes(t *testing.T) {
	layout, err := NewLayout(schemaOf([]arrow.DataType{arrow.PrimitiveTypes.Int64}))
	if err != nil {
		t.Fatal(err)
	}
	for _, types := range [][]arrow.DataType{nil, {arrow.PrimitiveTypes.Int32}, {arrow.FixedWidthTypes.Timestamp_s}} {
		record := randomRecord(rand.New(rand.NewPCG(1, 1)), schemaOf(types), 3, 0)
		if _, err := FromRecord(layout, record); err == nil {
			t.Errorf("a record of %v was accepted", types)
		}
	}
}

// TestExtensionTypes keeps the storage and the two keys of metadata.
func TestExtensionTypes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 9))
	field := arrow.Field{Name: "id", Type: &arrow.FixedSizeBinaryType{ByteWidth: 16}, Metadata: arrow.NewMetadata(
		[]string{"ARROW:extension:name", "ARROW:extension:metadata", "mine"}, []string{"arrow.uuid", "", "yes"})}
	metadata := arrow.NewMetadata([]string{"owner"}, []string{"me"})
	schema := arrow.NewSchema([]arrow.Field{field}, &metadata)
	record := randomRecord(rnd, schema, 20, 0)
	batches := decodeAll(t, encodeRecords(t, schema, []arrow.RecordBatch{record}), DecoderOptions{}, rnd)
	if got := batches[0].Layout.Schema(); !got.Equal(schema) || !got.Metadata().Equal(metadata) || !got.Field(0).Equal(field) {
		t.Fatalf("got %v, want %v", got, schema)
	}
	again, err := DecodeSchemaAny(EncodeSchema(batches[0].Layout.Schema()), Limits{})
	if err != nil || !again.Field(0).Equal(field) || !again.Metadata().Equal(metadata) {
		t.Fatalf("got %v, %v, want %v", again, err, schema)
	}
	requireEqualRecords(t, record, batchRecords(t, batches)[0])
}

// TestBitmaps compares with bits set one by one.
func TestBitmaps(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		src := rapid.SliceOfN(rapid.Byte(), 1, 60).Draw(rt, "src")
		total := int64(len(src)) * 8
		from := rapid.Int64Range(0, total).Draw(rt, "from")
		n := rapid.Int64Range(0, total-from).Draw(rt, "n")
		have := rapid.Int64Range(0, 70).Draw(rt, "have")
		dst := appendOnes(nil, 0, have)
		dst = appendBits(dst, have, src, from, n)
		dst = appendOnes(dst, have+n, 3)
		if want := (have + n + 3 + 7) / 8; int64(len(dst)) != want {
			rt.Fatalf("%d bytes, want %d", len(dst), want)
		}
		ones := int64(0)
		for i := range have + n + 3 {
			want := i < have || i >= have+n || bit(src, from+i-have)
			if bit(dst, i) != want {
				rt.Fatalf("bit %d is %v", i, !want)
			}
			if want {
				ones++
			}
		}
		for i := have + n + 3; i < int64(len(dst))*8; i++ {
			if bit(dst, i) {
				rt.Fatalf("bit %d behind the end is set", i)
			}
		}
		if got := countBits(dst, 0, have+n+3); got != ones {
			rt.Fatalf("counted %d ones, want %d", got, ones)
		}
		if got, want := countBits(src, from, n), countBits(dst, have, n); got != want {
			rt.Fatalf("counted %d ones, want %d", got, want)
		}
	})
}

func TestRecordIsAView(t *testing.T) {
	rnd := rand.New(rand.NewPCG(4, 4))
	plain, want := sample(t, rnd, schemaOf(nestedTypes()), 30, 3)
	packed, err := Compress(plain, ZSTD, 3)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []*Batch{plain, packed} {
		record, err := b.Record(memory.DefaultAllocator)
		if err != nil {
			t.Fatal(err)
		}
		if !array.RecordEqual(want, record) {
			t.Error("the record is another")
		}
		record.Release()
	}
	numbers, _ := sample(t, rnd, schemaOf([]arrow.DataType{arrow.PrimitiveTypes.Int64}), 3, 0)
	record, err := numbers.Record(memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	numbers.bytes(numbers.Buffers[1])[0] ^= 1
	if got, want := record.Column(0).(*array.Int64).Value(0), int64s(numbers.bytes(numbers.Buffers[1]))[0]; got != want {
		t.Errorf("the record has %d, its bytes were changed to %d", got, want)
	}
}
