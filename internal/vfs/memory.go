package vfs

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// NewMemory gives that many bytes outside of Go's heap, all 0, which take memory only where they are touched; in huge
// pages, where the system has them. release gives them back.
func NewMemory(size int64) (memory []byte, release func(), err error) {
	memory, err = unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, nil, fmt.Errorf("reserving %d bytes of memory: %w", size, err)
	}
	adviseHugePages(memory)
	return memory, func() { _ = unix.Munmap(memory) }, nil
}
