package pkstore

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/headrace/headrace/internal/arrowipc"
)

func TestPublishedLogLocates(t *testing.T) {
	view := viewOf(t, testKey, make([]testRow, 0))
	batch := view.Batch()
	sized := map[int64]*arrowipc.View{}
	rapid.Check(t, func(t *rapid.T) {
		// Batches of one row and of several pages, in any order.
		sizes := rapid.SliceOfN(rapid.OneOf(
			rapid.Int64Range(0, 3), rapid.Just[int64](1), rapid.Just[int64](1<<pageShift), rapid.Int64Range(3000, 20_000),
		), 1, 200).Draw(t, "sizes")
		start := rapid.Int64Range(0, 1<<40).Draw(t, "start")
		log, base := &publishedLog{}, start
		var bases []int64
		for _, size := range sizes {
			if sized[size] == nil {
				sized[size] = rowsOfNothing(t, batch.Layout, size)
			}
			longer, err := log.extend([]Stored{{Base: base, View: sized[size]}})
			if err != nil {
				t.Fatal(err)
			}
			log = longer
			if size > 0 {
				bases = append(bases, base)
			}
			base += size
		}
		if log.start != start || log.end != base || len(log.batches) != len(bases) {
			t.Fatalf("the log has %d batches from %d to %d, want %d up to %d", len(log.batches), log.start, log.end, len(bases), base)
		}
		for i, first := range bases {
			for _, offset := range []int64{first, log.bases[i+1] - 1, (first + log.bases[i+1]) / 2} {
				if b, row := log.locate(offset); b != log.batches[i] || b.Base+int64(row) != offset {
					t.Fatalf("offset %d is not found in the batch at %d", offset, first)
				}
			}
		}
		for _, offset := range []int64{start - 1, base, base + 1<<30} {
			if b, _ := log.locate(offset); b != nil {
				t.Fatalf("offset %d is found", offset)
			}
		}
		if len(bases) == 0 {
			return // the next batch says where the log begins
		}
		if _, err := log.extend([]Stored{{Base: base + 1, View: sized[sizes[0]]}}); err == nil {
			t.Fatal("a hole was accepted")
		}
	})
}

// rowsOfNothing is a batch of the rows ("0", "").
func rowsOfNothing(t failer, l *arrowipc.Layout, n int64) *arrowipc.View {
	t.Helper()
	builder := arrowipc.NewBuilder(l)
	zero := make([]byte, 8)
	for range n {
		if err := errors.Join(builder.AppendValue(0, zero), builder.AppendValue(1, nil)); err != nil {
			t.Fatal(err)
		}
	}
	return opened(t, builder.Finish())
}

// Values are read only once Check has succeeded, and Check is called no more than that.
func TestStoredIsChecked(t *testing.T) {
	b := newTestBucket(t, Options{})
	row := testRow{"1", "a", "1", "10", "x"}
	batches, err := b.Apply(0, changeOf(t, allOf, []testRow{row}))
	if err != nil {
		t.Fatal(err)
	}
	stored := kept(t, 0, batches, 10)
	rotten := errors.New("rotten")
	calls, answer := 0, rotten
	stored[0].Check = func() error {
		calls++
		return answer
	}
	if err := b.Publish(1, stored); err != nil {
		t.Fatal(err)
	}
	if found, _ := lookedUp(t, b, []testRow{{"2", "a"}}, nil); found[0] != null || calls != 0 {
		t.Fatalf("a miss gives %v after %d checks", found, calls)
	}
	view := viewOf(t, testKey, []testRow{row})
	columns, err := arrowipc.NewKeyColumns(view.Layout(), testKey)
	if err != nil {
		t.Fatal(err)
	}
	keys := Keys{View: view, Columns: columns, Hashes: keyHashes(t, view, testKey)}
	if _, _, err := b.Lookup(keys, nil, nil); !errors.Is(err, rotten) {
		t.Fatalf("a lookup of a rotten row gives %v", err)
	}
	if _, err := b.Apply(1, changeOf(t, allOf, []testRow{{"2", "b", null, null, null}, row})); !errors.Is(err, rotten) {
		t.Fatalf("an update of a rotten row gives %v", err)
	}
	if s := b.Stats(); s.PendingKeys != 0 || s.Keys != 1 {
		t.Fatalf("the failed change left %+v", s)
	}
	calls, answer = 0, nil
	for range 3 {
		if found, _ := lookedUp(t, b, []testRow{row}, nil); found[0] == null {
			t.Fatal("the row is not found")
		}
		stateOf(t, b.Snapshot())
	}
	if _, err := b.Apply(1, changeOf(t, allOf, []testRow{row})); err != nil {
		t.Fatal(err)
	}
	if calls != 1 {
		t.Fatalf("the batch was checked %d times", calls)
	}
}

func TestPublishRefusesAnotherLog(t *testing.T) {
	for name, change := range map[string]func(*Stored){
		"base": func(s *Stored) { s.Base++ },
		"rows": func(s *Stored) { s.View = viewOf(t, testKey, make([]testRow, 0)) },
	} {
		b := newTestBucket(t, Options{})
		for i := range int64(2) {
			batches, err := b.Apply(i, changeOf(t, allOf, []testRow{{string(rune('1' + i)), "a", "1", "10", "x"}}))
			if err != nil {
				t.Fatal(err)
			}
			stored := kept(t, i, batches, 10)
			if i == 1 {
				change(&stored[0])
			}
			if err := b.Publish(i+1, stored); (err == nil) != (i == 0) {
				t.Errorf("%s: publishing change %d gives %v", name, i, err)
			}
		}
	}
	b := newTestBucket(t, Options{})
	if _, err := b.Apply(0, changeOf(t, allOf, []testRow{{"1", "a", "1", "10", "x"}})); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Apply(0, changeOf(t, allOf, []testRow{{"1", "a", "1", "10", "x"}})); err == nil {
		t.Error("a change was applied at an offset that is taken")
	}
}
