package pkstore

import (
	"context"
	"iter"
)

// ColdStore keeps the live rows of keyed buckets from below their logs. Cold is the one that servers use; its
// methods have the contracts.
type ColdStore interface {
	// State says what the store has of a bucket.
	State(bucket ColdBucket) ColdState
	// Retire moves rows in. Once it has returned without an error they are durable.
	Retire(ctx context.Context, retire ColdRetire, rows iter.Seq2[ColdRow, error]) error
	// Forget removes what it has of buckets that nobody uses any more.
	Forget(buckets ...ColdBucket) error
	// Reader pins the present state of a bucket.
	Reader(bucket ColdBucket) (ColdReader, error)
	// Verify reads all files and compares them with their sums.
	Verify() error
	// Failed is closed when the store has failed for good; Err is why.
	Failed() <-chan struct{}
	Err() error
	// Close waits for calls that run. Readers fail afterwards.
	Close() error
}

// ColdReader reads one bucket as it was when the reader was made. ColdSnapshot is one.
type ColdReader interface {
	// State is the bucket's state that is read.
	State() ColdState
	// Get calls found for those of the keys that are there, in any order, with the index in keys.
	Get(keys [][]byte, found func(i int, value []byte) error) error
	// Rows gives the rows whose keys begin with prefix and are behind after, all for two empty ones, in the
	// order of the keys. Their bytes are valid for one step.
	Rows(prefix, after []byte) iter.Seq2[ColdRow, error]
	// Release unpins the state. It may be called again.
	Release()
}

// Reader is Snapshot.
func (c *Cold) Reader(bucket ColdBucket) (ColdReader, error) {
	s, err := c.Snapshot(bucket)
	if err != nil {
		return nil, err
	}
	return s, nil
}
