package engine

import (
	"encoding/binary"

	"github.com/headrace/headrace/streams"
)

// runTimes gives the append times of rows of a stored batch.
type runTimes struct {
	base int64 // offset of the first row of the stored batch
	runs []streams.Run
}

// systemColumns makes the buffers of systemFields for a piece, each column's validity (none: they
// are never null) and values. They are new for each message: the connection may keep them.
func systemColumns(p piece) [][][]byte {
	rows := p.batch.Rows
	buckets, offsets, times := make([]byte, 4*rows), make([]byte, 8*rows), make([]byte, 8*rows)
	for i := range rows {
		binary.LittleEndian.PutUint32(buckets[4*i:], uint32(p.bucket))
		binary.LittleEndian.PutUint64(offsets[8*i:], uint64(p.offset+i))
	}
	first := p.offset - p.times.base
	for _, run := range p.times.runs {
		from, to := max(run.RowStart, first), min(run.RowStart+run.Rows, first+rows)
		for row := from; row < to; row++ {
			binary.LittleEndian.PutUint64(times[8*(row-first):], uint64(run.Time))
		}
	}
	return [][][]byte{{nil, buckets}, {nil, offsets}, {nil, times}}
}
