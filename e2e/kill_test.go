package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

var idSchema = arrow.NewSchema([]arrow.Field{
	{Name: "id", Type: arrow.PrimitiveTypes.Int64},
	{Name: "text", Type: arrow.BinaryTypes.String},
}, nil)

// idBatch makes the rows from..from+n of a producer.
func idBatch(from, n int64) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, idSchema)
	defer b.Release()
	for id := from; id < from+n; id++ {
		b.Field(0).(*array.Int64Builder).Append(id)
		b.Field(1).(*array.StringBuilder).Append(fmt.Sprint("row ", id))
	}
	return b.NewRecordBatch()
}

// producer sends numbered rows to a table of its own, over kills and restarts.
type producer struct {
	table string
	rows  int64 // a batch
	// acked is the number of batches acknowledged: always a prefix. begun counts those that were
	// sent at least once.
	acked, begun int64
}

// run sends batches from the first that was not acknowledged on, until the stream dies or stop is
// closed; with stop, it ends the stream and takes the acknowledgements that are left.
func (p *producer) run(client flight.Client, stop <-chan struct{}) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stream, err := client.DoPut(ctx)
	if err != nil {
		return err
	}
	writer := flight.NewRecordWriter(stream, ipc.WithSchema(idSchema))
	writer.SetFlightDescriptor(&flight.FlightDescriptor{Type: flight.DescriptorPATH, Path: []string{p.table}})
	received := make(chan error, 1)
	go func() { received <- p.receive(stream) }()
	err = p.send(writer, stop)
	if closeErr := errors.Join(writer.Close(), stream.CloseSend()); err == nil {
		err = closeErr
	}
	if err != nil {
		cancel()
	}
	return errors.Join(err, <-received)
}

func (p *producer) send(writer *flight.Writer, stop <-chan struct{}) error {
	for seq := p.acked; ; seq++ {
		select {
		case <-stop:
			return nil
		default:
		}
		metadata := fmt.Sprintf(`{"producer":"p","epoch":1,"seq":%d}`, seq)
		p.begun = max(p.begun, seq+1)
		batch := idBatch(seq*p.rows, p.rows)
		err := writer.WriteWithAppMetadata(batch, []byte(metadata))
		batch.Release()
		if err != nil {
			return err
		}
	}
}

func (p *producer) receive(stream flight.FlightService_DoPutClient) error {
	for {
		result, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var ack acknowledgement
		if err := json.Unmarshal(result.AppMetadata, &ack); err != nil {
			return err
		}
		first := ack.Seq
		if ack.FirstSeq != nil {
			first = *ack.FirstSeq
		}
		if first != p.acked {
			return fmt.Errorf("acknowledgement of seq %d..%d, want %d first", first, ack.Seq, p.acked)
		}
		p.acked = ack.Seq + 1
	}
}

// tally counts what was found wrong.
type tally struct{ acked, lost, duplicated, reordered, unknown int64 }

// check reads the table and compares it with what the producer knows.
func (p *producer) check(s *server, total *tally) {
	seen := map[int64]int{}
	last := map[int64]int64{}
	s.scan(map[string]any{"table": p.table}, func(batch arrow.RecordBatch, metadata chunkMetadata) {
		ids, texts := batch.Column(0).(*array.Int64), batch.Column(1).(*array.String)
		for i := range ids.Len() {
			id := ids.Value(i)
			seen[id]++
			if before, ok := last[metadata.Bucket]; ok && id <= before {
				total.reordered++
			}
			last[metadata.Bucket] = id
			if texts.Value(i) != fmt.Sprint("row ", id) || id >= p.begun*p.rows {
				total.unknown++
			}
		}
	})
	for id := range p.acked * p.rows {
		if seen[id] == 0 {
			total.lost++
		}
	}
	for _, times := range seen {
		if times > 1 {
			total.duplicated++
		}
	}
	if int64(len(seen))%p.rows != 0 {
		total.unknown++ // a part of a batch
	}
	total.acked += p.acked * p.rows
}

// TestKillAtRandomMoments kills the server with SIGKILL in the middle of writes, 50 times, and
// starts it again: every acknowledged row is there, once and in order, and only whole batches are.
func TestKillAtRandomMoments(t *testing.T) {
	kills := 50
	if testing.Short() {
		kills = 5
	}
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	data := filepath.Join(t.TempDir(), "data")
	s := startServer(t, data, "--segment-bytes", "1048576")
	producers := []*producer{{table: "fsynced", rows: 500}, {table: "cached", rows: 50}, {table: "single", rows: 7}}
	s.create("fsynced", idSchema, map[string]any{"buckets": 4, "bucket_key": []string{"id"}})
	s.create("cached", idSchema, map[string]any{"options": map[string]string{"log.durability": "os"}})
	s.create("single", idSchema, nil)
	var total tally
	for range kills {
		var running sync.WaitGroup
		for _, p := range producers {
			running.Go(func() { _ = p.run(s.client, nil) }) // it ends with the server
		}
		delay := time.NewTimer(20*time.Millisecond + time.Duration(random.IntN(300))*time.Millisecond)
		<-delay.C
		s.kill()
		running.Wait()
		s = startServer(t, data, "--segment-bytes", "1048576")
		for _, p := range producers {
			p.check(s, &total)
		}
		if total.lost+total.duplicated+total.reordered+total.unknown > 0 {
			break
		}
	}
	t.Logf("%d kills: acknowledged rows checked %d, lost %d, duplicated %d, reordered %d, unknown %d",
		kills, total.acked, total.lost, total.duplicated, total.reordered, total.unknown)
	if total.lost+total.duplicated+total.reordered+total.unknown > 0 {
		t.Errorf("want none lost, duplicated, reordered or unknown")
	}
	stop := make(chan struct{})
	close(stop)
	for _, p := range producers {
		if err := p.run(s.client, stop); err != nil {
			t.Errorf("table %s: the stream that ends by itself: %v", p.table, err)
		}
		if p.acked == 0 {
			t.Errorf("table %s: no batch was ever acknowledged", p.table)
		}
	}
	s.stop()
}
