package arrowipc

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// benchSchema has 20 columns of the kinds that tables of events have, about 190 bytes a row.
func benchSchema() *arrow.Schema {
	p := arrow.PrimitiveTypes
	types := []arrow.DataType{
		p.Int64, p.Int64, p.Int64, p.Int64, p.Int32, p.Int32, p.Int32, p.Float64, p.Float64, p.Float64, p.Float64, p.Float32,
		arrow.FixedWidthTypes.Timestamp_us, arrow.FixedWidthTypes.Timestamp_us, arrow.FixedWidthTypes.Boolean,
		arrow.BinaryTypes.String, arrow.BinaryTypes.String, arrow.BinaryTypes.String, arrow.BinaryTypes.String, arrow.FixedWidthTypes.Date32,
	}
	return schemaOf(types)
}

func benchRecord(rows int) arrow.RecordBatch {
	rnd := rand.New(rand.NewPCG(1, 1))
	b := array.NewRecordBuilder(memory.DefaultAllocator, benchSchema())
	defer b.Release()
	for i := range benchSchema().NumFields() {
		for row := range rows {
			switch f := b.Field(i).(type) {
			case *array.StringBuilder:
				f.Append(fmt.Sprintf("value number %d", row%1000))
			default:
				appendRandomLeaf(f, rnd)
			}
		}
	}
	return b.NewRecordBatch()
}

func BenchmarkDecode(b *testing.B) {
	for _, rows := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			messages := encodeRecords(b, benchSchema(), []arrow.RecordBatch{benchRecord(rows)})
			d, err := NewDecoder(messages[0].header, DecoderOptions{})
			if err != nil {
				b.Fatal(err)
			}
			var parts [][]byte
			for body := messages[1].body; len(body) > 0; body = body[min(len(body), 16<<10):] {
				parts = append(parts, body[:min(len(body), 16<<10)])
			}
			b.SetBytes(int64(len(messages[1].body)))
			b.ReportAllocs()
			for b.Loop() {
				batches, err := d.Decode(messages[1].header, parts)
				if err != nil {
					b.Fatal(err)
				}
				batches[0].Release()
			}
		})
	}
}

func benchBatch(b *testing.B, rows int) *Batch {
	b.Helper()
	record := benchRecord(rows)
	layout, err := NewLayout(record.Schema())
	if err != nil {
		b.Fatal(err)
	}
	batch, err := FromRecord(layout, record)
	if err != nil {
		b.Fatal(err)
	}
	return batch
}

func BenchmarkProjectionMessage(b *testing.B) {
	batch := benchBatch(b, 10_000)
	for name, columns := range map[string][]int{"2 of 20": {3, 16}, "all": nil} {
		b.Run(name, func(b *testing.B) {
			p, err := NewProjection(batch.Layout, columns, nil)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				p.Message(batch, nil)
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	batch := benchBatch(b, 10_000)
	p, err := NewProjection(batch.Layout, nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	for name, codec := range map[string]Codec{"lz4": LZ4, "zstd": ZSTD} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(batch.Body)))
			b.ReportAllocs()
			for b.Loop() {
				message, err := p.Encode(batch, nil, codec)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(message.BodyLength)/float64(len(batch.Body)), "of-plain")
			}
		})
	}
}

func BenchmarkParseMessage(b *testing.B) {
	batch := benchBatch(b, 10_000)
	header := batch.Message(0)
	var into Batch
	b.ReportAllocs()
	for b.Loop() {
		if err := ParseMessage(batch.Layout, header, batch.Body, 0, &into); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBuilderAppendRange(b *testing.B) {
	for _, rows := range []int{1, 1000} {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			batch := benchBatch(b, rows)
			builder := NewBuilder(batch.Layout)
			b.SetBytes(int64(len(batch.Body)))
			b.ReportAllocs()
			for b.Loop() {
				if err := builder.AppendRange(batch, 0, batch.Rows); err != nil {
					b.Fatal(err)
				}
				if builder.Rows() >= 10_000 {
					builder.Finish().Release()
				}
			}
		})
	}
}

func BenchmarkRowHasher(b *testing.B) {
	batch := benchBatch(b, 10_000)
	hasher, err := NewRowHasher(batch.Layout, []int{0, 15})
	if err != nil {
		b.Fatal(err)
	}
	var hashes []uint64
	b.ReportAllocs()
	for b.Loop() {
		if hashes, err = hasher.Hash(batch, hashes[:0]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/10_000, "ns/row")
}
