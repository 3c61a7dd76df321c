package model

import (
	"fmt"
	"maps"
	"slices"
)

// Split says where the rows of a bucket that a table got by growing come from. Below At its history is its
// share of the parent's log: the rows whose keys go to it. Its own log begins at At.
type Split struct {
	// Parent is the bucket that it was part of.
	Parent int32 `json:"parent"`
	// At is the offset behind the last row that the parent had then.
	At int64 `json:"at"`
	// Retired is the offset below which the parent's live rows were in the store of retired rows then: that is
	// where the bucket's are, under the parent's number. 0: none were.
	Retired int64 `json:"retired,omitempty"`
}

// First is the offset of the first row that the log of a bucket ever had, or will have.
func (t *Table) First(bucket int32) int64 { return t.Splits[bucket].At }

// Routing gives the buckets of the table in the order in which rows are routed: a row goes to the one at the
// hash of its bucket key, modulo their number.
func (t *Table) Routing() []int32 {
	buckets := make([]int32, t.Buckets)
	for i := range buckets {
		buckets[i] = int32(i)
	}
	return buckets
}

// Family gives the splits of the buckets that share history with one: its ancestors, and all that come from
// the oldest of them. It is nil for a bucket that never split.
func (t *Table) Family(bucket int32) map[int32]Split {
	var family map[int32]Split
	waiting := []int32{t.Root(bucket)}
	for len(waiting) > 0 {
		children := t.Children(waiting[0])
		waiting = append(waiting[1:], children...)
		for _, child := range children {
			if family == nil {
				family = map[int32]Split{}
			}
			family[child] = t.Splits[child]
		}
	}
	return family
}

// Root is the oldest ancestor of a bucket: itself, where it does not come from another one.
func (t *Table) Root(bucket int32) int32 {
	for {
		split, known := t.Splits[bucket]
		if !known {
			return bucket
		}
		bucket = split.Parent
	}
}

// WithBuckets gives the table's definition with more buckets: 2, 4, 8 … times as many. Where the buckets split
// is for who knows their ends: see WithSplits.
func (t *Table) WithBuckets(buckets int64) (*Table, error) {
	if buckets == int64(t.Buckets) {
		return t, nil
	}
	fits := false
	for n := int64(t.Buckets); n <= BucketsMax; n *= 2 {
		fits = fits || n == buckets
	}
	if !fits {
		refusal := Errorf(BadRequest, "set_buckets is %d, and %s has %d buckets", buckets, t.Name, t.Buckets).With("table", t.Name.String())
		if 2*int64(t.Buckets) > BucketsMax {
			return nil, refusal.WithRemedy("Buckets grow by doubling, up to %d: the table cannot grow any more", BucketsMax)
		}
		return nil, refusal.WithRemedy("Buckets grow by doubling, up to %d: use %d, or that times 2, 4, 8 and so on", BucketsMax, 2*t.Buckets)
	}
	grown := *t
	grown.Buckets = int32(buckets)
	if grown.CreatedBuckets == 0 {
		grown.CreatedBuckets = t.Buckets
	}
	return &grown, nil
}

// WithSplits gives the table's definition with splits more.
func (t *Table) WithSplits(splits map[int32]Split) *Table {
	changed := *t
	all := make(map[int32]Split, len(t.Splits)+len(splits))
	maps.Copy(all, t.Splits)
	maps.Copy(all, splits)
	changed.setSplits(all)
	return &changed
}

// WithoutSplits gives the table's definition without some splits.
func (t *Table) WithoutSplits(gone func(child int32) bool) *Table {
	changed := *t
	kept := maps.Clone(t.Splits)
	maps.DeleteFunc(kept, func(child int32, _ Split) bool { return gone(child) })
	changed.setSplits(kept)
	return &changed
}

// Children gives the buckets that split from one, ascending. The slice is not the caller's.
func (t *Table) Children(bucket int32) []int32 { return t.children[bucket] }

// setSplits replaces the splits.
func (t *Table) setSplits(splits map[int32]Split) {
	t.Splits, t.children = splits, make(map[int32][]int32, len(splits))
	for _, child := range slices.Sorted(maps.Keys(splits)) {
		t.children[splits[child].Parent] = append(t.children[splits[child].Parent], child)
	}
}

// ReadSplits sets the splits as they were read from a file, and says what is wrong with them.
func (t *Table) ReadSplits(splits map[int32]Split) error {
	t.setSplits(splits)
	for child, split := range splits {
		if child < 0 || child >= t.Buckets && !t.Partitioned() || split.Parent < 0 || split.Parent >= child || split.At < t.Splits[split.Parent].At ||
			split.Retired < 0 || split.Retired > split.At {
			return fmt.Errorf("bucket %d of %d cannot come from bucket %d at offset %d, %d", child, t.Buckets, split.Parent, split.At, split.Retired)
		}
	}
	return nil
}
