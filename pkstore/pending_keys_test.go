package pkstore

import (
	"testing"

	"pgregory.net/rapid"
)

// Keys are numbers here; several have the same hash.
func TestPendingKeysModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p pendingKeys
		type made struct {
			key    int
			number int
			newest int64
		}
		var want []made // pending ones, oldest first
		keyAt := map[int64]int{}
		next := int64(0)
		find := func(key int) int {
			return p.find(uint64(key%3), func(offset int64) bool { return keyAt[offset] == key })
		}
		newest := func(key int) int {
			for i := len(want) - 1; i >= 0; i-- {
				if want[i].key == key {
					return want[i].number
				}
			}
			return noChange
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				n := rapid.SampledFrom([]int{1, 2, 3, 600}).Draw(t, "changes")
				p.reserve(n)
				for range n {
					key := rapid.IntRange(0, 20).Draw(t, "key")
					previous := find(key)
					p.add(keyChange{hash: uint64(key % 3), newest: next, previous: previous})
					keyAt[next] = key
					want = append(want, made{key, p.number + len(p.changes) - 1, next})
					next++
				}
			},
			"publish": func(t *rapid.T) {
				end := rapid.Int64Range(0, next).Draw(t, "end")
				n := 0
				for n < len(want) && want[n].newest < end {
					n++
				}
				if got := p.below(end); len(got) != n {
					t.Fatalf("%d changes lie below %d, want %d", len(got), end, n)
				}
				p.drop(n)
				want = want[n:]
			},
			"abandon": func(t *rapid.T) {
				from := rapid.Int64Range(max(0, next-700), next).Draw(t, "from")
				p.abandon(from)
				for len(want) > 0 && want[len(want)-1].newest >= from {
					want = want[:len(want)-1]
				}
				next = min(next, from)
			},
			"": func(t *rapid.T) {
				if p.pending() != len(want) {
					t.Fatalf("%d changes are pending, want %d", p.pending(), len(want))
				}
				for key := range 21 {
					if got, want := find(key), newest(key); got != want {
						t.Fatalf("key %d: change %d, want %d", key, got, want)
					}
				}
			},
		})
	})
}

func TestPendingKeysGiveMemoryBack(t *testing.T) {
	var p pendingKeys
	// There is always something pending, so that nothing is ever reset as a whole.
	for i := range int64(200_000) {
		p.reserve(1)
		p.add(keyChange{hash: uint64(i) << 20, newest: i, previous: noChange})
		if i > 10 {
			p.drop(1)
		}
	}
	if cap(p.changes) > 10*pendingTableMin || len(p.table) > 4*pendingTableMin {
		t.Fatalf("11 changes take %d entries and a table of %d", cap(p.changes), len(p.table))
	}
	if p.pending() != 11 {
		t.Fatalf("%d changes are pending, want 11", p.pending())
	}
}
