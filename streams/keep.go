package streams

import (
	"errors"
	"runtime"
	"slices"

	"github.com/headrace/headrace/internal/vfs"
)

// Keep gives a copy of a stored batch that outlives its cursor: it stays valid for as long as it, or
// something that points into it, is reachable, and the garbage collector gives its mapping back.
// That holds also where the segment is rewritten or retired meanwhile.
func (s *Stored) Keep() *Stored {
	kept := *s
	kept.Batch.Nodes, kept.Batch.Buffers = slices.Clone(s.Batch.Nodes), slices.Clone(s.Batch.Buffers)
	kept.Batch.Variadic = slices.Clone(s.Batch.Variadic)
	s.mapping.Retain()
	runtime.AddCleanup(&kept, func(mapping *vfs.Mapping) { mapping.Release() }, s.mapping)
	return &kept
}

// Guard runs work that reads the bytes of kept batches. Where the disk cannot give a page any more,
// it fails with model.Corrupt.
func Guard(work func() error) error {
	err := guarded(work)
	if errors.Is(err, vfs.ErrUnreadable) {
		return damagedRows("a mapped segment", damage{detail: err.Error()}).WithCause(err)
	}
	return err
}

// Chain is the checksum of the batch's head. It covers that of the batch before, and so every batch up
// to this one.
func (s *Stored) Chain() uint32 { return s.head.sum }
