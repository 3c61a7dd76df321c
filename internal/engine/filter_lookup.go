package engine

import (
	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/filter"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/streams"
)

// lookupFilter drops rows that were found and do not match. It gathers the columns that the filter names,
// so that they are looked at together: rows that were found lie in many batches.
type lookupFilter struct {
	filter *filter.Filter // of the layout of set
	// columns are those of the schema that the stream was opened with, set is a choice of them.
	columns []int
	set     *arrowipc.ColumnSet
	// rows of the schema as it is now are gathered, by builder.
	gathering *gathering
	builder   *arrowipc.Builder

	picks []arrowipc.Pick // reused
	at    []int           // of each pick, in what was found
	rows  []int32
}

// openLookupFilter prepares the filter of a lookup; nil where it has none.
func (s *tableSchema) openLookupFilter(request LookupRequest) (*lookupFilter, error) {
	if request.Filter == nil {
		return nil, nil
	}
	if request.InsertMissing {
		return nil, model.Errorf(model.BadRequest, "a lookup that inserts what is missing takes no filter").
			WithRemedy("Leave out filter or insert_missing")
	}
	table, err := filter.Bind(request.Filter, s.layout, nil)
	if err != nil {
		return nil, s.table.ofTable(err)
	}
	x := &lookupFilter{columns: table.Columns()}
	if x.set, err = arrowipc.NewColumnSet(s.layout, x.columns); err != nil {
		return nil, err
	}
	x.filter, err = filter.Bind(request.Filter, x.set.Layout(), nil)
	return x, err
}

// bind makes the filter, which is of one version of the schema, ready for rows of another one.
func (x *lookupFilter) bind(schema, now *tableSchema) (err error) {
	if x.gathering, err = schema.gather(now, x.columns, x.set.Layout(), 0); err == nil {
		x.builder = arrowipc.NewBuilder(x.gathering.layout)
	}
	return err
}

// drop takes the views from rows that do not match.
func (x *lookupFilter) drop(found []arrowipc.Pick) error {
	x.picks, x.at = x.picks[:0], x.at[:0]
	for i, pick := range found {
		if pick.View != nil {
			x.picks, x.at = append(x.picks, pick), append(x.at, i)
		}
	}
	if len(x.picks) == 0 {
		return nil
	}
	err := streams.Guard(func() error {
		for i, column := range x.gathering.columns {
			if err := x.builder.AppendColumnPicks(i, column, x.picks); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	batch, err := x.gathering.finish(x.builder, len(x.picks))
	if err != nil {
		return err
	}
	defer batch.Release()
	if x.rows, err = x.filter.Select(filter.All(batch), x.rows[:0]); err != nil {
		return err
	}
	kept := keptRows{rows: x.rows}
	for row, at := range x.at {
		if !kept.has(int32(row)) {
			found[at] = arrowipc.Pick{}
		}
	}
	return nil
}

// dropMatches leaves out rows that an index has led to and that do not match.
func (l *Lookup) dropMatches() error {
	if l.filtered == nil {
		return nil
	}
	l.found = l.found[:0]
	for _, match := range l.index.matches {
		l.found = append(l.found, match.Row)
	}
	if err := l.filtered.drop(l.found); err != nil {
		return err
	}
	kept := l.index.matches[:0]
	for i, match := range l.index.matches {
		if l.found[i].View != nil {
			kept = append(kept, match)
		}
	}
	clear(l.index.matches[len(kept):]) // they keep mapped segments
	l.index.matches = kept
	return nil
}
