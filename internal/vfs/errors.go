package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// pathError names the call and the path of a failed call, and puts the sentinels of this package
// into the chain of the errors of the system that mean them.
func pathError(call, path string, err error) error {
	if err == nil {
		return nil
	}
	// What os gives names the call and the path already, the latter sometimes without its folder.
	if inner, ok := errors.AsType[*fs.PathError](err); ok {
		err = inner.Err
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		err = fmt.Errorf("%w: %w", ErrDiskFull, err)
	}
	return &fs.PathError{Op: call, Path: path, Err: err}
}

// checkPath refuses paths that could leave the root or name one file in two ways.
func checkPath(call, path string) error {
	if !fs.ValidPath(path) {
		return &fs.PathError{Op: call, Path: path, Err: fs.ErrInvalid}
	}
	return nil
}
