package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// stress is several writers, readers and an operator at work on one engine, and what they know.
type stress struct {
	t      *testing.T
	e      *Engine
	layout *arrowipc.Layout
	names  []model.TableName
	nextID atomic.Int64

	mu sync.Mutex
	// batches are those that have an answer, by the first id of their rows; guarded by mu.
	batches map[int64]stressBatch
	retries int // answers that said duplicate; guarded by mu
}

// stressBatch is a batch of rows with the ids from, from+1, …
type stressBatch struct {
	table   string // id
	rows    int64
	stored  bool
	offsets map[int32]model.Range
}

const stressRows = 64 // most rows of a batch; ids of batches are that far apart

// TestStress lets everything happen at once, and then counts: what was acknowledged is there once, at
// the offsets that the acknowledgement named, what was refused is not there, also behind a restart.
func TestStress(t *testing.T) {
	duration := 3 * time.Second
	if testing.Short() {
		duration = 500 * time.Millisecond
	}
	mem := vfs.NewMem(vfs.MemOptions{})
	options := testOptions(mem)
	options.MarkDelay, options.MaintenancePeriod = 5*time.Millisecond, 20*time.Millisecond
	options.IngestBytes, options.PlanLife = 1<<20, 50*time.Millisecond
	s := &stress{t: t, e: open(t, options), batches: map[int64]stressBatch{}}
	s.layout, _ = arrowipc.NewLayout(testSchema)
	for _, text := range []string{"a", "b", "web.c", "web.d"} {
		s.names = append(s.names, name(t, text))
	}
	s.create(rand.New(rand.NewPCG(0, 0)))
	ctx, cancel := context.WithTimeout(t.Context(), duration)
	defer cancel()
	var working sync.WaitGroup
	for i, work := range []func(context.Context, *rand.Rand){
		s.write, s.write, s.write, s.produce, s.produce, s.follow, s.follow, s.plan, s.operate,
	} {
		random := rand.New(rand.NewPCG(uint64(i), 7))
		working.Go(func() {
			for ctx.Err() == nil && !t.Failed() {
				work(ctx, random)
			}
		})
	}
	working.Wait()
	if err := s.e.Ready(); err != nil {
		t.Fatal(err)
	}
	if !s.e.budget.TryAcquire(options.IngestBytes) {
		t.Error("some of the byte budget is missing")
	} else {
		s.e.budget.Release(options.IngestBytes)
	}
	s.check("at the end")
	closeEngine(t, s.e)
	s.e = open(t, options)
	s.check("behind a restart")
	closeEngine(t, s.e)
	t.Logf("%d batches, %d retries", len(s.batches), s.retries)
}

// expect fails the test for an error that is none of these.
func (s *stress) expect(what string, err error, allowed ...error) {
	if err == nil {
		return
	}
	for _, a := range append(allowed, context.DeadlineExceeded) {
		if errors.Is(err, a) {
			return
		}
	}
	s.t.Errorf("%s: %v", what, err)
}

func (s *stress) anyName(random *rand.Rand) model.TableName {
	return s.names[random.IntN(len(s.names))]
}

func (s *stress) create(random *rand.Rand) {
	for _, name := range s.names {
		request := CreateTable{Name: name, Schema: testSchema, Buckets: 3, ExistOK: true}
		if random.IntN(2) == 0 {
			request.BucketKey = []string{"id"}
		}
		if random.IntN(2) == 0 {
			request.Options = map[string]string{"log.durability": "os"}
		}
		_, err := s.e.CreateTable(s.t.Context(), request)
		s.expect("create", err, model.TableAlreadyExists)
	}
}

func (s *stress) open(random *rand.Rand) *Put {
	put, err := s.e.OpenPut(s.t.Context(), PutRequest{
		Table: s.anyName(random), Schema: schemaMessage, Durability: []model.Durability{0, model.OS, model.Fsync}[random.IntN(3)],
	})
	s.expect("open put", err, model.TableNotFound)
	return put
}

// sentStress is a batch under way.
type sentStress struct {
	from    int64
	batch   stressBatch
	pending *Pending
}

func (s *stress) send(put *Put, from, rows int64, sequence *Sequence) (sentStress, error) {
	sent := sentStress{from: from, batch: stressBatch{table: put.Table().ID, rows: rows}}
	header, body := message(s.t, from, rows)
	var err error
	// Not ended by the clock: a batch without an answer would be one that nobody knows about.
	sent.pending, err = put.Send(context.Background(), header, body, sequence)
	return sent, err
}

// settle notes the answer for a batch.
func (s *stress) settle(sent sentStress) error {
	<-sent.pending.Done()
	ack, err := sent.pending.Ack()
	sent.batch.stored, sent.batch.offsets = err == nil, ack.Offsets
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batches[sent.from] = sent.batch
	if ack.Duplicate {
		s.retries++
	}
	return err
}

func (s *stress) newID() int64 { return s.nextID.Add(1) * stressRows }

// write sends batches one behind the other without waiting.
func (s *stress) write(_ context.Context, random *rand.Rand) {
	put := s.open(random)
	if put == nil {
		return
	}
	defer put.Close()
	var sent []sentStress
	for range 1 + random.IntN(40) {
		next, err := s.send(put, s.newID(), 1+random.Int64N(stressRows), nil)
		if err != nil {
			s.expect("send", err, model.TableNotFound)
			break
		}
		sent = append(sent, next)
	}
	for _, batch := range sent {
		s.expect("acknowledgement", s.settle(batch), model.TableNotFound)
	}
}

// produce sends batches of a producer, most of them twice.
func (s *stress) produce(ctx context.Context, random *rand.Rand) {
	put := s.open(random)
	if put == nil {
		return
	}
	defer put.Close()
	producer := fmt.Sprintf("p%d", s.newID())
	state, err := s.e.OpenProducer(ctx, put.Table().Name, producer, random.IntN(2) == 0)
	if err != nil {
		s.expect("open producer", err, model.TableNotFound)
		return
	}
	var sent []sentStress
	for number := range 1 + random.Int64N(30) {
		from, rows := s.newID(), random.Int64N(stressRows)
		for range 1 + random.IntN(2) {
			next, err := s.send(put, from, rows, &Sequence{producer, state.Epoch, number})
			if err != nil {
				s.expect("send", err, model.TableNotFound)
				break
			}
			sent = append(sent, next)
		}
	}
	for i, batch := range sent {
		// The table may have been replaced by another one of the name between the two opens; a batch
		// behind a refused one is refused too.
		err := s.settle(batch)
		s.expect("acknowledgement", err, model.TableNotFound, model.SequenceExpired)
		if err == nil && i > 0 && sent[i-1].from == batch.from && !batch.pending.ack.Duplicate {
			s.t.Errorf("the retry of a batch of %s is not told as one", producer)
		}
	}
}

// follow reads on and on, and checks that no offset is left out.
func (s *stress) follow(ctx context.Context, random *rand.Rand) {
	ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	scan := Scan{Table: s.anyName(random), To: Bound{Kind: BoundNever}}
	if random.IntN(2) == 0 {
		scan.From = Bound{Kind: BoundLatest}
	}
	r, err := s.e.Scan(ctx, scan)
	if err != nil {
		s.expect("follow", err, model.TableNotFound)
		return
	}
	defer r.Close()
	next := map[int32]int64{}
	for {
		chunk, err := r.Next(ctx)
		if err != nil {
			s.expect("follow", err, model.TableNotFound, model.OffsetTrimmed)
			return
		}
		if at, seen := next[chunk.Bucket]; seen && at != chunk.Offset {
			s.t.Errorf("bucket %d goes on at %d, want %d", chunk.Bucket, chunk.Offset, at)
		}
		next[chunk.Bucket] = chunk.Next
		decode(s.t, s.layout, chunk)
	}
}

// plan plans a read, and reads exactly that, though rows come and segments go.
func (s *stress) plan(ctx context.Context, random *rand.Rand) {
	plan, err := s.e.Plan(ctx, Scan{Table: s.anyName(random)})
	if err != nil {
		s.expect("plan", err, model.TableNotFound)
		return
	}
	scan := Scan{Table: plan.Table.Name, Plan: plan.ID}
	from := model.Position{TableID: plan.Table.ID, Offsets: model.Offsets{}}
	to := model.Position{TableID: plan.Table.ID, Offsets: model.Offsets{}}
	want := int64(0)
	for bucket, r := range plan.Ranges {
		from.Offsets[bucket], to.Offsets[bucket] = r.From, r.To
		want += r.Rows()
	}
	scan.From, scan.To = Bound{Kind: BoundOffsets, Position: from}, Bound{Kind: BoundOffsets, Position: to}
	rows, err := scanAll(s.t, s.e, scan)
	// The table may be dropped, replaced or truncated; a slow machine lets the plan expire first.
	s.expect("read a plan", err, model.TableNotFound, model.TableReplaced, model.OffsetTrimmed, model.PlanExpired)
	if err == nil && int64(len(rows)) != want {
		s.t.Errorf("a plan of %d rows gave %d", want, len(rows))
	}
	if random.IntN(2) == 0 {
		s.expect("cancel", s.e.CancelPlan(plan.ID), model.PlanExpired)
	}
}

// operate changes the catalog.
func (s *stress) operate(ctx context.Context, random *rand.Rand) {
	name, other := s.anyName(random), s.anyName(random)
	var err error
	switch random.IntN(9) {
	case 0:
		err = s.e.DropTable(ctx, name, true)
	case 1:
		_, err = s.e.UndropTable(ctx, name)
	case 2, 3:
		_, err = s.e.RenameTable(ctx, name, other)
	case 4:
		_, err = s.e.TruncateTable(ctx, name, nil)
	case 5:
		level := []string{"os", "fsync"}[random.IntN(2)]
		_, err = s.e.SetOptions(ctx, name, Expect{}, map[string]string{"log.durability": level})
	case 6:
		err = s.e.Flush(ctx, model.Fsync)
	case 7:
		s.e.Maintain(ctx)
	default:
		s.create(random)
	}
	s.expect("operate", err, model.TableNotFound, model.TableAlreadyExists)
}

// check reads every table and compares with the answers.
func (s *stress) check(when string) {
	tables, err := s.e.Tables("")
	if err != nil {
		s.t.Fatal(err)
	}
	for _, table := range tables {
		states, err := s.e.Buckets(table.Name)
		if err != nil {
			s.t.Fatal(err)
		}
		found := map[int64]int64{} // rows by batch
		for _, r := range readAll(s.t, s.e, table.Name.String()) {
			from := r.id / stressRows * stressRows
			batch := s.batches[from]
			if at := batch.offsets[r.bucket]; !batch.stored || batch.table != table.ID || r.offset < at.From || r.offset >= at.To {
				s.t.Fatalf("%s: %s: %+v is of the batch %+v", when, table.Name, r, batch)
			}
			found[from]++
		}
		for from, batch := range s.batches {
			if batch.table != table.ID || !batch.stored {
				continue
			}
			want := batch.rows
			for bucket, at := range batch.offsets {
				want -= max(0, min(at.To, states[bucket].Start)-at.From) // truncated
			}
			if found[from] != want {
				s.t.Fatalf("%s: %s: %d rows of the batch from %d, want %d of %+v", when, table.Name, found[from], from, want, batch)
			}
		}
	}
}
