package model

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
)

const (
	// ColumnsMax bounds the columns of a table, nested fields counted too.
	ColumnsMax = 4096
	// ColumnNameBytesMax bounds the name of a column.
	ColumnNameBytesMax = 255
)

// The system columns, in the order in which they are sent. Their names are reserved.
const (
	BucketColumn     = "_bucket"
	OffsetColumn     = "_offset"
	TimestampColumn  = "_timestamp"
	ChangeTypeColumn = "_change_type"
)

// reservedColumns are the names that no user column may have, in any case.
var reservedColumns = []string{BucketColumn, OffsetColumn, TimestampColumn, ChangeTypeColumn}

// CheckSchema says whether a table may have this schema. Dictionaries are taken: StoredSchema turns
// them into their values. The error names every fault: names that are empty, too long, not UTF-8,
// reserved, or equal to another one but for case; types that are not stored; nesting deeper than
// TypeDepthMax; more than ColumnsMax columns. Its reason is UnsupportedType if types are all that
// is wrong, else BadRequest.
func CheckSchema(schema *arrow.Schema) error {
	check := schemaCheck{seen: map[string]string{}}
	if schema.NumFields() == 0 {
		check.badRequest("the table has no columns")
	}
	for _, field := range schema.Fields() {
		check.columnName(field.Name)
		check.field(field, []string{field.Name}, 1)
		if check.fields > ColumnsMax {
			check.badRequest("the table has more than %d columns, nested fields included", ColumnsMax)
			break
		}
	}
	return JoinFaults(append(check.faults, check.typeFaults...))
}

// typeFault says what is wrong with the type that a column is to get, or nil.
func (c *schemaCheck) typeFault(name string, t arrow.DataType) error {
	c.field(arrow.Field{Name: name, Type: t, Nullable: true}, []string{name}, 1)
	return JoinFaults(append(c.faults, c.typeFaults...))
}

// schemaCheck collects the faults of one schema.
type schemaCheck struct {
	seen       map[string]string // name by folded name
	fields     int
	faults     []error
	typeFaults []error
}

func (c *schemaCheck) badRequest(format string, args ...any) {
	c.faults = append(c.faults, Errorf(BadRequest, format, args...))
}

func (c *schemaCheck) columnName(name string) {
	switch {
	case name == "":
		c.badRequest("a column has no name")
	case len(name) > ColumnNameBytesMax:
		c.badRequest("the name of column %q has %d bytes, want at most %d", clip(name, 40), len(name), ColumnNameBytesMax)
	case !utf8.ValidString(name):
		c.badRequest("the name of column %q is not UTF-8", name)
	}
	folded := foldName(name)
	if other, ok := c.seen[folded]; ok && name != "" {
		c.badRequest("the columns %q and %q have the same name but for case", clip(other, 40), clip(name, 40))
	}
	c.seen[folded] = name
	for _, reserved := range reservedColumns {
		if folded == reserved {
			c.badRequest("the name %q is reserved for a system column", name)
		}
	}
}

// foldName gives names that strings.EqualFold calls equal one form.
func foldName(name string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
			least = min(least, other)
		}
		return unicode.ToLower(least)
	}, name)
}

// field checks the type of one field, which stands at path, and of those below it.
func (c *schemaCheck) field(field arrow.Field, path []string, depth int) {
	c.fields++
	if c.fields > ColumnsMax {
		return
	}
	if depth > TypeDepthMax {
		c.badRequest("column %q is nested deeper than %d", clip(path[0], 40), TypeDepthMax)
		return
	}
	if field.Type.ID() == arrow.NULL && !field.Nullable {
		c.badRequest("column %s is of type null and NOT NULL: no value fits", formatPath(path))
	}
	if fault := storedFault(field.Type); fault != "" {
		c.typeFaults = append(c.typeFaults, Errorf(UnsupportedType,
			"column %s: %s", formatPath(path), fault).WithRemedy("Cast the column before sending it"))
		return
	}
	if fault := extensionFault(field); fault != "" {
		c.typeFaults = append(c.typeFaults, Errorf(UnsupportedType, "column %s: %s", formatPath(path), fault).
			WithRemedy("Send the type as its library makes it, or take %s off the field's metadata", extensionNameKey))
	}
	switch t := field.Type.(type) {
	case *arrow.DictionaryType:
		c.field(arrow.Field{Name: field.Name, Type: t.ValueType, Nullable: field.Nullable}, path, depth+1)
	case arrow.ExtensionType:
		c.field(arrow.Field{Name: field.Name, Type: t.StorageType(), Nullable: field.Nullable}, path, depth+1)
	case arrow.NestedType:
		c.children(t, path, depth)
	}
}

func (c *schemaCheck) children(t arrow.NestedType, path []string, depth int) {
	seen := map[string]bool{}
	for _, child := range t.Fields() {
		if !utf8.ValidString(child.Name) {
			c.badRequest("column %s: the name of the field %q is not UTF-8", formatPath(path), clip(child.Name, 40))
		}
		if seen[child.Name] {
			c.badRequest("column %s: two fields are called %q", formatPath(path), clip(child.Name, 40))
		}
		seen[child.Name] = true
		c.field(child, append(path[:len(path):len(path)], child.Name), depth+1)
	}
}

// formatPath names a field by the names that lead to it.
func formatPath(path []string) string {
	return fmt.Sprintf("%q", clip(strings.Join(path, "."), 140))
}

// storedFault says why values of type t are not stored; "" if they are. Types below t do not count.
func storedFault(t arrow.DataType) string {
	switch t := t.(type) {
	case *arrow.RunEndEncodedType, arrow.UnionType, *arrow.ListViewType, *arrow.LargeListViewType:
		return "values of type " + clip(FormatType(t), 140) + " are not stored"
	case *arrow.FixedSizeBinaryType:
		if t.ByteWidth < 1 || t.ByteWidth > FixedSizeMax {
			return fmt.Sprintf("the width is %d bytes, want 1 to %d", t.ByteWidth, FixedSizeMax)
		}
	case *arrow.FixedSizeListType:
		if t.Len() < 1 || t.Len() > FixedSizeMax {
			return fmt.Sprintf("the length is %d, want 1 to %d", t.Len(), FixedSizeMax)
		}
	case arrow.ExtensionType:
		if holdsDictionary(t.StorageType()) {
			return "the extension type " + clip(t.ExtensionName(), 140) + " is stored in a dictionary"
		}
	}
	if t.ID() > arrow.DECIMAL64 || t.ID() < 0 {
		return "values of type " + clip(t.Name(), 140) + " are not stored"
	}
	return ""
}

// StoredSchema gives the schema that a table with this one gets: dictionaries become the type of
// their values, on every level, and the key columns become NOT NULL. All metadata is kept.
func StoredSchema(schema *arrow.Schema, keyColumns ...string) *arrow.Schema {
	fields := schema.Fields()
	for i, field := range fields {
		fields[i] = storedField(field)
		for _, key := range keyColumns {
			if field.Name == key {
				fields[i].Nullable = false
			}
		}
	}
	metadata := schema.Metadata()
	return arrow.NewSchema(fields, &metadata)
}

func storedField(field arrow.Field) arrow.Field {
	field.Type = storedType(field.Type)
	return field
}

// storedType gives t without dictionaries, or t itself if it has none.
func storedType(t arrow.DataType) arrow.DataType {
	if !holdsDictionary(t) {
		return t
	}
	switch t := t.(type) {
	case *arrow.DictionaryType:
		return storedType(t.ValueType)
	case *arrow.ListType:
		return arrow.ListOfField(storedField(t.ElemField()))
	case *arrow.LargeListType:
		return arrow.LargeListOfField(storedField(t.ElemField()))
	case *arrow.FixedSizeListType:
		return arrow.FixedSizeListOfField(t.Len(), storedField(t.ElemField()))
	case *arrow.StructType:
		fields := t.Fields()
		for i := range fields {
			fields[i] = storedField(fields[i])
		}
		return arrow.StructOf(fields...)
	case *arrow.MapType:
		key := storedField(t.KeyField())
		key.Nullable = false
		stored := arrow.MapOfFields(key, storedField(t.ItemField()))
		stored.KeysSorted = t.KeysSorted
		return stored
	}
	return t
}

func holdsDictionary(t arrow.DataType) bool {
	switch t := t.(type) {
	case *arrow.DictionaryType:
		return true
	case arrow.ExtensionType:
		return holdsDictionary(t.StorageType())
	case arrow.NestedType:
		for _, child := range t.Fields() {
			if holdsDictionary(child.Type) {
				return true
			}
		}
	}
	return false
}
