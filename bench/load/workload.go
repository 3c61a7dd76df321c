package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/protobuf/proto"
)

// workload gives slices of the batches of an Arrow file. Batches are kept once they are read.
type workload struct {
	file   *os.File
	reader *ipc.FileReader
	kept   map[int]arrow.RecordBatch
}

// openWorkload opens the file; its owner closes it.
func openWorkload(path string) (*workload, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening the workload: %w", err)
	}
	reader, err := ipc.NewFileReader(file)
	if err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("reading the workload %s: %w", path, err)
	}
	return &workload{file: file, reader: reader, kept: map[int]arrow.RecordBatch{}}, nil
}

// forget drops the batches that were read; slices of them stay valid until they are released.
func (w *workload) forget() {
	for _, batch := range w.kept {
		batch.Release()
	}
	clear(w.kept)
}

// close ends the use of the file.
func (w *workload) close() {
	w.forget()
	_ = w.reader.Close()
	_ = w.file.Close()
}

func (w *workload) schema() *arrow.Schema { return w.reader.Schema() }

// slice gives count rows from row start on. They must lie in one batch of the file, whose rows repeat
// from the beginning behind its last one. The caller releases the slice.
func (w *workload) slice(start, count int) (arrow.RecordBatch, error) {
	first, err := w.batch(0)
	if err != nil {
		return nil, err
	}
	size := int(first.NumRows())
	if size%count != 0 {
		return nil, fmt.Errorf("batches of %d rows do not divide the workload's batches of %d", count, size)
	}
	batch, err := w.batch(start / size % w.reader.NumRecords())
	if err != nil {
		return nil, err
	}
	return batch.NewSlice(int64(start%size), int64(start%size+count)), nil
}

func (w *workload) batch(number int) (arrow.RecordBatch, error) {
	if batch, ok := w.kept[number]; ok {
		return batch, nil
	}
	batch, err := w.reader.RecordBatchAt(number)
	if err != nil {
		return nil, fmt.Errorf("reading batch %d of the workload: %w", number, err)
	}
	w.kept[number] = batch
	return batch, nil
}

// collector keeps what a flight writer sends.
type collector struct{ messages []encoded }

// Send implements flight.DataStreamWriter.
func (c *collector) Send(data *flight.FlightData) error {
	bytes, err := proto.Marshal(data)
	c.messages = append(c.messages, bytes)
	return err
}

// batches gives the distinct batches of producer number. The caller releases them.
func (w *workload) batches(s settings, number int) ([]arrow.RecordBatch, error) {
	all := make([]arrow.RecordBatch, 0, s.distinct)
	for i := range s.distinct {
		batch, err := w.slice((number*s.distinct+i)*s.rowsPerBatch, s.rowsPerBatch)
		if err == nil && s.key != "" {
			batch, err = withKey(batch, s.key, int64(number*s.distinct+i))
		}
		if err != nil {
			release(all)
			return nil, err
		}
		all = append(all, batch)
	}
	return all, nil
}

func release(batches []arrow.RecordBatch) {
	for _, batch := range batches {
		batch.Release()
	}
}

// withKey gives the batch with one value in all rows of a column, and releases the one that it was
// made of.
func withKey(batch arrow.RecordBatch, column string, value int64) (arrow.RecordBatch, error) {
	defer batch.Release()
	at := batch.Schema().FieldIndices(column)
	if len(at) != 1 || batch.Schema().Field(at[0]).Type.ID() != arrow.INT64 {
		return nil, fmt.Errorf("the workload has no int64 column %q", column)
	}
	builder := array.NewInt64Builder(memory.DefaultAllocator)
	defer builder.Release()
	for range batch.NumRows() {
		builder.Append(value)
	}
	values := builder.NewArray()
	defer values.Release()
	return batch.SetColumn(at[0], values)
}

// encode gives the schema message and the batches as they go over the wire.
func encode(schema *arrow.Schema, descriptor *flight.FlightDescriptor, batches []arrow.RecordBatch) ([]encoded, error) {
	var collected collector
	writer := flight.NewRecordWriter(&collected, ipc.WithSchema(schema))
	writer.SetFlightDescriptor(descriptor)
	for i, batch := range batches {
		if err := writer.Write(batch); err != nil {
			return nil, fmt.Errorf("encoding batch %d: %w", i, err)
		}
	}
	if len(collected.messages) != len(batches)+1 {
		return nil, fmt.Errorf("encoded %d messages, want a schema and %d batches", len(collected.messages), len(batches))
	}
	return collected.messages, nil
}

// putDescriptor makes the command of a DoPut.
func putDescriptor(table, acks string) (*flight.FlightDescriptor, error) {
	command, err := json.Marshal(map[string]any{"put": map[string]string{"table": table, "acks": acks}})
	if err != nil {
		return nil, fmt.Errorf("encoding the command: %w", err)
	}
	return &flight.FlightDescriptor{Type: flight.DescriptorCMD, Cmd: command}, nil
}

// scanTicket makes the ticket of a scan.
func scanTicket(scan map[string]any) (*flight.Ticket, error) {
	command, err := json.Marshal(map[string]any{"scan": scan})
	if err != nil {
		return nil, fmt.Errorf("encoding the ticket: %w", err)
	}
	return &flight.Ticket{Ticket: command}, nil
}
