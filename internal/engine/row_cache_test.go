package engine

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

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
