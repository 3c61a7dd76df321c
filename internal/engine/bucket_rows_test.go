package engine

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestBucketRows sorts batches, some of them only in part, and compares with a map.
func TestBucketRows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var g bucketRows
		for range 3 {
			hashes := rapid.SliceOf(rapid.Uint64Range(0, 50)).Draw(t, "hashes")
			buckets := rapid.Uint64Range(1, 20).Draw(t, "buckets")
			stop := rapid.IntRange(0, 20).Draw(t, "stop")
			want, got := map[int32][]int32{}, map[int32][]int32{}
			var order []int32
			for row, hash := range hashes {
				bucket := int32(hash % buckets)
				if want[bucket] == nil {
					order = append(order, bucket)
				}
				want[bucket] = append(want[bucket], int32(row))
			}
			seen := []int32{}
			for bucket, rows := range g.sort(hashes, buckets) {
				if len(seen) == stop {
					break
				}
				seen = append(seen, bucket)
				got[bucket] = slices.Clone(rows)
			}
			if !slices.Equal(seen, order[:min(stop, len(order))]) {
				t.Fatalf("buckets %v, want %v", seen, order)
			}
			for bucket, rows := range got {
				if !slices.Equal(rows, want[bucket]) {
					t.Fatalf("bucket %d has rows %v, want %v", bucket, rows, want[bucket])
				}
			}
			if stop >= len(order) && !maps.EqualFunc(got, want, slices.Equal) {
				t.Fatalf("got %v, want %v", got, want)
			}
		}
	})
}
