package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"golang.org/x/sync/errgroup"
)

// putCommand is the command of a DoPut.
type putCommand struct {
	Put struct {
		Table      string   `json:"table"`
		Mode       string   `json:"mode,omitzero"`
		Columns    []string `json:"columns,omitzero"`
		Durability string   `json:"durability,omitzero"`
	} `json:"put"`
}

// sequence is what makes a batch exactly-once.
type sequence struct {
	Producer string `json:"producer"`
	Epoch    int64  `json:"epoch"`
	Seq      int64  `json:"seq"`
}

// putAck is one acknowledgement; see INTERFACE of the server: neighbours may be merged.
type putAck struct {
	Rows       int64              `json:"rows"`
	Batches    int64              `json:"batches"`
	Offsets    map[int32][2]int64 `json:"offsets"`
	Durability string             `json:"durability"`
	Duplicate  bool               `json:"duplicate"`
}

// putResult is the sum of the acknowledgements.
type putResult struct {
	Rows       int64  `json:"rows"`
	Batches    int64  `json:"batches"`
	Duplicates int64  `json:"duplicate_batches,omitzero"`
	Skipped    int64  `json:"skipped_batches,omitzero"`
	Durability string `json:"durability,omitzero"`
	// Position is behind the newest rows, of the buckets that got some.
	Position map[int32]int64 `json:"position,omitzero"`
}

// add takes in one acknowledgement.
func (r *putResult) add(ack putAck) {
	r.Rows += ack.Rows
	batches := max(1, ack.Batches)
	r.Batches += batches
	if ack.Duplicate {
		r.Duplicates += batches
	}
	r.Durability = ack.Durability
	for bucket, offsets := range ack.Offsets {
		r.Position[bucket] = max(r.Position[bucket], offsets[1])
	}
}

// sender writes the batches of a source to a table. Acknowledgements are taken by a goroutine of its
// own, so that sending never waits for one.
type sender struct {
	client  *client
	command putCommand
	// producer makes batches exactly-once; nil: none. Its Seq is the first number that is not stored.
	producer *sequence

	sentBytes, ackedRows atomic.Int64
	result               putResult // of the receiving goroutine, until send returns
	skipped              int64     // of the writing goroutine, until send returns
}

// send sends everything and waits for all acknowledgements. The result counts what was acknowledged,
// also if there is an error.
func (s *sender) send(ctx context.Context, source recordSource) (putResult, error) {
	s.result.Position = map[int32]int64{}
	group, ctx := errgroup.WithContext(ctx)
	stream, err := s.client.flight.DoPut(ctx)
	if err != nil {
		return s.result, remoteError(ctx, s.client.uri, err)
	}
	group.Go(func() error { return remoteError(ctx, s.client.uri, s.receive(stream)) })
	group.Go(func() error {
		err := s.write(ctx, stream, source)
		if errors.Is(err, io.EOF) {
			return nil // the stream has ended; receive knows why
		}
		return err
	})
	err = group.Wait()
	s.result.Skipped = s.skipped
	return s.result, err
}

// receive takes acknowledgements until the stream ends.
func (s *sender) receive(stream flight.FlightService_DoPutClient) error {
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var ack putAck
		if err := json.Unmarshal(message.GetAppMetadata(), &ack); err != nil {
			return fmt.Errorf("reading an acknowledgement: %w", err)
		}
		s.result.add(ack)
		s.ackedRows.Store(s.result.Rows)
	}
}

// write sends all batches, and ends the sending side.
func (s *sender) write(ctx context.Context, stream flight.FlightService_DoPutClient, source recordSource) error {
	descriptor, err := json.Marshal(s.command)
	if err != nil {
		return fmt.Errorf("encoding the request: %w", err)
	}
	writer := flight.NewRecordWriter(&batchStream{stream, &s.sentBytes}, ipc.WithSchema(source.Schema()))
	writer.SetFlightDescriptor(&flight.FlightDescriptor{Type: flight.DescriptorCMD, Cmd: descriptor})
	number := int64(0)
	for ctx.Err() == nil {
		batch, err := source.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return errors.Join(fmt.Errorf("reading the rows: %w", err), stream.CloseSend())
		}
		err = recut(batch, func(part arrow.RecordBatch) error {
			defer part.Release()
			number++
			return s.writeBatch(writer, part, number-1)
		})
		batch.Release()
		if err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	return errors.Join(writer.Close(), stream.CloseSend()) // Close sends the schema if nothing else did
}

// writeBatch sends one batch, unless it is known to be stored.
func (s *sender) writeBatch(writer *flight.Writer, batch arrow.RecordBatch, number int64) error {
	if s.producer == nil {
		return writer.Write(batch)
	}
	if number < s.producer.Seq {
		s.skipped++
		return nil
	}
	metadata, err := json.Marshal(sequence{s.producer.Producer, s.producer.Epoch, number})
	if err != nil {
		return fmt.Errorf("encoding a sequence number: %w", err)
	}
	return writer.WriteWithAppMetadata(batch, metadata)
}

// batchStream counts what is sent, and takes sequence numbers off messages that are no batches: the
// writer puts them on the schema and on dictionaries too.
type batchStream struct {
	stream flight.FlightService_DoPutClient
	bytes  *atomic.Int64
}

// Send implements flight.DataStreamWriter.
func (b *batchStream) Send(data *flight.FlightData) error {
	if len(data.AppMetadata) > 0 && messageType(data) != ipc.MessageRecordBatch {
		metadata := data.AppMetadata
		data.AppMetadata = nil
		defer func() { data.AppMetadata = metadata }()
	}
	b.bytes.Add(int64(len(data.DataHeader) + len(data.DataBody)))
	return b.stream.Send(data)
}

func messageType(data *flight.FlightData) ipc.MessageType {
	message := ipc.NewMessage(memory.NewBufferBytes(data.DataHeader), memory.NewBufferBytes(nil))
	defer message.Release()
	return message.Type()
}
