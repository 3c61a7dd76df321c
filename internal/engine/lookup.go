package engine

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/pkstore"
	"github.com/headrace/headrace/streams"
)

// Lookup is a stream of lookups. It is for one goroutine, or for two that take turns: see Answer.
type Lookup struct {
	engine  *Engine
	table   *table
	request LookupRequest
	decoder *arrowipc.Decoder
	// keys reads the key of a row of the client's batches, in the order of the primary key or of the
	// index; by are its columns there.
	keys *arrowipc.KeyColumns
	by   []int
	// router and hasher hash the bucket key and the key. hasher is nil where one hash serves both, router
	// where all buckets have to be asked.
	router *router
	// routed is the routing that the rows in found were looked for by.
	routed *routing
	hasher *arrowipc.RowHasher
	// schema is the version of the table's schema that the answers are of, columns are those wanted of it,
	// by index; carried is the number of columns before them.
	schema  *tableSchema
	columns []int
	carried int
	// answers is the layout of the answers; binding makes them of rows as they are now.
	answers    *arrowipc.Layout
	binding    *lookupBinding
	projection *arrowipc.Projection
	// insert sends rows for keys that are not found; nil unless that was asked for.
	insert *lookupInsert
	// index is for lookups by an index, or by the bucket key as a prefix of the primary key; nil for those
	// by the primary key.
	index *lookupIndex
	// filtered drops rows that were found; nil where there is no filter.
	filtered *lookupFilter

	hashes   []uint64 // reused
	halves   [2][]arrowipc.Pick
	searches []search
	// found are the rows of the answer that is being looked up, input those of the client's batch that they belong
	// to, where that is not the row of the same number.
	found, input []arrowipc.Pick
	// readers are those of the answer that is being looked up.
	readers *rowReaders
	workers [2]lookupAnswer
	// underWay counts messages that are being answered.
	underWay atomic.Int32
	// outdated says that rows were found of another version of the schema than the binding's.
	outdated atomic.Bool
}

// OpenLookup begins a stream of lookups. It fails if the table has no such key or columns.
func (e *Engine) OpenLookup(ctx context.Context, request LookupRequest) (*Lookup, error) {
	t, err := e.table(request.Table)
	if err != nil {
		return nil, err
	}
	schema := t.schema.Load()
	definition := t.definitionOf(schema)
	if t.keyed == nil {
		return nil, model.Errorf(model.BadRequest, "%s is a log table, which has no key to look rows up by", definition.Name).
			WithRemedy("Scan it with a filter, or create a table with primary_key")
	}
	if err := t.checkBuckets(request.MinOffsets); err != nil {
		return nil, err
	}
	l := &Lookup{engine: e, table: t, request: request, schema: schema}
	for i := range l.workers {
		l.workers[i] = newLookupAnswer(e, i)
	}
	if l.columns, err = schema.chosen(request.Columns); err != nil {
		return nil, err
	}
	layout, err := l.openKeys(definition)
	if err != nil {
		return nil, err
	}
	if l.filtered, err = schema.openLookupFilter(request); err != nil {
		return nil, err
	}
	if err := l.openAnswers(layout); err != nil {
		return nil, err
	}
	if request.InsertMissing {
		if l.insert, err = l.openInsert(); err != nil {
			return nil, err
		}
	}
	if t.partitions == nil || l.router == nil {
		if err := t.openAll(); err != nil {
			return nil, err
		}
	}
	if l.index != nil {
		return l, t.awaitIndex(ctx, l.index.defined.Name)
	}
	return l, nil
}

// openKeys prepares the reading of the client's batches, and gives their layout.
func (l *Lookup) openKeys(definition *model.Table) (*arrowipc.Layout, error) {
	key, err := l.chooseKey(definition)
	if err != nil {
		return nil, err
	}
	sent, err := arrowipc.DecodeSchema(l.request.Schema, arrowipc.Limits{})
	if err != nil {
		return nil, err
	}
	fields := model.StoredSchema(sent).Fields()
	var required []string
	for _, name := range key {
		found := slices.IndexFunc(fields, func(f arrow.Field) bool { return f.Name == name })
		if found < 0 {
			return nil, model.Errorf(model.SchemaMismatch, "the keys have no column %q", name).
				WithRemedy("Send the key columns %v", key)
		}
		own, _ := l.schema.layout.Schema().FieldsByName(name)
		fields[found] = arrow.Field{Name: name, Type: own[0].Type, Metadata: own[0].Metadata, Nullable: true}
		l.by, required = append(l.by, found), append(required, name)
	}
	layout, err := arrowipc.NewLayout(arrow.NewSchema(fields, nil))
	if err != nil {
		return nil, err
	}
	options := arrowipc.DecoderOptions{Target: layout, Required: required, MessageBytes: lookupBytesMax}
	if l.decoder, err = arrowipc.NewDecoder(l.request.Schema, options); err != nil {
		return nil, err
	}
	if l.keys, err = arrowipc.NewKeyColumns(layout, l.by); err != nil {
		return nil, err
	}
	// A key without all columns of the bucket key, or of the partitions, may have rows in every bucket.
	routing := slices.Concat(definition.BucketKey, definition.PartitionBy)
	if !slices.ContainsFunc(routing, func(name string) bool { return !slices.Contains(key, name) }) {
		if l.router, err = l.schema.newRouter(layout, definition.BucketKey); err != nil {
			return nil, err
		}
		l.router.lenient = true
	}
	if l.index != nil || !l.schema.keyed.routed {
		l.hasher, err = hasherOf(layout, key)
	}
	return layout, err
}

// chooseKey gives the columns that rows are found by, in the order of the primary key or the index.
func (l *Lookup) chooseKey(definition *model.Table) ([]string, error) {
	by := l.request.By
	if by == nil || model.SameColumns(by, definition.PrimaryKey) {
		return definition.PrimaryKey, nil
	}
	for _, index := range indexesOf(definition) {
		if !model.SameColumns(by, index.Columns) {
			continue
		}
		if l.request.InsertMissing {
			return nil, model.Errorf(model.BadRequest, "rows that are missing are inserted by their primary key, not by %v", by).
				WithRemedy("Look them up by %v", definition.PrimaryKey)
		}
		l.index = &lookupIndex{defined: index}
		return index.Columns, nil
	}
	return nil, model.Errorf(model.BadRequest, "%s cannot be looked up by %v", definition.Name, by).
		With("table", definition.Name.String()).
		WithRemedy("Look it up by its primary key, %v, or make an index of the columns with AlterTable and create_index", definition.PrimaryKey)
}

// lookupBytesMax is the largest batch of keys that is looked at as one.
const lookupBytesMax = 64 << 20

// openAnswers makes the schema of the answers.
func (l *Lookup) openAnswers(keys *arrowipc.Layout) error {
	var fields []arrow.Field
	if l.request.Carry {
		fields = keys.Schema().Fields()
		l.carried = len(fields)
	}
	paths := make([][]string, len(fields), len(fields)+len(l.columns))
	for _, field := range l.schema.columnFields(l.columns) {
		field.Name = l.request.Prefix + field.Name
		field.Nullable = field.Nullable || !l.request.Inner && !l.request.InsertMissing
		fields = append(fields, field)
	}
	paths = append(paths, l.request.Paths...)
	if l.request.Found != "" {
		fields = append(fields, arrow.Field{Name: l.request.Found, Type: arrow.FixedWidthTypes.Boolean})
	}
	layout, err := arrowipc.NewLayout(arrow.NewSchema(fields, nil))
	if err != nil {
		return err
	}
	if l.projection, err = arrowipc.NewNestedProjection(layout, nil, paths, nil); err != nil {
		return err
	}
	names := map[string]bool{}
	for _, field := range l.projection.Schema().Fields() {
		if names[field.Name] {
			return model.Errorf(model.BadRequest, "the answer would have two columns %q", field.Name).
				WithRemedy("Name a prefix for the columns of the table, or choose fewer")
		}
		names[field.Name] = true
	}
	l.answers = layout
	return l.bind(l.schema)
}

// SchemaMessage is the IPC schema message of the answers.
func (l *Lookup) SchemaMessage() []byte { return l.projection.SchemaMessage() }

// resolve finds the rows of the answer, in l.found; l.input has the rows of the client's batch that they
// belong to, where that is not the row of the same number.
func (l *Lookup) resolve(ctx context.Context, batch *arrowipc.Batch) (model.Offsets, error) {
	if err := l.await(ctx); err != nil {
		return nil, err
	}
	view, err := arrowipc.NewView(batch)
	if err != nil {
		return nil, err
	}
	asOf, err := l.findNow(view)
	if err != nil || l.index != nil {
		return asOf, err
	}
	if l.insert != nil {
		inserted, err := l.insertMissing(ctx, view)
		if err != nil {
			return nil, err
		}
		if inserted {
			if asOf, err = l.findNow(view); err != nil {
				return nil, err
			}
		}
	}
	if l.filtered != nil {
		if err := l.filtered.drop(l.found); err != nil {
			return nil, err
		}
	}
	l.choose(view)
	return asOf, nil
}

// findNow finds the rows of the keys, all of them of one version of the schema: where that changes meanwhile,
// they are looked for again.
func (l *Lookup) findNow(view *arrowipc.View) (asOf model.Offsets, err error) {
	for {
		if err := l.bind(l.table.schema.Load()); err != nil {
			return nil, err
		}
		l.outdated.Store(false)
		if l.index != nil {
			asOf, err = l.findBy(view)
		} else {
			asOf, err = l.find(view)
		}
		if err != nil || !l.outdated.Load() {
			return asOf, err
		}
	}
}

// await waits until the state has what the client wants to see at least.
func (l *Lookup) await(ctx context.Context) error {
	for number, want := range l.request.MinOffsets {
		b, err := l.table.bucket(number)
		if err != nil && l.table.isGone(number) {
			continue
		}
		if err != nil {
			return err
		}
		for {
			published := l.table.published.Wait()
			if b.keyed.End() >= want {
				break
			}
			if err := l.table.err(); err != nil {
				return err
			}
			select {
			case <-published:
			case <-l.engine.draining:
				return errClosed()
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// find fills l.found with the rows of the keys.
func (l *Lookup) find(view *arrowipc.View) (model.Offsets, error) {
	if l.hasher != nil {
		var err error
		if l.hashes, err = l.hasher.Hash(view.Batch(), l.hashes[:0]); err != nil {
			return nil, fmt.Errorf("hash keys: %w", err)
		}
	}
	if view.Rows() <= answerRows { // more are gathered in parts, between which the client is waited for
		l.readers.begin()
	}
	var offsets model.Offsets
	err := l.table.reads(func(r *routing) error {
		l.routed = r
		places, err := l.router.route(view.Batch(), 0)
		if err != nil {
			return fmt.Errorf("route keys to buckets: %w", err)
		}
		hashes := l.router.hashes
		if l.hasher != nil {
			hashes = l.hashes
		}
		offsets, err = l.findInAll(pkstore.Keys{View: view, Columns: l.keys, Hashes: hashes}, places)
		return err
	})
	return offsets, err
}

// findIn appends the rows of keys of one bucket to picks.
func (l *Lookup) findIn(number int32, keys pkstore.Keys, reader *pkstore.RowReader, picks []arrowipc.Pick) (found []arrowipc.Pick, asOf int64, err error) {
	b, err := l.table.bucket(number)
	if err != nil {
		return picks, 0, err
	}
	err = streams.Guard(func() error {
		found, asOf, err = b.keyed.Lookup(keys, reader, picks)
		return err
	})
	if err == nil && !l.binding.isOf(found[len(picks):]) {
		l.outdated.Store(true)
	}
	return found, asOf, err
}

// choose leaves out keys that were not found, where the client wants that.
func (l *Lookup) choose(view *arrowipc.View) {
	l.input = l.input[:0]
	if l.carried == 0 && !l.request.Inner {
		return
	}
	kept := l.found[:0]
	for row, pick := range l.found {
		if pick.View == nil && l.request.Inner {
			continue
		}
		kept = append(kept, pick)
		l.input = append(l.input, arrowipc.Pick{View: view, Row: int32(row)})
	}
	l.found = kept
}

// fill appends the rows of the answer, column by column.
func (l *Lookup) fill(binding *lookupBinding, builder *arrowipc.Builder, found, input []arrowipc.Pick) error {
	for column := range l.carried {
		if err := builder.AppendColumnPicks(column, column, input); err != nil {
			return err
		}
	}
	if err := builder.AppendColumnsPicks(l.carried, binding.columns, found); err != nil {
		return err
	}
	if l.request.Found == "" {
		return nil
	}
	for _, pick := range found {
		value := []byte{0}
		if pick.View != nil {
			value[0] = 1
		}
		if err := builder.AppendValue(binding.found, value); err != nil {
			return err
		}
	}
	return nil
}
