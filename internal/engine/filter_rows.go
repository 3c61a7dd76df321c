package engine

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/filter"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/streams"
)

// rowFilter drops the rows of a read that do not match, and gathers those that do to messages of a
// sensible size: one stored batch may have few of them.
type rowFilter struct {
	filter *filter.Filter
	// set are the columns wanted; layout, builder and projection are of what is gathered.
	set        *arrowipc.ColumnSet
	columns    []int // of set, and changes, in the log
	builder    *arrowipc.Builder
	projection *arrowipc.Projection
	changes    *arrowipc.ColumnSet // the change column, where the reader shows it; else nil

	// What is gathered: rows of one source.
	gathered *gatheredRows
	source   *source

	// examined counts the rows since the last message, sent is when that was.
	examined int64
	sent     time.Time

	rows    []int32 // reused, as all below
	loaded  []int   // buffers of the batch that are in memory: those of the filter
	buffers []int
	chosen  arrowipc.Batch
	extra   [][]byte
}

const (
	// progressRows and progressTime are how many rows may be examined, and how much time may pass, before a
	// reader that gets no rows hears where the read stands.
	progressRows = 8 << 20
	progressTime = time.Second
	// wholeRows is how many rows a stored batch has at least that is sent as it is where all of it matches:
	// smaller ones are gathered.
	wholeRows = 1 << 10
)

// openFilter prepares the filter of the scan; it does nothing where there is none.
func (r *Reader) openFilter() error {
	f, err := r.schema.bindFilter(r.scan)
	if f == nil || err != nil {
		return err
	}
	log := r.schema.log
	x := &rowFilter{filter: f, gathered: &gatheredRows{}, extra: make([][]byte, len(systemFields)), sent: r.engine.options.Clock.Now()}
	r.filtered = x
	if r.changes != nil {
		return nil // which gathers by itself
	}
	columns := r.columns
	if columns == nil {
		columns = make([]int, log.Schema().NumFields())
		for i := range columns {
			columns[i] = i
		}
	}
	if x.set, err = arrowipc.NewColumnSet(log, columns); err != nil {
		return err
	}
	metadata := r.projection.Schema().Metadata()
	layout, err := arrowipc.NewLayout(arrow.NewSchema(x.set.Layout().Schema().Fields(), &metadata))
	if err != nil {
		return err
	}
	x.builder = arrowipc.NewBuilder(layout)
	x.columns = columns
	if r.showsChanges() {
		change := log.Schema().NumFields() - 1
		x.columns = append(slices.Clone(columns), change)
		if x.changes, err = arrowipc.NewColumnSet(log, []int{change}); err != nil {
			return err
		}
	}
	x.projection, err = arrowipc.NewNestedProjection(layout, nil, r.scan.Paths, r.scan.extraFields())
	return err
}

// skips gives what a cursor asks before it touches a batch; nil where there is no filter.
func (r *Reader) skips() func(int32, *arrowipc.Statistics) bool {
	if r.filtered == nil {
		return nil
	}
	x := r.filtered
	return r.schema.skipper(func(version int32, s *arrowipc.Statistics) bool {
		if r.scan.EndAtSchemaChange && version > r.schema.version || x.filter.MayMatch(s) {
			return false
		}
		x.examined += s.Rows
		return true
	})
}

// passSkipped moves a source behind the batches that its cursor has skipped, before the one that it gave; at
// the end of what is there it gave none.
func (s *source) passSkipped(stored *streams.Stored, to int64) {
	if stored != nil {
		s.next = max(s.next, stored.Base)
		return
	}
	s.next = max(s.next, min(s.cursor.Offset(), to))
}

// selectRows finds the rows of [from, to) of a stored batch that match, as indexes in it. Only the columns
// that the filter names are touched.
func (r *Reader) selectRows(s *source, stored *streams.Stored, from, to int64) (rows []int32, err error) {
	x := r.filtered
	x.examined += to - from
	if x.loaded, err = r.appendBuffers(x.loaded[:0], stored, x.filter, x.filter.Columns()); err != nil {
		return nil, err
	}
	if err := stored.LoadAlone(x.loaded); err != nil {
		return nil, err
	}
	batch, err := r.adapt(stored, x.filter.Columns())
	if err != nil {
		return nil, err
	}
	err = x.fillSystem(stored.Rows, s.number, func(row int64) int64 { return stored.Base + row }, func() (func(int64) int64, error) {
		runs, err := stored.Runs()
		return runTimes{stored.Base, runs}.ascending(), err
	})
	if err != nil {
		return nil, err
	}
	in := filter.Input{Batch: batch, From: from - stored.Base, To: to - stored.Base, Extra: x.extra}
	err = stored.Use(func() (err error) {
		x.rows, err = x.filter.Select(in, x.rows[:0])
		return err
	})
	return x.rows, err
}

// keptOf gives the rows of [from, to) of a stored batch that the filter keeps; all where there is none.
func (r *Reader) keptOf(s *source, stored *streams.Stored, from, to int64) (keptRows, error) {
	if r.filtered == nil {
		return keptRows{all: true}, nil
	}
	s.time = stored.Time()
	rows, err := r.selectRows(s, stored, from, to)
	return keptRows{rows: rows}, err
}

// fillSystem makes the values of those system columns that the filter names, for rows of a batch. times
// gives the append times of rows that are asked for in ascending order.
func (x *rowFilter) fillSystem(rows int64, bucket int32, offset func(row int64) int64, times func() (func(row int64) int64, error)) error {
	if x.filter.UsesExtra(bucketColumn) {
		x.extra[bucketColumn] = fillValues(x.extra[bucketColumn], rows, 4, func(int64) int64 { return int64(bucket) })
	}
	if x.filter.UsesExtra(offsetColumn) {
		x.extra[offsetColumn] = fillValues(x.extra[offsetColumn], rows, 8, offset)
	}
	if x.filter.UsesExtra(timestampColumn) {
		micros, err := times()
		if err != nil {
			return err
		}
		x.extra[timestampColumn] = fillValues(x.extra[timestampColumn], rows, 8, micros)
	}
	return nil
}

// fillValues makes little-endian integers of 4 or 8 bytes in dst's memory.
func fillValues(dst []byte, rows, width int64, value func(row int64) int64) []byte {
	dst = dst[:0]
	for row := range rows {
		if width == 4 {
			dst = binary.LittleEndian.AppendUint32(dst, uint32(value(row)))
		} else {
			dst = binary.LittleEndian.AppendUint64(dst, uint64(value(row)))
		}
	}
	return dst
}

// ascending gives the append times of rows that are asked for in ascending order.
func (t runTimes) ascending() func(row int64) int64 {
	runs := t.runs
	return func(row int64) int64 {
		for len(runs) > 1 && row >= runs[0].RowStart+runs[0].Rows {
			runs = runs[1:]
		}
		if len(runs) == 0 {
			return 0
		}
		return runs[0].Time
	}
}

// prepareMatches makes the rows of [from, to) of a stored batch wait that match; few of them are gathered
// with those of the batches behind it.
func (r *Reader) prepareMatches(s *source, stored *streams.Stored, from, to int64) error {
	x := r.filtered
	rows, err := r.selectRows(s, stored, from, to)
	if err != nil {
		return err
	}
	if rows, to = r.limitRows(stored.Base, rows, to); r.left >= 0 {
		r.left -= int64(len(rows))
	}
	if n := int64(len(rows)); n >= wholeRows && n == to-from {
		if err := r.flushMatches(); err != nil {
			return err
		}
		return r.prepareRows(s, stored, from, to)
	}
	if x.source != s {
		if err := r.flushMatches(); err != nil {
			return err
		}
	}
	if len(rows) > 0 {
		if err := x.gather(r, stored, rows); err != nil {
			return err
		}
		x.source = s
	}
	s.next, s.time = to, stored.Time()
	if r.left == 0 || len(x.gathered.offsets) >= gatherRows || x.builder.Bytes() >= gatherBytes {
		return r.flushMatches()
	}
	return r.progress()
}

// limitRows cuts rows to what the limit leaves, and then to, where to go on, to the end of the last.
func (r *Reader) limitRows(base int64, rows []int32, to int64) ([]int32, int64) {
	if r.left <= 0 || int64(len(rows)) < r.left {
		return rows, to
	}
	rows = rows[:r.left]
	return rows, base + int64(rows[len(rows)-1]) + 1
}

// gather appends rows of a stored batch to those that wait for more.
func (x *rowFilter) gather(r *Reader, stored *streams.Stored, rows []int32) (err error) {
	if x.buffers, err = r.appendBuffers(x.buffers[:0], stored, x, x.columns); err != nil {
		return err
	}
	x.buffers = slices.DeleteFunc(x.buffers, func(buffer int) bool { return slices.Contains(x.loaded, buffer) })
	if err := stored.LoadAlone(x.buffers); err != nil {
		return err
	}
	batch, err := r.adapt(stored, x.columns)
	if err != nil {
		return err
	}
	g := x.gathered
	for _, row := range rows {
		g.offsets = append(g.offsets, stored.Base+int64(row))
	}
	if r.scan.SystemColumns {
		runs, err := stored.Runs()
		if err != nil {
			return err
		}
		at := runTimes{stored.Base, runs}.ascending()
		for _, row := range rows {
			g.micros = append(g.micros, at(int64(row)))
		}
	}
	return stored.Use(func() error {
		if err := x.set.Read(batch, &x.chosen); err != nil {
			return err
		}
		defer x.chosen.Release()
		if err := appendSome(x.builder, &x.chosen, rows); err != nil {
			return err
		}
		return x.gatherKinds(batch, rows)
	})
}

// AppendBuffers appends the buffers of what is gathered.
func (x *rowFilter) AppendBuffers(dst []int, b *arrowipc.Batch) []int {
	dst = x.set.AppendBuffers(dst, b)
	if x.changes != nil {
		dst = x.changes.AppendBuffers(dst, b)
	}
	return dst
}

// appendSome appends rows, which ascend; neighbours at once.
func appendSome(builder *arrowipc.Builder, batch *arrowipc.Batch, rows []int32) error {
	first, last := int64(rows[0]), int64(rows[len(rows)-1])
	if last-first+1 == int64(len(rows)) {
		return builder.AppendRange(batch, first, last+1)
	}
	return builder.AppendRows(batch, rows)
}

// gatherKinds notes the kinds of changes of rows, where they are shown.
func (x *rowFilter) gatherKinds(from *arrowipc.Batch, rows []int32) error {
	if x.changes == nil {
		return nil
	}
	var batch arrowipc.Batch
	if err := x.changes.Read(from, &batch); err != nil {
		return err
	}
	defer batch.Release()
	field, _ := x.changes.Layout().FieldByPath([]string{model.ChangeColumn})
	values, err := field.Values(&batch)
	if err != nil {
		return err
	}
	for _, row := range rows {
		x.gathered.kinds = append(x.gathered.kinds, values.Bytes[row])
	}
	return nil
}

// flushMatches puts what was gathered among the pieces that wait.
func (r *Reader) flushMatches() error {
	x := r.filtered
	if x == nil || len(x.gathered.offsets) == 0 {
		return nil
	}
	g, s := x.gathered, x.source
	batch := x.builder.Finish()
	batch.Rows = int64(len(g.offsets)) // also where there are no columns
	x.gathered, x.source = &gatheredRows{}, nil
	return r.fit(piece{
		batch: batch, bucket: s.number, offset: g.offsets[0], projection: x.projection, gathered: g, time: s.time, next: s.next,
	})
}

// progress tells a reader that has got nothing for a while where the read stands.
func (r *Reader) progress() error {
	x := r.filtered
	if x == nil || x.examined == 0 {
		return nil
	}
	if x.examined < progressRows && r.engine.options.Clock.Now().Sub(x.sent) < progressTime {
		return nil
	}
	if err := r.flushMatches(); err != nil || len(r.waiting) > 0 {
		return err
	}
	for _, s := range r.sources {
		if s.next > s.told {
			r.waiting = append(r.waiting, piece{bucket: s.number, offset: s.next, next: s.next, time: s.time})
		}
	}
	return nil
}

// tell notes what the reader knows once it has a chunk.
func (r *Reader) tell(chunk *Chunk) {
	if r.filtered == nil {
		return
	}
	r.filtered.examined, r.filtered.sent = 0, r.engine.options.Clock.Now()
	for _, s := range r.sources {
		if s.number == chunk.Bucket {
			s.told = chunk.Next
		}
	}
}

// gathersFrom says that rows of a source wait for more of them: a read that follows stays there until the
// message is full, or time is up.
func (r *Reader) gathersFrom(s *source) bool { return r.filtered != nil && r.filtered.source == s }
