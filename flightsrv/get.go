package flightsrv

import (
	"errors"
	"io"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow/flight/gen/flight"

	"github.com/headrace/headrace/internal/engine"
	"github.com/headrace/headrace/internal/model"
)

// DoGet implements flight.FlightServiceServer. It sends the schema, then batches as the engine
// gives them. What is under way to a slow reader is one message in grpc's queue and one in the
// connection's; a reader that has stopped holds the handler in SendMsg, and nobody else.
func (s *service) DoGet(ticket *flight.Ticket, stream flight.FlightService_DoGetServer) error {
	command, err := parseCommand(ticket.GetTicket(), "the ticket")
	if err != nil {
		return err
	}
	switch {
	case command.Scan != nil:
		return s.getScan(command.Scan, stream)
	case command.Lookup != nil:
		return s.getLookup(command.Lookup, stream)
	}
	return model.Errorf(model.BadRequest, "the ticket is %q", command.name()).WithRemedy(`Send {"scan":{"table":…}}`)
}

// getScan is a DoGet with a scan.
func (s *service) getScan(request *scanRequest, stream flight.FlightService_DoGetServer) error {
	ctx := stream.Context()
	if err := request.applyHeaders(ctx); err != nil {
		return err
	}
	scan, err := request.scan()
	if err != nil {
		return err
	}
	reader, err := s.engine.Scan(ctx, scan)
	if err != nil {
		return err
	}
	defer reader.Close()
	message := outgoing{header: reader.SchemaMessage(), holder: connectionOf(ctx)}
	if err := stream.SendMsg(&message); err != nil {
		return err
	}
	var metadata []byte
	for {
		chunk, err := reader.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		metadata = appendChunk(metadata[:0], &chunk)
		message.header, message.metadata = chunk.Message.Header, metadata
		message.body, message.bodyBytes = chunk.Message.Body, chunk.Message.BodyLength
		if err := stream.SendMsg(&message); err != nil {
			return err
		}
		s.metrics.GetBatches.Inc()
		s.metrics.GetRows.Add(float64(chunk.Rows))
		s.metrics.GetBytes.Add(float64(chunk.Message.BodyLength))
	}
}

// appendChunk appends the app_metadata of a batch.
func appendChunk(dst []byte, chunk *engine.Chunk) []byte {
	if chunk.End != "" {
		return appendMark(dst, "end", chunk.End, chunk.Position)
	}
	if chunk.Mark != "" {
		return appendMark(dst, "mark", chunk.Mark, chunk.Position)
	}
	dst = append(dst, `{"bucket":`...)
	dst = strconv.AppendInt(dst, int64(chunk.Bucket), 10)
	dst = appendField(dst, "offset", chunk.Offset)
	dst = appendField(dst, "rows", chunk.Rows)
	dst = appendField(dst, "next", chunk.Next)
	dst = append(dst, `,"time":`...)
	dst = appendTime(dst, chunk.Time)
	return append(dst, '}')
}

// appendMark appends the app_metadata of a batch without rows that says where a read stands.
func appendMark(dst []byte, name, word string, at model.Position) []byte {
	dst = append(dst, `{"`...)
	dst = append(dst, name...)
	dst = append(dst, `":`...)
	dst = appendText(dst, word)
	dst = append(dst, `,"position":`...)
	dst = appendPosition(dst, at)
	return append(dst, '}')
}
