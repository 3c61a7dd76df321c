package engine

import (
	"context"
	"encoding/binary"
	"math"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/pkstore"
	"github.com/headrace/headrace/streams"
)

// expireRows is how many rows are deleted with one request.
const expireRows = 10_000

// expiry deletes the rows of one table whose time is over. A row is deleted by a request that goes
// through the sequence like any other, and only if nobody has written it meanwhile: until its -D, it
// lives.
type expiry struct {
	engine  *Engine
	table   *table
	schema  *tableSchema
	put     *Put
	routed  *routing
	columns []int // the key, as the put has it
	builder *arrowipc.Builder
	hasher  *arrowipc.RowHasher
	// before is the time in µs before which rows go, in column where that is not negative.
	before int64
	column int
	unit   func(value []byte) (micros int64)

	picks    []arrowipc.Pick
	expected []int64
}

// expireAll deletes rows of all tables that have row.ttl.
func (e *Engine) expireAll(ctx context.Context, now time.Time) {
	for _, t := range e.catalog.all() {
		ttl := t.options.Load().RowTTL
		if t.keyed == nil || ttl == 0 || e.failed() != nil {
			continue
		}
		if err := e.expireTable(ctx, t, now.Add(-ttl).UnixMicro()); err != nil && ctx.Err() == nil && t.err() == nil {
			e.options.Logger.Warn("delete rows whose row.ttl is over", "table", t.definition.Load().Name, "error", err)
		}
	}
}

func (e *Engine) expireTable(ctx context.Context, t *table, before int64) error {
	x, err := e.newExpiry(t, before)
	if err != nil {
		return err
	}
	for _, number := range t.numbers() {
		if !t.holds(number) {
			continue
		}
		b, err := t.bucket(number)
		if err == nil {
			err = x.expireBucket(ctx, b)
		}
		if err != nil && !t.isGone(number) {
			return err
		}
	}
	return nil
}

func (e *Engine) newExpiry(t *table, before int64) (*expiry, error) {
	schema := t.schema.Load()
	definition := schema.definition
	columns, err := schema.sortedColumns(definition.PrimaryKey)
	if err != nil {
		return nil, err
	}
	layout, err := arrowipc.NewLayout(arrow.NewSchema(schema.columnFields(columns), nil))
	if err != nil {
		return nil, err
	}
	x := &expiry{
		engine: e, table: t, schema: schema, routed: t.routing(), columns: columns, builder: arrowipc.NewBuilder(layout), before: before, column: -1,
	}
	x.put = newOwnPut(schema, t.level(), &keyedPut{columns: columns, layout: layout, delete: true})
	if x.hasher, err = hasherOf(layout, definition.PrimaryKey); err != nil {
		return nil, err
	}
	options, err := model.ParseOptions(definition.Options)
	if err != nil {
		return nil, err
	}
	if name := options.RowTTLColumn; name != "" {
		x.column = schema.layout.ColumnIndex(name)
		x.unit = microsOf(schema.layout.Schema().Field(x.column).Type)
	}
	return x, t.producers.load()
}

// microsOf reads values of a time type as µs since 1970.
func microsOf(dataType arrow.DataType) func([]byte) int64 {
	long := func(value []byte) int64 { return int64(binary.LittleEndian.Uint64(value)) }
	switch dataType := dataType.(type) {
	case *arrow.Date32Type:
		return func(value []byte) int64 { return int64(int32(binary.LittleEndian.Uint32(value))) * 86_400_000_000 }
	case *arrow.Date64Type:
		return func(value []byte) int64 { return scaled(long(value), 1000) }
	case *arrow.TimestampType:
		switch dataType.Unit {
		case arrow.Second:
			return func(value []byte) int64 { return scaled(long(value), 1_000_000) }
		case arrow.Millisecond:
			return func(value []byte) int64 { return scaled(long(value), 1000) }
		case arrow.Nanosecond:
			return func(value []byte) int64 { return long(value) / 1000 }
		}
	}
	return long
}

// scaled multiplies, and stays at the ends of the range where that would leave it.
func scaled(value, by int64) int64 {
	return max(min(value, math.MaxInt64/by), math.MinInt64/by) * by
}

// expireBucket deletes the rows of a bucket whose time is over.
func (x *expiry) expireBucket(ctx context.Context, b *bucket) error {
	state := b.keyed.Snapshot()
	if state.Layout() != x.schema.log {
		return nil // the schema has just changed: the next time will do
	}
	for live, err := range state.Batches() {
		if err != nil {
			return err
		}
		if live.Times != nil || x.column >= 0 {
			if err := x.collect(live); err != nil {
				return err
			}
		} else if live.Keep.(*streams.Stored).Time() < x.before {
			if err := x.collect(live); err != nil {
				return err
			}
		} else if done, err := x.collectRuns(live); err != nil || done {
			if err != nil {
				return err
			}
			break // rows behind are younger
		}
		if len(x.picks) >= expireRows {
			if err := x.delete(ctx, b); err != nil {
				return err
			}
		}
	}
	return x.delete(ctx, b)
}

// collectRuns notes the rows of a batch, not all of which are old enough, by when they were written;
// done says that its last ones are not.
func (x *expiry) collectRuns(live pkstore.Live) (done bool, err error) {
	runs, err := live.Keep.(*streams.Stored).Runs()
	if err != nil {
		return false, err
	}
	end := int64(0)
	for _, run := range runs {
		if run.Time >= x.before {
			done = true
			break
		}
		end = run.RowStart + run.Rows
	}
	for row := range live.All() {
		if int64(row) < end {
			x.add(live, row)
		}
	}
	return done, nil
}

// collect notes the rows of a batch that are old enough by their column, or all of them without one.
func (x *expiry) collect(live pkstore.Live) error {
	return streams.Guard(func() error {
		if x.column >= 0 {
			var err error
			if live.View, err = live.Whole(); err != nil {
				return err
			}
		}
		for row := range live.All() {
			if x.isOver(live, row) {
				x.add(live, row)
			}
		}
		return nil
	})
}

// isOver says that a row is old enough. Without a column, a batch of the log is as a whole.
func (x *expiry) isOver(live pkstore.Live, row int32) bool {
	switch {
	case x.column >= 0:
		return !live.View.IsNull(x.column, row) && x.unit(live.View.Value(x.column, row)) < x.before
	case live.Times != nil:
		return live.Times[row] < x.before
	}
	return true
}

func (x *expiry) add(live pkstore.Live, row int32) {
	x.picks = append(x.picks, arrowipc.Pick{View: live.View, Row: row})
	x.expected = append(x.expected, live.Offset(row))
}

// delete sends the deletion of the rows that were collected, and waits for it.
func (x *expiry) delete(ctx context.Context, b *bucket) error {
	for len(x.picks) > 0 {
		n := min(len(x.picks), expireRows)
		p := part{bucket: b.number, expected: x.expected[:n:n]}
		err := streams.Guard(func() error {
			for i, column := range x.columns {
				if err := x.builder.AppendColumnPicks(i, column, x.picks[:n]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		p.batch = x.builder.Finish()
		if p.hashes, err = x.hasher.Hash(p.batch, nil); err != nil {
			return err
		}
		if err := x.engine.submitChanges(ctx, x.put, x.routed, p); err != nil {
			return err
		}
		x.picks, x.expected = x.picks[n:], x.expected[n:]
	}
	x.picks, x.expected = nil, nil
	return nil
}

// submitChanges sends rows that the server itself has made, and waits until they are stored.
func (e *Engine) submitChanges(ctx context.Context, put *Put, routed *routing, parts ...part) error {
	r := &request{table: put.table, put: put, level: put.level, parts: parts, routed: routed}
	for _, p := range parts {
		r.rows, r.bytes = r.rows+p.batch.Rows, r.bytes+int64(len(p.batch.Body))
	}
	r.bytes = min(max(r.bytes, requestBytesMin), e.options.IngestBytes)
	if err := e.budget.Acquire(ctx, r.bytes); err != nil {
		return err
	}
	pending, err := e.submit(ctx, r)
	if err != nil {
		return err
	}
	<-pending.Done()
	_, err = pending.Ack()
	return err
}
