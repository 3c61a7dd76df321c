package engine

import (
	"slices"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/filter"
	"github.com/headrace/headrace/internal/model"
)

// choice is the buckets that a scan reads, and how long their files are kept for it.
type choice struct {
	// numbers are the buckets, ascending; nil: all of a table without partitions. named says that the scan names them.
	numbers []int32
	named   bool
	// next is the number from which on buckets come later.
	next int32
	// release gives the files free.
	release func()
}

// choose gives the buckets of a scan, whose names are those of a schema. In a partitioned table these are the buckets
// of the partitions that the scan may find rows in, and their files are kept until the choice is released, unless
// the scan follows: then a partition that is dropped is left out from there on.
func (t *table) choose(scan Scan, schema *tableSchema) (choice, error) {
	c := choice{numbers: scan.Buckets, named: scan.Buckets != nil, next: t.definition.Load().Buckets, release: func() {}}
	for _, number := range scan.Buckets {
		if err := t.checkBucket(number); err != nil {
			return c, err
		}
	}
	p := t.partitions
	if p == nil {
		if scan.Partitions != nil {
			return c, model.Errorf(model.BadRequest, "%s has no partitions", t.definition.Load().Name).
				WithRemedy("Leave partitions out")
		}
		return c, nil
	}
	c.next = p.next()
	pruner, err := t.newPruner(scan, schema)
	if err != nil {
		return c, err
	}
	list := pruner.partitions()
	var wanted map[int32]bool
	if scan.Buckets != nil {
		if list, err = t.named(scan, pruner); err != nil {
			return c, err
		}
		wanted = make(map[int32]bool, len(scan.Buckets))
		for _, number := range scan.Buckets {
			wanted[number] = true
		}
	}
	if follows := scan.To.Kind == BoundNever; !follows || scan.hasState(t) {
		asked := len(list)
		// The plan of the scan may be what keeps the files of one that was dropped.
		if list, c.release = p.hold(list, scan.Plan != ""); !follows && scan.Buckets != nil && len(list) < asked {
			c.release()
			return c, t.errPartitionGone(scan.Buckets[0])
		}
	}
	c.numbers = bucketsOf(list)
	if wanted != nil {
		c.numbers = slices.DeleteFunc(c.numbers, func(number int32) bool { return !wanted[number] })
	}
	return c, nil
}

// named gives the partitions of the buckets that a scan names. One that was dropped is left out by a scan that
// follows, and an error for others.
func (t *table) named(scan Scan, pruner *pruner) ([]*partition, error) {
	var list []*partition
	for _, number := range scan.Buckets {
		if number == model.HomeBucket {
			continue // it has no rows
		}
		x := t.partitions.of(number)
		if x == nil || x.gone.Load() && scan.Plan == "" {
			if scan.To.Kind == BoundNever {
				continue
			}
			return nil, t.errPartitionGone(number)
		}
		if pruner.keeps(x) {
			list = append(list, x)
		}
	}
	slices.SortFunc(list, byID)
	return slices.Compact(list), nil
}

// pruner tells in which partitions a scan may find rows.
type pruner struct {
	partitionsOf *partitions
	wanted       []*parsedValues
	all          bool
	// filter is that of the scan, asked about known, which has the values of one partition; nil: none.
	filter *filter.Filter
	known  arrowipc.Statistics
	// columns are those of the partitions, as the filter knows them.
	columns []int
}

// newPruner reads what a scan says of partitions, in the names of a schema.
func (t *table) newPruner(scan Scan, schema *tableSchema) (*pruner, error) {
	p := &pruner{partitionsOf: t.partitions, all: scan.Partitions == nil}
	var shape *partitionShape
	var err error
	if !p.all {
		if shape, err = newPartitionShape(schema.layout, schema.definition); err != nil {
			return nil, err
		}
	}
	for _, values := range scan.Partitions {
		parsed, err := t.partitions.parseAs(t, shape, values)
		if err != nil {
			return nil, err
		}
		p.wanted = append(p.wanted, parsed)
	}
	if p.filter, err = schema.bindFilter(scan); p.filter != nil {
		p.known = arrowipc.Statistics{Rows: 1, Columns: make([]arrowipc.ColumnStatistics, schema.log.Schema().NumFields())}
		for i := range p.known.Columns {
			p.known.Columns[i].Nulls = -1
		}
		for _, name := range schema.definition.PartitionBy {
			p.columns = append(p.columns, schema.layout.ColumnIndex(name))
		}
	}
	return p, err
}

// keeps says that a scan may find rows in a partition.
func (p *pruner) keeps(x *partition) bool { return (p.all || matchesAny(p.wanted, x)) && p.mayMatch(x) }

// mayMatch says that the filter may keep rows of a partition, all of which have its values.
func (p *pruner) mayMatch(x *partition) bool {
	if p.filter == nil {
		return true
	}
	for i, column := range p.columns {
		p.known.Columns[column] = arrowipc.ColumnStatistics{Min: x.values[i], Max: x.values[i]}
	}
	return p.filter.MayMatch(&p.known)
}

// partitions gives those of the table that the scan may find rows in, in the order in which they were made.
func (p *pruner) partitions() []*partition {
	var list []*partition
	if p.all {
		list = p.partitionsOf.all()
	} else {
		list = p.partitionsOf.matching(p.wanted)
	}
	return slices.DeleteFunc(list, func(x *partition) bool { return !p.mayMatch(x) })
}
