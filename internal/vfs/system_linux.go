package vfs

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// writeVector writes parts, some of them maybe, and gives how many bytes it wrote.
func writeVector(fd int, parts [][]byte, position int64) (int, error) {
	return unix.Pwritev(fd, parts, position)
}

func syncData(fd int) error { return unix.Fdatasync(fd) }

func syncFileSystem(folder *os.File) error {
	return uninterrupted(func() error { return unix.Syncfs(int(folder.Fd())) })
}

// allocate reserves the bytes between the end of the file and size.
func allocate(fd int, size int64) error {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return err
	}
	if size <= stat.Size {
		return nil
	}
	return unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, stat.Size, size-stat.Size)
}

// canPopulate says whether the kernel knows MADV_POPULATE_READ (Linux 5.14).
func canPopulate() bool {
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return false
	}
	err = unix.Madvise(page, unix.MADV_POPULATE_READ)
	return errors.Join(err, unix.Munmap(page)) == nil
}

// readAheadMin is the length from which on a range is taken for a part of a longer read: the next
// readAhead bytes are read in the background meanwhile, which keeps a disk busy.
const (
	readAheadMin = 256 << 10
	readAhead    = 8 << 20
)

// populatePages has the kernel read the pages of a range of a mapping, and no others that are not
// asked for: its own read-ahead would read all columns of a file of which one is wanted.
func populatePages(mapped []byte, position, length int64) error {
	if length == 0 {
		return nil
	}
	first := position &^ int64(os.Getpagesize()-1) // a mapping begins on a page; so must the call
	pages := mapped[first : position+length]
	ahead := pages
	if length >= readAheadMin {
		ahead = mapped[first:min(position+length+readAhead, int64(len(mapped)))]
	}
	// The first call starts all reads at once, the second one waits. The first is a hint: its failure
	// shows in the second.
	_ = unix.Madvise(ahead, unix.MADV_WILLNEED)
	return uninterrupted(func() error { return unix.Madvise(pages, unix.MADV_POPULATE_READ) })
}

// readNoMore tells the kernel not to read ahead by itself.
func readNoMore(mapped []byte) error { return unix.Madvise(mapped, unix.MADV_RANDOM) }

// adviseHugePages asks for huge pages, which is a hint.
func adviseHugePages(memory []byte) { _ = unix.Madvise(memory, unix.MADV_HUGEPAGE) }
