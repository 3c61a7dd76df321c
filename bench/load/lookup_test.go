package main

import (
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
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// DoExchange answers each key with a row, but for those that are missing, in two parts. It
// refuses a batch as DoPut does.
func (r *relay) DoExchange(stream flight.FlightService_DoExchangeServer) error {
	reader, err := flight.NewRecordReader(stream)
	if err != nil {
		return err
	}
	defer reader.Release()
	writer := flight.NewRecordWriter(stream, ipc.WithSchema(r.schema))
	defer writer.Close()
	empty := rowsOf(r.schema, 0, 0)
	defer empty.Release()
	answered := false // the schema of the answers goes out with the first part
	for count := 1; reader.Next(); count++ {
		if count == r.refuse {
			return errors.New("BAD_REQUEST: refused")
		}
		keys := reader.RecordBatch().Column(0).(*array.Int64)
		batch := rowsOf(r.schema, 0, keys.Len())
		if r.missing > 0 && keys.Len() > 0 {
			batch.Release()
			batch = rowsOf(r.schema, 0, keys.Len()-r.missing)
		}
		r.mu.Lock()
		r.rows += keys.Len()
		r.mu.Unlock()
		half := batch.NumRows() / 2
		for number, part := range []arrow.RecordBatch{batch.NewSlice(0, half), batch.NewSlice(half, batch.NumRows())} {
			text := fmt.Sprintf(`{"seq":%d,"part":%d,"last":%v,"as_of":{"0":1}}`, count, number, number == 1)
			if err := writer.WriteWithAppMetadata(part, []byte(text)); err != nil {
				return err
			}
			part.Release()
		}
		batch.Release()
		answered = true
	}
	if !answered {
		return writer.Write(empty)
	}
	return reader.Err()
}

func lookupSettings(t *testing.T, r *relay) settings {
	s := serve(t, r)
	s.key, s.client, s.rowsPerBatch, s.seconds, s.distinct = "id", "arrow", 50, 0.2, 10
	return s
}

func TestLookupCountsEveryAnswer(t *testing.T) {
	for _, window := range []int{1, 8} {
		var r relay
		s := lookupSettings(t, &r)
		s.window = window
		got, err := lookup(t.Context(), s)
		if err != nil {
			t.Fatalf("window %d: %v", window, err)
		}
		result := got.(lookupResult)
		if result.Batches == 0 || result.Keys != int64(result.Batches)*50 || int64(r.rows) != result.Keys {
			t.Errorf("window %d: the server got %d keys, result %+v", window, r.rows, result)
		}
		if result.Latency.P50 <= 0 || result.Bytes < result.Keys*8 {
			t.Errorf("window %d: %+v", window, result)
		}
	}
}

func TestLookupNoticesMissingRows(t *testing.T) {
	for _, window := range []int{1, 8} {
		s := lookupSettings(t, &relay{missing: 1})
		s.window = window
		if _, err := lookup(t.Context(), s); err == nil || !strings.Contains(err.Error(), "49 rows answer 50 keys") {
			t.Errorf("window %d: %v", window, err)
		}
	}
}

func TestLookupEndsWithTheServersError(t *testing.T) {
	for _, window := range []int{1, 8} {
		s := lookupSettings(t, &relay{refuse: 5})
		s.window = window
		if _, err := lookup(t.Context(), s); err == nil || !strings.Contains(err.Error(), "BAD_REQUEST: refused") {
			t.Errorf("window %d: %v", window, err)
		}
	}
}

func TestKeyBatchesRepeat(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64}}, nil)
	s := settings{rowsPerBatch: 100, distinct: 3, rows: 7}
	first, second := keyBatches(schema, s), keyBatches(schema, s)
	for i := range first {
		if !array.RecordEqual(first[i], second[i]) {
			t.Errorf("batch %d differs", i)
		}
		for _, key := range first[i].Column(0).(*array.Int64).Int64Values() {
			if key < 0 || key >= 7 {
				t.Fatalf("key %d, want 0 to 6", key)
			}
		}
	}
}

func TestPartIsRead(t *testing.T) {
	front := protowire.AppendTag(nil, 2, protowire.BytesType)
	front = protowire.AppendBytes(front, []byte("header"))
	for _, last := range []bool{true, false} {
		message := protowire.AppendTag(append([]byte(nil), front...), 3, protowire.BytesType)
		message = protowire.AppendBytes(message, fmt.Appendf(nil, `{"seq":1,"part":0,"last":%v}`, last))
		told := len(message)
		message = protowire.AppendTag(message, fieldBody, protowire.BytesType)
		message = protowire.AppendBytes(message, []byte(strings.Repeat(`"last":true`, partFrontMax)))
		var p part
		halves := mem.BufferSlice{mem.SliceBuffer(message[:9]), mem.SliceBuffer(message[9:])}
		if err := (passThrough{}).Unmarshal(halves, &p); err != nil || p.last != last || p.bytes != len(message) {
			t.Errorf("last %v of %d bytes, %v; want %v of %d", p.last, p.bytes, err, last, len(message))
		}
		for length := range told {
			if err := p.parse(mem.BufferSlice{mem.SliceBuffer(message[:length])}); err == nil {
				t.Errorf("the first %d bytes are read as a whole answer", length)
			}
		}
	}
}

// immediate answers each request at once; it fails at an answer if that is above 0.
type immediate struct {
	failAt, sent, received int
	waiting                chan struct{}
}

func (i *immediate) send(int) error {
	i.sent++
	i.waiting <- struct{}{}
	return nil
}

func (i *immediate) receive() (int, error) {
	<-i.waiting
	if i.received++; i.received == i.failAt {
		return 0, io.EOF
	}
	return 10, nil
}

func (i *immediate) closeSend() error { return nil }

func TestPipelineSendsAsManyAsAreAllowed(t *testing.T) {
	for _, window := range []int{1, 3} {
		x := &immediate{waiting: make(chan struct{}, window)}
		done, err := runPipeline(t.Context(), x, limits{window: window, requests: 100})
		if err != nil || done.requests != 100 || done.bytes != 1000 || x.sent != 100 {
			t.Errorf("window %d: %+v, %v, %d sent", window, done, err, x.sent)
		}
		x = &immediate{waiting: make(chan struct{}, window), failAt: 7}
		if _, err = runPipeline(t.Context(), x, limits{window: window, requests: 100}); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("window %d: %v, want the end of the stream", window, err)
		}
	}
}

func TestPutKeepsItsPaceAndStops(t *testing.T) {
	var r relay
	s := serve(t, &r)
	s.producers, s.pace, s.batches = 1, 10_000, 9
	got, err := put(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	// Nine batches of 100 rows at 10,000 rows a second: the last one is due after 80 ms.
	if result := got.(putResult); result.Seconds < 0.08 || result.Rows != 900 || result.Acknowledged.Max <= 0 {
		t.Errorf("%+v", result)
	}
	s.batches = 1_000_000
	ctx, stop := contextOf(t, 100*time.Millisecond)
	defer stop()
	if got, err = put(ctx, s); err != nil {
		t.Fatalf("stopped: %v", err)
	}
	if result := got.(putResult); result.Rows == 0 || result.Rows > 100_000 || result.Rows+900 != r.rows {
		t.Errorf("stopped: the server has %d rows, result %+v", r.rows, result)
	}
}
