package model

import (
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
)

// Partition is the rows of a table that have equal values in its partition columns. It has buckets of its
// own. Values of it are shared and never changed.
type Partition struct {
	// ID is unique in the table, also among partitions that were dropped; from 1.
	ID int64 `json:"id"`
	// Values are those of the partition columns, in the order of Table.PartitionBy and in the form of
	// CheckDefault; none is nil.
	Values []any `json:"values"`
	// Buckets are the numbers of its buckets, in routing order: a row goes to the one that the hash of its
	// bucket key, modulo their number, counts to. They are unique in the table and never used again.
	Buckets []int32 `json:"buckets"`
	// Created is when the partition was made, UTC.
	Created time.Time `json:"created"`
}

const (
	// PartitionsMax bounds the partitions of a table.
	PartitionsMax = 100_000
	// PartitionColumnsMax bounds Table.PartitionBy.
	PartitionColumnsMax = 8
	// NewPartitionsMax bounds the partitions that one batch makes.
	NewPartitionsMax = 10_000
	// PartitionKeyMax bounds the values of a partition, in bytes.
	PartitionKeyMax = 4 << 10
)

// HomeBucket is the bucket of a partitioned table that belongs to no partition. It has no rows: what the
// log says of the table as a whole stands there, such as the opening of a producer's epoch. The buckets of
// partitions have higher numbers.
const HomeBucket = 0

// Partitioned says that the table has partition columns.
func (t *Table) Partitioned() bool { return len(t.PartitionBy) > 0 }

// LookupPrefix gives the columns whose values lead to one bucket of a table with a primary key, where they
// are not the whole key: rows are found by them as by an index. nil: there are none.
func (t *Table) LookupPrefix() []string {
	if !t.Keyed() || len(t.PartitionBy)+len(t.BucketKey) >= len(t.PrimaryKey) {
		return nil
	}
	return append(slices.Clone(t.PartitionBy), t.BucketKey...)
}

// RoutingKey gives the columns of the primary key that a bucket key may begin with: those that are not
// partition columns, or all where there are no others.
func (t *Table) RoutingKey() []string {
	rest := slices.DeleteFunc(slices.Clone(t.PrimaryKey), func(name string) bool { return slices.Contains(t.PartitionBy, name) })
	if len(rest) == 0 {
		return slices.Clone(t.PrimaryKey)
	}
	return rest
}

// CheckPartitionBy says whether the table's rows can be parted by its partition columns. The error names
// every fault.
func (t *Table) CheckPartitionBy() error {
	var faults []error
	fault := func(reason Reason, format string, args ...any) *Error {
		e := Errorf(reason, format, args...)
		faults = append(faults, e)
		return e
	}
	if n := len(t.PartitionBy); n > PartitionColumnsMax {
		fault(BadRequest, "partition_by names %d columns, at most %d are allowed", n, PartitionColumnsMax)
	}
	for i, name := range t.PartitionBy {
		fields, _ := t.Schema.FieldsByName(name)
		if len(fields) != 1 {
			fault(ColumnNotFound, "partition_by names the column %q, which the schema lacks", clip(name, 140))
			continue
		}
		if !parts(fields[0].Type) {
			fault(UnsupportedType, "partition_by names the column %q of type %s, which has no text form", name, FormatType(fields[0].Type)).
				WithRemedy("Use a column of a number, text, binary, bool, decimal, date or time type")
		}
		if slices.Contains(t.PartitionBy[:i], name) {
			fault(BadRequest, "partition_by names the column %q twice", name)
		}
		if t.Keyed() && !slices.Contains(t.PrimaryKey, name) {
			fault(BadRequest, "partition_by names the column %q, which primary_key lacks", name).
				WithRemedy("The primary key of a partitioned table has the partition columns, so that a key is in one partition")
		}
		if !t.Keyed() && slices.Contains(t.BucketKey, name) {
			fault(BadRequest, "bucket_key names the partition column %q, which is equal in all rows of a partition", name).
				WithRemedy("Leave it out of bucket_key")
		}
	}
	return JoinFaults(faults)
}

// parts says that values of a type can be those of a partition.
func parts(t arrow.DataType) bool {
	for {
		extension, ok := t.(arrow.ExtensionType)
		if !ok {
			break
		}
		t = extension.StorageType()
	}
	switch t.ID() {
	case arrow.NULL, arrow.INTERVAL_MONTHS, arrow.INTERVAL_DAY_TIME, arrow.INTERVAL_MONTH_DAY_NANO:
		return false
	case arrow.STRING_VIEW, arrow.BINARY_VIEW, arrow.DICTIONARY:
		return false // RowHasher cannot read them
	}
	if _, nested := t.(arrow.NestedType); nested {
		return false
	}
	return true
}
