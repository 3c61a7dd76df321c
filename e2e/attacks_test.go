package e2e

import (
	"testing"

	"github.com/apache/arrow-go/v18/arrow/flight"

	"github.com/headrace/headrace/internal/model"
)

// attack is a DoPut made to do harm.
type attack struct {
	name, table string
	messages    []*flight.FlightData
	want        model.Reason
}

const tooLarge, bad = model.BatchTooLarge, model.BadRequest

func attacks(t testing.TB) []attack {
	all := append(compressionAttacks(t), batchAttacks()...)
	all = append(all, textAttacks()...)
	all = append(all, schemaAttacks()...)
	return append(all, dictionaryAttacks(t)...)
}

func stream(messages ...*flight.FlightData) []*flight.FlightData { return messages }

// ints gives an attack on the table of one column of int64.
func ints(name string, want model.Reason, batch *flight.FlightData) attack {
	return attack{name, "ints", stream(craftSchema(typeInt, 1), batch), want}
}

func compressionAttacks(t testing.TB) []attack {
	junk := []byte{1, 2, 3}
	half := bomb(t, 512)
	var large []byte // frames one behind the other count as one
	for range 4 {
		large = append(large, half...)
	}
	shared := claim{rows: 1 << 26, codec: zstdCodec}
	body := padded(append([]byte{0, 0, 0, 0x20, 0, 0, 0, 0}, half...))
	for range 40 {
		shared.nodes = append(shared.nodes, pair{1 << 26, 0})
		shared.buffers = append(shared.buffers, pair{}, pair{0, int64(8 + len(half))})
	}
	sharing := stream(craftSchema(typeInt, 40), shared.batch(body))
	shared.rows = 1 << 20 // so that it is not refused for that
	for i := range shared.nodes {
		shared.nodes[i].a = 1 << 20
	}
	return []attack{
		ints("zstd claims 2^60", tooLarge, compressed(8, 1<<60, junk)),
		ints("zstd claims -2", bad, compressed(8, -2, junk)),
		ints("zstd claims 6 GiB in a tiny body", tooLarge, compressed(8, 6<<30, junk)),
		ints("zstd bomb of 2 GiB", tooLarge, compressed(1<<28, 2<<30, large)),
		ints("zstd bomb of 2 GiB that claims 64 bytes", bad, compressed(8, 64, large)),
		{"40 buffers share a bomb of 512 MiB", "wide", sharing, tooLarge},
		{"40 buffers share a bomb and claim few rows", "wide", stream(craftSchema(typeInt, 40), shared.batch(body)), bad},
	}
}

func batchAttacks() []attack {
	body := make([]byte, 64)
	none := claim{codec: noCodec}
	empty := func(rows int64) *flight.FlightData { return claim{rows: rows, codec: noCodec}.batch(nil) }
	sound := column(8, 0, pair{}, pair{0, 64})
	misfit := column(8, 0, pair{}, pair{0, 64})
	misfit.rows = 1 << 40
	fewer := column(8, 0, pair{}, pair{0, 64})
	fewer.rows = 7
	noNodes := none
	noNodes.rows = 8
	return []attack{
		ints("a buffer outside the body", bad, column(8, 0, pair{}, pair{1 << 20, 64}).batch(body)),
		ints("a buffer at a negative offset", bad, column(8, 0, pair{}, pair{-64, 64}).batch(body)),
		ints("a buffer of negative length", bad, column(8, 0, pair{}, pair{0, -64}).batch(body)),
		ints("a buffer whose end overflows", bad, column(8, 0, pair{}, pair{64, 1<<63 - 1}).batch(body)),
		ints("negative rows", bad, column(-5, 0, pair{}, pair{0, 64}).batch(body)),
		ints("2^40 rows and a node of 8", tooLarge, misfit.batch(body)),
		ints("7 rows and a node of 8", bad, fewer.batch(body)),
		ints("more rows than the buffer has", bad, column(1<<20, 0, pair{}, pair{0, 64}).batch(body)),
		ints("100 nulls in 8 rows without a bitmap", bad, column(8, 100, pair{}, pair{0, 64}).batch(body)),
		{"a null column of 2^40 rows", "ints", stream(craftSchema(typeNull, 1), column(1<<40, 1<<40).batch(nil)), tooLarge},
		{"no columns and 2^62 rows", "ints", stream(craftSchema(typeInt, 0), empty(1<<62)), tooLarge},
		{"no columns and 5 rows", "ints", stream(craftSchema(typeInt, 0), empty(5)), bad},
		ints("too few nodes", bad, noNodes.batch(body)),
		ints("no body where there are buffers", bad, sound.sized(64)),
		{"a batch before the schema", "ints", stream(sound.batch(body)), bad},
		{"a second schema", "ints", stream(craftSchema(typeInt, 1), craftSchema(typeText, 1), sound.batch(body)), bad},
		{"a header of garbage", "ints", stream(&flight.FlightData{DataHeader: []byte{1, 2, 3, 4, 5, 6, 7, 8}}), bad},
		ints("a header of garbage behind the schema", bad, &flight.FlightData{DataHeader: []byte{1, 2, 3, 4, 5, 6, 7, 8}}),
	}
}

func textAttacks() []attack {
	text := func(name string, rows int64, buffers []pair, body ...byte) attack {
		batch := column(rows, 0, buffers...).batch(padded(body))
		return attack{name, "texts", stream(craftSchema(typeText, 1), batch), bad}
	}
	one, two := []pair{{}, {0, 8}, {8, 4}}, []pair{{}, {0, 12}, {16, 4}}
	return []attack{
		text("text that is not UTF-8", 1, one, 0, 0, 0, 0, 4, 0, 0, 0, 0xff, 0xfe, 0x80, 0xc0),
		text("offsets outside the data", 1, one, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f, 1, 2, 3, 4),
		text("offsets that decrease", 1, one, 4, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4),
		text("a wild offset in the middle", 2, two, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f, 4, 0, 0, 0, 0, 0, 0, 0, 'a', 'b', 'c', 'd'),
	}
}

func schemaAttacks() []attack {
	schema := func(name string, message *flight.FlightData) attack {
		return attack{name, "ints", stream(message), bad}
	}
	return []attack{
		schema("structs nested 1,000 deep", nested(1000, 1)),
		schema("structs nested 10,000 deep", nested(10000, 1)),
		schema("structs nested 30,000 deep", nested(30000, 1)),
		schema("structs nested 400,000 deep", nested(400000, 1)),
		schema("a column that contains itself", cycle()),
		schema("2^22 columns made of a few bytes", nested(22, 2)),
		schema("2^40 columns made of a few bytes", nested(40, 2)),
		schema("2^27 columns claimed", longFieldsVector(1<<27)),
		schema("2^31 columns claimed", longFieldsVector(1<<31)),
	}
}

func dictionaryAttacks(t testing.TB) []attack {
	sound, wild := dictionary(t), dictionary(t)
	for i := range wild[2].DataBody {
		wild[2].DataBody[i] = 0x7f
	}
	return []attack{
		{"a dictionary that was not sent", "texts", stream(sound[0], sound[2]), bad},
		{"an index outside the dictionary", "texts", wild, bad},
	}
}
