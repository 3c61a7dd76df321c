package model

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
)

// evolution is a definition that is being changed.
type evolution struct {
	table *Table
	trees []*FieldTree
	last  int32 // the highest number of a field
}

// WithColumns gives the table's definition with its columns changed, one change after the other. The schema
// has the version that it had: see Succeed. An error names the rule that a change breaks; whether the names
// are right as a whole is checked at the end.
func (t *Table) WithColumns(changes ...ColumnChange) (*Table, error) {
	changed := *t
	e := &evolution{table: &changed, trees: t.Current().Trees(), last: t.LastFieldID()}
	if e.trees == nil {
		return nil, Errorf(Internal, "%s has %d fields and %d numbers for them", t.Name, nestedFields(t.Schema.Fields())+t.Schema.NumFields(), len(t.FieldIDs)+len(t.NestedIDs))
	}
	changed.Defaults, changed.Comments, changed.Options = cloned(t.Defaults), cloned(t.Comments), cloned(t.Options)
	changed.Initial = cloned(t.Initial)
	changed.PrimaryKey, changed.BucketKey = slices.Clone(t.PrimaryKey), slices.Clone(t.BucketKey)
	changed.PartitionBy, changed.Indexes = slices.Clone(t.PartitionBy), slices.Clone(t.Indexes)
	for _, change := range changes {
		if err := change.change(e); err != nil {
			return nil, err
		}
	}
	changed.lastField = e.last
	v := flatten(t.SchemaVersion, e.trees, t.Schema.Metadata())
	changed.Schema, changed.FieldIDs, changed.NestedIDs = v.Schema, v.FieldIDs, v.NestedIDs
	if err := CheckSchema(changed.Schema); err != nil {
		return nil, err
	}
	if err := changed.CheckOptions(); err != nil {
		return nil, err
	}
	defaults, err := CheckDefaults(changed.Schema, changed.Defaults)
	if err != nil {
		return nil, err
	}
	changed.Defaults = defaults
	return &changed, nil
}

func cloned[K comparable, V any](m map[K]V) map[K]V {
	if m == nil {
		return map[K]V{}
	}
	return maps.Clone(m)
}

// Succeed makes changed the definition that follows that of t: where its columns differ, they are the next
// version of the schema, and those of t an earlier one.
func (t *Table) Succeed(changed *Table) (*Table, error) {
	if changed.Current().same(t.Current()) {
		same := *changed
		same.Initial, same.lastField = t.Initial, 0
		return &same, nil
	}
	if len(t.Versions)+1 >= SchemaVersionsMax {
		return nil, Errorf(BadRequest, "the schema of %s was changed %d times, and no more changes are taken", t.Name, len(t.Versions)).
			WithRemedy("Make several changes at once; copy the table to begin anew")
	}
	next := *changed
	next.Versions = append(slices.Clone(t.Versions), t.Current())
	next.SchemaVersion = t.SchemaVersion + 1
	next.lastField = 0
	next.Initial = maps.Clone(changed.Initial)
	maps.DeleteFunc(next.Initial, func(id int32, _ any) bool {
		return !next.Had(id, next.SchemaVersion) // it was added and dropped again: its number is free
	})
	return &next, nil
}

// siblings gives the columns or fields among which path leads to one, and the field that they are in; nil
// for columns.
func (e *evolution) siblings(path ColumnPath) (*[]*FieldTree, *FieldTree, error) {
	if len(path) == 0 || len(path) > TypeDepthMax {
		return nil, nil, badChange("a column is named by %d names, want 1 to %d", len(path), TypeDepthMax)
	}
	if len(path) == 1 {
		return &e.trees, nil, nil
	}
	parent, err := e.find(path[:len(path)-1])
	if err != nil {
		return nil, nil, err
	}
	return &parent.Children, parent, nil
}

// find gives the column or field that a path leads to.
func (e *evolution) find(path ColumnPath) (*FieldTree, error) {
	siblings, _, err := e.siblings(path)
	if err != nil {
		return nil, err
	}
	at, err := find(*siblings, path)
	if err != nil {
		return nil, err
	}
	return (*siblings)[at], nil
}

// find gives the index of the last name of path.
func find(siblings []*FieldTree, path ColumnPath) (int, error) {
	if at := indexOfTree(siblings, path[len(path)-1]); at >= 0 {
		return at, nil
	}
	names := make([]string, min(len(siblings), 20))
	for i := range names {
		names[i] = siblings[i].Field.Name
	}
	return 0, Errorf(ColumnNotFound, "there is no column %s", path).With("column", clip(strings.Join(path, "."), 140)).
		WithRemedy("There are %s", clip(strings.Join(names, ", "), 400))
}

func indexOfTree(trees []*FieldTree, name string) int {
	return slices.IndexFunc(trees, func(t *FieldTree) bool { return t.Field.Name == name })
}

// place moves the field that path names among its siblings.
func place(siblings *[]*FieldTree, path ColumnPath, to Place) error {
	name := path[len(path)-1]
	if to.First && to.After != "" {
		return badChange("column %s is to stand first and behind %q", path, to.After).WithRemedy("Say one of them")
	}
	at := indexOfTree(*siblings, name)
	moved := (*siblings)[at]
	rest := slices.Delete(slices.Clone(*siblings), at, at+1)
	target := len(rest)
	switch {
	case to.First:
		target = 0
	case to.After != "":
		behind, err := find(rest, append(slices.Clone(path[:len(path)-1]), to.After))
		if err != nil {
			return err
		}
		target = behind + 1
	}
	*siblings = slices.Insert(rest, target, moved)
	return nil
}

// number gives a new field and what is nested in it numbers that no field has had.
func (e *evolution) number(field arrow.Field) *FieldTree {
	ids := make([]int32, 1+nestedFields([]arrow.Field{field}))
	for i := range ids {
		e.last++
		ids[i] = e.last
	}
	tree, _ := newFieldTree(ids[0], field, ids[1:])
	return tree
}

// initial checks the value that rows show which are there already.
func (e *evolution) initial(path ColumnPath, field arrow.Field, value any) (any, error) {
	if value == nil {
		return nil, nil
	}
	checked, err := CheckDefault(field, value)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(checked)
	if err != nil {
		return nil, badChange("the default of column %s: %v", path, err)
	}
	if len(text) > InitialBytesMax {
		return nil, badChange("the default of column %s has %d bytes as text, and at most %d where rows are there", path, len(text), InitialBytesMax).
			WithRemedy("Add the column without a default")
	}
	return checked, nil
}

func (e *evolution) setDefault(name string, value any) {
	delete(e.table.Defaults, name)
	if value != nil {
		e.table.Defaults[name] = value
	}
}

func (e *evolution) setComment(name, comment string) {
	delete(e.table.Comments, name)
	if comment != "" {
		e.table.Comments[name] = comment
	}
}

// changeDefault changes the objects that a column's default has where path leads to one of their fields.
func (e *evolution) changeDefault(path ColumnPath, change func(object map[string]any, name string)) {
	value, has := e.table.Defaults[path[0]]
	if !has {
		return
	}
	value = copyJSON(value)
	objectsAt(value, path[1:], change)
	e.table.Defaults[path[0]] = value
}

// objectsAt finds the objects whose field the last name of path is; arrays take a name of the path, that of
// their element.
func objectsAt(value any, path []string, change func(object map[string]any, name string)) {
	switch v := value.(type) {
	case []any:
		for _, element := range v {
			if len(path) > 1 {
				objectsAt(element, path[1:], change)
			}
		}
	case map[string]any:
		if len(path) == 1 {
			change(v, path[0])
		} else {
			objectsAt(v[path[0]], path[1:], change)
		}
	}
}

func copyJSON(value any) any {
	switch v := value.(type) {
	case []any:
		copied := make([]any, len(v))
		for i := range v {
			copied[i] = copyJSON(v[i])
		}
		return copied
	case map[string]any:
		copied := make(map[string]any, len(v))
		for name := range v {
			copied[name] = copyJSON(v[name])
		}
		return copied
	}
	return value
}

// inMapKey says that a path leads to the key of a map, or into it.
func (e *evolution) inMapKey(path ColumnPath) bool {
	for n := 1; n < len(path); n++ {
		tree, err := e.find(path[:n])
		if err == nil && tree.Field.Type.ID() == arrow.MAP && path[n] == tree.Children[0].Field.Name {
			return true
		}
	}
	return false
}

// widen takes the types of a wider type over, and leaves names as they are.
func (f *FieldTree) widen(to arrow.DataType) {
	wider := NumberedChildren(to)
	if len(wider) == 0 {
		f.Field.Type = to
		return
	}
	for i, child := range f.Children {
		child.widen(wider[i].Type)
		child.Field.Nullable = child.Field.Nullable || wider[i].Nullable
	}
}
