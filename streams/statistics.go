package streams

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/vfs"
)

// mergedStatistics gives the statistics of all rows of batches; nil where one of them has none.
func mergedStatistics(batches []*arrowipc.Batch) *arrowipc.Statistics {
	for _, batch := range batches {
		if batch.Statistics == nil {
			return nil
		}
	}
	merged := batches[0].Statistics.Clone()
	for _, batch := range batches[1:] {
		merged.Merge(batch.Statistics)
	}
	return merged
}

// summarized gives the batch with statistics. A compressed one has them already, or stays without.
func summarized(batch *arrowipc.Batch) (*arrowipc.Batch, error) {
	if batch.Statistics != nil || batch.Codec != arrowipc.NoCodec || batch.Rows == 0 {
		return batch, nil
	}
	statistics, err := arrowipc.Summarize(batch)
	if err != nil {
		return nil, fmt.Errorf("a batch of the log: %w", err)
	}
	with := *batch
	with.Statistics = statistics
	return &with, nil
}

// storedStatistics are the statistics of the first batches of a segment as they are stored, one behind
// the other. Only its end grows: who has a copy may read it while another goroutine appends.
type storedStatistics struct {
	bytes []byte
	list  []statisticsEntry
}

// statisticsEntry says of which batch statistics are, and where they end.
type statisticsEntry struct {
	offset int64
	end    uint32
}

// add appends the statistics of the next batch; empty ones say that it has none.
func (c *storedStatistics) add(offset int64, stored []byte) {
	if len(c.bytes)+len(stored) > math.MaxUint32 {
		stored = nil
	}
	c.bytes = append(c.bytes, stored...)
	c.list = append(c.list, statisticsEntry{offset, uint32(len(c.bytes))})
}

// of gives the statistics of batch i if it begins at offset; empty if nothing is known.
func (c *storedStatistics) of(i int, offset int64) []byte {
	if i >= len(c.list) || c.list[i].offset != offset {
		return nil
	}
	begin := uint32(0)
	if i > 0 {
		begin = c.list[i-1].end
	}
	return c.bytes[begin:c.list[i].end]
}

// addHeads appends those of the batches of entries that are not there yet, reading their heads.
func (c *storedStatistics) addHeads(get fetch, id segmentID, entries []entry) error {
	for _, e := range entries[min(len(c.list), len(entries)):] {
		h, err := readHead(get, e.position, true)
		if failed := asReadError(err); failed != nil || errors.Is(err, vfs.ErrUnreadable) {
			return err
		}
		if err != nil || h.id != id || h.base != e.offset {
			c.add(e.offset, nil) // who reads the batch is told why
			continue
		}
		c.add(e.offset, h.storedStatistics())
	}
	return nil
}

// statisticsOf gives the statistics of the batches of entries, which are the first ones of the segment,
// as far as they can be read: from memory, from the index file, or from the batches' heads.
func (s *segment) statisticsOf(mapping *vfs.Mapping, entries []entry) storedStatistics {
	s.mu.RLock()
	cached := s.statistics
	s.mu.RUnlock()
	if len(cached.list) >= len(entries) {
		return cached
	}
	s.summarizing.Lock()
	defer s.summarizing.Unlock()
	s.mu.RLock()
	cached = s.statistics
	fresh := len(cached.list) == 0 && s.durable.Load()
	s.mu.RUnlock()
	if fresh {
		if x, err := readIndex(s.bucket.options.FS, s.name.indexPath()); err == nil && x.id == s.id {
			cached = x.statistics
		}
	}
	reader := mappedReader{mapping: mapping, pool: s.bucket.options.Reads}
	// What cannot be read now is read when it is next asked for, or by who reads the batch.
	_ = guarded(func() error { return cached.addHeads(reader.bytes, s.id, entries) })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.statistics = cached
	return cached
}

// Statistics tell about the rows of the batch; nil: it has none, or they cannot be read.
func (s *Stored) Statistics() *arrowipc.Statistics {
	statistics := &arrowipc.Statistics{}
	err := guarded(func() error {
		stored := s.head.storedStatistics()
		if len(stored) == 0 {
			return errors.New("there are none")
		}
		return arrowipc.ParseStatistics(s.segment.layout, append([]byte(nil), stored...), statistics)
	})
	if err != nil {
		return nil
	}
	return statistics
}

// skips says that the batch which the cursor has come to is to be passed over.
func (c *Cursor) skips() bool {
	if c.Skip == nil {
		return false
	}
	if c.at >= len(c.statistics.list) {
		c.statistics = c.segment.statisticsOf(c.mapping, c.entries)
	}
	stored := c.statistics.of(c.at, c.entries[c.at].offset)
	if len(stored) == 0 {
		return false
	}
	if err := arrowipc.ParseStatistics(c.segment.layout, stored, &c.parsed); err != nil {
		return false
	}
	return c.Skip(c.segment.version, &c.parsed)
}

// agree says that c, which an index file has, are the same statistics; none at all are no others.
func (c *storedStatistics) agree(scanned *storedStatistics) bool {
	return len(c.list) == 0 || slices.Equal(c.list, scanned.list) && bytes.Equal(c.bytes, scanned.bytes)
}
