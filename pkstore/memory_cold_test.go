package pkstore

import (
	"bytes"
	"context"
	"iter"
	"maps"
	"slices"
)

// memoryCold is a ColdStore in memory. What a Retire that did not end has left is seen with the next one that
// does, as in Cold.
type memoryCold struct {
	states map[ColdBucket]ColdState
	stamp  uint64
	rows   map[ColdBucket]map[string][]memoryRow
	gets   int
}

type memoryRow struct {
	stamp   uint64
	value   []byte
	deleted bool
}

func newMemoryCold() *memoryCold {
	return &memoryCold{states: map[ColdBucket]ColdState{}, rows: map[ColdBucket]map[string][]memoryRow{}}
}

func (c *memoryCold) State(bucket ColdBucket) ColdState { return c.states[bucket] }
func (c *memoryCold) Verify() error                     { return nil }
func (c *memoryCold) Failed() <-chan struct{}           { return nil }
func (c *memoryCold) Err() error                        { return nil }
func (c *memoryCold) Close() error                      { return nil }

func (c *memoryCold) Forget(buckets ...ColdBucket) error {
	for _, bucket := range buckets {
		delete(c.states, bucket)
		delete(c.rows, bucket)
	}
	return nil
}

func (c *memoryCold) Retire(ctx context.Context, r ColdRetire, rows iter.Seq2[ColdRow, error]) error {
	c.stamp++
	if c.rows[r.Bucket] == nil {
		c.rows[r.Bucket] = map[string][]memoryRow{}
	}
	for row, err := range rows {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		key := string(row.Key)
		c.rows[r.Bucket][key] = append(c.rows[r.Bucket][key], memoryRow{c.stamp, bytes.Clone(row.Value), row.Deleted})
	}
	c.states[r.Bucket] = ColdState{Boundary: r.Boundary, Commit: r.Commit, stamp: c.stamp}
	return nil
}

func (c *memoryCold) Reader(bucket ColdBucket) (ColdReader, error) {
	return &memoryReader{c, bucket, c.states[bucket]}, nil
}

type memoryReader struct {
	cold   *memoryCold
	bucket ColdBucket
	state  ColdState
}

func (r *memoryReader) State() ColdState { return r.state }
func (r *memoryReader) Release()         {}

func (r *memoryReader) find(key string) []byte {
	var value []byte
	for _, row := range r.cold.rows[r.bucket][key] {
		if row.stamp <= r.state.stamp {
			value = row.value
			if row.deleted {
				value = nil
			}
		}
	}
	return value
}

func (r *memoryReader) Get(keys [][]byte, found func(i int, value []byte) error) error {
	for i, key := range keys {
		r.cold.gets++
		if value := r.find(string(key)); value != nil {
			if err := found(i, value); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *memoryReader) Rows(prefix, after []byte) iter.Seq2[ColdRow, error] {
	return func(yield func(ColdRow, error) bool) {
		for _, key := range slices.Sorted(maps.Keys(r.cold.rows[r.bucket])) {
			if !bytes.HasPrefix([]byte(key), prefix) || after != nil && key <= string(after) {
				continue
			}
			if value := r.find(key); value != nil && !yield(ColdRow{Key: []byte(key), Value: value}, nil) {
				return
			}
		}
	}
}
