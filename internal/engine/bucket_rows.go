package engine

import "iter"

// bucketRows sorts the rows of a batch by bucket. It keeps its memory between batches and belongs to
// one goroutine.
type bucketRows struct {
	buckets []int32 // of each row
	ends    []int32 // by bucket: how many rows it has, then where they end in rows
	order   []int32 // buckets with rows, in the order of their first one
	rows    []int32
}

// sort gives for each bucket that has rows their indexes, in the order of the first one. They are valid
// until the next call.
func (g *bucketRows) sort(hashes []uint64, buckets uint64) iter.Seq2[int32, []int32] {
	if uint64(len(g.ends)) < buckets {
		g.ends = make([]int32, buckets)
	}
	g.buckets, g.order = g.buckets[:0], g.order[:0]
	for _, hash := range hashes {
		bucket := int32(hash % buckets)
		if g.ends[bucket] == 0 {
			g.order = append(g.order, bucket)
		}
		g.ends[bucket]++
		g.buckets = append(g.buckets, bucket)
	}
	if cap(g.rows) < len(hashes) {
		g.rows = make([]int32, len(hashes))
	}
	g.rows = g.rows[:len(hashes)]
	begin := int32(0)
	for _, bucket := range g.order {
		n := g.ends[bucket]
		g.ends[bucket] = begin
		begin += n
	}
	for row, bucket := range g.buckets {
		g.rows[g.ends[bucket]] = int32(row)
		g.ends[bucket]++
	}
	return g.each
}

// each gives the buckets, and forgets them.
func (g *bucketRows) each(yield func(int32, []int32) bool) {
	begin, more := int32(0), true
	for _, bucket := range g.order {
		end := g.ends[bucket]
		g.ends[bucket] = 0
		more = more && yield(bucket, g.rows[begin:end:end])
		begin = end
	}
}
