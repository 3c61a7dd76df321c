package engine

import (
	"fmt"
	"runtime"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/zeebo/xxh3"
	"golang.org/x/sync/errgroup"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// keyedPut is what a put into a primary-key table has beside that of a log table.
type keyedPut struct {
	// columns are the columns of the rows, as indexes in the table.
	columns []int
	// layout is that of the rows.
	layout *arrowipc.Layout
	delete bool
	// retract says that the values of the rows are taken back from those that are there.
	retract bool
	// onlyNew says that keys that are there stay as they are.
	onlyNew bool
	// hasher hashes the primary key, for the index; nil where the router does that.
	hasher *arrowipc.RowHasher
	keys   []uint64 // reused
	// form is a hash of mode and columns: a retry of another form is another request.
	form uint64
}

// openKeyed prepares a stream into a primary-key table.
func (p *Put) openKeyed() error {
	definition := p.schema.definition
	columns, err := p.keyedColumns()
	if err != nil {
		return err
	}
	fields := p.schema.columnFields(columns)
	names := make([]string, len(columns))
	for i := range fields {
		names[i] = fields[i].Name
	}
	retract := p.request.Mode == PutDelete && p.request.Columns != nil
	k := &keyedPut{columns: columns, delete: p.request.Mode == PutDelete && !retract, retract: retract}
	if k.layout, err = arrowipc.NewLayout(arrow.NewSchema(fields, nil)); err != nil {
		return err
	}
	p.decoder, err = arrowipc.NewDecoder(p.request.Schema, arrowipc.DecoderOptions{Target: k.layout, Required: names})
	if err != nil {
		return err
	}
	if p.router, err = p.schema.newRouter(k.layout, definition.BucketKey); err != nil {
		return err
	}
	if !p.schema.keyed.routed {
		if k.hasher, err = hasherOf(k.layout, definition.PrimaryKey); err != nil {
			return err
		}
	}
	p.sent = p.schema.idsOf(columns)
	k.form = xxh3.HashString(fmt.Sprint(p.request.Mode == PutDelete, slices.Sorted(slices.Values(p.sent))))
	p.keyed = k
	return nil
}

// hasherOf hashes columns of rows by name.
func hasherOf(layout *arrowipc.Layout, names []string) (*arrowipc.RowHasher, error) {
	columns := make([]int, len(names))
	for i, name := range names {
		columns[i] = layout.ColumnIndex(name)
	}
	return arrowipc.NewRowHasher(layout, columns)
}

// openAll opens every bucket of the table, so that the committer does not have to. What takes time is
// the keys of their logs, which buckets read side by side.
func (t *table) openAll() error {
	return t.openThese(t.numbers())
}

// openThese opens buckets side by side; those of partitions that are dropped meanwhile are left out.
func (t *table) openThese(numbers []int32) error {
	var opening errgroup.Group
	opening.SetLimit(runtime.GOMAXPROCS(0))
	for _, number := range numbers {
		if t.isOpen(number) {
			continue
		}
		opening.Go(func() error {
			_, err := t.bucket(number)
			if t.isGone(number) {
				return nil
			}
			return err
		})
	}
	return opening.Wait()
}

// keyedColumns checks the mode and gives the columns that rows of the put have.
func (p *Put) keyedColumns() ([]int, error) {
	t, schema, options := p.table, p.schema, p.table.options.Load()
	definition := schema.definition
	switch {
	case p.request.Mode == PutAppend:
		return nil, model.Errorf(model.BadRequest, "%s has a primary key: it takes the modes upsert and delete", definition.Name).
			WithRemedy("Send mode upsert")
	case p.request.Mode == PutDelete && p.request.Columns != nil:
		return p.retractedColumns()
	case p.request.Mode == PutDelete && options.Delete == model.DeleteRefuse:
		return nil, t.errDeleteRefused()
	case p.request.Mode == PutDelete:
		return schema.sortedColumns(definition.PrimaryKey)
	case p.request.Columns == nil:
		var columns []int
		for i := range schema.layout.Schema().NumFields() {
			if !slices.Contains(schema.keyed.numbered, i) {
				columns = append(columns, i)
			}
		}
		return columns, nil
	case options.Merge == model.MergeFirstRow || options.Merge == model.MergeVersioned:
		return nil, model.Errorf(model.BadRequest, "%s has merge.engine %s, which takes whole rows", definition.Name, options.Merge).
			WithRemedy("Leave columns out")
	}
	return p.partialColumns()
}

func (t *table) errDeleteRefused() error {
	name := t.definition.Load().Name
	return model.Errorf(model.DeleteRefused, "%s refuses deletions", name).
		With("table", name.String()).WithRemedy("Set its option delete.behavior to allow")
}

// partialColumns gives the columns of a partial update.
func (p *Put) partialColumns() ([]int, error) {
	schema, definition := p.schema, p.schema.definition
	var faults []error
	for _, key := range definition.PrimaryKey {
		if !slices.Contains(p.request.Columns, key) {
			faults = append(faults, model.Errorf(model.SchemaMismatch, "columns does not name the key column %q", key).
				WithRemedy("A partial update names the key"))
		}
	}
	for _, field := range schema.layout.Schema().Fields() {
		if _, hasDefault := definition.Defaults[field.Name]; field.Nullable || hasDefault ||
			slices.Contains(p.request.Columns, field.Name) || slices.Contains(definition.PrimaryKey, field.Name) {
			continue
		}
		faults = append(faults, model.Errorf(model.SchemaMismatch, "columns does not name the column %q, which is NOT NULL and has no default", field.Name))
	}
	for _, column := range schema.keyed.numbered {
		if name := schema.layout.Schema().Field(column).Name; slices.Contains(p.request.Columns, name) {
			faults = append(faults, model.Errorf(model.BadRequest, "the values of column %q are numbers that the server gives", name))
		}
	}
	if err := model.JoinFaults(faults); err != nil {
		return nil, err
	}
	return schema.sortedColumns(p.request.Columns)
}

// retractedColumns gives the columns of rows whose values are taken back.
func (p *Put) retractedColumns() ([]int, error) {
	name, key := p.schema.definition.Name, p.schema.definition.PrimaryKey
	if p.table.options.Load().Merge != model.MergeAggregation {
		return nil, model.Errorf(model.BadRequest, "columns of mode delete takes values back, and %s does not have merge.engine aggregation", name).
			WithRemedy("Leave columns out to delete rows by their keys")
	}
	for _, column := range key {
		if !slices.Contains(p.request.Columns, column) {
			return nil, model.Errorf(model.SchemaMismatch, "columns does not name the key column %q", column).
				WithRemedy("Name the key, and the columns whose values are taken back")
		}
	}
	return p.schema.sortedColumns(p.request.Columns)
}

// sortedColumns gives the indexes of columns by name, ascending.
func (s *tableSchema) sortedColumns(names []string) ([]int, error) {
	columns, err := s.chosen(names)
	if err != nil {
		return nil, err
	}
	slices.Sort(columns)
	if len(slices.Compact(slices.Clone(columns))) < len(columns) {
		return nil, model.Errorf(model.BadRequest, "columns names a column twice")
	}
	return columns, nil
}

// routeChanges says which rows go to which bucket, with the hash of each row's key. The rows are
// plain.
func (p *Put) routeChanges(batches []*arrowipc.Batch) ([]part, error) {
	parts := make([]part, 0, len(batches))
	for _, batch := range batches {
		plain := batch
		if batch.Codec != arrowipc.NoCodec {
			var err error
			if plain, err = arrowipc.Decompress(batch); err != nil {
				return nil, err
			}
			batch.Release()
		}
		split, err := p.splitChanges(plain)
		if err != nil {
			return nil, err
		}
		parts = append(parts, split...)
	}
	if p.table.partitions == nil {
		return parts, nil
	}
	var numbers []int32
	for _, part := range parts {
		if part.bucket >= 0 {
			numbers = append(numbers, part.bucket)
		}
	}
	return parts, p.table.openThese(numbers)
}

// splitChanges cuts a plain batch, which it takes over, into one batch a bucket.
func (p *Put) splitChanges(batch *arrowipc.Batch) (parts []part, err error) {
	places, err := p.router.route(batch, 0)
	if err != nil {
		return nil, err
	}
	keys := p.router.hashes
	if p.keyed.hasher != nil {
		if p.keyed.keys, err = p.keyed.hasher.Hash(batch, p.keyed.keys[:0]); err != nil {
			return nil, fmt.Errorf("hash keys: %w", err)
		}
		keys = p.keyed.keys
	}
	builder := arrowipc.NewBuilder(batch.Layout)
	for at, rows := range places {
		if rows == nil {
			return []part{{bucket: at.bucket, partition: at.partition, index: at.index, batch: batch, hashes: slices.Clone(keys)}}, nil
		}
		if err := builder.AppendRows(batch, rows); err != nil {
			return nil, fmt.Errorf("route rows to buckets: %w", err)
		}
		hashes := make([]uint64, len(rows))
		for i, row := range rows {
			hashes[i] = keys[row]
		}
		parts = append(parts, part{bucket: at.bucket, partition: at.partition, index: at.index, batch: builder.Finish(), hashes: hashes})
	}
	batch.Release()
	return parts, nil
}
