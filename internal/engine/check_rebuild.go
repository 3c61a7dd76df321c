package engine

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/streams"
)

// partitionHistory is what is known of the buckets of a partition.
type partitionHistory struct {
	// list are those that are known, in routing order.
	list []int32
	// made is with how many the partition was made. It may be more where nothing tells of a time before a growth: then
	// no bucket has rows of before.
	made int
}

// note takes in the buckets that the partition had at some time.
func (h *partitionHistory) note(list []int32) {
	if h.list == nil || len(list) < h.made {
		h.made = len(list)
	}
	if len(list) > len(h.list) {
		h.list = list
	}
}

// partitionHistories gathers what segments and the ledger, if that can be read, tell of the partitions of a table.
// Buckets from next on are not known to belong to any.
func (c *checker) partitionHistories(dir string) (all map[int64]*partitionHistory, next int32, err error) {
	all, next = map[int64]*partitionHistory{}, model.HomeBucket+1
	note := func(id int64, list []int32) {
		if all[id] == nil {
			all[id] = &partitionHistory{}
		}
		all[id].note(list)
		next = max(next, slices.Max(list)+1)
	}
	err = c.segments(dir, func(segment string, _ int64) error {
		if _, known, err := streams.ReadSegmentTable(c.options, segment); err == nil && known != nil && len(known.Buckets) > 0 {
			note(known.ID, known.Buckets)
		}
		return nil // another segment may tell
	})
	if err != nil {
		return nil, 0, err
	}
	made, ledgerNext, err := c.ledgerPartitions(dir)
	if err != nil {
		return all, next, nil // it is made anew too
	}
	for id, x := range made {
		note(id, x.numbers())
	}
	maps.DeleteFunc(all, func(id int64, _ *partitionHistory) bool { return made[id] == nil })
	return all, max(next, ledgerNext), nil
}

// ledgerPartitions gives the partitions of a table's ledger, without values, and the first number that it says no bucket
// had.
func (c *checker) ledgerPartitions(dir string) (made map[int64]*partition, next int32, err error) {
	content, err := readFile(c.files, join(dir, partitionsFile))
	if err != nil {
		return nil, 0, err
	}
	made = map[int64]*partition{}
	_, err = parseLedger(content, func(content []byte) error {
		var record partitionRecord
		if err := json.Unmarshal(content, &record); err != nil {
			return err
		}
		if record.Next != nil {
			next = max(next, record.Next.Bucket)
		}
		if record.Made != nil && len(record.Made.Buckets) > 0 {
			made[record.Made.ID] = &partition{id: record.Made.ID}
			made[record.Made.ID].list.Store(&record.Made.Buckets)
			next = max(next, slices.Max(record.Made.Buckets)+1)
		}
		delete(made, record.Dropped)
		return nil
	})
	return made, next, err
}

// rebuildPartitionSplits is rebuildSplits for a partitioned table. Buckets of which nothing is known have no rows, and
// get numbers that none ever had.
func (c *checker) rebuildPartitionSplits(dir string, definition *model.Table, splits map[int32]model.Split) (*model.Table, error) {
	histories, next, err := c.partitionHistories(dir)
	if err != nil {
		return nil, err
	}
	owners := map[int32]*partitionHistory{}
	for _, h := range histories {
		h.list = slices.Clone(h.list)
		for _, bucket := range h.list {
			owners[bucket] = h
		}
	}
	grown := definition.WithSplits(splits)
	for child := range splits {
		next = max(next, child+1)
		if h := owners[grown.Root(child)]; h != nil {
			h.list = append(h.list, child)
		}
	}
	fresh := int64(next) + rebuiltGap
	for _, id := range slices.Sorted(maps.Keys(histories)) {
		h := histories[id]
		slices.Sort(h.list)
		list := slices.Compact(h.list)
		for ; len(list) < int(definition.Buckets); fresh++ {
			list = append(list, int32(min(fresh, math.MaxInt32)))
		}
		if err := c.splitList(dir, definition, list, h.made, splits); err != nil {
			return nil, fmt.Errorf("partition %d: %w", id, err)
		}
	}
	if fresh > math.MaxInt32 {
		return nil, model.Errorf(model.Quota, "table %s has used up the numbers of buckets", definition.Name)
	}
	rebuilt := definition.WithSplits(splits)
	return rebuilt, rebuilt.ReadSplits(rebuilt.Splits)
}

// splitList adds the splits of a partition's buckets that are missing, of which the first ones were made with it.
func (c *checker) splitList(dir string, definition *model.Table, list []int32, made int, splits map[int32]model.Split) (err error) {
	half := made // of the buckets that there were when one came, if one doubling was made at a time
	for i := made; i < len(list); i++ {
		if i >= 2*half {
			half *= 2
		}
		child, split := list[i], model.Split{Parent: list[i-half]}
		if _, known := splits[child]; known {
			continue
		}
		if len(definition.BucketKey) > 0 { // else it begins empty
			split.At = splits[split.Parent].At
			if split, err = c.splitAtEnd(dir, child, split); err != nil {
				return err
			}
		}
		splits[child] = split
	}
	return nil
}
