package engine

import (
	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// systemFields are the columns that a scan adds on request, in their order.
var systemFields = []arrow.Field{
	{Name: "_bucket", Type: arrow.PrimitiveTypes.Int32},
	{Name: "_offset", Type: arrow.PrimitiveTypes.Int64},
	{Name: "_timestamp", Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}},
}

// changeField is the column behind systemFields in the views that have changes.
var changeField = arrow.Field{Name: model.ChangeColumn, Type: arrow.BinaryTypes.String}

// project makes the projection of a scan from the rows of the log.
func (s *tableSchema) project(scan Scan) (*arrowipc.Projection, error) {
	if scan.View == ViewBeforeAfter {
		x, err := newBeforeAfter(s, scan)
		if err != nil {
			return nil, err
		}
		return x.projection, nil
	}
	columns, err := s.chosen(scan.Columns)
	if err != nil {
		return nil, err
	}
	return arrowipc.NewNestedProjection(s.log, columns, scan.Paths, scan.extraFields())
}

// chosen gives the indexes of columns by name; nil stands for all of a log table's rows.
func (s *tableSchema) chosen(names []string) ([]int, error) {
	if names == nil && s.keyed == nil {
		return nil, nil
	}
	if names == nil {
		columns := make([]int, s.layout.Schema().NumFields())
		for i := range columns {
			columns[i] = i
		}
		return columns, nil
	}
	columns := make([]int, len(names))
	for i, name := range names {
		if columns[i] = s.layout.ColumnIndex(name); columns[i] < 0 {
			return nil, model.Errorf(model.ColumnNotFound, "the table %s has no column %q", s.definition.Name, name).
				With("table", s.definition.Name.String()).With("column", name).
				WithRemedy("Its columns are %s", columnNames(s.layout.Schema()))
		}
	}
	return columns, nil
}

// columnFields gives the fields of columns.
func (s *tableSchema) columnFields(columns []int) []arrow.Field {
	fields := make([]arrow.Field, len(columns))
	for i, column := range columns {
		fields[i] = s.layout.Schema().Field(column)
	}
	return fields
}

// extraFields are the columns that the scan adds to those of the table.
func (s Scan) extraFields() []arrow.Field {
	switch {
	case !s.SystemColumns:
		return nil
	case s.View == ViewChangelog || s.View == ViewRowsAndChangelog:
		return append(systemFields[:len(systemFields):len(systemFields)], changeField)
	}
	return systemFields
}

// columnNames lists the names of the columns, cut short where there are many.
func columnNames(schema *arrow.Schema) string {
	const most = 20
	text := ""
	for i, f := range schema.Fields() {
		if i == most {
			return text + ", …"
		}
		if i > 0 {
			text += ", "
		}
		text += f.Name
	}
	return text
}
