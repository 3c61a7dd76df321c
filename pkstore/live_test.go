package pkstore

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestLiveRowsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var live liveRows
		want := map[int64]bool{}
		type state struct {
			frozen frozenRows
			want   []int64
		}
		var states []state
		// Neighbours of the borders of words and chunks.
		offset := rapid.OneOf(
			rapid.Int64Range(0, 130),
			rapid.Int64Range(chunkRows-3, chunkRows+70),
			rapid.Int64Range(3*chunkRows-1, 3*chunkRows+1),
		)
		for range rapid.IntRange(0, 100).Draw(t, "steps") {
			at := offset.Draw(t, "offset")
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0, 1:
				live.set(at)
				want[at] = true
			case 2:
				live.clear(at)
				delete(want, at)
			case 3:
				states = append(states, state{live.freeze(), sortedKeys(want)})
			}
		}
		states = append(states, state{live.frozen(), sortedKeys(want)})
		for _, s := range states {
			from := offset.Draw(t, "from")
			to := from + rapid.Int64Range(0, 4*chunkRows).Draw(t, "rows")
			checkLive(t, s.frozen, s.want, from, to)
			checkLive(t, s.frozen, s.want, 0, 5*chunkRows)
		}
		chunks := int64(0)
		for _, c := range live.chunks {
			if c.bits != nil {
				chunks++
			}
		}
		if live.words != chunks {
			t.Fatalf("%d chunks take memory, %d are counted", chunks, live.words)
		}
	})
}

func checkLive(t failer, f frozenRows, want []int64, from, to int64) {
	t.Helper()
	if f.count != int64(len(want)) {
		t.Fatalf("%d rows are counted, want %d", f.count, len(want))
	}
	var inside []int32
	for _, offset := range want {
		if !f.has(offset) {
			t.Fatalf("offset %d is not live", offset)
		}
		if offset >= from && offset < to {
			inside = append(inside, int32(offset-from))
		}
	}
	if n := f.countRange(from, to); n != int64(len(inside)) {
		t.Fatalf("%d rows are counted in %d..%d, want %d", n, from, to, len(inside))
	}
	if rows := f.appendRows(nil, from, to); !slices.Equal(rows, inside) {
		t.Fatalf("rows %v are live in %d..%d, want %v", rows, from, to, inside)
	}
}
