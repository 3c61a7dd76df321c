package vfs

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// memStorage holds the bytes of a file of a Mem. It never moves, so that mappings can show it; a
// file that outgrows its storage gets another one. Bytes behind the end of the file are zero.
type memStorage struct {
	bytes    []byte
	mappings int // guarded by Mem.mu
}

// heapStorageMax is the size up to which storage comes from the heap, where the race detector sees
// it. Larger storage, such as a mapping of a whole segment over a short file, takes memory only
// for the pages that are written.
const heapStorageMax = 4 << 20

func newMemStorage(size int64) *memStorage {
	if size <= heapStorageMax {
		return &memStorage{bytes: make([]byte, size)}
	}
	const protection = unix.PROT_READ | unix.PROT_WRITE
	bytes, err := unix.Mmap(-1, 0, int(size), protection, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return &memStorage{bytes: make([]byte, size)}
	}
	storage := &memStorage{bytes: bytes}
	runtime.AddCleanup(storage, func(bytes []byte) { _ = unix.Munmap(bytes) }, bytes)
	return storage
}

// ensure gives the file storage of at least size bytes. Mem.mu is held, here and below.
func (n *memNode) ensure(size int64) {
	old := n.storage
	if size <= int64(len(old.bytes)) {
		return
	}
	n.storage = newMemStorage(max(size, min(2*int64(len(old.bytes)), size+heapStorageMax)))
	copy(n.storage.bytes, old.bytes[:n.size])
	if old.mappings > 0 {
		n.mirrors = append(n.mirrors, old)
	}
}

// write changes the bytes that callers see, in every storage that a mapping shows.
func (n *memNode) write(bytes []byte, position int64) {
	n.ensure(position + int64(len(bytes)))
	copy(n.storage.bytes[position:], bytes)
	for _, mirror := range n.mirrors {
		if position < int64(len(mirror.bytes)) {
			copy(mirror.bytes[position:], bytes)
		}
	}
	n.size = max(n.size, position+int64(len(bytes)))
}

// resize changes the length that callers see; bytes cut off read as zeros should the file grow
// again.
func (n *memNode) resize(size int64) {
	n.ensure(size)
	for _, storage := range append([]*memStorage{n.storage}, n.mirrors...) {
		if from, to := size, min(n.size, int64(len(storage.bytes))); from < to {
			clear(storage.bytes[from:to])
		}
	}
	n.size = size
}
