package engine

import (
	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/filter"
	"github.com/headrace/headrace/internal/model"
)

// LookupRequest opens a stream of lookups in a primary-key table.
type LookupRequest struct {
	// Table is required.
	Table model.TableName
	// Schema is the IPC schema message of the batches of keys, as it came from the wire, unverified.
	Schema []byte
	// Columns are the columns wanted; nil means all.
	Columns []string
	// Paths leads, for each of Columns, to a field of structs within it; see Scan.Paths.
	Paths [][]string
	// By are the columns that the keys have; nil means the primary key.
	By []string
	// Inner leaves out keys that are not found; else they give nulls.
	Inner bool
	// Carry puts the columns of the keys' batches before the columns wanted, all of them and as they
	// were sent.
	Carry bool
	// Prefix is put before the names of the columns wanted.
	Prefix string
	// Found names a bool column behind all others that says whether the key was found; empty: none.
	Found string
	// Filter makes rows for which it is not true count as not found; nil: none. It does not go with
	// InsertMissing.
	Filter filter.Expression
	// MinOffsets are waited for, by bucket: an answer shows at least what lies before them.
	MinOffsets model.Offsets
	// InsertMissing inserts a row for each key that is not found, with defaults and nulls in the other
	// columns, and answers with it.
	InsertMissing bool
}

// LookupPart is a part of the answer to one batch of keys.
type LookupPart struct {
	// Message is the record batch; what it points into stays as it is for as long as it is reachable.
	Message arrowipc.Message
	// Rows is the number of rows.
	Rows int64
	// Last says that no other part of the answer follows.
	Last bool
	// AsOf has for each bucket that was looked at the offset that the answer shows: every change
	// before it, and none behind.
	AsOf model.Offsets
}
