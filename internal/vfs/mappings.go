package vfs

import (
	"slices"
	"sync"
	"unsafe"
)

// Mappings finds the mapping that a slice lies in, so that a connection can keep the mapping until
// the slice has been written to the network. It holds no references of its own. It is safe for
// concurrent use.
type Mappings struct {
	mu sync.RWMutex
	// ranges are sorted by start; guarded by mu. Ranges either have nothing in common or begin at
	// the same address: mappings of one Mem file share its bytes.
	ranges []addressRange
}

// addressRange is where a mapping lies in the address space, [start, end).
type addressRange struct {
	start, end uintptr
	mapping    *Mapping
}

// NewMappings gives an empty registry.
func NewMappings() *Mappings { return &Mappings{} }

// Add makes mapping known to Retain until its last reference is released. The caller holds a
// reference. A mapping is added once, to one registry; adding an empty one changes nothing.
func (r *Mappings) Add(mapping *Mapping) {
	if len(mapping.bytes) == 0 || !mapping.registry.CompareAndSwap(nil, r) {
		return
	}
	start := address(mapping.bytes)
	added := addressRange{start: start, end: start + uintptr(len(mapping.bytes)), mapping: mapping}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ranges = slices.Insert(r.ranges, r.behind(start), added)
}

// Retain gives the mapping that holds the whole of slice, with one reference taken that the caller
// releases. It is false for an empty slice and for one that lies elsewhere.
func (r *Mappings) Retain(slice []byte) (*Mapping, bool) {
	if len(slice) == 0 {
		return nil, false
	}
	start := address(slice)
	end := start + uintptr(len(slice))
	r.mu.RLock()
	defer r.mu.RUnlock()
	last := r.behind(start) - 1
	for i := last; i >= 0 && r.ranges[i].start == r.ranges[last].start; i-- {
		if end <= r.ranges[i].end && r.ranges[i].mapping.tryRetain() {
			return r.ranges[i].mapping, true
		}
	}
	return nil, false
}

// Len gives the number of mappings that are known.
func (r *Mappings) Len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.ranges)
}

// behind gives the index of the first range that starts above start. mu is held.
func (r *Mappings) behind(start uintptr) int {
	low, high := 0, len(r.ranges)
	for low < high {
		middle := int(uint(low+high) >> 1)
		if r.ranges[middle].start <= start {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

func (r *Mappings) remove(mapping *Mapping) {
	start := address(mapping.bytes)
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := r.behind(start) - 1; i >= 0 && r.ranges[i].start == start; i-- {
		if r.ranges[i].mapping == mapping {
			r.ranges = slices.Delete(r.ranges, i, i+1)
			return
		}
	}
}

func address(bytes []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(bytes))) }
