package streams

import (
	"errors"
	"fmt"
	"io/fs"
)

// VerifyExtent says why the bytes of a segment between two extents are not what was written: the
// batches behind from.End up to to.End, whole, each with the checksums of its header and its buffers,
// chained from from.Chain to to.Chain, with the rows from.Next to to.Next. A zero from.End means from
// the beginning of the file. Recovery asks it of a group that may not have reached the disk. An error
// with ErrUnread in its chain says nothing about the bytes.
//
// A segment that was rewritten stands for all extents of the one that it replaced: that one was whole
// and durable before.
func VerifyExtent(options Options, from, to Extent) (err error) {
	options = options.withDefaults()
	if err := options.validate(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("verify segment %s from byte %d to byte %d: %w", to.Segment.Path(), from.End, to.End, err)
		}
	}()
	if from.Segment != to.Segment || from.End > to.End {
		return fmt.Errorf("the extents do not follow each other: %+v, %+v", from, to)
	}
	w, err := openWindow(options.FS, to.Segment.Path())
	if errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err != nil {
		return &readError{err}
	}
	return errors.Join(verifyBetween(w, from, to), w.close())
}

// verifyBetween is VerifyExtent for an open file.
func verifyBetween(w *window, from, to Extent) error {
	head, err := readSegmentHead(w.bytes)
	if err != nil {
		return err
	}
	if head.name() != to.Segment {
		return fmt.Errorf("it is segment %s", head.name().Path())
	}
	if head.rewrote != nil && to.Next <= head.rewrote.Next {
		return nil
	}
	if w.size < to.End {
		return fmt.Errorf("the file has %d bytes", w.size)
	}
	w.size = to.End
	s := scanner{window: w, id: head.id, schema: head.sum, layout: head.layout, strict: true, limit: to.Next}
	s.position, s.next, s.chain = from.End, from.Next, from.Chain
	if from.End == 0 || head.standsFor(from) {
		s.position, s.next, s.chain = head.size, head.base, head.previous
	}
	if err := s.run(); err != nil {
		return err
	}
	if s.fault != nil {
		return fmt.Errorf("at byte %d: %w", s.position, s.fault)
	}
	if s.position != to.End || s.next != to.Next || s.chain != to.Chain {
		return fmt.Errorf("it ends at byte %d with checksum %08x and offset %d, want %d, %08x and %d",
			s.position, s.chain, s.next, to.End, to.Chain, to.Next)
	}
	return nil
}
