package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	keyedKeys   = 2000 // different ones
	keyedPeriod = 40   // batches: the last quarter of them deletes
)

var keySchema = arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64}}, nil)

// content is what a primary-key table holds: text by id.
type content map[int64]string

// keyedProducer upserts and deletes rows of a table of its own, over kills and restarts. What a batch
// does follows from its number alone.
type keyedProducer struct {
	producer
	buckets int
	// before is the content behind the batches that were acknowledged and checked, changes the number
	// of changes that made it.
	before  content
	checked int64
	changes int64
	// folded is the changelog up to next, by bucket.
	folded content
	next   map[string]int64
}

// deletes says that a batch deletes.
func deletes(seq int64) bool { return seq%keyedPeriod >= keyedPeriod*3/4 }

// phaseEnd is the first batch that needs a stream of another mode.
func phaseEnd(seq int64) int64 {
	if period := seq - seq%keyedPeriod; deletes(seq) {
		return period + keyedPeriod
	} else {
		return period + keyedPeriod*3/4
	}
}

// keys are those of a batch, some of them twice.
func (p *keyedProducer) keys(seq int64) []int64 {
	random := rand.New(rand.NewPCG(uint64(seq), 1))
	ids := make([]int64, p.rows)
	for i := range ids {
		ids[i] = random.Int64N(keyedKeys)
	}
	return ids
}

func textOf(seq int64, row int) string { return fmt.Sprintf("batch %d row %d", seq, row) }

func (p *keyedProducer) batch(seq int64) arrow.RecordBatch {
	schema := idSchema
	if deletes(seq) {
		schema = keySchema
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for row, id := range p.keys(seq) {
		b.Field(0).(*array.Int64Builder).Append(id)
		if !deletes(seq) {
			b.Field(1).(*array.StringBuilder).Append(textOf(seq, row))
		}
	}
	return b.NewRecordBatch()
}

// apply does to a content what a batch does, and gives the number of changes.
func (p *keyedProducer) apply(c content, seq int64) (changes int64) {
	for row, id := range p.keys(seq) {
		_, known := c[id]
		switch {
		case deletes(seq) && known:
			delete(c, id)
			changes++
		case !deletes(seq):
			if changes++; known {
				changes++ // -U +U
			}
			c[id] = textOf(seq, row)
		}
	}
	return changes
}

// run sends batches from the first that was not acknowledged on, until the server dies.
func (p *keyedProducer) run(client flight.Client) error {
	for {
		if err := p.phase(client, phaseEnd(p.acked)); err != nil {
			return err
		}
	}
}

// phase sends the batches below end on one stream, and takes their acknowledgements.
func (p *keyedProducer) phase(client flight.Client, end int64) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stream, err := client.DoPut(ctx)
	if err != nil {
		return err
	}
	schema, mode := idSchema, "upsert"
	if deletes(p.acked) {
		schema, mode = keySchema, "delete"
	}
	writer := flight.NewRecordWriter(stream, ipc.WithSchema(schema))
	command := fmt.Sprintf(`{"put":{"table":%q,"mode":%q}}`, p.table, mode)
	writer.SetFlightDescriptor(&flight.FlightDescriptor{Type: flight.DescriptorCMD, Cmd: []byte(command)})
	received := make(chan error, 1)
	first := p.acked
	go func() { received <- p.receive(stream) }()
	for seq := first; seq < end && err == nil; seq++ {
		p.begun = max(p.begun, seq+1)
		batch := p.batch(seq)
		err = writer.WriteWithAppMetadata(batch, fmt.Appendf(nil, `{"producer":"p","epoch":1,"seq":%d}`, seq))
		batch.Release()
	}
	if closeErr := errors.Join(writer.Close(), stream.CloseSend()); err == nil {
		err = closeErr
	}
	if err != nil {
		cancel()
	}
	return errors.Join(err, <-received)
}

// grow doubles the number of buckets, some time before the server is killed or just then.
func (p *keyedProducer) grow(s *server) {
	<-time.After(time.Duration(rand.IntN(120)) * time.Millisecond)
	// It may die meanwhile, and a client that is closed must not be used: this one is nobody else's.
	own := &server{t: s.t, data: s.data, address: s.address, client: s.dial(grpc.WithTransportCredentials(insecure.NewCredentials()))}
	defer own.client.Close()
	_, _ = own.tryAction(context.Background(), "AlterTable", map[string]any{
		"table": p.table, "changes": []any{map[string]any{"set_buckets": 2 * p.buckets}},
	})
}

// keyedTally counts what was found.
type keyedTally struct{ growths, changes, rows, looked, lost, duplicated, misfits int64 }

func (t keyedTally) faults() int64 { return t.lost + t.duplicated + t.misfits }

// check reads the changes that are new, or all of them, the table, and every key, and compares them with
// each other and with what the batches make.
func (p *keyedProducer) check(s *server, all bool, total *keyedTally) {
	p.fold(s, all, total)
	state := content{}
	s.scan(map[string]any{"table": p.table}, func(batch arrow.RecordBatch, _ chunkMetadata) {
		ids, texts := batch.Column(0).(*array.Int64), batch.Column(1).(*array.String)
		for i := range ids.Len() {
			if _, twice := state[ids.Value(i)]; twice {
				total.misfits++
			}
			state[ids.Value(i)] = texts.Value(i)
		}
	})
	total.rows += int64(len(state))
	if !maps.Equal(state, p.folded) {
		s.t.Errorf("table %s: the state has %d rows, folding the changelog gives %d", p.table, len(state), len(p.folded))
		total.misfits++
	}
	found := p.lookup(s)
	total.looked += keyedKeys
	if !maps.Equal(state, found) {
		s.t.Errorf("table %s: the state has %d rows, lookups find %d", p.table, len(state), len(found))
		total.misfits++
	}
	p.place(s, state, total)
}

// place finds the batches that make a state: all that were acknowledged, and maybe some behind.
func (p *keyedProducer) place(s *server, state content, total *keyedTally) {
	if p.before == nil {
		p.before = content{}
	}
	stored := s.rows(p.table)
	was := maps.Clone(p.before)
	seq, changes := p.checked, p.changes
	for ; seq < p.acked; seq++ {
		changes += p.apply(was, seq)
	}
	p.checked, p.before, p.changes = seq, maps.Clone(was), changes
	for ; !maps.Equal(state, was) && seq < p.begun; seq++ {
		changes += p.apply(was, seq)
	}
	switch {
	case !maps.Equal(state, was):
		total.lost++
		s.t.Errorf("table %s: no %d to %d batches make what it has", p.table, p.acked, p.begun)
	case stored != changes:
		total.duplicated++
		s.t.Errorf("table %s: %d changes are stored, %d batches make %d", p.table, stored, seq, changes)
	}
}

// fold reads the changelog on, and checks that each change fits what is there.
func (p *keyedProducer) fold(s *server, all bool, total *keyedTally) {
	if all || p.next == nil {
		p.folded, p.next = content{}, map[string]int64{}
	}
	scan := map[string]any{"table": p.table, "view": "changelog", "system_columns": true}
	if len(p.next) > 0 {
		scan["from"] = map[string]any{"offsets": p.next}
	}
	s.scan(scan, func(batch arrow.RecordBatch, metadata chunkMetadata) {
		p.next[strconv.FormatInt(metadata.Bucket, 10)] = metadata.Next
		ids, texts := batch.Column(0).(*array.Int64), batch.Column(1).(*array.String)
		kinds := batch.Column(int(batch.NumCols()) - 1).(*array.String)
		for i := range ids.Len() {
			id, text := ids.Value(i), texts.Value(i)
			old, known := p.folded[id]
			kind := kinds.Value(i)
			if known != (kind == "-U" || kind == "-D") || known && old != text {
				total.misfits++
			}
			if p.folded[id] = text; known {
				delete(p.folded, id) // the +U of a -U comes next
			}
		}
		total.changes += batch.NumRows()
	})
}

// lookup asks for every key with one ticket.
func (p *keyedProducer) lookup(s *server) content {
	s.t.Helper()
	b := array.NewRecordBuilder(memory.DefaultAllocator, keySchema)
	defer b.Release()
	for id := range int64(keyedKeys) {
		b.Field(0).(*array.Int64Builder).Append(id)
	}
	var keys bytes.Buffer
	writer := ipc.NewWriter(&keys, ipc.WithSchema(keySchema))
	if err := errors.Join(writer.Write(b.NewRecordBatch()), writer.Close()); err != nil {
		s.t.Fatal(err)
	}
	ticket, err := json.Marshal(map[string]any{"lookup": map[string]any{
		"table": p.table, "how": "inner", "keys": base64.StdEncoding.EncodeToString(keys.Bytes()),
	}})
	if err != nil {
		s.t.Fatal(err)
	}
	stream, err := s.client.DoGet(context.Background(), &flight.Ticket{Ticket: ticket})
	if err != nil {
		s.t.Fatal(err)
	}
	reader, err := flight.NewRecordReader(stream)
	if err != nil {
		s.t.Fatal(err)
	}
	defer reader.Release()
	found := content{}
	for reader.Next() {
		ids, texts := reader.RecordBatch().Column(0).(*array.Int64), reader.RecordBatch().Column(1).(*array.String)
		for i := range ids.Len() {
			found[ids.Value(i)] = texts.Value(i)
		}
	}
	if err := reader.Err(); err != nil && !errors.Is(err, io.EOF) {
		s.t.Fatal(err)
	}
	return found
}

// TestKillDuringUpserts kills the server with SIGKILL in the middle of upserts and deletions, 25 times, while its tables
// get more buckets now and then, and starts it again: the state, the folded changelog and lookups agree, and they are what the
// acknowledged batches make, each applied once, with or without some of those behind. At the end, check
// finds nothing.
func TestKillDuringUpserts(t *testing.T) {
	kills := 25
	if testing.Short() {
		kills = 4
	}
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	data := filepath.Join(t.TempDir(), "data")
	s := startServer(t, data, "--segment-bytes", "1048576")
	producers := []*keyedProducer{
		{producer: producer{table: "fsynced", rows: 100}, buckets: 4}, {producer: producer{table: "cached", rows: 20}, buckets: 1},
	}
	for _, p := range producers {
		options := map[string]string{}
		if p.table == "cached" {
			options["log.durability"] = "os"
		}
		s.create(p.table, idSchema, map[string]any{"buckets": p.buckets, "primary_key": []string{"id"}, "options": options})
	}
	var total keyedTally
	for kill := 1; kill <= kills && total.faults() == 0; kill++ {
		var running sync.WaitGroup
		for _, p := range producers {
			running.Go(func() { _ = p.run(s.client) }) // it ends with the server
			if grow := kill%6 == 3; grow && p.buckets < 32 {
				running.Go(func() { p.grow(s) })
			}
		}
		delay := time.NewTimer(20*time.Millisecond + time.Duration(random.IntN(300))*time.Millisecond)
		<-delay.C
		s.kill()
		running.Wait()
		s = startServer(t, data, "--segment-bytes", "1048576")
		for _, p := range producers {
			buckets := int(s.action("DescribeTable", map[string]any{"table": p.table})["bucket_count"].(float64))
			switch buckets {
			case p.buckets:
			case 2 * p.buckets:
				total.growths++
			default:
				t.Errorf("table %s has %d buckets, had %d", p.table, buckets, p.buckets)
			}
			p.buckets = buckets
			p.check(s, kill%10 == 0 || kill == kills, &total)
		}
	}
	acked := int64(0)
	for _, p := range producers {
		if acked += p.acked * p.rows; p.acked == 0 {
			t.Errorf("table %s: no batch was ever acknowledged", p.table)
		}
	}
	if total.growths == 0 && !testing.Short() {
		t.Error("no table has ever grown")
	}
	t.Logf("%d kills: %d growths, acknowledged rows %d, changes read %d, rows read %d, keys looked up %d, lost %d, duplicated %d, misfits %d",
		kills, total.growths, acked, total.changes, total.rows, total.looked, total.lost, total.duplicated, total.misfits)
	if total.faults() > 0 {
		t.Error("want none lost, duplicated or misfit")
	}
	s.stop()
	if code, out, failed := command(t, "check", data); code != 0 {
		t.Errorf("check ends with %d:\n%s%s", code, out, failed)
	}
}
