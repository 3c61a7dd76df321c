package arrowipc

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
)

// vector is the plain values of one column, wherever they lie. Vectors of one batch stand in a slice
// in the order of their nodes, so that column.node finds a child.
type vector struct {
	column *column
	length int64
	nulls  int64
	// offset is where values begin, in rows. It is not 0 only in what FromRecord reads. For a struct
	// and a fixed-size list it moves the children too.
	offset   int64
	validity []byte // nil where nulls is 0
	values   []byte // bits, fixed-width values, offsets, views or indices
	data     []byte // what offsets point into
	views    [][]byte
	// dictionary is where indices point to.
	dictionary []vector
}

// openVectors gives the vectors of a plain batch, in dst's memory. dictionaries are those of the
// dictionary columns; stored batches have none.
func openVectors(dst []vector, b *Batch, dictionaries map[int64]*Batch) ([]vector, error) {
	if b.Codec != NoCodec {
		return nil, fmt.Errorf("the batch is compressed")
	}
	dst = dst[:0]
	shift := 0
	for i, c := range b.Layout.all {
		v := vector{column: c, length: b.Nodes[i].Length, nulls: b.Nodes[i].Nulls}
		first := c.buffer + shift
		if c.kind != nullKind && v.nulls > 0 {
			v.validity = b.bytes(b.Buffers[first])
		}
		switch c.kind {
		case offset32Kind, offset64Kind:
			v.values, v.data = b.bytes(b.Buffers[first+1]), b.bytes(b.Buffers[first+2])
		case bitKind, fixedKind, list32Kind, list64Kind, dictionaryKind:
			v.values = b.bytes(b.Buffers[first+1])
		case viewKind:
			v.values = b.bytes(b.Buffers[first+1])
			count := int(b.Variadic[c.view])
			v.views = make([][]byte, count)
			for j := range v.views {
				v.views[j] = b.bytes(b.Buffers[first+2+j])
			}
			shift += count
		}
		if c.kind == dictionaryKind {
			values, ok := dictionaries[c.dictionary.id]
			if !ok {
				return nil, fmt.Errorf("%s needs dictionary %d, which was not sent", c.path(), c.dictionary.id)
			}
			var err error
			if v.dictionary, err = openVectors(nil, values, nil); err != nil {
				return nil, err
			}
		}
		dst = append(dst, v)
	}
	return dst, nil
}

// countNulls counts the nulls among rows [from, to), which count from the values' beginning.
func (v *vector) countNulls(from, to int64) int64 {
	switch {
	case v.column.kind == nullKind:
		return to - from
	case v.nulls == 0 || v.validity == nil:
		return 0
	case v.nulls == v.length && v.offset == 0:
		return to - from
	}
	return to - from - countBits(v.validity, from, to-from)
}

func (v *vector) isNull(row int64) bool {
	return v.column.kind == nullKind || v.nulls > 0 && v.validity != nil && !bit(v.validity, row)
}

// offsetPair gives where the value of a row begins and ends: in data, or in the child of a list.
func (v *vector) offsetPair(row int64) (from, to int64) {
	if v.column.kind == offset32Kind || v.column.kind == list32Kind {
		offsets := int32s(v.values)
		return int64(offsets[row]), int64(offsets[row+1])
	}
	offsets := int64s(v.values)
	return offsets[row], offsets[row+1]
}

// slot gives the bytes of a value of a string or binary column in any form; false where the offsets
// or the view lead outside.
func (v *vector) slot(row int64) ([]byte, bool) {
	if v.column.kind == viewKind {
		return v.viewed(row)
	}
	from, to := v.offsetPair(row)
	if from < 0 || to < from || to > int64(len(v.data)) {
		return nil, false
	}
	return v.data[from:to:to], true
}

// The casts rely on a little-endian machine, and on bodies whose buffers are aligned.
func int32s(b []byte) []int32 { return arrow.Int32Traits.CastFromBytes(b) }
func int64s(b []byte) []int64 { return arrow.Int64Traits.CastFromBytes(b) }
