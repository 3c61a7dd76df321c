package vfs

import (
	"errors"
	"io"
	"time"
)

// Errors that callers tell apart. Every implementation puts them into the chain.
var (
	// ErrDiskFull says that a write found no space; nothing can be said about the bytes of that write.
	ErrDiskFull = errors.New("vfs: disk full")
	// ErrLocked says that another process holds the lock.
	ErrLocked = errors.New("vfs: locked by another process")
	// ErrInjected is the error that a Fault returns in place of a real one.
	ErrInjected = errors.New("vfs: injected fault")
	// ErrUnreadable says that mapped bytes could not be brought into memory.
	ErrUnreadable = errors.New("vfs: mapped bytes cannot be read")
)

// File is an open file. ReadAt may be called by several goroutines at once, also while another one
// writes elsewhere in the file. Sync may run while other goroutines are in ReadAt or WriteAt: what
// was written before the Sync began is covered, what is written while it runs may be or may not.
// All other methods are for one goroutine at a time, and Close comes last.
type File interface {
	io.ReaderAt
	io.Closer
	// WriteAt writes the parts one behind the other, from byte position on. On an error, what the
	// file holds from position on is unknown.
	WriteAt(parts [][]byte, position int64) error
	// Sync returns once every byte written before the call, and the length, survive a power cut
	// (fdatasync). It does not make the file's name durable: see FS.SyncDir. After an error the
	// file must be given up: what it holds on disk is unknown.
	Sync() error
	// Allocate reserves space up to size bytes without changing the length (fallocate KEEP_SIZE).
	// It is a hint: where the file system cannot do it, nothing happens. ErrDiskFull is returned.
	Allocate(size int64) error
	// Truncate cuts or extends the file to size bytes; it also gives back what Allocate reserved
	// beyond.
	Truncate(size int64) error
	// Size gives the length in bytes.
	Size() (int64, error)
	// Map maps the first length bytes for reading; length may lie beyond the end of the file, and
	// bytes written later show in the mapping. Touching a page beyond the end of the file ends in
	// a fault. The mapping stays valid after Close and after the file is removed.
	Map(length int64) (*Mapping, error)
}

// Info is what FS.Stat knows about a file or folder.
type Info struct {
	Size     int64
	IsDir    bool
	Modified time.Time
}

// FS opens files by slash-separated path below a root folder that it never leaves. Files are made
// with mode 0600, folders with 0700. It is safe for concurrent use.
type FS interface {
	// Create makes an empty file for reading and writing; it fails with fs.ErrExist if there is one.
	Create(path string) (File, error)
	// Open opens an existing file for reading and writing.
	Open(path string) (File, error)
	// Rename gives a file or folder another name, replacing a file that is there.
	Rename(from, to string) error
	// Remove removes a file or an empty folder.
	Remove(path string) error
	// RemoveAll removes path and all below it; a missing path is no error.
	RemoveAll(path string) error
	// MkdirAll makes a folder and those above it.
	MkdirAll(path string) error
	// List gives the names in a folder, sorted.
	List(dir string) ([]string, error)
	// Stat describes a file or folder.
	Stat(path string) (Info, error)
	// SyncDir makes the names in a folder durable: those made, renamed and removed before the call.
	SyncDir(dir string) error
	// SyncAll makes everything durable that was written before the call: bytes and names of every
	// file of the file system (syncfs).
	SyncAll() error
	// Lock takes an exclusive lock, held until the closer is closed or the process ends; ErrLocked
	// if another holds it.
	Lock(path string) (io.Closer, error)
	// Space gives the bytes that are free for this process and the size of the file system.
	Space() (free, total int64, err error)
}
