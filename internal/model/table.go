package model

import (
	"time"

	"github.com/apache/arrow-go/v18/arrow"
)

// Table is the definition of a table: everything that is fixed until it is altered. Values of it
// are shared and never changed; an alteration makes a new one.
type Table struct {
	// ID is a ULID: unique for ever, also among tables of the same name. It names the directory.
	ID   string
	Name TableName
	// Schema are the user columns with their types, nullable flags and metadata.
	Schema *arrow.Schema
	// FieldIDs gives each top-level column its lasting number, in the order of Schema; NestedIDs does so for
	// the fields inside them: see SchemaVersion.
	FieldIDs, NestedIDs []int32
	// SchemaVersion starts at 1 and grows by one with each change of Schema.
	SchemaVersion int32
	// Versions are the earlier versions of the schema, oldest first.
	Versions []SchemaVersion
	// Initial has, by the number of a field that was added with a default, the value that rows show which
	// were written before, in JSON form. It never changes.
	Initial map[int32]any
	// Buckets is the number of buckets, 1..65536; in a partitioned table that of each new partition.
	Buckets int32
	// CreatedBuckets is the number of buckets before the table grew; 0 where it never did.
	CreatedBuckets int32
	// Splits say of each bucket that the table got by growing where its rows come from. A table whose rows are
	// not routed by a bucket key has none: a bucket more is an empty one. In partitions, such a one begins at 0 and
	// tells in whose partition it is.
	Splits map[int32]Split
	// BucketKey are the columns whose hash chooses a row's bucket; empty: batches stick to one
	// bucket and rotate by size.
	BucketKey []string
	// PrimaryKey are the key columns of a primary-key table; empty for a log table.
	PrimaryKey []string
	// PartitionBy are the columns whose values choose a row's partition; empty: the table has none.
	PartitionBy []string
	// Indexes are the secondary indexes of a primary-key table, in the order in which they were made.
	Indexes []Index
	// Comment is free text of the user.
	Comment string
	// Options are the table options that were set, by name, as text; see TableOptions.
	Options map[string]string
	// Defaults are the values of columns that a writer leaves out, by column name, in JSON form.
	Defaults map[string]any
	// Comments are free texts by column name.
	Comments map[string]string
	// CreatedAt is when the table was made, UTC.
	CreatedAt time.Time

	// lastField is the highest number that a field got in changes that are not a version yet.
	lastField int32
	children  map[int32][]int32 // by parent, of Splits
}

// BucketsMax bounds Table.Buckets.
const BucketsMax = 1 << 16

// RoutingVersion names the way from a row to its bucket: xxh3 of arrowipc's key encoding 1,
// modulo the number of buckets. A change of either is a new version.
const RoutingVersion = 1
