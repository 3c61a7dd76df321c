package model

import (
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
)

// SchemaVersion is the schema that a table had from one change of it to the next. Fields are the same in
// two versions where their numbers are, whatever they are called and wherever they stand.
type SchemaVersion struct {
	// Version counts from 1.
	Version int32
	Schema  *arrow.Schema
	// FieldIDs are the numbers of the top-level columns, in the order of Schema.
	FieldIDs []int32
	// NestedIDs are those of the fields inside them, in the order in which FieldTree walks them.
	NestedIDs []int32
}

// SchemaVersionsMax bounds how often the schema of a table can be changed: every segment says what all of
// its versions were.
const SchemaVersionsMax = 1000

// Current is the version of the schema that the table has now.
func (t *Table) Current() SchemaVersion {
	return SchemaVersion{Version: t.SchemaVersion, Schema: t.Schema, FieldIDs: t.FieldIDs, NestedIDs: t.NestedIDs}
}

// At gives a version of the table's schema; false where the table has no such version.
func (t *Table) At(version int32) (SchemaVersion, bool) {
	if version == t.SchemaVersion {
		return t.Current(), true
	}
	i := slices.IndexFunc(t.Versions, func(v SchemaVersion) bool { return v.Version == version })
	if i < 0 {
		return SchemaVersion{}, false
	}
	return t.Versions[i], true
}

// History gives all versions of the table's schema, oldest first.
func (t *Table) History() []SchemaVersion {
	return append(slices.Clone(t.Versions), t.Current())
}

// Had says that a version of the schema up to the given one had the field of a number, at any depth: a
// later version without it has dropped it.
func (t *Table) Had(id, version int32) bool {
	return slices.ContainsFunc(t.History(), func(v SchemaVersion) bool {
		return v.Version <= version && (slices.Contains(v.FieldIDs, id) || slices.Contains(v.NestedIDs, id))
	})
}

// LastFieldID is the highest number that a field of the table ever had.
func (t *Table) LastFieldID() int32 {
	last := t.lastField
	for _, v := range t.History() {
		for _, id := range v.FieldIDs {
			last = max(last, id)
		}
		for _, id := range v.NestedIDs {
			last = max(last, id)
		}
	}
	return last
}

// NumberFields gives the fields of a table that has none numbers: of the columns first, in their order, and
// then of what is nested in them, where those are missing. Tables that were made before nested fields had
// numbers get the same ones whenever this is done.
func (t *Table) NumberFields() {
	if t.FieldIDs == nil {
		for i := range t.Schema.NumFields() {
			t.FieldIDs = append(t.FieldIDs, int32(i+1))
		}
	}
	if t.NestedIDs == nil && len(t.Versions) == 0 {
		next := t.LastFieldID()
		for range nestedFields(t.Schema.Fields()) {
			next++
			t.NestedIDs = append(t.NestedIDs, next)
		}
	}
}

// nestedFields counts the fields below fields that have numbers.
func nestedFields(fields []arrow.Field) int {
	n := 0
	for _, field := range fields {
		children := NumberedChildren(field.Type)
		n += len(children) + nestedFields(children)
	}
	return n
}

// NumberedChildren gives the fields inside a type that have numbers of their own: the element of a list, the
// fields of a struct, key and value of a map. What is in an extension type has none.
func NumberedChildren(t arrow.DataType) []arrow.Field {
	switch t := t.(type) {
	case *arrow.MapType:
		return []arrow.Field{t.KeyField(), t.ItemField()}
	case *arrow.ListType, *arrow.LargeListType, *arrow.FixedSizeListType, *arrow.StructType:
		return t.(arrow.NestedType).Fields()
	}
	return nil
}

// FieldTree is a field with its number, and what is nested in it.
type FieldTree struct {
	ID       int32
	Field    arrow.Field
	Children []*FieldTree
}

// Trees gives the columns of v with their numbers. Nested fields have theirs in the order of a walk that
// comes to a field before those inside it. It gives nil where there are not as many numbers as fields.
func (v SchemaVersion) Trees() []*FieldTree {
	fields := v.Schema.Fields()
	if len(v.FieldIDs) != len(fields) || len(v.NestedIDs) != nestedFields(fields) {
		return nil
	}
	nested := v.NestedIDs
	trees := make([]*FieldTree, len(fields))
	for i, field := range fields {
		trees[i], nested = newFieldTree(v.FieldIDs[i], field, nested)
	}
	return trees
}

// newFieldTree takes the numbers of nested fields from the front of ids, and gives what is left.
func newFieldTree(id int32, field arrow.Field, ids []int32) (*FieldTree, []int32) {
	tree := &FieldTree{ID: id, Field: field}
	for _, child := range NumberedChildren(field.Type) {
		var below *FieldTree
		below, ids = newFieldTree(ids[0], child, ids[1:])
		tree.Children = append(tree.Children, below)
	}
	return tree, ids
}

// flatten makes a version of columns.
func flatten(version int32, trees []*FieldTree, metadata arrow.Metadata) SchemaVersion {
	v := SchemaVersion{Version: version}
	fields := make([]arrow.Field, len(trees))
	var walk func(tree *FieldTree)
	walk = func(tree *FieldTree) {
		for _, child := range tree.Children {
			v.NestedIDs = append(v.NestedIDs, child.ID)
			walk(child)
		}
	}
	for i, tree := range trees {
		fields[i] = tree.field()
		v.FieldIDs = append(v.FieldIDs, tree.ID)
		walk(tree)
	}
	v.Schema = arrow.NewSchema(fields, &metadata)
	return v
}

// field gives the Arrow field of a tree whose children may have changed.
func (f *FieldTree) field() arrow.Field {
	field := f.Field
	children := make([]arrow.Field, len(f.Children))
	for i, child := range f.Children {
		children[i] = child.field()
	}
	if slices.EqualFunc(children, NumberedChildren(field.Type), arrow.Field.Equal) {
		return field
	}
	switch t := field.Type.(type) {
	case *arrow.ListType:
		field.Type = arrow.ListOfField(children[0])
	case *arrow.LargeListType:
		field.Type = arrow.LargeListOfField(children[0])
	case *arrow.FixedSizeListType:
		field.Type = arrow.FixedSizeListOfField(t.Len(), children[0])
	case *arrow.StructType:
		field.Type = arrow.StructOf(children...)
	case *arrow.MapType:
		changed := arrow.MapOfFields(children[0], children[1])
		changed.KeysSorted = t.KeysSorted
		field.Type = changed
	}
	return field
}

// same says that both versions have the same fields, which look the same.
func (v SchemaVersion) same(w SchemaVersion) bool {
	return v.Schema.Equal(w.Schema) && slices.Equal(v.FieldIDs, w.FieldIDs) && slices.Equal(v.NestedIDs, w.NestedIDs)
}

// AsOf gives the definition in terms of an earlier version of its schema: with the columns of then, and the
// names that they had. What has no meaning in these terms is left out.
func (t *Table) AsOf(v SchemaVersion, before []SchemaVersion) *Table {
	older := *t
	older.Schema, older.FieldIDs, older.NestedIDs, older.SchemaVersion, older.Versions = v.Schema, v.FieldIDs, v.NestedIDs, v.Version, before
	older.Indexes, older.Options, older.Comments, older.Defaults = nil, nil, nil, map[string]any{}
	name := func(now string) string {
		at := slices.Index(v.FieldIDs, t.FieldIDs[t.Schema.FieldIndices(now)[0]])
		return v.Schema.Field(at).Name
	}
	names := func(now []string) []string {
		if now == nil {
			return nil
		}
		then := make([]string, len(now))
		for i := range now {
			then[i] = name(now[i])
		}
		return then
	}
	older.PrimaryKey, older.BucketKey, older.PartitionBy = names(t.PrimaryKey), names(t.BucketKey), names(t.PartitionBy)
	for i, field := range v.Schema.Fields() {
		at := slices.Index(t.FieldIDs, v.FieldIDs[i])
		if at < 0 {
			continue
		}
		if value, has := t.Defaults[t.Schema.Field(at).Name]; has {
			if checked, err := CheckDefault(field, value); err == nil {
				older.Defaults[field.Name] = checked
			}
		}
	}
	return &older
}
