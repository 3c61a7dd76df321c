package streams

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// segment is one file of a bucket. Everything about its content is read when it is first asked for.
type segment struct {
	bucket *Bucket
	name   SegmentName
	// durable says that the segment is sealed and synced.
	durable atomic.Bool
	// handle is what the writer writes to; nil where it has not opened the file. It is the writer's.
	handle *handle
	// rotten says that nothing may be appended. It is set before anybody else sees the segment.
	rotten bool
	// settled is the compression for which another rewrite would change nothing; empty where that is not
	// known. It is for Rewrite alone.
	settled string

	// summarizing is held while statistics are read from the disk.
	summarizing sync.Mutex

	mu sync.RWMutex
	// All of the following is guarded by mu.
	// retired says that the file is gone, or stands for another segment.
	retired bool
	// limit is the base of the segment behind; noLimit if there is none.
	limit  int64
	size   int64 // of the file, as far as it counts
	loaded bool
	// resting says that size, next and chain are set though loaded is not.
	resting bool
	// identified says that id, schema and layout are set. They are not changed any more once loaded
	// was true, so that who has an entry reads them without mu.
	identified bool
	id         segmentID
	schema     uint32 // checksum of the schema message
	layout     *arrowipc.Layout
	version    int32 // of the table's schema
	// headless says that the schema message is damaged.
	headless bool
	// The following are set while loaded is.
	entries []entry
	damage  []damage
	next    int64
	chain   uint32
	checks  []*bufferChecks // by entry; shorter, and with gaps
	// statistics are those of the first entries, as far as somebody has asked.
	statistics storedStatistics
	// compression is what a rewrite was to do, empty for none; raw the length of the file before that.
	compression string
	raw         int64
	measured    bool         // somebody has looked for raw
	mapping     *vfs.Mapping // nil until somebody reads
}

// bufferChecks remembers what of a batch has been checked: bit 0 is the head, bit i+1 buffer i.
type bufferChecks struct{ bits []atomic.Uint64 }

func newBufferChecks(buffers int) *bufferChecks {
	return &bufferChecks{bits: make([]atomic.Uint64, (buffers+1+63)/64)}
}

func (c *bufferChecks) done(i int) bool { return c.bits[i/64].Load()&(1<<(i%64)) != 0 }
func (c *bufferChecks) mark(i int)      { c.bits[i/64].Or(1 << (i % 64)) }

// errRetired says that the segment is not part of the log any more.
var errRetired = errors.New("streams: the segment was retired")

// bounds says how much of a file counts.
type bounds struct {
	// end is the length that counts; negative: all of it.
	end int64
	// guess is scanner.guess; bodies are checked too then.
	guess bool
}

// load reads the index of the segment. mu is held.
func (s *segment) load(within bounds) (err error) {
	if s.loaded {
		return nil
	}
	if s.retired {
		return errRetired
	}
	if s.resting {
		return s.wake()
	}
	options := &s.bucket.options
	w, err := openWindow(options.FS, s.name.Path())
	if errors.Is(err, fs.ErrNotExist) {
		s.lose("the file is missing")
		return nil
	}
	if err != nil {
		return fmt.Errorf("open segment: %w", err)
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if within.end >= 0 && within.end < w.size {
		w.size = within.end
	}
	first, err := s.identify(w)
	if errors.Is(err, errSchemaUnknown) {
		s.lose(err.Error())
		return nil
	}
	if err != nil {
		return fmt.Errorf("read segment %s: %w", s.name.Path(), err)
	}
	if within.end < 0 && s.loadIndex(w.size) {
		return nil
	}
	scan := scanner{
		window: w, id: s.id, schema: s.schema, guess: within.guess, limit: s.limit,
		position: first.position, next: s.name.Base, chain: first.previous,
	}
	if within.guess {
		scan.layout = s.layout
	}
	if err := scan.run(); err != nil {
		return fmt.Errorf("read segment %s: %w", s.name.Path(), err)
	}
	s.adopt(&scan)
	return nil
}

// identify reads the schema message, or where that is damaged what the first batch says of it. It
// gives where the batches begin and what the first one names as the one before it.
func (s *segment) identify(w *window) (first batchHead, err error) {
	head, fault := readSegmentHead(w.bytes)
	if failed := asReadError(fault); failed != nil {
		return first, failed
	}
	if fault == nil && head.name() != s.name {
		fault = fmt.Errorf("it is segment %s", head.name().Path())
	}
	begin := int64(0)
	if fault == nil {
		begin = head.size
	}
	found, any, err := firstBatch(w, begin)
	if err != nil {
		return first, err
	}
	if fault == nil && any && (found.id != head.id || found.schema != head.sum) {
		fault = fmt.Errorf("the checksum of the schema is %08x, want %08x", head.sum, found.schema)
	}
	if fault != nil {
		// What the batches hold can still be read: the table says what their columns are.
		s.headless = true
		s.bucket.logDamage(s.name.Path(), damage{from: s.name.Base, to: s.name.Base, detail: fault.Error()})
		return found, s.guessSchema(found)
	}
	layout, table := s.bucket.layout.Load(), s.bucket.definition.Load()
	if head.table.SchemaVersion != table.SchemaVersion || !head.table.LogSchema().Equal(layout.Schema()) {
		layout = head.layout
	}
	s.setIdentity(head.id, head.sum, layout, head.table.SchemaVersion)
	s.compression, s.raw = head.compression, head.raw
	return batchHead{position: begin, previous: head.previous}, nil
}

// setIdentity sets what every batch of the segment has, once: readers look at it without mu.
func (s *segment) setIdentity(id segmentID, schema uint32, layout *arrowipc.Layout, version int32) {
	if !s.identified {
		s.identified, s.id, s.schema, s.layout, s.version = true, id, schema, layout, version
	}
}

// loadIndex takes the index file, if there is one that fits the segment.
func (s *segment) loadIndex(size int64) bool {
	x, err := readIndex(s.bucket.options.FS, s.name.indexPath())
	if err != nil || x.id != s.id || x.end != size || x.next != s.limit {
		return false
	}
	s.loaded, s.size = true, size
	s.entries, s.next, s.chain = x.entries, x.next, x.chain
	return true
}

// adopt takes what a scan has found.
func (s *segment) adopt(scan *scanner) {
	s.loaded, s.size = true, scan.position
	s.entries, s.damage = scan.entries, scan.damage
	s.next, s.chain = scan.next, scan.chain
	if s.limit != noLimit && s.next < s.limit {
		detail := "rows are missing"
		if scan.fault != nil {
			detail = scan.fault.Error()
		}
		s.damage = append(s.damage, damage{from: s.next, to: s.limit, position: scan.position, detail: detail})
		s.next = s.limit
	}
	for _, d := range append(s.damage[:len(s.damage):len(s.damage)], scan.rot...) {
		s.bucket.logDamage(s.name.Path(), d)
	}
}

// lose says that all rows of the segment are gone.
func (s *segment) lose(detail string) {
	s.loaded = true
	s.setIdentity(segmentID{}, 0, s.bucket.layout.Load(), s.bucket.definition.Load().SchemaVersion)
	s.next = max(s.limit, s.name.Base)
	s.damage = []damage{{from: s.name.Base, to: s.next, detail: detail}}
	s.bucket.logDamage(s.name.Path(), s.damage[0])
}

func (b *Bucket) logDamage(path string, d damage) {
	b.options.Logger.Error("a segment is damaged", "file", path, "position", d.position,
		"first_offset", d.from, "last_offset", d.to-1, "what", d.detail)
}

// use gives the entries that lie wholly below an offset, and the mapping that they lie in with a
// reference taken, loading and mapping the segment if needed.
func (s *segment) use(end int64) (*vfs.Mapping, []entry, error) {
	s.bucket.used.Store(true)
	s.mu.RLock()
	if s.loaded && s.covered() {
		defer s.mu.RUnlock()
		s.mapping.Retain()
		return s.mapping, s.below(end), nil
	}
	s.mu.RUnlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.load(bounds{end: -1}); err != nil {
		return nil, nil, err
	}
	if !s.covered() {
		if err := s.openMapping(); err != nil {
			return nil, nil, err
		}
	}
	s.mapping.Retain()
	return s.mapping, s.below(end), nil
}

// view gives the entries that lie wholly below an offset, and the damage, loading the segment if
// needed.
func (s *segment) view(end int64) ([]entry, []damage, error) {
	s.bucket.used.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.load(bounds{end: -1})
	return s.below(end), s.damage, err
}

// below gives the entries that lie wholly below an offset. mu is held, if only for reading.
func (s *segment) below(end int64) []entry {
	n := countBelow(s.entries, end)
	return s.entries[:n:n]
}

// covered says that there is a mapping of the whole segment. mu is held, if only for reading.
func (s *segment) covered() bool {
	return s.mapping != nil && int64(len(s.mapping.Bytes())) >= s.size
}

// openMapping maps the file. mu is held.
func (s *segment) openMapping() error {
	if s.retired {
		return errRetired
	}
	if len(s.entries) == 0 {
		return s.unreadable(s.name.Base)
	}
	file, err := s.bucket.options.FS.Open(s.name.Path())
	if errors.Is(err, fs.ErrNotExist) {
		return damagedRows(s.name.Path(), damage{from: s.name.Base, to: s.next, detail: "the file is missing"}).WithCause(err)
	}
	if err != nil {
		return fmt.Errorf("open segment: %w", err)
	}
	length := s.size
	if s.limit == noLimit {
		// It still grows: what is appended shows in the same mapping.
		length = max(length, s.bucket.options.SegmentBytes)
	}
	mapping, err := file.Map(length)
	if err = errors.Join(err, file.Close()); err != nil {
		if mapping != nil {
			mapping.Release()
		}
		return fmt.Errorf("map segment: %w", err)
	}
	s.bucket.options.Mappings.Add(mapping)
	if s.mapping != nil {
		s.mapping.Release()
	}
	s.mapping = mapping
	return nil
}

// unreadable gives the error for an offset that no entry holds. mu is held.
func (s *segment) unreadable(offset int64) error {
	for _, d := range s.damage {
		if d.from <= offset && offset < d.to {
			return damagedRows(s.name.Path(), d)
		}
	}
	return damagedRows(s.name.Path(), damage{from: offset, to: offset + 1, detail: "no batch holds the row"})
}

// damagedRows is the error for rows that cannot be read.
func damagedRows(path string, d damage) *model.Error {
	return model.Errorf(model.Corrupt, "rows %d to %d cannot be read: %s is damaged at byte %d: %s",
		d.from, d.to-1, path, d.position, d.detail).
		WithRemedy("Read on from offset %d; headrace check tells what else is damaged", d.to).
		With("file", path).With("position", d.position).With("first_offset", d.from).With("last_offset", d.to-1)
}

// checksOf gives what is remembered about entry i; nil for nothing.
func (s *segment) checksOf(i int) *bufferChecks {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if i < len(s.checks) {
		return s.checks[i]
	}
	return nil
}

// makeChecks begins to remember what is checked of entry i.
func (s *segment) makeChecks(i, buffers int) *bufferChecks {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.checks) <= i {
		s.checks = append(s.checks, nil)
	}
	if s.checks[i] == nil {
		s.checks[i] = newBufferChecks(buffers)
	}
	return s.checks[i]
}

// release gives back the mapping, and of a segment that does not grow the index.
func (s *segment) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mapping != nil {
		s.mapping.Release()
		s.mapping = nil
	}
	if s.durable.Load() && len(s.damage) == 0 && !s.headless && !s.retired {
		s.loaded = false
		s.entries, s.checks, s.statistics = nil, nil, storedStatistics{}
	}
}
