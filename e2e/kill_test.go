package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
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
		b.Field(1).(*array.StringBuilder).Append(rowText(id))
	}
	return b.NewRecordBatch()
}

func rowText(id int64) string { return "row " + strconv.FormatInt(id, 10) }

// producer sends numbered rows to a table of its own, over kills and restarts.
type producer struct {
	table string
	rows  int64 // a batch
	// acked is the number of batches acknowledged: always a prefix. begun counts those that were
	// sent at least once.
	acked, begun int64
	read         reading
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

// tally counts what was read and what was found wrong.
type tally struct{ read, lost, duplicated, reordered, unknown int64 }

func (t tally) faults() int64 { return t.lost + t.duplicated + t.reordered + t.unknown }

// reading is what has been read of a table.
type reading struct {
	next     map[string]int64 // offsets to go on at, by bucket
	last     map[int64]int64  // id of the last row, by bucket
	seen     []uint8          // how often, by id
	distinct int64
	verified int64 // ids below were all seen
}

// check reads what is new in the table, or all of it, and compares that with what the producer knows.
func (p *producer) check(s *server, all bool, total *tally) {
	r := &p.read
	if all || r.next == nil {
		*r = reading{next: map[string]int64{}, last: map[int64]int64{}, seen: r.seen[:0]}
	}
	known := len(r.seen)
	r.seen = slices.Grow(r.seen, int(p.begun*p.rows)-known)[:p.begun*p.rows]
	clear(r.seen[known:])
	scan := map[string]any{"table": p.table}
	if len(r.next) > 0 {
		scan["from"] = map[string]any{"offsets": r.next}
	}
	s.scan(scan, func(batch arrow.RecordBatch, metadata chunkMetadata) {
		r.next[strconv.FormatInt(metadata.Bucket, 10)] = metadata.Next
		ids, texts := batch.Column(0).(*array.Int64), batch.Column(1).(*array.String)
		for i := range ids.Len() {
			r.row(metadata.Bucket, ids.Value(i), texts.Value(i), total)
		}
	})
	for ; r.verified < p.acked*p.rows; r.verified++ {
		if r.seen[r.verified] == 0 {
			total.lost++
		}
	}
	if r.distinct%p.rows != 0 {
		total.unknown++ // a part of a batch
	}
}

func (r *reading) row(bucket, id int64, text string, total *tally) {
	total.read++
	if id < 0 || id >= int64(len(r.seen)) || text != rowText(id) {
		total.unknown++
		return
	}
	if before, ok := r.last[bucket]; ok && id <= before {
		total.reordered++
	}
	r.last[bucket] = id
	switch r.seen[id] {
	case 0:
		r.seen[id] = 1
		r.distinct++
	case 1:
		r.seen[id] = 2
		total.duplicated++
	}
}

// TestKillAtRandomMoments kills the server with SIGKILL in the middle of writes, 50 times, and
// starts it again: every acknowledged row is there, once and in order, and only whole batches are.
// After each kill what is new is read; after each tenth and the last one, everything.
func TestKillAtRandomMoments(t *testing.T) {
	kills := 50
	if testing.Short() {
		kills = 5
	}
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	data := filepath.Join(t.TempDir(), "data")
	s := startServer(t, data, "--segment-bytes", "1048576")
	producers := []*producer{{table: "fsynced", rows: 100}, {table: "cached", rows: 20}, {table: "single", rows: 7}}
	s.create("fsynced", idSchema, map[string]any{"buckets": 4, "bucket_key": []string{"id"}})
	s.create("cached", idSchema, map[string]any{"options": map[string]string{"log.durability": "os"}})
	s.create("single", idSchema, nil)
	var total tally
	for kill := 1; kill <= kills && total.faults() == 0; kill++ {
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
			p.check(s, kill%10 == 0 || kill == kills, &total)
		}
	}
	acked := int64(0)
	for _, p := range producers {
		acked += p.acked * p.rows
	}
	t.Logf("%d kills: acknowledged rows %d, rows read %d, lost %d, duplicated %d, reordered %d, unknown %d",
		kills, acked, total.read, total.lost, total.duplicated, total.reordered, total.unknown)
	if total.faults() > 0 {
		t.Fatal("want none lost, duplicated, reordered or unknown")
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
