package pkstore

import (
	"bytes"
	"iter"
)

// retiredBatchRows is how many retired rows a Live of a snapshot has at most, and how many are read at once.
const (
	retiredBatchRows  = 4096
	retiredBatchBytes = 4 << 20
)

// eachRetired gives the live rows from below the log, in batches. Nothing is held between two of them.
func (s *Snapshot) eachRetired(yield func(Live, error) bool) (more bool) {
	if s.retired == nil {
		return true
	}
	var after []byte
	for {
		// Rows that the log has as well, as a Retire has not ended or was cut off, are read there.
		live, last, err := s.log.schema.readRetired(s.retired.reader, after, func(offset int64) bool {
			return offset < s.log.start && s.live.has(offset)
		})
		if err != nil {
			yield(Live{}, err)
			return false
		}
		if live.View != nil && !yield(live, nil) {
			return false
		}
		if last == nil {
			return true
		}
		after = last
	}
}

// EachRetired gives all rows that the store of a bucket has, dead ones too: Offsets tells them apart. It reads
// the state of the store as it is when it begins, which UseCold need not know.
func (b *Bucket) EachRetired() iter.Seq2[Live, error] {
	return func(yield func(Live, error) bool) {
		reader, err := b.cold.store.Reader(b.cold.bucket)
		if err != nil {
			yield(Live{}, err)
			return
		}
		defer reader.Release()
		var after []byte
		for {
			live, last, err := b.current().readRetired(reader, after, func(int64) bool { return true })
			if err != nil {
				yield(Live{}, err)
				return
			}
			if live.View != nil && !yield(live, nil) || last == nil {
				return
			}
			after = last
		}
	}
}

// readRetired reads the next rows behind a key whose offsets are wanted, and gives the key to go on behind; nil at
// the end.
func (s *bucketSchema) readRetired(reader ColdReader, after []byte, wanted func(offset int64) bool) (live Live, last []byte, err error) {
	f, err := s.fetcher()
	if err != nil {
		return Live{}, nil, err
	}
	defer s.fetchers.Put(f)
	rows, size := 0, 0
	for row, err := range reader.Rows(nil, after) {
		if err != nil {
			return Live{}, nil, err
		}
		offset, _, _, err := readRetired(row.Value)
		if err != nil {
			return Live{}, nil, err
		}
		if wanted(offset) {
			if err := f.take(row.Value); err != nil {
				return Live{}, nil, err
			}
			size += len(row.Value)
		}
		if rows++; len(f.offsets) >= retiredBatchRows || size >= retiredBatchBytes || rows >= 16*retiredBatchRows {
			last = bytes.Clone(row.Key)
			break
		}
	}
	if len(f.offsets) == 0 {
		return Live{}, last, nil
	}
	batch, micros, err := f.finish()
	if err != nil {
		return Live{}, nil, err
	}
	live = Live{Stored: batch.Stored, Offsets: batch.offsets, Times: micros}
	live.Base, live.Check, live.Whole = live.Offsets[0], batch.check, batch.whole
	return live, last, nil
}
