package pkstore

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/dgraph-io/badger/v4"
)

// ColdSnapshot reads one bucket as it was when the snapshot was taken. It may be used by many
// goroutines, and must be released: until then no version that it may read is dropped. When the store is
// closed, it fails.
type ColdSnapshot struct {
	cold   *Cold
	bucket ColdBucket
	state  ColdState
	once   sync.Once
}

// Snapshot pins the present state of a bucket.
func (c *Cold) Snapshot(bucket ColdBucket) (*ColdSnapshot, error) {
	if err := c.enter(); err != nil {
		return nil, err
	}
	defer c.readers.Done()
	c.guard.Lock()
	defer c.guard.Unlock()
	state := c.states[bucket]
	c.pinned[state.stamp]++
	return &ColdSnapshot{cold: c, bucket: bucket, state: state}, nil
}

// State is the bucket's state that the snapshot reads.
func (s *ColdSnapshot) State() ColdState { return s.state }

// Release lets the store drop what the snapshot pins. It may be called again.
func (s *ColdSnapshot) Release() {
	s.once.Do(func() {
		c := s.cold
		c.guard.Lock()
		defer c.guard.Unlock()
		if c.pinned[s.state.stamp]--; c.pinned[s.state.stamp] == 0 {
			delete(c.pinned, s.state.stamp)
		}
		if c.failure.cause() == nil && !c.closed {
			c.discard()
		}
	})
}

// Get looks up keys, in any order, and calls found for those that are there, in the order of the keys'
// bytes, with the index in keys. value is valid during the call alone. An error of found ends it. A panic of
// found is taken for one of the store's, and fails it; so it is with the body of a loop over Rows or Keys.
func (s *ColdSnapshot) Get(keys [][]byte, found func(i int, value []byte) error) error {
	if s.state.stamp == 0 {
		return nil
	}
	order := make([]int, len(keys))
	for i := range order {
		order[i] = i
	}
	// Neighbours lie in the same blocks: a sorted batch takes half the time.
	slices.SortFunc(order, func(a, b int) int { return bytes.Compare(keys[a], keys[b]) })
	return s.read("looking up keys", func(txn *badger.Txn) error {
		key := s.bucket.appendPrefix(nil, coldRowKey)
		for _, i := range order {
			key = append(key[:coldPrefixBytes], keys[i]...)
			item, err := txn.Get(key)
			if errors.Is(err, badger.ErrKeyNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if err := item.Value(func(stored []byte) error {
				value, err := checkColdSum(key, stored)
				if err != nil {
					return err
				}
				return found(i, value)
			}); err != nil {
				return err
			}
		}
		return nil
	})
}

// Rows gives the rows whose keys begin with prefix and are behind after, all for two empty ones, in the order
// of the keys. Their bytes are valid for one step. The iteration ends with the first error. While it runs the
// store cannot be closed, and keeps what it reads.
func (s *ColdSnapshot) Rows(prefix, after []byte) iter.Seq2[ColdRow, error] {
	return func(yield func(ColdRow, error) bool) {
		stopped := false
		err := s.iterate(prefix, after, true, func(item *badger.Item) error {
			return item.Value(func(stored []byte) error {
				value, err := checkColdSum(item.Key(), stored)
				if err != nil {
					return err
				}
				if !yield(ColdRow{Key: item.Key()[coldPrefixBytes:], Value: value}, nil) {
					stopped = true
					return errColdStop
				}
				return nil
			})
		})
		if err != nil && !stopped {
			yield(ColdRow{}, err)
		}
	}
}

// Keys is Rows without values, which are not read.
func (s *ColdSnapshot) Keys(prefix []byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		stopped := false
		err := s.iterate(prefix, nil, false, func(item *badger.Item) error {
			if stopped = !yield(item.Key()[coldPrefixBytes:], nil); stopped {
				return errColdStop
			}
			return nil
		})
		if err != nil && !stopped {
			yield(nil, err)
		}
	}
}

// Count counts the rows by reading their keys.
func (s *ColdSnapshot) Count() (int64, error) {
	count := int64(0)
	err := s.iterate(nil, nil, false, func(*badger.Item) error {
		count++
		return nil
	})
	return count, err
}

// errColdStop ends an iteration whose consumer has enough.
var errColdStop = errors.New("stop")

func (s *ColdSnapshot) iterate(prefix, after []byte, values bool, visit func(*badger.Item) error) error {
	if s.state.stamp == 0 {
		return nil
	}
	return s.read("reading rows", func(txn *badger.Txn) error {
		options := badger.DefaultIteratorOptions
		options.PrefetchValues = values
		options.Prefix = append(s.bucket.appendPrefix(nil, coldRowKey), prefix...)
		iterator := txn.NewIterator(options)
		defer iterator.Close()
		if after == nil {
			iterator.Rewind()
		} else {
			from := append(s.bucket.appendPrefix(nil, coldRowKey), after...)
			iterator.Seek(from)
			if iterator.Valid() && bytes.Equal(iterator.Item().Key(), from) {
				iterator.Next()
			}
		}
		for ; iterator.Valid(); iterator.Next() {
			if err := visit(iterator.Item()); err != nil {
				return err
			}
		}
		return nil
	})
}

// read runs a read-only transaction at the snapshot's timestamp.
func (s *ColdSnapshot) read(doing string, use func(*badger.Txn) error) error {
	if err := s.cold.enter(); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	defer s.cold.readers.Done()
	return s.cold.protect(doing, func() error {
		txn := s.cold.db.NewTransactionAt(s.state.stamp, false)
		defer txn.Discard()
		return use(txn)
	})
}
