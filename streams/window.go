package streams

import (
	"errors"
	"fmt"
	"io"

	"github.com/headrace/headrace/internal/vfs"
)

// window reads a file front to back in larger pieces than its reader asks for.
type window struct {
	file vfs.File
	// size is how far the file is read; it may end earlier than the file does.
	size   int64
	start  int64
	buffer []byte
}

// windowBytes is how much is read at once: the heads of a few small batches, or of one large one.
const windowBytes = 16 << 10

// openWindow opens a file for reading up to its end. The caller closes it.
func openWindow(fs vfs.FS, path string) (*window, error) {
	file, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	size, err := file.Size()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &window{file: file, size: size}, nil
}

func (w *window) close() error { return w.file.Close() }

// bytes is a fetch. What it gives is valid until the next call.
func (w *window) bytes(position, n int64) ([]byte, error) {
	if position < 0 || n < 0 || position > w.size-n {
		return nil, errTorn
	}
	if position >= w.start && position+n <= w.start+int64(len(w.buffer)) {
		return w.buffer[position-w.start : position-w.start+n], nil
	}
	length := min(max(n, windowBytes), w.size-position)
	if int64(cap(w.buffer)) < length {
		w.buffer = make([]byte, length)
	}
	w.buffer = w.buffer[:length]
	w.start = position
	if got, err := w.file.ReadAt(w.buffer, position); int64(got) < length {
		w.buffer = w.buffer[:0]
		if err == io.EOF {
			return nil, errTorn // it has become shorter since it was measured
		}
		return nil, &readError{err}
	}
	return w.buffer[:n], nil
}

// ErrUnread is in the chain of an error of the disk, in contrast to one that says that bytes are wrong
// or missing.
var ErrUnread = errors.New("streams: the disk cannot be read")

// readError is an error of the disk.
type readError struct{ cause error }

func (e *readError) Error() string   { return fmt.Sprintf("read: %v", e.cause) }
func (e *readError) Unwrap() []error { return []error{ErrUnread, e.cause} }

// asReadError gives the disk's error in the chain of err, or nil: then bytes are wrong or missing.
func asReadError(err error) error {
	if failed, ok := errors.AsType[*readError](err); ok {
		return failed
	}
	return nil
}
