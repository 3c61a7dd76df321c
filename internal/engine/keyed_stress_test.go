package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

const (
	stressAccounts = 40   // keys 0..: amounts move between them
	stressBalance  = 100  // of each at the beginning
	stressPairs    = 1000 // keys from here on: pairs in one bucket that are changed together
	stressChurn    = 2000 // keys from here on come and go
	stressBuckets  = 3    // at the beginning
	stressGrown    = 24   // after 3 growths
)

// keyedStress is writers, lookups, state scans and followers at work on one table that adds numbers up.
type keyedStress struct {
	t       *testing.T
	e       *Engine
	pairs   [][2]int64
	growths time.Duration // between two of them
	lookups atomic.Int64
	scans   atomic.Int64
	changes atomic.Int64
}

// TestKeyedStress lets everything happen at once. Amounts move between keys, so that a state over all
// buckets has one sum if and only if it has all or nothing of each request; the two keys of a pair have
// one number if and only if a lookup is a snapshot of their bucket.
func TestKeyedStress(t *testing.T) {
	duration := 3 * time.Second
	if testing.Short() {
		duration = 500 * time.Millisecond
	}
	for _, name := range []string{"os", "fsync", "retiring", "growing", "growing and retiring"} {
		t.Run(name, func(t *testing.T) {
			level := name
			if level != "fsync" {
				level = "os"
			}
			options := testOptions(vfs.NewMem(vfs.MemOptions{}))
			options.MarkDelay, options.MaintenancePeriod = 5*time.Millisecond, 20*time.Millisecond
			work := []func(context.Context, *rand.Rand){}
			s := &keyedStress{t: t}
			if strings.Contains(name, "growing") {
				work = append(work, s.grow)
			}
			if strings.Contains(name, "retiring") { // which is for the goroutine of the maintenance
				options.MaintenancePeriod, options.OpenCold = time.Hour, filesColdOf(options.FS)
				work = append(work, s.retire)
			}
			s.e = open(t, options)
			s.fill(level)
			s.growths = duration / 4
			ctx, cancel := context.WithTimeout(t.Context(), duration)
			defer cancel()
			var working sync.WaitGroup
			for i, work := range append(work,
				s.move, s.move, s.move, s.pair, s.pair, s.churn, s.look, s.look, s.scan, s.scan, s.plan, s.follow, s.follow,
			) {
				random := rand.New(rand.NewPCG(uint64(i), 9))
				working.Go(func() {
					for ctx.Err() == nil && !t.Failed() {
						work(ctx, random)
					}
				})
			}
			working.Wait()
			before := stateOfTable(t, s.e, "t")
			closeEngine(t, s.e)
			s.e = open(t, options)
			if !maps.Equal(stateOfTable(t, s.e, "t"), before) {
				t.Error("the table differs behind a restart")
			}
			closeEngine(t, s.e)
			t.Logf("%d lookups, %d states, %d changes followed", s.lookups.Load(), s.scans.Load(), s.changes.Load())
			if s.lookups.Load() == 0 || s.scans.Load() == 0 || s.changes.Load() == 0 {
				t.Error("somebody never got to work")
			}
		})
	}
}

// retire moves rows of all buckets below their logs, now and then most of them.
func (s *keyedStress) retire(ctx context.Context, random *rand.Rand) {
	table := s.e.catalog.lookup(name(s.t, "t"))
	table.keyed.upkeep.Lock()
	for _, b := range table.opened() {
		if end := b.keyed.End(); end > 0 {
			if err := s.e.retireBucket(ctx, b, end-random.Int64N(min(end, 3000)), s.e.newPacer()); err != nil && ctx.Err() == nil {
				s.t.Error(err)
			}
		}
	}
	table.keyed.upkeep.Unlock()
	s.e.Maintain(ctx)
}

// grow doubles the number of buckets, now and then.
func (s *keyedStress) grow(ctx context.Context, _ *rand.Rand) {
	select {
	case <-time.After(s.growths):
	case <-ctx.Done():
		return
	}
	if table, err := s.e.Table(name(s.t, "t")); err != nil || table.Buckets < stressGrown {
		growMoving(s.t, s.e, "t")
	}
}

func (s *keyedStress) fill(level string) {
	createKeyed(s.t, s.e, "t", stressBuckets, map[string]string{
		"log.durability": level, "merge.engine": "aggregation", "merge.aggregate.number": "sum",
	})
	rows := make([]keyedRow, stressAccounts)
	for i := range rows {
		rows[i] = keyedRow{int64(i), "", stressBalance}
	}
	upsert(s.t, s.e, "t", rows...)
	for i := range int64(120) {
		upsert(s.t, s.e, "t", keyedRow{stressPairs + i, "", 0})
	}
	var single [stressGrown][]int64
	for id, hash := range hashesOfKeys(s.t) {
		single[hash%stressGrown] = append(single[hash%stressGrown], id)
	}
	for _, keys := range single {
		for pair := range slices.Chunk(keys, 2) {
			if len(pair) == 2 {
				s.pairs = append(s.pairs, [2]int64(pair))
			}
		}
	}
}

// write sends one request, which must not fail.
func (s *keyedStress) write(mode PutMode, rows ...keyedRow) {
	if _, err := (keyedRequest{mode: mode, rows: rows}).write(s.t, s.e, "t", nil); err != nil && s.t.Context().Err() == nil {
		s.t.Error(err)
	}
}

// move sends several batches on one stream, without waiting for each.
func (s *keyedStress) move(_ context.Context, random *rand.Rand) {
	w := openKeyedWriter(s.t, s.e, "t", PutRequest{})
	var sent []*Pending
	for range 1 + random.IntN(20) {
		var rows []keyedRow
		for range 1 + random.IntN(4) {
			amount := random.Int64N(50)
			rows = append(rows, keyedRow{random.Int64N(stressAccounts), noText, -amount}, keyedRow{random.Int64N(stressAccounts), "t", amount})
		}
		header, body := keyedMessage(s.t, w.schema, rows)
		pending, err := w.put.Send(context.Background(), header, body, nil)
		if err != nil {
			s.t.Error(err)
			return
		}
		sent = append(sent, pending)
	}
	for _, pending := range sent {
		<-pending.Done()
		if _, err := pending.Ack(); err != nil {
			s.t.Error(err)
		}
	}
}

func (s *keyedStress) pair(_ context.Context, random *rand.Rand) {
	var rows []keyedRow
	for range 1 + random.IntN(3) {
		pair := s.pairs[random.IntN(len(s.pairs))]
		rows = append(rows, keyedRow{pair[0], noText, 1}, keyedRow{pair[1], noText, 1})
	}
	s.write(PutUpsert, rows...)
}

func (s *keyedStress) churn(_ context.Context, random *rand.Rand) {
	var rows []keyedRow
	for range random.IntN(200) {
		rows = append(rows, keyedRow{stressChurn + random.Int64N(5000), fmt.Sprint(random.IntN(10)), 1})
	}
	s.write(PutUpsert+PutMode(random.IntN(2)), rows...)
}

func (s *keyedStress) look(ctx context.Context, random *rand.Rand) {
	request := LookupRequest{Table: name(s.t, "t"), Schema: arrowipc.EncodeSchema(keyedFields("id"))}
	l, err := s.e.OpenLookup(ctx, request)
	if err != nil {
		s.t.Error(err)
		return
	}
	asker := &lookup{s.t, l}
	last := model.Offsets{}
	s.lookFar(asker)
	for range 20 {
		var ids []int64
		for range 1 + random.IntN(8) {
			pair := s.pairs[random.IntN(len(s.pairs))]
			ids = append(ids, pair[0], pair[1])
		}
		rows, part := asker.rows(append(ids, stressChurn+random.Int64N(5000))...)
		for i := 0; i < len(ids); i += 2 {
			if a, b := rows[i], rows[i+1]; a.id != ids[i] || b.id != ids[i+1] || a.number != b.number {
				s.t.Errorf("one lookup finds %+v and %+v, which are always changed together", a, b)
			}
		}
		for bucket, offset := range part.AsOf {
			if offset < last[bucket] {
				s.t.Errorf("bucket %d: as of %d, and before as of %d", bucket, offset, last[bucket])
			}
			last[bucket] = offset
		}
		s.lookups.Add(1)
	}
}

// lookFar asks for the two keys of the pairs with many others in between, which takes long enough for a
// change to come.
func (s *keyedStress) lookFar(asker *lookup) {
	var ids []int64
	for _, pair := range s.pairs {
		ids = append(ids, pair[0])
	}
	for id := range int64(5000) {
		ids = append(ids, stressChurn+id)
	}
	for _, pair := range s.pairs {
		ids = append(ids, pair[1])
	}
	rows, _ := asker.rows(ids...)
	for i, second := range rows[len(rows)-len(s.pairs):] {
		if rows[i].number != second.number {
			s.t.Errorf("one lookup finds %+v and %+v, which are always changed together", rows[i], second)
		}
	}
}

// checkState checks the rows of one state.
func (s *keyedStress) checkState(what string, cells []cell) {
	state, sum := keyedState{}, int64(0)
	for _, c := range cells {
		if _, twice := state[c.row.id]; twice {
			s.t.Errorf("%s: key %d is there twice", what, c.row.id)
		}
		if state[c.row.id] = c.row; c.row.id < stressAccounts {
			sum += c.row.number
		}
	}
	if sum != stressAccounts*stressBalance {
		s.t.Errorf("%s: the sum is %d, want %d", what, sum, stressAccounts*stressBalance)
	}
	for _, pair := range s.pairs {
		if state[pair[0]].number != state[pair[1]].number {
			s.t.Errorf("%s: %+v and %+v", what, state[pair[0]], state[pair[1]])
		}
	}
	s.scans.Add(1)
}

func (s *keyedStress) scan(context.Context, *rand.Rand) {
	cells, _, err := readCells(s.t, s.e, Scan{Table: name(s.t, "t")})
	if err != nil {
		s.t.Error(err)
		return
	}
	s.checkState("a scan", cells)
}

func (s *keyedStress) plan(ctx context.Context, random *rand.Rand) {
	plan, err := s.e.Plan(ctx, Scan{Table: name(s.t, "t")})
	if err != nil {
		if ctx.Err() == nil {
			s.t.Error(err)
		}
		return
	}
	var first []cell
	for round := range 2 {
		var cells []cell
		for _, bucket := range slices.Sorted(maps.Keys(plan.Ranges)) {
			part, _, err := readCells(s.t, s.e, Scan{Table: name(s.t, "t"), Plan: plan.ID, Buckets: []int32{bucket}, SystemColumns: true})
			if err != nil {
				s.t.Error(err)
				return
			}
			cells = append(cells, part...)
		}
		if s.checkState("a plan", cells); round == 0 {
			first = cells
		} else if !slices.Equal(cells, first) || int64(len(cells)) != plan.Rows {
			s.t.Errorf("a plan of %d rows gives %d, then %d", plan.Rows, len(first), len(cells))
		}
	}
	if err := s.e.CancelPlan(plan.ID); err != nil {
		s.t.Error(err)
	}
}

// follow reads a state and a number of changes behind it, and folds them.
func (s *keyedStress) follow(ctx context.Context, random *rand.Rand) {
	r, err := s.e.Scan(ctx, Scan{Table: name(s.t, "t"), View: ViewRowsAndChangelog, To: Bound{Kind: BoundNever}, SystemColumns: true})
	if err != nil {
		s.t.Error(err)
		return
	}
	defer r.Close()
	var cells []cell
	for want := 100 + random.IntN(5000); want > 0; {
		chunk, err := r.Next(ctx)
		if err != nil {
			if !errors.Is(err, context.DeadlineExceeded) {
				s.t.Error(err)
			}
			break
		}
		if chunk.Mark != "" {
			s.checkState("a state before changes", cells)
			continue
		}
		record := decodeRecord(s.t, r.SchemaMessage(), chunk.Message)
		cells = append(cells, cellsOf(s.t, record)...)
		record.Release()
		want -= int(chunk.Rows)
		s.changes.Add(chunk.Rows)
	}
	s.foldFollowed(cells)
}

// foldFollowed folds changes as they came in. Of each key they must have come in their order, which is that of
// their offsets, also where its bucket has split.
func (s *keyedStress) foldFollowed(cells []cell) {
	byBucket := map[int32][]cell{}
	newest := map[int64]int64{}
	for _, c := range cells {
		byBucket[c.bucket] = append(byBucket[c.bucket], c)
		if before, seen := newest[c.row.id]; seen && before >= c.offset {
			s.t.Errorf("%+v came behind the change of that key at offset %d", c, before)
		}
		newest[c.row.id] = c.offset
	}
	// A piece of one bucket may end between two rows of an update, and the changes of a bucket that has split go on
	// in one with a larger number.
	var states [stressBuckets]keyedState
	for _, bucket := range slices.Sorted(maps.Keys(byBucket)) {
		cells := byBucket[bucket]
		if cells[len(cells)-1].kind == "-U" {
			cells = cells[:len(cells)-1]
		}
		state := &states[bucket%stressBuckets]
		if *state == nil {
			*state = keyedState{}
		}
		state.fold(s.t, cells, model.ImageFull)
	}
}

// hashesOfKeys gives the hashes of the keys of pairs.
func hashesOfKeys(t *testing.T) map[int64]uint64 {
	var rows []keyedRow
	for i := range int64(120) {
		rows = append(rows, keyedRow{stressPairs + i, "", 0})
	}
	layout, err := arrowipc.NewLayout(keyedSchema)
	if err != nil {
		t.Fatal(err)
	}
	header, body := keyedMessage(t, keyedSchema, rows)
	var batch arrowipc.Batch
	if err := arrowipc.ParseMessage(layout, header, slices.Concat(body...), 0, &batch); err != nil {
		t.Fatal(err)
	}
	hasher, err := hasherOf(layout, []string{"id"})
	if err != nil {
		t.Fatal(err)
	}
	hashes, err := hasher.Hash(&batch, nil)
	if err != nil {
		t.Fatal(err)
	}
	byKey := map[int64]uint64{}
	for i, row := range rows {
		byKey[row.id] = hashes[i]
	}
	return byKey
}
