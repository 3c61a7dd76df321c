package flightsrv

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/engine"
	"github.com/headrace/headrace/internal/obs"
	"github.com/headrace/headrace/internal/vfs"
)

// testServer is a server over an engine of its own, in memory.
type testServer struct {
	*Server
	engine   *engine.Engine
	mappings *vfs.Mappings
	metrics  *obs.Metrics
	client   flight.Client
	stop     func() error // drains; the first call's result is Serve's
}

// startServer starts a server that ends with the test. change may change its options.
func startServer(t testing.TB, change func(*Options)) *testServer {
	t.Helper()
	return startServerWith(t, func(*engine.Options) {}, change)
}

// startServerWith is startServer with an engine whose options store changes.
func startServerWith(t testing.TB, store func(*engine.Options), change func(*Options)) *testServer {
	t.Helper()
	s := &testServer{mappings: vfs.NewMappings(), metrics: obs.NewMetrics("test")}
	stored := engine.Options{
		FS: vfs.NewMem(vfs.MemOptions{}), Mappings: s.mappings, Entropy: rand.Reader, GroupGap: time.Microsecond, SegmentBytes: 8 << 20,
	}
	store(&stored)
	var err error
	s.engine, err = engine.Open(context.Background(), stored)
	if err != nil {
		t.Fatal(err)
	}
	options := Options{Listen: "127.0.0.1:0", Mappings: s.mappings, Metrics: s.metrics, DrainTime: 5 * time.Second}
	if change != nil {
		change(&options)
	}
	if s.Server, err = New(s.engine, options); err != nil {
		s.engine.Close(context.Background())
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	stopped := false
	s.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		err := <-served
		return errors.Join(err, s.engine.Close(context.Background()))
	}
	s.client = s.dial(t, grpc.WithTransportCredentials(insecure.NewCredentials()))
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return s
}

func (s *testServer) dial(t testing.TB, options ...grpc.DialOption) flight.Client {
	t.Helper()
	client, err := flight.NewClientWithMiddleware(s.Addr().String(), nil, nil, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// action runs an action and gives its results as JSON texts.
func (s *testServer) action(ctx context.Context, name, body string) ([]string, error) {
	stream, err := s.client.DoAction(ctx, &flight.Action{Type: name, Body: []byte(body)})
	if err != nil {
		return nil, err
	}
	var results []string
	for {
		result, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return results, nil
		}
		if err != nil {
			return results, err
		}
		results = append(results, string(result.Body))
	}
}

// must runs an action that has to succeed.
func (s *testServer) must(t testing.TB, name, body string) string {
	t.Helper()
	results, err := s.action(t.Context(), name, body)
	if err != nil {
		t.Fatalf("%s %s: %v", name, body, err)
	}
	return strings.Join(results, "\n")
}

// testSchema has a number that identifies the row and a text that follows from it.
var testSchema = arrow.NewSchema([]arrow.Field{
	{Name: "id", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: "text", Type: arrow.BinaryTypes.String, Nullable: true},
}, nil)

// create makes a table of testSchema; more is added to the request.
func (s *testServer) create(t testing.TB, table, more string) {
	t.Helper()
	schema := base64.StdEncoding.EncodeToString(encapsulate(arrowipc.EncodeSchema(testSchema)))
	s.must(t, "CreateTable", fmt.Sprintf(`{"table":%q,"schema":%q%s}`, table, schema, more))
}

// rows makes a batch of the rows [from, from+n).
func rows(from, n int64) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, testSchema)
	defer b.Release()
	for id := from; id < from+n; id++ {
		b.Field(0).(*array.Int64Builder).Append(id)
		b.Field(1).(*array.StringBuilder).Append(fmt.Sprintf("row %d", id))
	}
	return b.NewRecordBatch()
}

func pathOf(table string) *flight.FlightDescriptor {
	return &flight.FlightDescriptor{Type: flight.DescriptorPATH, Path: strings.Split(table, ".")}
}

func commandOf(text string) *flight.FlightDescriptor {
	return &flight.FlightDescriptor{Type: flight.DescriptorCMD, Cmd: []byte(text)}
}

// putter is an open DoPut stream.
type putter struct {
	stream flight.FlightService_DoPutClient
	writer *flight.Writer
}

func (s *testServer) openPut(ctx context.Context, t testing.TB, descriptor *flight.FlightDescriptor, schema *arrow.Schema) *putter {
	t.Helper()
	stream, err := s.client.DoPut(ctx)
	if err != nil {
		t.Fatal(err)
	}
	p := &putter{stream: stream, writer: flight.NewRecordWriter(stream, ipc.WithSchema(schema))}
	p.writer.SetFlightDescriptor(descriptor)
	return p
}

// finish ends the stream and gives all acknowledgements.
func (p *putter) finish() ([]ackJSON, error) {
	// io.EOF: the stream has ended; the acknowledgements tell why.
	if err := p.writer.Close(); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if err := p.stream.CloseSend(); err != nil {
		return nil, err
	}
	var acks []ackJSON
	for {
		ack, err := p.ack()
		if errors.Is(err, io.EOF) {
			return acks, nil
		}
		if err != nil {
			return acks, err
		}
		acks = append(acks, ack)
	}
}

func (p *putter) ack() (ackJSON, error) {
	var ack ackJSON
	result, err := p.stream.Recv()
	if err != nil {
		return ack, err
	}
	return ack, decodeJSON(result.AppMetadata, "the acknowledgement", &ack)
}

// put sends batches in one stream.
func (s *testServer) put(t testing.TB, table string, batches ...arrow.RecordBatch) []ackJSON {
	t.Helper()
	p := s.openPut(t.Context(), t, pathOf(table), testSchema)
	for _, batch := range batches {
		if err := p.writer.Write(batch); err != nil {
			t.Fatal(err)
		}
	}
	acks, err := p.finish()
	if err != nil {
		t.Fatal(err)
	}
	return acks
}

// chunk is a batch as a client gets it.
type chunk struct {
	rows   int64
	ids    []int64
	fields []string
	meta   chunkMetadata
}

// chunkMetadata is the app_metadata of a batch.
type chunkMetadata struct {
	Bucket   integer    `json:"bucket"`
	Offset   integer    `json:"offset"`
	Rows     integer    `json:"rows"`
	Next     integer    `json:"next"`
	Time     *timeValue `json:"time"`
	End      string     `json:"end"`
	Position position   `json:"position"`
}

// follow calls see with each batch of a ticket, until it is false.
func (s *testServer) follow(ctx context.Context, ticket []byte, see func(chunk) bool) error {
	stream, err := s.client.DoGet(ctx, &flight.Ticket{Ticket: ticket})
	if err != nil {
		return err
	}
	reader, err := flight.NewRecordReader(stream)
	if err != nil {
		return err
	}
	defer reader.Release()
	for reader.Next() {
		c := chunk{rows: reader.RecordBatch().NumRows()}
		for i, field := range reader.Schema().Fields() {
			c.fields = append(c.fields, field.Name)
			if field.Name == "id" {
				c.ids = append(c.ids, reader.RecordBatch().Column(i).(*array.Int64).Int64Values()...)
			}
		}
		if err := decodeJSON(reader.LatestAppMetadata(), "the metadata", &c.meta); err != nil {
			return err
		}
		if !see(c) {
			return nil
		}
	}
	return reader.Err()
}

// get gives all batches of a scan.
func (s *testServer) get(t testing.TB, ticket string) []chunk {
	t.Helper()
	var chunks []chunk
	if err := s.follow(t.Context(), []byte(ticket), func(c chunk) bool {
		chunks = append(chunks, c)
		return true
	}); err != nil {
		t.Fatalf("%s: %v", ticket, err)
	}
	return chunks
}

// ids gives the ids of all chunks.
func ids(chunks []chunk) []int64 {
	var all []int64
	for _, c := range chunks {
		all = append(all, c.ids...)
	}
	return all
}

// isRange says that got are the numbers from to to, in order.
func isRange(got []int64, from, to int64) bool {
	if int64(len(got)) != to-from {
		return false
	}
	for i, id := range got {
		if id != from+int64(i) {
			return false
		}
	}
	return true
}

// parse reads JSON that the server sent.
func parse[T any](t testing.TB, text string) T {
	t.Helper()
	var value T
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return value
}

// metricValue gives the value of a counter or a gauge.
func metricValue(metric prometheus.Metric) float64 {
	var written dto.Metric
	if err := metric.Write(&written); err != nil {
		panic(err)
	}
	return written.GetCounter().GetValue() + written.GetGauge().GetValue()
}
