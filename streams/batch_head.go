package streams

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/headrace/headrace/internal/arrowipc"
)

const (
	// alignment is where messages, bodies and buffers begin in a segment.
	alignment = 64
	// prefixBytes stand before each IPC message: the continuation mark and the metadata's length.
	prefixBytes  = 8
	continuation = 0xffffffff

	headerMagic = "HRB1"
	// headerVersion is what is written. Version 1, which has no statistics, is read too.
	headerVersion = 2
	headerFixed   = 96
	// headPartMax bounds what a damaged length of metadata or header can ask for.
	headPartMax = 64 << 20
)

func aligned(n int64) int64 { return (n + alignment - 1) &^ (alignment - 1) }

// castagnoli is the table of all checksums in a segment.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(bytes []byte) uint32 { return crc32.Checksum(bytes, castagnoli) }

// zeros is where padding comes from. It is never written.
var zeros [alignment]byte

// errTorn says that the bytes end within a batch.
var errTorn = errors.New("the file ends within a batch")

// segmentID is the UUID of a segment.
type segmentID [16]byte

// batchHead is everything of a stored batch before its buffers: the prefix, the metadata and our
// header.
type batchHead struct {
	// position is that of the first byte in the file.
	position int64
	// metadata and header are their lengths, padding included; body is that of Batch.Body.
	metadata, header, body int64
	id                     segmentID
	base, rows             int64
	// sum is the CRC of the head, previous that of the batch before, schema that of the segment's
	// schema message.
	sum, previous, schema uint32
	buffers, runs, names  int
	statistics            int // bytes; 0: there are none
	// raw are the bytes of the head.
	raw []byte
}

// size is the length of the whole batch in the file.
func (h *batchHead) size() int64 { return prefixBytes + h.metadata + h.header + h.body }

// bodyPosition is where Batch.Body begins in the file.
func (h *batchHead) bodyPosition() int64 { return h.position + prefixBytes + h.metadata + h.header }

// message gives the metadata, a FlatBuffers message.
func (h *batchHead) message() []byte { return h.raw[prefixBytes : prefixBytes+h.metadata] }

// headerAt is where our header begins in raw; sumsAt, tableAt, namesAt and statisticsAt where its parts
// do.
func (h *batchHead) headerAt() int64 { return prefixBytes + h.metadata }
func (h *batchHead) sumsAt() int64   { return h.headerAt() + headerFixed }
func (h *batchHead) tableAt() int64  { return h.sumsAt() + sumsBytes(h.buffers) }
func (h *batchHead) namesAt() int64  { return h.tableAt() + runBytes*int64(h.runs) }

func (h *batchHead) statisticsAt() int64 { return h.namesAt() + int64(h.names) }

// bufferSum is the CRC of buffer i.
func (h *batchHead) bufferSum(i int) uint32 {
	return binary.LittleEndian.Uint32(h.raw[h.sumsAt()+4*int64(i):])
}

// time is the append time of the last row, in µs.
func (h *batchHead) time() int64 {
	return runTime(h.raw[h.tableAt()+runBytes*int64(h.runs-1):])
}

func (h *batchHead) decodeRuns() ([]Run, error) {
	table, names := h.raw[h.tableAt():h.namesAt()], h.raw[h.namesAt():h.namesAt()+int64(h.names)]
	return decodeRuns(table, names, h.rows)
}

// storedStatistics are the bytes of the batch's statistics; none where it has none.
func (h *batchHead) storedStatistics() []byte {
	return h.raw[h.statisticsAt() : h.statisticsAt()+int64(h.statistics)]
}

// sumsBytes is the length of the buffers' sums, padded to 8 bytes.
func sumsBytes(buffers int) int64 { return (4*int64(buffers) + 7) &^ 7 }

func headerBytes(buffers, runs, names, statistics int) int64 {
	return aligned(headerFixed + sumsBytes(buffers) + runBytes*int64(runs) + int64(names) + int64(statistics))
}

// appendHead appends the head of a batch that goes to position h.position, and fills in its lengths
// and its sum. h has id, base, previous and schema set.
func appendHead(dst []byte, h *batchHead, batch *arrowipc.Batch, runs []Run) []byte {
	table, names := encodeRuns(runs)
	var statistics []byte
	if batch.Statistics != nil && batch.Rows > 0 {
		statistics = batch.Statistics.Append(nil)
	}
	h.rows, h.buffers, h.runs, h.names, h.statistics = batch.Rows, len(batch.Buffers), len(runs), len(names), len(statistics)
	h.header = headerBytes(h.buffers, h.runs, h.names, h.statistics)
	h.body = int64(len(batch.Body))
	message := batch.Message(h.header)
	h.metadata = aligned(prefixBytes+int64(len(message))) - prefixBytes

	start := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, continuation)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(h.metadata))
	dst = append(dst, message...)
	dst = append(dst, zeros[:h.metadata-int64(len(message))]...)
	at := len(dst)
	dst = append(dst, make([]byte, h.header)...)
	h.raw = dst[start:]

	b := dst[at:]
	copy(b, headerMagic)
	binary.LittleEndian.PutUint16(b[4:], headerVersion)
	binary.LittleEndian.PutUint32(b[8:], uint32(h.header))
	copy(b[16:], h.id[:])
	binary.LittleEndian.PutUint64(b[32:], uint64(h.position))
	binary.LittleEndian.PutUint64(b[40:], uint64(h.base))
	binary.LittleEndian.PutUint64(b[48:], uint64(h.body))
	binary.LittleEndian.PutUint32(b[56:], uint32(h.rows))
	binary.LittleEndian.PutUint32(b[60:], h.previous)
	binary.LittleEndian.PutUint32(b[64:], h.schema)
	binary.LittleEndian.PutUint32(b[68:], uint32(h.buffers))
	binary.LittleEndian.PutUint32(b[72:], uint32(h.runs))
	binary.LittleEndian.PutUint32(b[76:], uint32(h.names))
	binary.LittleEndian.PutUint32(b[80:], uint32(h.statistics))
	for i := range h.buffers {
		binary.LittleEndian.PutUint32(b[headerFixed+4*i:], bufferSum(batch, i))
	}
	rest := b[headerFixed+sumsBytes(h.buffers):]
	rest = rest[copy(rest, table):]
	copy(rest[copy(rest, names):], statistics)
	h.sum = headSum(h.raw, h.headerAt())
	binary.LittleEndian.PutUint32(b[12:], h.sum)
	return dst
}

func bufferSum(batch *arrowipc.Batch, i int) uint32 {
	if batch.Sums != nil {
		return batch.Sums[i]
	}
	span := batch.Buffers[i]
	return checksum(batch.Body[span.Offset : span.Offset+span.Length])
}

// headSum is the CRC of a head, its own field taken as zero.
func headSum(raw []byte, headerAt int64) uint32 {
	sum := checksum(raw[:headerAt+12])
	sum = crc32.Update(sum, castagnoli, zeros[:4])
	return crc32.Update(sum, castagnoli, raw[headerAt+16:])
}

// fetch gives n bytes from a position of a file on; errTorn if the file ends before.
type fetch func(position, n int64) ([]byte, error)

// readHead reads the head of a batch at position. Where verify is false, its checksum has been
// checked before. It knows one batch only: whether it belongs there is for the caller to say.
func readHead(get fetch, position int64, verify bool) (batchHead, error) {
	h := batchHead{position: position}
	prefix, err := get(position, prefixBytes)
	if err != nil {
		return h, err
	}
	mark, length := binary.LittleEndian.Uint32(prefix), binary.LittleEndian.Uint32(prefix[4:])
	if mark != continuation {
		return h, fmt.Errorf("a message begins with %08x, want %08x", mark, uint32(continuation))
	}
	h.metadata = int64(length)
	if h.metadata > headPartMax || (prefixBytes+h.metadata)%alignment != 0 {
		return h, fmt.Errorf("the length of the metadata is %d", h.metadata)
	}
	if h.raw, err = get(position, h.headerAt()+headerFixed); err != nil {
		return h, err
	}
	if err := h.parseHeader(h.raw[h.headerAt():]); err != nil {
		return h, err
	}
	if h.raw, err = get(position, h.headerAt()+h.header); err != nil {
		return h, err
	}
	if verify {
		want := binary.LittleEndian.Uint32(h.raw[h.headerAt()+12:])
		if got := headSum(h.raw, h.headerAt()); got != want {
			return h, fmt.Errorf("the checksum of the header is %08x, want %08x", got, want)
		}
	}
	return h, nil
}

// parseHeader reads the fixed part of our header.
func (h *batchHead) parseHeader(b []byte) error {
	if string(b[:4]) != headerMagic {
		return fmt.Errorf("the header begins with % x, want %q", b[:4], headerMagic)
	}
	version := binary.LittleEndian.Uint16(b[4:])
	if version == 0 || version > headerVersion {
		return fmt.Errorf("the version of the header is %d, want 1 to %d", version, headerVersion)
	}
	h.header = int64(binary.LittleEndian.Uint32(b[8:]))
	h.sum = binary.LittleEndian.Uint32(b[12:])
	h.id = segmentID(b[16:32])
	h.base = int64(binary.LittleEndian.Uint64(b[40:]))
	h.body = int64(binary.LittleEndian.Uint64(b[48:]))
	h.rows = int64(binary.LittleEndian.Uint32(b[56:]))
	h.previous = binary.LittleEndian.Uint32(b[60:])
	h.schema = binary.LittleEndian.Uint32(b[64:])
	buffers, runs := int64(binary.LittleEndian.Uint32(b[68:])), int64(binary.LittleEndian.Uint32(b[72:]))
	names, statistics := int64(binary.LittleEndian.Uint32(b[76:])), int64(0)
	if version > 1 {
		statistics = int64(binary.LittleEndian.Uint32(b[80:]))
	}
	if at := int64(binary.LittleEndian.Uint64(b[32:])); at != h.position {
		return fmt.Errorf("the header was written at byte %d and stands at byte %d", at, h.position)
	}
	if max(buffers, runs, names, statistics, h.header) > headPartMax || runs == 0 ||
		h.header != headerBytes(int(buffers), int(runs), int(names), int(statistics)) {
		return fmt.Errorf("the header has %d bytes with %d buffers, %d runs, %d bytes of names and %d of statistics",
			h.header, buffers, runs, names, statistics)
	}
	if h.base < 0 || h.body < 0 || h.body%alignment != 0 || h.body > bodyMax {
		return fmt.Errorf("the header has base offset %d and a body of %d bytes", h.base, h.body)
	}
	h.buffers, h.runs, h.names, h.statistics = int(buffers), int(runs), int(names), int(statistics)
	return nil
}

// bodyMax bounds what a damaged length of a body can ask for.
const bodyMax = 1 << 40
