package flightsrv

import (
	"cmp"
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
// after the other, so that an answer is sent without waking anybody else. Where batches are large
// there are two, which take turns: one finds rows while the other one puts together what it has found. What
// the client sends meanwhile waits in the HTTP/2 window of the stream: beyond that the client has to read.
//
// The handler only waits, because it alone can end the stream of a client that sends nothing.
type exchange struct {
	service *service
	stream  grpc.ServerStream
	lookup  *engine.Lookup
	// turns hands the right to receive to the other goroutine. Its room is for the one that there is.
	turns chan turn
	// second starts the other goroutine.
	second sync.Once
	// ended has how each goroutine has ended.
	ended chan error

	// answering is held for reading while something is answered.
	answering sync.RWMutex
	returned  chan struct{} // closed when the handler returns: nothing may be sent any more
}

// turn is the right to receive and to look up the next batch of keys.
type turn struct {
	// seq is the index of that batch.
	seq int64
	// before is closed when the answer before has been sent; nil: it has been.
	before <-chan struct{}
}

// turnKeysMin is the number of keys from which on the other goroutine gets the next turn: for fewer, waking it takes
// as long as what it would do.
const turnKeysMin = 64

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
	x := &exchange{
		service: s, stream: stream, turns: make(chan turn, 1), ended: make(chan error, 2), returned: make(chan struct{}),
	}
	defer x.leave()
	s.receivers.Go(func() { x.ended <- x.run() })
	select {
	case err := <-x.ended:
		return err
	case <-stream.Context().Done():
		return stream.Context().Err()
	case <-s.draining.Done():
	}
	x.leave()
	select {
	case err := <-x.ended: // before the drain
		if !errors.Is(err, errStreamEnded) {
			return err
		}
	default:
	}
	return drainingError()
}

// leave waits for the answer that is being sent, and lets none follow.
func (x *exchange) leave() {
	select {
	case <-x.returned:
		return
	default:
	}
	close(x.returned)
	x.answering.Lock()
	defer x.answering.Unlock()
}

// begin says that something is answered, until end; it fails once the handler has returned.
func (x *exchange) begin() (end func(), err error) {
	x.answering.RLock()
	select {
	case <-x.returned:
		x.answering.RUnlock()
		return nil, errStreamEnded
	default:
		return x.answering.RUnlock, nil
	}
}

// open receives the descriptor and the schema, and answers with the schema of what is to come.
func (x *exchange) open() error {
	message := incoming{}
	defer message.free()
	descriptor, err := receiveOpening(x.stream, &message)
	if err != nil {
		return err
	}
	end, err := x.begin()
	if err != nil {
		return err
	}
	defer end()
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
	if x.lookup, err = x.service.engine.OpenLookup(x.stream.Context(), request); err != nil {
		return err
	}
	first := newAnswers(x.service, x.stream, x.lookup, 0)
	return first.sendSchema()
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

// run opens the stream, and answers what comes until the client has sent everything, which gives nil.
func (x *exchange) run() (err error) {
	defer x.service.recoverInto(&err)
	if err := x.open(); err != nil {
		return err
	}
	x.turns <- turn{}
	return x.work(0)
}

// work is what each of the two goroutines does.
func (x *exchange) work(number int) (err error) {
	defer x.service.recoverInto(&err)
	a := newAnswers(x.service, x.stream, x.lookup, number)
	message := incoming{}
	defer message.free()
	for {
		var t turn
		select {
		case t = <-x.turns:
		case <-x.returned:
			return errStreamEnded
		}
		for passed := false; !passed; {
			if err := receiveInto(x.stream, &message); err != nil {
				return x.endOfKeys(t, err)
			}
			if passed, err = x.answer(&a, &t, &message); err != nil {
				return err
			}
			message.free()
		}
	}
}

// endOfKeys is what the stream ends with where no more keys can be received: behind the answer before.
func (x *exchange) endOfKeys(t turn, err error) error {
	if failed := x.await(t.before); failed != nil {
		return failed
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return batchError(t.seq, err)
}

// await waits for the answer before, which before stands for.
func (x *exchange) await(before <-chan struct{}) error {
	if before == nil {
		return nil
	}
	select {
	case <-before:
		return nil
	case <-x.returned:
		return errStreamEnded
	}
}

// answer answers one message, unless the handler has returned. It passes the turn on, or leaves in it what the next
// one is.
func (x *exchange) answer(a *answers, t *turn, message *incoming) (passed bool, err error) {
	end, err := x.begin()
	if err != nil {
		return false, err
	}
	defer end()
	if err := checkKeys(message); err != nil {
		return false, cmp.Or(x.await(t.before), batchError(t.seq, err))
	}
	var sent chan struct{}
	keys := engine.KeyMessage{Header: message.header, Body: message.body}
	keys.Found = func(rows int64) {
		if passed = rows >= turnKeysMin; passed {
			sent = make(chan struct{})
			x.second.Do(func() { x.service.receivers.Go(func() { x.ended <- x.work(1) }) })
			x.turns <- turn{seq: t.seq + 1, before: sent}
		}
	}
	parts, err := a.answer(x.stream.Context(), t.seq, keys, func() error { return x.await(t.before) })
	if err != nil {
		return passed, err
	}
	if passed {
		close(sent)
	}
	if parts > 0 { // else the answer before may not have been sent
		t.before = nil
		t.seq++
	}
	return passed, nil
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
	answers, seq := newAnswers(s, stream, lookup, 0), int64(0)
	if err := answers.sendSchema(); err != nil {
		return err
	}
	for _, message := range messages[1:] {
		keys := engine.KeyMessage{Header: message.Header, Body: [][]byte{message.Body}}
		parts, err := answers.answer(ctx, seq, keys, func() error { return nil })
		if err != nil {
			return err
		}
		if parts > 0 {
			seq++
		}
	}
	return nil
}

// answers sends answers of one stream of lookups, all of them or those of one of two goroutines.
type answers struct {
	service  *service
	stream   grpc.ServerStream
	lookup   *engine.Lookup
	worker   int
	message  outgoing
	metadata []byte // reused
}

func newAnswers(s *service, stream grpc.ServerStream, lookup *engine.Lookup, worker int) answers {
	holder := connectionOf(stream.Context())
	return answers{service: s, stream: stream, lookup: lookup, worker: worker, message: outgoing{holder: holder}}
}

func (a *answers) sendSchema() error {
	return a.stream.SendMsg(&outgoing{header: a.lookup.SchemaMessage()})
}

// answer answers one message, the batch of keys with index seq, in parts; one that carries no batch, a dictionary, has
// no answer. ready waits until it is its turn to be sent.
func (a *answers) answer(ctx context.Context, seq int64, keys engine.KeyMessage, ready func() error) (parts int64, err error) {
	keys.Worker = a.worker
	for part, err := range a.lookup.Answer(ctx, keys) {
		if parts == 0 {
			if err := ready(); err != nil {
				return 0, err
			}
		}
		if err != nil {
			return parts, batchError(seq, err)
		}
		if err := a.send(&part, seq, parts); err != nil {
			return parts, err
		}
		parts++
	}
	return parts, nil
}

func (a *answers) send(part *engine.LookupPart, seq, number int64) error {
	a.metadata = appendAnswer(a.metadata[:0], seq, number, part)
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
