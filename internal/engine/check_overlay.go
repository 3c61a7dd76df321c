package engine

import (
	"io"

	"github.com/headrace/headrace/internal/vfs"
)

// overlay is a file system over one that must not be changed: what is written to its files is seen by
// those who read them through it, and stays in memory. Only WriteAt is taken so.
type overlay struct {
	vfs.FS
	patches map[string][]patch // by path
}

// patch are bytes that a file has in an overlay; a later one of a file lies over an earlier one.
type patch struct {
	position int64
	bytes    []byte
}

func (p patch) end() int64 { return p.position + int64(len(p.bytes)) }

// Open implements vfs.FS.
func (o *overlay) Open(path string) (vfs.File, error) {
	file, err := o.FS.Open(path)
	if err != nil {
		return nil, err
	}
	return &overlayFile{File: file, overlay: o, path: path}, nil
}

// Stat implements vfs.FS.
func (o *overlay) Stat(path string) (vfs.Info, error) {
	info, err := o.FS.Stat(path)
	info.Size = o.size(path, info.Size)
	return info, err
}

// size is that of a file whose own size is given.
func (o *overlay) size(path string, size int64) int64 {
	for _, p := range o.patches[path] {
		size = max(size, p.end())
	}
	return size
}

// overlayFile is a file of an overlay.
type overlayFile struct {
	vfs.File
	overlay *overlay
	path    string
}

// Size implements vfs.File.
func (f *overlayFile) Size() (int64, error) {
	size, err := f.File.Size()
	return f.overlay.size(f.path, size), err
}

// WriteAt implements vfs.File.
func (f *overlayFile) WriteAt(parts [][]byte, position int64) error {
	for _, part := range parts {
		f.overlay.patches[f.path] = append(f.overlay.patches[f.path], patch{position, part})
		position += int64(len(part))
	}
	return nil
}

// ReadAt implements io.ReaderAt.
func (f *overlayFile) ReadAt(into []byte, position int64) (int, error) {
	size, err := f.Size()
	if err != nil {
		return 0, err
	}
	n, err := f.File.ReadAt(into, position)
	if err != nil && err != io.EOF {
		return n, err
	}
	clear(into[n:])
	n = int(max(0, min(int64(len(into)), size-position)))
	for _, p := range f.overlay.patches[f.path] {
		if from, to := max(p.position, position), min(p.end(), position+int64(n)); from < to {
			copy(into[from-position:], p.bytes[from-p.position:to-p.position])
		}
	}
	if n < len(into) {
		return n, io.EOF
	}
	return n, nil
}
