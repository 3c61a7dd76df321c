package engine

import (
	"errors"
	"fmt"
	"sync"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// syncFilesMax is the number of dirty files up to which each is synced on its own; from there on
// one sync of the whole file system is cheaper.
const syncFilesMax = 2

// syncQueue bounds the groups that are written and not yet synced: about a second of them. Their rows
// are in the page cache, so the bound is one of bookkeeping; it is this long so that tables that do
// not wait for the disk go on while a large file is synced.
const syncQueue = 1024

// dirtyBytesMax is how much may be written before it is synced though nobody asked. Many small syncs
// cost a writer next to nothing, as they go on beside it; one of hundreds of megabytes, which
// sealing a segment would need, holds it up for as long as the disk takes.
const dirtyBytesMax = 16 << 20

// dirty is what was written since the last sync.
type dirty struct {
	files  map[vfs.File]bool
	dirs   map[string]bool
	sealed []vfs.File
	bytes  int64
	// sequence is that of the newest group that was written, synced or not.
	sequence int64
}

func (d *dirty) add(g *group) {
	for _, file := range g.written.Files {
		d.files[file] = true
	}
	for _, dir := range g.written.Dirs {
		d.dirs[dir] = true
	}
	d.sealed = append(d.sealed, g.written.Sealed...)
	d.bytes += g.bytes
	d.sequence = max(d.sequence, g.sequence)
}

// runSyncer syncs and publishes what the committer has written, group after group. All groups that
// are waiting share one sync. A sync covers everything that was written before it, also rows of
// tables that did not ask: so what an older commit record names is durable whenever a newer one is.
func (e *Engine) runSyncer() {
	d := &dirty{files: map[vfs.File]bool{}, dirs: map[string]bool{}}
	for g := range e.syncs {
		groups := append([]*group{g}, e.waitingGroups()...)
		needed := false
		for _, g := range groups {
			d.add(g)
			// Sealed files are synced even if nobody asked: they stay open until then.
			needed = needed || g.sync || len(g.written.Sealed) > 0
		}
		needed = needed || d.bytes >= dirtyBytesMax
		if needed && e.failed() == nil {
			e.sync(d)
		}
		for _, g := range groups {
			e.finish(g)
		}
	}
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

// sync makes everything durable that was written. A failed sync is never tried again: what the
// files hold is unknown, so nothing is written until the server is restarted.
func (e *Engine) sync(d *dirty) {
	began := e.options.Clock.Now()
	if err := e.syncFiles(d); err != nil {
		e.fail(fmt.Errorf("sync: %w", err))
		return
	}
	e.counters.syncs.Add(1)
	e.counters.syncMicros.Add(e.options.Clock.Now().Sub(began).Microseconds())
	// Groups that did not ask for a sync may have been written since the last one: they count too.
	e.synced.Store(max(e.synced.Load(), d.sequence))
	for _, file := range d.sealed {
		e.closeQuietly(file)
	}
	clear(d.files)
	clear(d.dirs)
	d.sealed, d.bytes = d.sealed[:0], 0
}

func (e *Engine) syncFiles(d *dirty) error {
	if len(d.files) > syncFilesMax || len(d.dirs) > 0 {
		return e.options.FS.SyncAll()
	}
	var wait sync.WaitGroup
	errs := make([]error, 0, syncFilesMax)
	var mu sync.Mutex
	for file := range d.files {
		wait.Go(func() {
			if err := file.Sync(); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
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
	for i, b := range g.touched {
		if b.table.level() == reached {
			b.Publish(g.ends[i])
			b.table.published.Wake()
		}
	}
	e.complete(g, reached)
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
