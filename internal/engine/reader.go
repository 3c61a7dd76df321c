package engine

import (
	"context"
	"io"
	"slices"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
	"github.com/headrace/headrace/streams"
)

// The words of the end mark of a read.
const (
	EndComplete = "complete"
	EndLimit    = "limit"
	EndDraining = "draining"
	// EndSchemaChanged is that of a read that has come to rows which it does not show in its schema: open it
	// again at the position.
	EndSchemaChanged = "schema_changed"
)

// Reader walks the rows of a scan. It is for one goroutine.
type Reader struct {
	engine *Engine
	table  *table
	scan   Scan
	// schema is the version of the table's schema that the rows are shown in; columns are those of the log
	// that are sent, by index; nil: all.
	schema     *tableSchema
	columns    []int
	projection *arrowipc.Projection
	follow     bool
	left       int64 // rows that the limit still allows; −1: no limit
	sources    []*source
	turn       int // index of the source to look at first
	ended      bool
	word       string // of the end mark, where everything is read
	last       string // of the end mark, once nothing more is read; else empty
	detach     func() // from the plan; nil where there is none
	let        func() // gives the files of dropped partitions free
	// later looks for buckets that appear; nil where none are read.
	later *laterBuckets
	// state is what is read before sources, in views that have rows of a primary-key table; nil once it
	// is read. marked says that the mark behind it is due.
	state  *stateReader
	marked bool
	// changes is for ViewBeforeAfter; nil for other views.
	changes *beforeAfter
	// filtered is for scans with a filter; else nil.
	filtered *rowFilter
	waiting  []piece // parts of a batch that was cut into smaller messages
	buffers  []int   // reused
}

// source is one bucket of a read.
type source struct {
	number int32
	cursor *streams.Cursor
	// next is where to go on, to is where the read ends, told is where the client knows it to stand.
	next, to, told int64
	// before is the source that this one waits for, up to the offset splitAt; nil for none.
	// held says that it waited when it was looked at last.
	before  *source
	splitAt int64
	held    bool
	// time is the append time of the last row that was looked at, µs; kept where there is a filter.
	time int64
}

// piece is rows of a stored batch that are ready to be sent. A batch that was cut lies on the heap
// and is left to the garbage collector: the connection may hold it longer than anybody here knows.
type piece struct {
	batch  *arrowipc.Batch
	bucket int32
	offset int64           // of the first row
	stored *streams.Stored // nil where batch is a copy on the heap
	times  runTimes        // empty unless system columns are wanted
	time   int64           // append time of the last row of the stored batch, µs
	// projection is what makes the message; nil for one without rows that tells of progress.
	projection *arrowipc.Projection
	// gathered tells where rows stand that were gathered, of a state or by a filter; nil for rows that are
	// neighbours in the log.
	gathered *gatheredRows
	// next is where to resume, where that is not behind the last row; else 0.
	next int64
}

// Chunk is one message of a read. It is valid until the next call of Reader.Next; what of its body
// lies in Mapping may be kept longer by retaining that.
type Chunk struct {
	Message arrowipc.Message
	// Mapping holds the large slices of the body; nil where all of them are on the heap.
	Mapping *vfs.Mapping
	// Bucket, Offset and Rows say which rows these are; Next is where to resume. Time is the append
	// time of the last row, µs.
	Bucket                   int32
	Offset, Rows, Next, Time int64
	// Mark is MarkStateComplete on the chunk without rows behind the state; else empty. Position is set
	// with it.
	Mark string
	// End is the word of the end mark, on the last chunk, which has no rows; else empty.
	End string
	// Position is where the whole read stands; set with End and Mark.
	Position model.Position
}

// Scan begins a read. The caller closes the reader.
func (e *Engine) Scan(_ context.Context, scan Scan) (*Reader, error) {
	t, err := e.table(scan.Table)
	if err != nil {
		return nil, err
	}
	if scan.Plan != "" {
		if _, err := e.RenewPlan(scan.Plan); err != nil {
			return nil, err
		}
	}
	if err := t.checkView(&scan); err != nil {
		return nil, err
	}
	for {
		schema := t.schema.Load()
		if scan.Plan != "" {
			schema = e.plans.schemaOf(t, scan.Plan)
		}
		r, err := e.beginScan(t, scan, schema)
		if err != nil {
			return nil, err
		}
		// Where the schema has changed since, a name may mean another column than the one by which buckets were chosen.
		if scan.Plan != "" || r.schema == schema && (r.state != nil || t.schema.Load() == schema) {
			return r, nil
		}
		r.Close()
	}
}

// beginScan begins a read, whose buckets are chosen by the names of a schema.
func (e *Engine) beginScan(t *table, scan Scan, schema *tableSchema) (*Reader, error) {
	r := &Reader{engine: e, table: t, scan: scan, schema: schema, follow: scan.To.Kind == BoundNever, left: -1, word: EndComplete}
	if scan.HasLimit {
		r.left = scan.Limit
	}
	if err := e.nameBuckets(t, &scan); err != nil {
		return nil, err
	}
	chosen, err := t.choose(scan, schema)
	if err != nil {
		return nil, err
	}
	r.let = chosen.release
	if r.later, err = t.newLaterBuckets(scan, schema, chosen.next); err == nil {
		r.scan.Buckets = chosen.numbers
		err = r.open(chosen.named)
	}
	if err == nil && scan.Plan != "" {
		r.detach, err = e.plans.attach(scan.Plan)
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// open finds what there is to read; named says that the scan names its buckets.
func (r *Reader) open(named bool) (err error) {
	t := r.table
	state, schema, err := r.engine.stateOf(t, r.scan, named)
	if err != nil {
		return err
	}
	if state != nil {
		r.schema = schema
	}
	if r.columns, err = r.schema.chosen(r.scan.Columns); err != nil {
		return err
	}
	if r.scan.View == ViewBeforeAfter {
		if r.changes, err = newBeforeAfter(r.schema, r.scan); err != nil {
			return err
		}
		r.projection = r.changes.projection
	} else if r.projection, err = r.schema.project(r.scan); err != nil {
		return err
	}
	if err := r.openFilter(); err != nil {
		return err
	}
	if state != nil {
		r.scan.Buckets = state.numbers()
	}
	ranges, err := t.resolveView(r.scan, state)
	if err != nil {
		return err
	}
	for number, covered := range ranges {
		r.sources = append(r.sources, &source{number: number, next: covered.From, to: covered.To, told: covered.From})
	}
	slices.SortFunc(r.sources, func(a, b *source) int { return int(a.number - b.number) })
	r.linkSources()
	if state == nil {
		return nil
	}
	r.marked = r.scan.View == ViewRowsAndChangelog
	r.state, err = newStateReader(r, state)
	return err
}

// SchemaMessage is the IPC schema message of the read.
func (r *Reader) SchemaMessage() []byte { return r.projection.SchemaMessage() }

// Close ends the read.
func (r *Reader) Close() {
	r.waiting = nil
	if r.state != nil {
		r.state.close()
	}
	if r.detach != nil {
		r.detach()
	}
	r.let()
	for _, s := range r.sources {
		if s.cursor != nil {
			s.cursor.Close()
			s.cursor = nil
		}
	}
}

// Next gives the next chunk. Behind the end mark it gives io.EOF. A read that follows waits for rows.
func (r *Reader) Next(ctx context.Context) (Chunk, error) {
	for {
		if r.ended {
			return Chunk{}, io.EOF
		}
		if err := ctx.Err(); err != nil {
			return Chunk{}, err
		}
		if len(r.waiting) > 0 {
			return r.send(ctx)
		}
		if r.last != "" {
			return r.end(r.last), nil
		}
		if r.left == 0 {
			return r.end(EndLimit), nil
		}
		if r.state != nil {
			if err := r.advanceState(); err != nil {
				return Chunk{}, err
			}
			continue
		}
		if r.marked {
			r.marked = false
			return Chunk{Message: r.projection.Empty(), Mark: MarkStateComplete, Position: r.position()}, nil
		}
		if err := r.pass(ctx); err != nil {
			return Chunk{}, err
		}
	}
}

// pass looks for rows once, and waits for some where there will be. It sets last where there are no more.
func (r *Reader) pass(ctx context.Context) error {
	if err := r.stopFollowing(); err != nil {
		return err
	}
	// Before looking: what is published after this wakes the wait.
	published := r.table.published.Wait()
	if err := r.addLater(); err != nil {
		return err
	}
	switch found, err := r.advance(); {
	case r.schemaChanged(err):
		r.last = EndSchemaChanged
		return r.flushMatches()
	case err != nil || found:
		return err
	case r.outdated(nil):
		r.last = EndSchemaChanged
	case !r.follow:
		r.last = r.word
	default:
		return r.await(ctx, published)
	}
	return nil
}

// advanceState makes the next rows of the state wait, until it is read.
func (r *Reader) advanceState() error {
	more, err := r.state.advance()
	if gone := r.table.err(); err != nil && gone != nil {
		return gone
	}
	if err == nil && !more {
		r.state.close()
		r.state = nil
		if r.follow {
			r.let() // what is changed behind it is followed, until it is dropped
		}
	}
	return err
}

// end makes the end mark.
func (r *Reader) end(word string) Chunk {
	r.ended = true
	return Chunk{Message: r.projection.Empty(), End: word, Position: r.position()}
}

// position is where the read stands.
func (r *Reader) position() model.Position {
	position := model.Position{TableID: r.table.definition.Load().ID, Offsets: model.Offsets{}}
	for _, s := range r.sources {
		position.Offsets[s.number] = s.next
	}
	return position
}

// advance looks for the next stored batch, bucket after bucket; a read that follows takes turns, so
// that no bucket waits for a busier one.
func (r *Reader) advance() (found bool, err error) {
	for {
		if found, err = r.look(); found || err != nil || !r.released() {
			return found, err
		}
	}
}

// look looks once at every source.
func (r *Reader) look() (found bool, err error) {
	for range len(r.sources) {
		s := r.sources[r.turn]
		stored, err := r.step(s)
		if err != nil && r.letGo(s) {
			continue
		}
		if err != nil {
			return false, err
		}
		if stored != nil {
			err = r.prepare(s, stored)
		}
		if stored == nil || r.follow && !r.gathersFrom(s) {
			r.turn = (r.turn + 1) % len(r.sources)
		}
		if stored != nil {
			return true, err
		}
	}
	// Nothing more comes to what a filter has gathered.
	if err = r.flushMatches(); err == nil && r.follow {
		err = r.progress()
	}
	return len(r.waiting) > 0, err
}

// step gives the next stored batch with rows of one bucket, or nil at the end of what is there.
func (r *Reader) step(s *source) (*streams.Stored, error) {
	var err error
	if s.held, err = s.waits(r); s.held || err != nil {
		return nil, err
	}
	to := s.to
	if r.follow {
		to = 1 << 62
	}
	if s.cursor == nil {
		if s.next >= to || !r.table.written(s.number) {
			return nil, nil
		}
		b, err := r.table.bucket(s.number)
		if err != nil {
			return nil, err
		}
		if s.next >= b.End() {
			return nil, nil
		}
		if s.cursor, err = b.Cursor(s.next); err != nil {
			return nil, err
		}
		s.cursor.Skip = r.skips()
	}
	for {
		stored, err := s.cursor.Next(to)
		if err != nil {
			return nil, err
		}
		s.passSkipped(stored, to)
		if stored == nil {
			return nil, nil
		}
		if stored.Base+stored.Rows > s.next {
			return stored, nil
		}
	}
}

// prepare cuts a stored batch to the range, and makes the rows wait that are wanted, cut to the limit and
// the size of a message.
func (r *Reader) prepare(s *source, stored *streams.Stored) error {
	from, to := s.next, stored.Base+stored.Rows
	if !r.follow {
		to = min(to, s.to)
	}
	if r.outdated(stored) {
		return errOutdated
	}
	switch {
	case r.changes != nil:
		return r.prepareChanges(s, stored, from, to)
	case r.filtered != nil:
		return r.prepareMatches(s, stored, from, to)
	}
	if r.left >= 0 {
		to = min(to, from+r.left)
		r.left -= to - from
	}
	return r.prepareRows(s, stored, from, to)
}

// prepareRows makes the rows [from, to) of a stored batch wait, and checks what will be sent.
func (r *Reader) prepareRows(s *source, stored *streams.Stored, from, to int64) error {
	whole := from == stored.Base && to == stored.Base+stored.Rows
	if err := r.verify(stored); err != nil {
		return err
	}
	batch, err := r.adapt(stored, r.columns)
	if err != nil {
		return err
	}
	p := piece{
		batch: batch, bucket: s.number, offset: from, stored: stored, time: stored.Time(), projection: r.projection,
	}
	if r.scan.SystemColumns {
		runs, err := stored.Runs()
		if err != nil {
			return err
		}
		p.times = runTimes{stored.Base, runs}
	}
	s.next = to
	if whole && !r.reshapes(batch) {
		r.waiting = append(r.waiting, p)
		return nil
	}
	if err := stored.Verify(nil); err != nil {
		return err
	}
	p.stored = nil
	return stored.Use(func() error { return r.cut(p, from-stored.Base, to-stored.Base) })
}

// reshapes says that a stored batch cannot be sent as it is: it is compressed otherwise than the client
// wants, or larger.
func (r *Reader) reshapes(b *arrowipc.Batch) bool {
	if b.Codec != arrowipc.NoCodec && b.Codec != r.codec(b) {
		return true
	}
	return b.Rows > 1 && r.size(r.projection, b) > r.limit()
}

// showsChanges says that the messages have the column _change_type.
func (r *Reader) showsChanges() bool {
	return r.scan.SystemColumns && (r.scan.View == ViewChangelog || r.scan.View == ViewRowsAndChangelog)
}
