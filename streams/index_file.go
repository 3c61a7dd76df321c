package streams

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"

	"github.com/headrace/headrace/internal/vfs"
)

const (
	indexMagic       = "HRX1"
	indexVersion     = 1
	indexHeaderBytes = 64
)

// segmentIndex is the content of an index file: what a scan of a whole segment finds.
type segmentIndex struct {
	id segmentID
	// end is the length of the segment's file.
	end, next int64
	chain     uint32
	entries   []entry
}

// encodeIndex gives the bytes of an index file.
func encodeIndex(x *segmentIndex) []byte {
	out := make([]byte, indexHeaderBytes, indexHeaderBytes+entryBytes*len(x.entries))
	copy(out, indexMagic)
	binary.LittleEndian.PutUint16(out[4:], indexVersion)
	binary.LittleEndian.PutUint32(out[12:], uint32(len(x.entries)))
	copy(out[16:], x.id[:])
	binary.LittleEndian.PutUint64(out[32:], uint64(x.end))
	binary.LittleEndian.PutUint64(out[40:], uint64(x.next))
	binary.LittleEndian.PutUint32(out[48:], x.chain)
	for _, e := range x.entries {
		out = binary.LittleEndian.AppendUint64(out, uint64(e.offset))
		out = binary.LittleEndian.AppendUint64(out, uint64(e.position))
		out = binary.LittleEndian.AppendUint64(out, uint64(e.time))
		out = binary.LittleEndian.AppendUint32(out, e.rows)
		out = binary.LittleEndian.AppendUint32(out, e.metadata)
	}
	binary.LittleEndian.PutUint32(out[8:], checksum(out))
	return out
}

// decodeIndex is the inverse of encodeIndex. src is changed.
func decodeIndex(src []byte) (*segmentIndex, error) {
	if len(src) < indexHeaderBytes {
		return nil, fmt.Errorf("an index has %d bytes, want at least %d", len(src), indexHeaderBytes)
	}
	version, count := binary.LittleEndian.Uint16(src[4:]), int64(binary.LittleEndian.Uint32(src[12:]))
	if string(src[:4]) != indexMagic || version != indexVersion {
		return nil, fmt.Errorf("an index begins with % x, want %q and version %d", src[:6], indexMagic, indexVersion)
	}
	if int64(len(src)) != indexHeaderBytes+entryBytes*count {
		return nil, fmt.Errorf("an index of %d entries has %d bytes", count, len(src))
	}
	want := binary.LittleEndian.Uint32(src[8:])
	binary.LittleEndian.PutUint32(src[8:], 0)
	if got := checksum(src); got != want {
		return nil, fmt.Errorf("the checksum of an index is %08x, want %08x", got, want)
	}
	x := &segmentIndex{
		id: segmentID(src[16:32]), end: int64(binary.LittleEndian.Uint64(src[32:])),
		next: int64(binary.LittleEndian.Uint64(src[40:])), chain: binary.LittleEndian.Uint32(src[48:]),
		entries: make([]entry, count),
	}
	for i := range x.entries {
		b := src[indexHeaderBytes+entryBytes*i:]
		x.entries[i] = entry{
			offset: int64(binary.LittleEndian.Uint64(b)), position: int64(binary.LittleEndian.Uint64(b[8:])),
			time: int64(binary.LittleEndian.Uint64(b[16:])),
			rows: binary.LittleEndian.Uint32(b[24:]), metadata: binary.LittleEndian.Uint32(b[28:]),
		}
	}
	return x, nil
}

// readIndex reads an index file; an error says why it is of no use.
func readIndex(files vfs.FS, path string) (*segmentIndex, error) {
	w, err := openWindow(files, path)
	if err != nil {
		return nil, err
	}
	bytes, err := w.bytes(0, w.size)
	if err == nil {
		var x *segmentIndex
		if x, err = decodeIndex(bytes); err == nil {
			return x, w.close()
		}
	}
	return nil, errors.Join(err, w.close())
}

// writeIndex writes an index file anew. It is not synced: what a crash leaves of it is noticed.
func writeIndex(files vfs.FS, path string, x *segmentIndex) error {
	if err := files.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write index: %w", err)
	}
	file, err := files.Create(path)
	if err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	return errors.Join(file.WriteAt([][]byte{encodeIndex(x)}, 0), file.Close())
}
