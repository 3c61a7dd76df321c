package streams

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/headrace/headrace/internal/arrowipc"
)

// errOutdated says that Renew was not called.
var errOutdated = errors.New("the newest segment has no rows, and another schema")

// outdated says that the active segment is of an earlier version of the schema.
func (w *writer) outdated() bool {
	return w.active != nil && w.active.version != w.bucket.definition.Load().SchemaVersion
}

// Outdated says that the newest segment has to be renewed before something is written: it has no rows, so
// that the segment behind it would have its name, and is of an earlier version of the schema. It is for
// the writer.
func (b *Bucket) Outdated() bool {
	b.writing.Lock()
	defer b.writing.Unlock()
	w := &b.writer
	return w.failed == nil && w.outdated() && w.extent.Next == w.extent.Segment.Base
}

// Behind says that the newest segment is of an earlier version of the schema than the next one will be.
func (b *Bucket) Behind() bool {
	b.writing.Lock()
	defer b.writing.Unlock()
	return b.writer.outdated()
}

// Renew replaces a newest segment that is Outdated by one of the present version of the schema that has the
// same run tables, durably, and gives how far it is written. What was written before must be durable. The
// new file stands for the extent of the one before. After an error the bucket is as it was, unless that is
// not one of a full disk: then it refuses to write. It is for the writer.
func (b *Bucket) Renew() (Extent, error) {
	b.writing.Lock()
	defer b.writing.Unlock()
	w := &b.writer
	if err := errors.Join(b.closed(), w.failed); err != nil {
		return Extent{}, err
	}
	b.upkeep.Lock()
	defer b.upkeep.Unlock()
	r := rewriter{bucket: b, source: w.active, table: b.definition.Load(), builder: arrowipc.NewBuilder(b.layout.Load())}
	s := w.active
	s.mu.Lock()
	err := s.load(bounds{end: -1})
	r.old = segmentIndex{id: s.id, end: s.size, next: s.next, chain: s.chain, entries: s.entries}
	s.mu.Unlock()
	if err == nil {
		err = r.renew()
	}
	if err != nil {
		return Extent{}, fmt.Errorf("begin a segment of another schema in the place of %s: %w", s.name.Path(), err)
	}
	return w.extent, nil
}

// renew writes the new file and puts it into the place of the old one.
func (r *rewriter) renew() error {
	w := &r.bucket.writer
	if err := r.writeRuns(); err != nil {
		return errors.Join(err, r.discardFile())
	}
	b, old := r.bucket, r.source
	s := &segment{
		bucket: b, name: old.name, limit: noLimit, size: r.at.End, loaded: true, identified: true, id: r.id, schema: r.schema,
		layout: r.builder.Layout(), version: r.table.SchemaVersion, entries: r.made.entries, next: r.at.Next, chain: r.at.Chain,
	}
	if err := b.options.FS.Rename(old.name.rewritePath(), old.name.Path()); err != nil {
		return errors.Join(err, r.discardFile())
	}
	old.mu.Lock()
	old.retired = true
	old.mu.Unlock()
	b.exchange(old, s)
	if old.handle != nil {
		if err := old.handle.abandon(); err != nil {
			return w.fail(err)
		}
	}
	old.release()
	w.active, w.extent, w.allocated = s, r.at, 0
	if err := b.options.FS.SyncDir(b.dir); err != nil {
		return w.fail(err)
	}
	return nil
}

// writeRuns writes and syncs a file with the schema of r.table and the run tables of the old segment, whose
// batches have no rows.
func (r *rewriter) writeRuns() error {
	name := r.source.name
	window, err := openWindow(r.bucket.options.FS, name.Path())
	if err != nil {
		return err
	}
	err = r.createFile()
	if err == nil {
		err = r.copyRuns(window)
		if err == nil {
			err = r.file.Sync()
		}
		err = errors.Join(err, r.file.Close())
	}
	return errors.Join(err, window.close())
}

// copyRuns writes a batch without rows for each one of the old segment.
func (r *rewriter) copyRuns(window *window) error {
	old, err := readSegmentHead(window.bytes)
	if err != nil {
		return err
	}
	head := *old
	head.table, head.rewrote = r.table, nil
	if err := r.begin(&head); err != nil {
		return err
	}
	scan := scanner{window: window, id: r.old.id, schema: old.sum, layout: r.source.layout, limit: r.old.next}
	for _, e := range r.old.entries {
		h, err := scan.read(e.position)
		if err != nil {
			return fmt.Errorf("at byte %d: %w", e.position, err)
		}
		runs, err := h.decodeRuns()
		if err != nil {
			return err
		}
		if err := r.write(r.builder.Finish(), e.offset, runs); err != nil {
			return err
		}
	}
	return nil
}

func (r *rewriter) discardFile() error {
	err := r.bucket.options.FS.Remove(r.source.name.rewritePath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// standsFor says that the segment was made of one that counted up to an extent.
func (h *segmentHead) standsFor(at Extent) bool {
	return h.rewrote != nil && h.rewrote.End == at.End && h.rewrote.Chain == at.Chain && h.rewrote.Next == at.Next
}

// Standing gives the extent that stands for one that was committed: another one where a crash came between
// Renew and the next commit. A file that cannot be read has the extent that it had.
func Standing(options Options, at Extent) (stands Extent, err error) {
	if at.Next != at.Segment.Base {
		return at, nil
	}
	w, err := openWindow(options.FS, at.Segment.Path())
	if errors.Is(err, fs.ErrNotExist) {
		return at, nil
	}
	if err != nil {
		return at, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	head, fault := readSegmentHead(w.bytes)
	if fault != nil || !head.standsFor(at) {
		return at, asReadError(fault)
	}
	s := scanner{window: w, id: head.id, schema: head.sum, layout: head.layout, strict: true, limit: noLimit}
	s.position, s.next, s.chain = head.size, head.base, head.previous
	if err := s.run(); err != nil || s.fault != nil || s.next != at.Next {
		return at, err
	}
	return Extent{Segment: at.Segment, End: s.position, Chain: s.chain, Next: s.next}, nil
}

// errSchemaUnknown says that nobody knows which schema the batches of a segment have.
var errSchemaUnknown = errors.New("its schema message is damaged, and the table had several schemas")

// guessSchema finds the schema of a segment whose schema message is damaged: that of the table if it had
// only one, and that of the segments before and behind it where it is the same.
func (s *segment) guessSchema(found batchHead) error {
	b := s.bucket
	table, layout := b.definition.Load(), b.layout.Load()
	version := table.SchemaVersion
	if len(table.Versions) > 0 {
		segments := b.list()
		i := slices.Index(segments, s)
		if i < 0 {
			return errSchemaUnknown
		}
		first := table.Versions[0].Version
		if i > 0 {
			first = b.versionOf(segments[i-1])
		}
		if i+1 < len(segments) {
			version = b.versionOf(segments[i+1])
		}
		known, has := table.At(version)
		if first != version || !has {
			return errSchemaUnknown
		}
		if version != table.SchemaVersion {
			var err error
			if layout, err = arrowipc.NewLayout(table.LogSchemaOf(known.Schema)); err != nil {
				return err
			}
		}
	}
	s.setIdentity(found.id, found.schema, layout, version)
	return nil
}

// versionOf reads the schema version of another segment; 0: it cannot be read.
func (b *Bucket) versionOf(s *segment) int32 {
	table, _, err := ReadSegmentTable(b.options, s.name.Path())
	if err != nil {
		return 0
	}
	return table.SchemaVersion
}
