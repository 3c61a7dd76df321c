package engine

import (
	"fmt"
	"path"
	"strconv"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/streams"
)

// keyedCheck folds the changelog of a primary-key table, bucket after bucket, and reports changes that
// do not fit what is there. Keys and rows are known by their hashes: what it reports is wrong, and
// what it does not report is right but for about one chance in 2^64 a row. Columns that cannot be keys,
// such as lists, are not compared.
type keyedCheck struct {
	checker *checker
	table   string
	// layout is that of the log in the newest version of the schema, which all rows are brought to.
	layout  *arrowipc.Layout
	version int32
	adapter func(version int32) (*arrowipc.Adapter, error)
	keys    *arrowipc.RowHasher
	rows    *arrowipc.RowHasher
	full    bool
	cold    *coldCheck   // nil: there are no retired rows
	growth  *growthCheck // nil: the table has not grown

	// bucket is the folder of the bucket that is being folded, next the offset that follows.
	bucket      string
	number      int32
	start, next int64
	// whole says that no change is missing before next; without the first ones, nothing is known of
	// keys that did not occur.
	whole    bool
	findings int
	known    map[uint64]foldedRow // by the hash of the key
	replaced replacedRow

	keyHashes, rowHashes []uint64 // reused
}

// foldedRow is what a key has: the hash of its row, or nothing.
type foldedRow struct {
	hash   uint64
	live   bool
	offset int64 // of the newest change
	owner  int32 // the bucket that the key goes to, in a table that has grown
}

// replacedRow is a -U whose +U comes next.
type replacedRow struct {
	waits    bool
	key      uint64
	offset   int64
	segment  string
	position int64
}

// keyedFindingsMax is how many changes of a bucket are reported. The ones behind say little more: one
// that is missing makes others wrong.
const keyedFindingsMax = 16

// newKeyedCheck gives nil for a log table.
func (c *checker) newKeyedCheck(dir string, definition *model.Table) (*keyedCheck, error) {
	if definition == nil || !definition.Keyed() {
		return nil, nil
	}
	layout, err := arrowipc.NewLayout(definition.LogSchema())
	if err != nil {
		return nil, err
	}
	options, err := model.ParseOptions(definition.Options)
	if err != nil {
		return nil, err
	}
	k := &keyedCheck{
		checker: c, table: definition.Name.String(), layout: layout, version: definition.SchemaVersion, full: options.Image == model.ImageFull,
	}
	if k.adapter, err = adaptersTo(definition, layout); err != nil {
		return nil, err
	}
	if k.keys, err = hasherOf(layout, definition.PrimaryKey); err != nil {
		return nil, err
	}
	var columns []int
	for i := range definition.Schema.NumFields() {
		if _, err := arrowipc.NewRowHasher(layout, []int{i}); err == nil {
			columns = append(columns, i)
		}
	}
	if k.rows, err = arrowipc.NewRowHasher(layout, columns); err != nil {
		return nil, err
	}
	if k.growth, err = c.newGrowthCheck(dir, definition, layout); err != nil {
		return nil, err // without it nothing can be folded
	}
	return k, nil
}

// segment folds the next segment of a bucket, up to byte end of the file; negative: to its end.
// damaged says that something was found wrong with its bytes: then the bucket is not folded on.
func (k *keyedCheck) segment(name string, end int64, damaged bool) error {
	if bucket := path.Dir(name); bucket != k.bucket {
		k.end()
		number, err := strconv.ParseInt(path.Base(bucket), 10, 32)
		if err != nil {
			k.bucket, k.known = bucket, nil // not a bucket
			return nil
		}
		k.skip(path.Dir(bucket), int32(number))
		k.bucket = bucket
		k.begin(int32(number), baseOffset(path.Base(name)))
	}
	if damaged || baseOffset(path.Base(name)) != k.next {
		k.known = nil
	}
	if k.known == nil {
		return nil
	}
	whole, err := streams.VisitSegment(k.checker.options, name, end, func(v streams.Visited) error { return k.batch(name, v) })
	if !whole {
		k.known = nil
	}
	return err
}

// batch folds the rows of a batch.
func (k *keyedCheck) batch(segment string, v streams.Visited) error {
	if k.known == nil || v.Batch.Rows == 0 {
		return nil
	}
	batch, err := k.adapt(v)
	var view *arrowipc.View
	if err == nil {
		view, err = arrowipc.NewView(batch)
	}
	if err != nil {
		k.find(segment, v.Position, v.Base, err.Error())
		k.known = nil
		return nil
	}
	if k.keyHashes, err = k.keys.Hash(batch, k.keyHashes[:0]); err != nil {
		return err
	}
	if k.rowHashes, err = k.rows.Hash(batch, k.rowHashes[:0]); err != nil {
		return err
	}
	owner, err := k.growth.owners(k.number, batch)
	if err != nil {
		return err
	}
	k.fork(v.Base)
	change := k.layout.Schema().NumFields() - 1
	for row := range int32(batch.Rows) {
		offset := v.Base + int64(row)
		kind := model.ChangeType(view.Value(change, row)[0])
		if fault := k.change(kind, k.keyHashes[row], foldedRow{k.rowHashes[row], true, offset, owner(row)}); fault != "" {
			k.find(segment, v.Position, offset, fault)
		}
		if k.known == nil {
			return nil
		}
		if kind == model.ChangeUpdateBefore {
			k.replaced = replacedRow{true, k.keyHashes[row], offset, segment, v.Position}
		}
	}
	k.next = v.Base + batch.Rows
	return nil
}

// adapt gives a batch in the newest version of the schema.
func (k *keyedCheck) adapt(v streams.Visited) (*arrowipc.Batch, error) {
	if v.SchemaVersion == k.version {
		batch := *v.Batch
		batch.Layout = k.layout
		return &batch, nil
	}
	adapter, err := k.adapter(v.SchemaVersion)
	if err != nil {
		return nil, err
	}
	return adapter.Adapt(v.Batch, nil)
}

// adaptersTo gives how rows of the versions of a table's schema become rows of its log as it is now.
func adaptersTo(definition *model.Table, layout *arrowipc.Layout) (func(version int32) (*arrowipc.Adapter, error), error) {
	to, err := arrowipc.NewFieldLayout(layout, definition.Current().Trees())
	known := map[int32]*arrowipc.Adapter{}
	return func(version int32) (*arrowipc.Adapter, error) {
		if known[version] == nil {
			adapter, err := adapterTo(to, definition, version)
			if err != nil {
				return nil, err
			}
			known[version] = adapter
		}
		return known[version], nil
	}, err
}

// change folds one row of the changelog, and says what is wrong with it; "" if nothing is.
func (k *keyedCheck) change(kind model.ChangeType, key uint64, row foldedRow) string {
	waited := k.replaced
	k.replaced = replacedRow{}
	if waited.waits && (kind != model.ChangeUpdateAfter || key != waited.key) {
		k.find(waited.segment, waited.position, waited.offset, "-U is not followed by +U of its key")
	}
	if kind > model.ChangeDelete {
		return fmt.Sprintf("%d is no kind of change", uint8(kind))
	}
	fault := k.misfit(kind, key, row.hash, waited.waits)
	switch {
	case k.known == nil:
	case kind != model.ChangeDelete:
		k.known[key] = row
	case k.whole && k.cold == nil:
		delete(k.known, key)
	default:
		k.known[key] = foldedRow{offset: row.offset, owner: row.owner}
	}
	return fault
}

// misfit says why a change does not fit what its key has; waited says that it may be the +U of a -U.
func (k *keyedCheck) misfit(kind model.ChangeType, key, row uint64, waited bool) string {
	there, seen := k.known[key]
	if kind == model.ChangeUpdateBefore && !k.full {
		return "-U in a changelog without the rows that updates replace"
	}
	if kind == model.ChangeUpdateAfter && k.full && !waited {
		return "+U without -U before it"
	}
	if !seen && !k.whole {
		return ""
	}
	switch {
	case kind == model.ChangeInsert && there.live:
		return "+I of a key that is there"
	case kind == model.ChangeInsert || kind == model.ChangeUpdateAfter && there.live:
		return ""
	case !there.live:
		return kind.String() + " of a key that is not there"
	case there.hash != row:
		return kind.String() + " with another row than the key has"
	}
	return ""
}

// end ends the bucket that is being folded.
func (k *keyedCheck) end() {
	if k.known != nil && k.replaced.waits {
		k.find(k.replaced.segment, k.replaced.position, k.replaced.offset, "-U is the last row")
	}
	if k.bucket != "" {
		k.fork(k.next)
	}
	if k.cold != nil && k.bucket != "" {
		k.cold.compare(k.bucket, k.start, k.known)
	}
}

func (k *keyedCheck) find(segment string, position, offset int64, detail string) {
	k.findings++
	if k.findings == keyedFindingsMax {
		detail += "; what follows in this bucket is not compared"
		k.known = nil
	}
	k.checker.report(Finding{
		Path: segment, Table: k.table, Position: position, FirstOffset: offset, LastOffset: offset, Detail: "changelog: " + detail,
	})
}
