package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
)

// putResult is what the command put prints.
type putResult struct {
	Rows      int     `json:"rows"`
	Batches   int     `json:"batches"`
	Acks      int     `json:"acks"`
	Seconds   float64 `json:"seconds"`
	ClientCPU float64 `json:"client_cpu"`
	// Acknowledged is from when a batch was due until it is acknowledged; with a pace alone.
	Acknowledged latencies `json:"acknowledged,omitzero"`
	// MessageBytes is the size of the first batch's message.
	MessageBytes int `json:"message_bytes"`
}

// stream is one DoPut.
type stream interface {
	send(number int) error
	// receive gives the number of batches that the next acknowledgement covers.
	receive() (int, error)
	closeSend() error
}

// producer is a stream with its connection.
type producer struct {
	stream
	connection *grpc.ClientConn
	batches    int
	acks       int
	// acknowledged are the batches that the acknowledgements cover.
	acknowledged int
	// stop ends the sending early; stopped tells the receiving side.
	stop    <-chan struct{}
	stopped atomic.Bool
	// pause is the time between two batches; 0: none.
	pause time.Duration
	// waited are the times from due to acknowledged, where there is a pause.
	waited []time.Duration
}

// put sends batches from several producers and waits for all acknowledgements. The clock runs from
// when all of them are connected and have encoded until the last acknowledgement is there.
func put(ctx context.Context, s settings) (any, error) {
	rows, err := openWorkload(s.workload)
	if err != nil {
		return nil, err
	}
	defer rows.close()
	var result putResult
	// The streams live in the group's context: the first fault ends all of them. Producers with a
	// pace are told to stop, and still wait for what they have sent.
	stop := make(<-chan struct{})
	if s.pace > 0 {
		stop, ctx = ctx.Done(), context.WithoutCancel(ctx)
	}
	group, ctx := errgroup.WithContext(ctx)
	producers := make([]*producer, 0, s.producers)
	for number := range s.producers {
		p := &producer{batches: s.batches / s.producers, stop: stop}
		if s.pace > 0 {
			p.pause = time.Duration(s.rowsPerBatch) * time.Second / time.Duration(s.pace)
		}
		if number < s.batches%s.producers {
			p.batches++
		}
		if p.connection, err = connect(s.server); err != nil {
			return nil, err
		}
		defer p.connection.Close()
		if p.stream, result.MessageBytes, err = open(ctx, p.connection, rows, s, number); err != nil {
			return nil, err
		}
		producers = append(producers, p)
	}
	if s.client == "raw" {
		rows.forget()
		runtime.GC() // what encoding left behind is not collected at the server's cost
	}
	cpu, began := cpuSeconds(), time.Now()
	for _, p := range producers {
		p.run(ctx, group, s.window)
	}
	err = group.Wait()
	result.Seconds, result.ClientCPU = time.Since(began).Seconds(), cpuSeconds()-cpu
	var waited []time.Duration
	for _, p := range producers {
		result.Acks += p.acks
		result.Batches += p.acknowledged
		waited = append(waited, p.waited...)
	}
	result.Rows = result.Batches * s.rowsPerBatch
	result.Acknowledged = summary(waited)
	return result, err
}

// run sends and receives in two goroutines of the group.
func (p *producer) run(ctx context.Context, group *errgroup.Group, window int) {
	// One token a batch that is sent and not acknowledged: it is what bounds the memory of both sides.
	tokens := make(chan struct{}, window)
	began := time.Now()
	group.Go(func() error {
		for number := range p.batches {
			if p.pause > 0 {
				time.Sleep(time.Until(began.Add(time.Duration(number) * p.pause)))
			}
			select {
			case <-p.stop:
				p.stopped.Store(true)
				return p.closeSend()
			default:
			}
			select {
			case tokens <- struct{}{}:
			case <-ctx.Done():
				return ctx.Err()
			}
			if err := p.send(number); err != nil {
				if errors.Is(err, io.EOF) {
					return nil // the receiving side has the reason
				}
				return fmt.Errorf("sending batch %d: %w", number, err)
			}
		}
		return p.closeSend()
	})
	group.Go(func() error {
		for p.acknowledged < p.batches {
			covered, err := p.receive()
			if errors.Is(err, io.EOF) && p.stopped.Load() {
				return nil
			}
			if err != nil {
				return fmt.Errorf("after %d of %d acknowledged batches: %w", p.acknowledged, p.batches, err)
			}
			p.acks++
			now := time.Since(began)
			for range covered {
				<-tokens
				if p.pause > 0 {
					p.waited = append(p.waited, now-time.Duration(p.acknowledged)*p.pause)
				}
				p.acknowledged++
			}
		}
		return nil
	})
}

// open begins the DoPut of producer number and gives the size of a message, 0 if it is not known.
func open(ctx context.Context, connection *grpc.ClientConn, rows *workload, s settings, number int) (stream, int, error) {
	descriptor, err := putDescriptor(s.table, s.acks)
	if err != nil {
		return nil, 0, err
	}
	batches, err := rows.batches(s, number)
	if err != nil {
		return nil, 0, err
	}
	if s.client == "arrow" {
		opened, err := openArrow(ctx, connection, rows, descriptor)
		if err != nil {
			release(batches)
			return nil, 0, err
		}
		opened.batches, opened.durability = batches, s.durability
		return opened, 0, nil
	}
	messages, err := encode(rows.schema(), descriptor, batches)
	release(batches)
	if err != nil {
		return nil, 0, err
	}
	description := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	opened, err := connection.NewStream(ctx, description, methodDoPut, grpc.ForceCodecV2(passThrough{}))
	if err != nil {
		return nil, 0, fmt.Errorf("opening DoPut: %w", err)
	}
	if err := opened.SendMsg(messages[0]); err != nil {
		return nil, 0, fmt.Errorf("sending the schema: %w", err)
	}
	return &rawStream{stream: opened, messages: messages[1:], last: acknowledgement{durability: s.durability}}, len(messages[1]), nil
}

// rawStream sends encoded messages, round and round.
type rawStream struct {
	stream   grpc.ClientStream
	messages []encoded
	last     acknowledgement
}

func (r *rawStream) send(number int) error {
	return r.stream.SendMsg(r.messages[number%len(r.messages)])
}

func (r *rawStream) receive() (int, error) {
	err := r.stream.RecvMsg(&r.last)
	return r.last.batches, err
}

func (r *rawStream) closeSend() error { return r.stream.CloseSend() }

// arrowStream sends batches by arrow-go's client, round and round.
type arrowStream struct {
	stream     flight.FlightService_DoPutClient
	writer     *flight.Writer
	batches    []arrow.RecordBatch
	durability string // that each acknowledgement must tell; empty: any
}

func openArrow(ctx context.Context, connection *grpc.ClientConn, rows *workload, descriptor *flight.FlightDescriptor) (*arrowStream, error) {
	opened, err := flight.NewClientFromConn(connection, nil).DoPut(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening DoPut: %w", err)
	}
	writer := flight.NewRecordWriter(opened, ipc.WithSchema(rows.schema()))
	writer.SetFlightDescriptor(descriptor)
	return &arrowStream{stream: opened, writer: writer}, nil
}

func (a *arrowStream) send(number int) error {
	return a.writer.Write(a.batches[number%len(a.batches)])
}

func (a *arrowStream) receive() (int, error) {
	result, err := a.stream.Recv()
	if err != nil {
		return 0, err
	}
	return batchesOf(result.AppMetadata, a.durability)
}

func (a *arrowStream) closeSend() error { return a.stream.CloseSend() }
