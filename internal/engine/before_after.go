package engine

import (
	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/streams"
)

// beforeAfter turns rows of a changelog into one row a change: its kind, the struct that the row was,
// and the one that it is.
type beforeAfter struct {
	columns    []int // of the structs, as indexes in the table
	builder    *arrowipc.Builder
	projection *arrowipc.Projection

	before, after []arrowipc.Pick // reused
}

// newBeforeAfter makes the schema of the view.
func newBeforeAfter(schema *tableSchema, scan Scan) (*beforeAfter, error) {
	for i, path := range scan.Paths {
		if len(path) > 0 {
			return nil, model.Errorf(model.BadRequest, "the view before-after has no field within the column %q", scan.Columns[i]).
				With("column", scan.Columns[i]).WithRemedy("Ask for the whole column, or read the view changelog")
		}
	}
	columns, err := schema.chosen(scan.Columns)
	if err != nil {
		return nil, err
	}
	row := arrow.StructOf(schema.columnFields(columns)...)
	layout, err := arrowipc.NewLayout(arrow.NewSchema([]arrow.Field{
		changeField, {Name: "before", Type: row, Nullable: true}, {Name: "after", Type: row, Nullable: true},
	}, nil))
	if err != nil {
		return nil, err
	}
	x := &beforeAfter{columns: columns, builder: arrowipc.NewBuilder(layout)}
	x.projection, err = arrowipc.NewProjection(layout, nil, scan.extraFields())
	return x, err
}

// convert makes a piece of the rows [from, to) of a stored batch, which batch are in the schema of the read: of those
// changes of which a row is among kept, ascending indexes in the batch. A change stands at the offset of its last row.
// Where to parts the two rows of an update, the change is left for later: next is where to go on.
func (x *beforeAfter) convert(stored *streams.Stored, batch *arrowipc.Batch, from, to int64, kept keptRows) (p piece, next int64, err error) {
	view, err := arrowipc.NewView(batch)
	if err != nil {
		return piece{}, 0, err
	}
	runs, err := stored.Runs()
	if err != nil {
		return piece{}, 0, err
	}
	x.before, x.after = x.before[:0], x.after[:0]
	rows := &gatheredRows{}
	times := runTimes{stored.Base, runs}
	var old arrowipc.Pick
	var oldKept bool
	next = from
	for row := int32(from - stored.Base); int64(row) < to-stored.Base; row++ {
		pick := arrowipc.Pick{View: view, Row: row}
		kind := model.ChangeType(view.Value(view.Layout().Schema().NumFields()-1, row)[0])
		keep := kept.has(row)
		if kind == model.ChangeUpdateBefore {
			old, oldKept = pick, keep
			continue
		}
		keep = keep || oldKept
		oldKept = false
		next = stored.Base + int64(row) + 1
		switch {
		case !keep:
			old = arrowipc.Pick{}
			continue
		case kind == model.ChangeDelete:
			x.before, x.after = append(x.before, pick), append(x.after, arrowipc.Pick{})
		default:
			x.before, x.after = append(x.before, old), append(x.after, pick)
		}
		old = arrowipc.Pick{}
		rows.offsets, rows.micros = append(rows.offsets, next-1), append(rows.micros, times.at(int64(row)))
		if err := x.builder.AppendValue(0, []byte(kind.String())); err != nil {
			return piece{}, 0, err
		}
	}
	if err := x.builder.AppendStructPicks(1, x.columns, x.before); err != nil {
		return piece{}, 0, err
	}
	if err := x.builder.AppendStructPicks(2, x.columns, x.after); err != nil {
		return piece{}, 0, err
	}
	p = piece{batch: x.builder.Finish(), projection: x.projection, gathered: rows, time: stored.Time()}
	p.batch.Rows = int64(len(rows.offsets))
	if p.batch.Rows > 0 {
		p.offset = rows.offsets[0]
	}
	return p, next, nil
}

// keptRows are the rows that a filter keeps, asked for in ascending order.
type keptRows struct {
	all  bool
	rows []int32
}

func (k *keptRows) has(row int32) bool {
	for len(k.rows) > 0 && k.rows[0] < row {
		k.rows = k.rows[1:]
	}
	return k.all || len(k.rows) > 0 && k.rows[0] == row
}

// prepareChanges makes the changes of the rows [from, to) of a stored batch wait.
func (r *Reader) prepareChanges(s *source, stored *streams.Stored, from, to int64) error {
	kept, err := r.keptOf(s, stored, from, to)
	if err != nil {
		return err
	}
	if !kept.all && len(kept.rows) == 0 && to == stored.Base+stored.Rows {
		s.next = to
		return r.progress()
	}
	batch, err := r.adapt(stored, nil)
	if err != nil {
		return err
	}
	if err := stored.Verify(nil); err != nil {
		return err
	}
	return stored.Use(func() error {
		p, next, err := r.changes.convert(stored, batch, from, to, kept)
		if err != nil {
			return err
		}
		s.next = to // also where the range ends between the two rows of an update
		if next < to && to < stored.Base+stored.Rows {
			s.next = next
			if !r.follow {
				s.to = next
			}
		}
		if err := r.limitChanges(s, &p); err != nil {
			return err
		}
		if p.bucket = s.number; p.batch.Rows == 0 {
			return nil
		}
		if r.filtered != nil && s.next > p.gathered.offsets[p.batch.Rows-1] {
			p.next = s.next
		}
		return r.fit(p)
	})
}

// limitChanges cuts a piece to what the limit leaves.
func (r *Reader) limitChanges(s *source, p *piece) (err error) {
	if r.left >= 0 && p.batch.Rows > r.left {
		if p.batch, err = arrowipc.Slice(p.batch, 0, r.left); err != nil {
			return err
		}
		p.gathered = p.gathered.cut(0, r.left)
		s.next = p.gathered.offsets[r.left-1] + 1
	}
	if r.left >= 0 {
		r.left -= p.batch.Rows
	}
	return nil
}

// at gives the append time of a row of the stored batch, µs.
func (t runTimes) at(row int64) int64 {
	for _, run := range t.runs {
		if row < run.RowStart+run.Rows {
			return run.Time
		}
	}
	return 0
}
