package engine

import (
	"time"

	"github.com/headrace/headrace/internal/filter"
	"github.com/headrace/headrace/internal/model"
)

// BoundKind says what a Bound means.
type BoundKind uint8

// The kinds of bounds.
const (
	// BoundDefault is BoundEarliest at the beginning of a range and BoundNow at its end.
	BoundDefault BoundKind = iota
	// BoundEarliest is the first offset that is kept.
	BoundEarliest
	// BoundLatest is the end of the readable rows when the read is planned; as the end of a range it
	// means the same as BoundNow.
	BoundLatest
	// BoundNow is the end of the readable rows when the read is planned.
	BoundNow
	// BoundNever is the end of a read that follows the table for ever; only for Scan.To.
	BoundNever
	// BoundOffsets is one offset a bucket.
	BoundOffsets
	// BoundTime is the first offset whose append time is at or behind Bound.Time.
	BoundTime
)

// Bound is one end of the range that a scan reads.
type Bound struct {
	Kind BoundKind
	// Position is for BoundOffsets. In Scan.From, a bucket that it does not name starts at its first
	// offset; in Scan.To, such a bucket yields nothing.
	Position model.Position
	// Time is for BoundTime.
	Time time.Time
}

// Scan asks for rows of one table. The zero value of each field but Table means its default.
type Scan struct {
	// Table is required.
	Table model.TableName
	// Columns are the top-level columns wanted, in this order; nil means all, an empty slice means
	// none: row counts only.
	Columns []string
	// Paths leads, for each of Columns, to a field of structs within it; empty: the column itself. Such a
	// field is called by all names that lead to it, with dots between them. Not for ViewBeforeAfter.
	Paths [][]string
	// Filter keeps the rows for which it is true; nil keeps all. Of ViewBeforeAfter it keeps the changes whose
	// row it is true for before or after the change.
	Filter filter.Expression
	// From and To bound the range, half-open: [From, To). Defaults: earliest, now.
	From, To Bound
	// Buckets are the buckets to read; nil means all.
	Buckets []int32
	// Partitions bounds the scan to the partitions that have any of these values; not all partition columns
	// have to be named. nil means all.
	Partitions []PartitionValues
	// Later says which buckets that the table gets later a read that follows has too. These are the ones from the
	// number LaterFrom on; 0: those that are not there when the read is opened.
	Later     LaterBuckets
	LaterFrom int32
	// Limit is the largest number of rows of the whole scan, those that a filter drops not counted; 0 means no
	// limit unless HasLimit.
	Limit    int64
	HasLimit bool
	// View says what of a primary-key table is read; a log table has ViewRows alone.
	View View
	// SystemColumns adds _bucket, _offset and _timestamp behind the columns, and in ViewChangelog and
	// ViewRowsAndChangelog _change_type behind these.
	SystemColumns bool
	// MessageBytes is the largest message wanted, in bytes; 0 means 4 MiB − 64 KiB. A larger
	// row goes alone.
	MessageBytes int
	// EndAtSchemaChange ends the read before rows of another schema than the one that it was opened with. Else
	// they are given in that schema, as long as they have a form in it.
	EndAtSchemaChange bool
	// Compression is the codec of what is sent.
	Compression Compression
	// Plan is the id of the plan whose rows are read; it is renewed by the read. Empty: none.
	Plan string
}

// Compression says how the buffers of a read are compressed.
type Compression uint8

// The compressions of a read.
const (
	// CompressionStored sends buffers as they are stored; parts of stored batches may be plain.
	CompressionStored Compression = iota
	// CompressionNone sends plain buffers.
	CompressionNone
	// CompressionLZ4 and CompressionZSTD compress what is not stored in that codec. A buffer that would not
	// shrink is sent plain, as the format allows.
	CompressionLZ4
	CompressionZSTD
)

// View says what of a primary-key table a scan reads.
type View uint8

// The views of a table.
const (
	// ViewDefault is ViewRows.
	ViewDefault View = iota
	// ViewRows are the rows of the table: of a primary-key table its state when the read is planned.
	ViewRows
	// ViewChangelog are the changes in the order in which they were made.
	ViewChangelog
	// ViewRowsAndChangelog is the state, then the changes from exactly there. Between them a chunk
	// without rows has the mark MarkStateComplete.
	ViewRowsAndChangelog
	// ViewBeforeAfter has one row a change: _change_type (+I +U -D), and the structs before and after,
	// which are null where the change has no such row.
	ViewBeforeAfter
)

// MarkStateComplete is the Chunk.Mark between the state and the changes behind it.
const MarkStateComplete = "state_complete"
