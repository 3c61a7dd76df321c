package arrowipc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
)

// fuzzLimits keep what a case may allocate small, so that too much stands out.
var fuzzLimits = Limits{Rows: 1 << 16, DecompressedBytes: 4 << 20, Fields: 256}

const fuzzAllocationMax = 128 << 20

// allocates fails when run allocates more than it may. Other goroutines of the fuzzer count too,
// which is why the bound is far above the limits.
func allocates(t *testing.T, run func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	run()
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > fuzzAllocationMax {
		t.Fatalf("%d bytes were allocated", got)
	}
}

// fuzzStreams are valid streams of all types, plain and compressed, in the form of joinMessages.
func fuzzStreams(t testing.TB) [][]byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	p, b := arrow.PrimitiveTypes, arrow.BinaryTypes
	dictionary := &arrow.DictionaryType{IndexType: p.Int8, ValueType: b.String}
	groups := [][]arrow.DataType{
		{p.Int64, b.String, arrow.FixedWidthTypes.Boolean}, {b.StringView, arrow.ListOf(b.BinaryView)},
		{dictionary, arrow.ListOf(dictionary)}, nestedTypes()[:6], nestedTypes()[6:], leafTypes()[:20], leafTypes()[20:],
	}
	var streams [][]byte
	for _, types := range groups {
		for _, options := range [][]ipc.Option{nil, {ipc.WithLZ4()}, {ipc.WithZstd()}} {
			schema := schemaOf(types)
			var record arrow.RecordBatch
			if types[0].ID() == arrow.DICTIONARY {
				record = jsonRecord(t, schema, `[{"c0":"a","c1":["b","a"]},{"c0":null,"c1":null},{"c0":"b","c1":[]}]`)
			} else {
				record = randomRecord(rnd, schema, 20, 4)
			}
			streams = append(streams, joinMessages(encodeRecords(t, schema, []arrow.RecordBatch{record, record.NewSlice(0, 1)}, options...)))
		}
	}
	files, err := filepath.Glob("testdata/streams/*.arrows")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		stream, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, joinMessages(cutStream(stream)))
	}
	for _, a := range append(batchAttacks(), valueAttacks()...) {
		streams = append(streams, joinMessages(a.stream))
	}
	return streams
}

// joinMessages puts the two lengths before each message, so that a fuzzer can lie about anything
// else.
func joinMessages(messages []wireMessage) []byte {
	var out []byte
	for _, m := range messages {
		out = binary.LittleEndian.AppendUint16(out, uint16(len(m.header)))
		out = binary.LittleEndian.AppendUint16(out, uint16(len(m.body)))
		out = append(append(out, m.header...), m.body...)
	}
	return out
}

func splitMessages(data []byte) []wireMessage {
	var messages []wireMessage
	for len(data) >= 4 {
		n, body := int(binary.LittleEndian.Uint16(data)), int(binary.LittleEndian.Uint16(data[2:]))
		data = data[4:]
		n = min(n, len(data))
		body = min(body, len(data)-n)
		messages = append(messages, wireMessage{data[:n], data[n : n+body]})
		data = data[n+body:]
	}
	return messages
}

// fixBodyLengths makes the given length of each body the true one: else hardly a case gets further.
func fixBodyLengths(messages []wireMessage) {
	for _, m := range messages {
		f := &flat{data: m.header, tables: 8}
		if at := f.field(f.root(), 3, 8); at >= 0 && f.err == nil {
			binary.LittleEndian.PutUint64(m.header[at:], uint64(len(m.body)))
		}
	}
}

func FuzzDecodeSchema(f *testing.F) {
	f.Add(EncodeSchema(schemaOf(append(leafTypes(), nestedTypes()...))))
	for _, a := range schemaAttacks() {
		if header := a.stream[0].header; len(header) < 10000 {
			f.Add(header)
			f.Add(appendMessage(nil, header))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		allocates(t, func() {
			schema, err := DecodeSchemaAny(data, fuzzLimits)
			if err != nil {
				return
			}
			again, err := DecodeSchema(EncodeSchema(schema), Limits{Fields: 1 << 20, Depth: 100})
			if err != nil || !again.Equal(schema) {
				t.Fatalf("%v came back as %v, %v", schema, again, err)
			}
			_, _ = NewLayout(schema)
		})
	})
}

func FuzzDecode(f *testing.F) {
	for _, stream := range fuzzStreams(f) {
		f.Add(stream, uint16(0), byte(0))
	}
	f.Fuzz(func(t *testing.T, data []byte, limit uint16, mode byte) {
		messages := splitMessages(bytes.Clone(data))
		if mode&1 == 0 {
			fixBodyLengths(messages)
		}
		allocates(t, func() {
			if err := fuzzStream(messages, int(limit), mode); errors.Is(err, errTouch) {
				t.Fatal(err)
			}
		})
	})
}

// fuzzStream decodes a stream for its own schema or, in a mode, for a table with other types, and
// reads all that was accepted.
func fuzzStream(messages []wireMessage, limit int, mode byte) error {
	if len(messages) == 0 {
		return nil
	}
	options := DecoderOptions{Limits: fuzzLimits, MessageBytes: limit}
	if mode&2 != 0 {
		schema, err := DecodeSchema(messages[0].header, fuzzLimits)
		if err != nil {
			return err
		}
		if options.Target, err = NewLayout(relatedSchema(schema)); err != nil {
			return err
		}
	}
	d, err := NewDecoder(messages[0].header, options)
	if err != nil {
		return err
	}
	for _, m := range messages[1:] {
		batches, err := d.Decode(m.header, [][]byte{m.body[:len(m.body)/3], m.body[len(m.body)/3:]})
		if err != nil {
			return err
		}
		for _, b := range batches[:min(len(batches), 20)] {
			var again Batch
			if err := ParseMessage(b.Layout, b.Message(64), append(make([]byte, 64), b.Body...), 64, &again); err != nil {
				return errors.Join(errTouch, err)
			}
			if err := touch(&again); err != nil {
				return err
			}
			b.Release()
		}
	}
	return nil
}

// relatedSchema has other types that everything is converted to, in another order, and one column
// more.
func relatedSchema(schema *arrow.Schema) *arrow.Schema {
	other := map[arrow.Type]arrow.DataType{
		arrow.STRING: arrow.BinaryTypes.LargeString, arrow.STRING_VIEW: arrow.BinaryTypes.String,
		arrow.LARGE_STRING: arrow.BinaryTypes.StringView, arrow.BINARY_VIEW: arrow.BinaryTypes.Binary,
		arrow.NULL: arrow.FixedSizeListOf(3, arrow.PrimitiveTypes.Int32),
	}
	fields := plainFields(schema.Fields())
	for i := range fields {
		if t, ok := other[fields[i].Type.ID()]; ok {
			fields[i].Type = t
		}
	}
	for i, j := 0, len(fields)-1; i < j; i, j = i+1, j-1 {
		fields[i], fields[j] = fields[j], fields[i]
	}
	return arrow.NewSchema(append(fields, nullable("one more", arrow.BinaryTypes.StringView)), nil)
}

func FuzzParseMessage(f *testing.F) {
	rnd := rand.New(rand.NewPCG(2, 2))
	schema := schemaOf([]arrow.DataType{
		arrow.BinaryTypes.StringView, arrow.ListOf(arrow.BinaryTypes.String), arrow.FixedWidthTypes.Boolean, nestedTypes()[0], nestedTypes()[5],
	})
	var layout *Layout
	for _, rows := range []int{0, 1, 20} {
		batch, _ := sample(f, rnd, schema, rows, 3)
		layout = batch.Layout
		packed, err := Compress(batch, LZ4, 0)
		if err != nil {
			f.Fatal(err)
		}
		for _, b := range []*Batch{batch, packed} {
			f.Add(b.Message(64), append(make([]byte, 64), b.Body...))
		}
	}
	f.Fuzz(func(t *testing.T, header, body []byte) {
		header = bytes.Clone(header)
		fixBodyLengths([]wireMessage{{header, body}})
		allocates(t, func() {
			var into Batch
			if ParseMessage(layout, header, body, 64, &into) == nil && into.Rows < 1<<16 {
				useBatch(&into)
			}
		})
	})
}
