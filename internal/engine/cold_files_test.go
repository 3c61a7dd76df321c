package engine

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/headrace/headrace/internal/vfs"
	"github.com/headrace/headrace/pkstore"
)

// filesCold is a store of retired rows over a file system that can fail and lose what was not synced. A Retire
// replaces one file. What one that did not end has written is seen with the next one that does, as in
// pkstore.Cold.
type filesCold struct {
	files vfs.FS
	dir   string

	mu      sync.Mutex
	content coldContent
	closed  bool
}

// coldContent is the file.
type coldContent struct {
	Buckets map[uint32]*coldBucketContent
}

type coldBucketContent struct {
	State   pkstore.ColdState
	Rows    map[string][]byte
	LeftOff map[string][]byte // nil: a deletion
}

// filesColdOf opens such stores.
func filesColdOf(files vfs.FS) func(string) (pkstore.ColdStore, error) {
	return func(dir string) (pkstore.ColdStore, error) {
		c := &filesCold{files: files, dir: dir, content: coldContent{Buckets: map[uint32]*coldBucketContent{}}}
		content, err := readFile(files, join(dir, "rows.json"))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return c, nil
		case err != nil:
			return nil, err
		}
		return c, json.Unmarshal(content, &c.content)
	}
}

// fileKey is a key in the file.
func fileKey(key []byte) string { return hex.EncodeToString(key) }

// bucket gives what the store has of a bucket. mu is held.
func (c *filesCold) bucket(bucket pkstore.ColdBucket) *coldBucketContent {
	x := c.content.Buckets[bucket.Bucket]
	if x == nil {
		x = &coldBucketContent{Rows: map[string][]byte{}, LeftOff: map[string][]byte{}}
		c.content.Buckets[bucket.Bucket] = x
	}
	return x
}

func (c *filesCold) State(bucket pkstore.ColdBucket) pkstore.ColdState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bucket(bucket).State
}

// save replaces the file. mu is held.
func (c *filesCold) save() error {
	content, err := json.Marshal(c.content)
	if err != nil {
		return err
	}
	if err := replaceFile(c.files, join(c.dir, "rows.new"), join(c.dir, "rows.json"), content); err != nil {
		return err
	}
	return c.files.SyncDir(c.dir)
}

func (c *filesCold) Retire(ctx context.Context, r pkstore.ColdRetire, rows iter.Seq2[pkstore.ColdRow, error]) error {
	moved := map[string][]byte{}
	for row, err := range rows {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if moved[fileKey(row.Key)] = bytes.Clone(row.Value); row.Deleted {
			moved[fileKey(row.Key)] = nil
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	x := c.bucket(r.Bucket)
	maps.Copy(x.LeftOff, moved)
	if err := c.save(); err != nil {
		return err
	}
	before := *x
	x.Rows, x.LeftOff = maps.Clone(x.Rows), map[string][]byte{}
	maps.Copy(x.Rows, before.LeftOff)
	maps.DeleteFunc(x.Rows, func(_ string, value []byte) bool { return value == nil })
	x.State = pkstore.ColdState{Boundary: r.Boundary, Commit: r.Commit}
	if err := c.save(); err != nil {
		*x = before
		return err
	}
	return nil
}

func (c *filesCold) Reader(bucket pkstore.ColdBucket) (pkstore.ColdReader, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, pkstore.ErrColdClosed
	}
	x := c.bucket(bucket)
	return &filesReader{x.State, x.Rows}, nil
}

func (c *filesCold) Forget(buckets ...pkstore.ColdBucket) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, bucket := range buckets {
		delete(c.content.Buckets, bucket.Bucket)
	}
	return c.save()
}

func (c *filesCold) Verify() error           { return nil }
func (c *filesCold) Failed() <-chan struct{} { return nil }
func (c *filesCold) Err() error              { return nil }
func (c *filesCold) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return nil
}

// filesReader reads rows that do not change any more.
type filesReader struct {
	state pkstore.ColdState
	rows  map[string][]byte
}

func (r *filesReader) State() pkstore.ColdState { return r.state }
func (r *filesReader) Release()                 {}

func (r *filesReader) Get(keys [][]byte, found func(i int, value []byte) error) error {
	for i, key := range keys {
		if value, ok := r.rows[fileKey(key)]; ok {
			if err := found(i, value); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *filesReader) Rows(prefix, after []byte) iter.Seq2[pkstore.ColdRow, error] {
	return func(yield func(pkstore.ColdRow, error) bool) {
		for _, key := range slices.Sorted(maps.Keys(r.rows)) {
			raw, err := hex.DecodeString(key)
			if err != nil {
				yield(pkstore.ColdRow{}, err)
				return
			}
			if bytes.HasPrefix(raw, prefix) && (after == nil || bytes.Compare(raw, after) > 0) &&
				!yield(pkstore.ColdRow{Key: raw, Value: r.rows[key]}, nil) {
				return
			}
		}
	}
}
