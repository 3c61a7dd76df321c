package streams

import (
	"errors"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// Cursor walks the stored batches of a bucket. It is for one goroutine, and has to be closed.
type Cursor struct {
	// Skip says, where it is set, that a batch with such statistics is to be passed over. Its pages are not
	// touched then. The statistics are valid during the call, and of the columns of the schema version that the
	// batch has; batches without any are not asked about.
	Skip func(schemaVersion int32, s *arrowipc.Statistics) bool

	bucket *Bucket
	offset int64
	// segment is where the cursor is, with a reference to its mapping; nil before the first read.
	segment *segment
	mapping *vfs.Mapping
	// entries are those of segment that were readable when the cursor last looked; at is the next one.
	entries []entry
	at      int
	stored  Stored
	// statistics are those of segment, parsed is what Skip looks at.
	statistics storedStatistics
	parsed     arrowipc.Statistics
}

// Cursor gives a cursor that begins at an offset. Below Start it fails with model.OffsetTrimmed,
// detail "earliest"; above End with model.OffsetBeyondEnd, detail "end".
func (b *Bucket) Cursor(from int64) (*Cursor, error) {
	if err := b.closed(); err != nil {
		return nil, err
	}
	if err := b.checkTrimmed(from); err != nil {
		return nil, err
	}
	if end := b.End(); from > end {
		return nil, b.errorf(model.OffsetBeyondEnd, "offset %d of bucket %d is beyond the end, %d", from, b.number, end).
			With("end", end)
	}
	return &Cursor{bucket: b, offset: from}, nil
}

func (b *Bucket) errorf(reason model.Reason, format string, args ...any) *model.Error {
	return model.Errorf(reason, format, args...).With("table", b.tableName()).With("bucket", b.number)
}

func (b *Bucket) checkTrimmed(offset int64) error {
	start := b.Start()
	if offset >= start {
		return nil
	}
	return b.errorf(model.OffsetTrimmed, "offset %d of bucket %d is gone, the first one kept is %d", offset, b.number, start).
		WithRemedy("Read from offset %d on, or from \"earliest\"", start).With("earliest", start)
}

// Offset is where Next goes on.
func (c *Cursor) Offset() int64 { return c.offset }

// Close gives back what the cursor holds. The batch that it gave last must not be used any more.
func (c *Cursor) Close() { c.leave() }

func (c *Cursor) leave() {
	if c.mapping != nil {
		c.mapping.Release()
	}
	c.segment, c.mapping, c.entries, c.at = nil, nil, nil, 0
	c.stored, c.statistics = Stored{}, storedStatistics{}
}

// Next gives the stored batch that holds the cursor's offset and moves behind it; it may begin before
// the offset and end behind to. At the offset to, or where nothing more is readable, it gives nil.
// Batches that are skipped move the cursor too. The batch is valid until the next call of Next or Close.
//
// It fails with model.OffsetTrimmed where retention has overtaken the cursor, and with model.Corrupt
// where the rows cannot be read; the cursor stays where it is then.
func (c *Cursor) Next(to int64) (*Stored, error) {
	for {
		if err := c.bucket.closed(); err != nil {
			return nil, err
		}
		if c.offset >= min(to, c.bucket.End()) {
			return nil, nil
		}
		if err := c.bucket.checkTrimmed(c.offset); err != nil {
			return nil, err
		}
		if err := c.find(); err != nil {
			return nil, err
		}
		e, skipped := c.entries[c.at], c.skips()
		if !skipped {
			if err := c.stored.read(c.segment, c.mapping, c.at, e); err != nil {
				return nil, err
			}
		}
		c.offset = e.end()
		c.at++
		if !skipped {
			return &c.stored, nil
		}
	}
}

// find brings the cursor to the entry that holds its offset, which lies below End.
func (c *Cursor) find() error {
	if c.atEntry() {
		return nil
	}
	for {
		s := c.bucket.segmentAt(c.offset)
		// The end is looked at behind the list: a segment that was rewritten lies below it as a whole.
		err := c.enter(s, c.bucket.End())
		if err == nil {
			return nil
		}
		// The segment may have been retired or rewritten under the cursor.
		if trimmed := c.bucket.checkTrimmed(c.offset); trimmed != nil {
			return trimmed
		}
		if closed := c.bucket.closed(); closed != nil {
			return closed
		}
		if errors.Is(err, errRetired) || s != c.bucket.segmentAt(c.offset) {
			continue
		}
		return err
	}
}

// atEntry says that the next entry holds the offset; entries without rows are passed over.
func (c *Cursor) atEntry() bool {
	for c.at < len(c.entries) && c.entries[c.at].rows == 0 {
		c.at++
	}
	return c.at < len(c.entries) && c.entries[c.at].offset <= c.offset && c.offset < c.entries[c.at].end()
}

// enter brings the cursor to its offset within a segment.
func (c *Cursor) enter(s *segment, end int64) error {
	if s == nil {
		return damagedRows(c.bucket.dir, damage{from: c.offset, to: c.offset + 1, detail: "no segment holds the row"})
	}
	c.leave()
	mapping, entries, err := s.use(end)
	if err != nil {
		return err
	}
	c.segment, c.mapping, c.entries = s, mapping, entries
	at, found := findOffset(c.entries, c.offset)
	if !found {
		s.mu.RLock()
		defer s.mu.RUnlock()
		return s.unreadable(c.offset)
	}
	c.at = at
	return nil
}
