package main

import (
	"github.com/apache/arrow-go/v18/arrow"
)

const (
	// sendBytes is the size to which batches are cut before they are sent: small enough to flow
	// well, large enough to store well.
	sendBytes = 2 << 20
	// cutRows is the number of which the rows of a cut batch are a multiple, so that bitmaps are cut
	// between bytes.
	cutRows = 8
)

// recut gives the parts of batch that are sent, each of about sendBytes. The same batch is cut in
// the same way each time: a put that is resumed counts on it. The caller releases each part.
func recut(batch arrow.RecordBatch, yield func(arrow.RecordBatch) error) error {
	rows := batch.NumRows()
	bytes := batchBytes(batch)
	step := rows
	if bytes > sendBytes {
		step = max(cutRows, rows*sendBytes/bytes/cutRows*cutRows)
	}
	for from := int64(0); from < rows; from += step {
		if err := yield(batch.NewSlice(from, min(rows, from+step))); err != nil {
			return err
		}
	}
	return nil
}

// batchBytes is the size of the buffers of a batch. For a slice of a batch, it is that of the whole.
func batchBytes(batch arrow.RecordBatch) int64 {
	bytes := int64(0)
	for _, column := range batch.Columns() {
		bytes += dataBytes(column.Data())
	}
	return bytes
}

func dataBytes(data arrow.ArrayData) int64 {
	bytes := int64(0)
	for _, buffer := range data.Buffers() {
		if buffer != nil {
			bytes += int64(buffer.Len())
		}
	}
	for _, child := range data.Children() {
		bytes += dataBytes(child)
	}
	return bytes
}
