package model

import (
	"maps"
	"slices"
)

// Offsets are offsets by bucket: the next offset wanted, or the end of what is there. In JSON the
// buckets are object names: {"0":1200}.
type Offsets map[int32]int64

// Position is where a reader stands in a table: what it saves in order to resume.
type Position struct {
	// TableID guards against a table that was dropped and made again; empty means any.
	TableID string  `json:"table_id,omitempty"`
	Offsets Offsets `json:"offsets"`
}

// Buckets gives the buckets of o in ascending order.
func (o Offsets) Buckets() []int32 { return slices.Sorted(maps.Keys(o)) }

// Clone gives a copy that shares nothing with o.
func (o Offsets) Clone() Offsets { return maps.Clone(o) }

// Range is a half-open range of offsets of one bucket, [From, To).
type Range struct{ From, To int64 }

// Rows is the number of rows in r.
func (r Range) Rows() int64 { return max(0, r.To-r.From) }
