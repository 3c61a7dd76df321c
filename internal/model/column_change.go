package model

import (
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
)

// ColumnPath names a column, or a field nested in one by the names that lead to it. The element of a list
// has the name that its type gives it, mostly item; the halves of a map are key and value.
type ColumnPath []string

// String is the path as errors show it.
func (p ColumnPath) String() string { return formatPath(p) }

// ColumnChange is a change of the columns of a table.
type ColumnChange interface {
	change(e *evolution) error
}

// Place is where a column stands among those beside it: behind another one, first, or, if neither is set,
// last.
type Place struct {
	After string
	First bool
}

// AddColumn adds a column, or a field to a struct.
type AddColumn struct {
	// Path names it; all but the last name lead to the struct.
	Path ColumnPath
	// Field has its type, nullable flag and metadata; the name is that of Path.
	Field arrow.Field
	// Default is the value of rows that were written before and of those whose writer leaves it out, in JSON
	// form; see CheckDefault. nil: null. A NOT NULL column has one.
	Default any
	// Comment is free text, of a top-level column.
	Comment string
	Place   Place
}

// DropColumn takes a column away, or a field of a struct. Its name may be used again, by another column.
type DropColumn struct{ Path ColumnPath }

// RenameColumn gives a column, or a field of a struct, another name.
type RenameColumn struct {
	Path ColumnPath
	To   string
}

// SetType gives a column, or a nested field, a type that Widens allows.
type SetType struct {
	Path ColumnPath
	Type arrow.DataType
}

// SetNullable lets a column, or a nested field, hold nulls.
type SetNullable struct{ Path ColumnPath }

// MoveColumn moves a column among the columns, or a field among those of its struct.
type MoveColumn struct {
	Path  ColumnPath
	Place Place
}

// SetComment replaces the comment of a top-level column; empty: none.
type SetComment struct {
	Column  string
	Comment string
}

// SetMetadata replaces the metadata of a column or nested field, but for what Arrow itself keeps there.
type SetMetadata struct {
	Path     ColumnPath
	Metadata map[string]string
}

// InitialBytesMax bounds a default that AddColumn gives to rows that are there, as text: every read of
// such rows sends it once a row.
const InitialBytesMax = 256

func (c AddColumn) change(e *evolution) error {
	siblings, parent, err := e.siblings(c.Path)
	if err != nil {
		return err
	}
	if parent != nil && parent.Field.Type.ID() != arrow.STRUCT {
		return badChange("%s is no struct: only structs get fields", c.Path[:len(c.Path)-1])
	}
	field := c.Field
	field.Name = c.Path[len(c.Path)-1]
	if indexOfTree(*siblings, field.Name) >= 0 {
		return badChange("there is a column %s already", c.Path).WithRemedy("Choose another name")
	}
	field = StoredSchema(arrow.NewSchema([]arrow.Field{field}, nil)).Field(0)
	if AutoIncremented(field, c.Default) {
		return badChange("column %s: a column that is added has no default %s: rows that are there would have no number", c.Path, AutoIncrement)
	}
	if c.Default == nil && !field.Nullable {
		return badChange("column %s is NOT NULL and has no default: rows that are there have no value for it", c.Path).
			WithRemedy("Name a default, or let the column be nullable")
	}
	if len(c.Path) > 1 && c.Comment != "" {
		return badChange("field %s: only columns have comments", c.Path)
	}
	value, err := e.initial(c.Path, field, c.Default)
	if err != nil {
		return err
	}
	tree := e.number(field)
	if value != nil {
		e.table.Initial[tree.ID] = value
	}
	if len(c.Path) == 1 {
		e.setDefault(field.Name, value)
		e.setComment(field.Name, c.Comment)
	} else {
		e.changeDefault(c.Path, func(object map[string]any, name string) { object[name] = value })
	}
	*siblings = append(*siblings, tree)
	if c.Place == (Place{}) {
		return nil
	}
	return place(siblings, c.Path, c.Place)
}

func (c DropColumn) change(e *evolution) error {
	siblings, parent, err := e.siblings(c.Path)
	if err != nil {
		return err
	}
	at, err := find(*siblings, c.Path)
	if err != nil {
		return err
	}
	name := c.Path[len(c.Path)-1]
	switch {
	case parent != nil && parent.Field.Type.ID() != arrow.STRUCT:
		return badChange("%s is part of the type of its column: only columns and fields of structs are dropped", c.Path)
	case len(*siblings) == 1:
		return badChange("%s is the only one: something has to be left", c.Path)
	}
	if len(c.Path) == 1 {
		if use := e.table.useOf(name); use != "" {
			return badChange("column %s is %s and cannot be dropped", c.Path, use)
		}
		e.setDefault(name, nil)
		e.setComment(name, "")
	} else {
		e.changeDefault(c.Path, func(object map[string]any, name string) { delete(object, name) })
	}
	*siblings = slices.Delete(*siblings, at, at+1)
	return nil
}

func (c RenameColumn) change(e *evolution) error {
	siblings, parent, err := e.siblings(c.Path)
	if err != nil {
		return err
	}
	at, err := find(*siblings, c.Path)
	if err != nil {
		return err
	}
	name := c.Path[len(c.Path)-1]
	if parent != nil && parent.Field.Type.ID() != arrow.STRUCT {
		return badChange("%s is part of the type of its column: only columns and fields of structs are renamed", c.Path)
	}
	if c.To == name {
		return nil
	}
	if indexOfTree(*siblings, c.To) >= 0 {
		return badChange("there is a column %s already", append(slices.Clone(c.Path[:len(c.Path)-1]), c.To)).WithRemedy("Choose another name")
	}
	(*siblings)[at].Field.Name = c.To
	if len(c.Path) > 1 {
		e.changeDefault(c.Path, func(object map[string]any, name string) {
			object[c.To] = object[name]
			delete(object, name)
		})
		return nil
	}
	e.rename(name, c.To)
	return nil
}

func (c SetType) change(e *evolution) error {
	tree, err := e.find(c.Path)
	if err != nil {
		return err
	}
	if fault := (&schemaCheck{}).typeFault(tree.Field.Name, c.Type); fault != nil {
		return fault
	}
	from, to := tree.field().Type, storedType(c.Type)
	if arrow.TypeEqual(from, to) {
		return nil
	}
	if use := e.table.useOf(c.Path[0]); use != "" && !e.table.mayWiden(c.Path[0]) {
		return badChange("column %s is %s and keeps its type", c.Path, use)
	}
	if e.inMapKey(c.Path) {
		return badChange("%s is the key of a map and keeps its type", c.Path)
	}
	if !Widens(from, to) {
		return badChange("column %s is of type %s, which does not widen to %s", c.Path, clip(FormatType(from), 140), clip(FormatType(to), 140)).
			WithRemedy("Types change to wider ones alone: add a column of the other type")
	}
	tree.widen(to)
	return nil
}

func (c SetNullable) change(e *evolution) error {
	tree, err := e.find(c.Path)
	if err != nil {
		return err
	}
	if slices.Contains(e.table.PrimaryKey, c.Path[0]) {
		return badChange("column %s is of the primary key, which is NOT NULL", c.Path)
	}
	if slices.Contains(e.table.PartitionBy, c.Path[0]) {
		return badChange("column %s is of the partitions, which are NOT NULL", c.Path)
	}
	if e.inMapKey(c.Path) {
		return badChange("%s is the key of a map, which is NOT NULL", c.Path)
	}
	tree.Field.Nullable = true
	return nil
}

func (c MoveColumn) change(e *evolution) error {
	siblings, parent, err := e.siblings(c.Path)
	if err != nil {
		return err
	}
	if _, err := find(*siblings, c.Path); err != nil {
		return err
	}
	if parent != nil && parent.Field.Type.ID() != arrow.STRUCT {
		return badChange("%s is part of the type of its column: only columns and fields of structs are moved", c.Path)
	}
	return place(siblings, c.Path, c.Place)
}

func (c SetComment) change(e *evolution) error {
	if _, err := e.find(ColumnPath{c.Column}); err != nil {
		return err
	}
	e.setComment(c.Column, c.Comment)
	return nil
}

func (c SetMetadata) change(e *evolution) error {
	tree, err := e.find(c.Path)
	if err != nil {
		return err
	}
	metadata := map[string]string{}
	for key, value := range tree.Field.Metadata.ToMap() {
		if isArrowMetadata(key) {
			metadata[key] = value
		}
	}
	for key, value := range c.Metadata {
		if isArrowMetadata(key) {
			return badChange("column %s: the metadata key %q is Arrow's own", c.Path, clip(key, 140))
		}
		metadata[key] = value
	}
	tree.Field.Metadata = arrow.MetadataFrom(metadata)
	return nil
}

func badChange(format string, args ...any) *Error {
	return Errorf(BadRequest, "%s", fmt.Sprintf(format, args...))
}
