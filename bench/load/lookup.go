package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"
)

// keySeed makes the keys that are asked for the same in each run.
const keySeed = 42

// lookupResult is what the commands lookup and redis print.
type lookupResult struct {
	Keys      int64     `json:"keys"`
	Batches   int       `json:"batches"`
	Bytes     int64     `json:"bytes"` // of all answers
	Latency   latencies `json:"latency"`
	Seconds   float64   `json:"seconds"`
	ClientCPU float64   `json:"client_cpu"`
}

func (p pipelined) result(keysPerRequest int) lookupResult {
	return lookupResult{
		Keys: int64(p.requests) * int64(keysPerRequest), Batches: p.requests, Bytes: p.bytes,
		Latency: p.latency, Seconds: p.seconds, ClientCPU: p.clientCPU,
	}
}

// lookup asks for random keys of 0 … keys-1 over one stream, for a time.
func lookup(ctx context.Context, s settings) (any, error) {
	if s.key == "" {
		return nil, errors.New("lookup: give -key, the int64 key column of the table")
	}
	connection, err := connect(s.server)
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	x, err := openLookup(ctx, connection, s)
	if err != nil {
		return nil, err
	}
	done, err := runPipeline(ctx, x, limits{window: s.window, seconds: s.seconds})
	return done.result(s.rowsPerBatch), err
}

func openLookup(ctx context.Context, connection *grpc.ClientConn, s settings) (exchange, error) {
	command, err := json.Marshal(map[string]any{"lookup": map[string]string{"table": s.table}})
	if err != nil {
		return nil, fmt.Errorf("encoding the command: %w", err)
	}
	descriptor := &flight.FlightDescriptor{Type: flight.DescriptorCMD, Cmd: command}
	schema := arrow.NewSchema([]arrow.Field{{Name: s.key, Type: arrow.PrimitiveTypes.Int64}}, nil)
	batches := keyBatches(schema, s)
	if s.client == "arrow" {
		return openArrowLookup(ctx, connection, descriptor, batches)
	}
	messages, err := encode(schema, descriptor, batches)
	release(batches)
	if err != nil {
		return nil, err
	}
	return openRawLookup(ctx, connection, messages)
}

// keyBatches draws the distinct batches of keys.
func keyBatches(schema *arrow.Schema, s settings) []arrow.RecordBatch {
	random := rand.New(rand.NewPCG(keySeed, uint64(s.rowsPerBatch)))
	builder := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer builder.Release()
	all := make([]arrow.RecordBatch, s.distinct)
	for i := range all {
		keys := builder.Field(0).(*array.Int64Builder)
		for range s.rowsPerBatch {
			keys.Append(random.Int64N(s.rows))
		}
		all[i] = builder.NewRecordBatch()
	}
	return all
}

// rawLookup sends encoded batches of keys, round and round, and reads only the metadata of answers.
type rawLookup struct {
	stream   grpc.ClientStream
	messages []encoded
	part     part // reused
}

func openRawLookup(ctx context.Context, connection *grpc.ClientConn, messages []encoded) (*rawLookup, error) {
	description := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	stream, err := connection.NewStream(ctx, description, methodDoExchange, grpc.ForceCodecV2(passThrough{}))
	if err != nil {
		return nil, fmt.Errorf("opening DoExchange: %w", err)
	}
	if err := stream.SendMsg(messages[0]); err != nil {
		return nil, fmt.Errorf("sending the schema of the keys: %w", err)
	}
	var schema ignored
	if err := stream.RecvMsg(&schema); err != nil {
		return nil, fmt.Errorf("receiving the schema of the answers: %w", err)
	}
	return &rawLookup{stream: stream, messages: messages[1:]}, nil
}

func (r *rawLookup) send(number int) error {
	return r.stream.SendMsg(r.messages[number%len(r.messages)])
}

func (r *rawLookup) receive() (int, error) {
	for total := 0; ; {
		if err := r.stream.RecvMsg(&r.part); err != nil {
			return 0, err
		}
		total += r.part.bytes
		if r.part.last {
			return total, nil
		}
	}
}

func (r *rawLookup) closeSend() error { return r.stream.CloseSend() }

// arrowLookup is arrow-go's own client. It decodes answers, and notices keys that were not found.
type arrowLookup struct {
	stream  flight.FlightService_DoExchangeClient
	writer  *flight.Writer
	reader  *flight.Reader
	batches []arrow.RecordBatch
}

func openArrowLookup(
	ctx context.Context, connection *grpc.ClientConn, descriptor *flight.FlightDescriptor, batches []arrow.RecordBatch,
) (*arrowLookup, error) {
	stream, err := flight.NewClientFromConn(connection, nil).DoExchange(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening DoExchange: %w", err)
	}
	writer := flight.NewRecordWriter(stream, ipc.WithSchema(batches[0].Schema()))
	writer.SetFlightDescriptor(descriptor)
	a := &arrowLookup{stream: stream, writer: writer, batches: batches}
	// The schema of the keys goes out with a first batch only, and its answer comes behind a schema.
	empty := batches[0].NewSlice(0, 0)
	defer empty.Release()
	if err := writer.Write(empty); err != nil {
		return nil, fmt.Errorf("sending the schema of the keys: %w", err)
	}
	if a.reader, err = flight.NewRecordReader(stream); err != nil {
		return nil, fmt.Errorf("receiving the schema of the answers: %w", err)
	}
	if _, err := a.next(0); err != nil {
		return nil, fmt.Errorf("receiving the answer of no keys: %w", err)
	}
	return a, nil
}

func (a *arrowLookup) send(number int) error {
	return a.writer.Write(a.batches[number%len(a.batches)])
}

func (a *arrowLookup) receive() (int, error) { return a.next(a.batches[0].NumRows()) }

// next decodes an answer that must have so many rows without a null.
func (a *arrowLookup) next(rows int64) (size int, err error) {
	for got := int64(0); a.reader.Next(); {
		batch := a.reader.RecordBatch()
		got += batch.NumRows()
		for i, column := range batch.Columns() {
			if column.NullN() > 0 {
				return 0, fmt.Errorf("column %q has %d nulls in %d rows: keys were not found", batch.ColumnName(i), column.NullN(), batch.NumRows())
			}
			for _, buffer := range column.Data().Buffers() {
				if buffer != nil {
					size += buffer.Len()
				}
			}
		}
		if !bytes.Contains(a.reader.LatestAppMetadata(), lastPart) {
			continue
		}
		if got != rows {
			return 0, fmt.Errorf("%d rows answer %d keys", got, rows)
		}
		return size, nil
	}
	return 0, reasonOf(a.reader.Err())
}

func (a *arrowLookup) closeSend() error { return a.stream.CloseSend() }
