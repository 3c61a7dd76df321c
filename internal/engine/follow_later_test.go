package engine

import (
	"slices"
	"testing"

	"github.com/headrace/headrace/internal/vfs"
)

// A follower that looks while a table grows, before the new routing is there, learns of all buckets.
func TestFollowersLookWhilePartitionsGrow(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	createTable(t, e, CreateTable{Name: name(t, "t"), Schema: partedSchema, PartitionBy: []string{"country"}, Buckets: 2})
	putParted(t, e, "t", partedRow{"DE", 1, "a"}, partedRow{"FR", 2, "b"})
	parted := e.catalog.lookup(name(t, "t"))
	p := parted.partitions
	later, err := parted.newLaterBuckets(Scan{To: Bound{Kind: BoundNever}}, parted.schema.Load(), p.next())
	if err != nil {
		t.Fatal(err)
	}
	var want, got []int32
	for round := range 3 {
		old := p.all()
		if round == 1 {
			putParted(t, e, "t", partedRow{"IT", 3, "c"})
			want = append(want, p.all()[2].numbers()...)
		}
		p.mu.Lock()
		for _, x := range old {
			first := p.nextBucket
			p.place(x, append(slices.Clone(x.numbers()), first, first+1))
			want = append(want, first, first+1)
		}
		p.grown++
		p.added.Add(1)
		p.mu.Unlock()
		got = append(got, later.look(parted)...)
		parted.routed.Store(&routing{4})
		if more := later.look(parted); len(more) > 0 {
			t.Errorf("round %d: the buckets %v come twice", round, more)
		}
		slices.Sort(want)
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Fatalf("round %d: the follower learns of %v, want %v", round, got, want)
		}
	}
}
