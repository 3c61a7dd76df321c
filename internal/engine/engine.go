package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
	"github.com/headrace/headrace/pkstore"
	"github.com/headrace/headrace/replication"
)

// The folders and files of a data folder; each table has a folder of its own below tablesDir.
const (
	lockFile      = "LOCK"
	commitDir     = "commit"
	tablesDir     = "tables"
	trashDir      = "trash"
	databasesFile = "databases.json"
	tableFile     = "table.json"
	producersFile = "producers.json"
)

// requestQueue bounds the requests that wait for the committer. The byte budget bounds their rows;
// this bounds their number, so that a group never waits behind a longer queue.
const requestQueue = 4096

// Engine serves the tables of one data folder. Its methods may be called from several goroutines.
type Engine struct {
	options Options
	lock    io.Closer
	catalog catalog
	plans   plans
	budget  *semaphore.Weighted
	// rowCache has rows that were looked up; nil: none are kept.
	rowCache *pkstore.RowCache
	// compressing bounds the messages that are compressed for readers at the same time.
	compressing *semaphore.Weighted
	streams     atomic.Uint32 // put streams so far: spreads them over buckets

	// queueMu lets closed be set when nobody is in the middle of a send.
	queueMu sync.RWMutex
	queue   chan *request
	closed  bool // guarded by queueMu

	// For the committer alone.
	commits       *replication.CommitFile
	orphans       []replication.Extent // of tables whose definition cannot be read
	groupBegan    time.Time
	groupRequests int    // in the newest group
	lastTime      int64  // append time of the newest group, µs
	unmarked      bool   // something was written since the last mark
	carried       []byte // reused by carry
	holding       []*bucket
	writes        int64 // of buckets

	syncs  chan *group
	synced atomic.Int64 // sequence of the newest group that is durable
	broken atomic.Pointer[model.Error]

	draining  chan struct{} // closed when followers have to end
	drainOnce sync.Once
	// dead is closed when the server must end.
	dead       chan struct{}
	failedOnce sync.Once
	cause      error              // set before dead is closed
	stopped    context.CancelFunc // ends the maintenance
	owned      sync.WaitGroup     // every goroutine of the engine
	upkeep     upkeep
	rewriting  rewriting
	builds     indexBuilds
	counters   counters
	recovery   Recovery
}

// counters count since the start.
type counters struct {
	rows, bytes, groups, syncs, syncMicros, scanned atomic.Int64
}

// Recovery tells what the engine found when it was opened.
type Recovery struct {
	// Tables is the number of tables.
	Tables int
	// GroupsCut is the number of groups that a crash had left incomplete: none was acknowledged at a
	// level that survives it.
	GroupsCut int
	// Findings tell in words what is damaged.
	Findings []string
	// Took is how long it took.
	Took time.Duration
}

// Open locks the data folder, recovers what a crash may have left and begins to serve. The caller
// must Close the engine.
func Open(ctx context.Context, options Options) (*Engine, error) {
	options = options.withDefaults()
	if err := options.validate(); err != nil {
		return nil, err
	}
	e := &Engine{
		options: options, budget: semaphore.NewWeighted(options.IngestBytes),
		compressing: semaphore.NewWeighted(int64(max(1, runtime.NumCPU()/2))),
		queue:       make(chan *request, requestQueue), syncs: make(chan *group, syncQueue), draining: make(chan struct{}),
		dead: make(chan struct{}),
	}
	e.plans.engine = e
	e.rewriting.asked = make(chan struct{}, 1)
	e.builds.slots = make(chan struct{}, indexBuildsMax)
	var err error
	if e.rowCache, err = newRowCache(options.RowCacheBytes); err != nil {
		return nil, fmt.Errorf("making the cache of rows: %w", err)
	}
	lock, err := options.FS.Lock(lockFile)
	if err != nil {
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	e.lock = lock
	began := options.Clock.Now()
	if err := e.recover(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	e.recovery.Took = options.Clock.Now().Sub(began)
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	e.stopped = stop
	e.owned.Go(e.runCommitter)
	e.owned.Go(e.runSyncer)
	e.owned.Go(func() { e.runMaintenance(background) })
	e.owned.Go(func() { e.runRewriting(background) })
	return e, nil
}

// Drain asks readers that follow a table to end, and refuses new puts.
func (e *Engine) Drain() { e.drainOnce.Do(func() { close(e.draining) }) }

// Close drains, makes everything durable, waits for every goroutine and unlocks the data folder.
// Readers must be closed before.
func (e *Engine) Close(context.Context) error {
	e.Drain()
	e.queueMu.Lock()
	already := e.closed
	if !already {
		e.closed = true
		close(e.queue)
	}
	e.queueMu.Unlock()
	if already {
		return nil
	}
	e.stopped()
	e.endBuilds()
	for _, t := range e.catalog.all() {
		if t.keyed != nil {
			t.keyed.cold.cancel()
		}
	}
	e.owned.Wait()
	e.saveIndexes(true)
	errs := []error{e.failedError()}
	for _, t := range e.catalog.all() {
		errs = append(errs, t.close(errClosed()))
	}
	e.plans.close()
	return errors.Join(append(errs, e.commits.Close(), e.lock.Close())...)
}

// fail notes that nothing can be written any more until the server is restarted, and gives the
// error that writers get.
func (e *Engine) fail(cause error) *model.Error {
	refusal := model.Errorf(model.ReadOnly, "the server cannot write since an earlier write failed; reads go on").
		WithRemedy("See the server's log, mend the disk and restart the server").WithCause(cause)
	if e.broken.CompareAndSwap(nil, refusal) {
		e.options.Logger.Error("writes have stopped until restart", "cause", cause)
	}
	return e.broken.Load()
}

// failed is the error that writers get since a write failed, or nil.
func (e *Engine) failed() *model.Error { return e.broken.Load() }

func (e *Engine) failedError() error {
	if broken := e.failed(); broken != nil {
		return broken
	}
	return nil
}

// writable says why nothing can be written, or nil. A server that drains still writes what was sent.
func (e *Engine) writable() error { return e.failedError() }

// Ready says why the server cannot serve, or nil.
func (e *Engine) Ready() error {
	select {
	case <-e.draining:
		return errClosed()
	default:
		return e.failedError()
	}
}

// closeQuietly closes a file whose bytes are durable, or given up; a failure is only worth a line.
func (e *Engine) closeQuietly(file vfs.File) {
	if err := file.Close(); err != nil {
		e.options.Logger.Warn("close file", "error", err)
	}
}

// control runs f in the committer, between two groups, and waits for it.
func (e *Engine) control(ctx context.Context, f func() error) error {
	result := make(chan error, 1)
	if _, err := e.submit(ctx, &request{control: func() { result <- f() }}); err != nil {
		return err
	}
	// The committer runs it in any case: an early return would race with what it does.
	return <-result
}

// Flush returns once all rows that were sent before have reached the level.
func (e *Engine) Flush(ctx context.Context, level model.Durability) error {
	if level == model.Quorum {
		return model.Errorf(model.BadRequest, "level quorum needs a cluster, and this server runs alone").WithRemedy("Ask for fsync")
	}
	pending, err := e.submit(ctx, &request{level: max(level, model.OS)})
	if err != nil {
		return err
	}
	select {
	case <-pending.Done():
		_, err := pending.Ack()
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
