package model

import (
	"maps"
	"slices"
	"strings"
)

// useOf says what the table needs a column for; "" if for nothing.
func (t *Table) useOf(column string) string {
	options, _ := ParseOptions(t.Options) // they were checked when they were set
	switch {
	case slices.Contains(t.PrimaryKey, column):
		return "of the primary key"
	case slices.Contains(t.BucketKey, column):
		return "of the bucket key"
	case slices.Contains(t.PartitionBy, column):
		return "of the partitions"
	case options.VersionColumn == column:
		return "the merge.version-column"
	case options.RowTTLColumn == column:
		return "the row.ttl-column"
	case options.Aggregates[column] != "":
		return "one with an option " + optionAggregatePrefix + column
	}
	for _, index := range t.Indexes {
		if slices.Contains(index.Columns, column) {
			return "of the index " + index.Name
		}
	}
	return ""
}

// mayWiden says that what the table needs a column for lets its type widen.
func (t *Table) mayWiden(column string) bool {
	if slices.Contains(slices.Concat(t.PrimaryKey, t.BucketKey, t.PartitionBy), column) {
		return false
	}
	return !slices.ContainsFunc(t.Indexes, func(x Index) bool { return slices.Contains(x.Columns, column) })
}

// rename gives a column another name wherever the definition names it.
func (e *evolution) rename(from, to string) {
	t := e.table
	replace := func(names []string) []string {
		names = slices.Clone(names)
		for i, name := range names {
			if name == from {
				names[i] = to
			}
		}
		return names
	}
	t.PrimaryKey, t.BucketKey, t.PartitionBy = replace(t.PrimaryKey), replace(t.BucketKey), replace(t.PartitionBy)
	for i := range t.Indexes {
		t.Indexes[i].Columns = replace(t.Indexes[i].Columns)
	}
	if value, has := t.Defaults[from]; has {
		delete(t.Defaults, from)
		t.Defaults[to] = value
	}
	if comment, has := t.Comments[from]; has {
		delete(t.Comments, from)
		t.Comments[to] = comment
	}
	for _, name := range slices.Sorted(maps.Keys(t.Options)) {
		value := t.Options[name]
		switch {
		case (name == optionVersionColumn || name == optionRowTTLColumn) && value == from:
			t.Options[name] = to
		case strings.TrimPrefix(name, optionAggregatePrefix) == from && name != from:
			delete(t.Options, name)
			t.Options[optionAggregatePrefix+to] = value
		}
	}
}
