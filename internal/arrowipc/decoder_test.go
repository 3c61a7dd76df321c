package arrowipc

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
)

// decodeAll decodes a stream whose first message is the schema.
func decodeAll(t testing.TB, messages []wireMessage, options DecoderOptions, rnd *rand.Rand) []*Batch {
	t.Helper()
	d, err := NewDecoder(messages[0].header, options)
	if err != nil {
		t.Fatal(err)
	}
	var all []*Batch
	for _, m := range messages[1:] {
		batches, err := d.Decode(m.header, scatter(m.body, rnd))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, batches...)
	}
	return all
}

var codecs = map[string][]ipc.Option{"plain": nil, "lz4": {ipc.WithLZ4()}, "zstd": {ipc.WithZstd()}}

func TestEveryTypeComesBackAsSent(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	types := append(leafTypes(), nestedTypes()...)
	shapes := map[string]struct{ rows, nullEvery, from, to int }{
		"plain":     {100, 0, 0, 100},
		"nulls":     {100, 3, 0, 100},
		"all null":  {65, 1, 0, 65},
		"no rows":   {0, 0, 0, 0},
		"one row":   {1, 0, 0, 1},
		"sliced":    {100, 4, 13, 90},
		"empty cut": {100, 4, 50, 50},
	}
	for codec, options := range codecs {
		for shape, s := range shapes {
			for i, dataType := range types {
				t.Run(fmt.Sprintf("%s/%s/%d %s", codec, shape, i, dataType), func(t *testing.T) {
					schema := schemaOf([]arrow.DataType{dataType, arrow.PrimitiveTypes.Int32})
					record := randomRecord(rnd, schema, s.rows, s.nullEvery).NewSlice(int64(s.from), int64(s.to))
					messages := encodeRecords(t, schema, []arrow.RecordBatch{record}, options...)
					batches := decodeAll(t, messages, DecoderOptions{}, rnd)
					if len(batches) != 1 || batches[0].Rows != record.NumRows() {
						t.Fatalf("got %d batches, want one of %d rows", len(batches), record.NumRows())
					}
					if record.NumRows() == 100 && (batches[0].Codec == NoCodec) != (codec == "plain") {
						t.Fatalf("the batch has codec %d", batches[0].Codec)
					}
					got := batchRecords(t, batches)
					requireEqualRecords(t, record, got[0])
					view, err := batches[0].Record(nil)
					if err != nil {
						t.Fatal(err)
					}
					validate(t, view)
					requireEqualRecords(t, record, view)
				})
			}
		}
	}
}

func TestAllTypesInOneBatch(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	schema := schemaOf(append(leafTypes(), nestedTypes()...))
	for codec, options := range codecs {
		t.Run(codec, func(t *testing.T) {
			records := []arrow.RecordBatch{
				randomRecord(rnd, schema, 1000, 5), randomRecord(rnd, schema, 77, 0), randomRecord(rnd, schema, 0, 0),
			}
			batches := decodeAll(t, encodeRecords(t, schema, records, options...), DecoderOptions{}, rnd)
			for i, got := range batchRecords(t, batches) {
				requireEqualRecords(t, records[i], got)
			}
		})
	}
}

func TestLargeBatchesAreSplit(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	schema := schemaOf(append(leafTypes(), nestedTypes()...))
	record := randomRecord(rnd, schema, 3001, 5)
	for codec, options := range codecs {
		t.Run(codec, func(t *testing.T) {
			const limit = 200_000
			batches := decodeAll(t, encodeRecords(t, schema, []arrow.RecordBatch{record}, options...),
				DecoderOptions{MessageBytes: limit}, rnd)
			if len(batches) < 3 {
				t.Fatalf("got %d batches", len(batches))
			}
			for i, b := range batches {
				if b.messageBytes() > limit {
					t.Errorf("batch %d has %d bytes, want at most %d", i, b.messageBytes(), limit)
				}
				if i < len(batches)-1 && b.Rows%8 != 0 {
					t.Errorf("batch %d has %d rows, want a multiple of 8", i, b.Rows)
				}
				if i < len(batches)-2 && b.messageBytes() < limit/2 {
					t.Errorf("batch %d has only %d bytes", i, b.messageBytes())
				}
			}
			requireEqualRecords(t, record, concatenate(t, schema, batchRecords(t, batches)))
		})
	}
	t.Run("rows too large go alone", func(t *testing.T) {
		batches := decodeAll(t, encodeRecords(t, schema, []arrow.RecordBatch{record.NewSlice(0, 20)}),
			DecoderOptions{MessageBytes: 1000}, rnd)
		if len(batches) != 20 {
			t.Fatalf("got %d batches, want 20", len(batches))
		}
		requireEqualRecords(t, record.NewSlice(0, 20), concatenate(t, schema, batchRecords(t, batches)))
	})
}
