package streams

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"

	"github.com/headrace/headrace/internal/vfs"
)

const (
	indexMagic = "HRX1"
	// indexVersion is what is written. Version 1, which has no statistics, is read too.
	indexVersion     = 2
	indexHeaderBytes = 64
)

// segmentIndex is the content of an index file: what a scan of a whole segment finds.
type segmentIndex struct {
	id segmentID
	// end is the length of the segment's file.
	end, next int64
	chain     uint32
	// raw is the length that the file had before it was compressed; 0: it was not.
	raw     int64
	entries []entry
	// statistics are those of all entries; none at all in version 1.
	statistics storedStatistics
}

// encodeIndex gives the bytes of an index file.
func encodeIndex(x *segmentIndex) []byte {
	size := indexHeaderBytes + (entryBytes+4)*len(x.entries) + len(x.statistics.bytes)
	out := make([]byte, indexHeaderBytes, size)
	copy(out, indexMagic)
	binary.LittleEndian.PutUint16(out[4:], indexVersion)
	binary.LittleEndian.PutUint32(out[12:], uint32(len(x.entries)))
	copy(out[16:], x.id[:])
	binary.LittleEndian.PutUint64(out[32:], uint64(x.end))
	binary.LittleEndian.PutUint64(out[40:], uint64(x.next))
	binary.LittleEndian.PutUint32(out[48:], x.chain)
	binary.LittleEndian.PutUint32(out[52:], uint32(len(x.statistics.bytes)))
	binary.LittleEndian.PutUint64(out[56:], uint64(x.raw))
	for _, e := range x.entries {
		out = binary.LittleEndian.AppendUint64(out, uint64(e.offset))
		out = binary.LittleEndian.AppendUint64(out, uint64(e.position))
		out = binary.LittleEndian.AppendUint64(out, uint64(e.time))
		out = binary.LittleEndian.AppendUint32(out, e.rows)
		out = binary.LittleEndian.AppendUint32(out, e.metadata)
	}
	end := uint32(0)
	for i := range x.entries {
		if i < len(x.statistics.list) {
			end = x.statistics.list[i].end
		}
		out = binary.LittleEndian.AppendUint32(out, end)
	}
	out = append(out, x.statistics.bytes...)
	binary.LittleEndian.PutUint32(out[8:], checksum(out))
	return out
}

// decodeIndex is the inverse of encodeIndex. src is changed.
func decodeIndex(src []byte) (*segmentIndex, error) {
	x, count, err := decodeIndexHeader(src)
	if err != nil {
		return nil, err
	}
	version, statistics := binary.LittleEndian.Uint16(src[4:]), int64(0)
	size := indexHeaderBytes + entryBytes*count
	if version > 1 {
		statistics = int64(binary.LittleEndian.Uint32(src[52:]))
		size += 4*count + statistics
	}
	if int64(len(src)) != size {
		return nil, fmt.Errorf("an index of %d entries and %d bytes of statistics has %d bytes", count, statistics, len(src))
	}
	want := binary.LittleEndian.Uint32(src[8:])
	binary.LittleEndian.PutUint32(src[8:], 0)
	if got := checksum(src); got != want {
		return nil, fmt.Errorf("the checksum of an index is %08x, want %08x", got, want)
	}
	x.entries = make([]entry, count)
	for i := range x.entries {
		b := src[indexHeaderBytes+entryBytes*i:]
		x.entries[i] = entry{
			offset: int64(binary.LittleEndian.Uint64(b)), position: int64(binary.LittleEndian.Uint64(b[8:])),
			time: int64(binary.LittleEndian.Uint64(b[16:])),
			rows: binary.LittleEndian.Uint32(b[24:]), metadata: binary.LittleEndian.Uint32(b[28:]),
		}
	}
	if version == 1 {
		return x, nil
	}
	return x, x.decodeStatistics(src[indexHeaderBytes+entryBytes*count:])
}

// decodeIndexHeader reads the fixed part of an index, whose checksum covers more. Version 1 has zeros
// where raw is.
func decodeIndexHeader(src []byte) (x *segmentIndex, count int64, err error) {
	if len(src) < indexHeaderBytes {
		return nil, 0, fmt.Errorf("an index has %d bytes, want at least %d", len(src), indexHeaderBytes)
	}
	version := binary.LittleEndian.Uint16(src[4:])
	if string(src[:4]) != indexMagic || version == 0 || version > indexVersion {
		return nil, 0, fmt.Errorf("an index begins with % x, want %q and version 1 to %d", src[:6], indexMagic, indexVersion)
	}
	return &segmentIndex{
		id: segmentID(src[16:32]), end: int64(binary.LittleEndian.Uint64(src[32:])),
		next: int64(binary.LittleEndian.Uint64(src[40:])), chain: binary.LittleEndian.Uint32(src[48:]),
		raw: int64(binary.LittleEndian.Uint64(src[56:])),
	}, int64(binary.LittleEndian.Uint32(src[12:])), nil
}

// decodeStatistics reads where the statistics of each entry end, and the statistics.
func (x *segmentIndex) decodeStatistics(src []byte) error {
	ends, bytes := src[:4*len(x.entries)], src[4*len(x.entries):]
	c := storedStatistics{bytes: append([]byte(nil), bytes...), list: make([]statisticsEntry, len(x.entries))}
	before := uint32(0)
	for i, e := range x.entries {
		end := binary.LittleEndian.Uint32(ends[4*i:])
		if end < before || int64(end) > int64(len(bytes)) {
			return fmt.Errorf("the statistics of batch %d end at byte %d of %d", i, end, len(bytes))
		}
		c.list[i] = statisticsEntry{e.offset, end}
		before = end
	}
	if int64(before) != int64(len(bytes)) {
		return fmt.Errorf("the statistics end at byte %d of %d", before, len(bytes))
	}
	x.statistics = c
	return nil
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
