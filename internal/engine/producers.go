package engine

import (
	"errors"
	"sync"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/streams"
)

const (
	// producerWindow is the number of newest batches of a producer whose retry is recognised.
	producerWindow = 10_000
	// producerNameMax bounds a producer's name, in bytes.
	producerNameMax = 256
	// producersMax bounds the producers that a table remembers, and producerBatchesMax their batches
	// together, about 20 MB; the one that was silent longest goes.
	producersMax       = 10_000
	producerBatchesMax = 200_000
)

// producers is what a table knows of its producers. It follows from the log: the run tables of the
// batches name producer, epoch and sequence; a snapshot spares reading the whole log at a start.
//
// The committer changes it; load and the listing read it too.
type producers struct {
	table *table

	mu     sync.Mutex
	loaded bool                 // guarded by mu
	byName map[string]*producer // guarded by mu
	taken  int64                // snapshots that were taken; guarded by mu

	writing sync.Mutex
	written int64 // which of them is in the file; guarded by writing
}

// producer is the state of one producer of a table.
type producer struct {
	epoch int64
	// last is the number of the newest batch of the epoch; −1 if there is none.
	last int64
	// window holds the newest batches, oldest first; the newest has the number last.
	window []sequenced
	// seen is the append time of the newest batch, µs.
	seen int64
	// previousEpoch, previousLast and previousOffsets describe the newest batch of the epoch before.
	previousEpoch, previousLast int64
	previousOffsets             []bucketRange
}

// sequenced is one batch of a producer.
type sequenced struct {
	hash   uint64
	ranges []bucketRange
}

// bucketRange is a range of offsets of one bucket.
type bucketRange struct {
	bucket   int32
	from, to int64
}

// admit decides about a batch with a sequence number: an error refuses it; done says that it is a
// retry, whose acknowledgement is that of the first try.
func (p *producers) admit(r *request) (done bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, state := r.sequence, p.byName[r.sequence.Producer]
	if state == nil || s.Epoch > state.epoch {
		if s.Number == 0 {
			return false, nil
		}
		return false, sequenceError(model.SequenceExpired, s, "nothing is known of the batches before it").
			WithRemedy("Open the producer with a new epoch and begin at seq 0")
	}
	switch {
	case s.Epoch < state.epoch:
		return false, sequenceError(model.ProducerFenced, s, "epoch %d has been opened since", state.epoch).
			With("epoch", state.epoch).WithRemedy("Another instance writes as this producer: stop, or open the producer anew")
	case s.Number > state.last+1:
		return false, sequenceError(model.SequenceGap, s, "the next one is %d", state.last+1).
			With("next_seq", state.last+1).WithRemedy("Send the batches in between first")
	case s.Number == state.last+1:
		return false, nil
	}
	at := int64(len(state.window)) - 1 - (state.last - s.Number)
	if at < 0 {
		return false, sequenceError(model.SequenceExpired, s, "it is too old: only the newest %d batches are remembered", producerWindow).
			WithRemedy("The batch was stored once; go on behind seq %d", state.last)
	}
	first := state.window[at]
	if first.hash != r.hash {
		return false, sequenceError(model.SequenceReused, s, "another batch was stored with it").
			WithRemedy("Send the same rows for the same seq, or use the next one, %d", state.last+1)
	}
	r.pending.ack = Ack{Rows: r.rows, Offsets: offsetsOf(first.ranges), Duplicate: true}
	return true, nil
}

func sequenceError(reason model.Reason, s *Sequence, format string, args ...any) *model.Error {
	e := model.Errorf(reason, "producer %q, epoch %d, seq %d: "+format, append([]any{s.Producer, s.Epoch, s.Number}, args...)...)
	return e.With("producer", s.Producer).With("seq", s.Number)
}

// note remembers a batch that was given its offsets, and gives what takes that back.
func (p *producers) note(r *request) (undo func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := r.sequence
	before := p.byName[s.Producer]
	var saved producer
	if before != nil {
		saved = *before
	}
	ranges := make([]bucketRange, 0, len(r.pending.ack.Offsets))
	for bucket, covered := range r.pending.ack.Offsets {
		ranges = append(ranges, bucketRange{bucket, covered.From, covered.To})
	}
	p.advance(s.Producer, s.Epoch, s.Number, sequenced{r.hash, ranges}).seen = p.table.engine.lastTime
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if before == nil {
			delete(p.byName, s.Producer)
			return
		}
		*before = saved
		p.byName[s.Producer] = before
	}
}

// advance moves a producer to a batch. The caller holds mu.
func (p *producers) advance(name string, epoch, number int64, batch sequenced) *producer {
	state := p.open(name, epoch)
	if number < 0 {
		return state
	}
	if number == state.last && len(state.window) > 0 { // another bucket's part of the same batch
		newest := &state.window[len(state.window)-1]
		newest.ranges = append(newest.ranges, batch.ranges...)
		return state
	}
	if number != state.last+1 { // older batches are gone from the log
		state.window = state.window[:0]
	}
	state.last = number
	if len(state.window) >= 2*producerWindow { // forget in bulk: appending stays cheap
		state.window = append([]sequenced(nil), state.window[len(state.window)-producerWindow:]...)
	}
	state.window = append(state.window, batch)
	return state
}

// open gives the state of a producer at an epoch, which it begins where it is new. The caller holds
// mu.
func (p *producers) open(name string, epoch int64) *producer {
	state := p.byName[name]
	switch {
	case state == nil:
		p.makeRoom()
		state = &producer{epoch: epoch, last: -1, previousLast: -1}
		p.byName[name] = state
	case epoch > state.epoch:
		next := producer{epoch: epoch, last: -1, previousEpoch: state.epoch, previousLast: state.last}
		if n := len(state.window); n > 0 {
			next.previousOffsets = state.window[n-1].ranges
		}
		*state = next
	}
	return state
}

// makeRoom forgets the producers that were silent longest, where there are too many.
func (p *producers) makeRoom() {
	batches := 0
	for _, state := range p.byName {
		batches += len(state.window)
	}
	for len(p.byName) >= producersMax || len(p.byName) > 0 && batches >= producerBatchesMax {
		var oldest string
		for name, state := range p.byName {
			if oldest == "" || state.seen < p.byName[oldest].seen {
				oldest = name
			}
		}
		batches -= len(p.byName[oldest].window)
		delete(p.byName, oldest)
	}
}

// load reads the state from the snapshot and the log, once. Every put stream does so before it sends,
// so that each segment that is sealed has a snapshot with all producers before it.
func (p *producers) load() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.loaded {
		return nil
	}
	from, err := p.readSnapshot()
	if err != nil {
		p.table.engine.options.Logger.Warn("the snapshot of the producers cannot be read, the log is read instead",
			"table", p.table.definition.Load().Name, "error", err)
		p.byName, from = map[string]*producer{}, model.Offsets{}
	}
	found := map[string][]replayed{}
	for _, number := range p.table.storedNumbers() {
		next, written := p.table.nextOffset(number)
		if !written || number != model.HomeBucket && next <= from[number] {
			continue // the snapshot says it all; runs without rows are in the home bucket alone
		}
		b, err := p.table.bucket(number)
		if err != nil {
			return err
		}
		for at, err := range b.Runs(max(from[number], b.Start())) {
			if errors.Is(err, model.Corrupt) {
				// What is damaged says nothing about producers: their older batches are expired then.
				p.table.engine.options.Logger.Warn("producers of damaged rows are forgotten", "error", err)
				continue
			}
			if err != nil {
				return err
			}
			if at.Run.Producer != "" {
				found[at.Run.Producer] = append(found[at.Run.Producer], replayed{number, at})
			}
		}
	}
	p.replay(found)
	p.loaded = true
	return nil
}

// isLoaded says that load was done.
func (p *producers) isLoaded() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.loaded
}

// replayed is a run of a producer as it was found in the log of a bucket.
type replayed struct {
	bucket int32
	streams.RunAt
}

func offsetsOf(ranges []bucketRange) map[int32]model.Range {
	offsets := make(map[int32]model.Range, len(ranges))
	for _, r := range ranges {
		covered, seen := offsets[r.bucket]
		if !seen {
			covered = model.Range{From: r.from, To: r.to}
		}
		offsets[r.bucket] = model.Range{From: min(covered.From, r.from), To: max(covered.To, r.to)}
	}
	return offsets
}
