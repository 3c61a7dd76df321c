package engine

import (
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// adoption is how rows of a stream become rows of a later version of the schema than the one that it was
// opened with.
type adoption struct {
	schema *tableSchema
	// err is why they cannot: every batch of the stream is refused with it.
	err     error
	adapter *arrowipc.Adapter
	// columns are those of the rows of a put into a primary-key table, as indexes in the schema.
	columns []int
}

// newOwnPut gives a put of rows into a primary-key table that the server itself makes.
func newOwnPut(schema *tableSchema, level model.Durability, keyed *keyedPut) *Put {
	t := schema.table
	return &Put{engine: t.engine, table: t, schema: schema, level: level, keyed: keyed, sent: schema.idsOf(keyed.columns)}
}

// idsOf gives the numbers of columns.
func (s *tableSchema) idsOf(columns []int) []int32 {
	ids := make([]int32, len(columns))
	for i, column := range columns {
		ids[i] = s.trees[column].ID
	}
	return ids
}

// lacks names the columns of an earlier schema, given by their numbers, and the fields in them that are not
// there any more.
func (s *tableSchema) lacks(earlier *tableSchema, ids []int32) (missing []string) {
	var compare func(path string, before *model.FieldTree, now []*model.FieldTree)
	compare = func(path string, before *model.FieldTree, now []*model.FieldTree) {
		path += before.Field.Name
		at := slices.IndexFunc(now, func(tree *model.FieldTree) bool { return tree.ID == before.ID })
		if at < 0 {
			missing = append(missing, fmt.Sprintf("%q", path))
			return
		}
		for _, child := range before.Children {
			compare(path+".", child, now[at].Children)
		}
	}
	for _, id := range ids {
		compare("", earlier.trees[earlier.columnOf(id)], s.trees)
	}
	return missing
}

// adopt makes the rows of a request rows of the schema that the table has now: its stream may have been
// opened before that changed. It is for the committer.
func (r *request) adopt() error {
	a := r.adoption()
	if a == nil || a.err != nil {
		return a.refusal()
	}
	for i := range r.parts {
		adopted, err := a.adapter.Adapt(r.parts[i].batch, nil)
		if err != nil {
			return err
		}
		if size := adopted.Size(); size > adoptedBytesMax && size > 2*r.parts[i].batch.Size() {
			return errAdoptedSize(r.table.schema.Load())
		}
		joined := adopted.Joined()
		r.parts[i].batch.Release()
		r.parts[i].batch = joined
	}
	return nil
}

// adoptedBytesMax is what a batch may have that becomes larger as it gets columns that its stream does not know: it
// is not cut, as those of streams are that are opened behind a change.
const adoptedBytesMax = 8 << 20

func errAdoptedSize(now *tableSchema) error {
	name := now.definition.Name.String()
	return model.Errorf(model.SchemaChanged, "the schema of %s has changed: the columns that it has got make the batch too large", name).
		With("table", name).With("schema_version", now.version).WithRemedy("Nothing of the batch was stored: open the stream again")
}

// adoption gives how the rows of a request become rows of the schema that the table has now; nil where they
// are such rows.
func (r *request) adoption() *adoption {
	now := r.table.schema.Load()
	if r.put.schema == now {
		return nil
	}
	a := r.put.adoption
	if a == nil || a.schema != now {
		a = &adoption{schema: now}
		a.err = a.open(r.put)
		r.put.adoption = a
	}
	return a
}

// refusal is why the rows cannot be taken; a may be nil.
func (a *adoption) refusal() error {
	if a == nil {
		return nil
	}
	return a.err
}

// open finds how the rows of a put become rows of the schema.
func (a *adoption) open(p *Put) error {
	if dropped := a.schema.lacks(p.schema, p.sent); len(dropped) > 0 {
		name := a.schema.definition.Name.String()
		return model.Errorf(model.SchemaChanged, "the schema of %s has changed: it has no %s any more", name, strings.Join(dropped, ", ")).
			With("table", name).With("schema_version", a.schema.version).
			WithRemedy("Nothing of the batch was stored: open the stream again with the columns that DescribeTable names")
	}
	if p.keyed != nil {
		return a.openKeyed(p)
	}
	var err error
	a.adapter, err = arrowipc.NewAdapter(p.schema.fields, a.schema.fields, func(id int32) any {
		column := a.schema.columnOf(id)
		if column < 0 {
			return a.schema.definition.Initial[id] // a field inside a column
		}
		return a.schema.definition.Defaults[a.schema.layout.Schema().Field(column).Name]
	})
	return err
}

// openKeyed is open for a primary-key table. Columns that the stream did not know keep their values in rows
// that are there.
func (a *adoption) openKeyed(p *Put) error {
	before, now := make([]*model.FieldTree, len(p.sent)), make([]*model.FieldTree, len(p.sent))
	fields := make([]arrow.Field, len(p.sent))
	for i, id := range p.sent {
		column := a.schema.columnOf(id)
		a.columns = append(a.columns, column)
		before[i], now[i] = p.schema.trees[p.schema.columnOf(id)], a.schema.trees[column]
		fields[i] = a.schema.layout.Schema().Field(column)
	}
	from, err := arrowipc.NewFieldLayout(p.keyed.layout, before)
	if err != nil {
		return err
	}
	layout, err := arrowipc.NewLayout(arrow.NewSchema(fields, nil))
	if err != nil {
		return err
	}
	to, err := arrowipc.NewFieldLayout(layout, now)
	if err != nil {
		return err
	}
	a.adapter, err = arrowipc.NewAdapter(from, to, func(id int32) any { return a.schema.definition.Initial[id] })
	return err
}

// keyedColumns are the columns of the rows of a request into a primary-key table, as indexes in the schema
// that the table has now. adopt has been called.
func (r *request) keyedColumns() []int {
	if a := r.put.adoption; a != nil && r.put.schema != a.schema {
		return a.columns
	}
	return r.put.keyed.columns
}
