package vfs

import "sync/atomic"

// Mapping is a read-only view of a file's bytes in memory, counted by reference: it is unmapped
// when the last holder releases it. It begins with one reference, its maker's.
type Mapping struct {
	bytes    []byte
	populate func(position, length int64) error
	unmap    func()
	refs     atomic.Int64
	// registry is where Mappings.Add has put the mapping; nil if nowhere.
	registry atomic.Pointer[Mappings]
}

// NewMapping gives a mapping over bytes. populate brings a range into memory without a page fault
// in this process's own code; unmap is called once, after the last Release.
func NewMapping(bytes []byte, populate func(position, length int64) error, unmap func()) *Mapping {
	m := &Mapping{bytes: bytes, populate: populate, unmap: unmap}
	m.refs.Store(1)
	return m
}

// Bytes gives the mapped bytes. They may be touched only up to the end of the file, and only
// between Retain and Release.
func (m *Mapping) Bytes() []byte { return m.bytes }

// Populate brings the bytes [position, position+length) into memory in a system call, so that
// touching them does not stall other goroutines. An error has ErrUnreadable in its chain.
func (m *Mapping) Populate(position, length int64) error { return m.populate(position, length) }

// aloneStep is less than what is taken for a part of a longer read, by a page: a range need not begin on one.
const aloneStep = 252 << 10

// PopulateAlone is Populate for a range that is not part of a longer read, such as one column of many:
// nothing is read ahead of it.
func (m *Mapping) PopulateAlone(position, length int64) error {
	for length > 0 {
		n := min(length, aloneStep)
		if err := m.populate(position, n); err != nil {
			return err
		}
		position, length = position+n, length-n
	}
	return nil
}

// Retain takes one more reference. The caller must hold one.
func (m *Mapping) Retain() { m.refs.Add(1) }

// tryRetain takes a reference unless the last one is gone already. A mapping whose count has come
// to zero stays dead, which is why Mappings.Retain cannot meet one that is being unmapped.
func (m *Mapping) tryRetain() bool {
	for {
		refs := m.refs.Load()
		if refs <= 0 {
			return false
		}
		if m.refs.CompareAndSwap(refs, refs+1) {
			return true
		}
	}
}

// Release gives a reference back. The last one takes the mapping out of its registry and unmaps it.
func (m *Mapping) Release() {
	if m.refs.Add(-1) != 0 {
		return
	}
	// Out of the registry first: once unmapped, the same addresses may belong to another mapping.
	if registry := m.registry.Load(); registry != nil {
		registry.remove(m)
	}
	m.unmap()
}
