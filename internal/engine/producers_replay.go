package engine

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/streams"
)

// replay puts the runs of each producer into order over all buckets and takes them in. The caller
// holds mu.
func (p *producers) replay(found map[string][]replayed) {
	for name, runs := range found {
		slices.SortStableFunc(runs, func(a, b replayed) int {
			return cmp.Or(cmp.Compare(a.Run.Epoch, b.Run.Epoch), cmp.Compare(a.Run.FirstSequence, b.Run.FirstSequence))
		})
		for _, run := range runs {
			p.takeIn(name, run)
		}
	}
}

// takeIn moves a producer by one run of the log, unless the snapshot had it already.
func (p *producers) takeIn(name string, run replayed) {
	known := p.byName[name]
	if known != nil && run.Run.Epoch < known.epoch {
		return
	}
	batch := sequenced{run.Run.Hash, []bucketRange{{run.bucket, run.Offset, run.Offset + run.Run.Rows}}}
	if known != nil && run.Run.Epoch == known.epoch && run.Run.FirstSequence <= known.last {
		at := int64(len(known.window)) - 1 - (known.last - run.Run.FirstSequence)
		if at >= 0 && !slices.Contains(known.window[at].ranges, batch.ranges[0]) {
			known.window[at].ranges = append(known.window[at].ranges, batch.ranges[0])
		}
		return
	}
	state := p.advance(name, run.Run.Epoch, run.Run.FirstSequence, batch)
	state.seen = max(state.seen, run.Run.Time)
}

// producersRecord is the content of a table's file producers.json: the producers as they were when
// every bucket had the rows below Offsets.
type producersRecord struct {
	Format    int              `json:"format"`
	Offsets   model.Offsets    `json:"offsets"`
	Producers []producerRecord `json:"producers"`
	taken     int64            // its place among the snapshots of this process
}

type producerRecord struct {
	Name  string `json:"name"`
	Epoch int64  `json:"epoch"`
	Last  int64  `json:"last"`
	Seen  int64  `json:"seen"`
	// Previous describes the newest batch of the epoch before; nil if there is none.
	Previous *previousRecord `json:"previous,omitempty"`
	// Window holds for each batch its hash, as text, and bucket, from, to of each range.
	Window []sequencedRecord `json:"window"`
}

type previousRecord struct {
	Epoch  int64      `json:"epoch"`
	Last   int64      `json:"last"`
	Ranges [][3]int64 `json:"ranges"`
}

type sequencedRecord struct {
	Hash   uint64     `json:"hash,string"`
	Ranges [][3]int64 `json:"ranges"`
}

// snapshot gives the state as it is to be written, or nil where it is not in use. The caller makes
// sure that no batch is half applied: it is the committer.
func (p *producers) snapshot(offsets model.Offsets) *producersRecord {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.loaded {
		return nil
	}
	p.taken++
	record := &producersRecord{Format: catalogFormat, Offsets: offsets, taken: p.taken}
	for _, name := range slices.Sorted(maps.Keys(p.byName)) {
		state := p.byName[name]
		entry := producerRecord{Name: name, Epoch: state.epoch, Last: state.last, Seen: state.seen}
		window := state.window[max(0, len(state.window)-producerWindow):]
		entry.Window = make([]sequencedRecord, len(window))
		for i, batch := range window {
			entry.Window[i] = sequencedRecord{Hash: batch.hash, Ranges: rangesRecord(batch.ranges)}
		}
		if state.previousLast >= 0 {
			entry.Previous = &previousRecord{state.previousEpoch, state.previousLast, rangesRecord(state.previousOffsets)}
		}
		record.Producers = append(record.Producers, entry)
	}
	return record
}

// write replaces the file by a snapshot, unless that has a later one: the rows behind an older one may be gone, with
// the partition that they were in.
func (p *producers) write(snapshot *producersRecord) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	if snapshot.taken < p.written {
		return nil
	}
	if err := writeCatalogFile(p.table.engine.options.FS, p.table.dir(), producersFile, snapshot); err != nil {
		return err
	}
	p.written = snapshot.taken
	return nil
}

func rangesRecord(ranges []bucketRange) [][3]int64 {
	record := make([][3]int64, len(ranges))
	for i, r := range ranges {
		record[i] = [3]int64{int64(r.bucket), r.from, r.to}
	}
	return record
}

func rangesOf(record [][3]int64) []bucketRange {
	ranges := make([]bucketRange, len(record))
	for i, r := range record {
		ranges[i] = bucketRange{int32(r[0]), r[1], r[2]}
	}
	return ranges
}

// readSnapshot reads the newest snapshot; none is an empty one.
func (p *producers) readSnapshot() (model.Offsets, error) {
	p.byName = map[string]*producer{}
	var record producersRecord
	err := readCatalogFile(p.table.engine.options.FS, p.table.dir()+"/"+producersFile, &record)
	if errors.Is(err, fs.ErrNotExist) {
		return model.Offsets{}, nil
	}
	if err != nil {
		return nil, err
	}
	for _, entry := range record.Producers {
		state := &producer{epoch: entry.Epoch, last: entry.Last, seen: entry.Seen, previousLast: -1}
		for _, batch := range entry.Window {
			state.window = append(state.window, sequenced{batch.Hash, rangesOf(batch.Ranges)})
		}
		if previous := entry.Previous; previous != nil {
			state.previousEpoch, state.previousLast, state.previousOffsets = previous.Epoch, previous.Last, rangesOf(previous.Ranges)
		}
		p.byName[entry.Name] = state
	}
	return record.Offsets, nil
}

// OpenProducer tells the state of a producer of a table; bump opens a new epoch, which fences every
// older one and begins at sequence 0. A producer that is not known gets epoch 1.
func (e *Engine) OpenProducer(ctx context.Context, name model.TableName, producer string, bump bool) (ProducerState, error) {
	if err := checkSequence(Sequence{Producer: producer}); err != nil {
		return ProducerState{}, err
	}
	t, err := e.table(name)
	if err != nil {
		return ProducerState{}, err
	}
	if err := t.producers.load(); err != nil {
		return ProducerState{}, err
	}
	r := &request{table: t, level: t.level(), epoch: &epochOpening{producer: producer, bump: bump}}
	pending, err := e.submit(ctx, r)
	if err != nil {
		return ProducerState{}, err
	}
	select {
	case <-pending.Done():
		_, err := pending.Ack()
		return r.epoch.state, err
	case <-ctx.Done():
		return ProducerState{}, ctx.Err()
	}
}

// openEpoch writes the opening of an epoch into the log, as a run without rows.
func (r *request) openEpoch(g *group) error {
	p := &r.table.producers
	p.mu.Lock()
	before := p.byName[r.epoch.producer]
	p.mu.Unlock()
	if before == nil || r.epoch.bump {
		epoch := int64(1)
		if before != nil {
			epoch = before.epoch + 1
		}
		b, err := r.table.bucket(model.HomeBucket)
		if err != nil {
			return err
		}
		g.touch(b)
		b.Append(arrowipc.NewBuilder(r.table.schema.Load().log).Finish(), []streams.Run{{
			Time: max(g.time, b.LastTime()), Producer: r.epoch.producer, Epoch: epoch, FirstSequence: -1, LastSequence: -1,
		}})
		opening := &request{table: r.table, sequence: &Sequence{r.epoch.producer, epoch, -1}}
		g.undo = append(g.undo, p.note(opening))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	r.epoch.state = p.byName[r.epoch.producer].state(r.epoch.producer)
	return nil
}

// Producers gives the state of every producer of a table, sorted by name.
func (e *Engine) Producers(name model.TableName) ([]ProducerState, error) {
	t, err := e.table(name)
	if err != nil {
		return nil, err
	}
	if err := t.producers.load(); err != nil {
		return nil, err
	}
	t.producers.mu.Lock()
	defer t.producers.mu.Unlock()
	states := make([]ProducerState, 0, len(t.producers.byName))
	for _, producer := range slices.Sorted(maps.Keys(t.producers.byName)) {
		states = append(states, t.producers.byName[producer].state(producer))
	}
	return states, nil
}

func (p *producer) state(name string) ProducerState {
	state := ProducerState{
		Producer: name, Epoch: p.epoch, NextSequence: p.last + 1,
		LastEpoch: p.epoch, LastSequence: p.last,
	}
	switch {
	case len(p.window) > 0:
		state.LastOffsets = offsetsOf(p.window[len(p.window)-1].ranges)
	case p.previousLast >= 0:
		state.LastEpoch, state.LastSequence = p.previousEpoch, p.previousLast
		state.LastOffsets = offsetsOf(p.previousOffsets)
	}
	return state
}
