package engine

import (
	"fmt"

	"github.com/headrace/headrace/internal/arrowipc"
)

// reroute parts the rows of a request anew that was routed before the table grew; nothing happens to others. It is
// for the committer; it takes the batches over also where it fails.
func (r *request) reroute() error {
	now := r.table.routed.Load()
	if r.routed == nil || r.routed == now {
		return nil
	}
	var parts []part
	var sorted bucketRows
	var hashes []uint64
	for i, p := range r.parts {
		split, err := p.split(r.table, &sorted, &hashes)
		if err != nil {
			for _, left := range append(parts, r.parts[i+1:]...) {
				left.batch.Release()
			}
			r.parts = nil
			return fmt.Errorf("route rows anew to the buckets of table %s: %w", r.table.definition.Load().Name, err)
		}
		parts = append(parts, split...)
	}
	r.parts, r.routed = parts, now
	return nil
}

// split cuts a part into one for each bucket by the routing of the table as it is now, within the partition. sorted
// and hashes are reused.
func (p part) split(t *table, sorted *bucketRows, hashes *[]uint64) ([]part, error) {
	defer p.batch.Release()
	plain, err := arrowipc.Decompress(p.batch)
	if err != nil {
		return nil, err
	}
	defer plain.Release()
	hasher, err := hasherOf(plain.Layout, t.definition.Load().BucketKey)
	if err != nil {
		return nil, err
	}
	if *hashes, err = hasher.Hash(plain, (*hashes)[:0]); err != nil {
		return nil, err
	}
	var parts []part
	builder := arrowipc.NewBuilder(plain.Layout)
	buckets := t.routedTo(p.bucket)
	if len(buckets) == 0 {
		return nil, t.errPartitionGone(p.bucket)
	}
	for index, rows := range sorted.sort(*hashes, uint64(len(buckets))) {
		if err := builder.AppendRows(plain, rows); err != nil {
			for _, made := range parts {
				made.batch.Release()
			}
			return nil, err
		}
		split := part{bucket: buckets[index], partition: p.partition, index: index, batch: builder.Finish()}
		for _, row := range rows {
			if p.hashes != nil {
				split.hashes = append(split.hashes, p.hashes[row])
			}
			if p.expected != nil {
				split.expected = append(split.expected, p.expected[row])
			}
		}
		parts = append(parts, split)
	}
	return parts, nil
}
