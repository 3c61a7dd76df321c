//go:build !linux

package vfs

import (
	"os"

	"golang.org/x/sys/unix"
)

func writeVector(fd int, parts [][]byte, position int64) (int, error) {
	return unix.Pwrite(fd, parts[0], position)
}

func syncData(fd int) error { return unix.Fsync(fd) }

// syncFileSystem starts the writing of everything; these systems have no call that waits for it,
// which is why they are for development only.
func syncFileSystem(*os.File) error { return unix.Sync() }

func allocate(int, int64) error { return nil }

func canPopulate() bool { return false }

func populatePages([]byte, int64, int64) error { return unix.ENOSYS }

func readNoMore([]byte) error { return nil }

// adviseHugePages does nothing where the system decides by itself.
func adviseHugePages([]byte) {}
