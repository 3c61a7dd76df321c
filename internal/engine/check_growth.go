package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/pkstore"
	"github.com/headrace/headrace/streams"
)

// growthCheck is what the folding of a changelog needs of a table that has grown: a bucket that split from another
// one begins with what its keys had there.
type growthCheck struct {
	definition *model.Table
	// numbers are the buckets of the table, ascending; lists has for each of them the buckets that its rows can go to,
	// in routing order.
	numbers []int32
	lists   map[int32][]int32
	hasher  *arrowipc.RowHasher
	hashes  []uint64 // reused
	// forks are the buckets that others split from when their turn comes; nil: that could not be folded.
	forks map[int32]*foldedFork
}

// foldedFork is what a bucket has when it begins.
type foldedFork struct {
	start int64
	whole bool
	known map[uint64]foldedRow
}

// newGrowthCheck gives nil for a table that has not grown.
func (c *checker) newGrowthCheck(dir string, definition *model.Table, layout *arrowipc.Layout) (*growthCheck, error) {
	if len(definition.Splits) == 0 {
		return nil, nil
	}
	g := &growthCheck{definition: definition, forks: map[int32]*foldedFork{}, lists: map[int32][]int32{}}
	lists := [][]int32{definition.Routing()}
	var err error
	if definition.Partitioned() {
		lists, err = c.partitionLists(dir, definition)
	}
	for _, list := range lists {
		for _, number := range list {
			g.numbers, g.lists[number] = append(g.numbers, number), list
		}
	}
	slices.Sort(g.numbers)
	if err == nil {
		g.hasher, err = hasherOf(layout, definition.BucketKey)
	}
	return g, err
}

// partitionLists gives the buckets of each partition, in routing order.
func (c *checker) partitionLists(dir string, definition *model.Table) ([][]int32, error) {
	made, _, err := c.ledgerPartitions(dir)
	if err == nil {
		err = growLists(definition, made)
	}
	var lists [][]int32
	for _, x := range made {
		lists = append(lists, x.numbers())
	}
	return lists, err
}

// owners gives for each row of a batch of a bucket the one that its key goes to now.
func (g *growthCheck) owners(number int32, batch *arrowipc.Batch) (func(row int32) int32, error) {
	if g == nil {
		return func(int32) int32 { return 0 }, nil
	}
	list := g.lists[number]
	var err error
	g.hashes, err = g.hasher.Hash(batch, g.hashes[:0])
	return func(row int32) int32 { return list[g.hashes[row]%uint64(len(list))] }, err
}

// isOf says that a bucket is another one or comes from it.
func (g *growthCheck) isOf(bucket, ancestor int32) bool {
	for {
		if bucket == ancestor {
			return true
		}
		split, known := g.definition.Splits[bucket]
		if !known {
			return false
		}
		bucket = split.Parent
	}
}

// fork lets the buckets begin that split at or below an offset from the one that is folded.
func (k *keyedCheck) fork(offset int64) {
	g := k.growth
	if g == nil {
		return
	}
	children := g.definition.Children(k.number)
	for _, child := range children {
		if _, done := g.forks[child]; done || g.definition.Splits[child].At > offset {
			continue
		}
		if k.known == nil {
			g.forks[child] = nil
			continue
		}
		f := &foldedFork{start: k.start, whole: k.whole, known: map[uint64]foldedRow{}}
		for key, row := range k.known {
			if g.isOf(row.owner, child) {
				f.known[key] = row
				delete(k.known, key)
			}
		}
		g.forks[child] = f
	}
}

// begin begins a bucket, whose own log begins at an offset.
func (k *keyedCheck) begin(number int32, base int64) {
	k.number, k.start, k.next, k.findings, k.replaced = number, base, base, 0, replacedRow{}
	k.known, k.whole = map[uint64]foldedRow{}, base == 0
	if k.growth == nil {
		return
	}
	if k.growth.lists[number] == nil { // of a partition that was dropped
		k.known = nil
		return
	}
	split, known := k.growth.definition.Splits[number]
	if !known || split.At != base {
		return
	}
	f := k.growth.forks[number]
	if f == nil {
		k.known = nil
		return
	}
	k.start, k.whole, k.known = f.start, f.whole, f.known
	delete(k.growth.forks, number)
}

// skip folds the buckets below a number that have no log of their own.
func (k *keyedCheck) skip(dir string, number int32) {
	g := k.growth
	if g == nil {
		return
	}
	for len(g.numbers) > 0 && g.numbers[0] < number {
		k.bucket = fmt.Sprintf("%s/%d", dir, g.numbers[0])
		k.begin(g.numbers[0], g.definition.First(g.numbers[0]))
		k.end()
		g.numbers = g.numbers[1:]
	}
	if len(g.numbers) > 0 && g.numbers[0] == number {
		g.numbers = g.numbers[1:]
	}
}

// of gives the store and the options of a bucket.
func (c *coldCheck) of(number int32) (pkstore.ColdStore, pkstore.Options, error) {
	o := c.options
	g := c.keyed.growth
	if g == nil || g.lists[number] == nil {
		return c.store, o, nil
	}
	list := g.lists[number]
	o.Share = pkstore.Share{Index: uint32(slices.Index(list, number)), Of: uint32(len(list))}
	for _, name := range g.definition.BucketKey {
		o.Share.Columns = append(o.Share.Columns, o.Layout.ColumnIndex(name))
	}
	store, err := pkstore.NewColdLineage(c.store, o, coldBucket(number), coldAncestors(g.definition, number))
	return store, o, err
}

// rebuildSplits gives a definition that was made anew from segments its splits. A segment has those of its family.
// Where none was begun since a bucket has split, that has no rows of its own, and its parent none of its keys: the
// end of the parent's log serves as well.
func (c *checker) rebuildSplits(dir string, definition *model.Table, splits map[int32]model.Split) (*model.Table, error) {
	if definition.CreatedBuckets == 0 || len(definition.BucketKey) == 0 && !definition.Partitioned() {
		return definition, nil
	}
	if definition.Partitioned() {
		return c.rebuildPartitionSplits(dir, definition, splits)
	}
	half := definition.CreatedBuckets // of the buckets that there were when the child came, if one doubling was made at a time
	for child := half; child < definition.Buckets; child++ {
		if child >= 2*half {
			half *= 2
		}
		if _, known := splits[child]; known {
			continue
		}
		parent := child - half
		var err error
		if splits[child], err = c.splitAtEnd(dir, child, model.Split{Parent: parent, At: splits[parent].At}); err != nil {
			return nil, err
		}
	}
	rebuilt := definition.WithSplits(splits)
	return rebuilt, rebuilt.ReadSplits(rebuilt.Splits)
}

// splitAtEnd gives a split that no segment tells of: at the end of the parent's log, or where split says, whichever is
// later.
func (c *checker) splitAtEnd(dir string, child int32, split model.Split) (model.Split, error) {
	if _, err := c.files.Stat(join(dir, coldDir)); err == nil {
		return split, fmt.Errorf("the definition cannot be made anew: no segment tells where bucket %d has split from bucket %d", child, split.Parent)
	}
	end, err := c.endOf(fmt.Sprintf("%s/%d", dir, split.Parent))
	split.At = max(end, split.At)
	return split, err
}

// endOf gives the offset behind the last row of a bucket's own log, by its folder; 0 where it has none.
func (c *checker) endOf(bucket string) (int64, error) {
	files, err := c.files.List(bucket)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	end := int64(0)
	for _, file := range files {
		if path.Ext(file) != ".arrow" {
			continue
		}
		limit := int64(-1)
		if x, growing := c.extents[bucket+"/"+file]; growing {
			limit = x.End
		}
		if _, err := streams.VisitSegment(c.options, bucket+"/"+file, limit, func(v streams.Visited) error {
			end = max(end, v.Base+v.Batch.Rows)
			return nil
		}); err != nil {
			return 0, err
		}
	}
	return end, nil
}
