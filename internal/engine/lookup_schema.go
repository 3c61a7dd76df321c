package engine

import (
	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// gathering is how columns of rows of one version of the table's schema are gathered that are shown in another one.
type gathering struct {
	// columns are those wanted that the rows have, as indexes in their log.
	columns []int
	// layout is that of what is gathered, adapter makes what is shown of that; nil: it is that.
	layout  *arrowipc.Layout
	adapter *arrowipc.Adapter
}

// gather finds how columns, by index, are gathered from rows of a version now. layout is that of what is shown; it
// has before other columns before these, and others behind them, which stay as they are.
func (s *tableSchema) gather(now *tableSchema, columns []int, layout *arrowipc.Layout, before int) (*gathering, error) {
	if s == now {
		return &gathering{columns: columns, layout: layout}, nil
	}
	g := &gathering{}
	shown := layout.Schema().Fields()
	// The columns that are not the table's get numbers that no field has.
	var left, right []*model.FieldTree
	var fields []arrow.Field
	for i, field := range shown {
		if i < before || i >= before+len(columns) {
			foreign := &model.FieldTree{ID: foreignField + int32(i), Field: field}
			left, right, fields = append(left, foreign), append(right, foreign), append(fields, field)
			continue
		}
		tree := s.trees[columns[i-before]]
		right = append(right, tree)
		at := now.columnOf(tree.ID)
		if at < 0 {
			continue
		}
		g.columns = append(g.columns, at)
		gathered := now.layout.Schema().Field(at)
		gathered.Name, gathered.Nullable = field.Name, true
		left, fields = append(left, now.trees[at]), append(fields, gathered)
	}
	var err error
	if g.layout, err = arrowipc.NewLayout(arrow.NewSchema(fields, nil)); err != nil {
		return nil, err
	}
	from, err := arrowipc.NewFieldLayout(g.layout, left)
	if err != nil {
		return nil, err
	}
	to, err := arrowipc.NewFieldLayout(layout, right)
	if err != nil {
		return nil, err
	}
	g.adapter, err = arrowipc.NewAdapter(from, to, func(int32) any { return nil })
	return g, err
}

// finish gives the rows that a builder of the gathering's layout has, as they are shown.
func (g *gathering) finish(builder *arrowipc.Builder, rows int) (*arrowipc.Batch, error) {
	gathered := builder.Finish()
	gathered.Rows = int64(rows) // also where there are no columns
	if g.adapter == nil {
		return gathered, nil
	}
	defer gathered.Release()
	adapted, err := g.adapter.Adapt(gathered, nil)
	if err != nil {
		return nil, err
	}
	return adapted.Joined(), nil
}

// lookupBinding is how rows of one version of the table's schema become answers of a stream, which have the
// columns of the version that it was opened with.
type lookupBinding struct {
	*gathering
	schema *tableSchema
	// builders make the halves of the answers of both turns, found is the index of the column that says what was
	// found.
	builders [2][2]*arrowipc.Builder
	found    int
}

// bind makes the stream ready for rows of a version of the schema.
func (l *Lookup) bind(schema *tableSchema) error {
	if l.binding != nil && l.binding.schema == schema {
		return nil
	}
	if l.index != nil {
		if err := l.index.bind(l.schema, schema); err != nil {
			return err
		}
	}
	g, err := l.schema.gather(schema, l.columns, l.answers, l.carried)
	if err != nil {
		return err
	}
	if l.filtered != nil {
		if err := l.filtered.bind(l.schema, schema); err != nil {
			return err
		}
	}
	l.binding = &lookupBinding{
		gathering: g, schema: schema, found: g.layout.Schema().NumFields() - 1,
	}
	for turn := range l.binding.builders {
		l.binding.builders[turn] = [2]*arrowipc.Builder{arrowipc.NewBuilder(g.layout), arrowipc.NewBuilder(g.layout)}
	}
	return nil
}

// foreignField is above all numbers of fields.
const foreignField = 1 << 30

// isOf says that rows that were found are of the schema that the stream is bound to. Those of one bucket have
// one schema, so that one row of each will do.
func (b *lookupBinding) isOf(picks []arrowipc.Pick) bool {
	for i := range picks {
		if view := picks[i].View; view != nil {
			return view.Layout() == b.schema.log
		}
	}
	return true
}
