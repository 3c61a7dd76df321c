package engine

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
	"github.com/headrace/headrace/pkstore"
)

// TestRowCacheOfAnySize looks up rows of all sizes again and again while they change, with a cache that has room, with one
// that is too small, and without one.
func TestRowCacheOfAnySize(t *testing.T) {
	for _, size := range []int64{0, pkstore.RowCacheBytesMin, -1} {
		options := testOptions(vfs.NewMem(vfs.MemOptions{}))
		options.SegmentBytes, options.RowCacheBytes = 1<<20, size
		e := open(t, options)
		createKeyed(t, e, "t", 3, nil)
		l := openLookup(t, e, "t", LookupRequest{})
		random := rand.New(rand.NewPCG(7, 7))
		const keys = 300
		want := make([]keyedRow, keys)
		for round := range 40 {
			var rows []keyedRow
			for id := range int64(keys) {
				if round == 0 || random.IntN(10) == 0 {
					// Some rows are too large for any cache.
					length := []int{0, 10, 100, 5000, 20_000}[random.IntN(5)]
					rows = append(rows, keyedRow{id, strings.Repeat("z", length), random.Int64N(1000)})
					want[id] = rows[len(rows)-1]
				}
			}
			upsert(t, e, "t", rows...)
			for range 2 {
				ids := make([]int64, keys)
				for i := range ids {
					ids[i] = random.Int64N(keys)
				}
				got, _ := l.rows(ids...)
				if !slices.EqualFunc(ids, got, func(id int64, row keyedRow) bool { return row == want[id] }) {
					t.Fatalf("a cache of %d bytes: lookup %d found other rows than were written", size, round)
				}
			}
		}
		switch s := e.Status().RowCache; {
		case size < 0 && s != (pkstore.RowCacheStats{}):
			t.Errorf("without a cache: %+v", s)
		case size >= 0 && (s.Hits == 0 || s.Misses == 0 || s.UsedBytes == 0 || s.UsedBytes > s.Bytes):
			t.Errorf("a cache of %d bytes: %+v", size, s)
		}
		closeEngine(t, e)
	}
	options := testOptions(vfs.NewMem(vfs.MemOptions{}))
	options.RowCacheBytes = pkstore.RowCacheBytesMin - 1
	if _, err := Open(t.Context(), options); err == nil || !strings.Contains(err.Error(), "RowCacheBytes is 1048575, want at least 1048576") {
		t.Errorf("a cache that is too small: got %v", err)
	}
}

// TestWaitingLookupsDoNotStopTheRowCache fills a small cache while lookups wait: for offsets that are not there, and for
// a client that does not take the parts of an answer.
func TestWaitingLookupsDoNotStopTheRowCache(t *testing.T) {
	const keys = 3000
	options := testOptions(vfs.NewMem(vfs.MemOptions{}))
	options.SegmentBytes, options.RowCacheBytes = 16<<20, pkstore.RowCacheBytesMin
	e := open(t, options)
	defer closeEngine(t, e)
	createKeyed(t, e, "t", 1, nil)
	createIndex(t, e, "t", "by_number", "number")
	rows := numbered(0, keys, strings.Repeat("z", 1000))
	for i := range rows {
		rows[i].number = 7
	}
	upsert(t, e, "t", rows...)

	waiting := openLookup(t, e, "t", LookupRequest{MinOffsets: model.Offsets{0: 1 << 40}})
	ctx, cancel := context.WithCancel(t.Context())
	waited := make(chan error)
	header, body := keyedMessage(t, keyedFields("id"), rowsOfKeys(1))
	go func() {
		_, _, err := waiting.ask(ctx, header, body)
		waited <- err
	}()
	defer func() {
		cancel()
		if err := <-waited; !errors.Is(err, context.Canceled) {
			t.Errorf("the lookup that waits: got %v", err)
		}
	}()
	byNumber := LookupRequest{By: []string{"number"}, Schema: arrowipc.EncodeSchema(keyedFields("number"))}
	slow := openLookup(t, e, "t", byNumber)
	header7, body7 := keyedMessage(t, keyedFields("number"), []keyedRow{{number: 7}})
	parts := 0
	for part, err := range slow.lookup.Answer(t.Context(), KeyMessage{Header: header7, Body: body7}) {
		if err != nil {
			t.Fatal(err)
		}
		if parts++; part.Last || parts > 1 {
			continue
		}
		l := openLookup(t, e, "t", LookupRequest{})
		for from := int64(0); from < keys; from += 100 {
			var ids []int64
			for id := from; id < from+100; id++ {
				ids = append(ids, id)
			}
			l.rows(ids...)
		}
		if s := e.Status().RowCache; s.UsedBytes < s.Bytes*8/10 { // the rest is for a larger table
			t.Errorf("beside lookups that wait, the cache takes %+v", s)
		}
	}
	if parts < 2 {
		t.Fatalf("%d parts, want some", parts)
	}
}
