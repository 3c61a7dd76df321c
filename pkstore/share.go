package pkstore

import (
	"fmt"
	"slices"

	"github.com/headrace/headrace/internal/arrowipc"
)

// Share is the part of the keys that a bucket has of a history that it shares with others, since it split from
// them or they from it: those whose bucket key has a hash that is Index modulo Of. The zero value is all keys.
type Share struct {
	// Columns are those of the bucket key, by index in Options.Layout; all of them are in Options.Key.
	Columns   []int
	Index, Of uint32
}

// owns says that a key is in the share; hash is that of its bucket key.
func (s *Share) owns(hash uint64) bool { return s.Of == 0 || hash%uint64(s.Of) == uint64(s.Index) }

// is says that the share has that place among that many.
func (s *Share) is(index, of uint32) bool { return s.Index == index && s.Of == of }

// validate says what is wrong with the share of a key.
func (s *Share) validate(key []int) error {
	if s.Of == 0 {
		return nil
	}
	fits := s.Index < s.Of && len(s.Columns) > 0
	for _, column := range s.Columns {
		fits = fits && slices.Contains(key, column)
	}
	if !fits {
		return fmt.Errorf("share %d of %d by the columns %v does not fit the key %v", s.Index, s.Of, s.Columns, key)
	}
	return nil
}

// shareHasher hashes the bucket key of rows of the log. It belongs to one goroutine.
type shareHasher struct {
	share  Share
	whole  bool // the bucket key is the whole key
	hasher *arrowipc.RowHasher
	hashes []uint64 // reused
}

func newShareHasher(layout *arrowipc.Layout, key []int, share Share) (*shareHasher, error) {
	h := &shareHasher{share: share, whole: slices.Equal(share.Columns, key)}
	var err error
	h.hasher, err = arrowipc.NewRowHasher(layout, share.Columns)
	return h, err
}

// of gives the hashes of the bucket keys of all rows; keys are those of their keys. They are valid until the
// next call.
func (h *shareHasher) of(v *arrowipc.View, keys []uint64) ([]uint64, error) {
	if h.whole || h.share.Of == 0 {
		return keys, nil
	}
	var err error
	h.hashes, err = h.hasher.Hash(v.Batch(), h.hashes[:0])
	return h.hashes, err
}

// sharedKeys reads the bucket key of keys in the form in which the store of retired rows has them. It belongs to
// one goroutine.
type sharedKeys struct {
	share  Share
	hasher *arrowipc.RowHasher
	keys   *KeyEncoding
	// places are those of the columns of the bucket key in the key, last how many columns have to be read.
	places []int
	last   int
	values [][]byte // reused: of the bucket key, encoded
	key    []byte   // reused
}

func newSharedKeys(layout *arrowipc.Layout, key []int, share Share) (*sharedKeys, error) {
	s := &sharedKeys{share: share}
	var err error
	if s.keys, err = NewKeyEncoding(layout, key); err != nil {
		return nil, err
	}
	for _, column := range share.Columns {
		s.places = append(s.places, slices.Index(key, column))
		s.last = max(s.last, slices.Index(key, column)+1)
	}
	s.values = make([][]byte, len(s.places))
	s.hasher, err = arrowipc.NewRowHasher(layout, share.Columns)
	return s, err
}

// owns says that what a row is stored under is in the share.
func (s *sharedKeys) owns(stored []byte) (bool, error) {
	if s.share.Of == 0 {
		return true, nil
	}
	if len(stored) < retiredHashBytes {
		return false, fmt.Errorf("the key of a retired row has %d bytes", len(stored))
	}
	_, err := s.keys.decode(stored[retiredHashBytes:], s.last, func(column int, value []byte) error {
		if i := slices.Index(s.places, column); i >= 0 {
			s.values[i] = s.hasher.AppendValue(s.values[i][:0], i, value)
		}
		return nil
	})
	s.key = s.key[:0]
	for _, value := range s.values {
		s.key = append(s.key, value...)
	}
	return s.share.owns(arrowipc.HashKey(s.key)), err
}
