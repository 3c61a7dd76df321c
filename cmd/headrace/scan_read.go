package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"google.golang.org/grpc/codes"
)

// chunkMetadata is what the server says with a batch.
type chunkMetadata struct {
	Bucket   *int32    `json:"bucket"`
	Next     int64     `json:"next"`
	End      string    `json:"end"`
	Mark     string    `json:"mark"`
	Position *position `json:"position"`
}

// scanner reads rows and keeps the position behind them.
type scanner struct {
	client  *client
	request scanRequest
	follow  bool
	// begin is called once, with the schema, before take.
	begin func(schema *arrow.Schema) error
	// take is called with each batch that has rows; at is the position behind it.
	take func(batch arrow.RecordBatch, at position) error
	// note tells what happens beside the rows.
	note func(format string, args ...any)

	schema      *arrow.Schema
	at          position
	rows, bytes atomic.Int64
}

// errCut says that a stream ended without its end mark.
var errCut = errors.New("the stream was cut: the server did not send its end mark")

// run reads to the end of the range. A follower goes on at its position when the server is back.
func (s *scanner) run(ctx context.Context) error {
	const waitMost = 5 * time.Second
	wait := 100 * time.Millisecond
	for {
		rows := s.rows.Load()
		end, err := s.stream(ctx)
		if !s.follow || ctx.Err() != nil || !comesBack(end, err) {
			return s.finished(ctx, end, err)
		}
		inState := s.request.View == stateAndChanges
		if inState && s.rows.Load() > rows {
			return errors.Join(err, errors.New("the rows that there are were read in part only; start again"))
		}
		if s.rows.Load() > rows {
			wait = 100 * time.Millisecond
		}
		if wait == 100*time.Millisecond {
			s.note("the server is gone; waiting for it")
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
		wait = min(2*wait, waitMost)
		if !inState {
			s.request.From = s.at.clone()
		}
	}
}

// comesBack says that a follower may go on later where it stopped.
func comesBack(end string, err error) bool {
	e, ok := errors.AsType[*serverError](err)
	return end == "draining" || errors.Is(err, errCut) || ok && e.code == codes.Unavailable
}

// finished gives the error of a scan that has ended.
func (s *scanner) finished(ctx context.Context, end string, err error) error {
	switch {
	case err != nil:
		return err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case end == "schema_changed":
		return errors.New("the columns of the table have changed; start again to read on with the new ones")
	case end == "draining":
		return errors.New("the server is stopping; only a part of the rows was read")
	}
	return nil
}

// stream reads one DoGet, and gives the word of its end mark.
func (s *scanner) stream(ctx context.Context) (string, error) {
	ticket, err := json.Marshal(scanTicket{s.request})
	if err != nil {
		return "", fmt.Errorf("encoding the scan: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.client.flight.DoGet(ctx, &flight.Ticket{Ticket: ticket})
	if err != nil {
		return "", remoteError(ctx, s.client.uri, err)
	}
	reader, err := flight.NewRecordReader(stream)
	if err != nil {
		return "", remoteError(ctx, s.client.uri, err)
	}
	defer reader.Release()
	if s.schema == nil {
		s.schema = reader.Schema()
		if err := s.begin(s.schema); err != nil {
			return "", err
		}
	} else if !s.schema.Equal(reader.Schema()) {
		return "schema_changed", nil
	}
	for reader.Next() {
		end, err := s.chunk(reader.RecordBatch(), reader.LatestAppMetadata())
		if err != nil || end != "" {
			return end, err
		}
	}
	if err := reader.Err(); err != nil && !errors.Is(err, io.EOF) {
		return "", remoteError(ctx, s.client.uri, err)
	}
	return "", errCut
}

// chunk takes one message.
func (s *scanner) chunk(batch arrow.RecordBatch, encoded []byte) (end string, err error) {
	var metadata chunkMetadata
	if len(encoded) > 0 {
		if err := json.Unmarshal(encoded, &metadata); err != nil {
			return "", fmt.Errorf("reading what the server says of a batch: %w", err)
		}
	}
	if metadata.Mark != "" {
		// From here on the read is one of the changes, also when it is opened again.
		s.request.View = "changelog"
	}
	if metadata.Bucket != nil && s.request.View != stateAndChanges {
		s.at.Offsets[*metadata.Bucket] = metadata.Next
	}
	if metadata.Position != nil {
		s.at = metadata.Position.clone()
	}
	if batch.NumRows() == 0 {
		return metadata.End, nil
	}
	s.rows.Add(batch.NumRows())
	s.bytes.Add(batchBytes(batch))
	return metadata.End, s.take(batch, s.at)
}

// checkResumable refuses a position for a read that has none to go on at.
func (c *client) checkResumable(ctx context.Context, request scanRequest) error {
	if request.View == "changelog" || request.View == "before-after" {
		return nil
	}
	description, err := c.describe(ctx, request.Table)
	if err == nil && len(description.PrimaryKey) > 0 {
		return usagef("--position-file is for --view changelog: %s has a primary key, and its rows have no order to go on in", description.Table)
	}
	return err
}

// resolve replaces a beginning that moves with time by the position that it means now, so that the
// reader knows its position before the first row.
func (s *scanner) resolve(ctx context.Context) error {
	s.at = position{Offsets: map[int32]int64{}}
	switch from := s.request.From.(type) {
	case position:
		s.at = from.clone()
		return nil
	case timeBound:
		return s.listOffsets(ctx, &from.Time)
	case string:
		if from == "latest" {
			return s.listOffsets(ctx, nil)
		}
	}
	return nil
}

// listOffsets asks for the position of a time; nil: the end.
func (s *scanner) listOffsets(ctx context.Context, at *time.Time) error {
	request := struct {
		Table string     `json:"table"`
		Time  *time.Time `json:"time,omitzero"`
	}{s.request.Table, at}
	if err := s.client.action(ctx, "ListOffsets", request, &s.at); err != nil {
		return err
	}
	s.request.From = s.at.clone()
	return nil
}
