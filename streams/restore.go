package streams

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/headrace/headrace/internal/vfs"
)

// Piece is a part of a segment that somebody has kept elsewhere too.
type Piece struct {
	// SegmentID is the UUID of the segment that the bytes were written to.
	SegmentID [16]byte
	// Position is where they stand in the file.
	Position int64
	Bytes    []byte
}

// Restore writes pieces of a segment where its file does not hold them, and gives the number of those
// that it wrote. It does not sync. Where the file has another UUID, since it was rewritten or retired
// meanwhile, where it is missing, or where its schema message is damaged, nothing is written: that is
// no error. It may be called again with the same pieces, but not once the bucket is open.
func Restore(files vfs.FS, name SegmentName, pieces []Piece) (restored int, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("restore segment %s: %w", name.Path(), err)
		}
	}()
	w, err := openWindow(files, name.Path())
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	head, err := readSegmentHead(w.bytes)
	if failed := asReadError(err); failed != nil {
		return 0, failed
	}
	if err != nil || head.name() != name {
		return 0, nil
	}
	var buffer []byte
	for _, p := range pieces {
		if p.SegmentID != head.id || p.Position < head.size {
			continue
		}
		if len(buffer) < len(p.Bytes) {
			buffer = make([]byte, len(p.Bytes))
		}
		n, err := w.file.ReadAt(buffer[:len(p.Bytes)], p.Position)
		if err != nil && err != io.EOF {
			return restored, err
		}
		if bytes.Equal(buffer[:n], p.Bytes) {
			continue
		}
		if err := w.file.WriteAt([][]byte{p.Bytes}, p.Position); err != nil {
			return restored, err
		}
		restored++
	}
	return restored, nil
}
