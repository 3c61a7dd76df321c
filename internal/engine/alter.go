package engine

import (
	"context"
	"maps"
	"slices"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// Expect guards a change against another one in between. Zero fields are not compared.
type Expect struct {
	ID            string
	SchemaVersion int32
}

func (x Expect) check(definition *model.Table) error {
	if x.ID != "" && x.ID != definition.ID {
		return model.Errorf(model.TableReplaced, "the table %s has the id %s, not %s", definition.Name, definition.ID, x.ID)
	}
	if x.SchemaVersion != 0 && x.SchemaVersion != definition.SchemaVersion {
		return model.Errorf(model.SchemaChanged, "the table %s has schema version %d, not %d",
			definition.Name, definition.SchemaVersion, x.SchemaVersion)
	}
	return nil
}

// TableChange is a change of a table's definition.
type TableChange interface {
	// apply gives the definition behind the change.
	apply(definition *model.Table) (*model.Table, error)
}

// SetOption sets an option; an empty value resets it to its default.
type SetOption struct{ Name, Value string }

// CreateIndex makes a secondary index. It is built in the background: DescribeTable tells how far it is.
type CreateIndex struct{ Index model.Index }

// DropIndex removes a secondary index. Lookups by it that are open fail.
type DropIndex struct{ Name string }

// ChangeColumns changes columns, one after the other.
type ChangeColumns struct{ Changes []model.ColumnChange }

func (c ChangeColumns) apply(definition *model.Table) (*model.Table, error) {
	return definition.WithColumns(c.Changes...)
}

// SetBuckets gives the table more buckets: 2, 4, 8 … times as many. Nothing is moved: rows that are there stay in
// their logs, and where rows are routed by a bucket key, each bucket splits at its end.
type SetBuckets struct{ Buckets int64 }

func (c SetBuckets) apply(definition *model.Table) (*model.Table, error) {
	return definition.WithBuckets(c.Buckets)
}

func (c SetOption) apply(definition *model.Table) (*model.Table, error) {
	if !model.Alterable(c.Name) && definition.Options[c.Name] != c.Value {
		return nil, model.Errorf(model.BadRequest, "the option %s is fixed when the table is created", c.Name).With("option", c.Name).
			WithRemedy("Create another table with it, and write the rows there")
	}
	changed := *definition
	changed.Options = maps.Clone(definition.Options)
	if changed.Options == nil {
		changed.Options = map[string]string{}
	}
	changed.Options[c.Name] = c.Value
	if c.Value == "" {
		delete(changed.Options, c.Name)
	}
	return &changed, nil
}

func (c CreateIndex) apply(definition *model.Table) (*model.Table, error) {
	return definition.WithIndex(c.Index)
}

func (c DropIndex) apply(definition *model.Table) (*model.Table, error) {
	return definition.WithoutIndex(c.Name)
}

// AlterTable makes changes to a table, one after the other: all of them or none. They are durable when
// it returns.
func (e *Engine) AlterTable(ctx context.Context, name model.TableName, expect Expect, changes ...TableChange) (*model.Table, error) {
	e.catalog.changes.Lock()
	defer e.catalog.changes.Unlock()
	t, err := e.table(name)
	if err != nil {
		return nil, err
	}
	definition := t.definition.Load()
	if err := expect.check(definition); err != nil {
		return nil, err
	}
	next, err := t.altered(definition, changes)
	if err != nil {
		return nil, err
	}
	if next.definition.Buckets != definition.Buckets {
		return e.grow(ctx, t, next)
	}
	// The committer must see one level, and one schema, for all rows that are on their way.
	err = e.control(ctx, func() error {
		if err := e.settle(); err != nil {
			return err
		}
		return e.redefine(t, next)
	})
	if err != nil {
		return nil, err
	}
	return next.definition, nil
}

// altered gives what a table becomes by changes: its definition and the schema with that, which is the one
// that it has where no column changes.
func (t *table) altered(definition *model.Table, changes []TableChange) (*redefinition, error) {
	changed := definition
	var err error
	for _, change := range changes {
		if changed, err = change.apply(changed); err != nil {
			return nil, err
		}
	}
	if err := changed.CheckOptions(); err != nil {
		return nil, err
	}
	if changed, err = definition.Succeed(changed); err != nil {
		return nil, err
	}
	if err := checkInitial(definition, changed); err != nil {
		return nil, err
	}
	next := &redefinition{definition: changed, schema: t.schema.Load()}
	if changed.SchemaVersion != definition.SchemaVersion {
		if next.schema, err = newTableSchema(t, changed); err != nil {
			return nil, err
		}
		// Behind the point of no return nothing may be wrong with them.
		for _, v := range changed.Versions[max(0, len(changed.Versions)-earlierMax):] {
			if _, err := next.schema.adapter(v.Version); err != nil {
				return nil, err
			}
		}
	}
	return next, checkIndexColumns(next.schema, changed)
}

// checkInitial refuses values that are too large to be shown in all rows that are there.
func checkInitial(before, changed *model.Table) error {
	var check func(trees []*model.FieldTree, path string) error
	check = func(trees []*model.FieldTree, path string) error {
		for _, tree := range trees {
			value := changed.Initial[tree.ID]
			if _, known := before.Initial[tree.ID]; value != nil && !known {
				size, err := arrowipc.ValueBytes(tree.Field, value)
				if err != nil {
					return err
				}
				if size > arrowipc.ConstantRowMax {
					return model.Errorf(model.BadRequest, "the default of column %s takes %d bytes, and at most %d where rows are there",
						path+tree.Field.Name, size, arrowipc.ConstantRowMax).WithRemedy("Add the column without a default")
				}
			}
			if err := check(tree.Children, path+tree.Field.Name+"."); err != nil {
				return err
			}
		}
		return nil
	}
	return check(changed.Current().Trees(), "")
}

// redefinition is what a table becomes.
type redefinition struct {
	definition *model.Table
	schema     *tableSchema
}

// SetOptions is AlterTable with changes of options.
func (e *Engine) SetOptions(ctx context.Context, name model.TableName, expect Expect, set map[string]string) (*model.Table, error) {
	var changes []TableChange
	for _, option := range slices.Sorted(maps.Keys(set)) {
		changes = append(changes, SetOption{option, set[option]})
	}
	return e.AlterTable(ctx, name, expect, changes...)
}
