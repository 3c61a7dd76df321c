package arrowipc

import (
	"encoding/binary"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/headrace/headrace/internal/model"
)

// attack is a stream made to do harm, and the reason that it must be refused with; "" where it is
// harmless and accepted.
type attack struct {
	name   string
	stream []wireMessage
	want   model.Reason
}

const tooLarge, bad = model.BatchTooLarge, model.BadRequest

func TestAttacks(t *testing.T) {
	attacks := append(compressionAttacks(t), batchAttacks()...)
	attacks = append(attacks, valueAttacks()...)
	attacks = append(attacks, schemaAttacks()...)
	attacks = append(attacks, dictionaryAttacks(t)...)
	if len(attacks) < 34 {
		t.Fatalf("only %d attacks", len(attacks))
	}
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			begin := time.Now()
			err := runStream(a.stream)
			took := time.Since(begin)
			runtime.ReadMemStats(&after)
			if a.want == "" && err != nil || a.want != "" && !errors.Is(err, a.want) {
				t.Errorf("got %v, want %q", err, a.want)
			}
			size := uint64(0)
			for _, m := range a.stream {
				size += uint64(len(m.header) + len(m.body))
			}
			if got := after.TotalAlloc - before.TotalAlloc; got > 32<<20+8*size {
				t.Errorf("%d bytes were allocated for messages of %d", got, size)
			}
			if took > 5*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// runStream does what a server does, and reads every value that was accepted.
func runStream(stream []wireMessage) error {
	d, err := NewDecoder(stream[0].header, DecoderOptions{})
	if err != nil {
		return err
	}
	for _, m := range stream[1:] {
		batches, err := d.Decode(m.header, [][]byte{m.body})
		if err != nil {
			return err
		}
		for _, b := range batches {
			if err := touch(b); err != nil {
				return err
			}
			b.Release()
		}
	}
	return nil
}

var errTouch = errors.New("arrow-go does not accept what was decoded")

// touch reads a batch with arrow-go.
func touch(b *Batch) error {
	record, err := b.Record(nil)
	if err != nil {
		return errors.Join(errTouch, err)
	}
	for _, column := range record.Columns() {
		if !hasNullType(column.DataType()) {
			if err := array.ValidateFull(column); err != nil {
				return errors.Join(errTouch, err)
			}
		}
		for i := range min(column.Len(), 100) {
			_ = column.ValueStr(i)
		}
	}
	return nil
}

var oneInt = []Node{{8, 0}}

func compressionAttacks(t *testing.T) []attack {
	claims := func(claim int64) []wireMessage {
		body := pad(append(binary.LittleEndian.AppendUint64(nil, uint64(claim)), 1, 2, 3))
		return []wireMessage{{craftSchema(typeInt), nil}, {craftBatch(8, oneInt, []Span{{0, 0}, {0, 11}}, ZSTD, 64), body}}
	}
	whole := func(rows int64, codec Codec, body []byte) []wireMessage {
		header := craftBatch(rows, []Node{{rows, 0}}, []Span{{0, 0}, {0, int64(len(body))}}, codec, int64(len(body)))
		return []wireMessage{{craftSchema(typeInt), nil}, {header, body}}
	}
	shared := func() []wireMessage {
		body := bomb(t, ZSTD, 1<<20, 512<<20)
		var nodes []Node
		var spans []Span
		for range 40 {
			nodes = append(nodes, Node{1 << 20, 0})
			spans = append(spans, Span{0, 0}, Span{0, int64(len(body))})
		}
		return []wireMessage{{manyColumns(40), nil}, {craftBatch(1<<20, nodes, spans, ZSTD, int64(len(body))), body}}
	}
	short := wireMessage{craftBatch(8, oneInt, []Span{{0, 0}, {0, 7}}, LZ4, 64), make([]byte, 64)}
	return []attack{
		{"zstd claims 2^60", claims(1 << 60), tooLarge},
		{"zstd claims -2", claims(-2), bad},
		{"zstd claims 6 GiB in a tiny body", claims(6 << 30), tooLarge},
		{"zstd claims 64 bytes that are not there", claims(64), bad},
		{"zstd bomb above the limit", whole(4<<20, ZSTD, bomb(t, ZSTD, 300<<20, 300<<20)), tooLarge},
		{"zstd bomb that claims little", whole(8, ZSTD, bomb(t, ZSTD, 300<<20, 64)), bad},
		{"lz4 bomb that claims little", whole(8, LZ4, bomb(t, LZ4, 300<<20, 64)), bad},
		{"lz4 holds less than it claims", whole(1<<20, LZ4, bomb(t, LZ4, 1<<20, 8<<20)), bad},
		{"40 buffers share one bomb", shared(), bad},
		{"a compressed buffer of 7 bytes", []wireMessage{{craftSchema(typeInt), nil}, short}, bad},
	}
}

func batchAttacks() []attack {
	body := make([]byte, 64)
	ints := func(name string, want model.Reason, header []byte, body []byte) attack {
		return attack{name, []wireMessage{{craftSchema(typeInt), nil}, {header, body}}, want}
	}
	good := craftBatch(8, oneInt, []Span{{0, 0}, {0, 64}}, NoCodec, 64)
	null := craftBatch(1<<40, []Node{{1 << 40, 1 << 40}}, nil, NoCodec, 0)
	overlap := craftBatch(8, []Node{{8, 0}, {8, 0}}, []Span{{0, 0}, {0, 64}, {0, 0}, {0, 64}}, NoCodec, 64)
	counts := craftBatch(8, oneInt, []Span{{0, 0}, {0, 64}}, NoCodec, 64)
	return []attack{
		ints("a buffer outside the body", bad, craftBatch(8, oneInt, []Span{{0, 0}, {1 << 20, 64}}, NoCodec, 64), body),
		ints("a buffer at a negative offset", bad, craftBatch(8, oneInt, []Span{{0, 0}, {-64, 64}}, NoCodec, 64), body),
		ints("a buffer of negative length", bad, craftBatch(8, oneInt, []Span{{0, 0}, {0, -64}}, NoCodec, 64), body),
		ints("a buffer whose end overflows", bad, craftBatch(8, oneInt, []Span{{0, 0}, {64, 1<<63 - 1}}, NoCodec, 64), body),
		ints("negative rows", bad, craftBatch(-5, []Node{{-5, 0}}, []Span{{0, 0}, {0, 64}}, NoCodec, 64), body),
		ints("rows are not those of the node", tooLarge, craftBatch(1<<40, oneInt, []Span{{0, 0}, {0, 64}}, NoCodec, 64), body),
		ints("rows are fewer than those of the node", bad, craftBatch(7, oneInt, []Span{{0, 0}, {0, 64}}, NoCodec, 64), body),
		ints("more rows than the buffer has", bad, craftBatch(1<<20, []Node{{1 << 20, 0}}, []Span{{0, 0}, {0, 64}}, NoCodec, 64), body),
		ints("a null count above the rows", bad, craftBatch(8, []Node{{8, 100}}, []Span{{0, 0}, {0, 64}}, NoCodec, 64), body),
		ints("nulls without a bitmap", bad, craftBatch(8, []Node{{8, 3}}, []Span{{0, 0}, {0, 64}}, NoCodec, 64), body),
		{"a null column of 2^40 rows", []wireMessage{{craftSchema(typeNull), nil}, {null, nil}}, tooLarge},
		{"no columns and 2^62 rows", []wireMessage{{newCrafter().schema(), nil}, {craftBatch(1<<62, nil, nil, NoCodec, 0), nil}}, tooLarge},
		{"no columns and 5 rows", []wireMessage{{newCrafter().schema(), nil}, {craftBatch(5, nil, nil, NoCodec, 0), nil}}, bad},
		{"no columns and no rows", []wireMessage{{newCrafter().schema(), nil}, {craftBatch(0, nil, nil, NoCodec, 0), nil}}, ""},
		ints("too few nodes", bad, craftBatch(8, nil, nil, NoCodec, 64), body),
		ints("too many buffers", bad, craftBatch(8, oneInt, []Span{{0, 0}, {0, 64}, {0, 0}}, NoCodec, 64), body),
		{"two columns share a buffer", []wireMessage{{manyColumns(2), nil}, {overlap, body}}, bad},
		ints("no body where there are buffers", bad, good, nil),
		{"a batch before the schema", []wireMessage{{good, body}}, bad},
		ints("a second schema", bad, craftSchema(typeString), nil),
		ints("a header of garbage", bad, []byte{1, 2, 3, 4, 5, 6, 7, 8}, nil),
		ints("an empty header", bad, nil, nil),
		{"variadic counts behind the vector", []wireMessage{{craftSchema(typeStringView), nil}, {counts, body}}, bad},
		ints("sound", "", good, body),
	}
}

func valueAttacks() []attack {
	text := func(name string, want model.Reason, rows int64, spans []Span, body ...byte) attack {
		header := craftBatch(rows, []Node{{rows, 0}}, spans, NoCodec, 64)
		return attack{name, []wireMessage{{craftSchema(typeString), nil}, {header, pad(body)}}, want}
	}
	one := []Span{{0, 0}, {0, 8}, {8, 4}}
	two := []Span{{0, 0}, {0, 12}, {16, 4}}
	view := func(name string, want model.Reason, view ...byte) attack {
		b := &Batch{Rows: 1, Nodes: []Node{{1, 0}}, Buffers: []Span{{0, 0}, {0, 16}, {16, 16}}, Variadic: []int64{1}}
		body := pad(append(view, "0123456789abcdef"...))
		return attack{name, []wireMessage{{craftSchema(typeStringView), nil}, {b.message(0, 64, 0), body}}, want}
	}
	return []attack{
		text("text that is not UTF-8", bad, 1, one, 0, 0, 0, 0, 4, 0, 0, 0, 0xff, 0xfe, 0x80, 0xc0),
		text("text cut inside a character", bad, 2, two, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0xc3, 0xa4),
		text("offsets outside the data", bad, 1, one, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f, 1, 2, 3, 4),
		text("offsets that decrease", bad, 1, one, 4, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4),
		text("a negative offset", bad, 1, one, 0xfc, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1, 2, 3, 4),
		text("a wild offset in the middle", bad, 2, two, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f, 4, 0, 0, 0, 0, 0, 0, 0, 'a', 'b', 'c', 'd'),
		text("offsets that begin late", "", 1, one, 2, 0, 0, 0, 4, 0, 0, 0, 0xff, 0xff, 'c', 'd'),
		view("a view", "", 13, 0, 0, 0, '1', '2', '3', '4', 0, 0, 0, 0, 1, 0, 0, 0),
		view("a view beyond its buffer", bad, 13, 0, 0, 0, '0', '1', '2', '3', 0, 0, 0, 0, 4, 0, 0, 0),
		view("a view of a buffer that is not there", bad, 13, 0, 0, 0, '0', '1', '2', '3', 1, 0, 0, 0, 0, 0, 0, 0),
		view("a view of negative length", bad, 0xff, 0xff, 0xff, 0xff, '0', '1', '2', '3', 0, 0, 0, 0, 0, 0, 0, 0),
		view("a view at a negative position", bad, 13, 0, 0, 0, '0', '1', '2', '3', 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff),
		view("a view whose beginning is another", bad, 13, 0, 0, 0, 'x', 'x', 'x', 'x', 0, 0, 0, 0, 0, 0, 0, 0),
	}
}

func schemaAttacks() []attack {
	schema := func(name string, want model.Reason, header []byte) attack {
		return attack{name, []wireMessage{{header, nil}}, want}
	}
	return []attack{
		schema("structs nested 30 deep", "", nestedStructs(30, 1)),
		schema("structs nested 32 deep", bad, nestedStructs(32, 1)),
		schema("structs nested 1,000 deep", bad, nestedStructs(1000, 1)),
		schema("structs nested 30,000 deep", bad, nestedStructs(30000, 1)),
		schema("structs nested 400,000 deep", bad, nestedStructs(400000, 1)),
		schema("a field inside itself", bad, cyclicSchema()),
		schema("a struct of the same struct twice, 22 times", bad, nestedStructs(22, 2)),
		schema("a struct of the same struct twice, 40 times", bad, nestedStructs(40, 2)),
		schema("2^27 fields", bad, longFieldsVector(1<<27)),
		schema("2^31 fields", bad, longFieldsVector(1<<31)),
		schema("4,097 fields", bad, manyColumns(4097)),
		schema("4,096 fields", "", manyColumns(4096)),
		schema("metadata that repeats one text", bad, sharedMetadata()),
		schema("a union", model.UnsupportedType, craftSchema(typeUnion)),
		schema("run-end encoding", model.UnsupportedType, craftSchema(typeRunEnd)),
		schema("a list-view", model.UnsupportedType, craftSchema(typeListView)),
		schema("an unknown type", bad, craftSchema(99)),
		schema("a decimal without precision", bad, craftSchema(typeDecimal)),
		schema("a list without a child", bad, craftSchema(typeList)),
	}
}

func dictionaryAttacks(t *testing.T) []attack {
	dictionary := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}
	schema := schemaOf([]arrow.DataType{dictionary})
	stream := func() []wireMessage {
		b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
		if err := b.Field(0).(*array.BinaryDictionaryBuilder).AppendString("a"); err != nil {
			t.Fatal(err)
		}
		return encodeRecords(t, schema, []arrow.RecordBatch{b.NewRecordBatch()})
	}
	wild := stream()
	for i := range wild[2].body {
		wild[2].body[i] = 0x7f
	}
	unknown := append([]wireMessage{{craftSchema(typeString), nil}}, stream()[1:]...)
	return []attack{
		{"a dictionary that was not sent", []wireMessage{stream()[0], stream()[2]}, bad},
		{"an index outside the dictionary", wild, bad},
		{"a dictionary that no column has", unknown, bad},
		{"an expansion of one long value to 4 GiB", longDictionary(t), tooLarge},
		{"a sound dictionary", stream(), ""},
	}
}

// longDictionary has many rows of the one value, which has 1 KiB.
func longDictionary(t *testing.T) []wireMessage {
	dictionary := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}
	schema := schemaOf([]arrow.DataType{dictionary})
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	for range 4 << 20 {
		if err := b.Field(0).(*array.BinaryDictionaryBuilder).AppendString(longText); err != nil {
			t.Fatal(err)
		}
	}
	return encodeRecords(t, schema, []arrow.RecordBatch{b.NewRecordBatch()})
}

var longText = string(make([]byte, 1<<10))
