package pkstore

import (
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
)

// failure is the one cause that a store has failed for.
type failure struct {
	failed chan struct{}
	log    *slog.Logger

	guard sync.Mutex // guards err
	err   error
}

func (f *failure) init(log *slog.Logger) { f.failed, f.log = make(chan struct{}), log }

// fail keeps the first cause.
func (f *failure) fail(err error) {
	f.guard.Lock()
	defer f.guard.Unlock()
	if f.err != nil {
		return
	}
	f.err = fmt.Errorf("the cold store has failed, its rows are safe in what it had synced: %w", err)
	f.log.Error("the cold store has failed", "cause", err)
	close(f.failed)
}

func (f *failure) cause() error {
	f.guard.Lock()
	defer f.guard.Unlock()
	return f.err
}

// FatalCatcher stands between Badger and the end of the process. Badger calls log.Fatal where it finds
// something that cannot be: most of all when a file cannot be written, or a folder has gone. The
// catcher is an output of the package log: it recognises such a call by the stack, fails all stores
// that were opened with it, and ends the goroutine instead of the process. Everything else passes.
//
// What is caught besides, without it: panics in calls of Cold and ColdSnapshot, faults of their reads
// of mapped files, and files that cannot be flushed, which Badger tries again for ever. Room and folder
// are looked for before each commit, and the indexes of tables are verified before the store opens.
//
// What cannot be caught is what kills a goroutine of Badger's own: a panic there (a table that cannot be
// opened while compaction runs, an iterator over a damaged block), and a fault when it writes to a
// mapped file (SIGBUS, where another program takes the last of the disk between our look and the write).
// The process then ends as by kill -9, which loses nothing that was acknowledged.
type FatalCatcher struct {
	next io.Writer

	guard  sync.Mutex // guards stores
	stores map[*failure]struct{}
}

// CatchFatal puts a catcher before the output of the package log. One is enough for a process. The
// caller calls Restore when the stores are closed.
func CatchFatal() *FatalCatcher {
	f := &FatalCatcher{next: log.Writer(), stores: map[*failure]struct{}{}}
	log.SetOutput(f)
	return f
}

// Restore takes the catcher away, unless another output was set since.
func (f *FatalCatcher) Restore() {
	if log.Writer() == io.Writer(f) {
		log.SetOutput(f.next)
	}
}

func (f *FatalCatcher) add(store *failure) {
	f.guard.Lock()
	defer f.guard.Unlock()
	f.stores[store] = struct{}{}
}

func (f *FatalCatcher) remove(store *failure) {
	f.guard.Lock()
	defer f.guard.Unlock()
	delete(f.stores, store)
}

// fatalPanic is what a caught log.Fatal becomes in a goroutine that protect watches.
type fatalPanic struct{ text string }

// Write implements io.Writer for the package log.
func (f *FatalCatcher) Write(line []byte) (int, error) {
	fatal, protected := fatalCall()
	if !fatal {
		return f.next.Write(line)
	}
	text := strings.TrimSpace(string(line))
	f.guard.Lock()
	for store := range f.stores {
		store.fail(errors.New(text))
	}
	f.guard.Unlock()
	if protected {
		panic(fatalPanic{text})
	}
	runtime.Goexit() // releases the locks that are released by defer, that of the package log too
	return 0, nil
}

// fatalStackMax is how many frames are looked at.
const fatalStackMax = 64

// fatalCall says whether Badger has called log.Fatal, and whether protect is above it.
func fatalCall() (fatal, protected bool) {
	var counters [fatalStackMax]uintptr
	frames := runtime.CallersFrames(counters[:runtime.Callers(2, counters[:])])
	ending, badger := false, false
	for {
		frame, more := frames.Next()
		switch {
		case strings.HasPrefix(frame.Function, "log.Fatal"):
			ending = true
		case strings.HasPrefix(frame.Function, "github.com/dgraph-io/"):
			badger = true
		case strings.HasSuffix(frame.Function, "pkstore.(*Cold).protect"):
			protected = true
		}
		if !more {
			return ending && badger, protected
		}
	}
}

// protect runs a call of Badger's, and turns a panic or a fault of mapped memory into the failure of the
// store. Errors say what was done.
func (c *Cold) protect(doing string, call func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		if fatal, ok := r.(fatalPanic); ok {
			c.failure.fail(errors.New(fatal.text))
		} else {
			c.failure.fail(fmt.Errorf("%s: %v\n%s", doing, r, debug.Stack()))
		}
		err = c.failure.cause()
	}()
	if err := call(); err != nil && !errors.Is(err, errColdStop) {
		return fmt.Errorf("cold store: %s: %w", doing, err)
	}
	return nil
}

// coldLogger gives to slog what Badger says. Errors that Badger does not return, and tries to get over by
// trying again for ever, fail the store.
type coldLogger struct {
	log     *slog.Logger
	failure *failure
}

// badgerHopeless are the beginnings of messages behind which nothing goes on.
var badgerHopeless = []string{"error flushing memtable", "writeRequests:"}

// Errorf implements badger.Logger.
func (l *coldLogger) Errorf(format string, args ...any) {
	text := strings.TrimSpace(fmt.Sprintf(format, args...))
	l.log.Error("badger: " + text)
	for _, begin := range badgerHopeless {
		if strings.HasPrefix(format, begin) {
			l.failure.fail(errors.New(text))
		}
	}
}

// Warningf implements badger.Logger.
func (l *coldLogger) Warningf(format string, args ...any) {
	l.log.Warn("badger: " + strings.TrimSpace(fmt.Sprintf(format, args...)))
}

// Infof implements badger.Logger. What Badger finds worth telling is not what an operator does.
func (l *coldLogger) Infof(format string, args ...any) {
	l.log.Debug("badger: " + strings.TrimSpace(fmt.Sprintf(format, args...)))
}

// Debugf implements badger.Logger; it is called for each commit, and says nothing.
func (l *coldLogger) Debugf(string, ...any) {}
