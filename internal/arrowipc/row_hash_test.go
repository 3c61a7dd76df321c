package arrowipc

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/zeebo/xxh3"

	"github.com/headrace/headrace/internal/model"
)

// TestKeyEncodingNeverChanges has the bytes written out, and the hashes as they were first: stored
// rows must find their bucket again.
func TestKeyEncodingNeverChanges(t *testing.T) {
	p := arrow.PrimitiveTypes
	schema := arrow.NewSchema([]arrow.Field{
		nullable("i", p.Int32), nullable("s", arrow.BinaryTypes.String), nullable("b", arrow.FixedWidthTypes.Boolean),
		nullable("l", arrow.BinaryTypes.LargeString), nullable("f", &arrow.FixedSizeBinaryType{ByteWidth: 3}),
		nullable("v", arrow.BinaryTypes.StringView),
	}, nil)
	layout := layoutOf(t, schema)
	batch, err := FromRecord(layout, jsonRecord(t, schema, `[
		{"i":1,"s":"ab","b":true,"l":"","f":"AQID","v":"ab"},
		{"i":-2,"s":null,"b":false,"l":"ä","f":null,"v":"a text that is not inline"},
		{"i":null,"s":"","b":null,"l":null,"f":"AAAA","v":null}]`))
	if err != nil {
		t.Fatal(err)
	}
	hasher, err := NewRowHasher(layout, []int{0, 1, 2, 3, 4})
	if err != nil {
		t.Fatal(err)
	}
	got, err := hasher.Hash(batch, []uint64{42})
	if err != nil || len(got) != 4 || got[0] != 42 {
		t.Fatalf("got %v, %v", got, err)
	}
	keys := []string{
		"\x01\x01\x00\x00\x00" + "\x01\x02ab" + "\x01\x01" + "\x01\x00" + "\x01\x01\x02\x03",
		"\x01\xfe\xff\xff\xff" + "\x00" + "\x01\x00" + "\x01\x02ä" + "\x00",
		"\x00" + "\x01\x00" + "\x00" + "\x00" + "\x01\x00\x00\x00",
	}
	golden := []string{"f1ba84f93f761cd2", "1d093108959e5d5e", "19673a8bcc3671ee"}
	for i, key := range keys {
		if got[i+1] != xxh3.HashString(key) {
			t.Errorf("row %d has not the hash of its encoding", i)
		}
		if text := fmt.Sprintf("%016x", got[i+1]); text != golden[i] {
			t.Errorf("row %d: %s, want %s", i, text, golden[i])
		}
	}
	text, err := NewRowHasher(layout, []int{3})
	if err != nil {
		t.Fatal(err)
	}
	wide, _ := text.Hash(batch, nil)
	if wide[1] != xxh3.HashString("\x01\x02ä") {
		t.Error("a large string is encoded in another way than a string")
	}
	views, err := NewRowHasher(layout, []int{5})
	if err != nil {
		t.Fatal(err)
	}
	hashes, _ := views.Hash(batch, nil)
	for i, key := range []string{"\x01\x02ab", "\x01\x19a text that is not inline", "\x00"} {
		if hashes[i] != xxh3.HashString(key) {
			t.Errorf("row %d: a view is encoded in another way than a string", i)
		}
	}
}

func TestRowHasherRefuses(t *testing.T) {
	layout := layoutOf(t, schemaOf([]arrow.DataType{arrow.Null, arrow.ListOf(arrow.PrimitiveTypes.Int8)}))
	for i := range 2 {
		if _, err := NewRowHasher(layout, []int{i}); !errors.Is(err, model.UnsupportedType) {
			t.Errorf("column %d: %v", i, err)
		}
	}
	if _, err := NewRowHasher(layout, []int{2}); !errors.Is(err, model.ColumnNotFound) {
		t.Errorf("a column that is not there: %v", err)
	}
}

// The hash depends on what was sent alone: not on the table's columns, nor on how the batch is stored.
func TestContentHash(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	dictionary := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}
	schema := schemaOf([]arrow.DataType{arrow.PrimitiveTypes.Int64, arrow.BinaryTypes.String, dictionary})
	var records []arrow.RecordBatch
	for i := range 2 {
		b := array.NewRecordBuilder(memory.NewGoAllocator(), schema)
		for row := range 100 {
			b.Field(0).(*array.Int64Builder).Append(int64(row * i))
			b.Field(1).(*array.StringBuilder).Append(fmt.Sprint("text ", row))
			if err := b.Field(2).AppendValueFromString(fmt.Sprint("word ", row%5+i)); err != nil {
				t.Fatal(err)
			}
		}
		records = append(records, b.NewRecordBatch())
	}
	stored := plainSchema(schema)
	fields := stored.Fields()
	reordered := arrow.NewSchema([]arrow.Field{fields[2], fields[1], fields[0], nullable("more", arrow.PrimitiveTypes.Int8)}, nil)
	hashes := func(schema, target *arrow.Schema, records []arrow.RecordBatch, size int) (all []uint64) {
		messages := encodeRecords(t, schema, records)
		d, err := NewDecoder(messages[0].header, DecoderOptions{Target: layoutOf(t, target), MessageBytes: size})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range messages[1:] {
			body := scatter(m.body, rnd)
			batches, err := d.Decode(m.header, body)
			if err != nil {
				t.Fatal(err)
			}
			if batches != nil {
				all = append(all, d.ContentHash(body))
			}
		}
		return all
	}
	for _, encoded := range []bool{true, false} {
		schema, records := schema, records
		if !encoded {
			schema = arrow.NewSchema(schema.Fields()[:2], nil)
			records = []arrow.RecordBatch{randomRecord(rnd, schema, 100, 3), randomRecord(rnd, schema, 100, 3)}
		}
		want := hashes(schema, stored, records, 0)
		if len(want) != 2 || want[0] == want[1] {
			t.Fatalf("the hashes are %x", want)
		}
		for _, got := range [][]uint64{hashes(schema, reordered, records, 0), hashes(schema, stored, records, 2000)} {
			if !slices.Equal(got, want) {
				t.Errorf("the hashes are %x, want %x", got, want)
			}
		}
	}
}
