package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
)

// memFile is an open handle of a file of a Mem.
type memFile struct {
	fs     *Mem
	node   *memNode
	path   string
	closed bool // guarded by fs.mu
}

// locked runs work on the file unless the handle is closed.
func (f *memFile) locked(call string, work func() error) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return pathError(call, f.path, fs.ErrClosed)
	}
	return pathError(call, f.path, work())
}

func (f *memFile) ReadAt(into []byte, position int64) (int, error) {
	n := 0
	err := f.locked("read", func() error {
		if position < 0 {
			return fmt.Errorf("position is %d, want at least 0", position)
		}
		if position < f.node.size {
			n = copy(into, f.node.storage.bytes[position:f.node.size])
		}
		return nil
	})
	if err == nil && n < len(into) {
		err = io.EOF
	}
	return n, err
}

func (f *memFile) WriteAt(parts [][]byte, position int64) error {
	return f.locked("write", func() error {
		if position < 0 {
			return fmt.Errorf("position is %d, want at least 0", position)
		}
		bytes := slices.Concat(parts...)
		if len(bytes) == 0 {
			return nil
		}
		fits := f.fs.charge(f.node, max(f.node.size, f.node.reserved, position+int64(len(bytes))))
		if full := position+int64(len(bytes)) > fits; full {
			// As a real disk may, the write stops in the middle.
			bytes = bytes[:max(0, fits-position)]
			if len(bytes) > 0 {
				f.change(&memOp{kind: opWrite, position: position, bytes: bytes})
			}
			return ErrDiskFull
		}
		f.change(&memOp{kind: opWrite, position: position, bytes: bytes})
		return nil
	})
}

// change does op for callers and notes it as pending. fs.mu is held.
func (f *memFile) change(op *memOp) {
	f.fs.sequence++
	op.sequence, op.node = f.fs.sequence, f.node
	if op.kind == opWrite {
		f.node.write(op.bytes, op.position)
	} else {
		f.node.resize(op.position)
	}
	f.node.modified = f.fs.time()
	f.node.pending = append(f.node.pending, op)
	f.fs.dirty[f.node] = struct{}{}
}

func (f *memFile) Sync() error {
	return f.locked("sync", func() error {
		f.node.makeDurable()
		delete(f.fs.dirty, f.node)
		return nil
	})
}

func (f *memFile) Allocate(size int64) error {
	return f.locked("allocate", func() error {
		if f.fs.charge(f.node, max(f.node.size, f.node.reserved, size)) < size {
			f.fs.charge(f.node, max(f.node.size, f.node.reserved))
			return ErrDiskFull
		}
		f.node.reserved = max(f.node.reserved, size)
		return nil
	})
}

func (f *memFile) Truncate(size int64) error {
	return f.locked("truncate", func() error {
		if size < 0 {
			return fmt.Errorf("size is %d, want at least 0", size)
		}
		if size > f.node.size && f.fs.charge(f.node, size) < size {
			f.fs.charge(f.node, max(f.node.size, f.node.reserved))
			return ErrDiskFull
		}
		f.node.reserved = 0
		if size != f.node.size {
			f.change(&memOp{kind: opResize, position: size})
		}
		f.fs.charge(f.node, size)
		return nil
	})
}

func (f *memFile) Size() (int64, error) {
	var size int64
	err := f.locked("size", func() error {
		size = f.node.size
		return nil
	})
	return size, err
}

func (f *memFile) Close() error {
	return f.locked("close", func() error {
		f.closed = true
		f.node.handles--
		f.fs.freeUnused(f.node)
		return nil
	})
}

func (f *memFile) Map(length int64) (*Mapping, error) {
	var mapping *Mapping
	err := f.locked("map", func() error {
		if length <= 0 || int64(int(length)) != length {
			return fmt.Errorf("length is %d, want at least 1", length)
		}
		mapping = f.fs.mapNode(f.node, f.path, length)
		return nil
	})
	return mapping, err
}

// mapNode maps a file. mu is held.
func (m *Mem) mapNode(node *memNode, path string, length int64) *Mapping {
	node.ensure(length)
	storage := node.storage
	storage.mappings++
	node.mappings++
	populate := func(position, length int64) error {
		m.mu.Lock()
		defer m.mu.Unlock()
		err := checkRange(position, length, len(storage.bytes))
		if page := int64(os.Getpagesize()); err == nil && position+length > (node.size+page-1)/page*page {
			err = errors.New("beyond the end of the file")
		}
		return unreadable(path, position, length, err)
	}
	var once sync.Once
	unmap := func() {
		once.Do(func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			node.mappings--
			if storage.mappings--; storage.mappings == 0 {
				node.mirrors = slices.DeleteFunc(node.mirrors, func(s *memStorage) bool { return s == storage })
			}
			m.freeUnused(node)
		})
	}
	return NewMapping(storage.bytes[:length:length], populate, unmap)
}

// charge makes the file hold size bytes of the disk, or as many as there are, and gives how many it
// holds. mu is held, here and below.
func (m *Mem) charge(node *memNode, size int64) int64 {
	if m.capacity > 0 && size > node.charged {
		size = min(size, max(node.charged, m.capacity-m.used+node.charged))
	}
	m.used += size - node.charged
	node.charged = size
	return size
}

// freeUnused gives back the space of a file that nobody can reach any more.
func (m *Mem) freeUnused(node *memNode) {
	if !node.named && node.handles == 0 && node.mappings == 0 {
		m.used -= node.charged
		node.charged = 0
	}
}

// loseUnsynced does to the file what a failed sync may do: what was pending is never written, and a
// later Sync that succeeds does not change that. Callers go on seeing it until a power cut.
func (f *memFile) loseUnsynced() {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.node.pending = nil
	delete(f.fs.dirty, f.node)
}

// loseUnsynced does to all files what a failed sync may do to one.
func (m *Mem) loseUnsynced() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for node := range m.dirty {
		node.pending = nil
	}
	clear(m.dirty)
}
