package engine

import (
	"maps"
	"slices"

	"github.com/headrace/headrace/internal/model"
)

// The ledger tells which buckets a partition was made with. Those that it got since are in the splits of the
// definition, so that one file decides whether a table has grown.

// growPartitions gives partitions that were read from the ledger the buckets that they got since they were made.
func (t *table) growPartitions(made map[int64]*partition) error {
	definition := t.definition.Load()
	if len(definition.Splits) > 0 {
		t.partitions.nextBucket = max(t.partitions.nextBucket, slices.Max(slices.Collect(maps.Keys(definition.Splits)))+1)
	}
	return growLists(definition, made)
}

// growLists adds to the buckets of partitions those that split from them.
func growLists(definition *model.Table, made map[int64]*partition) error {
	owners := map[int32]*partition{}
	lists := map[*partition][]int32{}
	for _, x := range made {
		lists[x] = slices.Clone(x.numbers())
		for _, bucket := range x.numbers() {
			owners[bucket] = x
		}
	}
	for child := range definition.Splits {
		if x := owners[definition.Root(child)]; x != nil {
			lists[x] = append(lists[x], child)
		}
	}
	for x, list := range lists {
		slices.Sort(list)
		list = slices.Compact(list)
		if len(list) != int(definition.Buckets) {
			return model.Errorf(model.Corrupt, "partition %d of table %s has %d buckets, want %d", x.id, definition.Name, len(list), definition.Buckets).
				WithRemedy("Restore the table's folder from a backup")
		}
		x.list.Store(&list)
	}
	return nil
}

// grownPartition is a partition with the buckets that it is to get.
type grownPartition struct {
	partition *partition
	list      []int32
}

// growPartitions numbers the buckets that the partitions of a table get, behind all others. It is for the
// committer.
func (g *growth) growPartitions() ([]grownPartition, error) {
	p, before := g.table.partitions, int(g.table.definition.Load().Buckets)
	next := p.next()
	var grown []grownPartition
	for _, x := range p.all() {
		list := slices.Clone(x.numbers())
		for i := before; i < int(g.definition.Buckets); i++ {
			g.parents[next] = list[i%before]
			list = append(list, next)
			if next++; next <= 0 {
				return nil, model.Errorf(model.Quota, "table %s has used up the numbers of buckets", g.definition.Name)
			}
		}
		grown = append(grown, grownPartition{x, list})
	}
	return grown, nil
}

// show gives the partitions their buckets in memory.
func (g *growth) showPartitions() {
	p := g.table.partitions
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, x := range g.partitions {
		p.place(x.partition, x.list)
	}
	p.grown++
	p.added.Add(1)
}

// withoutGone gives a definition without the splits of partitions that were dropped.
func (t *table) withoutGone(definition *model.Table) *model.Table {
	if t.partitions == nil {
		return definition
	}
	return definition.WithoutSplits(func(child int32) bool { return t.partitions.of(definition.Root(child)) == nil })
}
