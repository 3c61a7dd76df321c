package arrowipc

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
)

func TestParseMessageIsTheInverseOfMessage(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	schema := schemaOf(append(leafTypes(), nestedTypes()...))
	var into Batch
	for _, rows := range []int{0, 1, 200} {
		for _, codec := range []Codec{NoCodec, LZ4, ZSTD} {
			for _, lead := range []int64{0, 64, 4096} {
				plain, record := sample(t, rnd, schema, rows, 3)
				batch, err := Compress(plain, codec, 0)
				if err != nil {
					t.Fatal(err)
				}
				body := append(bytes.Repeat([]byte{0xdd}, int(lead)), batch.Body...)
				header := batch.Message(lead)
				if len(header)%8 != 0 {
					t.Fatalf("a message of %d bytes", len(header))
				}
				if err := ParseMessage(batch.Layout, header, body, lead, &into); err != nil {
					t.Fatal(err)
				}
				if into.Rows != batch.Rows || into.Codec != codec || into.Sums != nil || !reflect.DeepEqual(into.Nodes, batch.Nodes) ||
					len(into.Buffers) != len(batch.Buffers) || !bytes.Equal(into.Body, batch.Body) {
					t.Fatalf("got %+v, want %+v", into, batch)
				}
				for i, s := range batch.Buffers {
					if s.Length != into.Buffers[i].Length || s.Length > 0 && s != into.Buffers[i] {
						t.Fatalf("buffer %d: got %v, want %v", i, into.Buffers[i], s)
					}
				}
				stream := appendMessage(appendMessage(nil, EncodeSchema(schema)), header, body)
				requireEqualRecords(t, record, readStream(t, stream)[0])
			}
		}
	}
}

func TestParseMessageSurvivesRot(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2, 2))
	b := arrow.BinaryTypes
	schema := schemaOf([]arrow.DataType{b.StringView, arrow.ListOf(b.String), arrow.FixedWidthTypes.Boolean, nestedTypes()[0]})
	plain, _ := sample(t, rnd, schema, 50, 3)
	packed, err := Compress(plain, LZ4, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, batch := range []*Batch{plain, packed} {
		header := batch.Message(64)
		body := append(make([]byte, 64), batch.Body...)
		var into Batch
		for n := range header {
			if err := ParseMessage(batch.Layout, header[:n], body, 64, &into); err == nil {
				t.Fatalf("the first %d bytes of %d were accepted", n, len(header))
			}
		}
		if err := ParseMessage(batch.Layout, header, body[:len(body)-64], 64, &into); err == nil {
			t.Fatal("a shorter body was accepted")
		}
		accepted := 0
		for n := range len(header) * 8 {
			rotten := bytes.Clone(header)
			rotten[n/8] ^= 1 << (n % 8)
			if ParseMessage(batch.Layout, rotten, body, 64, &into) == nil {
				accepted++
				useBatch(&into)
			}
		}
		if accepted > len(header) { // null counts, codec, lengths of data
			t.Errorf("%d of %d flipped bits were accepted", accepted, len(header)*8)
		}
	}
}

// useBatch does what readers do with a batch of unknown content: it must not panic.
func useBatch(b *Batch) {
	p, err := NewProjection(b.Layout, []int{0}, nil)
	if err != nil {
		panic(err)
	}
	p.Message(b, nil)
	for _, i := range p.AppendBuffers(nil, b) {
		_ = b.bytes(b.Buffers[i])
	}
	if b.Rows > 1<<20 {
		return // a flipped high bit, and columns of nulls or of nothing
	}
	if plain, err := decompress(b, 4<<20); err == nil {
		if builder := NewBuilder(b.Layout); builder.AppendRange(plain, 0, plain.Rows) == nil {
			builder.Finish().Release()
		}
		plain.Release()
	}
}

func TestDecodeSchemaAnyTakesEveryForm(t *testing.T) {
	schema := schemaOf(append(leafTypes(), nestedTypes()...))
	var stream bytes.Buffer
	w := ipc.NewWriter(&stream, ipc.WithSchema(schema))
	if err := w.Write(randomRecord(rand.New(rand.NewPCG(1, 1)), schema, 3, 0)); err != nil {
		t.Fatal(err)
	}
	bare := EncodeSchema(schema)
	for name, data := range map[string][]byte{
		"bare":                bare,
		"encapsulated":        appendMessage(nil, bare),
		"legacy":              appendMessage(nil, bare)[4:],
		"stream":              stream.Bytes(),
		"no fields":           EncodeSchema(arrow.NewSchema(nil, nil)),
		"no fields, old form": appendMessage(nil, EncodeSchema(arrow.NewSchema(nil, nil)))[4:],
	} {
		got, err := DecodeSchemaAny(data, Limits{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.NumFields() > 0 && !got.Equal(schema) {
			t.Errorf("%s: got %v", name, got)
		}
		for n := range data[:min(len(data), len(bare))] {
			if _, err := DecodeSchemaAny(data[:n], Limits{}); err == nil {
				if whole := len(bare) - n; whole > 8 { // the padding may be missing
					t.Errorf("%s: the first %d bytes of %d were accepted", name, n, len(data))
				}
			}
		}
	}
}
