package vfs

import (
	"fmt"
	"io"
	"sync/atomic"
)

// FaultOptions say which calls fail, and how.
type FaultOptions struct {
	// FailAt is the number of the call that fails, counted from 0. Negative: none, which is for
	// counting calls.
	FailAt int64
	// ChangesOnly leaves calls that only read uncounted: ReadAt, Size, Map, Populate, Open, List,
	// Stat and Space. Close is never counted.
	ChangesOnly bool
	// Always fails all calls from FailAt on, as a dead disk does. Default: just one.
	Always bool
	// Err is put into the chain of the error, beside ErrInjected, such as ErrDiskFull. Default: none.
	Err error
}

// Fault is an FS that passes every call on to another one and fails chosen ones. A failed call does
// nothing, with two exceptions: a failed WriteAt leaves about half of its bytes behind, and a failed
// Sync or SyncAll over a Mem makes what was not synced lost at the next power cut even if a later
// Sync succeeds, as on Linux. It is safe for concurrent use if the other FS is.
type Fault struct {
	fs      FS
	options FaultOptions
	calls   atomic.Int64
}

// NewFault gives a Fault over inner.
func NewFault(inner FS, options FaultOptions) *Fault { return &Fault{fs: inner, options: options} }

// Calls tells how many calls have been counted, failed ones included.
func (f *Fault) Calls() int64 { return f.calls.Load() }

// change counts a call that changes the disk and says whether it fails.
func (f *Fault) change(call, path string) error {
	number := f.calls.Add(1) - 1
	at := f.options.FailAt
	if at < 0 || number < at || number > at && !f.options.Always {
		return nil
	}
	if f.options.Err != nil {
		return pathError(call, path, fmt.Errorf("%w: %w", ErrInjected, f.options.Err))
	}
	return pathError(call, path, ErrInjected)
}

// read counts a call that reads the disk and says whether it fails.
func (f *Fault) read(call, path string) error {
	if f.options.ChangesOnly {
		return nil
	}
	return f.change(call, path)
}

// unsyncedLoser is a file or file system that can show what a failed sync does: see Mem.
type unsyncedLoser interface{ loseUnsynced() }

func loseUnsynced(of any) {
	if loser, ok := of.(unsyncedLoser); ok {
		loser.loseUnsynced()
	}
}

// Create implements FS.
func (f *Fault) Create(path string) (File, error) {
	return f.file(path, f.change("create", path), f.fs.Create)
}

// Open implements FS.
func (f *Fault) Open(path string) (File, error) {
	return f.file(path, f.read("open", path), f.fs.Open)
}

func (f *Fault) file(path string, failed error, open func(string) (File, error)) (File, error) {
	if failed != nil {
		return nil, failed
	}
	file, err := open(path)
	if err != nil {
		return nil, err
	}
	return &faultFile{File: file, fault: f, path: path}, nil
}

// Rename implements FS.
func (f *Fault) Rename(from, to string) error {
	if err := f.change("rename", from); err != nil {
		return err
	}
	return f.fs.Rename(from, to)
}

// Remove implements FS.
func (f *Fault) Remove(path string) error {
	if err := f.change("remove", path); err != nil {
		return err
	}
	return f.fs.Remove(path)
}

// RemoveAll implements FS.
func (f *Fault) RemoveAll(path string) error {
	if err := f.change("remove all", path); err != nil {
		return err
	}
	return f.fs.RemoveAll(path)
}

// MkdirAll implements FS.
func (f *Fault) MkdirAll(path string) error {
	if err := f.change("mkdir", path); err != nil {
		return err
	}
	return f.fs.MkdirAll(path)
}

// List implements FS.
func (f *Fault) List(dir string) ([]string, error) {
	if err := f.read("list", dir); err != nil {
		return nil, err
	}
	return f.fs.List(dir)
}

// Stat implements FS.
func (f *Fault) Stat(path string) (Info, error) {
	if err := f.read("stat", path); err != nil {
		return Info{}, err
	}
	return f.fs.Stat(path)
}

// SyncDir implements FS.
func (f *Fault) SyncDir(dir string) error {
	if err := f.change("sync folder", dir); err != nil {
		return err
	}
	return f.fs.SyncDir(dir)
}

// SyncAll implements FS.
func (f *Fault) SyncAll() error {
	if err := f.change("sync all", "."); err != nil {
		loseUnsynced(f.fs)
		return err
	}
	return f.fs.SyncAll()
}

// Lock implements FS.
func (f *Fault) Lock(path string) (io.Closer, error) {
	if err := f.change("lock", path); err != nil {
		return nil, err
	}
	return f.fs.Lock(path)
}

// Space implements FS.
func (f *Fault) Space() (free, total int64, err error) {
	if err := f.read("space", "."); err != nil {
		return 0, 0, err
	}
	return f.fs.Space()
}

// faultFile is a File of a Fault. Close is passed on uncounted.
type faultFile struct {
	File
	fault *Fault
	path  string
}

func (f *faultFile) ReadAt(into []byte, position int64) (int, error) {
	if err := f.fault.read("read", f.path); err != nil {
		return 0, err
	}
	return f.File.ReadAt(into, position)
}

func (f *faultFile) WriteAt(parts [][]byte, position int64) error {
	if err := f.fault.change("write", f.path); err != nil {
		// The call has failed already: what the other FS says about the half changes nothing.
		_ = f.File.WriteAt(firstHalf(parts), position)
		return err
	}
	return f.File.WriteAt(parts, position)
}

// firstHalf gives the first half of the bytes of parts.
func firstHalf(parts [][]byte) [][]byte {
	total := 0
	for _, part := range parts {
		total += len(part)
	}
	var half [][]byte
	for left := total / 2; left > 0; parts = parts[1:] {
		part := parts[0][:min(left, len(parts[0]))]
		half = append(half, part)
		left -= len(part)
	}
	return half
}

func (f *faultFile) Sync() error {
	if err := f.fault.change("sync", f.path); err != nil {
		loseUnsynced(f.File)
		return err
	}
	return f.File.Sync()
}

func (f *faultFile) Allocate(size int64) error {
	if err := f.fault.change("allocate", f.path); err != nil {
		return err
	}
	return f.File.Allocate(size)
}

func (f *faultFile) Truncate(size int64) error {
	if err := f.fault.change("truncate", f.path); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f *faultFile) Size() (int64, error) {
	if err := f.fault.read("size", f.path); err != nil {
		return 0, err
	}
	return f.File.Size()
}

func (f *faultFile) Map(length int64) (*Mapping, error) {
	if err := f.fault.read("map", f.path); err != nil {
		return nil, err
	}
	inner, err := f.File.Map(length)
	if err != nil {
		return nil, err
	}
	populate := func(position, length int64) error {
		if err := f.fault.read("populate", f.path); err != nil {
			return unreadable(f.path, position, length, err)
		}
		return inner.Populate(position, length)
	}
	return NewMapping(inner.Bytes(), populate, inner.Release), nil
}
