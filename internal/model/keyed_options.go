package model

import (
	"maps"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
)

// aggregateFunctions are the functions that merge.aggregate.COLUMN knows.
var aggregateFunctions = []string{
	"sum", "product", "min", "max", "bool_and", "bool_or", "first_value", "first_value_ignore_nulls",
	"last_value", "last_value_ignore_nulls", "listagg",
}

var aggregateRange = strings.Join(aggregateFunctions, ", ") + "; listagg:TEXT joins with TEXT"

// parseKeyed reads an option that is for primary-key tables; false if there is none of that name.
func (o *Options) parseKeyed(name, value string) (known bool, err error) {
	switch name {
	case optionMerge:
		o.Merge, err = choice[MergeEngine](value, mergeRange)
	case optionDelete:
		o.Delete, err = choice[DeleteBehavior](value, deleteRange)
	case optionImage:
		o.Image, err = choice[ChangelogImage](value, imageRange)
	case optionVersionColumn:
		o.VersionColumn = value
	case optionRowTTL:
		o.RowTTL, err = boundedDuration(value, ttlMin, ttlMax, ttlRange)
	case optionRowTTLColumn:
		o.RowTTLColumn = value
	case optionIndexMaxBytes:
		o.IndexMaxBytes, err = parseMaxBytes(value)
	default:
		column, found := strings.CutPrefix(name, optionAggregatePrefix)
		if !found || column == "" {
			return false, nil
		}
		if function, _, _ := strings.Cut(value, ":"); !slices.Contains(aggregateFunctions, function) ||
			strings.Contains(value, ":") && function != "listagg" {
			return true, Errorf(BadRequest, "%q is no aggregate function", clip(value, 100))
		}
		if o.Aggregates == nil {
			o.Aggregates = map[string]string{}
		}
		o.Aggregates[column] = value
	}
	return true, err
}

// choice reads one of the values that allowed lists.
func choice[T ~string](text, allowed string) (T, error) {
	if slices.Contains(strings.Split(allowed, ", "), text) {
		return T(text), nil
	}
	return "", Errorf(BadRequest, "%q is none of %s", clip(text, 100), allowed)
}

// parseMaxBytes reads a bound in bytes, or 0 for none.
func parseMaxBytes(value string) (int64, error) {
	size, err := ParseSize(value)
	if err == nil && size != 0 && size < maxBytesMin {
		return 0, Errorf(BadRequest, "%q is out of range, want %s", value, maxBytesRange)
	}
	return size, err
}

// CheckOptions checks the options of a table against its columns. The error names every fault.
func (t *Table) CheckOptions() error {
	options, err := ParseOptions(t.Options)
	if err != nil {
		return err
	}
	if err := t.checkPartitionOptions(options); err != nil {
		return err
	}
	faults := t.storageFaults(options)
	if !t.Keyed() {
		return JoinFaults(append(faults, t.keyedFaults()...))
	}
	return JoinFaults(append(append(faults, t.mergeFaults(options)...), t.columnFaults(options)...))
}

// mergeFaults tells which options of merging do not go together.
func (t *Table) mergeFaults(options Options) (faults []error) {
	switch {
	case options.Merge == MergeVersioned && options.VersionColumn == "":
		faults = append(faults, Errorf(BadRequest, "merge.engine versioned needs the option merge.version-column").
			WithRemedy("Set it to an integer, date or timestamp column"))
	case options.Merge != MergeVersioned && options.VersionColumn != "":
		faults = append(faults, Errorf(BadRequest, "option merge.version-column is for merge.engine versioned alone").
			WithRemedy("Set merge.engine to versioned, or leave merge.version-column out"))
	}
	if options.Merge != MergeAggregation && len(options.Aggregates) > 0 {
		faults = append(faults, Errorf(BadRequest, "the options merge.aggregate.COLUMN are for merge.engine aggregation alone").
			WithRemedy("Set merge.engine to aggregation, or leave them out"))
	}
	return faults
}

// columnFaults tells which options name columns that will not do.
func (t *Table) columnFaults(options Options) (faults []error) {
	fault := func(format string, args ...any) {
		faults = append(faults, Errorf(BadRequest, format, args...).WithRemedy("Name one of its columns, which DescribeTable lists with their types"))
	}
	if name := options.VersionColumn; name != "" && !versionColumn(t.Schema, name) {
		fault("merge.version-column names %q, which is no integer, date or timestamp column of the table", name)
	}
	if name := options.RowTTLColumn; name != "" && !timeColumn(t.Schema, name) {
		fault("row.ttl-column names %q, which is no timestamp or date column of the table", name)
	}
	for _, column := range slices.Sorted(maps.Keys(options.Aggregates)) {
		if len(t.Schema.FieldIndices(column)) != 1 {
			fault("option merge.aggregate.%s names a column that the table lacks", column)
		} else if slices.Contains(t.PrimaryKey, column) {
			fault("option merge.aggregate.%s names a key column", column)
		}
	}
	return faults
}

// keyedFaults refuses what only primary-key tables have.
func (t *Table) keyedFaults() (faults []error) {
	for name := range t.Options {
		var scratch Options
		if known, _ := scratch.parseKeyed(name, ""); known {
			faults = append(faults, Errorf(BadRequest, "option %s is for tables with a primary key", name).
				WithRemedy("Leave it out, or give primary_key"))
		}
	}
	return faults
}

func versionColumn(schema *arrow.Schema, name string) bool {
	fields, _ := schema.FieldsByName(name)
	if len(fields) != 1 {
		return false
	}
	switch fields[0].Type.ID() {
	case arrow.INT8, arrow.INT16, arrow.INT32, arrow.INT64, arrow.UINT8, arrow.UINT16, arrow.UINT32, arrow.UINT64,
		arrow.DATE32, arrow.DATE64, arrow.TIMESTAMP:
		return true
	}
	return false
}

func timeColumn(schema *arrow.Schema, name string) bool {
	fields, _ := schema.FieldsByName(name)
	if len(fields) != 1 {
		return false
	}
	switch fields[0].Type.ID() {
	case arrow.DATE32, arrow.DATE64, arrow.TIMESTAMP:
		return true
	}
	return false
}
