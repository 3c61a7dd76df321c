package replication

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

const (
	recordMagic   = "HRC1"
	recordVersion = 1
	headerBytes   = 64
	extentBytes   = 48
	// alignment is where records begin, so that a reader finds the next one behind a damaged one.
	alignment = 64
	// extentsMax bounds what a damaged count can ask for.
	extentsMax = 1 << 22
)

// kind says what a record is for.
type kind uint16

const (
	kindCheckpoint kind = 1
	kindGroup      kind = 2
	kindMark       kind = 3
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errRecord says that the bytes are not a record of the place where they were found.
var errRecord = errors.New("replication: not a record")

// Extent names how far a segment counts: the content of the commit file.
type Extent struct {
	// Table is the id of the table, Bucket the bucket in it, Base the base offset of the segment.
	Table  [16]byte
	Bucket int32
	Base   int64
	// End is the length of the file in bytes that counts, Chain the CRC of the last batch in it,
	// Next the offset behind the last row.
	End   int64
	Chain uint32
	Next  int64
}

type record struct {
	kind       kind
	generation int64
	position   int64
	sequence   int64
	synced     int64
	extents    []Extent
}

// size is the length of r in the file, padding included.
func (r *record) size() int64 {
	return padded(headerBytes + extentBytes*int64(len(r.extents)))
}

func padded(n int64) int64 { return (n + alignment - 1) &^ (alignment - 1) }

// appendRecord appends the bytes of r, padding included.
func appendRecord(dst []byte, r *record) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, r.size())...)
	b := dst[start:]
	length := headerBytes + extentBytes*len(r.extents)
	copy(b, recordMagic)
	binary.LittleEndian.PutUint32(b[8:], uint32(length))
	binary.LittleEndian.PutUint16(b[12:], recordVersion)
	binary.LittleEndian.PutUint16(b[14:], uint16(r.kind))
	binary.LittleEndian.PutUint64(b[16:], uint64(r.generation))
	binary.LittleEndian.PutUint64(b[24:], uint64(r.position))
	binary.LittleEndian.PutUint64(b[32:], uint64(r.sequence))
	binary.LittleEndian.PutUint64(b[40:], uint64(r.synced))
	binary.LittleEndian.PutUint32(b[48:], uint32(len(r.extents)))
	for i, x := range r.extents {
		e := b[headerBytes+extentBytes*i:]
		copy(e, x.Table[:])
		binary.LittleEndian.PutUint64(e[16:], uint64(x.Base))
		binary.LittleEndian.PutUint64(e[24:], uint64(x.End))
		binary.LittleEndian.PutUint64(e[32:], uint64(x.Next))
		binary.LittleEndian.PutUint32(e[40:], uint32(x.Bucket))
		binary.LittleEndian.PutUint32(e[44:], x.Chain)
	}
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[8:length], castagnoli))
	return dst
}

// readRecord reads the record at position of the file whose content is src. An error has errRecord
// in its chain.
func readRecord(src []byte, position int64) (*record, error) {
	if position < 0 || int64(len(src))-position < headerBytes {
		return nil, fmt.Errorf("%w: no room for one at byte %d", errRecord, position)
	}
	b := src[position:]
	length := int64(binary.LittleEndian.Uint32(b[8:]))
	count := int64(binary.LittleEndian.Uint32(b[48:]))
	switch {
	case string(b[:4]) != recordMagic:
		return nil, fmt.Errorf("%w: magic % x at byte %d", errRecord, b[:4], position)
	case binary.LittleEndian.Uint16(b[12:]) != recordVersion:
		return nil, fmt.Errorf("%w: version %d at byte %d", errRecord, binary.LittleEndian.Uint16(b[12:]), position)
	case count > extentsMax || length != headerBytes+extentBytes*count || length > int64(len(b)):
		return nil, fmt.Errorf("%w: length %d with %d extents at byte %d", errRecord, length, count, position)
	}
	if got, want := crc32.Checksum(b[8:length], castagnoli), binary.LittleEndian.Uint32(b[4:]); got != want {
		return nil, fmt.Errorf("%w: checksum %08x, want %08x at byte %d", errRecord, got, want, position)
	}
	r := &record{
		kind:       kind(binary.LittleEndian.Uint16(b[14:])),
		generation: int64(binary.LittleEndian.Uint64(b[16:])),
		position:   int64(binary.LittleEndian.Uint64(b[24:])),
		sequence:   int64(binary.LittleEndian.Uint64(b[32:])),
		synced:     int64(binary.LittleEndian.Uint64(b[40:])),
		extents:    make([]Extent, count),
	}
	if r.position != position {
		return nil, fmt.Errorf("%w: it was written at byte %d and stands at %d", errRecord, r.position, position)
	}
	if r.kind < kindCheckpoint || r.kind > kindMark {
		return nil, fmt.Errorf("%w: kind %d at byte %d", errRecord, r.kind, position)
	}
	for i := range r.extents {
		r.extents[i] = readExtent(b[headerBytes+extentBytes*i:])
	}
	return r, nil
}

func readExtent(e []byte) Extent {
	return Extent{
		Table:  [16]byte(e[:16]),
		Base:   int64(binary.LittleEndian.Uint64(e[16:])),
		End:    int64(binary.LittleEndian.Uint64(e[24:])),
		Next:   int64(binary.LittleEndian.Uint64(e[32:])),
		Bucket: int32(binary.LittleEndian.Uint32(e[40:])),
		Chain:  binary.LittleEndian.Uint32(e[44:]),
	}
}
