package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"
)

const batchRows = 1000

func durationOf(i int) time.Duration { return time.Duration(i) }

// relay is a server of one table in memory that merges the acknowledgements of every three batches.
type relay struct {
	flight.BaseFlightServer
	schema *arrow.Schema

	mu     sync.Mutex
	rows   int
	ids    chan int64 // of rows put, for followers
	refuse int        // refuse the batch with this number, counted from 1
	// missing rows of each answer to a lookup.
	missing int
	swap    bool // give followers the first two rows the wrong way round
}

func (r *relay) DoPut(stream flight.FlightService_DoPutServer) error {
	reader, err := flight.NewRecordReader(stream)
	if err != nil {
		return err
	}
	defer reader.Release()
	waiting := 0
	acknowledge := func() error {
		text := fmt.Sprintf(`{"seq":1,"batches":%d}`, waiting)
		waiting = 0
		return stream.Send(&flight.PutResult{AppMetadata: []byte(text)})
	}
	for count := 1; reader.Next(); count++ {
		if count == r.refuse {
			return errors.New("BAD_REQUEST: refused")
		}
		batch := reader.RecordBatch()
		r.mu.Lock()
		r.rows += int(batch.NumRows())
		r.mu.Unlock()
		if r.ids != nil {
			for _, id := range batch.Column(0).(*array.Int64).Int64Values() {
				r.ids <- id
			}
		}
		if waiting++; waiting == 3 || r.ids != nil {
			if err := acknowledge(); err != nil {
				return err
			}
		}
	}
	if waiting > 0 {
		return acknowledge()
	}
	return reader.Err()
}

func (r *relay) DoGet(ticket *flight.Ticket, stream flight.FlightService_DoGetServer) error {
	writer := flight.NewRecordWriter(stream, ipc.WithSchema(r.schema))
	defer writer.Close()
	if r.ids == nil {
		batch := rowsOf(r.schema, 0, batchRows)
		defer batch.Release()
		for stream.Context().Err() == nil {
			if err := writer.Write(batch); err != nil {
				return err
			}
		}
		return nil
	}
	empty := rowsOf(r.schema, 0, 0)
	defer empty.Release()
	if err := writer.Write(empty); err != nil { // makes the schema go out
		return err
	}
	for number := int64(0); ; number++ {
		select {
		case id := <-r.ids:
			if r.swap && id < 2 {
				id = 1 - id
			}
			batch := rowsOf(r.schema, id, 1)
			err := writer.Write(batch)
			batch.Release()
			if err != nil {
				return err
			}
		case <-stream.Context().Done():
			return nil
		}
	}
}

func rowsOf(schema *arrow.Schema, start int64, count int) arrow.RecordBatch {
	builder := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer builder.Release()
	for i := range count {
		builder.Field(0).(*array.Int64Builder).Append(start + int64(i))
		builder.Field(1).(*array.StringBuilder).Append(fmt.Sprint("row ", i))
	}
	return builder.NewRecordBatch()
}

// serve starts the relay and writes a workload; it gives the settings of a client of it.
func serve(t *testing.T, r *relay) settings {
	t.Helper()
	r.schema = arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64}, {Name: "text", Type: arrow.BinaryTypes.String}}, nil)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	flight.RegisterFlightServiceServer(server, r)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(t.TempDir(), "rows.arrow")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	writer, err := ipc.NewFileWriter(file, ipc.WithSchema(r.schema))
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(3) {
		batch := rowsOf(r.schema, i*batchRows, batchRows)
		if err := writer.Write(batch); err != nil {
			t.Fatal(err)
		}
		batch.Release()
	}
	if err := errors.Join(writer.Close(), file.Close()); err != nil && !errors.Is(err, os.ErrClosed) {
		t.Fatal(err)
	}
	return settings{
		server: listener.Addr().String(), workload: path, table: "t", client: "raw", acks: "batch", rowsPerBatch: 100, batches: 101,
		producers: 3, window: 8, distinct: 20, rate: 500, clients: 2, seconds: 0.5, interval: 10 * time.Millisecond, rows: 1000,
	}
}

func TestPutSendsEveryBatchOnce(t *testing.T) {
	for _, client := range []string{"raw", "arrow"} {
		var r relay
		s := serve(t, &r)
		s.client = client
		got, err := put(t.Context(), s)
		if err != nil {
			t.Fatalf("%s: %v", client, err)
		}
		result := got.(putResult)
		if r.rows != 10_100 || result.Rows != 10_100 || result.Acks != 12+12+11 {
			t.Errorf("%s: the server has %d rows, result %+v", client, r.rows, result)
		}
	}
}

func TestPutGivesEachBatchOneKey(t *testing.T) {
	r := relay{ids: make(chan int64, 2000)}
	s := serve(t, &r)
	s.key, s.producers, s.batches, s.distinct = "id", 2, 20, 10
	if _, err := put(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	rows := map[int64]int{}
	for range 2000 {
		rows[<-r.ids]++
	}
	for key := range int64(20) {
		if rows[key] != 100 {
			t.Errorf("%d rows with key %d, want 100", rows[key], key)
		}
	}
	s.key = "text"
	if _, err := put(t.Context(), s); err == nil || !strings.Contains(err.Error(), `no int64 column "text"`) {
		t.Errorf("a key of strings: %v", err)
	}
}

func TestPutEndsWithTheServersError(t *testing.T) {
	s := serve(t, &relay{refuse: 5})
	s.window = 4
	_, err := put(t.Context(), s)
	if err == nil || !strings.Contains(err.Error(), "BAD_REQUEST: refused") {
		t.Fatalf("%v", err)
	}
}

func TestFreshnessSeesEveryRow(t *testing.T) {
	s := serve(t, &relay{ids: make(chan int64, 1000)})
	got, err := freshness(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	result := got.(freshnessResult)
	if result.Rows != 250 || result.Fresh.P50 <= 0 || result.Scheduled.P50 < result.Fresh.P50 || result.Fresh.P99 > result.Fresh.Max {
		t.Errorf("%+v", result)
	}
}

func TestFreshnessNoticesReorderedRows(t *testing.T) {
	s := serve(t, &relay{ids: make(chan int64, 1000), swap: true})
	_, err := freshness(t.Context(), s)
	if err == nil || !strings.Contains(err.Error(), "received row 1, want row 0") {
		t.Fatalf("%v", err)
	}
}

func TestSlowReadsOneBatchAnInterval(t *testing.T) {
	s := serve(t, &relay{})
	got, err := slow(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	result := got.(slowResult)
	for client, batches := range result.Batches {
		if batches < 1 || batches > 60 {
			t.Errorf("client %d read %d batches in 0.5 s at one each 10 ms", client, batches)
		}
	}
	if result.Bytes == 0 {
		t.Error("no bytes")
	}
}

func TestRunSaysWhatIsWrong(t *testing.T) {
	for _, c := range []struct{ arguments, want string }{
		{"", "no command; give put, freshness, slow, lookup or redis"},
		{"push", `no command "push"; give put, freshness, slow, lookup or redis`},
		{"put -window=0 -client=c", "load put: -window is 0, want at least 1\n-client is \"c\", want raw or arrow"},
		{"slow -seconds=0", "load slow: -seconds and -interval must be above zero"},
	} {
		_, err := run(context.Background(), strings.Fields(c.arguments), io.Discard)
		if err == nil || err.Error() != c.want {
			t.Errorf("%q: %v, want %s", c.arguments, err, c.want)
		}
	}
}
