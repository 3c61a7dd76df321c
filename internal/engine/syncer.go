package engine

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// syncFilesMax is the number of dirty files up to which each is synced on its own; from there on
// one sync of the whole file system is cheaper. That also waits for what others write, such as the megabytes
// that stores of retired rows and the rewriting of segments write at once.
const syncFilesMax = 8

// syncQueue bounds the groups that are written and not yet synced: about a second of them. Their rows
// are in the page cache, so the bound is one of bookkeeping; it is this long so that tables that do
// not wait for the disk go on while a large file is synced.
const syncQueue = 1024

// dirtyBytesMax is how much may be written before it is synced though nobody asked. Many small syncs
// cost a writer next to nothing, as they go on beside it; one of hundreds of megabytes, which
// sealing a segment would need, holds it up for as long as the disk takes.
const dirtyBytesMax = 16 << 20

// flushShare is the part of the commit file that may be filled with bytes that are durable nowhere else,
// before the segments are synced beside what goes on: the less is left to do when a checkpoint has to
// wait for them.
const flushShare = 8

// flushFilesMax is the number of segments up to which that is done one by one. With more of them, all
// are synced at once, and what goes on waits.
const flushFilesMax = 16

// dirty is what was written and not synced.
type dirty struct {
	// files are segments, commits is the commit file with the newest record; nil: it is synced.
	files   map[vfs.File]bool
	commits vfs.File
	dirs    map[string]bool
	sealed  []vfs.File
	// bare says that a group is among it whose bytes are in segments only, bytes how many such rows
	// there are; carried counts those of groups that stand in commit records too.
	bare           bool
	bytes, carried int64
	// sequence is that of the newest group that was written, synced or not.
	sequence int64
	// flushes are the syncs of segments that go on beside the syncer; flushing says that one does.
	flushes  sync.WaitGroup
	flushing atomic.Bool
}

func (d *dirty) add(g *group) {
	for _, file := range g.written.Files {
		d.files[file] = true
	}
	for _, dir := range g.written.Dirs {
		d.dirs[dir] = true
	}
	d.sealed = append(d.sealed, g.written.Sealed...)
	if g.sequence == 0 {
		return
	}
	d.commits, d.sequence = g.commits, g.sequence
	if g.carried {
		for i, x := range g.written.Extents {
			d.carried += x.End - g.written.Tails[i].From
		}
	} else {
		d.bare = true
		d.bytes += g.bytes
	}
}

// runSyncer syncs and publishes what the committer has written, group after group. All groups that
// are waiting share one sync. A sync covers everything that was written before it, also rows of
// tables that did not ask: so what an older commit record names is durable whenever a newer one is,
// in its segment or in the record itself. Where all records carry what they name, the sync is one of
// the commit file alone.
func (e *Engine) runSyncer() {
	d := &dirty{files: map[vfs.File]bool{}, dirs: map[string]bool{}}
	for g := range e.syncs {
		groups := append([]*group{g}, e.waitingGroups()...)
		asked, all := false, false
		for _, g := range groups {
			d.add(g)
			asked = asked || g.sync
			all = all || g.settled != nil
		}
		// Sealed files are synced even if nobody asked: they stay open until then.
		all = all || len(d.sealed) > 0 || d.bytes >= dirtyBytesMax || asked && d.bare ||
			e.flushDue(d) && len(d.files) > flushFilesMax
		if e.failed() == nil {
			e.syncSome(d, asked, all)
		}
		for _, g := range groups {
			e.finish(g)
		}
	}
	d.flushes.Wait()
	for _, file := range d.sealed {
		e.closeQuietly(file)
	}
}

// waitingGroups takes the groups that are written and wait, without waiting for more.
func (e *Engine) waitingGroups() []*group {
	var groups []*group
	for len(groups) < syncQueue {
		select {
		case g, ok := <-e.syncs:
			if !ok {
				return groups
			}
			groups = append(groups, g)
		default:
			return groups
		}
	}
	return groups
}

// syncSome makes durable what was written: all of it in its segments, or what somebody has asked for,
// in commit records that carry it. A failed sync is never tried again: what the files hold is unknown,
// so nothing is written until the server is restarted.
func (e *Engine) syncSome(d *dirty, asked, all bool) {
	began := e.options.Clock.Now()
	var err error
	switch {
	case all:
		err = e.syncAll(d)
	case asked && d.commits != nil:
		err = d.commits.Sync()
	default:
		return
	}
	if err != nil {
		e.fail(fmt.Errorf("sync: %w", err))
		return
	}
	e.counters.syncs.Add(1)
	e.counters.syncMicros.Add(e.options.Clock.Now().Sub(began).Microseconds())
	// Groups that did not ask for a sync may have been written since the last one: they count too.
	e.synced.Store(max(e.synced.Load(), d.sequence))
	d.commits = nil
	if !all && e.flushDue(d) {
		e.flush(d)
	}
}

// syncAll makes everything durable that was written, and closes the segments that have ended.
func (e *Engine) syncAll(d *dirty) error {
	d.flushes.Wait() // nothing is closed that is still being synced
	if err := e.failedError(); err != nil {
		return err
	}
	files := slices.Collect(maps.Keys(d.files))
	if d.commits != nil {
		files = append(files, d.commits)
	}
	if err := e.syncFiles(files, len(d.dirs) > 0); err != nil {
		return err
	}
	for _, file := range d.sealed {
		e.closeQuietly(file)
	}
	clear(d.files)
	clear(d.dirs)
	d.sealed, d.bare, d.bytes, d.carried = d.sealed[:0], false, 0, 0
	return nil
}

func (e *Engine) flushDue(d *dirty) bool { return d.carried >= e.options.CommitBytes/flushShare }

// flush syncs the segments while the syncer goes on with commit records. Nobody waits for it, so
// nothing counts as durable in its segment by it; but the next sync of all has less to do.
func (e *Engine) flush(d *dirty) {
	if !d.flushing.CompareAndSwap(false, true) {
		return
	}
	d.carried = 0
	files := slices.Collect(maps.Keys(d.files))
	d.flushes.Go(func() {
		defer d.flushing.Store(false)
		for _, file := range files {
			if err := file.Sync(); err != nil {
				e.fail(fmt.Errorf("sync: %w", err))
				return
			}
		}
	})
}

// syncFiles syncs files, and where names in folders have changed, everything.
func (e *Engine) syncFiles(files []vfs.File, names bool) error {
	if len(files) > syncFilesMax || names {
		return e.options.FS.SyncAll()
	}
	var wait sync.WaitGroup
	errs := make([]error, len(files))
	for i, file := range files {
		wait.Go(func() { errs[i] = file.Sync() })
	}
	wait.Wait()
	return errors.Join(errs...)
}

// finish publishes and acknowledges what waited for the sync.
func (e *Engine) finish(g *group) {
	if cause := e.failed(); cause != nil {
		for _, r := range g.requests {
			if !r.finished && r.pending.err == nil {
				r.pending.err = cause
			}
		}
	} else {
		e.publish(g, model.Fsync)
	}
	e.complete(g, model.Quorum)
	if g.settled != nil {
		close(g.settled)
	}
}

// publish makes the rows of the tables readable whose level has been reached, wakes their
// followers, and acknowledges the requests that asked for no more.
func (e *Engine) publish(g *group, reached model.Durability) {
	e.publishRows(g, reached)
	e.complete(g, reached)
}

// publishRows makes the rows of a group readable, table by table: of a request, readers of one table see
// all or nothing.
func (e *Engine) publishRows(g *group, reached model.Durability) {
	var done []*table
	for i, b := range g.touched {
		if slices.Contains(done, b.table) {
			continue
		}
		done = append(done, b.table)
		// The level is read once: it may be altered meanwhile.
		if b.table.level() == reached {
			e.publishTable(g, i)
		}
	}
}

// publishTable makes the rows of a table readable whose first bucket in the group is the one at first.
// The state of a primary-key table changes for all of its buckets at once.
func (e *Engine) publishTable(g *group, first int) {
	t := g.touched[first].table
	if t.keyed != nil {
		t.keyed.publishing.Lock()
		defer t.keyed.publishing.Unlock()
	}
	for i := first; i < len(g.touched); i++ {
		b := g.touched[i]
		if b.table != t {
			continue
		}
		b.Publish(g.ends[i])
		if b.keyed == nil {
			continue
		}
		if err := b.publishChanges(g.ends[i]); err != nil && t.err() == nil {
			e.fail(fmt.Errorf("publish changes of bucket %d of table %s: %w", b.number, t.definition.Load().Name, err))
		}
	}
	t.published.Wake()
}

// complete answers the requests of a group whose level has been reached, and those that failed.
func (e *Engine) complete(g *group, reached model.Durability) {
	for _, r := range g.requests {
		if r.finished || r.pending.err == nil && r.level > reached {
			continue
		}
		if r.pending.err == nil {
			r.pending.ack.Durability = max(r.level, model.OS)
			if !r.pending.ack.Duplicate {
				e.counters.rows.Add(r.rows)
				e.counters.bytes.Add(r.bytes)
			}
		}
		for _, part := range r.parts {
			part.batch.Release()
		}
		r.parts = nil // whoever holds the acknowledgement does not hold the rows
		e.budget.Release(r.bytes)
		r.finished = true
		close(r.pending.done)
	}
}
