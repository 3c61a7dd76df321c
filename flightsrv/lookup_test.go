package flightsrv

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Each answer comes before the next keys are sent: nothing waits for more.
func TestLookupsAreAnsweredAtOnce(t *testing.T) {
	s := startServer(t, nil)
	s.createKeyed(t, "web.u", `,"buckets":2`)
	s.put(t, "web.u", texts("a", 1, 2, 3))
	x := s.openLookup(t.Context(), t, `{"lookup":{"table":"web.u","columns":["text"]}}`, keySchema)
	for i, c := range []struct {
		ids  []int64
		want []string
	}{
		{[]int64{3, 9, 1}, []string{"a", "(null)", "a"}}, {[]int64{2}, []string{"a"}}, {nil, nil}, {[]int64{1, 1}, []string{"a", "a"}},
	} {
		lines, meta, err := x.ask(keys(c.ids...))
		if err != nil || !slices.Equal(lines, c.want) || int(meta.Seq) != i || meta.Part != 0 || !meta.Last {
			t.Fatalf("answer %d: %q %+v %v, want %q", i, lines, meta, err, c.want)
		}
		if rows := meta.AsOf["0"] + meta.AsOf["1"]; len(c.ids) > 0 && (rows < 1 || rows > 3) {
			t.Errorf("as of %v, want 1 to 3 rows", meta.AsOf)
		}
	}
	s.put(t, "web.u", texts("b", 2))
	if lines, _, err := x.ask(keys(2)); err != nil || !slices.Equal(lines, []string{"b"}) {
		t.Errorf("after an update: %q, %v", lines, err)
	}
	if err := x.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := x.next(); !errors.Is(err, errStreamEnded) {
		t.Errorf("after the half-close: %v, want the end", err)
	}
}

// pyarrow sends the descriptor alone, and takes an answer to it for the schema.
func TestLookupWithADescriptorMessage(t *testing.T) {
	s := startServer(t, nil)
	s.createKeyed(t, "u", "")
	s.put(t, "u", texts("a", 1))
	stream, err := s.client.DoExchange(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&flight.FlightData{FlightDescriptor: commandOf(`{"lookup":{"table":"u"}}`)}); err != nil {
		t.Fatal(err)
	}
	x := &exchanger{stream: stream, writer: flight.NewRecordWriter(stream, ipc.WithSchema(keySchema))}
	schema, err := flight.DeserializeSchema(encapsulate(firstHeader(t, x)), memory.DefaultAllocator)
	if err != nil || schema.NumFields() != 2 || schema.Field(0).Name != "id" {
		t.Errorf("the first message: %v, %v, want the schema", schema, err)
	}
}

// firstHeader opens the stream with an empty batch, and gives the header of what comes first.
func firstHeader(t *testing.T, x *exchanger) []byte {
	t.Helper()
	if err := x.writer.Write(keys()); err != nil {
		t.Fatal(err)
	}
	first, err := x.stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	return first.DataHeader
}

func TestLookupForms(t *testing.T) {
	s := startServer(t, nil)
	s.createKeyed(t, "u", "")
	s.put(t, "u", texts("a", 1))
	schema := arrow.NewSchema([]arrow.Field{{Name: "url", Type: arrow.BinaryTypes.String}, keySchema.Field(0)}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	b.Field(0).(*array.StringBuilder).AppendValues([]string{"x", "y"}, nil)
	b.Field(1).(*array.Int64Builder).AppendValues([]int64{5, 1}, nil)
	batch := b.NewRecordBatch()
	for fields, want := range map[string]string{
		``:                                   "[id text] [(null) (null) 1 a]",
		`,"how":"left","columns":["text"]`:   "[text] [(null) a]",
		`,"how":"inner"`:                     "[id text] [1 a]",
		`,"columns":[],"found":"_found"`:     "[_found] [false true]",
		`,"columns":["text"],"carry":true`:   "[url id text] [x 5 (null) y 1 a]",
		`,"carry":true,"prefix":"u_"`:        "[url id u_id u_text] [x 5 (null) (null) y 1 1 a]",
		`,"by":["id"],"min_offsets":{"0":1}`: "[id text] [(null) (null) 1 a]",
	} {
		x := s.openLookup(t.Context(), t, `{"lookup":{"table":"u"`+fields+`}}`, schema)
		lines, _, err := x.ask(batch)
		if err != nil {
			t.Errorf("%s: %v", fields, err)
			continue
		}
		var names []string
		for _, f := range x.reader.Schema().Fields() {
			names = append(names, f.Name)
		}
		if got := fmt.Sprint(names, lines); got != want {
			t.Errorf("%s: %s, want %s", fields, got, want)
		}
	}
}

// A miss inserts a row and gives it back.
func TestGetOrInsert(t *testing.T) {
	s := startServer(t, nil)
	s.createKeyed(t, "u", "")
	s.put(t, "u", texts("a", 1))
	x := s.openLookup(t.Context(), t, `{"lookup":{"table":"u","insert_missing":true}}`, keySchema)
	if lines, _, err := x.ask(keys(1, 7, 7)); err != nil || !slices.Equal(lines, []string{"1 a", "7 (null)", "7 (null)"}) {
		t.Errorf("%q, %v", lines, err)
	}
	if lines, _, err := x.ask(keys(7)); err != nil || !slices.Equal(lines, []string{"7 (null)"}) {
		t.Errorf("again: %q, %v", lines, err)
	}
	if got := s.state(t, "u"); got != "1 a; 7 (null)" {
		t.Errorf("state %s", got)
	}
}

func TestLookupsThatCannotBegin(t *testing.T) {
	s := startServer(t, nil)
	s.create(t, "log", "")
	s.createKeyed(t, "u", "")
	schema := flight.SerializeSchema(keySchema, memory.DefaultAllocator)[8:]
	other := flight.SerializeSchema(arrow.NewSchema([]arrow.Field{{Name: "text", Type: arrow.BinaryTypes.String}}, nil), memory.DefaultAllocator)[8:]
	for name, c := range map[string]struct {
		descriptor *flight.FlightDescriptor
		header     []byte
		code       codes.Code
		want       string
	}{
		"no message":      {nil, nil, codes.InvalidArgument, "ended before its schema"},
		"only descriptor": {commandOf(`{"lookup":{"table":"u"}}`), nil, codes.InvalidArgument, "ended before its schema"},
		"no descriptor":   {nil, schema, codes.InvalidArgument, "neither a path nor a command"},
		"a path":          {pathOf("u"), schema, codes.InvalidArgument, "a path"},
		"a scan":          {commandOf(`{"scan":{"table":"u"}}`), schema, codes.InvalidArgument, `"scan"`},
		"a typing error":  {commandOf(`{"lookup":{"table":"u","colums":[]}}`), schema, codes.InvalidArgument, `"lookup.colums" is unknown`},
		"no table":        {commandOf(`{"lookup":{}}`), schema, codes.InvalidArgument, "no table"},
		"another table":   {commandOf(`{"lookup":{"table":"none"}}`), schema, codes.NotFound, "TABLE_NOT_FOUND"},
		"a log table":     {commandOf(`{"lookup":{"table":"log"}}`), schema, codes.InvalidArgument, "BAD_REQUEST"},
		"how":             {commandOf(`{"lookup":{"table":"u","how":"outer"}}`), schema, codes.InvalidArgument, "left, inner"},
		"a column":        {commandOf(`{"lookup":{"table":"u","columns":["nope"]}}`), schema, codes.InvalidArgument, "COLUMN_NOT_FOUND"},
		"a clash":         {commandOf(`{"lookup":{"table":"u","carry":true}}`), schema, codes.InvalidArgument, "prefix"},
		"keys":            {commandOf(`{"lookup":{"table":"u","keys":"AAAA"}}`), schema, codes.InvalidArgument, "tickets"},
		"no key column":   {commandOf(`{"lookup":{"table":"u"}}`), other, codes.InvalidArgument, "id"},
		"no schema":       {commandOf(`{"lookup":{"table":"u"}}`), []byte("12345678"), codes.InvalidArgument, "BAD_REQUEST"},
		"another id":      {commandOf(`{"lookup":{"table":"u","min_offsets":{"table_id":"x","offsets":{"0":1}}}}`), schema, codes.FailedPrecondition, "TABLE_REPLACED"},
	} {
		stream, err := s.client.DoExchange(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if c.descriptor != nil || c.header != nil {
			if err := stream.Send(&flight.FlightData{FlightDescriptor: c.descriptor, DataHeader: c.header}); err != nil {
				t.Fatal(err)
			}
		}
		if err := stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); status.Code(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s %s", name, err, c.code, c.want)
		}
	}
}

// What is wrong with a later message ends the stream, behind the answers before it.
func TestHostileKeys(t *testing.T) {
	s := startServer(t, nil)
	s.createKeyed(t, "u", "")
	s.put(t, "u", texts("a", 1))
	null := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64, Nullable: true}}, nil))
	null.Field(0).(*array.Int64Builder).AppendNull()
	schema := flight.SerializeSchema(keySchema, memory.DefaultAllocator)[8:]
	for name, c := range map[string]struct {
		message *flight.FlightData
		want    string
	}{
		"garbage":         {&flight.FlightData{DataHeader: []byte("this is no message"), DataBody: make([]byte, 64)}, "batch 1: "},
		"nothing":         {&flight.FlightData{}, "batch 1: the message has no record batch"},
		"metadata":        {&flight.FlightData{DataHeader: schema, AppMetadata: []byte(`{"seq":1}`)}, "batch 1: the batch of keys has app_metadata"},
		"a second schema": {&flight.FlightData{DataHeader: schema}, "batch 1: the stream has a second schema"},
	} {
		x := s.openLookup(t.Context(), t, `{"lookup":{"table":"u"}}`, keySchema)
		if lines, _, err := x.ask(keys(1)); err != nil || len(lines) != 1 {
			t.Fatal(lines, err)
		}
		if err := x.stream.Send(c.message); err != nil {
			t.Fatal(err)
		}
		if _, _, err := x.next(); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	// A null key is a key that nobody has, or a fault; the server lives either way.
	x := s.openLookup(t.Context(), t, `{"lookup":{"table":"u","columns":["text"]}}`, null.Schema())
	if lines, _, err := x.ask(null.NewRecordBatch()); err == nil && !slices.Equal(lines, []string{"(null)"}) {
		t.Errorf("a null key found %q", lines)
	}
	waitUntil(t, "all streams have ended", func() bool { return len(s.service.lookups) <= 1 })
}

// An answer beyond the largest message comes in parts.
func TestLargeAnswersComeInParts(t *testing.T) {
	s := startServer(t, nil)
	s.createKeyed(t, "u", "")
	s.put(t, "u", texts(strings.Repeat("x", 100_000), 0, 1, 2, 3))
	ids := make([]int64, 100) // 10 MB
	for i := range ids {
		ids[i] = int64(i % 4)
	}
	x := s.openLookup(t.Context(), t, `{"lookup":{"table":"u","columns":["text"]}}`, keySchema)
	if err := x.writer.Write(keys(ids...)); err != nil {
		t.Fatal(err)
	}
	rows, parts := 0, 0
	for {
		lines, meta, err := x.next()
		if err != nil || int(meta.Part) != parts || meta.Seq != 0 {
			t.Fatalf("part %d: %+v, %v", parts, meta, err)
		}
		rows += len(lines)
		parts++
		if meta.Last {
			break
		}
	}
	if rows != 100 || parts < 3 {
		t.Errorf("%d rows in %d parts", rows, parts)
	}
	if lines, meta, err := x.ask(keys(1)); err != nil || meta.Seq != 1 || meta.Part != 0 || len(lines) != 1 {
		t.Errorf("the next answer: %+v, %v", meta, err)
	}
}

// A client that never reads is held up by the windows, and costs no more than these.
func TestUnreadAnswersHoldUpTheirStreamAlone(t *testing.T) {
	s := startServer(t, nil)
	s.createKeyed(t, "u", "")
	s.put(t, "u", texts(strings.Repeat("x", 10_000), 1))
	ctx, cancel := context.WithCancel(t.Context())
	x := s.openLookup(ctx, t, `{"lookup":{"table":"u"}}`, keySchema)
	ids := make([]int64, 2_000)
	for i := range ids {
		ids[i] = 1
	}
	ended := make(chan int)
	go func() {
		batch, n := keys(ids...), 0 // 20 MB of answers a batch
		for x.writer.Write(batch) == nil {
			n++
		}
		ended <- n
	}()
	y := s.openLookup(t.Context(), t, `{"lookup":{"table":"u","columns":["id"]}}`, keySchema)
	for range 100 {
		if _, _, err := y.ask(keys(1)); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	// 16 KB of keys a batch: a window of 2 MB, and what lies between the two.
	if n := <-ended; n > 400 {
		t.Errorf("%d batches were taken without an answer being read", n)
	}
	waitUntil(t, "the stream has ended", func() bool { return len(s.service.lookups) == 1 })
}

func TestLookupStreamsAreBounded(t *testing.T) {
	s := startServer(t, func(o *Options) { o.LookupStreams = 1 })
	s.createKeyed(t, "u", "")
	ctx, cancel := context.WithCancel(t.Context())
	first := s.openLookup(ctx, t, `{"lookup":{"table":"u"}}`, keySchema)
	if _, _, err := first.ask(keys(1)); err != nil {
		t.Fatal(err)
	}
	second := s.openLookup(t.Context(), t, `{"lookup":{"table":"u"}}`, keySchema)
	if _, _, err := second.ask(keys(1)); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "OVERLOADED") {
		t.Errorf("second stream: %v, want OVERLOADED", err)
	}
	cancel()
	waitUntil(t, "the first stream has ended", func() bool { return len(s.service.lookups) == 0 })
}

// Lookups that nothing happens on do not hold up the end of the server.
func TestDrainEndsIdleLookups(t *testing.T) {
	s := startServer(t, func(o *Options) { o.DrainTime = time.Minute })
	s.createKeyed(t, "u", "")
	x := s.openLookup(t.Context(), t, `{"lookup":{"table":"u"}}`, keySchema)
	if _, _, err := x.ask(keys(1)); err != nil {
		t.Fatal(err)
	}
	silent, err := s.client.DoExchange(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "both streams are open", func() bool { return len(s.service.lookups) == 2 })
	began := time.Now()
	if err := s.stop(); err != nil || time.Since(began) > 30*time.Second {
		t.Fatal(err, time.Since(began))
	}
	if _, _, err := x.next(); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "DRAINING") {
		t.Errorf("%v, want DRAINING", err)
	}
	if _, err := silent.Recv(); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "DRAINING") {
		t.Errorf("a stream without a message: %v, want DRAINING", err)
	}
}

// keyStream gives an IPC stream of batches of keys in base64.
func keyStream(t testing.TB, batches ...arrow.RecordBatch) string {
	t.Helper()
	var out bytes.Buffer
	w := ipc.NewWriter(&out, ipc.WithSchema(keySchema))
	for _, batch := range batches {
		if err := w.Write(batch); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return base64.URLEncoding.EncodeToString(out.Bytes())
}

func TestLookupByTicket(t *testing.T) {
	s := startServer(t, nil)
	s.createKeyed(t, "u", "")
	s.put(t, "u", texts("a", 1, 2))
	good := keyStream(t, keys(2, 9), keys(1))
	if got := s.table(t, `{"lookup":{"table":"u","keys":"`+good+`"}}`); !slices.Equal(got, []string{"2 a", "(null) (null)", "1 a"}) {
		t.Errorf("%q", got)
	}
	if got := s.table(t, `{"lookup":{"table":"u","how":"inner","columns":["id"],"keys":"`+good+`"}}`); !slices.Equal(got, []string{"2", "1"}) {
		t.Errorf("%q", got)
	}
	for name, fields := range map[string]string{
		"no keys": ``, "not base64": `,"keys":"!"`, "too short": `,"keys":"AAAA"`, "cut": `,"keys":"` + good[:200] + `"`,
		"more behind": `,"keys":"` + good[:len(good)-4] + `AAAAAAAA"`, "empty stream": `,"keys":"_____wAAAAA="`,
	} {
		stream, err := s.client.DoGet(t.Context(), &flight.Ticket{Ticket: []byte(`{"lookup":{"table":"u"` + fields + `}}`)})
		for err == nil {
			_, err = stream.Recv()
		}
		if errors.Is(err, io.EOF) || status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v, want INVALID_ARGUMENT", name, err)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	s := startServer(b, nil)
	s.createKeyed(b, "u", "")
	all := make([]int64, 100_000)
	for i := range all {
		all[i] = int64(i)
	}
	s.put(b, "u", texts("a profile of about forty bytes of text..", all...))
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("%d keys", n), func(b *testing.B) {
			x := s.openLookup(context.Background(), b, `{"lookup":{"table":"u"}}`, keySchema)
			batch := keys(all[:n]...)
			b.SetBytes(int64(8 * n))
			for b.Loop() {
				if _, _, err := x.ask(batch); err != nil {
					b.Fatal(err)
				}
			}
			if err := x.stream.CloseSend(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
