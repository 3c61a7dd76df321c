package flightsrv

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func TestScansOverTheWire(t *testing.T) {
	s := startServer(t, nil)
	s.create(t, "t", "")
	s.put(t, "t", rows(0, 600), rows(600, 400))
	id := parse[struct{ ID string }](t, s.must(t, "DescribeTable", `{"table":"t"}`)).ID
	for _, c := range []struct {
		fields   string
		from, to int64
		end      string
	}{
		{``, 0, 1000, "complete"},
		{`,"from":{"offsets":{"0":10}},"to":{"offsets":{"0":20}}`, 10, 20, "complete"},
		{`,"from":{"table_id":"` + id + `","offsets":{"0":590}},"limit":20`, 590, 610, "limit"},
		{`,"limit":7`, 0, 7, "limit"},
		{`,"from":"latest"`, 0, 0, "complete"},
		{`,"compression":"none","max_message_bytes":65536`, 0, 1000, "complete"},
	} {
		chunks := s.get(t, `{"scan":{"table":"t"`+c.fields+`}}`)
		last := chunks[len(chunks)-1]
		if got := ids(chunks); !isRange(got, c.from, c.to) {
			t.Errorf("%s: %d rows", c.fields, len(got))
		}
		if last.rows != 0 || last.meta.End != c.end || last.meta.Position.TableID != id {
			t.Errorf("%s: last %+v", c.fields, last.meta)
		}
		next := int64(-1)
		for _, chunk := range chunks[:len(chunks)-1] {
			m := chunk.meta
			if int64(m.Rows) != chunk.rows || m.Next < m.Offset+m.Rows || next >= 0 && int64(m.Offset) != next || m.Bucket != 0 || m.Time == nil {
				t.Errorf("%s: %+v behind %d", c.fields, m, next)
			}
			next = int64(m.Next)
		}
		if next >= 0 && last.meta.Position.Offsets[0] != next {
			t.Errorf("%s: ends at %v, want %d", c.fields, last.meta.Position.Offsets, next)
		}
	}
}

func TestProjectionAndSystemColumns(t *testing.T) {
	s := startServer(t, nil)
	s.create(t, "t", "")
	s.put(t, "t", rows(0, 100))
	for fields, want := range map[string]string{
		`,"columns":["text","id"]`:                      "[text id]",
		`,"columns":["id"],"system_columns":true`:       "[id _bucket _offset _timestamp]",
		`,"columns":[],"system_columns":true,"limit":3`: "[_bucket _offset _timestamp]",
	} {
		if got := fmt.Sprint(s.get(t, `{"scan":{"table":"t"`+fields+`}}`)[0].fields); got != want {
			t.Errorf("%s: %s, want %s", fields, got, want)
		}
	}
	rowsSeen := int64(0)
	for _, chunk := range s.get(t, `{"scan":{"table":"t","columns":[]}}`) {
		rowsSeen += int64(chunk.meta.Rows)
	}
	if rowsSeen != 100 {
		t.Errorf("%d rows counted without columns, want 100", rowsSeen)
	}
}

func TestBadTicketsAreRefused(t *testing.T) {
	s := startServer(t, nil)
	s.create(t, "t", "")
	s.put(t, "t", rows(0, 10))
	for ticket, want := range map[string]codes.Code{
		``: codes.InvalidArgument, `{`: codes.InvalidArgument, `{"scan":{}}`: codes.InvalidArgument, "\x00\xff": codes.InvalidArgument,
		`{"scan":{"table":"none"}}`: codes.NotFound, `{"scan":{"table":"t","columns":["nope"]}}`: codes.InvalidArgument,
		`{"scan":{"table":"t","typo":1}}`: codes.InvalidArgument, `{"put":{"table":"t"}}`: codes.InvalidArgument,
		`{"scan":{"table":"t","from":{"0":11}}}`: codes.OutOfRange, `{"scan":{"table":"t","buckets":[1]}}`: codes.InvalidArgument,
		`{"scan":{"table":"t","from":{"table_id":"other","offsets":{}}}}`: codes.FailedPrecondition,
		`{"scan":{"table":"t","plan":"none"}}`:                            codes.Aborted, `{"scan":{"table":"t","filter":{"sql":"nope > 1"}}}`: codes.InvalidArgument,
	} {
		err := s.follow(t.Context(), []byte(ticket), func(chunk) bool { return true })
		if status.Code(err) != want || strings.Contains(strings.ToLower(err.Error()), "panic") {
			t.Errorf("%q: %v, want %s", ticket, err, want)
		}
	}
	if got := ids(s.get(t, `{"scan":{"table":"t"}}`)); len(got) != 10 {
		t.Errorf("%d rows", len(got))
	}
}

// The details of an error travel in a trailer.
func TestTheErrorTrailer(t *testing.T) {
	s := startServer(t, nil)
	s.create(t, "web.t", "")
	s.put(t, "web.t", rows(0, 10))
	s.must(t, "TruncateTable", `{"table":"web.t"}`)
	var trailer metadata.MD
	stream, err := s.client.DoGet(t.Context(), &flight.Ticket{Ticket: []byte(`{"scan":{"table":"web.t","from":{"0":5}}}`)}, grpc.Trailer(&trailer))
	if err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	if status.Code(err) != codes.OutOfRange || !strings.Contains(err.Error(), "OFFSET_TRIMMED: ") {
		t.Fatalf("%v, want OFFSET_TRIMMED", err)
	}
	got := parse[struct {
		Reason    string
		Retriable *bool
		Table     string
		Bucket    *int
		Earliest  int
	}](t, strings.Join(trailer.Get(errorTrailer), ""))
	if got.Reason != "OFFSET_TRIMMED" || got.Retriable == nil || *got.Retriable || got.Table != "web.t" || got.Bucket == nil || got.Earliest != 10 {
		t.Errorf("trailer %+v", got)
	}
	if len(status.Convert(err).Details()) == 0 {
		t.Error("no details in the status")
	}
	if _, err := s.action(t.Context(), "DescribeTable", `{"table":"none"}`); !strings.Contains(err.Error(), "TABLE_NOT_FOUND") {
		t.Error(err)
	}
}

func TestAFollowerSeesNewRowsAndTheDrain(t *testing.T) {
	s := startServer(t, nil)
	s.create(t, "f", "")
	s.put(t, "f", rows(0, 10))
	seen := make(chan []int64, 100)
	ended := make(chan error, 1)
	var end chunkMetadata
	go func() {
		ended <- s.follow(context.Background(), []byte(`{"scan":{"table":"f","to":"never"}}`), func(c chunk) bool {
			seen <- c.ids
			end = c.meta
			return true
		})
	}()
	var got []int64
	collect := func(n int) {
		for len(got) < n {
			select {
			case ids := <-seen:
				got = append(got, ids...)
			case <-time.After(20 * time.Second):
				t.Fatalf("%d rows seen, want %d", len(got), n)
			}
		}
	}
	collect(10)
	for i := range int64(3) {
		s.put(t, "f", rows(10+i*10, 10))
		collect(int(20 + i*10))
	}
	if !isRange(got, 0, 40) {
		t.Errorf("rows %v", got)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil || end.End != "draining" || end.Position.Offsets[0] != 40 {
		t.Errorf("%v, end %+v", err, end)
	}
}

// The schema comes before any row is there.
func TestTheSchemaGoesOutBeforeAWait(t *testing.T) {
	s := startServer(t, nil)
	s.create(t, "f", "")
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := s.client.DoGet(ctx, &flight.Ticket{Ticket: []byte(`{"scan":{"table":"f","to":"never"}}`)})
	if err != nil {
		t.Fatal(err)
	}
	reader, err := flight.NewRecordReader(stream)
	if err != nil || !reader.Schema().Equal(testSchema) {
		t.Fatalf("%v, %v", reader, err)
	}
	reader.Release()
	open := func() float64 { return metricValue(s.metrics.RPCsOpen.WithLabelValues("DoGet")) }
	if open() != 1 {
		t.Errorf("%v reads are open, want 1", open())
	}
	cancel()
	waitUntil(t, "the cancelled read has ended", func() bool { return open() == 0 })
}

// fillTable writes about megabytes MB into a table.
func fillTable(t testing.TB, s *testServer, table string, megabytes int) {
	batch := rows(0, 50_000) // about 1 MB
	batches := make([]arrow.RecordBatch, megabytes)
	for i := range batches {
		batches[i] = batch
	}
	s.put(t, table, batches...)
}

// A reader that has stopped reading costs one stream's buffers, holds up nobody, and leaves nothing
// behind when its connection dies.
func TestAStuckReader(t *testing.T) {
	s := startServer(t, nil)
	s.create(t, "t", "")
	fillTable(t, s, "t", 24)
	stuck := s.dial(t, grpc.WithTransportCredentials(insecure.NewCredentials()))
	stream, err := stuck.DoGet(t.Context(), &flight.Ticket{Ticket: []byte(`{"scan":{"table":"t"}}`)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the server has sent what the window allows", func() bool {
		return metricValue(s.metrics.GetBatches) >= 1
	})
	s.create(t, "other", "")
	if acks := s.put(t, "other", rows(0, 10)); len(acks) != 1 {
		t.Errorf("%d acknowledgements beside a stuck reader", len(acks))
	}
	if got := ids(s.get(t, `{"scan":{"table":"t","limit":5}}`)); len(got) != 5 {
		t.Errorf("%d rows beside a stuck reader", len(got))
	}
	if sent := metricValue(s.metrics.GetBytes); sent > 16<<20 {
		t.Errorf("%v bytes were queued for readers that took none", sent)
	}
	s.must(t, "DropTable", `{"table":"t"}`)
	if s.mappings.Len() == 0 {
		t.Error("segments were unmapped while a message on its way needs their bytes")
	}
	stuck.Close()
	waitUntil(t, "the read has ended", func() bool {
		return metricValue(s.metrics.RPCsOpen.WithLabelValues("DoGet")) == 0
	})
	waitUntil(t, "the dropped segments are unmapped", func() bool { return s.mappings.Len() == 0 })
}

func TestFlightInfoFreezesTheScan(t *testing.T) {
	s := startServer(t, nil)
	s.create(t, "b", `,"buckets":4,"bucket_key":["id"]`)
	s.put(t, "b", rows(0, 4000))
	info, err := s.client.GetFlightInfo(t.Context(), pathOf("default.b"))
	if err != nil {
		t.Fatal(err)
	}
	schema, err := flight.DeserializeSchema(info.Schema, nil)
	if err != nil || !schema.Equal(testSchema) {
		t.Errorf("schema %v, %v", schema, err)
	}
	if len(info.Endpoint) != 4 || info.TotalRecords != 4000 || info.Ordered {
		t.Errorf("%d endpoints, %d records, ordered %v", len(info.Endpoint), info.TotalRecords, info.Ordered)
	}
	meta := parse[struct {
		Plan     string
		TableID  string `json:"table_id"`
		Position struct{ Offsets map[string]int64 }
		Expires  time.Time
	}](t, string(info.AppMetadata))
	if meta.Plan == "" || meta.TableID == "" || len(meta.Position.Offsets) != 4 || !meta.Expires.After(time.Now()) {
		t.Errorf("metadata %s", info.AppMetadata)
	}
	s.put(t, "b", rows(4000, 1000)) // not part of the plan
	var got []int64
	for _, endpoint := range info.Endpoint {
		if endpoint.ExpirationTime == nil || len(endpoint.Location) != 0 || len(endpoint.AppMetadata) == 0 {
			t.Errorf("endpoint %v", endpoint)
		}
		got = append(got, ids(s.get(t, string(endpoint.Ticket.Ticket)))...)
	}
	slices.Sort(got)
	if !isRange(got, 0, 4000) {
		t.Errorf("%d rows, want 4000", len(got))
	}
}

func TestPlansAreRenewedAndCancelled(t *testing.T) {
	s := startServer(t, nil)
	s.create(t, "p", "")
	s.put(t, "p", rows(0, 10))
	info, err := s.client.GetFlightInfo(t.Context(), commandOf(`{"scan":{"table":"p","columns":["id"],"limit":3}}`))
	if err != nil {
		t.Fatal(err)
	}
	if len(info.Endpoint) != 1 || info.TotalRecords != 3 {
		t.Errorf("%d endpoints, %d records", len(info.Endpoint), info.TotalRecords)
	}
	if plans := s.must(t, "ListPlans", `{}`); !strings.Contains(plans, `"table":"default.p"`) {
		t.Errorf("plans %s", plans)
	}
	renewed, err := s.client.RenewFlightEndpoint(t.Context(), &flight.RenewFlightEndpointRequest{Endpoint: info.Endpoint[0]})
	if err != nil || renewed.ExpirationTime.AsTime().Before(info.Endpoint[0].ExpirationTime.AsTime()) {
		t.Errorf("renewed %v, %v", renewed, err)
	}
	if got := ids(s.get(t, string(renewed.Ticket.Ticket))); !isRange(got, 0, 3) {
		t.Errorf("rows %v", got)
	}
	cancelled, err := s.client.CancelFlightInfo(t.Context(), &flight.CancelFlightInfoRequest{Info: info})
	if err != nil || cancelled.Status.String() != "CANCEL_STATUS_CANCELLED" {
		t.Errorf("cancelled %v, %v", cancelled, err)
	}
	if plans := s.must(t, "ListPlans", ``); plans != `{"plans":[]}` {
		t.Errorf("plans %s", plans)
	}
	err = s.follow(t.Context(), info.Endpoint[0].Ticket.Ticket, func(chunk) bool { return true })
	if status.Code(err) != codes.Aborted || !strings.Contains(err.Error(), "PLAN_EXPIRED") {
		t.Errorf("a ticket of a cancelled plan: %v", err)
	}
}

func TestGetSchemaAndListFlights(t *testing.T) {
	s := startServer(t, nil)
	for _, table := range []string{"web.a", "web.b", "c"} {
		s.create(t, table, "")
	}
	s.put(t, "web.a", rows(0, 10))
	result, err := s.client.GetSchema(t.Context(), commandOf(`{"scan":{"table":"web.a","columns":["text"]}}`))
	if err != nil {
		t.Fatal(err)
	}
	if schema, err := flight.DeserializeSchema(result.Schema, nil); err != nil || schema.NumFields() != 1 || schema.Field(0).Name != "text" {
		t.Errorf("schema %v, %v", schema, err)
	}
	if plans := s.must(t, "ListPlans", `{}`); plans != `{"plans":[]}` {
		t.Errorf("GetSchema leaves a plan behind: %s", plans)
	}
	for pattern, want := range map[string]string{"web.*": "web/a:10 web/b:0", "": "default/c:0 web/a:10 web/b:0", "none.*": ""} {
		stream, err := s.client.ListFlights(t.Context(), &flight.Criteria{Expression: []byte(pattern)})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for {
			info, err := stream.Recv()
			if err != nil {
				break
			}
			got = append(got, fmt.Sprintf("%s:%d", strings.Join(info.FlightDescriptor.Path, "/"), info.TotalRecords))
		}
		slices.Sort(got)
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %s, want %s", pattern, got, want)
		}
	}
}

func TestCancellingIsNoServerError(t *testing.T) {
	s := startServer(t, nil)
	s.create(t, "t", "")
	fillTable(t, s, "t", 8)
	ctx, cancel := context.WithCancel(t.Context())
	err := s.follow(ctx, []byte(`{"scan":{"table":"t"}}`), func(chunk) bool {
		cancel()
		return true
	})
	if !errors.Is(err, context.Canceled) && status.Code(err) != codes.Canceled {
		t.Errorf("%v, want a cancelled call", err)
	}
	waitUntil(t, "the call was counted as cancelled", func() bool {
		return metricValue(s.metrics.RPCs.WithLabelValues("DoGet", "Canceled")) == 1
	})
}

func BenchmarkGet(b *testing.B) {
	s := startServer(b, nil)
	s.create(b, "t", "")
	fillTable(b, s, "t", 16)
	b.SetBytes(16 << 20)
	for b.Loop() {
		stream, err := s.client.DoGet(context.Background(), &flight.Ticket{Ticket: []byte(`{"scan":{"table":"t"}}`)}, grpc.MaxCallRecvMsgSize(64<<20))
		if err != nil {
			b.Fatal(err)
		}
		for {
			if _, err := stream.Recv(); err != nil {
				break
			}
		}
	}
}
