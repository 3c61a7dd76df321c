package engine

import (
	"errors"
	"io/fs"
	"strconv"
	"strings"

	"github.com/headrace/headrace/internal/model"
)

// PartitionState is a partition and what is kept of it.
type PartitionState struct {
	*model.Partition
	// Rows are those of a log table that can be read, of a primary-key table those it has now. Bytes is the
	// size of the segments on disk.
	Rows, Bytes int64
}

// Partitions gives the partitions of a table that have the values, in the order in which they were made; with no
// values, all. Buckets of log tables that were not used since the start stay closed.
func (e *Engine) Partitions(name model.TableName, values PartitionValues) ([]*PartitionState, error) {
	t, err := e.partitionedTable(name)
	if err != nil {
		return nil, err
	}
	wanted, err := t.partitions.parse(t, values)
	if err != nil {
		return nil, err
	}
	list, release := t.partitions.hold(t.partitions.matching([]*parsedValues{wanted}), false)
	defer release()
	states := make([]*PartitionState, len(list))
	for i, x := range list {
		if states[i], err = t.partitionState(x); err != nil {
			return nil, err
		}
	}
	return states, nil
}

// partitionState measures a partition.
func (t *table) partitionState(x *partition) (*PartitionState, error) {
	described, err := t.partitions.describe(x)
	if err != nil {
		return nil, err
	}
	state := &PartitionState{Partition: described}
	for _, number := range x.buckets {
		measured, err := t.measure(number)
		if err != nil {
			return nil, err
		}
		rows := measured.End - measured.Start
		if t.keyed != nil && measured.End > 0 {
			b, err := t.bucket(number)
			if err != nil {
				return nil, err
			}
			rows = b.keyed.Stats().Keys
		}
		state.Rows += rows
		state.Bytes += measured.Bytes
	}
	return state, nil
}

// measure tells what is kept of a bucket. One that was not used since the start is not opened: its folder
// says enough, but for rows that were truncated.
func (t *table) measure(number int32) (BucketState, error) {
	t.mu.Lock()
	b, at, start := t.buckets[number], t.extents[number], t.starts[number]
	t.mu.Unlock()
	state := BucketState{Bucket: number, End: at.Next, Start: at.Next}
	if b != nil {
		stats := b.Stats()
		state.Start, state.End, state.Bytes = stats.Start, stats.End, stats.Bytes
		return state, nil
	}
	dir := t.dir() + "/" + strconv.FormatInt(int64(number), 10)
	names, err := t.engine.options.FS.List(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return state, err
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".arrow") {
			continue
		}
		info, err := t.engine.options.FS.Stat(dir + "/" + name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // retired meanwhile
		}
		if err != nil {
			return state, err
		}
		if base := baseOffset(name); base >= 0 && base <= at.Next {
			state.Bytes += info.Size
			state.Start = min(state.Start, base)
		}
	}
	state.Start = max(state.Start, min(start, state.End))
	return state, nil
}
