package flightsrv

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestPutAcknowledgesEachBatch(t *testing.T) {
	s := startServer(t, nil)
	s.create(t, "web.clicks", "")
	acks := s.put(t, "web.clicks", rows(0, 1000), rows(1000, 500), rows(1500, 0))
	if len(acks) != 3 {
		t.Fatalf("%d acknowledgements, want 3", len(acks))
	}
	for i, want := range []string{"map[0:[0 1000]]", "map[0:[1000 1500]]"} {
		if got := fmt.Sprint(acks[i].Offsets); got != want || int(acks[i].Seq) != i || acks[i].Durability != "fsync" || acks[i].Duplicate {
			t.Errorf("acknowledgement %d: %+v, want offsets %s", i, acks[i], want)
		}
	}
	if got := ids(s.get(t, `{"scan":{"table":"web.clicks"}}`)); !isRange(got, 0, 1500) {
		t.Errorf("got %d rows, want 1500", len(got))
	}
}

func TestPutByCommand(t *testing.T) {
	s := startServer(t, nil)
	s.create(t, "c", "")
	for acks, want := range map[string]int{"batch": 3, "end": 1} {
		p := s.openPut(t.Context(), t, commandOf(`{"put":{"table":"c","acks":"`+acks+`","durability":"os"}}`), testSchema)
		for i := range int64(3) {
			if err := p.writer.Write(rows(i, 1)); err != nil {
				t.Fatal(err)
			}
		}
		got, err := p.finish()
		if err != nil || len(got) != want || got[len(got)-1].Seq != 2 || got[0].Durability != "fsync" {
			t.Errorf("acks %s: %+v, %v", acks, got, err)
		}
	}
}

func TestARetryIsStoredOnce(t *testing.T) {
	s := startServer(t, nil)
	s.create(t, "e", "")
	send := func(metadata ...string) ([]ackJSON, error) {
		p := s.openPut(t.Context(), t, pathOf("e"), testSchema)
		for i, text := range metadata {
			if err := p.writer.WriteWithAppMetadata(rows(int64(i)*5, 5), []byte(text)); err != nil {
				break // the acknowledgements tell why
			}
		}
		return p.finish()
	}
	meta := []string{`{"producer":"p","epoch":1,"seq":0}`, `{"producer":"p","epoch":1,"seq":1}`}
	first, err := send(meta...)
	if err != nil {
		t.Fatal(err)
	}
	again, err := send(meta...)
	if err != nil || len(again) != 2 || !again[0].Duplicate || fmt.Sprint(again[1].Offsets) != fmt.Sprint(first[1].Offsets) {
		t.Errorf("the retry: %+v, %v", again, err)
	}
	for metadata, want := range map[string]string{
		`{"producer":"p","epoch":0,"seq":2}`: "PRODUCER_FENCED", `{"producer":"p","epoch":1,"seq":7}`: "SEQUENCE_GAP",
		`{"producer":"new","epoch":1,"seq":3}`: "SEQUENCE_EXPIRED", `{"seq":1}`: "BAD_REQUEST", `oops`: "BAD_REQUEST",
	} {
		if _, err := send(metadata); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "batch 0") {
			t.Errorf("%s: %v, want %s of batch 0", metadata, err, want)
		}
	}
	if got := ids(s.get(t, `{"scan":{"table":"e"}}`)); !isRange(got, 0, 10) {
		t.Errorf("rows %v", got)
	}
}

func TestAWrongSchemaStoresNothing(t *testing.T) {
	s := startServer(t, nil)
	s.create(t, "w", "")
	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.BinaryTypes.String}, {Name: "other", Type: arrow.PrimitiveTypes.Int8}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	b.Field(0).(*array.StringBuilder).Append("x")
	b.Field(1).(*array.Int8Builder).Append(1)
	_, err := s.putBy(t.Context(), t, `{"put":{"table":"w"}}`, b.NewRecordBatch())
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "SCHEMA_MISMATCH") ||
		!strings.Contains(err.Error(), "other") {
		t.Errorf("%v, want SCHEMA_MISMATCH that names the column", err)
	}
	if got := ids(s.get(t, `{"scan":{"table":"w"}}`)); len(got) != 0 {
		t.Errorf("rows %v", got)
	}
}

func TestPutsThatCannotBegin(t *testing.T) {
	s := startServer(t, nil)
	s.create(t, "t", "")
	for name, c := range map[string]struct {
		first *flight.FlightData
		code  codes.Code
		want  string
	}{
		"no message":    {nil, codes.InvalidArgument, "ended before its schema"},
		"nothing":       {&flight.FlightData{}, codes.InvalidArgument, "neither a descriptor nor a schema"},
		"no descriptor": {&flight.FlightData{DataHeader: []byte("12345678")}, codes.InvalidArgument, "neither a path nor a command"},
		"no table":      {&flight.FlightData{FlightDescriptor: pathOf("none"), DataHeader: []byte("x")}, codes.NotFound, "TABLE_NOT_FOUND"},
		"no schema":     {&flight.FlightData{FlightDescriptor: pathOf("t"), DataHeader: []byte("12345678")}, codes.InvalidArgument, "BAD_REQUEST"},
		"a long path":   {&flight.FlightData{FlightDescriptor: pathOf("a.b.c"), DataHeader: []byte("x")}, codes.InvalidArgument, "3 parts"},
		"a scan":        {&flight.FlightData{FlightDescriptor: commandOf(`{"scan":{"table":"t"}}`), DataHeader: []byte("x")}, codes.InvalidArgument, `"scan"`},
		"a lookup":      {&flight.FlightData{FlightDescriptor: commandOf(`{"lookup":{"table":"t"}}`), DataHeader: []byte("x")}, codes.InvalidArgument, `"lookup"`},
		"metadata":      {&flight.FlightData{FlightDescriptor: pathOf("t"), AppMetadata: make([]byte, 70000), DataHeader: []byte("x")}, codes.InvalidArgument, "app_metadata"},
	} {
		stream, err := s.client.DoPut(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if c.first != nil {
			if err := stream.Send(c.first); err != nil {
				t.Fatal(err)
			}
		}
		if err := stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if _, err = stream.Recv(); status.Code(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s %s", name, err, c.code, c.want)
		}
	}
}

// The descriptor may come in a message of its own.
func TestPutWithADescriptorMessage(t *testing.T) {
	s := startServer(t, nil)
	s.create(t, "d", "")
	p := s.openPut(t.Context(), t, nil, testSchema)
	if err := p.stream.Send(&flight.FlightData{FlightDescriptor: pathOf("d")}); err != nil {
		t.Fatal(err)
	}
	if err := p.writer.Write(rows(0, 3)); err != nil {
		t.Fatal(err)
	}
	if acks, err := p.finish(); err != nil || len(acks) != 1 || acks[0].Rows != 3 {
		t.Errorf("%+v, %v", acks, err)
	}
}

// A refused batch ends the stream behind the acknowledgements of those before it.
func TestARefusedBatchEndsThePut(t *testing.T) {
	s := startServer(t, nil)
	s.create(t, "r", "")
	p := s.openPut(t.Context(), t, pathOf("r"), testSchema)
	for i := range int64(3) {
		if err := p.writer.Write(rows(i*10, 10)); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.stream.Send(&flight.FlightData{DataHeader: []byte("this is no message"), DataBody: make([]byte, 64)}); err != nil {
		t.Fatal(err)
	}
	acks, err := p.finish()
	if len(acks) != 3 || !strings.Contains(fmt.Sprint(err), "batch 3: ") {
		t.Errorf("%d acknowledgements, %v, want 3 and an error of batch 3", len(acks), err)
	}
	if got := ids(s.get(t, `{"scan":{"table":"r"}}`)); !isRange(got, 0, 30) {
		t.Errorf("rows %v", got)
	}
}

func TestUnreadAcknowledgementsBlockNobody(t *testing.T) {
	s := startServer(t, nil)
	s.create(t, "u", "")
	p := s.openPut(t.Context(), t, pathOf("u"), testSchema)
	const batches = 20_000
	batch := rows(0, 1)
	for range batches {
		if err := p.writer.Write(batch); err != nil {
			t.Fatal(err)
		}
	}
	acks, err := p.finish() // the first look at them
	total := integer(0)
	for _, ack := range acks {
		total += ack.Rows
	}
	if err != nil || total != batches {
		t.Errorf("%d rows acknowledged, %v, want %d", total, err, batches)
	}
}

func TestPutStreamsAreBounded(t *testing.T) {
	s := startServer(t, func(o *Options) { o.PutStreams = 1 })
	s.create(t, "b", "")
	ctx, cancel := context.WithCancel(t.Context())
	first := s.openPut(ctx, t, pathOf("b"), testSchema)
	if err := first.writer.Write(rows(0, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := first.ack(); err != nil {
		t.Fatal(err)
	}
	second := s.openPut(t.Context(), t, pathOf("b"), testSchema)
	if _, err := second.ack(); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "OVERLOADED") {
		t.Errorf("second stream: %v, want OVERLOADED", err)
	}
	cancel()
	waitUntil(t, "the first stream has ended", func() bool { return len(s.service.puts) == 0 })
	s.put(t, "b", rows(1, 1))
}

// A put that nothing happens on does not hold up the end of the server.
func TestDrainEndsIdlePuts(t *testing.T) {
	s := startServer(t, nil)
	s.create(t, "i", "")
	p := s.openPut(t.Context(), t, pathOf("i"), testSchema)
	if err := p.writer.Write(rows(0, 1)); err != nil {
		t.Fatal(err)
	}
	if ack, err := p.ack(); err != nil || ack.Rows != 1 {
		t.Fatal(ack, err)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.ack(); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "DRAINING") {
		t.Errorf("%v, want DRAINING", err)
	}
}

func BenchmarkPutSmallBatches(b *testing.B) {
	s := startServer(b, nil)
	s.create(b, "t", `,"options":{"log.durability":"os"}`)
	p := s.openPut(context.Background(), b, pathOf("t"), testSchema)
	batch := rows(0, 1)
	go func() {
		for {
			if _, err := p.stream.Recv(); err != nil {
				return
			}
		}
	}()
	for b.Loop() {
		if err := p.writer.Write(batch); err != nil {
			b.Fatal(err)
		}
	}
	if err := p.stream.CloseSend(); err != nil {
		b.Fatal(err)
	}
}
