package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/pkstore"
	"github.com/headrace/headrace/streams"
)

// coldDir is the folder in a table's that holds the rows below the logs of its buckets.
const coldDir = "cold"

// tableCold is the store of a primary-key table's retired rows.
type tableCold struct {
	mu    sync.Mutex
	store pkstore.ColdStore // nil until it is opened; guarded by mu
	// closing ends what is being moved when the table is closed.
	closing context.Context
	cancel  context.CancelFunc
	closed  bool // guarded by mu
}

func newTableCold() *tableCold {
	c := &tableCold{}
	c.closing, c.cancel = context.WithCancel(context.Background())
	return c
}

// errNoRetirement says that rows of primary-key tables stay in their logs.
var errNoRetirement = errors.New("there is no folder for retired rows")

// openCold gives the table's store of retired rows. Where there is none it is made, or nil is given.
func (t *table) openCold(create bool) (pkstore.ColdStore, error) {
	c := t.keyed.cold
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed || c.closing.Err() != nil:
		return nil, pkstore.ErrColdClosed
	case c.store != nil:
		return c.store, nil
	}
	path := join(t.dir(), coldDir)
	if !create {
		if _, err := t.engine.options.FS.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		} else if err != nil {
			return nil, fmt.Errorf("look for retired rows: %w", err)
		}
	}
	// The name of the folder must be durable before anything counts on what is in it.
	if create {
		files := t.engine.options.FS
		if err := errors.Join(files.MkdirAll(path), files.SyncDir(t.dir())); err != nil {
			return nil, fmt.Errorf("make the folder of retired rows: %w", err)
		}
	}
	store, err := t.engine.options.openCold(path)
	if err != nil {
		return nil, fmt.Errorf("open the store of retired rows of table %s: %w", t.definition.Load().Name, err)
	}
	c.store = store
	t.engine.watchCold(store, c.closing)
	return store, nil
}

// closeCold closes the store, if it was opened, and keeps it closed.
func (t *table) closeCold() error {
	c := t.keyed.cold
	c.cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.store == nil {
		return nil
	}
	return c.store.Close()
}

// openCold opens a store in a folder of the data folder.
func (o Options) openCold(path string) (pkstore.ColdStore, error) {
	if o.OpenCold != nil {
		return o.OpenCold(path)
	}
	if o.Folder == "" {
		return nil, errNoRetirement
	}
	return pkstore.OpenCold(pkstore.ColdOptions{
		Dir: filepath.Join(o.Folder, filepath.FromSlash(path)), FS: o.FS, Path: path, Logger: o.Logger, Fatal: o.Fatal,
	})
}

// retires says that rows can be moved below the logs.
func (o Options) retires() bool { return o.OpenCold != nil || o.Folder != "" }

// watchCold ends the serving where a store fails, until it is closed.
func (e *Engine) watchCold(store pkstore.ColdStore, closing context.Context) {
	e.owned.Go(func() {
		select {
		case <-store.Failed():
			e.fail(store.Err())
			e.failedOnce.Do(func() {
				e.cause = store.Err()
				close(e.dead)
			})
		case <-closing.Done():
		}
	})
}

// Failed is closed when the server must end, as a part of it has failed that cannot be mended while it runs.
func (e *Engine) Failed() <-chan struct{} { return e.dead }

// Err is why the server must end; nil as long as Failed is open.
func (e *Engine) Err() error {
	select {
	case <-e.dead:
		return e.cause
	default:
		return nil
	}
}

// CatchFatal keeps the library below the store of retired rows from ending the process: give what it returns to
// the engine, and call Restore when the engine is closed. One is enough for a process.
func CatchFatal() *pkstore.FatalCatcher { return pkstore.CatchFatal() }

// coldBucket names a bucket in the store.
func (b *bucket) coldBucket() pkstore.ColdBucket { return coldBucket(b.number) }

func coldBucket(number int32) pkstore.ColdBucket { return pkstore.ColdBucket{Bucket: uint32(number)} }

// useCold gives the state of a bucket what the store has of it.
func (b *bucket) useCold(store *pkstore.Bucket, cold pkstore.ColdStore) error {
	if cold == nil {
		return nil
	}
	b.retires = true
	return store.UseCold(cold, b.coldBucket())
}

// checkBoundary refuses a log that does not reach down to the retired rows, or whose rows they are ahead of.
func (b *bucket) checkBoundary(cold pkstore.ColdStore) error {
	boundary := int64(0)
	if cold != nil {
		boundary = cold.State(b.coldBucket()).Boundary
	}
	if boundary >= b.historyStart() && boundary <= b.End() {
		return nil
	}
	return model.Errorf(model.Corrupt, "the log has the offsets %d to %d, and the rows below %d are retired", b.historyStart(), b.End(), boundary).
		With("bucket", b.number).WithRemedy("Restore the table's folder from a backup, the folder %s in it included", coldDir)
}

// appendTimes tells when rows of a stored batch were appended; it is asked in the order of the rows.
func appendTimes(s pkstore.Stored) (func(row int32) int64, error) {
	runs, err := s.Keep.(*streams.Stored).Runs()
	if err != nil {
		return nil, err
	}
	at := 0
	return func(row int32) int64 {
		for at < len(runs)-1 && int64(row) >= runs[at].RowStart+runs[at].Rows {
			at++
		}
		return runs[at].Time
	}, nil
}

// liveTimes is appendTimes for live rows, retired ones too.
func liveTimes(live pkstore.Live) (func(row int32) int64, error) {
	if live.Times != nil {
		return func(row int32) int64 { return live.Times[row] }, nil
	}
	return appendTimes(live.Stored)
}
