package arrowipc

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"pgregory.net/rapid"
)

// mustSummarize gives the statistics of a batch, which must survive storing.
func mustSummarize(t testing.TB, batch *Batch) *Statistics {
	t.Helper()
	s, err := Summarize(batch)
	if err != nil {
		t.Fatal(err)
	}
	var back Statistics
	if err := ParseStatistics(batch.Layout, s.Append(nil), &back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(s, &back) {
		t.Fatalf("stored %+v\nread   %+v", s, &back)
	}
	return s
}

// checkStatistics compares statistics of rows of a view with the rows themselves, one by one. Bounds of
// fixed width must be values; bounds of text at least as close as a key reaches, where they are exact.
func checkStatistics(t testing.TB, s *Statistics, views []*View, exact bool) {
	t.Helper()
	rows := int64(0)
	for _, view := range views {
		rows += view.Rows()
	}
	if s.Rows != rows {
		t.Fatalf("%d rows, want %d", s.Rows, rows)
	}
	for i, c := range s.layout.top {
		nulls := int64(0)
		var low, high []byte
		for _, view := range views {
			for row := range int32(view.Rows()) {
				value := view.Value(i, row)
				if view.IsNull(i, row) {
					nulls++
				} else if c.order != unordered && (low == nil || compareBounds(c.order, value, low) < 0) {
					low = value
				}
				if value != nil && c.order != unordered && (high == nil || compareBounds(c.order, value, high) > 0) {
					high = value
				}
			}
		}
		got := s.Columns[i]
		if got.Nulls != nulls {
			t.Errorf("%s of type %s: %d nulls, want %d", c.path(), c.dataType, got.Nulls, nulls)
		}
		checkBounds(t, c, got, low, high, exact)
	}
}

func checkBounds(t testing.TB, c *column, got ColumnStatistics, low, high []byte, exact bool) {
	t.Helper()
	if low == nil {
		if got.Min != nil || got.Max != nil {
			t.Errorf("%s of type %s without values has bounds %x, %x", c.path(), c.dataType, got.Min, got.Max)
		}
		return
	}
	if compareBounds(c.order, got.Min, low) > 0 || got.Max != nil && compareBounds(c.order, got.Max, high) < 0 {
		t.Errorf("%s of type %s has bounds %x, %x for values from %x to %x", c.path(), c.dataType, got.Min, got.Max, low, high)
	}
	if c.order != textOrder {
		if compareBounds(c.order, got.Min, low) != 0 || compareBounds(c.order, got.Max, high) != 0 {
			t.Errorf("%s of type %s has bounds %x, %x, want %x, %x", c.path(), c.dataType, got.Min, got.Max, low, high)
		}
		return
	}
	if exact && (!bytes.HasPrefix(low, got.Min) || len(got.Min) < min(len(low), textPrefix)) {
		t.Errorf("%s of type %s has the lower bound %x for %x", c.path(), c.dataType, got.Min, low)
	}
	if exact && len(high) <= textPrefix && !bytes.Equal(got.Max, high) {
		t.Errorf("%s of type %s has the upper bound %x for %x", c.path(), c.dataType, got.Max, high)
	}
}

func TestSummarizeFindsNullsAndBounds(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		rnd := rand.New(rand.NewPCG(seed, 1))
		nullEvery := rapid.SampledFrom([]int{0, 1, 2, 40}).Draw(rt, "nulls")
		schema := schemaOf(append(leafTypes(), nestedTypes()...))
		layout, err := NewLayout(schema)
		if err != nil {
			rt.Fatal(err)
		}
		var merged *Statistics
		var views []*View
		for range rapid.IntRange(1, 3).Draw(rt, "batches") {
			batch, record := sample(t, rnd, schema, rapid.IntRange(0, 200).Draw(rt, "rows"), nullEvery)
			defer record.Release()
			batch.Layout = layout
			view, err := NewView(batch)
			if err != nil {
				rt.Fatal(err)
			}
			s := mustSummarize(t, batch)
			checkStatistics(t, s, []*View{view}, true)
			views = append(views, view)
			if merged == nil {
				merged = s.Clone()
			} else {
				merged.Merge(s)
			}
		}
		checkStatistics(t, merged, views, false)
	})
}

// summarizeOne gives the statistics of a column with the values of build.
func summarizeOne(t *testing.T, dataType arrow.DataType, build func(array.Builder)) ColumnStatistics {
	t.Helper()
	builder := array.NewRecordBuilder(memory.DefaultAllocator, schemaOf([]arrow.DataType{dataType}))
	defer builder.Release()
	build(builder.Field(0))
	record := builder.NewRecordBatch()
	defer record.Release()
	layout, err := NewLayout(record.Schema())
	if err != nil {
		t.Fatal(err)
	}
	batch, err := FromRecord(layout, record)
	if err != nil {
		t.Fatal(err)
	}
	defer batch.Release()
	return mustSummarize(t, batch).Columns[0]
}

func TestBoundsOfFloats(t *testing.T) {
	nan, inf, minus := math.NaN(), math.Inf(1), math.Copysign(0, -1)
	for _, c := range []struct {
		values    []float64
		low, high float64
		known     bool
	}{
		{[]float64{1, -2, 3}, -2, 3, true},
		{[]float64{inf, -inf}, -inf, inf, true},
		{[]float64{inf}, inf, inf, true},
		{[]float64{0}, minus, 0, true},
		{[]float64{minus}, minus, 0, true},
		{[]float64{0, 1}, minus, 1, true},
		{[]float64{nan}, 0, 0, false},
		{[]float64{1, nan}, 0, 0, false},
		{[]float64{nan, 1, 2}, 0, 0, false},
		{[]float64{math.MaxFloat64, 5e-324}, 5e-324, math.MaxFloat64, true},
	} {
		got := summarizeOne(t, arrow.PrimitiveTypes.Float64, func(b array.Builder) {
			b.(*array.Float64Builder).AppendValues(c.values, nil)
		})
		if !c.known {
			if got.Min != nil || got.Max != nil {
				t.Errorf("%v: bounds %x, %x, want none", c.values, got.Min, got.Max)
			}
			continue
		}
		low, high := binary.LittleEndian.Uint64(got.Min), binary.LittleEndian.Uint64(got.Max)
		if low != math.Float64bits(c.low) || high != math.Float64bits(c.high) {
			t.Errorf("%v: bounds %v, %v, want %v, %v", c.values, math.Float64frombits(low), math.Float64frombits(high), c.low, c.high)
		}
	}
}

func TestBoundsOfText(t *testing.T) {
	long := "0123456789012345678901234567"
	for _, c := range []struct {
		values    []string
		low, high string // high "": not known
	}{
		{[]string{"b", "a", "c"}, "a", "c"},
		{[]string{"", "\x00"}, "", "\x00"},
		{[]string{"a", "a\x00", "a\x00\x00"}, "a", "a\x00\x00"},
		{[]string{"page_view", "click"}, "click", "page_vj"},
		{[]string{"/product/00012", "/product/00345"}, "/product/00012", "/product/00345"},
		{[]string{"/product/000123", "/product/003456"}, "/product/00012", "/product/00346"},
		{[]string{"abcdefg", "abcdefgh"}, "abcdefg", "abcdefh"},
		{[]string{"\xff\xff\xff\xff\xff\xff\xff\xff", "a"}, "a", ""},
		{[]string{"a\xff\xff\xff\xff\xff\xff\xff"}, "a\xff\xff\xff\xff\xff\xff\xff", "a\xff\xff\xff\xff\xff\xff\xff"},
		{[]string{"a\xff\xff\xff\xff\xff\xff\xff", "a\xff\xff\xff\xff\xff\xff\xfe"}, "a\xff\xff\xff\xff\xff\xff\xfe", "a\xff\xff\xff\xff\xff\xff\xff"},
		{[]string{"a\xff\xff\xff\xff\xff\xff\xff", "0"}, "0", "b"},
		{[]string{long + "a", long + "b"}, long, "0123456789012345678901234568"},
		{[]string{long}, long, long},
	} {
		got := summarizeOne(t, arrow.BinaryTypes.Binary, func(b array.Builder) {
			for _, value := range c.values {
				b.(*array.BinaryBuilder).AppendString(value)
			}
		})
		if string(got.Min) != c.low || string(got.Max) != c.high || (got.Max == nil) != (c.high == "") {
			t.Errorf("%q: bounds %q, %q, want %q, %q", c.values, got.Min, got.Max, c.low, c.high)
		}
	}
}

// TestMergeOfWhatIsNotKnown merges columns of one int64 by hand.
func TestMergeOfWhatIsNotKnown(t *testing.T) {
	layout, err := NewLayout(schemaOf([]arrow.DataType{arrow.PrimitiveTypes.Int64}))
	if err != nil {
		t.Fatal(err)
	}
	bound := func(n int64) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(n)) }
	column := func(rows, nulls int64, low, high []byte) *Statistics {
		return &Statistics{Rows: rows, Columns: []ColumnStatistics{{nulls, low, high}}, layout: layout}
	}
	for name, c := range map[string]struct{ a, b, want *Statistics }{
		"values":             {column(2, 0, bound(-1), bound(3)), column(3, 1, bound(-2), bound(1)), column(5, 1, bound(-2), bound(3))},
		"no value here":      {column(2, 2, nil, nil), column(1, 0, bound(4), bound(4)), column(3, 2, bound(4), bound(4))},
		"no value there":     {column(1, 0, bound(4), bound(4)), column(2, 2, nil, nil), column(3, 2, bound(4), bound(4))},
		"no rows":            {column(0, 0, nil, nil), column(1, 0, bound(4), bound(4)), column(1, 0, bound(4), bound(4))},
		"not known here":     {column(2, 0, nil, bound(9)), column(1, 0, bound(4), bound(4)), column(3, 0, nil, bound(9))},
		"not known there":    {column(1, 0, bound(4), bound(4)), column(2, 1, bound(3), nil), column(3, 1, bound(3), nil)},
		"nulls not known":    {column(1, -1, bound(4), bound(4)), column(2, 2, nil, nil), column(3, -1, bound(4), bound(4))},
		"nothing known here": {column(1, -1, nil, nil), column(2, 0, bound(1), bound(2)), column(3, -1, nil, nil)},
	} {
		got := c.a.Clone()
		got.Merge(c.b)
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestParseStatisticsRefuses(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 3))
	batch, record := sample(t, rnd, schemaOf(append(leafTypes(), nestedTypes()...)), 50, 5)
	defer record.Release()
	stored := mustSummarize(t, batch).Append(nil)
	var into Statistics
	for size := range len(stored) {
		if err := ParseStatistics(batch.Layout, stored[:size:size], &into); err == nil {
			t.Fatalf("%d of %d bytes are taken", size, len(stored))
		}
	}
	if err := ParseStatistics(batch.Layout, append(stored, 0), &into); err == nil {
		t.Error("a byte more is taken")
	}
	narrower, err := NewLayout(schemaOf(leafTypes()))
	if err != nil {
		t.Fatal(err)
	}
	if err := ParseStatistics(narrower, stored, &into); err == nil {
		t.Error("those of other columns are taken")
	}
	compressed, err := Compress(batch, LZ4, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Summarize(compressed); err == nil {
		t.Error("a compressed batch is summarized")
	}
}

// FuzzParseStatistics feeds arbitrary bytes: what is accepted can be merged, and encodes to what reads
// the same.
func FuzzParseStatistics(f *testing.F) {
	schema := schemaOf(append(leafTypes(), nestedTypes()...))
	layout, err := NewLayout(schema)
	if err != nil {
		f.Fatal(err)
	}
	batch, err := FromRecord(layout, randomRecord(rand.New(rand.NewPCG(4, 4)), schema, 20, 4))
	if err != nil {
		f.Fatal(err)
	}
	s, err := Summarize(batch)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s.Append(nil))
	f.Fuzz(func(t *testing.T, src []byte) {
		var into, back Statistics
		if ParseStatistics(layout, src, &into) != nil {
			return
		}
		if err := ParseStatistics(layout, into.Append(nil), &back); err != nil || !reflect.DeepEqual(into, back) {
			t.Errorf("%+v becomes %+v: %v", into, back, err)
		}
		back.Merge(&into)
		s.Clone().Merge(&into)
	})
}

func BenchmarkSummarize(b *testing.B) {
	const rows = 10_000
	types := []arrow.DataType{
		arrow.PrimitiveTypes.Int64, arrow.PrimitiveTypes.Int32, arrow.PrimitiveTypes.Float64, arrow.BinaryTypes.String,
		arrow.FixedWidthTypes.Boolean, &arrow.Decimal128Type{Precision: 30, Scale: 10},
	}
	for _, dataType := range types {
		for _, nullEvery := range []int{0, 10} {
			b.Run(fmt.Sprintf("%s/nulls=%d", dataType, nullEvery), func(b *testing.B) {
				rnd := rand.New(rand.NewPCG(5, 5))
				batch, record := sample(b, rnd, schemaOf([]arrow.DataType{dataType}), rows, nullEvery)
				defer record.Release()
				b.ReportAllocs()
				for b.Loop() {
					if _, err := Summarize(batch); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/value")
			})
		}
	}
	for _, rows := range []int{1, 64, rows} {
		b.Run(fmt.Sprintf("20 columns/rows=%d", rows), func(b *testing.B) {
			batch := eventBatch(b, rows)
			b.SetBytes(int64(len(batch.Body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Summarize(batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(rows), "ns/row")
		})
	}
}

// BenchmarkDecodeAndSummarize tells what statistics add to decoding.
func BenchmarkDecodeAndSummarize(b *testing.B) {
	const rows = 10_000
	for _, least := range []int64{0, 1} {
		b.Run(fmt.Sprintf("statistics=%v", least > 0), func(b *testing.B) {
			batch := eventBatch(b, rows)
			d, err := NewDecoder(EncodeSchema(batch.Layout.Schema()), DecoderOptions{SummarizeRows: least})
			if err != nil {
				b.Fatal(err)
			}
			header := batch.Message(0)
			b.SetBytes(int64(len(batch.Body)))
			for b.Loop() {
				batches, err := d.Decode(header, [][]byte{batch.Body})
				if err != nil {
					b.Fatal(err)
				}
				batches[0].Release()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
		})
	}
}

// eventBatch has the columns of the benchmarks' web events: nine integers, six floats, five texts.
func eventBatch(b *testing.B, rows int) *Batch {
	b.Helper()
	rnd := rand.New(rand.NewPCG(6, 6))
	p := arrow.PrimitiveTypes
	s := arrow.BinaryTypes.String
	schema := schemaOf([]arrow.DataType{
		p.Int64, p.Int64, arrow.FixedWidthTypes.Timestamp_us, s, s, s, s, s,
		p.Int64, p.Int64, p.Int64, p.Int64, p.Int64, p.Int64,
		p.Float64, p.Float64, p.Float64, p.Float64, p.Float64, p.Float64,
	})
	words := [][]string{
		{"page_view", "click", "add_to_cart", "purchase", "search", "scroll", "login", "logout"}, nil,
		{"US", "DE", "FR", "GB", "IN", "CN", "JP", "BR"}, {"ios-17.4", "android-14", "web-chrome-126"}, nil,
	}
	builder := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer builder.Release()
	for row := range rows {
		for i, field := range builder.Fields() {
			switch f := field.(type) {
			case *array.Int64Builder:
				if i == 0 {
					f.Append(int64(row))
				} else {
					f.Append(rnd.Int64N(1_000_000))
				}
			case *array.TimestampBuilder:
				f.Append(arrow.Timestamp(100*row + rnd.IntN(100)))
			case *array.Float64Builder:
				f.Append(rnd.NormFloat64())
			case *array.StringBuilder:
				switch i {
				case 4:
					f.Append(fmt.Sprintf("%016x", rnd.Uint64()))
				case 7:
					f.Append(fmt.Sprintf("/product/%05d/detail", rnd.IntN(2000)))
				default:
					f.Append(words[i-3][rnd.IntN(len(words[i-3]))])
				}
			}
		}
	}
	record := builder.NewRecordBatch()
	layout, err := NewLayout(schema)
	if err != nil {
		b.Fatal(err)
	}
	batch, err := FromRecord(layout, record)
	if err != nil {
		b.Fatal(err)
	}
	return batch
}

// TestDecoderSummarizes sends plain batches: those that are large enough have the statistics that Summarize
// gives, also of columns that were not sent.
func TestDecoderSummarizes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(9, 9))
	schema := schemaOf(append(leafTypes(), nestedTypes()...))
	wider := arrow.NewSchema(append(schema.Fields(), nullable("added", arrow.PrimitiveTypes.Int64)), nil)
	layout, err := NewLayout(wider)
	if err != nil {
		t.Fatal(err)
	}
	for _, rows := range []int{0, 1, 63, 64, 300} {
		record := randomRecord(rnd, schema, rows, 5)
		messages := encodeRecords(t, schema, []arrow.RecordBatch{record})
		d, err := NewDecoder(messages[0].header, DecoderOptions{Target: layout, SummarizeRows: 64, Defaults: map[string]any{"added": 7}})
		if err != nil {
			t.Fatal(err)
		}
		batches, err := d.Decode(messages[1].header, [][]byte{messages[1].body})
		if err != nil || len(batches) != 1 {
			t.Fatalf("%d batches, error %v", len(batches), err)
		}
		var want *Statistics
		if rows >= 64 {
			want = mustSummarize(t, batches[0])
		}
		if !reflect.DeepEqual(batches[0].Statistics, want) {
			t.Errorf("%d rows: statistics %+v\nwant %+v", rows, batches[0].Statistics, want)
		}
		record.Release()
	}
}

// TestDecoderSummarizesCompressedBatches sends compressed batches: what stays compressed has statistics,
// those of the same rows sent plainly; of columns that were not sent, nothing is known.
func TestDecoderSummarizesCompressedBatches(t *testing.T) {
	rnd := rand.New(rand.NewPCG(8, 8))
	schema := schemaOf(append(leafTypes(), nestedTypes()...))
	record := randomRecord(rnd, schema, 300, 5)
	defer record.Release()
	wider := arrow.NewSchema(append(schema.Fields(), nullable("added", arrow.PrimitiveTypes.Int64)), nil)
	for _, target := range []*arrow.Schema{schema, wider} {
		layout, err := NewLayout(target)
		if err != nil {
			t.Fatal(err)
		}
		for _, codec := range []ipc.Option{ipc.WithLZ4(), ipc.WithZstd()} {
			messages := encodeRecords(t, schema, []arrow.RecordBatch{record}, codec)
			d, err := NewDecoder(messages[0].header, DecoderOptions{Target: layout})
			if err != nil {
				t.Fatal(err)
			}
			batches, err := d.Decode(messages[1].header, [][]byte{messages[1].body})
			if err != nil || len(batches) != 1 || batches[0].Codec == NoCodec {
				t.Fatalf("%d batches, error %v", len(batches), err)
			}
			plain, err := Decompress(batches[0])
			if err != nil {
				t.Fatal(err)
			}
			want := mustSummarize(t, plain)
			if target == wider {
				want.Columns[len(want.Columns)-1] = ColumnStatistics{Nulls: -1}
			}
			if !reflect.DeepEqual(batches[0].Statistics, want) {
				t.Errorf("statistics %+v\nwant       %+v", batches[0].Statistics, want)
			}
		}
	}
}
