package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	// stuckReaders read the table that is written to, as many follow it.
	stuckReaders = 4
	// stuckMemory bounds the server's own memory beside them: most of it is what the writer has under
	// way, up to 256 MiB, and what of that is not collected yet.
	stuckMemory = 768 << 20
	measured    = 1500 * time.Millisecond
	rounds      = 3
)

// load writes batches of 10,000 rows until it is stopped, without waiting for each acknowledgement.
type load struct {
	acked atomic.Int64 // batches
	stop  chan struct{}
	ended chan error
}

func startLoad(client flight.Client, table string) (*load, error) {
	stream, err := client.DoPut(context.Background())
	if err != nil {
		return nil, err
	}
	writer := flight.NewRecordWriter(stream, ipc.WithSchema(idSchema))
	writer.SetFlightDescriptor(&flight.FlightDescriptor{Type: flight.DescriptorPATH, Path: []string{table}})
	l := &load{stop: make(chan struct{}), ended: make(chan error, 1)}
	var sending sync.WaitGroup
	var sent error
	sending.Go(func() {
		batch := idBatch(0, 10_000)
		defer batch.Release()
		for sent == nil {
			select {
			case <-l.stop:
				sent = errors.Join(writer.Close(), stream.CloseSend())
				return
			default:
				sent = writer.Write(batch)
			}
		}
	})
	go func() {
		for {
			if _, err := stream.Recv(); errors.Is(err, io.EOF) {
				sending.Wait()
				l.ended <- sent
				return
			} else if err != nil {
				l.ended <- err
				return
			}
			l.acked.Add(1)
		}
	}()
	return l, nil
}

// rate gives the batches acknowledged in a while.
func (l *load) rate() int64 {
	before := l.acked.Load()
	<-time.NewTimer(measured).C
	return l.acked.Load() - before
}

// openStuck opens a scan, reads the schema and one batch and then nothing more until cancel.
func openStuck(client flight.Client, scan string) (stream flight.FlightService_DoGetClient, cancel func(), err error) {
	ctx, cancel := context.WithCancel(context.Background())
	stream, err = client.DoGet(ctx, &flight.Ticket{Ticket: []byte(scan)})
	for range 2 {
		if err == nil {
			_, err = stream.Recv()
		}
	}
	return stream, cancel, err
}

// TestStuckReadersSlowNoWriter measures a writer alone and beside scans and followers that do not
// read, in turns: its rate may not halve, and the memory of the server is bounded. A follower that
// reads again gets every row.
func TestStuckReadersSlowNoWriter(t *testing.T) {
	s := startServer(t, filepath.Join(t.TempDir(), "data"))
	s.create("busy", idSchema, nil)
	writer, err := startLoad(s.client, "busy")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "there is more than the windows of stuck readers hold", func() bool { return writer.acked.Load() > 100 })
	scans := []string{`{"scan":{"table":"busy"}}`, `{"scan":{"table":"busy","to":"never"}}`}
	var alone, beside, most, mostAlone int64
	for round := range rounds {
		alone += writer.rate()
		mostAlone = max(mostAlone, s.memory("RssAnon"))
		var cancels []func()
		for i := range 2 * stuckReaders {
			client := s.client // the first ones share the connection of the writer
			if i >= len(scans) {
				client = s.dial(grpc.WithTransportCredentials(insecure.NewCredentials()))
				cancels = append(cancels, func() { client.Close() })
			}
			_, cancel, err := openStuck(client, scans[i%len(scans)])
			if err != nil {
				t.Fatalf("round %d, reader %d: %v", round, i, err)
			}
			cancels = append(cancels, cancel)
		}
		beside += writer.rate()
		most = max(most, s.memory("RssAnon"))
		for _, cancel := range cancels {
			cancel()
		}
	}
	t.Logf("batches of 10,000 rows acknowledged: alone %d, beside stuck readers %d; the server's own memory: %d MiB, %d MiB",
		alone, beside, mostAlone>>20, most>>20)
	if most > stuckMemory {
		t.Errorf("the server had %d MiB of its own memory, want at most %d", most>>20, stuckMemory>>20)
	}
	if beside*2 < alone {
		t.Errorf("the writer did %d batches beside stuck readers and %d alone: less than half", beside, alone)
	}
	close(writer.stop)
	if err := <-writer.ended; err != nil {
		t.Errorf("the writer: %v", err)
	}
	followToEnd(t, s, "busy")
	s.stop()
}

// followToEnd has a follower stop within the last million rows while more are appended, and read on.
func followToEnd(t *testing.T, s *server, table string) {
	t.Helper()
	from := max(0, s.rows(table)-1_000_000)
	stream, cancel, err := openStuck(s.client, fmt.Sprintf(`{"scan":{"table":%q,"to":"never","from":{"offsets":{"0":%d}}}}`, table, from))
	if err != nil {
		t.Fatal(err)
	}
	defer cancel()
	more, err := startLoad(s.client, table)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "more rows are written", func() bool { return more.acked.Load() > 10 })
	close(more.stop)
	if err := <-more.ended; err != nil {
		t.Fatal(err)
	}
	next := int64(-1)
	for end := s.rows(table); next < end; {
		data, err := stream.Recv()
		if err != nil {
			t.Fatalf("the follower at offset %d of %d: %v", next, end, err)
		}
		var chunk chunkMetadata
		if err := json.Unmarshal(data.AppMetadata, &chunk); err != nil {
			t.Fatal(err)
		}
		if chunk.Rows == 0 {
			continue
		}
		if next >= 0 && chunk.Offset != next || chunk.Next != chunk.Offset+chunk.Rows {
			t.Fatalf("the follower got %+v, want rows from offset %d on", chunk, next)
		}
		next = chunk.Next
	}
}
