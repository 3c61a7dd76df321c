package flightsrv

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"google.golang.org/grpc"

	"github.com/headrace/headrace/internal/engine"
	"github.com/headrace/headrace/internal/model"
)

// putStream is one DoPut. Its receiver is a goroutine of its own, the handler sends
// acknowledgements: whatever stops one of them, the other still makes progress.
type putStream struct {
	service *service
	stream  grpc.ServerStream
	request engine.PutRequest
	put     *engine.Put
	acks    *ackQueue
}

// DoPut implements flight.FlightServiceServer.
func (s *service) DoPut(stream flight.FlightService_DoPutServer) error {
	select {
	case s.puts <- struct{}{}:
		defer func() { <-s.puts }()
	default:
		return model.Errorf(model.Overloaded, "%d put streams are open, and no more are allowed", cap(s.puts)).
			WithRemedy("Close idle ones, or raise the limit of put streams")
	}
	p := &putStream{service: s, stream: stream}
	if err := p.open(); err != nil {
		return err
	}
	// Returning cancels the stream's context, which ends the receiver.
	s.receivers.Go(p.receive)
	return p.acknowledge()
}

// open receives the descriptor and the schema.
func (p *putStream) open() error {
	message := incoming{}
	defer message.free()
	descriptor, err := receiveOpening(p.stream, &message)
	if err != nil {
		return err
	}
	mode, err := p.parseDescriptor(descriptor)
	if err != nil {
		return err
	}
	// The engine keeps the schema, the network's buffers go back.
	p.request.Schema = append([]byte(nil), message.header...)
	p.put, err = p.service.engine.OpenPut(p.stream.Context(), p.request)
	p.acks = newAckQueue(mode, p.service.countPut)
	return err
}

func (p *putStream) parseDescriptor(bytes []byte) (mode ackMode, err error) {
	descriptor, err := parseDescriptor(bytes)
	if err != nil {
		return 0, err
	}
	if descriptor.GetType() == flight.FlightDescriptor_PATH {
		p.request.Table, err = model.ParseTablePath(descriptor.GetPath())
		return ackBatch, err
	}
	command, err := parseCommand(descriptor.GetCmd(), "the descriptor's command")
	if err != nil {
		return 0, err
	}
	if command.Put == nil {
		return 0, model.Errorf(model.BadRequest, "DoPut got the command %q", command.name()).WithRemedy(`Send {"put":{"table":…}}`)
	}
	p.request, mode, err = command.Put.request()
	return mode, err
}

// receiveOpening receives what a stream of batches begins with, and leaves the schema in message.
// Some clients send the descriptor with the schema, some before it.
func receiveOpening(stream grpc.ServerStream, message *incoming) (descriptor []byte, err error) {
	for len(message.header) == 0 {
		if err := receiveInto(stream, message); err != nil {
			if errors.Is(err, io.EOF) {
				return nil, model.Errorf(model.BadRequest, "the stream ended before its schema")
			}
			return nil, err
		}
		if len(message.descriptor) > 0 {
			descriptor = message.descriptor
		} else if len(message.header) == 0 {
			return nil, model.Errorf(model.BadRequest, "the first message of the stream has neither a descriptor nor a schema")
		}
	}
	return descriptor, nil
}

func receiveInto(stream grpc.ServerStream, message *incoming) error {
	if err := stream.RecvMsg(message); err != nil {
		return err
	}
	return message.fault
}

// receive passes batches to the engine until the stream ends.
func (p *putStream) receive() {
	defer p.put.Close()
	p.acks.end(p.receiveAll())
}

// receiveAll is nil when the client has sent everything.
func (p *putStream) receiveAll() (err error) {
	defer p.service.recoverInto(&err)
	ctx := p.stream.Context()
	message := incoming{}
	defer message.free()
	index := int64(0)
	for {
		if err := receiveInto(p.stream, &message); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return batchError(index, err)
		}
		taken, err := p.send(ctx, &message, index)
		message.free()
		if err != nil {
			return batchError(index, err)
		}
		if taken {
			index++
		}
	}
}

// send gives one message to the engine; it is false for one that carries no batch.
func (p *putStream) send(ctx context.Context, message *incoming, index int64) (bool, error) {
	if len(message.header) == 0 {
		return false, model.Errorf(model.BadRequest, "the message has no record batch").
			WithRemedy("Send app_metadata together with its batch")
	}
	if p.acks.over() {
		return false, errStreamEnded // nothing behind a refused batch is stored
	}
	sequence, err := parseSequence(message.metadata, &p.request)
	if err != nil {
		return false, err
	}
	batch := sentBatch{index: index, seq: index, received: time.Now(), bytes: int64(message.bodyBytes)}
	if sequence != nil {
		batch.seq = sequence.Number
	}
	pending, err := p.put.Send(ctx, message.header, message.body, sequence)
	if err != nil || pending == nil {
		return false, err
	}
	batch.pending = pending
	return true, p.acks.push(ctx, batch)
}

// acknowledge sends acknowledgements until the stream ends.
func (p *putStream) acknowledge() error {
	ctx := p.stream.Context()
	stop := context.AfterFunc(p.service.draining, func() { p.acks.end(drainingError()) })
	defer stop()
	for {
		next, err := p.acks.next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := p.stream.SendMsg(next.putResult()); err != nil {
			return err
		}
	}
}

// drainingError is told to streams that a stopping server ends.
func drainingError() error {
	return model.Errorf(model.Draining, "the server is stopping").WithRemedy("Connect again and send what was not acknowledged")
}

// countPut adds an acknowledged batch to the metrics.
func (s *service) countPut(batch sentBatch, stored engine.Ack) {
	s.metrics.PutBatches.Inc()
	s.metrics.PutRows.Add(float64(stored.Rows))
	s.metrics.PutBytes.Add(float64(batch.bytes))
	s.metrics.PutAckSeconds.Observe(time.Since(batch.received).Seconds())
	if stored.Duplicate {
		s.metrics.PutDuplicates.Inc()
	}
}
