package streams

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/headrace/headrace/internal/model"
)

// Finding is damage in a segment or its index.
type Finding struct {
	// Path is the file, Position the byte in it at which the damage begins.
	Path     string
	Position int64
	// FirstOffset and LastOffset are the rows that are lost by it, both included; −1 where none are.
	// LastOffset is one less than FirstOffset where it is not known how many are.
	FirstOffset, LastOffset int64
	// Detail says what was expected and what was there.
	Detail string
}

// CheckSegment reads every byte of the segment at path, and its index where there is one, and reports
// what is not as it was written. end is the offset behind its last row; negative where that is not
// known, the index is asked then. An error says that the disk could not be read.
func CheckSegment(options Options, path string, end int64, report func(Finding)) (err error) {
	options = options.withDefaults()
	if err := options.validate(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("check segment %s: %w", path, err)
		}
	}()
	w, err := openWindow(options.FS, path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	c := segmentCheck{options: options, path: path, end: end, report: report}
	if err := c.head(w); err != nil {
		return err
	}
	if err := c.scan.run(); err != nil {
		return err
	}
	x, fault := readIndex(options.FS, c.indexPath())
	if failed := asReadError(fault); failed != nil {
		return failed
	}
	if fault == nil && c.end < 0 && x.id == c.scan.id {
		c.end = x.next
	}
	c.batches()
	c.index(x, fault)
	return nil
}

// segmentCheck is one run of CheckSegment.
type segmentCheck struct {
	options Options
	path    string
	end     int64 // the offset behind the last row; negative if it is not known
	report  func(Finding)
	scan    scanner
}

func (c *segmentCheck) indexPath() string {
	return strings.TrimSuffix(c.path, segmentSuffix) + indexSuffix
}

// find reports damage to the rows from..to, none if they are equal; to is −1 if it is not known.
func (c *segmentCheck) find(position, from, to int64, detail string) {
	f := Finding{Path: c.path, Position: position, FirstOffset: from, LastOffset: to - 1, Detail: detail}
	switch to {
	case -1:
		f.LastOffset = from - 1
	case from:
		f.FirstOffset, f.LastOffset = -1, -1
	}
	c.report(f)
}

// head checks the schema message and prepares the scan of the batches.
func (c *segmentCheck) head(w *window) error {
	head, fault := readSegmentHead(w.bytes)
	if failed := asReadError(fault); failed != nil {
		return failed
	}
	base, named := parseBase(c.path, segmentSuffix)
	if fault == nil && named && base != head.base {
		fault = fmt.Errorf("the base offset is %d, the file's name says %d", head.base, base)
	}
	begin := int64(0)
	if fault == nil {
		begin = head.size
	}
	first, any, err := firstBatch(w, begin)
	if err != nil {
		return err
	}
	c.scan = scanner{window: w, limit: noLimit, position: begin, next: base, collect: true}
	if fault == nil {
		c.scan.id, c.scan.schema, c.scan.layout = head.id, head.sum, head.layout
		c.scan.next, c.scan.chain = head.base, head.previous
		if any && (first.id != head.id || first.schema != head.sum) {
			fault = fmt.Errorf("the checksum of the schema is %08x, want %08x", head.sum, first.schema)
		}
	}
	if fault == nil {
		return nil
	}
	c.find(0, base, base, fault.Error()) // the rows can be read without it
	if any {
		c.scan.id, c.scan.schema, c.scan.position = first.id, first.schema, first.position
		c.scan.chain = first.previous
	}
	return nil
}

// batches reports what the scan has found.
func (c *segmentCheck) batches() {
	s := &c.scan
	found := append(s.damage, s.rot...)
	slices.SortFunc(found, func(a, b damage) int { return cmp.Compare(a.position, b.position) })
	for _, d := range found {
		c.find(d.position, d.from, d.to, d.detail)
	}
	switch {
	case s.fault != nil && c.end < s.next:
		c.find(s.position, s.next, -1, s.fault.Error())
	case s.fault != nil:
		c.find(s.position, s.next, c.end, s.fault.Error())
	case s.next < c.end:
		c.find(s.position, s.next, c.end, "rows are missing at the end of the file")
	}
	for i := 1; i < len(s.entries); i++ {
		if before, e := s.entries[i-1], s.entries[i]; e.time < before.time {
			c.find(e.position, e.offset, e.offset+int64(e.rows), fmt.Sprintf("the append time falls from %d to %d", before.time, e.time))
		}
	}
}

// index compares the index file with what the scan has found; fault says that it could not be read.
func (c *segmentCheck) index(x *segmentIndex, fault error) {
	if errors.Is(fault, fs.ErrNotExist) {
		return
	}
	s := &c.scan
	if fault == nil && (x.id != s.id || x.end != s.position || x.next != s.next || x.chain != s.chain ||
		!slices.Equal(x.entries, s.entries) || !x.statistics.agree(&s.statistics)) {
		fault = errors.New("it does not agree with the segment")
	}
	if fault != nil {
		c.report(Finding{Path: c.indexPath(), FirstOffset: -1, LastOffset: -1, Detail: fault.Error()})
	}
}

// ReadSegmentTable gives the definition of the table that the segment at path belongs to, as it was
// when the segment was begun, and the partition that its bucket belongs to; nil for none.
func ReadSegmentTable(options Options, path string) (table *model.Table, partition *model.Partition, err error) {
	options = options.withDefaults()
	if err := options.validate(); err != nil {
		return nil, nil, err
	}
	w, err := openWindow(options.FS, path)
	if err != nil {
		return nil, nil, fmt.Errorf("read the schema of segment %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, w.close()) }()
	head, err := readSegmentHead(w.bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("read the schema of segment %s: %w", path, err)
	}
	first, any, err := firstBatch(w, head.size)
	if err != nil {
		return nil, nil, fmt.Errorf("read segment %s: %w", path, err)
	}
	if any && (first.id != head.id || first.schema != head.sum) {
		return nil, nil, fmt.Errorf("read the schema of segment %s: its checksum is %08x, want %08x", path, head.sum, first.schema)
	}
	return head.table, head.partition, nil
}
