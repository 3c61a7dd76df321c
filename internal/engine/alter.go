package engine

import (
	"context"
	"maps"
	"slices"

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
	for _, change := range changes {
		if definition, err = change.apply(definition); err != nil {
			return nil, err
		}
	}
	if err := definition.CheckOptions(); err != nil {
		return nil, err
	}
	if err := t.checkIndexes(definition); err != nil {
		return nil, err
	}
	if definition.Buckets != t.definition.Load().Buckets {
		return e.grow(ctx, t, definition)
	}
	// The committer must see one level for all rows that are on their way.
	err = e.control(ctx, func() error {
		if err := e.settle(); err != nil {
			return err
		}
		return e.redefine(t, definition)
	})
	if err != nil {
		return nil, err
	}
	return definition, nil
}

// SetOptions is AlterTable with changes of options.
func (e *Engine) SetOptions(ctx context.Context, name model.TableName, expect Expect, set map[string]string) (*model.Table, error) {
	var changes []TableChange
	for _, option := range slices.Sorted(maps.Keys(set)) {
		changes = append(changes, SetOption{option, set[option]})
	}
	return e.AlterTable(ctx, name, expect, changes...)
}
