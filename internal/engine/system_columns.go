package engine

import (
	"encoding/binary"

	"github.com/headrace/headrace/internal/model"
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
	if p.gathered != nil {
		for i := range rows {
			binary.LittleEndian.PutUint64(offsets[8*i:], uint64(p.gathered.offsets[i]))
			binary.LittleEndian.PutUint64(times[8*i:], uint64(p.gathered.micros[i]))
		}
		return [][][]byte{{nil, buckets}, {nil, offsets}, {nil, times}}
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

// changeColumn makes the buffers of the column _change_type for a piece: validity, offsets, text. Rows
// of a state are insertions.
func changeColumn(p piece) [][]byte {
	rows := p.batch.Rows
	const width = 2 // bytes of each text
	offsets, text := make([]byte, 4*(rows+1)), make([]byte, 0, width*rows)
	var kinds []byte
	if p.gathered != nil {
		kinds = p.gathered.kinds
	} else {
		kinds = p.batch.Buffer(len(p.batch.Buffers) - 1) // the values of the last column
	}
	for i := range rows {
		kind := model.ChangeInsert
		if kinds != nil {
			kind = model.ChangeType(kinds[i])
		}
		text = append(text, kind.String()...)
		binary.LittleEndian.PutUint32(offsets[4*(i+1):], uint32(len(text)))
	}
	return [][]byte{nil, offsets, text}
}

// cut gives the rows [from, to).
func (g *gatheredRows) cut(from, to int64) *gatheredRows {
	part := &gatheredRows{offsets: g.offsets[from:to]}
	if g.micros != nil {
		part.micros = g.micros[from:to]
	}
	if g.kinds != nil {
		part.kinds = g.kinds[from:to]
	}
	return part
}
