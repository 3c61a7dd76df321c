package engine

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
	"github.com/headrace/headrace/replication"
	"github.com/headrace/headrace/streams"
)

// commit leads a group through the steps between validation, which is behind it, and the sync. The
// order is the contract: a row gets its offset in step 2, is durable after step 3, and is seen and
// acknowledged in step 4, never before.
func (e *Engine) commit(g *group) {
	e.apply(g)                         // 2 offsets and duplicates, into what only the committer sees
	if err := e.write(g); err != nil { // 3 bytes to segments, one record to the commit file
		e.abandon(g, err)
		return
	}
	e.publish(g, model.OS) //              4 for tables that do not wait for the disk
	e.syncs <- g           //              3 sync and 4 for the others: syncer.go
}

// runCommitter takes groups from the queue until the engine is closed.
func (e *Engine) runCommitter() {
	defer close(e.syncs)
	for {
		g, open := e.collect()
		e.lead(g)
		if !open {
			e.mark()
			return
		}
	}
}

// lead commits what was collected. A control request parts it: what was sent before is a group of its
// own, and on its way to the disk, when the control runs.
func (e *Engine) lead(g *group) {
	parted := &group{}
	for _, r := range g.requests {
		if r.control == nil {
			parted.add(r)
			continue
		}
		e.commitAny(parted)
		parted = &group{}
		r.control()
	}
	e.commitAny(parted)
}

func (e *Engine) commitAny(g *group) {
	if len(g.requests) > 0 {
		e.commit(g)
	}
}

// collect waits for a request and takes what else is there, up to the size of a group. Where requests
// come faster than groups, the groups begin at least GroupGap apart, so that small batches are
// stored together; else no request waits.
func (e *Engine) collect() (g *group, open bool) {
	g = &group{}
	var idle <-chan time.Time
	if e.unmarked {
		idle = e.options.Clock.After(e.options.MarkDelay)
	}
	select {
	case r, ok := <-e.queue:
		if !ok {
			return g, false
		}
		g.add(r)
	case <-idle:
		e.mark()
		return g, true
	}
	var gap <-chan time.Time
	now := e.options.Clock.Now()
	wait := e.options.GroupGap - now.Sub(e.groupBegan)
	if e.groupRequests >= busyRequests && wait > 0 && wait <= e.options.GroupGap {
		gap = e.options.Clock.After(wait)
	}
	open = e.fill(g, gap)
	e.groupBegan, e.groupRequests = e.options.Clock.Now(), len(g.requests)
	return g, open
}

// fill takes requests until gap fires, and then what is waiting, up to the size of a group.
func (e *Engine) fill(g *group, gap <-chan time.Time) (open bool) {
	for g.bytes < e.options.GroupBytes && len(g.requests) < groupRequestsMax {
		if gap == nil {
			select {
			case r, ok := <-e.queue:
				if !ok {
					return false
				}
				g.add(r)
				continue
			default:
				return true
			}
		}
		select {
		case r, ok := <-e.queue:
			if !ok {
				return false
			}
			g.add(r)
		case <-gap:
			gap = nil
		}
	}
	return true
}

// busyRequests is the size of a group, in requests, from which on the next one is held back: that
// many came while one was written.
const busyRequests = 4

// groupRequestsMax bounds the bookkeeping of one group.
const groupRequestsMax = 1 << 14

func (g *group) add(r *request) {
	g.requests = append(g.requests, r)
	g.bytes += r.bytes
}

// apply gives each request its place: it decides what is a duplicate and assigns offsets. A request
// that fails leaves nothing behind.
func (e *Engine) apply(g *group) {
	g.time = max(e.options.Clock.Now().UnixMicro(), e.lastTime)
	e.lastTime = g.time
	e.makePartitions(g)
	for _, r := range g.requests {
		if r.table != nil {
			// The level of the table may have been raised since the stream was opened.
			r.level = max(r.level, r.table.level())
		}
		if r.pending.err = e.writable(); r.pending.err == nil {
			r.pending.err = r.apply(g)
		}
		r.refuseRest()
		g.sync = g.sync || r.level >= model.Fsync
	}
}

// refuseRest makes a refused batch the last one of its stream.
func (r *request) refuseRest() {
	if r.pending.err != nil && r.put != nil && r.put.refused == nil {
		r.put.refused = model.Errorf(model.AsError(r.pending.err).Reason, "a batch before it was refused").
			WithRemedy("Send it again behind that one").WithCause(r.pending.err)
	}
}

// apply puts one request into the pending rows of its buckets.
func (r *request) apply(g *group) error {
	if r.table == nil { // a flush
		return nil
	}
	if err := r.table.err(); err != nil {
		return err
	}
	switch {
	case r.epoch != nil:
		return r.openEpoch(g)
	case r.roll != nil:
		g.touch(r.roll)
		r.roll.Append(arrowipc.NewBuilder(r.table.schema.Load().log).Finish(), []streams.Run{{Time: max(g.time, r.roll.LastTime())}})
		return nil
	case r.put.refused != nil:
		return r.put.refused
	}
	if r.sequence != nil {
		done, err := r.table.producers.admit(r)
		if done || err != nil {
			return err
		}
	}
	if err := r.adopt(); err != nil {
		return err
	}
	if err := r.settleParts(); err != nil {
		return err
	}
	place := r.place
	if r.put.keyed != nil {
		place = r.placeChanges
	}
	if err := place(g); err != nil {
		return err
	}
	if r.sequence != nil {
		g.undo = append(g.undo, r.table.producers.note(r))
	}
	return nil
}

// place appends the rows to their buckets and notes their offsets in the acknowledgement.
func (r *request) place(g *group) error {
	buckets := make([]*bucket, len(r.parts))
	for i, part := range r.parts {
		b, err := r.table.bucket(part.bucket)
		if err != nil {
			return err
		}
		buckets[i] = b
	}
	r.pending.ack = Ack{Rows: r.rows, Offsets: make(map[int32]model.Range, 1)}
	if r.rows == 0 && r.sequence != nil {
		return r.placeNothing(g)
	}
	for i, part := range r.parts {
		b, rows := buckets[i], part.batch.Rows
		if rows == 0 {
			part.batch.Release()
			continue
		}
		g.touch(b)
		base := b.Append(part.batch, []streams.Run{r.run(max(g.time, b.LastTime()), rows)})
		covered, seen := r.pending.ack.Offsets[part.bucket]
		if !seen {
			covered.From = base
		}
		r.pending.ack.Offsets[part.bucket] = model.Range{From: covered.From, To: base + rows}
	}
	r.parts = nil
	return nil
}

// placeNothing gives a batch without rows a place in the log, as a run without rows: its number counts,
// and has to be known after a restart.
func (r *request) placeNothing(g *group) error {
	b, err := r.table.bucket(model.HomeBucket)
	if err != nil {
		return err
	}
	g.touch(b)
	base := b.Append(arrowipc.NewBuilder(r.table.schema.Load().log).Finish(), []streams.Run{r.run(max(g.time, b.LastTime()), 0)})
	r.pending.ack.Offsets[b.number] = model.Range{From: base, To: base}
	return nil
}

// run describes rows of the request in the log.
func (r *request) run(micros, rows int64) streams.Run {
	run := streams.Run{Rows: rows, Time: micros}
	if r.sequence != nil {
		run.Producer, run.Epoch, run.Hash = r.sequence.Producer, r.sequence.Epoch, r.hash
		run.FirstSequence, run.LastSequence = r.sequence.Number, r.sequence.Number
	}
	return run
}

// write brings the rows of a group into their segments and records how far they count. The record of
// a small group carries the same bytes: see carry.
func (e *Engine) write(g *group) error {
	if len(g.touched) == 0 {
		return nil
	}
	if err := e.space(g.bytes); err != nil {
		return err
	}
	if err := e.boundFiles(); err != nil {
		return err
	}
	for _, b := range g.touched {
		if err := e.renew(b); err != nil {
			return fmt.Errorf("write to bucket %d of table %s: %w", b.number, b.table.definition.Load().Name, err)
		}
		g.ends = append(g.ends, b.Next())
		written, err := b.Write()
		if err != nil {
			return fmt.Errorf("write to bucket %d of table %s: %w", b.number, b.table.definition.Load().Name, err)
		}
		g.wrote(written)
		e.hold(g, b)
	}
	records := make([]replication.Extent, len(g.written.Extents))
	for i, x := range g.written.Extents {
		records[i] = recordOf(x)
	}
	pieces := e.carry(g)
	if e.commits.Full(len(records), pieces) {
		if err := e.checkpoint(); err != nil {
			return err
		}
		if e.commits.Full(len(records), pieces) { // the disk had no room for a file of the usual size
			pieces = nil
		}
	}
	sequence, err := e.commits.Append(records, pieces, e.synced.Load())
	if err != nil {
		return err
	}
	e.record(g)
	g.sequence, g.carried = sequence, len(pieces) > 0
	g.commits = e.commits.File()
	e.unmarked = true
	e.counters.groups.Add(1)
	return nil
}

// record notes how far the buckets of a group count now. Where a segment was sealed, the state of the
// table's producers is taken down too.
func (e *Engine) record(g *group) {
	at, extents := 0, g.written.Extents
	var sealed []*table
	for _, b := range g.touched {
		id := b.table.definition.Load().ID
		rolled := -1
		for ; at < len(extents) && extents[at].Segment.TableID == id && extents[at].Segment.Bucket == b.number; at++ {
			b.setExtent(extents[at])
			rolled++
		}
		if rolled > 0 {
			e.upkeep.note(b)
			if !slices.Contains(sealed, b.table) {
				sealed = append(sealed, b.table)
			}
		}
	}
	for _, t := range sealed {
		e.upkeep.sealed(t)
	}
}

// space refuses a group for which the disk has no room, before anything is written.
func (e *Engine) space(bytes int64) error {
	free, total, err := e.options.FS.Space()
	if err != nil {
		return fmt.Errorf("measure free space: %w", err)
	}
	reserve := e.options.ReserveBytes
	if reserve == 0 {
		reserve = min(total/50, 512<<20)
	}
	if free < reserve+bytes {
		return fmt.Errorf("%d bytes are free, %d are kept in reserve: %w", free, reserve, vfs.ErrDiskFull)
	}
	return nil
}

// abandon refuses a group that could not be written. A full disk changes nothing, and writes go on
// when there is space; after any other error nothing is written until the server is restarted.
func (e *Engine) abandon(g *group, cause error) {
	refusal := errDiskFull(cause)
	rollback := e.rollback(g)
	if !errors.Is(cause, vfs.ErrDiskFull) || rollback != nil {
		refusal = e.fail(errors.Join(cause, rollback))
	}
	for i := len(g.undo) - 1; i >= 0; i-- {
		g.undo[i]()
	}
	for _, file := range g.written.Sealed {
		e.closeQuietly(file)
	}
	for _, r := range g.requests {
		if r.pending.err == nil {
			r.pending.err = refusal
			r.refuseRest()
		}
	}
	e.complete(g, model.Quorum)
	if g.settled != nil {
		close(g.settled)
	}
}

func errDiskFull(cause error) error {
	return model.Errorf(model.DiskFull, "the disk of the server is full").
		WithRemedy("Free space or drop data; writes go on by themselves then").WithCause(cause)
}

// rollback takes the rows of a group out of the buckets again.
func (e *Engine) rollback(g *group) error {
	var errs []error
	for _, b := range g.touched {
		b.Drop()
		b.table.mu.Lock()
		at, known := b.table.extents[b.number]
		b.table.mu.Unlock()
		if !known {
			at = streams.Extent{Segment: streams.SegmentName{TableID: b.table.definition.Load().ID, Bucket: b.number, Base: -1}}
		}
		if err := b.Rollback(at); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// checkpoint begins the other half of the commit file.
func (e *Engine) checkpoint() error {
	if err := e.settle(); err != nil {
		return err
	}
	return e.commits.Checkpoint(e.extents())
}

// settle returns once everything that was written is durable in its segments. It is for the committer.
func (e *Engine) settle() error {
	g := &group{sync: true, settled: make(chan struct{})}
	e.syncs <- g
	<-g.settled
	return e.writable()
}

// mark makes what is written durable and says so in the commit file, so that damage found later is
// not taken for a torn tail.
func (e *Engine) mark() {
	if !e.unmarked || e.failed() != nil {
		return
	}
	err := e.settle()
	if err == nil && e.commits.Full(0, nil) {
		err = e.commits.Checkpoint(e.extents())
	} else if err == nil {
		if err = e.commits.Mark(e.synced.Load()); err == nil {
			err = e.commits.File().Sync()
		}
	}
	if err != nil && !errors.Is(err, vfs.ErrDiskFull) && e.failed() == nil {
		e.fail(fmt.Errorf("mark the commit file: %w", err))
	}
	e.unmarked = false
}
