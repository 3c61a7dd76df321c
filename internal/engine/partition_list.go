package engine

import (
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
	for _, number := range x.numbers() {
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
