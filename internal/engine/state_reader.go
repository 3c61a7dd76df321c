package engine

import (
	"iter"
	"maps"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/pkstore"
	"github.com/headrace/headrace/streams"
)

// tableState is the state of the buckets of a primary-key table at one moment: all of a request or
// nothing of it.
type tableState map[int32]*pkstore.Snapshot

// fixState takes the state of buckets, which the caller has named or not, nil means all, and gives the schema that it
// is in. Who follows does without those that were dropped.
func (t *table) fixState(buckets []int32, named, follows bool) (tableState, *tableSchema, error) {
	for {
		r := t.routing()
		numbers := buckets
		if !named {
			numbers = t.wholePartitions(buckets)
		}
		state, schema, err := t.fixRouted(r, numbers, follows)
		if err != nil || state != nil {
			return state, schema, err
		}
	}
}

// wholePartitions gives all buckets of the partitions that some belong to: they may have got some more. nil stands
// for all of the table.
func (t *table) wholePartitions(buckets []int32) []int32 {
	if t.partitions == nil || buckets == nil {
		return t.numbers()
	}
	seen := map[*partition]bool{}
	var list []*partition
	for _, number := range buckets {
		if x := t.partitions.of(number); x != nil && !seen[x] {
			seen[x], list = true, append(list, x)
		}
	}
	return bucketsOf(list)
}

// fixRouted is fixState of a table with that routing; nil where it has grown meanwhile.
func (t *table) fixRouted(r *routing, buckets []int32, follows bool) (tableState, *tableSchema, error) {
	opened := make(map[int32]*bucket, len(buckets))
	for _, number := range buckets {
		b, err := t.bucket(number)
		if err != nil && follows && t.isGone(number) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		opened[number] = b
	}
	state := make(tableState, len(opened))
	t.keyed.publishing.Lock()
	defer t.keyed.publishing.Unlock()
	if t.routed.Load() != r {
		return nil, nil, nil
	}
	for number, b := range opened {
		state[number] = b.keyed.Snapshot()
	}
	return state, t.schema.Load(), nil
}

// rows counts the rows of the state.
func (s tableState) rows() int64 {
	n := int64(0)
	for _, snapshot := range s {
		n += snapshot.Count()
	}
	return n
}

// ends gives where the changes behind the state begin.
func (s tableState) ends() model.Offsets {
	ends := make(model.Offsets, len(s))
	for number, snapshot := range s {
		ends[number] = snapshot.End()
	}
	return ends
}

// stateReader walks the rows of a state, bucket after bucket.
type stateReader struct {
	reader  *Reader
	state   tableState
	left    []int32 // buckets that are not begun
	current int32
	next    func() (pkstore.Live, error, bool) // nil where no bucket is open
	stop    func()

	columns    []int
	builder    *arrowipc.Builder
	projection *arrowipc.Projection // of what the builder makes
	picks      []arrowipc.Pick      // reused
	rows       *gatheredRows        // of what the builder holds
	time       int64                // append time of the newest batch that rows came from, µs
}

// gatheredRows tells where rows that were gathered stand in the log.
type gatheredRows struct {
	offsets []int64
	micros  []int64
	kinds   []byte // model.ChangeType; nil: they are insertions
}

func newStateReader(r *Reader, state tableState) (*stateReader, error) {
	s := &stateReader{reader: r, state: state, left: slices.Sorted(maps.Keys(state)), rows: &gatheredRows{}}
	var err error
	if s.columns, err = r.schema.chosen(r.scan.Columns); err != nil {
		return nil, err
	}
	fields := r.schema.columnFields(s.columns)
	metadata := r.projection.Schema().Metadata()
	layout, err := arrowipc.NewLayout(arrow.NewSchema(fields, &metadata))
	if err != nil {
		return nil, err
	}
	s.builder = arrowipc.NewBuilder(layout)
	s.projection, err = arrowipc.NewNestedProjection(layout, nil, r.scan.Paths, r.scan.extraFields())
	return s, err
}

func (s *stateReader) close() {
	if s.stop != nil {
		s.stop()
		s.next, s.stop = nil, nil
	}
}

const (
	// gatherRows and gatherBytes are where a batch of gathered rows is full.
	gatherRows  = 64 << 10
	gatherBytes = 2 << 20
)

// advance makes the next rows wait in the reader; false at the end of the state.
func (s *stateReader) advance() (more bool, err error) {
	for s.reader.left != 0 {
		live, number, err := s.step()
		if err != nil {
			return false, err
		}
		if number != s.current || live.View == nil {
			if err := s.flush(); err != nil {
				return false, err
			}
			s.current = number
		}
		if live.View == nil {
			return len(s.reader.waiting) > 0, nil
		}
		if err := s.gather(live); err != nil {
			return false, err
		}
		if s.reader.left == 0 || len(s.rows.offsets) >= gatherRows || s.builder.Bytes() >= gatherBytes {
			if err := s.flush(); err != nil {
				return false, err
			}
		}
		if len(s.reader.waiting) > 0 || s.reader.filtered != nil {
			return true, nil // with a filter, the caller looks whether anybody still wants the rows
		}
	}
	err = s.flush()
	return len(s.reader.waiting) > 0, err
}

// step gives the next batch with live rows, and its bucket; one without a view at the end.
func (s *stateReader) step() (pkstore.Live, int32, error) {
	for {
		if s.next == nil {
			if len(s.left) == 0 {
				return pkstore.Live{}, s.current, nil
			}
			number := s.left[0]
			s.left = s.left[1:]
			s.next, s.stop = iter.Pull2(s.state[number].Batches())
			if len(s.rows.offsets) > 0 {
				if err := s.flush(); err != nil {
					return pkstore.Live{}, number, err
				}
			}
			s.current = number
		}
		live, err, ok := s.next()
		if ok {
			return live, s.current, err
		}
		s.close()
	}
}

// gather appends live rows that the filter keeps, at most as many as the limit leaves.
func (s *stateReader) gather(live pkstore.Live) error {
	if s.reader.filtered != nil {
		rows, err := s.matches(live)
		if err != nil || len(rows) == 0 {
			return err
		}
		live.Rows = rows
	}
	n := live.View.Rows()
	if live.Rows != nil {
		n = int64(len(live.Rows))
	}
	err := streams.Guard(func() (err error) {
		live.View, err = live.Whole()
		return err
	})
	if err != nil {
		return err
	}
	if s.reader.left >= 0 {
		n = min(n, s.reader.left)
		s.reader.left -= n
	}
	s.picks = s.picks[:0]
	for i := range n {
		row := int32(i)
		if live.Rows != nil {
			row = live.Rows[i]
		}
		s.picks = append(s.picks, arrowipc.Pick{View: live.View, Row: row})
		s.rows.offsets = append(s.rows.offsets, live.Offset(row))
	}
	if live.Times != nil {
		s.time = slices.Max(live.Times)
	} else {
		s.time = live.Keep.(*streams.Stored).Time()
	}
	if s.reader.scan.SystemColumns {
		if err := s.gatherTimes(live); err != nil {
			return err
		}
	}
	return streams.Guard(func() error {
		for i, column := range s.columns {
			if err := s.builder.AppendColumnPicks(i, column, s.picks); err != nil {
				return err
			}
		}
		return nil
	})
}

// gatherTimes notes when the rows that were picked last were appended.
func (s *stateReader) gatherTimes(live pkstore.Live) error {
	times, err := liveTimes(live)
	if err != nil {
		return err
	}
	for _, pick := range s.picks {
		s.rows.micros = append(s.rows.micros, times(pick.Row))
	}
	return nil
}

// flush puts what was gathered among the pieces that wait.
func (s *stateReader) flush() error {
	n := len(s.rows.offsets)
	if n == 0 {
		return nil
	}
	batch := s.builder.Finish()
	batch.Rows = int64(n) // also where there are no columns
	p := piece{
		batch: batch, bucket: s.current, offset: s.rows.offsets[0], projection: s.projection, gathered: s.rows,
		time: s.time,
	}
	s.rows = &gatheredRows{}
	return s.reader.fit(p)
}
