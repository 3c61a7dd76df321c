package flightsrv

import (
	"context"
	"errors"
	"io"
	"strconv"
	"sync"

	"github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"google.golang.org/grpc"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/engine"
	"github.com/headrace/headrace/internal/model"
)

// exchange is one DoExchange. A goroutine of its own receives keys and answers them, one batch
// after the other, so that an answer is sent without waking anybody else. What the client sends
// meanwhile waits in the HTTP/2 window of the stream: beyond that the client has to read.
//
// The handler only waits, because it alone can end the stream of a client that sends nothing.
type exchange struct {
	service *service
	stream  grpc.ServerStream
	answers answers

	// answering is held while something is answered.
	answering sync.Mutex
	returned  bool // the handler's: nothing may be sent any more; guarded by answering
}

// DoExchange implements flight.FlightServiceServer.
func (s *service) DoExchange(stream flight.FlightService_DoExchangeServer) error {
	select {
	case s.lookups <- struct{}{}:
		defer func() { <-s.lookups }()
	default:
		return model.Errorf(model.Overloaded, "%d lookup streams are open, and no more are allowed", cap(s.lookups)).
			WithRemedy("Close idle ones, or send more keys over each")
	}
	if s.draining.Err() != nil {
		return drainingError()
	}
	x := &exchange{service: s, stream: stream}
	ended := make(chan error, 1)
	s.receivers.Go(func() { ended <- x.run() })
	select {
	case err := <-ended:
		return err
	case <-stream.Context().Done():
		x.leave()
		return stream.Context().Err()
	case <-s.draining.Done():
		x.leave()
	}
	select {
	case err := <-ended: // before the drain
		return err
	default:
		return drainingError()
	}
}

// leave waits for the answer that is being sent, and lets none follow.
func (x *exchange) leave() {
	x.answering.Lock()
	defer x.answering.Unlock()
	x.returned = true
}

// open receives the descriptor and the schema, and answers with the schema of what is to come.
func (x *exchange) open() error {
	message := incoming{}
	defer message.free()
	descriptor, err := receiveOpening(x.stream, &message)
	if err != nil {
		return err
	}
	x.answering.Lock()
	defer x.answering.Unlock()
	if x.returned {
		return errStreamEnded
	}
	command, err := lookupOfDescriptor(descriptor)
	if err != nil {
		return err
	}
	request, err := command.request(x.service.engine)
	if err != nil {
		return err
	}
	// The engine keeps the schema, the network's buffers go back.
	request.Schema = append([]byte(nil), message.header...)
	ctx := x.stream.Context()
	lookup, err := x.service.engine.OpenLookup(ctx, request)
	if err != nil {
		return err
	}
	x.answers = newAnswers(x.service, x.stream, lookup)
	if err := x.answers.sendSchema(); err != nil {
		lookup.Close()
		return err
	}
	return nil
}

func lookupOfDescriptor(bytes []byte) (*lookupCommand, error) {
	descriptor, err := parseDescriptor(bytes)
	if err != nil {
		return nil, err
	}
	const remedy = `Send {"lookup":{"table":…}}`
	if descriptor.GetType() == flight.FlightDescriptor_PATH {
		return nil, model.Errorf(model.BadRequest, "DoExchange got a path, want a command").WithRemedy(remedy)
	}
	command, err := parseCommand(descriptor.GetCmd(), "the descriptor's command")
	switch {
	case err != nil:
		return nil, err
	case command.Lookup == nil:
		return nil, model.Errorf(model.BadRequest, "DoExchange got the command %q", command.name()).WithRemedy(remedy)
	case len(command.Lookup.Keys) > 0:
		return nil, model.Errorf(model.BadRequest, `"keys" is for tickets`).WithRemedy("Send the keys as record batches in the stream")
	}
	return command.Lookup, nil
}

// run answers what comes until the client has sent everything, which gives nil.
func (x *exchange) run() (err error) {
	defer x.service.recoverInto(&err)
	if err := x.open(); err != nil {
		return err
	}
	defer x.answers.lookup.Close()
	message := incoming{}
	defer message.free()
	for {
		if err := receiveInto(x.stream, &message); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return batchError(x.answers.seq, err)
		}
		err := x.answer(&message)
		message.free()
		if err != nil {
			return err
		}
	}
}

// answer answers one message, unless the handler has returned.
func (x *exchange) answer(message *incoming) error {
	x.answering.Lock()
	defer x.answering.Unlock()
	if x.returned {
		return errStreamEnded
	}
	if err := checkKeys(message); err != nil {
		return batchError(x.answers.seq, err)
	}
	return x.answers.answer(x.stream.Context(), message.header, message.body)
}

// checkKeys refuses a message that is no batch of keys.
func checkKeys(message *incoming) error {
	switch {
	case len(message.header) == 0:
		return model.Errorf(model.BadRequest, "the message has no record batch").WithRemedy("Send batches of keys")
	case len(message.metadata) > 0:
		return model.Errorf(model.BadRequest, "the batch of keys has app_metadata, which lookups do not know").
			WithRemedy("Leave it out: answers come in the order of the keys, and count them in seq")
	}
	return nil
}

// getLookup is a DoGet with a lookup: the keys lie in the ticket.
func (s *service) getLookup(command *lookupCommand, stream flight.FlightService_DoGetServer) error {
	ctx := stream.Context()
	if len(command.Keys) == 0 {
		return model.Errorf(model.BadRequest, "the ticket has no keys").
			WithRemedy(`Set "keys" to an Arrow IPC stream in base64, or send them over DoExchange`)
	}
	messages, err := arrowipc.CutStream(command.Keys)
	if err != nil {
		return err
	}
	request, err := command.request(s.engine)
	if err != nil {
		return err
	}
	request.Schema = messages[0].Header
	lookup, err := s.engine.OpenLookup(ctx, request)
	if err != nil {
		return err
	}
	defer lookup.Close()
	answers := newAnswers(s, stream, lookup)
	if err := answers.sendSchema(); err != nil {
		return err
	}
	for _, message := range messages[1:] {
		if err := answers.answer(ctx, message.Header, [][]byte{message.Body}); err != nil {
			return err
		}
	}
	return nil
}

// answers sends the answers of one stream of lookups.
type answers struct {
	service *service
	stream  grpc.ServerStream
	lookup  *engine.Lookup
	// seq is the index of the next batch of keys.
	seq      int64
	message  outgoing
	metadata []byte // reused
}

func newAnswers(s *service, stream grpc.ServerStream, lookup *engine.Lookup) answers {
	return answers{service: s, stream: stream, lookup: lookup, message: outgoing{holder: connectionOf(stream.Context())}}
}

func (a *answers) sendSchema() error {
	return a.stream.SendMsg(&outgoing{header: a.lookup.SchemaMessage()})
}

// answer answers one message; one that carries no batch, a dictionary, has no answer.
func (a *answers) answer(ctx context.Context, header []byte, body [][]byte) error {
	parts := int64(0)
	for part, err := range a.lookup.Answer(ctx, header, body) {
		if err != nil {
			return batchError(a.seq, err)
		}
		if err := a.send(&part, parts); err != nil {
			return err
		}
		parts++
	}
	if parts > 0 {
		a.seq++
	}
	return nil
}

func (a *answers) send(part *engine.LookupPart, number int64) error {
	a.metadata = appendAnswer(a.metadata[:0], a.seq, number, part)
	a.message.header, a.message.metadata = part.Message.Header, a.metadata
	a.message.body, a.message.bodyBytes = part.Message.Body, part.Message.BodyLength
	if err := a.stream.SendMsg(&a.message); err != nil {
		return err
	}
	metrics := a.service.metrics
	metrics.GetBatches.Inc()
	metrics.GetRows.Add(float64(part.Rows))
	metrics.GetBytes.Add(float64(part.Message.BodyLength))
	return nil
}

// appendAnswer appends the app_metadata of a part of an answer.
func appendAnswer(dst []byte, seq, number int64, part *engine.LookupPart) []byte {
	dst = append(dst, `{"seq":`...)
	dst = strconv.AppendInt(dst, seq, 10)
	dst = appendField(dst, "part", number)
	dst = append(dst, `,"last":`...)
	dst = strconv.AppendBool(dst, part.Last)
	dst = append(dst, `,"as_of":`...)
	dst = appendOffsets(dst, part.AsOf)
	return append(dst, '}')
}
