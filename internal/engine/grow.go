package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/pkstore"
	"github.com/headrace/headrace/streams"
)

// growth is one table's getting more buckets. What takes time is done beside writers: reading whose the rows of a
// primary-key table are. Then the committer, between two groups,
//
//  1. makes everything durable that was written, so that the ends at which buckets split are for ever,
//  2. makes the state of the new buckets, in memory alone,
//  3. writes the definition, which decides: before it the table has not grown, behind it it has,
//  4. exchanges the states and the routing, for all readers at one moment.
//
// Columns that are changed in the same call stand in the same definition: the table grows as it is, and all its
// buckets, the new ones too, get the new schema in step 4.
//
// A request that was routed before is routed anew when it is its turn. In a partitioned table each partition grows,
// with buckets numbered behind all others.
type growth struct {
	engine *Engine
	table  *table
	// definition is that of the table behind the growth and before its columns change; with its splits from step 2 on.
	definition *model.Table
	// next is what the table becomes; its schema is the one that it has where no column changes.
	next *redefinition
	// parents are what the new buckets are split from. There are none in a table without partitions whose rows are not
	// routed by a bucket key: a new bucket is an empty one there.
	parents map[int32]int32
	// partitions are those that grow; nil in a table without them.
	partitions []grownPartition
	// divisions are those of the buckets of a primary-key table, children the buckets that split from each.
	divisions map[int32]*pkstore.Division
	children  map[int32][]int32
	logs      map[int32]*streams.Bucket // of the new buckets
}

// grow makes a definition with more buckets that of a table. The caller holds catalog.changes.
func (e *Engine) grow(ctx context.Context, t *table, next *redefinition) (*model.Table, error) {
	g := &growth{
		engine: e, table: t, definition: next.definition, next: next, parents: map[int32]int32{},
		divisions: map[int32]*pkstore.Division{}, children: map[int32][]int32{}, logs: map[int32]*streams.Bucket{},
	}
	if g.evolves() {
		var err error
		if g.definition, err = t.definition.Load().WithBuckets(int64(next.definition.Buckets)); err != nil {
			return nil, err
		}
	}
	if t.keyed != nil {
		t.keyed.upkeep.Lock()
		defer t.keyed.upkeep.Unlock()
	}
	defer g.close()
	if err := g.begin(); err != nil {
		return nil, e.diskError(fmt.Sprintf("alter table %s", next.definition.Name), err)
	}
	var began, ended int64
	err := e.control(ctx, func() error {
		began = e.options.Clock.Now().UnixMicro()
		defer func() { ended = e.options.Clock.Now().UnixMicro() }()
		return g.commit()
	})
	if err != nil {
		return nil, e.diskError(fmt.Sprintf("alter table %s", next.definition.Name), err)
	}
	e.options.Logger.Info("a table has grown", "table", next.definition.Name, "buckets", next.definition.Buckets, "writers held, µs", ended-began)
	return g.next.definition, nil
}

// evolves says that columns change too.
func (g *growth) evolves() bool { return g.next.schema != g.table.schema.Load() }

// begin opens the buckets of a primary-key table and begins their divisions: no rows are retired until close.
func (g *growth) begin() error {
	t := g.table
	if t.keyed == nil {
		return nil
	}
	if err := t.openAll(); err != nil {
		return err
	}
	var dividing errgroup.Group
	dividing.SetLimit(2) // writers need the processors too
	var mu sync.Mutex
	for _, b := range t.opened() {
		if t.isHome(b.number) {
			continue
		}
		dividing.Go(func() error {
			d, err := g.divide(b)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			g.divisions[b.number] = d
			return nil
		})
	}
	return dividing.Wait()
}

// divide begins the division of a bucket.
func (g *growth) divide(b *bucket) (d *pkstore.Division, err error) {
	t := g.table
	before, now := int(t.definition.Load().Buckets), int(g.definition.Buckets)
	index := slices.Index(t.routedTo(b.number), b.number)
	if index < 0 {
		return nil, nil // its partition was dropped
	}
	var shares []pkstore.Share
	for ; index < now; index += before {
		shares = append(shares, t.schema.Load().share(g.definition, index, now))
	}
	err = streams.Guard(func() error {
		d, err = b.keyed.Divide(shares)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("bucket %d: %w", b.number, err)
	}
	return d, nil
}

// close ends a growth, whether or not it came to its end.
func (g *growth) close() {
	for _, d := range g.divisions {
		if d != nil {
			d.Close()
		}
	}
	for number, log := range g.logs {
		if err := log.Close(nil); err != nil {
			g.engine.options.Logger.Warn("close the log of a bucket", "table", g.definition.Name, "bucket", number, "error", err)
		}
	}
}

// commit is what the committer does.
func (g *growth) commit() error {
	if err := g.table.err(); err != nil {
		return err
	}
	if err := g.engine.settle(); err != nil {
		return err
	}
	if err := g.number(); err != nil {
		return err
	}
	if err := g.split(); err != nil {
		return err
	}
	if err := g.prepare(); err != nil {
		return err
	}
	if err := g.write(); err != nil {
		return err
	}
	return g.show()
}

// number gives the new buckets their numbers and their parents.
func (g *growth) number() (err error) {
	t := g.table
	if t.partitions != nil {
		g.partitions, err = g.growPartitions()
	} else if before := t.definition.Load().Buckets; len(g.definition.BucketKey) > 0 {
		for child := before; child < g.definition.Buckets; child++ {
			g.parents[child] = child % before
		}
	}
	return err
}

// split finds where the buckets split.
func (g *growth) split() error {
	t := g.table
	store, err := t.storeOfRetired()
	if err != nil {
		return err
	}
	ends := map[int32]model.Split{}
	splits := make(map[int32]model.Split, len(g.parents))
	for child, parent := range g.parents {
		end, known := ends[parent]
		if !known {
			if end, err = g.endOf(parent, store); err != nil {
				return err
			}
			ends[parent] = end
		}
		splits[child] = end
	}
	evolves := g.evolves()
	if len(splits) > 0 {
		g.definition = t.withoutGone(g.definition).WithSplits(splits)
		g.next.definition = t.withoutGone(g.next.definition).WithSplits(splits)
	}
	if !evolves {
		return nil
	}
	if g.next.schema, err = newTableSchema(t, g.next.definition); err != nil {
		return err
	}
	return t.tryEvolve(g.next.schema) // behind the point of no return nothing may be found wrong
}

// endOf gives the split of a bucket at its end.
func (g *growth) endOf(parent int32, store pkstore.ColdStore) (model.Split, error) {
	t := g.table
	split := model.Split{Parent: parent}
	if len(g.definition.BucketKey) == 0 {
		return split, nil
	}
	t.mu.Lock()
	b, at, written := t.buckets[parent], t.extents[parent], false
	_, written = t.extents[parent]
	t.mu.Unlock()
	split.At = t.definition.Load().First(parent)
	switch {
	case b != nil:
		split.At = b.End()
		if b.Next() != b.End() || b.keyed != nil && b.keyed.End() != b.End() && b.keyed.End() != 0 {
			return split, fmt.Errorf("bucket %d is written up to offset %d and readable up to %d", parent, b.Next(), b.End())
		}
	case written:
		split.At = at.Next
	}
	if store != nil {
		own, err := t.schema.Load().coldOf(store, parent)
		if err != nil {
			return split, err
		}
		split.Retired = own.State(coldBucket(parent)).Boundary
	}
	return split, nil
}

// prepare makes what is new in a primary-key table.
func (g *growth) prepare() error {
	t := g.table
	if t.keyed == nil {
		return nil
	}
	store, err := t.storeOfRetired()
	if err != nil {
		return err
	}
	for child, parent := range g.parents {
		g.children[parent] = append(g.children[parent], child)
	}
	for parent, children := range g.children {
		slices.Sort(children)
		if g.divisions[parent] == nil { // its partition was made since begin
			b, err := t.bucket(parent)
			if err != nil {
				return err
			}
			if g.divisions[parent], err = g.divide(b); err != nil {
				return err
			}
		}
		if err := g.preparePart(parent, children, store); err != nil {
			return fmt.Errorf("bucket %d: %w", parent, err)
		}
	}
	return nil
}

// preparePart makes the state of the buckets that split from one, and what that one keeps.
func (g *growth) preparePart(parent int32, children []int32, store pkstore.ColdStore) error {
	t := g.table
	before, now := int(t.definition.Load().Buckets), int(g.definition.Buckets)
	schema, index := t.schema.Load(), slices.Index(t.routedTo(parent), parent)
	var parts []pkstore.Part
	for i, number := range append([]int32{parent}, children...) {
		options, err := schema.bucketOptions(g.definition, schema.keyed, number)
		if err != nil {
			return err
		}
		options.Share = schema.share(g.definition, index+i*before, now)
		cold, err := coldWith(g.definition, store, number, options)
		if err != nil {
			return err
		}
		parts = append(parts, pkstore.Part{Options: options, Cold: cold, Name: coldBucket(number)})
		if i == 0 {
			continue
		}
		at := streams.Extent{Segment: streams.SegmentName{TableID: g.definition.ID, Bucket: number, Base: -1}}
		own, err := g.bucketOptions(parent)
		if err != nil {
			return err
		}
		log, err := streams.OpenBucket(g.definition, number, &at, own)
		if err != nil {
			return err
		}
		g.logs[number] = log
	}
	return streams.Guard(func() error { return g.divisions[parent].Prepare(parts) })
}

// bucketOptions gives the options of the logs of buckets that split from one: what they tell of its partition is as
// it will be.
func (g *growth) bucketOptions(parent int32) (streams.Options, error) {
	options, err := g.table.bucketOptions(parent)
	options.Layout = g.table.schema.Load().log
	if err != nil || options.Partition == nil {
		return options, err
	}
	x := g.table.partitions.of(parent)
	for _, grown := range g.partitions {
		if grown.partition == x {
			described := *options.Partition
			described.Buckets = grown.list
			options.Partition = &described
		}
	}
	return options, nil
}

// write makes the growth durable. Where that fails and it is not sure that the table has not grown on disk, nothing
// is written until a restart, which finds out: rows must not go where a bucket's log may have ended.
func (g *growth) write() error {
	err := g.engine.writeTable(g.table, g.next.definition)
	if err == nil {
		return nil
	}
	record, unread := readTableRecord(g.engine.options.FS, g.table.dir())
	if unread == nil && record.Buckets != g.definition.Buckets {
		return err
	}
	return g.engine.fail(errors.Join(err, unread))
}

// show makes the table one with more buckets, in memory.
func (g *growth) show() error {
	t := g.table
	if t.keyed != nil {
		t.keyed.publishing.Lock()
		defer t.keyed.publishing.Unlock()
		t.routed.Store(nil)
	}
	err := g.showBuckets()
	if err != nil {
		g.next.definition = g.definition
		err = g.engine.fail(err) // what is on disk is right: a restart takes it
	}
	for _, b := range t.opened() {
		if !t.isHome(b.number) {
			b.Seal() // the next segment tells where the bucket has split
		}
	}
	err = errors.Join(err, t.define(g.next.definition))
	t.routed.Store(&routing{g.definition.Buckets})
	t.published.Wake()
	return err
}

// showBuckets makes the new buckets known, and puts those of a primary-key table in place: whoever learns of one
// finds it there, and where it split. Then it gives all of them the schema that they get.
func (g *growth) showBuckets() error {
	t := g.table
	t.mu.Lock()
	defer t.mu.Unlock()
	evolves := g.evolves()
	if t.partitions != nil || evolves {
		t.definition.Store(g.definition)
	}
	if t.partitions != nil {
		g.showPartitions()
	}
	for parent := range g.children {
		g.showParts(parent)
	}
	if !evolves {
		return nil
	}
	return t.evolveLocked(g.next.schema)
}

// showParts puts a bucket of a primary-key table and those that split from it in place. The table's mu is held.
func (g *growth) showParts(parent int32) {
	t := g.table
	b := t.buckets[parent]
	b.indexed = -1
	for i, state := range g.divisions[parent].Apply() {
		number := g.children[parent][i]
		child := &bucket{
			Bucket: g.logs[number], table: t, number: number, parent: b, split: g.definition.Splits[number], keyed: state, schema: b.schema,
			indexed: -1,
		}
		child.retires = b.retires
		delete(g.logs, number)
		t.buckets[number] = child
		child.inheritIndexes(b, g.definition)
	}
	b.renewIndexes()
}

// storeOfRetired gives the store of retired rows of a table; nil where there is none.
func (t *table) storeOfRetired() (pkstore.ColdStore, error) {
	if t.keyed == nil {
		return nil, nil
	}
	return t.openCold(false)
}

// isHome says that a bucket is the one that belongs to no partition.
func (t *table) isHome(number int32) bool { return t.partitions != nil && number == model.HomeBucket }
