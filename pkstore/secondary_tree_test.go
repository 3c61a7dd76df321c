package pkstore

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// checkTree checks the shape of a tree and gives its entries.
func checkTree(t failer, tree *entryTree) []uint64 {
	t.Helper()
	var all []uint64
	bytes := int64(0)
	leaves := -1
	var walk func(n *entryNode, depth int)
	walk = func(n *entryNode, depth int) {
		bytes += n.bytes()
		if n.children == nil {
			if leaves >= 0 && leaves != depth {
				t.Fatalf("leaves have the depths %d and %d", leaves, depth)
			}
			if len(n.entries) == 0 && depth > 0 {
				t.Fatal("a leaf is empty")
			}
			if len(all) > 0 && len(n.entries) > 0 && all[len(all)-1] >= n.entries[0] {
				t.Fatalf("a leaf begins with %x behind %x", n.entries[0], all[len(all)-1])
			}
			leaves = depth
			all = append(all, n.entries...)
			return
		}
		if len(n.children) > treeInnerMax || len(n.children) != len(n.entries) {
			t.Fatalf("a node has %d entries of %d children", len(n.entries), len(n.children))
		}
		for i, child := range n.children {
			if child.entries[0] != n.entries[i] {
				t.Fatalf("child %d begins with %x, want %x", i, child.entries[0], n.entries[i])
			}
			walk(child, depth+1)
		}
	}
	walk(tree.root, 0)
	if !slices.IsSorted(all) || int64(len(all)) != tree.rows || bytes != tree.bytes {
		t.Fatalf("%d entries, sorted %v, in %d bytes; the tree says %d in %d", len(all), slices.IsSorted(all), bytes, tree.rows, tree.bytes)
	}
	return all
}

func TestEntryTreeAgainstSlice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		spread := rapid.SampledFrom([]uint64{3, 300, 1 << 20, 1 << 62}).Draw(t, "spread")
		tree := newEntryTree()
		var want []uint64
		old, seen := tree.root, []uint64(nil)
		for range rapid.IntRange(1, 12).Draw(t, "changes") {
			var added, removed []uint64
			for range rapid.SampledFrom([]int{0, 1, 50, 3000, 40_000}).Draw(t, "added") {
				added = append(added, rnd.Uint64N(spread))
			}
			slices.Sort(added)
			want = append(want, added...)
			slices.Sort(want)
			share := rapid.SampledFrom([]float64{0, 0.01, 0.5, 0.99, 1}).Draw(t, "removed")
			kept := want[:0:0]
			for _, entry := range want {
				if rnd.Float64() < share {
					removed = append(removed, entry)
				} else {
					kept = append(kept, entry)
				}
			}
			want = kept
			if err := tree.change(added, removed); err != nil {
				t.Fatal(err)
			}
			if got := checkTree(t, tree); !slices.Equal(got, want) {
				t.Fatalf("%d entries, want %d", len(got), len(want))
			}
			if got := old.appendRange(nil, 0, 1<<63); !slices.Equal(got, seen) {
				t.Fatal("a root that was held has changed")
			}
			if rapid.Bool().Draw(t, "hold") {
				old, seen = tree.root, slices.Clone(want)
			}
			checkRanges(t, tree, want, rnd, spread)
		}
	})
}

func checkRanges(t *rapid.T, tree *entryTree, want []uint64, rnd *rand.Rand, spread uint64) {
	for range 20 {
		from := rnd.Uint64N(spread)
		to := from + rnd.Uint64N(spread)>>rnd.IntN(20)
		low, _ := slices.BinarySearch(want, from)
		high, _ := slices.BinarySearch(want, to+1)
		if got := tree.root.appendRange(nil, from, to); !slices.Equal(got, want[low:high]) {
			t.Fatalf("from %d to %d there are %d entries, want %d", from, to, len(got), high-low)
		}
	}
}

func TestEntryTreeMissesEntries(t *testing.T) {
	for _, missing := range []uint64{1, 5, 100_001} {
		tree := newEntryTree()
		var all []uint64
		for i := range uint64(50_000) {
			all = append(all, 2*i+2)
		}
		if err := tree.change(all, nil); err != nil {
			t.Fatal(err)
		}
		if err := tree.change(nil, []uint64{missing, 100_002}); !errors.Is(err, errIndexDiffers) {
			t.Errorf("removing %d: %v", missing, err)
		}
	}
}

// An entry of an index must take little more than its 8 bytes.
func TestEntryTreeSize(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	tree := newEntryTree()
	for range 100 {
		var added []uint64
		for range 5000 {
			added = append(added, rnd.Uint64())
		}
		slices.Sort(added)
		if err := tree.change(added, nil); err != nil {
			t.Fatal(err)
		}
	}
	if each := float64(tree.bytes) / float64(tree.rows); each > 9.5 {
		t.Errorf("an entry takes %.1f bytes", each)
	}
}

func BenchmarkEntryTree(b *testing.B) {
	rnd := rand.New(rand.NewPCG(1, 2))
	tree := newEntryTree()
	draw := func(n int) []uint64 {
		var entries []uint64
		for range n {
			entries = append(entries, rnd.Uint64())
		}
		slices.Sort(entries)
		return entries
	}
	if err := tree.change(draw(2_000_000), nil); err != nil {
		b.Fatal(err)
	}
	changes := draw(10_000)
	b.SetBytes(8 * 10_000)
	n := 0
	for b.Loop() {
		var err error
		if n++; n%2 == 1 {
			err = tree.change(changes, nil)
		} else {
			err = tree.change(nil, changes)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n)/10_000, "ns/entry")
}
