package pkstore

import (
	"errors"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// Options say what a bucket of a primary-key table holds and what it makes of requests.
type Options struct {
	// Layout is that of the log: the table's columns, then model.ChangeColumn.
	Layout *arrowipc.Layout
	// SchemaVersion is the version of the table's schema that Layout is of. Default: 1.
	SchemaVersion int32
	// Adapter gives how retired rows of another version become rows of Layout. nil: there are none.
	Adapter func(schemaVersion int32) (*arrowipc.Adapter, error)
	// Key are the primary key columns, by index in Layout.
	Key []int
	// Merge says what becomes of a row whose key is there.
	Merge MergeOptions
	// Image is model.ImageFull by default.
	Image model.ChangelogImage
	// BatchBytes bounds the body of the batches that Apply gives, as far as rows go: a row that is
	// larger goes alone, and the two rows of an update are not parted. Default: 3.75 MiB.
	BatchBytes int64
	// Defaults has one row, in the table's columns: the values that a row that was not there gets in
	// columns that a change does not name. nil: null.
	Defaults *arrowipc.View
	// AutoIncrement are columns of type int64 that get a number where a change inserts a row without
	// naming them.
	AutoIncrement []int
	// Number and Step make these numbers unique in the table: Number is that of the bucket, Step is
	// larger than any. Default: 0 and 1.
	Number, Step int64
	// Share is the part of the keys that the bucket has of a log that it shares with others; the zero value is
	// all of them. What is replayed and does not belong to it is passed over.
	Share Share
	// IndexBytes is the memory that the index should not exceed; Stats tells. 0: no bound.
	IndexBytes int64
	// RowCache keeps rows that were looked up, for any number of buckets. nil: nothing is kept.
	RowCache *RowCache
}

// MergeOptions say how the rows of one key become one.
type MergeOptions struct {
	// Engine is model.MergeLastRow by default.
	Engine model.MergeEngine
	// VersionColumn is the column that model.MergeVersioned compares: an integer, date, time, timestamp or
	// duration. Other engines ignore it.
	VersionColumn int
	// Aggregates are the functions of model.MergeAggregation, by column; a column without one keeps
	// its last value that is not null.
	Aggregates map[int]AggregateFunction
}

const batchBytesDefault = 15 << 18

// withDefaults fills in what was left out.
func (o Options) withDefaults() Options {
	if o.Merge.Engine == "" {
		o.Merge.Engine = model.MergeLastRow
	}
	if o.Image == "" {
		o.Image = model.ImageFull
	}
	if o.SchemaVersion == 0 {
		o.SchemaVersion = 1
	}
	if o.Step == 0 {
		o.Step = 1
	}
	if o.BatchBytes == 0 {
		o.BatchBytes = batchBytesDefault
	}
	return o
}

// validate reports every fault of options with defaults filled in.
func (o Options) validate() error {
	if o.Layout == nil {
		return errors.New("there is no layout")
	}
	fields := o.Layout.Schema().Fields()
	last := len(fields) - 1
	if last < 0 || fields[last].Name != model.ChangeColumn || fields[last].Type.ID() != arrow.UINT8 {
		return fmt.Errorf("the last column of the log is not %s of type uint8", model.ChangeColumn)
	}
	var faults []error
	if len(o.Key) == 0 {
		faults = append(faults, errors.New("there is no key column"))
	}
	for i, column := range o.Key {
		if column < 0 || column >= last || slices.Contains(o.Key[:i], column) {
			faults = append(faults, fmt.Errorf("key column %d is not one of the %d columns, or named twice", column, last))
		}
	}
	faults = append(append(faults, o.Merge.faults(fields[:last])...), o.Share.validate(o.Key))
	if o.Image != model.ImageFull && o.Image != model.ImageNew {
		faults = append(faults, fmt.Errorf("there is no changelog image %q", o.Image))
	}
	if o.BatchBytes < 0 || o.IndexBytes < 0 {
		faults = append(faults, fmt.Errorf("a bound of %d or %d bytes is below 0", o.BatchBytes, o.IndexBytes))
	}
	return errors.Join(faults...)
}

// faults are those of merging rows of the fields of a table.
func (m MergeOptions) faults(fields []arrow.Field) []error {
	var faults []error
	switch m.Engine {
	case model.MergeLastRow, model.MergeFirstRow, model.MergeAggregation:
	case model.MergeVersioned:
		if m.VersionColumn < 0 || m.VersionColumn >= len(fields) {
			faults = append(faults, fmt.Errorf("version column %d of %d", m.VersionColumn, len(fields)))
		} else if err := checkVersionType(fields[m.VersionColumn].Type); err != nil {
			faults = append(faults, fmt.Errorf("version column %q: %w", fields[m.VersionColumn].Name, err))
		}
	default:
		faults = append(faults, fmt.Errorf("there is no merge engine %q", m.Engine))
	}
	if len(m.Aggregates) > 0 && m.Engine != model.MergeAggregation {
		faults = append(faults, fmt.Errorf("the merge engine %s takes no aggregate functions", m.Engine))
	}
	return faults
}
