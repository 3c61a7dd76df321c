package engine

import (
	"context"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// lookupInsert inserts rows for keys that a lookup does not find.
type lookupInsert struct {
	// put is how the committer sees the rows: key columns of the table, of keys that are not there.
	put *Put
	// from are the columns of the client's batches that the columns of the put are taken from.
	from    []int
	builder *arrowipc.Builder
}

// openInsert prepares the insertion of keys that are not found.
func (l *Lookup) openInsert() (*lookupInsert, error) {
	t, schema, definition := l.table, l.schema, l.schema.definition
	var faults []error
	for _, field := range definition.Schema.Fields() {
		if _, hasDefault := definition.Defaults[field.Name]; !field.Nullable && !hasDefault && !slices.Contains(definition.PrimaryKey, field.Name) {
			faults = append(faults, model.Errorf(model.BadRequest, "a row with its key alone lacks the column %q, which is NOT NULL and has no default", field.Name))
		}
	}
	if err := model.JoinFaults(faults); err != nil {
		return nil, err
	}
	columns, err := schema.sortedColumns(definition.PrimaryKey)
	if err != nil {
		return nil, err
	}
	fields := schema.columnFields(columns)
	insert := &lookupInsert{from: make([]int, len(columns))}
	for i := range columns {
		insert.from[i] = l.by[slices.Index(definition.PrimaryKey, fields[i].Name)]
	}
	layout, err := arrowipc.NewLayout(arrow.NewSchema(fields, nil))
	if err != nil {
		return nil, err
	}
	insert.builder = arrowipc.NewBuilder(layout)
	insert.put = newOwnPut(schema, t.level(), &keyedPut{columns: columns, layout: layout, onlyNew: true})
	return insert, t.producers.load()
}

// insertMissing inserts a row for each key that was not found. Another client may insert the same key
// meanwhile: then its row stays.
func (l *Lookup) insertMissing(ctx context.Context, view *arrowipc.View) (inserted bool, err error) {
	var missing []int32
	for row, pick := range l.found {
		if pick.View != nil {
			continue
		}
		for _, column := range l.by {
			if view.IsNull(column, int32(row)) {
				return false, model.Errorf(model.SchemaMismatch, "the key in row %d is null and cannot be inserted", row)
			}
		}
		missing = append(missing, int32(row))
	}
	if len(missing) == 0 {
		return false, nil
	}
	parts, err := l.insertParts(view, missing)
	if err != nil {
		return false, err
	}
	l.readers.end() // what was found is looked for again
	return true, l.engine.submitChanges(ctx, l.insert.put, l.routed, parts...)
}

// insertParts makes the rows that are missing, bucket by bucket.
func (l *Lookup) insertParts(view *arrowipc.View, missing []int32) ([]part, error) {
	wanted := make([]bool, view.Rows())
	for _, row := range missing {
		wanted[row] = true
	}
	hashes := l.router.hashes
	if l.hasher != nil {
		hashes = l.hashes
	}
	var parts []part
	for _, s := range l.searches {
		rows := missing
		if s.rows != nil {
			rows = slices.DeleteFunc(slices.Clone(s.rows), func(row int32) bool { return !wanted[row] })
		}
		if len(rows) == 0 {
			continue
		}
		p, err := l.insertPart(view, rows, hashes)
		if err != nil {
			return nil, err
		}
		p.bucket, p.partition, p.index = s.bucket, s.partition, s.index
		parts = append(parts, p)
	}
	return parts, nil
}

// insertPart makes the rows of one bucket.
func (l *Lookup) insertPart(view *arrowipc.View, rows []int32, hashes []uint64) (part, error) {
	p := part{hashes: make([]uint64, len(rows))}
	picks := make([]arrowipc.Pick, len(rows))
	for i, row := range rows {
		picks[i] = arrowipc.Pick{View: view, Row: row}
		p.hashes[i] = hashes[row]
	}
	for i, column := range l.insert.from {
		if err := l.insert.builder.AppendColumnPicks(i, column, picks); err != nil {
			return part{}, err
		}
	}
	p.batch = l.insert.builder.Finish()
	return p, nil
}
