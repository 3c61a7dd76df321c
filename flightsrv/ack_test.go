package flightsrv

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"google.golang.org/protobuf/proto"

	"github.com/headrace/headrace/internal/engine"
	"github.com/headrace/headrace/internal/model"
)

// ackJSON is what a client reads out of an acknowledgement.
type ackJSON struct {
	Seq        integer              `json:"seq"`
	FirstSeq   integer              `json:"first_seq"`
	Batches    integer              `json:"batches"`
	Rows       integer              `json:"rows"`
	Offsets    map[string][]integer `json:"offsets"`
	Durability string               `json:"durability"`
	Duplicate  bool                 `json:"duplicate"`
}

// storedAck is what the engine says of a batch of rows at from in bucket 0.
func storedAck(from, rows int64) engine.Ack {
	return engine.Ack{Rows: rows, Durability: model.Fsync, Offsets: map[int32]model.Range{0: {From: from, To: from + rows}}}
}

func TestAckJSON(t *testing.T) {
	one := newAck(12, engine.Ack{Rows: 1000, Durability: model.Fsync, Offsets: map[int32]model.Range{3: {From: 7, To: 1007}}})
	merged := newAck(4, storedAck(0, 10))
	merged.merge(newAck(5, engine.Ack{Rows: 3, Durability: model.OS, Duplicate: true,
		Offsets: map[int32]model.Range{0: {From: 20, To: 22}, 2: {From: 5, To: 6}}}))
	merged.merge(newAck(6, engine.Ack{Rows: 1, Durability: model.Quorum, Offsets: map[int32]model.Range{1: {From: 0, To: 1}}}))
	empty := newAck(0, engine.Ack{Durability: model.Memory})
	for _, c := range []struct {
		ack  ack
		want string
	}{
		{one, `{"seq":12,"rows":1000,"offsets":{"3":[7,1007]},"durability":"fsync"}`},
		{merged, `{"seq":6,"first_seq":4,"batches":3,"rows":14,"offsets":{"0":[0,22],"1":[0,1],"2":[5,6]},"durability":"os","duplicate":true}`},
		{empty, `{"seq":0,"rows":0,"offsets":{},"durability":"memory"}`},
	} {
		text := c.ack.appendJSON(nil)
		if string(text) != c.want {
			t.Errorf("got  %s\nwant %s", text, c.want)
		}
		var parsed ackJSON
		if err := decodeJSON(text, "the acknowledgement", &parsed); err != nil {
			t.Error(err)
		}
		var result flight.PutResult
		if err := proto.Unmarshal(c.ack.putResult(), &result); err != nil || string(result.AppMetadata) != c.want {
			t.Errorf("PutResult %s, %v", result.AppMetadata, err)
		}
	}
}

// fakeBatch is a batch under way whose end the test decides.
type fakeBatch struct {
	done chan struct{}
	ack  engine.Ack
	err  error
}

func newFakeBatch() *fakeBatch                       { return &fakeBatch{done: make(chan struct{})} }
func (b *fakeBatch) Done() <-chan struct{}           { return b.done }
func (b *fakeBatch) Ack() (engine.Ack, error)        { return b.ack, b.err }
func (b *fakeBatch) store(ack engine.Ack) *fakeBatch { b.ack = ack; close(b.done); return b }
func (b *fakeBatch) refuse(err error) *fakeBatch     { b.err = err; close(b.done); return b }
func sent(index int64, pending pendingBatch) sentBatch {
	return sentBatch{pending: pending, index: index, seq: index}
}

// drain gives the JSON of all acknowledgements and the error at the end.
func drain(t *testing.T, q *ackQueue) ([]string, error) {
	t.Helper()
	var texts []string
	for {
		a, err := q.next(t.Context())
		if err != nil {
			return texts, err
		}
		texts = append(texts, string(a.appendJSON(nil)))
	}
}

func TestAckModes(t *testing.T) {
	for mode, want := range map[ackMode]int{ackBatch: 5, ackGroup: 1, ackEnd: 1} {
		q := newAckQueue(mode, nil)
		for i := range int64(5) {
			if err := q.push(t.Context(), sent(i, newFakeBatch().store(storedAck(i*10, 10)))); err != nil {
				t.Fatal(err)
			}
		}
		q.end(nil)
		texts, err := drain(t, q)
		if !errors.Is(err, io.EOF) || len(texts) != want {
			t.Errorf("mode %d: %d acknowledgements, %v, want %d and EOF", mode, len(texts), err, want)
		}
		if want == 1 && texts[0] != `{"seq":4,"first_seq":0,"batches":5,"rows":50,"offsets":{"0":[0,50]},"durability":"fsync"}` {
			t.Errorf("mode %d: %s", mode, texts[0])
		}
	}
}

func TestAcksComeInOrderAndThenTheError(t *testing.T) {
	for name, mode := range map[string]ackMode{"batch": ackBatch, "group": ackGroup, "end": ackEnd} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := newAckQueue(mode, nil)
				batches := []*fakeBatch{newFakeBatch(), newFakeBatch(), newFakeBatch(), newFakeBatch()}
				for i, b := range batches {
					if err := q.push(t.Context(), sent(int64(i), b)); err != nil {
						t.Fatal(err)
					}
				}
				var texts []string
				var err error
				ended := make(chan struct{})
				go func() {
					texts, err = drain(t, q)
					close(ended)
				}()
				batches[3].store(storedAck(20, 10)) // behind the refused one: never acknowledged
				batches[1].store(storedAck(10, 10))
				synctest.Wait()
				if len(texts) > 0 {
					t.Errorf("acknowledged before the first batch was stored: %s", texts)
				}
				batches[0].store(storedAck(0, 10))
				synctest.Wait()
				batches[2].refuse(model.Errorf(model.DiskFull, "no space is left").With("free", 0))
				<-ended
				rows := 0
				for _, text := range texts {
					rows += strings.Count(text, `"rows":10,`) + 2*strings.Count(text, `"rows":20,`)
				}
				if rows != 2 {
					t.Errorf("acknowledged %s, want batches 0 and 1", texts)
				}
				own, ok := errors.AsType[*model.Error](err)
				if !ok || own.Error() != "DISK_FULL: batch 2: no space is left." || own.Details["batch"] != int64(2) || own.Details["free"] != 0 {
					t.Errorf("ended with %v", err)
				}
				if err := q.push(t.Context(), sent(4, newFakeBatch())); !errors.Is(err, errStreamEnded) {
					t.Errorf("push behind the end: %v", err)
				}
			})
		})
	}
}

func TestARefusedBatchIsToldBehindTheAcksBeforeIt(t *testing.T) {
	q := newAckQueue(ackBatch, nil)
	if err := q.push(t.Context(), sent(0, newFakeBatch().store(storedAck(0, 1)))); err != nil {
		t.Fatal(err)
	}
	q.end(batchError(1, model.Errorf(model.SchemaMismatch, "column a is missing").WithRemedy("Add it")))
	q.end(nil) // the first end counts
	texts, err := drain(t, q)
	if len(texts) != 1 || err.Error() != "SCHEMA_MISMATCH: batch 1: column a is missing. Add it." || !errors.Is(err, model.SchemaMismatch) {
		t.Errorf("%v, %v", texts, err)
	}
}

// A client that never reads: nobody takes acknowledgements while batches come in.
func TestUnreadAcksAreMerged(t *testing.T) {
	q := newAckQueue(ackBatch, nil)
	const batches = 200_000
	for i := range int64(batches) {
		if err := q.push(t.Context(), sent(i, newFakeBatch().store(storedAck(i*2, 2)))); err != nil {
			t.Fatal(err)
		}
		if q.bytes > ackBytesMax {
			t.Fatalf("%d bytes wait after %d batches", q.bytes, i+1)
		}
	}
	q.end(nil)
	var rows, counted, next integer
	for {
		a, err := q.next(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		var parsed ackJSON
		if err := decodeJSON(a.appendJSON(nil), "the acknowledgement", &parsed); err != nil {
			t.Fatal(err)
		}
		first := parsed.Seq
		if parsed.Batches > 0 {
			first = parsed.FirstSeq
		}
		if first != next {
			t.Fatalf("the acknowledgement begins with %d, want %d", first, next)
		}
		next = parsed.Seq + 1
		rows, counted = rows+parsed.Rows, counted+max(1, parsed.Batches)
	}
	if rows != 2*batches || counted != batches || next != batches {
		t.Errorf("%d rows in %d batches up to %d acknowledged, want %d in %d", rows, counted, next, 2*batches, batches)
	}
	if q.bytes != 0 {
		t.Errorf("%d bytes are left over", q.bytes)
	}
}

// Batches that are not done cannot be merged: the receiver waits for the disk, and goes on when the
// oldest are done, though nobody reads.
func TestPushWaitsForTheDiskAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newAckQueue(ackBatch, nil)
		under := make([]*fakeBatch, 2*ackBytesMax/100)
		for i := range under {
			under[i] = newFakeBatch()
		}
		var count atomic.Int64 // of batches that were pushed, or are being pushed
		pushed := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			defer close(pushed)
			for i, b := range under {
				count.Store(int64(i))
				if q.push(ctx, sent(int64(i), b)) != nil {
					return
				}
			}
		}()
		synctest.Wait()
		full := count.Load()
		if full < 1000 || full > ackBytesMax/100 {
			t.Fatalf("the receiver stopped at %d batches", full)
		}
		for i := range 2000 {
			under[i].store(storedAck(int64(i), 1))
		}
		synctest.Wait()
		if now := count.Load(); now < full+1000 {
			t.Errorf("the receiver stands at %d batches, stood at %d", now, full)
		}
		cancel()
		<-pushed
	})
}

func TestNextEndsWithTheCall(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	q := newAckQueue(ackBatch, nil)
	if err := q.push(ctx, sent(0, newFakeBatch())); err != nil {
		t.Fatal(err)
	}
	if _, err := q.next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want the end of the call", err)
	}
}

func BenchmarkAck(b *testing.B) {
	stored := storedAck(1<<40, 1000)
	b.ReportAllocs()
	for b.Loop() {
		a := newAck(123456, stored)
		if len(a.putResult()) < 50 {
			b.Fatal("too short")
		}
	}
}

func BenchmarkChunkMetadata(b *testing.B) {
	chunk := &engine.Chunk{Bucket: 3, Offset: 123456789, Rows: 4096, Next: 123460885, Time: 1700000000123456}
	var metadata []byte
	b.ReportAllocs()
	for b.Loop() {
		metadata = appendChunk(metadata[:0], chunk)
	}
}
