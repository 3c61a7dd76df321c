package flightsrv

import (
	"context"
	"time"

	"github.com/headrace/headrace/internal/engine"
	"github.com/headrace/headrace/internal/model"
)

// positionActions are about places in a table.
func (s *service) positionActions() []action {
	return []action{
		jsonAction("ListOffsets", "Gives the position of a time: the first rows stored at it or later; without a time, the end.",
			answering(s.listOffsets)),
		jsonAction("WaitFor", "Returns when all rows before a position can be read.", answering(s.waitFor)),
	}
}

type listOffsetsRequest struct {
	Table string     `json:"table"`
	Time  *timeValue `json:"time"`
}

func (s *service) listOffsets(_ context.Context, request *listOffsetsRequest) (any, error) {
	name, err := parseTable(request.Table)
	if err != nil {
		return nil, err
	}
	table, err := s.engine.Table(name)
	if err != nil {
		return nil, err
	}
	at := model.Position{TableID: table.ID}
	if request.Time != nil {
		at.Offsets, err = s.engine.OffsetsAt(name, request.Time.at)
		return position{at}, err
	}
	states, err := s.engine.Buckets(name)
	at.Offsets = make(model.Offsets, len(states))
	for _, state := range states {
		at.Offsets[state.Bucket] = state.End
	}
	return position{at}, err
}

type waitForRequest struct {
	Table     string   `json:"table"`
	Position  position `json:"position"`
	In        string   `json:"in"`
	TimeoutMS integer  `json:"timeout_ms"`
}

// waitMost bounds a wait; a client that wants more asks again.
const waitMost = time.Hour

func (s *service) waitFor(ctx context.Context, request *waitForRequest) (any, error) {
	name, err := parseTable(request.Table)
	if err != nil {
		return nil, err
	}
	if err := checkWord("in", request.In, []string{"index", "lake"}, 1); err != nil {
		return nil, err
	}
	timeout := time.Duration(request.TimeoutMS) * time.Millisecond
	if request.TimeoutMS == 0 {
		timeout = waitMost
	}
	if timeout < 0 || timeout > waitMost || request.TimeoutMS > integer(waitMost/time.Millisecond) {
		return nil, model.Errorf(model.BadRequest, "timeout_ms is %d", request.TimeoutMS).
			WithRemedy("Use 1 to %d", waitMost/time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return done{}, s.engine.WaitFor(ctx, name, request.Position.Position)
}

// producerActions are about exactly-once writers.
func (s *service) producerActions() []action {
	return []action{
		changing(jsonAction("OpenProducer", "Tells where a producer stands; with bump, opens a new epoch that fences the old one.",
			answering(s.openProducer))),
		jsonAction("ListProducers", "Lists the producers of a table.", s.listProducers),
	}
}

type openProducerRequest struct {
	Table    string `json:"table"`
	Producer string `json:"producer"`
	Bump     bool   `json:"bump"`
}

// producerState is the answer of OpenProducer, and with a name, an element of ListProducers.
type producerState struct {
	Producer string        `json:"producer,omitzero"`
	Epoch    int64         `json:"epoch"`
	NextSeq  int64         `json:"next_seq"`
	Last     *lastSequence `json:"last,omitzero"`
}

type lastSequence struct {
	Epoch   int64               `json:"epoch"`
	Seq     int64               `json:"seq"`
	Offsets map[string][2]int64 `json:"offsets"`
}

func describeProducer(state engine.ProducerState) producerState {
	described := producerState{Epoch: state.Epoch, NextSeq: state.NextSequence}
	if state.LastSequence < 0 {
		return described
	}
	described.Last = &lastSequence{Epoch: state.LastEpoch, Seq: state.LastSequence, Offsets: map[string][2]int64{}}
	for bucket, offsets := range state.LastOffsets {
		described.Last.Offsets[formatInt(int64(bucket))] = [2]int64{offsets.From, offsets.To}
	}
	return described
}

func (s *service) openProducer(ctx context.Context, request *openProducerRequest) (any, error) {
	name, err := parseTable(request.Table)
	if err != nil {
		return nil, err
	}
	if request.Producer == "" {
		return nil, model.Errorf(model.BadRequest, "no producer is named").WithRemedy(`Set the field "producer"`)
	}
	state, err := s.engine.OpenProducer(ctx, name, request.Producer, request.Bump)
	if err != nil {
		return nil, err
	}
	return describeProducer(state), nil
}

func (s *service) listProducers(_ context.Context, request *tableRequest, send sendResult) error {
	name, err := parseTable(request.Table)
	if err != nil {
		return err
	}
	states, err := s.engine.Producers(name)
	if err != nil {
		return err
	}
	return sendParts(states, func(part []engine.ProducerState, more bool) error {
		described := make([]producerState, len(part))
		for i, state := range part {
			described[i] = describeProducer(state)
			described[i].Producer = state.Producer
		}
		return send(struct {
			Producers []producerState `json:"producers"`
			More      bool            `json:"more,omitzero"`
		}{described, more})
	})
}
