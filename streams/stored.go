package streams

import (
	"errors"
	"fmt"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// Stored is a stored batch, as a view of the mapped segment. It is valid until the cursor that gave
// it moves on; who needs its bytes for longer retains Mapping.
type Stored struct {
	// Batch lies in mapped memory: a buffer may be touched once Verify was called for it.
	Batch arrowipc.Batch
	// Base is the offset of the first row, Rows the number of rows.
	Base, Rows int64

	segment *segment
	mapping *vfs.Mapping
	entry   entry
	head    batchHead
	checks  *bufferChecks
}

// SchemaVersion is the version of the table's schema that Batch was written under.
func (s *Stored) SchemaVersion() int32 { return s.segment.version }

// Time is the append time of the last row, in µs.
func (s *Stored) Time() int64 { return s.entry.time }

// Mapping holds the bytes of Batch.
func (s *Stored) Mapping() *vfs.Mapping { return s.mapping }

// read reads the head of entry i of a segment.
func (s *Stored) read(from *segment, mapping *vfs.Mapping, i int, e entry) error {
	s.segment, s.mapping, s.entry = from, mapping, e
	s.Base, s.Rows = e.offset, int64(e.rows)
	err := guarded(func() error { return s.readHead(i) })
	return s.damaged(e.position, err)
}

func (s *Stored) readHead(i int) error {
	reader := mappedReader{mapping: s.mapping, pool: s.segment.bucket.options.Reads}
	checked := s.segment.checksOf(i)
	h, err := readHead(reader.bytes, s.entry.position, checked == nil || !checked.done(0))
	if err != nil {
		return err
	}
	if err := s.belongs(&h); err != nil {
		return err
	}
	mapped := s.mapping.Bytes()
	end := h.position + h.size()
	if end > int64(len(mapped)) {
		return errTorn
	}
	body := mapped[h.position+h.headerAt() : end : end]
	if err := arrowipc.ParseMessage(s.segment.layout, h.message(), body, h.header, &s.Batch); err != nil {
		return err
	}
	if s.Batch.Rows != h.rows || len(s.Batch.Buffers) != h.buffers {
		return fmt.Errorf("the metadata has %d rows and %d buffers, the header %d and %d",
			s.Batch.Rows, len(s.Batch.Buffers), h.rows, h.buffers)
	}
	if checked == nil {
		checked = s.segment.makeChecks(i, h.buffers)
	}
	checked.mark(0)
	s.head, s.checks = h, checked
	return nil
}

// belongs says why a head is not the one that the index tells of.
func (s *Stored) belongs(h *batchHead) error {
	e := s.entry
	if h.id != s.segment.id || h.schema != s.segment.schema {
		return errors.New("the batch is of another segment")
	}
	if h.base != e.offset || h.rows != int64(e.rows) || h.metadata != int64(e.metadata) {
		return fmt.Errorf("the batch has offset %d and %d rows, want %d and %d", h.base, h.rows, e.offset, e.rows)
	}
	return nil
}

// damaged makes the error that a user sees of what is wrong with the batch.
func (s *Stored) damaged(position int64, err error) error {
	if err == nil {
		return nil
	}
	path := s.segment.name.Path()
	d := damage{from: s.Base, to: s.Base + max(s.Rows, 1), position: position, detail: err.Error()}
	s.segment.bucket.logDamage(path, d)
	return damagedRows(path, d).WithCause(err).
		With("table", s.segment.bucket.tableName()).With("bucket", s.segment.bucket.number)
}

// Verify brings buffers of Batch, given by index, into memory without stalling other goroutines, and
// checks each against its checksum the first time that it is read; nil means all of them. It fails
// with model.Corrupt where the bytes are wrong or the disk cannot give them.
//
// Large buffers that were checked before are left where they are, in memory or not: they are for
// sending, which the kernel does, not for reading here. Who reads calls Load, or Verify(nil), and then Use.
func (s *Stored) Verify(buffers []int) error {
	if s.readyToSend(buffers) {
		return nil
	}
	return s.Load(buffers)
}

// Load is Verify for buffers that are read here, in Use, and not only sent: all of them are in memory then,
// whatever their size.
func (s *Stored) Load(buffers []int) error {
	body := s.head.bodyPosition()
	if err := s.populate(body, buffers); err != nil {
		return s.damaged(body, err)
	}
	if buffers == nil {
		for i := range s.Batch.Buffers {
			if err := s.check(i); err != nil {
				return err
			}
		}
		return nil
	}
	for _, i := range buffers {
		if i < 0 || i >= len(s.Batch.Buffers) {
			return model.Errorf(model.Internal, "buffer %d of a batch of %d buffers was asked for", i, len(s.Batch.Buffers))
		}
		if err := s.check(i); err != nil {
			return err
		}
	}
	return nil
}

// sendBytesMin is the size from which on the kernel brings bytes into memory as cheaply as we could.
const sendBytesMin = 64 << 10

// readyToSend says that all of the buffers were checked before, and that they are large together.
func (s *Stored) readyToSend(buffers []int) bool {
	total := int64(0)
	for _, i := range buffers {
		if i < 0 || i >= len(s.Batch.Buffers) || !s.checks.done(i+1) {
			return false
		}
		total += s.Batch.Buffers[i].Length
	}
	return total >= sendBytesMin
}

// Use runs work that reads the bytes of Batch after a Verify of them. It fails with model.Corrupt
// where the disk cannot give them any more.
func (s *Stored) Use(work func() error) error {
	err := guarded(work)
	if errors.Is(err, vfs.ErrUnreadable) {
		return s.damaged(s.head.bodyPosition(), err)
	}
	return err
}

// populate brings buffers into memory, neighbours with one call.
func (s *Stored) populate(body int64, buffers []int) error {
	pool := s.segment.bucket.options.Reads
	if buffers == nil {
		if len(s.Batch.Body) == 0 {
			return nil
		}
		return pool.populate(s.mapping, body, int64(len(s.Batch.Body)))
	}
	from, to := int64(0), int64(0)
	for _, i := range buffers {
		if i < 0 || i >= len(s.Batch.Buffers) || s.Batch.Buffers[i].Length == 0 {
			continue
		}
		span := s.Batch.Buffers[i]
		if to > 0 && span.Offset >= from && span.Offset <= aligned(to) {
			to = max(to, span.Offset+span.Length)
			continue
		}
		if to > 0 {
			if err := pool.populate(s.mapping, body+from, to-from); err != nil {
				return err
			}
		}
		from, to = span.Offset, span.Offset+span.Length
	}
	if to == 0 {
		return nil
	}
	return pool.populate(s.mapping, body+from, to-from)
}

// check checks one buffer, unless that was done before.
func (s *Stored) check(i int) error {
	if s.checks.done(i + 1) {
		return nil
	}
	span := s.Batch.Buffers[i]
	err := guarded(func() error {
		got, want := checksum(s.Batch.Body[span.Offset:span.Offset+span.Length]), s.head.bufferSum(i)
		if got != want {
			return fmt.Errorf("the checksum of buffer %d is %08x, want %08x", i, got, want)
		}
		return nil
	})
	if err != nil {
		return s.damaged(s.head.bodyPosition()+span.Offset, err)
	}
	s.checks.mark(i + 1)
	return nil
}

// Runs tells which requests the rows came from, in order.
func (s *Stored) Runs() (runs []Run, err error) {
	err = guarded(func() error {
		runs, err = s.head.decodeRuns()
		return err
	})
	return runs, s.damaged(s.entry.position, err)
}
