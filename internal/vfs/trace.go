package vfs

import (
	"fmt"
	"io"
	"sync"
)

// Trace is an FS that passes every call on to another one and writes down those that change
// something, one line a call in the order in which they returned, for golden lists of durable
// steps:
//
//	create a            write a 0+4096      sync a           allocate a 65536    truncate a 100
//	rename a b          remove a            removeall a      mkdir a/b           syncdir a
//	syncall             lock a              unlock a         close a
//
// "write a 0+4096" are 4096 bytes from position 0. A call that failed has " failed" behind it. It is
// safe for concurrent use if the other FS is.
type Trace struct {
	fs    FS
	mu    sync.Mutex
	lines []string // guarded by mu
}

// NewTrace gives a Trace over inner.
func NewTrace(inner FS) *Trace { return &Trace{fs: inner} }

// Take gives the lines since the last Take.
func (t *Trace) Take() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := t.lines
	t.lines = nil
	return lines
}

// note writes a line and passes err on.
func (t *Trace) note(err error, format string, args ...any) error {
	line := fmt.Sprintf(format, args...)
	if err != nil {
		line += " failed"
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = append(t.lines, line)
	return err
}

// Create implements FS.
func (t *Trace) Create(path string) (File, error) {
	file, err := t.fs.Create(path)
	if err := t.note(err, "create %s", path); err != nil {
		return nil, err
	}
	return &traceFile{File: file, trace: t, path: path}, nil
}

// Open implements FS.
func (t *Trace) Open(path string) (File, error) {
	file, err := t.fs.Open(path)
	if err != nil {
		return nil, err
	}
	return &traceFile{File: file, trace: t, path: path}, nil
}

// Rename implements FS.
func (t *Trace) Rename(from, to string) error {
	return t.note(t.fs.Rename(from, to), "rename %s %s", from, to)
}

// Remove implements FS.
func (t *Trace) Remove(path string) error { return t.note(t.fs.Remove(path), "remove %s", path) }

// RemoveAll implements FS.
func (t *Trace) RemoveAll(path string) error {
	return t.note(t.fs.RemoveAll(path), "removeall %s", path)
}

// MkdirAll implements FS.
func (t *Trace) MkdirAll(path string) error { return t.note(t.fs.MkdirAll(path), "mkdir %s", path) }

// List implements FS.
func (t *Trace) List(dir string) ([]string, error) { return t.fs.List(dir) }

// Stat implements FS.
func (t *Trace) Stat(path string) (Info, error) { return t.fs.Stat(path) }

// SyncDir implements FS.
func (t *Trace) SyncDir(dir string) error { return t.note(t.fs.SyncDir(dir), "syncdir %s", dir) }

// SyncAll implements FS.
func (t *Trace) SyncAll() error { return t.note(t.fs.SyncAll(), "syncall") }

// Lock implements FS.
func (t *Trace) Lock(path string) (io.Closer, error) {
	lock, err := t.fs.Lock(path)
	if err := t.note(err, "lock %s", path); err != nil {
		return nil, err
	}
	return &traceLock{Closer: lock, trace: t, path: path}, nil
}

// Space implements FS.
func (t *Trace) Space() (free, total int64, err error) { return t.fs.Space() }

func (t *Trace) loseUnsynced() { loseUnsynced(t.fs) }

// traceLock is a lock that a Trace has given out.
type traceLock struct {
	io.Closer
	trace *Trace
	path  string
}

func (l *traceLock) Close() error { return l.trace.note(l.Closer.Close(), "unlock %s", l.path) }

// traceFile is a File of a Trace. Calls that only read are passed on unseen.
type traceFile struct {
	File
	trace *Trace
	path  string
}

func (f *traceFile) WriteAt(parts [][]byte, position int64) error {
	total := 0
	for _, part := range parts {
		total += len(part)
	}
	return f.trace.note(f.File.WriteAt(parts, position), "write %s %d+%d", f.path, position, total)
}

func (f *traceFile) Sync() error { return f.trace.note(f.File.Sync(), "sync %s", f.path) }

func (f *traceFile) Allocate(size int64) error {
	return f.trace.note(f.File.Allocate(size), "allocate %s %d", f.path, size)
}

func (f *traceFile) Truncate(size int64) error {
	return f.trace.note(f.File.Truncate(size), "truncate %s %d", f.path, size)
}

func (f *traceFile) Close() error { return f.trace.note(f.File.Close(), "close %s", f.path) }

func (f *traceFile) loseUnsynced() { loseUnsynced(f.File) }
