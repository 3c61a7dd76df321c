package model

import (
	"fmt"
	"slices"
)

// Index is a secondary index of a primary-key table. Rows with a null in one of its columns are not in
// it.
type Index struct {
	// Name is unique in the table.
	Name string `json:"name"`
	// Columns are the columns whose values rows are found by, in any order, each named once.
	Columns []string `json:"columns"`
}

const (
	// IndexesMax bounds Table.Indexes: each costs memory and time with every row that is written.
	IndexesMax = 16
	// IndexColumnsMax bounds Index.Columns.
	IndexColumnsMax = 16
)

// Index gives the index of a name, or nil.
func (t *Table) Index(name string) *Index {
	for i := range t.Indexes {
		if t.Indexes[i].Name == name {
			return &t.Indexes[i]
		}
	}
	return nil
}

// SameColumns says that two lists name the same columns, in any order.
func SameColumns(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// WithIndex gives the table's definition with one index more. The error names every fault of it, except
// that of a type that cannot be looked up by.
func (t *Table) WithIndex(index Index) (*Table, error) {
	if !t.Keyed() {
		return nil, Errorf(BadRequest, "%s is a log table, which has no indexes", t.Name).WithRemedy("Create a table with primary_key")
	}
	if t.Index(index.Name) != nil {
		return nil, Errorf(IndexAlreadyExists, "%s has an index %q already", t.Name, index.Name).
			With("table", t.Name.String()).With("index", index.Name).WithRemedy("Choose another name, or drop it first")
	}
	faults := []error{CheckName("index", index.Name)}
	fault := func(reason Reason, format string, args ...any) {
		faults = append(faults, Errorf(reason, "index %q: %s", index.Name, fmt.Sprintf(format, args...)))
	}
	if n := len(index.Columns); n == 0 || n > IndexColumnsMax {
		fault(BadRequest, "it has %d columns, want 1 to %d", n, IndexColumnsMax)
	}
	for i, column := range index.Columns {
		if len(t.Schema.FieldIndices(column)) != 1 {
			fault(ColumnNotFound, "there is no column %q", column)
		}
		if slices.Contains(index.Columns[:i], column) {
			fault(BadRequest, "the column %q is named twice", column)
		}
	}
	if SameColumns(index.Columns, t.PrimaryKey) || t.LookupPrefix() != nil && SameColumns(index.Columns, t.LookupPrefix()) {
		fault(BadRequest, "rows are found by %v without one", index.Columns)
	}
	for i := range t.Indexes {
		if SameColumns(index.Columns, t.Indexes[i].Columns) {
			fault(BadRequest, "%q has the same columns", t.Indexes[i].Name)
		}
	}
	if len(t.Indexes) >= IndexesMax {
		fault(BadRequest, "there are %d indexes, which is the most that a table can have", len(t.Indexes))
	}
	if err := JoinFaults(faults); err != nil {
		return nil, err
	}
	changed := *t
	changed.Indexes = append(slices.Clone(t.Indexes), Index{index.Name, slices.Clone(index.Columns)})
	return &changed, nil
}

// WithoutIndex gives the table's definition without an index. It fails with IndexNotFound.
func (t *Table) WithoutIndex(name string) (*Table, error) {
	if t.Index(name) == nil {
		return nil, Errorf(IndexNotFound, "%s has no index %q", t.Name, name).
			With("table", t.Name.String()).With("index", name).WithRemedy("Describe the table to see its indexes")
	}
	changed := *t
	changed.Indexes = slices.DeleteFunc(slices.Clone(t.Indexes), func(x Index) bool { return x.Name == name })
	return &changed, nil
}
