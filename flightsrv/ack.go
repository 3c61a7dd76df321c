package flightsrv

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strconv"

	"github.com/headrace/headrace/internal/engine"
	"github.com/headrace/headrace/internal/model"
)

// ack acknowledges one batch of a put stream, or several neighbours.
type ack struct {
	// first and last are the seq of the first and the last batch; without a producer, their indexes
	// in the stream.
	first, last int64
	batches     int64
	rows        int64
	// ranges are where the rows are, by ascending bucket. Those of several batches are, for each
	// bucket, the smallest range that holds all their rows: other writers' rows may lie between.
	ranges []bucketRange
	// durability is the lowest level that any of the batches has reached.
	durability model.Durability
	// duplicate says that at least one of the batches had been stored before.
	duplicate bool
}

type bucketRange struct {
	bucket int32
	model.Range
}

// newAck makes the acknowledgement of one batch.
func newAck(seq int64, stored engine.Ack) ack {
	a := ack{first: seq, last: seq, batches: 1, rows: stored.Rows, durability: stored.Durability, duplicate: stored.Duplicate}
	a.ranges = make([]bucketRange, 0, len(stored.Offsets))
	for bucket, offsets := range stored.Offsets {
		a.ranges = append(a.ranges, bucketRange{bucket, offsets})
	}
	slices.SortFunc(a.ranges, func(x, y bucketRange) int { return cmp.Compare(x.bucket, y.bucket) })
	return a
}

// merge makes a the acknowledgement of its batches and of those of next, which came behind them.
func (a *ack) merge(next ack) {
	a.last = next.last
	a.batches += next.batches
	a.rows += next.rows
	a.durability = min(a.durability, next.durability)
	a.duplicate = a.duplicate || next.duplicate
	for _, r := range next.ranges {
		i, found := slices.BinarySearchFunc(a.ranges, r.bucket, func(x bucketRange, bucket int32) int {
			return cmp.Compare(x.bucket, bucket)
		})
		if !found {
			a.ranges = slices.Insert(a.ranges, i, r)
			continue
		}
		at := &a.ranges[i].Range
		*at = model.Range{From: min(at.From, r.From), To: max(at.To, r.To)}
	}
}

// appendJSON appends the app_metadata of the PutResult.
func (a *ack) appendJSON(dst []byte) []byte {
	dst = append(dst, `{"seq":`...)
	dst = strconv.AppendInt(dst, a.last, 10)
	if a.batches > 1 {
		dst = appendField(dst, "first_seq", a.first)
		dst = appendField(dst, "batches", a.batches)
	}
	dst = appendField(dst, "rows", a.rows)
	dst = append(dst, `,"offsets":`...)
	dst = appendRanges(dst, a.ranges)
	dst = append(dst, `,"durability":"`...)
	dst = append(dst, a.durability.String()...)
	dst = append(dst, '"')
	if a.duplicate {
		dst = append(dst, `,"duplicate":true`...)
	}
	return append(dst, '}')
}

// appendRanges appends {"0":[0,1000]}.
func appendRanges(dst []byte, ranges []bucketRange) []byte {
	dst = append(dst, '{')
	for i, r := range ranges {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendBucket(dst, r.bucket)
		dst = append(dst, '[')
		dst = strconv.AppendInt(dst, r.From, 10)
		dst = append(dst, ',')
		dst = strconv.AppendInt(dst, r.To, 10)
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

// putResult gives the PutResult message as protobuf.
func (a *ack) putResult() encoded {
	// One byte of tag and up to five of length stand before the JSON; it is written behind room for
	// them, which saves a copy.
	const room = 1 + binary.MaxVarintLen32
	message := a.appendJSON(make([]byte, room, room+128+40*len(a.ranges)))
	var length [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(length[:], uint64(len(message)-room))
	start := room - 1 - n
	message[start] = tagPutResult
	copy(message[start+1:], length[:n])
	return encoded(message[start:])
}
