package engine

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// tableSchema is one version of a table's schema: what streams that were opened under it go on with, whatever
// becomes of the table. All but its adapters is immutable.
type tableSchema struct {
	table   *table
	version int32
	// definition is one with this schema. Its options may be older than those of the table.
	definition *model.Table
	// layout is that of the rows that users see, log that of the rows in the log, which in a primary-key
	// table have the change column behind them.
	layout, log *arrowipc.Layout
	// fields and logFields are the same with the lasting numbers of their columns, which are trees.
	fields, logFields *arrowipc.FieldLayout
	trees             []*model.FieldTree
	// keyed is for primary-key tables; nil for a log table.
	keyed *keyColumns

	adapters *schemaAdapters
}

// schemaAdapters make rows in the log of other versions of a table's schema rows of one. They do not lead to the table:
// what reads its retired rows holds them, and is released once nothing leads to it.
type schemaAdapters struct {
	to *arrowipc.FieldLayout
	// own is a definition with the version that is made, newest what the table has become.
	own    *model.Table
	newest *atomic.Pointer[model.Table]

	mu        sync.Mutex
	byVersion map[int32]*arrowipc.Adapter // guarded by mu
}

// newTableSchema gives the schema of a definition. An error names the table.
func newTableSchema(t *table, definition *model.Table) (*tableSchema, error) {
	s, err := makeTableSchema(t, definition)
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", definition.Name, err)
	}
	return s, nil
}

func makeTableSchema(t *table, definition *model.Table) (*tableSchema, error) {
	s := &tableSchema{
		table: t, version: definition.SchemaVersion, definition: definition, trees: definition.Current().Trees(),
	}
	if s.trees == nil {
		return nil, model.Errorf(model.Corrupt, "the columns and their numbers do not go together")
	}
	var err error
	if s.layout, err = arrowipc.NewLayout(definition.Schema); err != nil {
		return nil, err
	}
	if s.fields, err = arrowipc.NewFieldLayout(s.layout, s.trees); err != nil {
		return nil, err
	}
	s.log, s.logFields = s.layout, s.fields
	if definition.Keyed() {
		if s.log, err = arrowipc.NewLayout(definition.LogSchema()); err != nil {
			return nil, err
		}
		if s.logFields, err = arrowipc.NewFieldLayout(s.log, s.trees); err != nil {
			return nil, err
		}
	}
	s.adapters = &schemaAdapters{to: s.logFields, own: definition, newest: t.definition, byVersion: map[int32]*arrowipc.Adapter{}}
	if _, err := s.newRouter(s.layout, definition.BucketKey); err != nil {
		return nil, err
	}
	s.keyed, err = newKeyedSchema(s)
	return s, err
}

// definitionOf gives the table's definition, or where that has a later schema already, an older one.
func (t *table) definitionOf(s *tableSchema) *model.Table {
	definition := t.definition.Load()
	if definition.SchemaVersion != s.version {
		return s.definition
	}
	return definition
}

// columnOf gives the index of the column of a number; -1 where there is none.
func (s *tableSchema) columnOf(id int32) int {
	return slices.IndexFunc(s.trees, func(tree *model.FieldTree) bool { return tree.ID == id })
}

// adapter gives how rows in the log of another version of the schema become those of this one; nil where
// they are of this one.
func (s *tableSchema) adapter(version int32) (*arrowipc.Adapter, error) {
	if version == s.version {
		return nil, nil
	}
	return s.adapters.adapter(version)
}

func (s *schemaAdapters) adapter(version int32) (*arrowipc.Adapter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.byVersion[version]; a != nil {
		return a, nil
	}
	definition := s.newest.Load()
	if definition == nil || definition.SchemaVersion < s.own.SchemaVersion {
		definition = s.own
	}
	a, err := adapterTo(s.to, definition, version)
	if err != nil {
		return nil, err
	}
	s.byVersion[version] = a
	return a, nil
}

// adapterTo gives how rows in the log of a version of a table's schema become those of another one, which the
// definition knows too.
func adapterTo(to *arrowipc.FieldLayout, definition *model.Table, version int32) (*arrowipc.Adapter, error) {
	from, known := definition.At(version)
	if !known {
		return nil, model.Errorf(model.Corrupt, "there are rows of version %d of the schema of %s, of which nothing is known", version, definition.Name)
	}
	layout, err := arrowipc.NewLayout(definition.LogSchemaOf(from.Schema))
	if err != nil {
		return nil, err
	}
	fields, err := arrowipc.NewFieldLayout(layout, from.Trees())
	if err != nil {
		return nil, err
	}
	return arrowipc.NewAdapter(fields, to, func(id int32) any {
		if definition.Had(id, version) { // it was dropped
			return nil
		}
		return definition.Initial[id]
	})
}

// earlierMax is how many earlier versions of the schema a stream of rows may be of that is opened.
const earlierMax = 64

// earlier gives the earlier versions of the schema, newest first.
func (s *tableSchema) earlier() ([]*tableSchema, error) {
	versions := s.definition.Versions
	var all []*tableSchema
	for i, v := range slices.Backward(versions[max(0, len(versions)-earlierMax):]) {
		older, err := newTableSchema(s.table, s.definition.AsOf(v, versions[:i]))
		if err != nil {
			return nil, err
		}
		all = append(all, older)
	}
	return all, nil
}
