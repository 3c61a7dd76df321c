package engine

import (
	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/model"
)

// CreateTable describes a table to be made.
type CreateTable struct {
	Name   model.TableName
	Schema *arrow.Schema
	// Defaults and ColumnComments are by column name; both may be nil.
	Defaults       map[string]any
	ColumnComments map[string]string
	// Buckets is 1..model.BucketsMax; 0 means 1.
	Buckets int32
	// BucketKey chooses a row's bucket by hash; empty: batches stick to a bucket and rotate.
	BucketKey  []string
	PrimaryKey []string
	// PartitionBy are the columns whose values part the table; they become NOT NULL, and in a table with a
	// primary key belong to it. Empty: it has no partitions.
	PartitionBy []string
	Comment     string
	Options     map[string]string
	// ExistOK makes it no error that a table with the same definition exists.
	ExistOK bool
}

// BucketState is what is kept of one bucket.
type BucketState struct {
	Bucket int32
	// Partition is the one that the bucket belongs to; nil in a table without partitions.
	Partition *model.Partition
	// Start and End are the readable range of offsets, half-open.
	Start, End int64
	// Split says where the bucket comes from; nil for one that the table was made with, and in a log table
	// without a bucket key.
	Split *model.Split
	// Boundary is the offset up to which the lake holds the rows; 0 without a lake.
	Boundary int64
	// Bytes is the size of the bucket's segments on disk, RawBytes the one that they would have if none had
	// been compressed by the server.
	Bytes, RawBytes int64
}
