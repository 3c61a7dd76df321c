package vfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// diskFile is a File of a Disk.
type diskFile struct {
	file *os.File
	// conn keeps the descriptor open while a system call of ours uses it.
	conn      syscall.RawConn
	path      string
	populates bool
}

// call runs system calls on the descriptor.
func (f *diskFile) call(name string, call func(fd int) error) error {
	var failed error
	if err := f.conn.Control(func(fd uintptr) { failed = call(int(fd)) }); err != nil {
		failed = os.ErrClosed // the one reason for which a descriptor is not given out
	}
	return pathError(name, f.path, failed)
}

func (f *diskFile) ReadAt(into []byte, position int64) (int, error) {
	n, err := f.file.ReadAt(into, position)
	if err != nil && err != io.EOF { // io.EOF stays bare, as io.ReaderAt wants it
		err = pathError("read", f.path, err)
	}
	return n, err
}

func (f *diskFile) WriteAt(parts [][]byte, position int64) error {
	if position < 0 {
		return pathError("write", f.path, fmt.Errorf("position is %d, want at least 0", position))
	}
	return f.call("write", func(fd int) error {
		return writeParts(parts, position, func(parts [][]byte, position int64) (n int, err error) {
			err = uninterrupted(func() error {
				n, err = writeVector(fd, parts, position)
				return err
			})
			return n, err
		})
	})
}

func (f *diskFile) Sync() error {
	return f.call("sync", func(fd int) error {
		return uninterrupted(func() error { return syncData(fd) })
	})
}

func (f *diskFile) Allocate(size int64) error {
	return f.call("allocate", func(fd int) error {
		err := uninterrupted(func() error { return allocate(fd, size) })
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
			return nil
		}
		return err
	})
}

func (f *diskFile) Truncate(size int64) error {
	return pathError("truncate", f.path, f.file.Truncate(size))
}

func (f *diskFile) Size() (int64, error) {
	info, err := f.file.Stat()
	if err != nil {
		return 0, pathError("size", f.path, err)
	}
	return info.Size(), nil
}

func (f *diskFile) Close() error { return pathError("close", f.path, f.file.Close()) }

func (f *diskFile) Map(length int64) (*Mapping, error) {
	if length <= 0 || int64(int(length)) != length {
		return nil, pathError("map", f.path, fmt.Errorf("length is %d, want at least 1", length))
	}
	var bytes []byte
	var reader *os.File // a descriptor of the mapping's own; only where the kernel cannot populate
	err := f.call("map", func(fd int) error {
		var err error
		if bytes, err = unix.Mmap(fd, 0, int(length), unix.PROT_READ, unix.MAP_SHARED); err != nil {
			return err
		}
		if f.populates {
			if err := readNoMore(bytes); err != nil {
				return errors.Join(err, unix.Munmap(bytes))
			}
			return nil
		}
		own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return errors.Join(err, unix.Munmap(bytes))
		}
		reader = os.NewFile(uintptr(own), f.path)
		return nil
	})
	if err != nil {
		return nil, err
	}
	populate := func(position, length int64) error {
		if err := checkRange(position, length, len(bytes)); err != nil {
			return unreadable(f.path, position, length, err)
		}
		if reader != nil {
			return unreadable(f.path, position, length, readThrough(reader, position, length))
		}
		return unreadable(f.path, position, length, populatePages(bytes, position, length))
	}
	unmap := func() {
		// Neither call fails on what this function has made itself.
		_ = unix.Munmap(bytes)
		if reader != nil {
			_ = reader.Close()
		}
	}
	return NewMapping(bytes, populate, unmap), nil
}

// checkRange says what is wrong with a range of a mapping of size bytes.
func checkRange(position, length int64, size int) error {
	if position < 0 || length < 0 || position > int64(size)-length {
		return fmt.Errorf("outside of the %d mapped bytes", size)
	}
	return nil
}

func unreadable(path string, position, length int64, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: bytes [%d, %d) of %s: %w", ErrUnreadable, position, position+length, path, err)
}

// readThrough reads a range and forgets it: after that the range is in the page cache, and touching
// it in a mapping no longer waits for the disk.
func readThrough(file *os.File, position, length int64) error {
	buffer := make([]byte, min(length, 256<<10))
	for length > 0 {
		part := buffer[:min(length, int64(len(buffer)))]
		n, err := file.ReadAt(part, position)
		if n < len(part) {
			return err
		}
		position += int64(n)
		length -= int64(n)
	}
	return nil
}
