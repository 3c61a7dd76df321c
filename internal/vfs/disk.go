package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

const (
	fileMode   fs.FileMode = 0o600
	folderMode fs.FileMode = 0o700
)

// Disk is the FS of a folder of the machine. No path leaves the folder, symbolic links included.
type Disk struct {
	root *os.Root
	// folder is the root folder, open for system calls that mean its whole file system.
	folder *os.File
	// populates says that the kernel can bring mapped pages into memory on request.
	populates bool
}

// NewDisk opens the folder root, which is made with mode 0700 if it is missing.
func NewDisk(root string) (*Disk, error) {
	if err := os.MkdirAll(root, folderMode); err != nil {
		return nil, fmt.Errorf("making the folder %s: %w", root, err)
	}
	opened, err := os.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("opening the folder %s: %w", root, err)
	}
	folder, err := opened.Open(".")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the folder %s: %w", root, err), opened.Close())
	}
	return &Disk{root: opened, folder: folder, populates: canPopulate()}, nil
}

// Close gives the root folder back. Files and mappings that are open stay usable.
func (d *Disk) Close() error { return errors.Join(d.folder.Close(), d.root.Close()) }

// Create implements FS.
func (d *Disk) Create(path string) (File, error) {
	return d.open("create", path, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

// Open implements FS.
func (d *Disk) Open(path string) (File, error) { return d.open("open", path, os.O_RDWR) }

func (d *Disk) open(call, path string, flags int) (File, error) {
	if err := checkPath(call, path); err != nil {
		return nil, err
	}
	file, err := d.root.OpenFile(path, flags, fileMode)
	if err != nil {
		return nil, pathError(call, path, err)
	}
	conn, err := file.SyscallConn()
	if err != nil {
		return nil, pathError(call, path, errors.Join(err, file.Close()))
	}
	return &diskFile{file: file, conn: conn, path: path, populates: d.populates}, nil
}

// Rename implements FS.
func (d *Disk) Rename(from, to string) error {
	if err := errors.Join(checkPath("rename", from), checkPath("rename", to)); err != nil {
		return err
	}
	if err := d.root.Rename(from, to); err != nil {
		if inner, ok := errors.AsType[*os.LinkError](err); ok {
			err = inner.Err
		}
		return pathError("rename", from, fmt.Errorf("to %s: %w", to, err))
	}
	return nil
}

// Remove implements FS.
func (d *Disk) Remove(path string) error {
	if err := checkPath("remove", path); err != nil {
		return err
	}
	return pathError("remove", path, d.root.Remove(path))
}

// RemoveAll implements FS.
func (d *Disk) RemoveAll(path string) error {
	if err := checkPath("remove all", path); err != nil {
		return err
	}
	return pathError("remove all", path, d.root.RemoveAll(path))
}

// MkdirAll implements FS.
func (d *Disk) MkdirAll(path string) error {
	if err := checkPath("mkdir", path); err != nil {
		return err
	}
	return pathError("mkdir", path, d.root.MkdirAll(path, folderMode))
}

// List implements FS.
func (d *Disk) List(dir string) ([]string, error) {
	if err := checkPath("list", dir); err != nil {
		return nil, err
	}
	folder, err := d.root.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, pathError("list", dir, err)
	}
	names, err := folder.Readdirnames(-1)
	if err := errors.Join(err, folder.Close()); err != nil {
		return nil, pathError("list", dir, err)
	}
	slices.Sort(names)
	return names, nil
}

// Stat implements FS.
func (d *Disk) Stat(path string) (Info, error) {
	if err := checkPath("stat", path); err != nil {
		return Info{}, err
	}
	info, err := d.root.Stat(path)
	if err != nil {
		return Info{}, pathError("stat", path, err)
	}
	return Info{Size: info.Size(), IsDir: info.IsDir(), Modified: info.ModTime()}, nil
}

// SyncDir implements FS.
func (d *Disk) SyncDir(dir string) error {
	if err := checkPath("sync folder", dir); err != nil {
		return err
	}
	folder, err := d.root.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return pathError("sync folder", dir, err)
	}
	return pathError("sync folder", dir, errors.Join(folder.Sync(), folder.Close()))
}

// SyncAll implements FS.
func (d *Disk) SyncAll() error { return pathError("sync all", ".", syncFileSystem(d.folder)) }

// Lock implements FS. The file at path is made if it is missing, and stays behind.
func (d *Disk) Lock(path string) (io.Closer, error) {
	if err := checkPath("lock", path); err != nil {
		return nil, err
	}
	file, err := d.root.OpenFile(path, os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, pathError("lock", path, err)
	}
	err = uninterrupted(func() error { return unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("%w: %w", ErrLocked, err)
	}
	if err != nil {
		return nil, pathError("lock", path, errors.Join(err, file.Close()))
	}
	return file, nil
}

// Space implements FS.
func (d *Disk) Space() (free, total int64, err error) {
	var stat unix.Statfs_t
	err = uninterrupted(func() error { return unix.Fstatfs(int(d.folder.Fd()), &stat) })
	if err != nil {
		return 0, 0, pathError("space", ".", err)
	}
	block := int64(stat.Bsize)
	return int64(stat.Bavail) * block, int64(stat.Blocks) * block, nil
}

// uninterrupted repeats a system call that a signal has cut short.
func uninterrupted(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
