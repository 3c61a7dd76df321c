package streams

import (
	"errors"
	"fmt"

	"github.com/headrace/headrace/internal/arrowipc"
)

// Visited is a batch that VisitSegment gives. It is valid until the next one.
type Visited struct {
	Batch *arrowipc.Batch
	// Base is the offset of the first row.
	Base int64
	// Position is where the batch begins in the file.
	Position int64
	// SchemaVersion is the version of the table's schema that the batch was written under.
	SchemaVersion int32
}

// VisitSegment calls visit for the batches of the segment at path, in order, those without rows
// included, up to byte end of the file; negative: to its end. It ends early at damage, which
// CheckSegment reports: whole says that it did not. An error is one of the disk, or that of visit.
func VisitSegment(options Options, path string, end int64, visit func(Visited) error) (whole bool, err error) {
	options = options.withDefaults()
	if err := options.validate(); err != nil {
		return false, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("read segment %s: %w", path, err)
		}
	}()
	w, err := openWindow(options.FS, path)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if end >= 0 {
		w.size = min(w.size, end)
	}
	head, fault := readSegmentHead(w.bytes)
	if fault != nil {
		return false, asReadError(fault)
	}
	s := scanner{window: w, limit: noLimit, position: head.size, id: head.id, schema: head.sum, layout: head.layout}
	s.next, s.chain = head.base, head.previous
	for s.position < w.size {
		h, err := s.read(s.position)
		if err == nil {
			err = s.follows(&h)
		}
		if err != nil {
			return false, asReadError(err)
		}
		if err := visit(Visited{Batch: &s.batch, Base: h.base, Position: h.position, SchemaVersion: head.table.SchemaVersion}); err != nil {
			return false, err
		}
		s.take(&h)
	}
	return true, nil
}
