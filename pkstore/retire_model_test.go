package pkstore

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"pgregory.net/rapid"
)

// memoryBucket is the bucket of the machine in its store of retired rows.
var memoryBucket = ColdBucket{Bucket: 3}

// testTimes makes append times of offsets.
func testTimes(s Stored) (func(int32) int64, error) {
	return func(row int32) int64 { return testTime(s.Base + int64(row)) }, nil
}

func testTime(offset int64) int64 { return offset*7 + 1 }

var errTestCut = errors.New("cut")

// Retire moves rows below the log, or fails at some step.
func (m *machine) Retire(t *rapid.T) {
	if len(m.stored) == 0 || m.weak { // rows are stored with the hash of their key
		return
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	before := rapid.Int64Range(m.stored[0].Base, m.states[0].end+1).Draw(t, "before")
	cut := rapid.SampledFrom([]string{"", "", "durable", "rows", "keys"}).Draw(t, "cut at")
	rows := rapid.IntRange(0, 5).Draw(t, "rows before the cut")
	r := Retirement{Before: before, Durable: func(context.Context) error { return nil }}
	r.Times = func(s Stored) (func(int32) int64, error) {
		if rows--; cut == "rows" && rows < 0 {
			return nil, errTestCut
		}
		return testTimes(s)
	}
	if cut == "durable" {
		r.Durable = func(context.Context) error { return errTestCut }
	}
	if cut == "keys" { // the store has the rows, the index the keys
		snapshot := m.bucket.Snapshot()
		state := m.cold.State(memoryBucket)
		from := max(state.Boundary, snapshot.log.start)
		if at := snapshot.log.floor(before); at > from {
			moved, err := m.bucket.newRetiringRows(snapshot, from, at, testTimes)
			if err == nil {
				err = m.cold.Retire(ctx, ColdRetire{Bucket: memoryBucket, Commit: state.Commit + 1, Boundary: at}, moved.all())
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		cancel()
	}
	_, err := m.bucket.Retire(ctx, r)
	if err != nil && !errors.Is(err, errTestCut) && (cut != "keys" || !errors.Is(err, context.Canceled)) {
		t.Fatal(err)
	}
}

// forget drops what of the log was retired. After that, only the store has it.
func (m *machine) forget() {
	boundary := m.cold.State(memoryBucket).Boundary
	m.stored = slices.DeleteFunc(slices.Clone(m.stored), func(s Stored) bool { return s.end() <= boundary })
}

// open makes a bucket over the store, from an index file and its log where there is one.
func (m *machine) open(t *rapid.T, file []byte, stored []Stored) {
	m.bucket = newTestBucket(t, m.last().options)
	if file != nil {
		if _, _, err := m.bucket.LoadIndex(file); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.bucket.UseCold(m.cold, memoryBucket); err != nil {
		t.Fatal(err)
	}
	if file != nil {
		// What the bucket has forgotten by now belongs to no index of it.
		for len(stored) > 0 && stored[0].Base < m.bucket.loaded.start {
			stored = stored[1:]
		}
		if err := m.bucket.Attach(stored); err != nil {
			t.Fatal(err)
		}
	}
}

// Save keeps an index file for later.
func (m *machine) Save(*rapid.T) {
	m.saved, m.savedLog = m.bucket.AppendIndex(nil), slices.Clone(m.stored)
}

// reopenSaved opens the bucket from the index file that was kept, which is of an earlier time. It may be too
// old.
func (m *machine) reopenSaved(t *rapid.T) bool {
	_, end, err := IndexRange(m.saved)
	if err != nil {
		t.Fatal(err)
	}
	if end < m.cold.State(memoryBucket).Boundary || len(m.savedLog) == 0 {
		return false
	}
	m.open(t, m.saved, m.savedLog)
	m.stored = append(slices.Clone(m.savedLog), slices.DeleteFunc(slices.Clone(m.stored), func(s Stored) bool { return s.Base < end })...)
	for _, s := range m.stored {
		if s.Base >= end {
			if err := m.bucket.Replay(s); err != nil {
				t.Fatal(err)
			}
		}
	}
	return true
}

// checkRetired checks that each row is reached by the index or in the store, and in one of them alone once
// retirement has ended; and that rows keep their offsets and times.
func (m *machine) checkRetired(t *rapid.T) {
	retired := m.bucket.retired.Load()
	log := m.bucket.log.Load()
	for live, err := range m.bucket.Snapshot().Batches() {
		if err != nil {
			t.Fatal(err)
		}
		for row := range live.All() {
			offset := live.Offset(row)
			if live.Offsets != nil && (live.Times[row] != testTime(offset) || offset >= retired.boundary) {
				t.Fatalf("the retired row of offset %d has the time %d", offset, live.Times[row])
			}
			if live.Offsets == nil && retired != nil && log.start >= retired.boundary && offset < retired.boundary {
				t.Fatalf("the log has offset %d, below the boundary %d", offset, retired.boundary)
			}
			if at := m.log[offset-m.start]; fmt.Sprint(at.row) != fmt.Sprint(rowAt(live.View, row)) {
				t.Fatalf("offset %d has %v, want %v", offset, rowAt(live.View, row), at.row)
			}
		}
	}
	stats := m.bucket.Stats()
	if retired != nil && log.start >= retired.boundary && stats.Keys-stats.RetiredKeys != m.bucket.live.frozen().countRange(retired.boundary, log.end) {
		t.Fatalf("%d of %d keys are retired, behind %d there are %d", stats.RetiredKeys, stats.Keys, retired.boundary,
			m.bucket.live.frozen().countRange(retired.boundary, log.end))
	}
}
