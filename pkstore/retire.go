package pkstore

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// Retirement is what Retire does.
type Retirement struct {
	// Before is the offset below which rows are retired. The batch that it lies in stays whole.
	Before int64
	// Times tells when the rows of a batch were appended, in µs since 1970 UTC. It may be called for many rows.
	Times func(s Stored) (func(row int32) int64, error)
	// Durable returns once everything that was published before its call survives a power cut.
	Durable func(context.Context) error
	// Rest is called about once a row and may wait, for the good of others; no lock is held that they need. What it
	// fails with ends the Retire. nil: there are no rests.
	Rest func(context.Context) error
}

const (
	// dropShards is how many shards of the index lose their retired keys while Publish waits: some 50,000 slots,
	// for which it takes about 0.2 ms.
	dropShards = 8
)

var errNoCold = errors.New("there is no store that rows could be moved to")

// Retire moves the live rows below an offset to the store below the log, takes their keys out of the index, and
// forgets the log below. It gives how many rows were moved. Readers and writers go on meanwhile, and are held up for
// a fraction of a millisecond at a time; snapshots that were taken before read what they would have read. Where it
// fails nothing is lost, and it may be called again. At most one call at a time does something; others wait.
func (b *Bucket) Retire(ctx context.Context, r Retirement) (moved int64, err error) {
	if r.Rest == nil {
		r.Rest = func(ctx context.Context) error { return ctx.Err() }
	}
	c := &b.cold
	c.moving.Lock()
	defer c.moving.Unlock()
	if c.store == nil {
		return 0, errNoCold
	}
	snapshot := b.Snapshot()
	state := c.store.State(c.bucket)
	if before := snapshot.log.floor(r.Before); before > max(state.Boundary, snapshot.log.start) {
		// What the snapshot knows to be dead is dead for good once this returns.
		if err := r.Durable(ctx); err != nil {
			return 0, fmt.Errorf("retiring rows: %w", err)
		}
		move := ColdRetire{Bucket: c.bucket, Commit: state.Commit + 1, Boundary: before}
		rows, err := b.newRetiringRows(snapshot, max(state.Boundary, snapshot.log.start), before, r.Times)
		if err != nil {
			return 0, err
		}
		rows.rest = func() error { return r.Rest(ctx) }
		if err := c.store.Retire(ctx, move, rows.all()); err != nil {
			return 0, fmt.Errorf("retiring rows: %w", err)
		}
		moved = rows.moved
	}
	return moved, b.forgetRetired(ctx, r.Rest)
}

// forgetRetired makes the bucket read from the store what that has, and then drops it from index and log. Each
// step leaves a state that is right. moving is held.
func (b *Bucket) forgetRetired(ctx context.Context, rest func(context.Context) error) error {
	state := b.cold.store.State(b.cold.bucket)
	if state.Commit == 0 {
		return nil
	}
	if r := b.retired.Load(); r == nil || r.commit != state.Commit {
		reader, err := b.cold.store.Reader(b.cold.bucket)
		if err != nil {
			return fmt.Errorf("retiring rows: %w", err)
		}
		b.publishing.Lock()
		b.showRetired(reader)
		b.publishing.Unlock()
	}
	if b.log.Load().floor(state.Boundary) <= b.log.Load().start {
		return nil
	}
	hash, more := uint64(0), true
	for more {
		if err := cmp.Or(ctx.Err(), rest(ctx)); err != nil {
			return err
		}
		b.publishing.Lock()
		b.sequence.Add(1)
		hash, more = b.index.dropBelow(hash, state.Boundary, b.log.Load().start, dropShards)
		b.sequence.Add(1)
		b.publishing.Unlock()
	}
	b.publishing.Lock()
	defer b.publishing.Unlock()
	b.sequence.Add(1)
	defer b.sequence.Add(1)
	b.log.Store(b.log.Load().trim(state.Boundary))
	return nil
}

// floor gives the beginning of the batch that an offset lies in, or the end.
func (l *publishedLog) floor(offset int64) int64 {
	if offset >= l.end {
		return l.end
	}
	batch, row := l.locate(offset)
	if batch == nil {
		return l.start
	}
	return offset - int64(row)
}

// trim gives the log without the batches that end at or below an offset. It shares no memory that is written.
func (l *publishedLog) trim(before int64) *publishedLog {
	n := 0
	for n < len(l.batches) && l.bases[n+1] <= before {
		n++
	}
	if n == 0 {
		return l
	}
	short := &publishedLog{
		schema: l.schema,
		start:  l.bases[n], end: l.end,
		bases:   append([]int64(nil), l.bases[n:]...),
		batches: append([]*storedBatch(nil), l.batches[n:]...),
	}
	for i, batch := range short.batches {
		for short.start+int64(len(short.pages))<<pageShift < batch.end() {
			short.pages = append(short.pages, uint32(i))
		}
	}
	return short
}

// retiringRows are the rows that one Retire moves, and the deletions that it has to keep.
type retiringRows struct {
	bucket   *Bucket
	snapshot *Snapshot
	from, to int64
	times    func(s Stored) (func(row int32) int64, error)
	rest     func() error
	hasher   *arrowipc.RowHasher
	encoder  *RowEncoder
	resolver resolver
	key      []byte
	value    []byte
	deleted  []int32
	hashes   []uint64
	shared   *shareHasher
	moved    int64
}

func (b *Bucket) newRetiringRows(s *Snapshot, from, to int64, times func(Stored) (func(int32) int64, error)) (*retiringRows, error) {
	x := &retiringRows{bucket: b, snapshot: s, from: from, to: to, times: times, rest: func() error { return nil }}
	var err error
	o := s.log.schema.options
	if x.hasher, err = arrowipc.NewRowHasher(o.Layout, o.Key); err != nil {
		return nil, err
	}
	if x.shared, err = newShareHasher(o.Layout, o.Key, o.Share); err != nil {
		return nil, err
	}
	x.encoder, err = NewRowEncoder(o.Layout, o.SchemaVersion)
	return x, err
}

// all gives the rows in the order of the log.
func (x *retiringRows) all() iter.Seq2[ColdRow, error] {
	return func(yield func(ColdRow, error) bool) {
		x.moved = 0
		for _, batch := range x.snapshot.log.batches {
			if batch.Base < x.from || batch.Base >= x.to {
				continue
			}
			more, err := x.batch(batch, yield)
			if err != nil {
				yield(ColdRow{}, fmt.Errorf("retiring rows from offset %d on: %w", batch.Base, err))
				return
			}
			if !more {
				return
			}
		}
	}
}

// batch gives the rows of one batch: first the deletions of keys that may have a row in the store.
func (x *retiringRows) batch(batch *storedBatch, yield func(ColdRow, error) bool) (more bool, err error) {
	if err := x.rest(); err != nil {
		return false, err
	}
	if more, err := x.deletions(batch, yield); err != nil || !more {
		return more, err
	}
	rows := x.snapshot.live.appendRows(nil, batch.Base, batch.end())
	if len(rows) == 0 {
		return true, nil
	}
	view, err := batch.whole()
	if err != nil {
		return false, err
	}
	times, err := x.times(batch.Stored)
	if err != nil {
		return false, err
	}
	for _, row := range rows {
		if err := x.rest(); err != nil {
			return false, err
		}
		if err := x.setKey(batch, row); err != nil {
			return false, err
		}
		x.value = binary.LittleEndian.AppendUint64(x.value[:0], uint64(batch.Base+int64(row)))
		x.value = binary.LittleEndian.AppendUint64(x.value, uint64(times(row)))
		if x.value, err = x.encoder.Append(x.value, view, row); err != nil {
			return false, err
		}
		x.moved++
		if !yield(ColdRow{Key: x.key, Value: x.value}, nil) {
			return false, nil
		}
	}
	return true, nil
}

func (x *retiringRows) setKey(batch *storedBatch, row int32) error {
	hash, _ := x.hasher.HashRow(batch.View, row)
	var ok bool
	x.key, ok = x.bucket.cold.appendRetiredKey(x.key[:0], hash, x.snapshot.log.schema.keys, batch.View, row)
	if !ok {
		return model.Errorf(model.Corrupt, "the key at offset %d is null", batch.Base+int64(row))
	}
	return nil
}

// deletions gives those of keys that have no row below the boundary: behind a restart, nothing else would tell
// that an older row in the store is dead.
func (x *retiringRows) deletions(batch *storedBatch, yield func(ColdRow, error) bool) (more bool, err error) {
	b, schema := x.bucket, x.snapshot.log.schema
	x.deleted = x.deleted[:0]
	for row := range int32(batch.View.Rows()) {
		kind := batch.View.Value(schema.change, row)
		if len(kind) == 1 && model.ChangeType(kind[0]) == model.ChangeDelete {
			x.deleted = append(x.deleted, row)
		}
	}
	if len(x.deleted) == 0 {
		return true, nil
	}
	if x.hashes, err = x.hasher.Hash(batch.View.Batch(), x.hashes[:0]); err != nil {
		return false, err
	}
	routes, err := x.shared.of(batch.View, x.hashes)
	if err != nil {
		return false, err
	}
	x.deleted = slices.DeleteFunc(x.deleted, func(row int32) bool { return !x.shared.share.owns(routes[row]) })
	b.glance(&x.resolver, &Keys{View: batch.View, Columns: schema.keys, Hashes: x.hashes, Rows: x.deleted}, nil)
	defer x.resolver.forget()
	for i, row := range x.deleted {
		if f := x.resolver.found[i]; f.batch != nil && f.offset() < x.to {
			continue // it came back, and its row is or was moved
		}
		if err := x.setKey(batch, row); err != nil {
			return false, err
		}
		// The head is for a store that has to remember the deletion.
		x.value = binary.LittleEndian.AppendUint64(x.value[:0], uint64(batch.Base+int64(row)))
		x.value = binary.LittleEndian.AppendUint64(x.value, 0)
		if !yield(ColdRow{Key: x.key, Value: x.value, Deleted: true}, nil) {
			return false, nil
		}
	}
	return true, nil
}

// OffsetKeeping gives the offset at and behind which at most that many rows of the log are live.
func (b *Bucket) OffsetKeeping(rows int64) int64 {
	s := b.Snapshot()
	from, to := s.log.start, s.log.end
	for from < to {
		middle := from + (to-from)/2
		if s.live.countRange(middle, s.log.end) > rows {
			from = middle + 1
		} else {
			to = middle
		}
	}
	return from
}
