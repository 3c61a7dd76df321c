package engine

import (
	"slices"

	"github.com/headrace/headrace/internal/filter"
	"github.com/headrace/headrace/internal/model"
)

// The places of the system columns among systemFields, which a filter may name.
const (
	bucketColumn = iota
	offsetColumn
	timestampColumn
)

// bindFilter prepares the filter of a scan for the rows of the log; nil where it has none.
func (s *tableSchema) bindFilter(scan Scan) (*filter.Filter, error) {
	if scan.Filter == nil {
		return nil, nil
	}
	e, err := s.table.translateChanges(scan)
	if err != nil {
		return nil, err
	}
	f, err := filter.Bind(e, s.log, systemFields)
	return f, s.table.ofTable(err)
}

// ofTable adds the table's name to the details of an error that a user sees.
func (t *table) ofTable(err error) error {
	if err == nil {
		return nil
	}
	return model.AsError(err).With("table", t.definition.Load().Name.String())
}

// translateChanges turns comparisons of the column _change_type, which readers know as text, into those of
// the numbers that the log has. Other views than the changelog do not have the column.
func (t *table) translateChanges(scan Scan) (filter.Expression, error) {
	names := slices.ContainsFunc(filter.Columns(scan.Filter), func(c filter.Column) bool { return c[0] == model.ChangeColumn })
	switch {
	case t.keyed == nil || !names:
		return scan.Filter, nil
	case scan.View != ViewChangelog:
		return nil, model.Errorf(model.BadRequest, "the filter names %s, which is a column of the view changelog alone", model.ChangeColumn).
			With("column", model.ChangeColumn)
	}
	var fault error
	e := filter.Rewrite(scan.Filter, func(e filter.Expression) filter.Expression {
		changed, err := changeNumbers(e)
		if err != nil {
			fault = err
		}
		return changed
	})
	return e, fault
}

// changeNumbers translates one comparison.
func changeNumbers(e filter.Expression) (filter.Expression, error) {
	switch e := e.(type) {
	case *filter.Compare:
		if e.Column[0] != model.ChangeColumn {
			return e, nil
		}
		value, ok := changeNumber(e.Value)
		if ok && (e.Operator == filter.Equal || e.Operator == filter.NotEqual) {
			return &filter.Compare{Column: e.Column, Operator: e.Operator, Value: value}, nil
		}
	case *filter.In:
		if e.Column[0] != model.ChangeColumn {
			return e, nil
		}
		in := &filter.In{Column: e.Column, Values: make([]filter.Literal, len(e.Values))}
		for i := range e.Values {
			value, ok := changeNumber(e.Values[i])
			if !ok {
				return nil, errChangeFilter()
			}
			in.Values[i] = value
		}
		return in, nil
	case *filter.Match:
		if e.Column[0] != model.ChangeColumn {
			return e, nil
		}
	default:
		return e, nil
	}
	return nil, errChangeFilter()
}

func changeNumber(l filter.Literal) (filter.Literal, bool) {
	if l.Kind == filter.NullLiteral {
		return l, true
	}
	for kind := model.ChangeInsert; kind <= model.ChangeDelete; kind++ {
		if l.Kind == filter.TextLiteral && l.Text == kind.String() {
			return filter.Literal{Kind: filter.NumberLiteral, Text: string('0' + byte(kind))}, true
		}
	}
	return filter.Literal{}, false
}

func errChangeFilter() error {
	return model.Errorf(model.BadRequest, "%s can only be =, != or IN '+I', '-U', '+U' and '-D'", model.ChangeColumn).
		With("column", model.ChangeColumn)
}
