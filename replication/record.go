package replication

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

const (
	recordMagic   = "HRC1"
	recordVersion = 2
	// versionPlain is the version of records without pieces. It is read and not written.
	versionPlain = 1
	headerBytes  = 64
	extentBytes  = 48
	pieceBytes   = 32 // of what stands before the bytes of a piece
	// alignment is where records begin, so that a reader finds the next one behind a damaged one.
	alignment = 64
	// countMax bounds what a damaged number of extents or pieces can ask for.
	countMax = 1 << 22
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

// Piece are bytes of a segment that travel in a record, so that the group is durable without a sync
// of the segment.
type Piece struct {
	// Extent is the index of the extent in its record that the bytes belong to.
	Extent int
	// Segment is the UUID of the segment. A file that has its name and another UUID has taken its
	// place since.
	Segment [16]byte
	// Position is where the bytes stand in the segment.
	Position int64
	Bytes    []byte
}

// CanCarry says whether a record may hold these bytes. A reader looks for records behind damage at
// multiples of 64 bytes, so no piece may have there what begins like one.
func CanCarry(piece []byte) bool {
	for at := 0; at+len(recordMagic) <= len(piece); at += alignment {
		if string(piece[at:at+len(recordMagic)]) == recordMagic {
			return false
		}
	}
	return true
}

type record struct {
	kind       kind
	generation int64
	position   int64
	sequence   int64
	synced     int64
	extents    []Extent
	pieces     []Piece
}

// size is the length of r in the file, padding included.
func (r *record) size() int64 { return recordSize(len(r.extents), r.pieces) }

// recordSize is the length in the file of a record, padding included.
func recordSize(extents int, pieces []Piece) int64 {
	size := piecesAt(int64(extents), int64(len(pieces)))
	for _, p := range pieces {
		size += padded(int64(len(p.Bytes)))
	}
	return size
}

// piecesAt is where in a record the bytes of its pieces begin.
func piecesAt(extents, pieces int64) int64 {
	return padded(headerBytes + extentBytes*extents + pieceBytes*pieces)
}

func padded(n int64) int64 { return (n + alignment - 1) &^ (alignment - 1) }

// appendRecord appends the bytes of r, padding included.
func appendRecord(dst []byte, r *record) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, r.size())...)
	b := dst[start:]
	copy(b, recordMagic)
	binary.LittleEndian.PutUint32(b[8:], uint32(len(b)))
	binary.LittleEndian.PutUint16(b[12:], recordVersion)
	binary.LittleEndian.PutUint16(b[14:], uint16(r.kind))
	binary.LittleEndian.PutUint64(b[16:], uint64(r.generation))
	binary.LittleEndian.PutUint64(b[24:], uint64(r.position))
	binary.LittleEndian.PutUint64(b[32:], uint64(r.sequence))
	binary.LittleEndian.PutUint64(b[40:], uint64(r.synced))
	binary.LittleEndian.PutUint32(b[48:], uint32(len(r.extents)))
	binary.LittleEndian.PutUint32(b[52:], uint32(len(r.pieces)))
	at := int64(headerBytes)
	for _, x := range r.extents {
		putExtent(b[at:], x)
		at += extentBytes
	}
	bytesAt := piecesAt(int64(len(r.extents)), int64(len(r.pieces)))
	for _, p := range r.pieces {
		binary.LittleEndian.PutUint32(b[at:], uint32(p.Extent))
		binary.LittleEndian.PutUint32(b[at+4:], uint32(len(p.Bytes)))
		binary.LittleEndian.PutUint64(b[at+8:], uint64(p.Position))
		copy(b[at+16:], p.Segment[:])
		at += pieceBytes
		copy(b[bytesAt:], p.Bytes)
		bytesAt += padded(int64(len(p.Bytes)))
	}
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli))
	return dst
}

func putExtent(e []byte, x Extent) {
	copy(e, x.Table[:])
	binary.LittleEndian.PutUint64(e[16:], uint64(x.Base))
	binary.LittleEndian.PutUint64(e[24:], uint64(x.End))
	binary.LittleEndian.PutUint64(e[32:], uint64(x.Next))
	binary.LittleEndian.PutUint32(e[40:], uint32(x.Bucket))
	binary.LittleEndian.PutUint32(e[44:], x.Chain)
}

// readRecord reads the record at position of the file whose content is src; its pieces lie in src. An
// error has errRecord in its chain.
func readRecord(src []byte, position int64) (*record, error) {
	extents, pieces, err := readCounts(src, position)
	if err != nil {
		return nil, err
	}
	b := src[position:]
	length := int64(binary.LittleEndian.Uint32(b[8:]))
	if got, want := crc32.Checksum(b[8:length], castagnoli), binary.LittleEndian.Uint32(b[4:]); got != want {
		return nil, fmt.Errorf("%w: checksum %08x, want %08x at byte %d", errRecord, got, want, position)
	}
	r := &record{
		kind:       kind(binary.LittleEndian.Uint16(b[14:])),
		generation: int64(binary.LittleEndian.Uint64(b[16:])),
		position:   int64(binary.LittleEndian.Uint64(b[24:])),
		sequence:   int64(binary.LittleEndian.Uint64(b[32:])),
		synced:     int64(binary.LittleEndian.Uint64(b[40:])),
		extents:    make([]Extent, extents),
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
	if pieces > 0 {
		if r.pieces, err = readPieces(b[:length], r.extents, pieces); err != nil {
			return nil, fmt.Errorf("%w at byte %d", err, position)
		}
	}
	return r, nil
}

// readCounts gives the numbers of extents and pieces of the record at position, once its length is
// known to lie in src and to have room for them.
func readCounts(src []byte, position int64) (extents, pieces int64, err error) {
	if position < 0 || int64(len(src))-position < headerBytes {
		return 0, 0, fmt.Errorf("%w: no room for one at byte %d", errRecord, position)
	}
	b := src[position:]
	length := int64(binary.LittleEndian.Uint32(b[8:]))
	version := binary.LittleEndian.Uint16(b[12:])
	extents = int64(binary.LittleEndian.Uint32(b[48:]))
	var fits bool
	switch version {
	case versionPlain:
		fits = length == headerBytes+extentBytes*extents
	case recordVersion:
		pieces = int64(binary.LittleEndian.Uint32(b[52:]))
		at := piecesAt(extents, pieces)
		fits = length == at || pieces > 0 && length > at && length%alignment == 0
	default:
		return 0, 0, fmt.Errorf("%w: version %d at byte %d", errRecord, version, position)
	}
	switch {
	case string(b[:4]) != recordMagic:
		return 0, 0, fmt.Errorf("%w: magic % x at byte %d", errRecord, b[:4], position)
	case extents > countMax || pieces > countMax || !fits || length > int64(len(b)):
		return 0, 0, fmt.Errorf("%w: length %d with %d extents and %d pieces at byte %d", errRecord, length, extents, pieces, position)
	}
	return extents, pieces, nil
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

// readPieces reads the pieces of the record b, whose checksum is right.
func readPieces(b []byte, extents []Extent, count int64) ([]Piece, error) {
	pieces := make([]Piece, count)
	at := piecesAt(int64(len(extents)), count)
	for i := range pieces {
		head := b[headerBytes+extentBytes*len(extents)+pieceBytes*i:]
		length := int64(binary.LittleEndian.Uint32(head[4:]))
		p := Piece{
			Extent:   int(binary.LittleEndian.Uint32(head)),
			Position: int64(binary.LittleEndian.Uint64(head[8:])),
			Segment:  [16]byte(head[16:32]),
		}
		if length > int64(len(b))-at || p.Extent >= len(extents) || p.Position < 0 || p.Position > extents[p.Extent].End-length {
			return nil, fmt.Errorf("%w: a piece of %d bytes at byte %d of extent %d", errRecord, length, p.Position, p.Extent)
		}
		p.Bytes = b[at : at+length : at+length]
		at += padded(length)
		pieces[i] = p
	}
	if at != int64(len(b)) {
		return nil, fmt.Errorf("%w: its pieces end at %d of %d bytes", errRecord, at, len(b))
	}
	return pieces, nil
}
