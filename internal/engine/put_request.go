package engine

import (
	"github.com/headrace/headrace/internal/model"
)

// PutRequest opens a stream of batches into one table.
type PutRequest struct {
	// Table is required.
	Table model.TableName
	// Schema is the client's IPC schema message, as it came from the wire, unverified.
	Schema []byte
	// Durability is what acknowledgements wait for. Unset means the table's level; a lower level
	// than the table's is raised to it.
	Durability model.Durability
	// Producer and Epoch make batches exactly-once where a batch has no Sequence of its own with
	// these fields. Empty: none.
	Producer string
	Epoch    int64
	// Mode says what becomes of the rows.
	Mode PutMode
	// Columns, in PutUpsert, makes it a partial update: rows have these columns, the key among them,
	// and all others keep the value that they have. In PutDelete, of a table with merge.engine aggregation,
	// it makes it a retraction: the values in these columns, beside the key, are taken back from sums and
	// products, and the rows stay. nil: rows are whole, or keys.
	Columns []string
}

// PutMode says what becomes of the rows of a put.
type PutMode uint8

// The modes of a put.
const (
	// PutDefault is PutAppend into a log table and PutUpsert into a primary-key table.
	PutDefault PutMode = iota
	// PutAppend adds the rows to a log table.
	PutAppend
	// PutUpsert inserts rows of a primary-key table, or merges them with those of the same key.
	PutUpsert
	// PutDelete deletes the rows of a primary-key table whose keys are sent; see PutRequest.Columns.
	PutDelete
)

// Sequence makes a retry of a batch the same batch: numbers count from 0, one up a batch, per
// table, producer and epoch.
type Sequence struct {
	Producer string
	Epoch    int64
	Number   int64
}

// Ack says what became of one batch that was sent.
type Ack struct {
	// Rows is the number of rows of the batch.
	Rows int64
	// Offsets are the log ranges of the rows, by bucket.
	Offsets map[int32]model.Range
	// Durability is the level that was reached.
	Durability model.Durability
	// Duplicate says that the batch had been stored before; Offsets are those of the first time.
	Duplicate bool
}

// ProducerState is what the server knows of a producer of a table.
type ProducerState struct {
	Producer string
	Epoch    int64
	// NextSequence is the number that the next batch must have.
	NextSequence int64
	// LastEpoch, LastSequence and LastOffsets describe the newest batch; LastSequence is −1 if there
	// is none.
	LastEpoch, LastSequence int64
	LastOffsets             map[int32]model.Range
}
