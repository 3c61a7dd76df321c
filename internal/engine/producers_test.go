package engine

import (
	"errors"
	"testing"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// TestSequences sends batches with sequence numbers, each step behind the ones before it.
func TestSequences(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	e := open(t, testOptions(mem))
	defer func() { closeEngine(t, e) }()
	createTable(t, e, CreateTable{Name: name(t, "t")})
	for _, step := range []struct {
		what         string
		epoch, seq   int64
		from, rows   int64
		reason       error // nil: stored, unless duplicate
		duplicate    bool
		first, after int64 // the range of the acknowledgement
	}{
		{"the first batch", 1, 0, 0, 5, nil, false, 0, 5},
		{"the second", 1, 1, 5, 5, nil, false, 5, 10},
		{"the first again", 1, 0, 0, 5, nil, true, 0, 5},
		{"the second again", 1, 1, 5, 5, nil, true, 5, 10},
		{"the second with other rows", 1, 1, 6, 5, model.SequenceReused, false, 0, 0},
		{"a hole", 1, 3, 10, 5, model.SequenceGap, false, 0, 0},
		{"an older epoch", 0, 2, 10, 5, model.ProducerFenced, false, 0, 0},
		{"a newer epoch that does not begin at 0", 2, 1, 10, 5, model.SequenceExpired, false, 0, 0},
		{"a newer epoch", 2, 0, 10, 5, nil, false, 10, 15},
		{"the epoch before", 1, 2, 15, 5, model.ProducerFenced, false, 0, 0},
	} {
		ack, err := openWriter(t, e, "t", PutRequest{}).write(step.from, step.rows, &Sequence{"p", step.epoch, step.seq})
		if !errors.Is(err, step.reason) || (err != nil) != (step.reason != nil) {
			t.Fatalf("%s: error %v, want %v", step.what, err, step.reason)
		}
		if err != nil {
			continue
		}
		if want := (model.Range{From: step.first, To: step.after}); ack.Offsets[0] != want || ack.Duplicate != step.duplicate {
			t.Fatalf("%s: %+v, want %v, duplicate %t", step.what, ack, want, step.duplicate)
		}
	}
	if _, err := openWriter(t, e, "t", PutRequest{}).write(0, 1, &Sequence{"unknown", 1, 7}); !errors.Is(err, model.SequenceExpired) {
		t.Errorf("an unknown producer with seq 7: error %v, want %v", err, model.SequenceExpired)
	}
	if rows := readAll(t, e, "t"); len(rows) != 15 {
		t.Errorf("%d rows, want 15", len(rows))
	}
}

// TestProducersSurvive restarts the server after segments have rolled, with the snapshot of the
// producers and without it.
func TestProducersSurvive(t *testing.T) {
	for _, keep := range []bool{true, false} {
		mem := vfs.NewMem(vfs.MemOptions{})
		e := open(t, testOptions(mem))
		table := createTable(t, e, CreateTable{Name: name(t, "t"), Buckets: 3, BucketKey: []string{"id"}})
		w := openWriter(t, e, "t", PutRequest{})
		var acks []Ack
		const batches, rows = 60, 400
		for n := range int64(batches) {
			ack, err := w.write(n*rows, rows, &Sequence{"p", 4, n})
			if err != nil {
				t.Fatal(err)
			}
			acks = append(acks, ack)
			if n == batches/2 {
				e.Maintain(t.Context())
			}
		}
		closeEngine(t, e)
		snapshot := tablesDir + "/" + table.ID + "/" + producersFile
		if _, err := mem.Stat(snapshot); err != nil {
			t.Fatalf("no snapshot was written: %v", err)
		}
		if !keep {
			if err := mem.Remove(snapshot); err != nil {
				t.Fatal(err)
			}
		}
		e = open(t, testOptions(mem))
		w = openWriter(t, e, "t", PutRequest{})
		for n := range int64(batches) {
			ack, err := w.write(n*rows, rows, &Sequence{"p", 4, n})
			if err != nil || !ack.Duplicate {
				t.Fatalf("snapshot kept %t: retry of seq %d: %+v, %v", keep, n, ack, err)
			}
			for bucket, want := range acks[n].Offsets {
				if ack.Offsets[bucket] != want {
					t.Fatalf("snapshot kept %t: retry of seq %d: %v, want %v", keep, n, ack.Offsets, acks[n].Offsets)
				}
			}
		}
		if got := len(readAll(t, e, "t")); got != batches*rows {
			t.Errorf("snapshot kept %t: %d rows, want %d", keep, got, batches*rows)
		}
		closeEngine(t, e)
	}
}

// TestOpenProducer opens epochs; they survive a restart, also where no batch follows.
func TestOpenProducer(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	e := open(t, testOptions(mem))
	createTable(t, e, CreateTable{Name: name(t, "t")})
	state, err := e.OpenProducer(t.Context(), name(t, "t"), "p", false)
	if err != nil || state.Epoch != 1 || state.NextSequence != 0 || state.LastSequence != -1 {
		t.Fatalf("a new producer: %+v, %v", state, err)
	}
	if _, err := openWriter(t, e, "t", PutRequest{}).write(0, 5, &Sequence{"p", 1, 0}); err != nil {
		t.Fatal(err)
	}
	state, err = e.OpenProducer(t.Context(), name(t, "t"), "p", true)
	if err != nil || state.Epoch != 2 || state.NextSequence != 0 || state.LastEpoch != 1 || state.LastSequence != 0 ||
		state.LastOffsets[0] != (model.Range{From: 0, To: 5}) {
		t.Fatalf("a new epoch: %+v, %v", state, err)
	}
	if err := e.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	e = open(t, testOptions(mem))
	defer closeEngine(t, e)
	if _, err := openWriter(t, e, "t", PutRequest{}).write(5, 5, &Sequence{"p", 1, 1}); !errors.Is(err, model.ProducerFenced) {
		t.Errorf("the old epoch after a restart: error %v, want %v", err, model.ProducerFenced)
	}
	if _, err := openWriter(t, e, "t", PutRequest{}).write(5, 5, &Sequence{"p", 2, 0}); err != nil {
		t.Errorf("the new epoch after a restart: %v", err)
	}
	states, err := e.Producers(name(t, "t"))
	if err != nil || len(states) != 1 || states[0].Epoch != 2 || states[0].NextSequence != 1 {
		t.Errorf("producers: %+v, %v", states, err)
	}
	if got := len(readAll(t, e, "t")); got != 10 {
		t.Errorf("%d rows, want 10: openings have none", got)
	}
}
