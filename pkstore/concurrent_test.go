package pkstore

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// One goroutine applies changes that give all keys the same number, another publishes them; readers
// must see the number of exactly one change in all keys, and the one that asOf says.
func TestLookupsAreSnapshots(t *testing.T) {
	t.Run("log", func(t *testing.T) {
		testLookups(t, newTestBucket(t, Options{BatchBytes: 4000}), func() bool { return false })
	})
	t.Run("retired", func(t *testing.T) {
		b := newTestBucket(t, Options{BatchBytes: 4000})
		store := openCold(t, ColdOptions{Dir: t.TempDir()})
		defer closeCold(t, store)
		if err := b.UseCold(store, ColdBucket{}); err != nil {
			t.Fatal(err)
		}
		moved := int64(0)
		testLookups(t, b, func() bool {
			n, err := b.Retire(t.Context(), Retirement{Before: b.End(), Times: testTimes, Durable: func(context.Context) error { return nil }})
			if err != nil {
				t.Error(err)
			}
			moved += n
			return true
		})
		if moved == 0 {
			t.Error("no row was retired")
		}
	})
}

// testLookups runs writers and readers of a bucket, and beside them meanwhile as long as it gives true.
func testLookups(t *testing.T, b *Bucket, meanwhile func() bool) {
	const keys, changes, ahead = 300, 150, 3
	var rows []testRow
	for i := range keys {
		rows = append(rows, testRow{strconv.Itoa(i), "n", null, "", "text"})
	}
	view := viewOf(t, testKey, rows)
	columns, err := arrowipc.NewKeyColumns(view.Layout(), testKey)
	if err != nil {
		t.Fatal(err)
	}
	request := Keys{View: view, Columns: columns, Hashes: keyHashes(t, view, testKey)}
	type publication struct {
		end    int64
		stored []Stored
	}
	queue := make(chan publication, ahead)
	var group sync.WaitGroup
	group.Go(func() {
		defer close(queue)
		end := int64(0)
		for n := range changes {
			for i := range rows {
				rows[i][numberColumn] = strconv.Itoa(n)
			}
			c := changeOf(t, allOf, rows)
			batches, err := b.Apply(end, c)
			if err != nil {
				t.Error(err)
				return
			}
			c.Rows.Batch().Release()
			for _, row := range logged(t, batches) {
				if row.kind == model.ChangeUpdateBefore && row.row[numberColumn] != strconv.Itoa(n-1) {
					t.Errorf("change %d replaces %v", n, row)
				}
			}
			stored := kept(t, end, batches, 70)
			end = stored[len(stored)-1].end()
			queue <- publication{end, stored}
		}
	})
	var done atomic.Bool
	group.Go(func() {
		defer done.Store(true)
		for p := range queue {
			if err := b.Publish(p.end, p.stored); err != nil {
				t.Error(err)
				return
			}
		}
	})
	group.Go(func() {
		for !done.Load() && meanwhile() {
		}
	})
	var lookups atomic.Int64
	for range 2 {
		group.Go(func() {
			var picks []arrowipc.Pick
			reader := NewRowReader(b.current().options.RowCache)
			for !done.Load() {
				reader.Begin()
				var asOf int64
				var err error
				if picks, asOf, err = b.Lookup(request, reader, picks[:0]); err != nil {
					t.Error(err)
					return
				}
				same := sameNumber(t, b, picks, asOf)
				if reader.End(); !same {
					return
				}
				lookups.Add(1)
				if n := b.Snapshot().Count(); n != 0 && n != keys {
					t.Errorf("a snapshot has %d rows", n)
				}
			}
		})
	}
	group.Wait()
	if lookups.Load() == 0 {
		t.Error("there was no lookup")
	}
	if s := b.current().options.RowCache.Stats(); s.Hits == 0 || s.Misses == 0 {
		t.Errorf("the cache of rows was not used: %+v", s)
	}
	if s := b.Stats(); s.PendingKeys != 0 || s.Keys != keys {
		t.Errorf("stats are %+v", s)
	}
}

// sameNumber checks what one lookup found. The first change adds a row a key, each later one two.
func sameNumber(t *testing.T, b *Bucket, picks []arrowipc.Pick, asOf int64) bool {
	want := null
	if asOf > 0 {
		want = strconv.Itoa((int(asOf)/len(picks) - 1) / 2)
	}
	rows := copied(t, b.current().options.Layout, picks)
	for i, p := range picks {
		got := null
		if p.View != nil {
			got = textAt(rows, numberColumn, int32(i))
		}
		if got != want {
			t.Errorf("key %d of %d has %s, want %s as of offset %d", i, len(picks), got, want, asOf)
			return false
		}
	}
	return true
}
