package vfs

import (
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Mem is an FS in memory that knows what has been made durable and in what order the rest was
// asked for, so that Crash can give what a power cut would leave. It is safe for concurrent use.
//
// Mappings of a Mem show later writes, as those of a Disk do; bytes of a mapping beyond the end of
// the file read as zeros instead of ending in a fault. Data races between a writer and the reader
// of a mapping of at most 4 MiB are seen by the race detector.
type Mem struct {
	mu   sync.Mutex
	now  func() time.Time
	root *memNode
	// names are the changes of names that are not durable yet, oldest first.
	names []*memOp
	// dirty are the files with writes that are not durable yet.
	dirty map[*memNode]struct{}
	// sequence numbers operations and nodes.
	sequence int64
	capacity int64
	used     int64
	locks    map[string]bool
}

// MemOptions configure a Mem.
type MemOptions struct {
	// Capacity bounds the bytes of all files, reserved ones included; what goes beyond fails with
	// ErrDiskFull. Default: no bound.
	Capacity int64
	// Now gives the time that Info.Modified shows. Default: a time that each operation moves on by
	// a microsecond, from 1970.
	Now func() time.Time
}

// NewMem gives an empty file system.
func NewMem(options MemOptions) *Mem {
	m := &Mem{
		now:      options.Now,
		dirty:    map[*memNode]struct{}{},
		locks:    map[string]bool{},
		capacity: options.Capacity,
	}
	m.root = m.newNode(true)
	return m
}

// SetCapacity changes MemOptions.Capacity; 0 means no bound. Files that are there stay, whatever
// their size.
func (m *Mem) SetCapacity(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.capacity = bytes
}

// Create implements FS.
func (m *Mem) Create(name string) (File, error) {
	return m.openFile("create", name, func() (*memNode, error) { return m.makeFile(name) })
}

// Open implements FS.
func (m *Mem) Open(name string) (File, error) {
	return m.openFile("open", name, func() (*memNode, error) {
		node, err := m.find(name)
		if err == nil && node.isDir {
			return nil, syscall.EISDIR
		}
		return node, err
	})
}

func (m *Mem) openFile(call, name string, get func() (*memNode, error)) (File, error) {
	if err := checkPath(call, name); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	node, err := get()
	if err != nil {
		return nil, pathError(call, name, err)
	}
	node.handles++
	return &memFile{fs: m, node: node, path: name}, nil
}

// makeFile adds an empty file. mu is held, here and below.
func (m *Mem) makeFile(name string) (*memNode, error) {
	parent, base, err := m.parent(name)
	if err != nil {
		return nil, err
	}
	if parent.entries[base] != nil {
		return nil, syscall.EEXIST
	}
	node := m.newNode(false)
	m.changeName(node, memPlace{}, memPlace{parent, base})
	return node, nil
}

// Rename implements FS.
func (m *Mem) Rename(from, to string) error {
	if err := checkPath("rename", from); err != nil {
		return err
	}
	if err := checkPath("rename", to); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return pathError("rename", from, m.rename(from, to))
}

func (m *Mem) rename(from, to string) error {
	fromDir, fromName, err := m.parent(from)
	if err != nil {
		return err
	}
	toDir, toName, err := m.parent(to)
	if err != nil {
		return err
	}
	node, target := fromDir.entries[fromName], toDir.entries[toName]
	switch {
	case node == nil:
		return syscall.ENOENT
	case target != nil && target.isDir:
		return syscall.EEXIST
	case node == target:
		return nil
	case node.isDir && strings.HasPrefix(to, from+"/"):
		return syscall.EINVAL
	case target != nil && node.isDir:
		return syscall.ENOTDIR
	}
	m.changeName(node, memPlace{fromDir, fromName}, memPlace{toDir, toName})
	return nil
}

// Remove implements FS.
func (m *Mem) Remove(name string) error {
	if err := checkPath("remove", name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	parent, base, err := m.parent(name)
	if err != nil {
		return pathError("remove", name, err)
	}
	node := parent.entries[base]
	if node == nil {
		return pathError("remove", name, syscall.ENOENT)
	}
	if len(node.entries) > 0 {
		return pathError("remove", name, syscall.ENOTEMPTY)
	}
	m.changeName(node, memPlace{parent, base}, memPlace{})
	return nil
}

// RemoveAll implements FS. A power cut may leave any part of what was removed.
func (m *Mem) RemoveAll(name string) error {
	if err := checkPath("remove all", name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	parent, base, err := m.parent(name)
	if err == syscall.ENOENT || err == nil && parent.entries[base] == nil {
		return nil
	}
	if err == nil {
		m.removeTree(memPlace{parent, base})
	}
	return pathError("remove all", name, err)
}

func (m *Mem) removeTree(at memPlace) {
	node := at.node()
	for _, name := range slices.Sorted(maps.Keys(node.entries)) {
		m.removeTree(memPlace{node, name})
	}
	m.changeName(node, at, memPlace{})
}

// MkdirAll implements FS.
func (m *Mem) MkdirAll(dir string) error {
	if err := checkPath("mkdir", dir); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	node := m.root
	for _, name := range splitPath(dir) {
		if !node.isDir {
			return pathError("mkdir", dir, syscall.ENOTDIR)
		}
		below := node.entries[name]
		if below == nil {
			below = m.newNode(true)
			m.changeName(below, memPlace{}, memPlace{node, name})
		}
		node = below
	}
	if !node.isDir {
		return pathError("mkdir", dir, syscall.EEXIST)
	}
	return nil
}

// List implements FS.
func (m *Mem) List(dir string) ([]string, error) {
	if err := checkPath("list", dir); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	node, err := m.findDir(dir)
	if err != nil {
		return nil, pathError("list", dir, err)
	}
	return slices.Sorted(maps.Keys(node.entries)), nil
}

// Stat implements FS.
func (m *Mem) Stat(name string) (Info, error) {
	if err := checkPath("stat", name); err != nil {
		return Info{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	node, err := m.find(name)
	if err != nil {
		return Info{}, pathError("stat", name, err)
	}
	return Info{Size: node.size, IsDir: node.isDir, Modified: node.modified}, nil
}

// SyncDir implements FS.
func (m *Mem) SyncDir(dir string) error {
	if err := checkPath("sync folder", dir); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	node, err := m.findDir(dir)
	if err != nil {
		return pathError("sync folder", dir, err)
	}
	m.syncNames(node)
	return nil
}

// SyncAll implements FS.
func (m *Mem) SyncAll() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, op := range m.names {
		op.makeDurable()
	}
	m.names = nil
	for node := range m.dirty {
		node.makeDurable()
	}
	clear(m.dirty)
	return nil
}

// Lock implements FS. The file at path is made if it is missing, and stays behind.
func (m *Mem) Lock(name string) (io.Closer, error) {
	if err := checkPath("lock", name); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locks[name] {
		return nil, pathError("lock", name, ErrLocked)
	}
	if node, err := m.find(name); err == syscall.ENOENT {
		if _, err := m.makeFile(name); err != nil {
			return nil, pathError("lock", name, err)
		}
	} else if err != nil || node.isDir {
		return nil, pathError("lock", name, syscall.EISDIR)
	}
	m.locks[name] = true
	return &memLock{fs: m, path: name}, nil
}

// memLock is a lock that is held.
type memLock struct {
	fs   *Mem
	path string
	once sync.Once
}

func (l *memLock) Close() error {
	l.once.Do(func() {
		l.fs.mu.Lock()
		defer l.fs.mu.Unlock()
		delete(l.fs.locks, l.path)
	})
	return nil
}

// unboundedSpace is what Space gives for a Mem without a capacity.
const unboundedSpace = 1 << 40

// Space implements FS.
func (m *Mem) Space() (free, total int64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	total = m.capacity
	if total == 0 {
		total = unboundedSpace
	}
	return max(0, total-m.used), total, nil
}

func splitPath(name string) []string {
	if name == "." {
		return nil
	}
	return strings.Split(name, "/")
}

func (m *Mem) find(name string) (*memNode, error) {
	node := m.root
	for _, part := range splitPath(name) {
		if !node.isDir {
			return nil, syscall.ENOTDIR
		}
		if node = node.entries[part]; node == nil {
			return nil, syscall.ENOENT
		}
	}
	return node, nil
}

func (m *Mem) findDir(dir string) (*memNode, error) {
	node, err := m.find(dir)
	if err == nil && !node.isDir {
		return nil, syscall.ENOTDIR
	}
	return node, err
}

// parent gives the folder that name is in, and the name within it.
func (m *Mem) parent(name string) (*memNode, string, error) {
	if name == "." {
		return nil, "", syscall.EINVAL
	}
	node, err := m.findDir(path.Dir(name))
	return node, path.Base(name), err
}
