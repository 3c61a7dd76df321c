package model

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/extensions"
)

func schemaOf(fields ...arrow.Field) *arrow.Schema { return arrow.NewSchema(fields, nil) }

func column(name string, t arrow.DataType) arrow.Field {
	return arrow.Field{Name: name, Type: t, Nullable: true}
}

func nested(depth int) arrow.DataType {
	t := arrow.DataType(arrow.PrimitiveTypes.Int8)
	for range depth - 1 {
		t = arrow.ListOf(t)
	}
	return t
}

func TestCheckSchema(t *testing.T) {
	int8s, text := arrow.PrimitiveTypes.Int8, arrow.BinaryTypes.String
	dictionary := &arrow.DictionaryType{IndexType: int8s, ValueType: text}
	union := arrow.DenseUnionOf([]arrow.Field{column("a", int8s)}, []arrow.UnionTypeCode{0})
	var many []arrow.Field
	for i := range ColumnsMax + 1 {
		many = append(many, column(fmt.Sprint("c", i), int8s))
	}
	for name, c := range map[string]struct {
		schema *arrow.Schema
		reason Reason
		wants  []string // none: the schema is good
	}{
		"every type is stored":   {schemaOf(column("a", dictionary), column("u", extensions.NewUUIDType()), column("n", arrow.Null)), "", nil},
		"the most columns":       {schemaOf(many[1:]...), "", nil},
		"the deepest":            {schemaOf(column("a", nested(TypeDepthMax))), "", nil},
		"no columns":             {schemaOf(), BadRequest, []string{"no columns"}},
		"too many columns":       {schemaOf(many...), BadRequest, []string{"more than 4096 columns"}},
		"too many nested fields": {schemaOf(column("s", arrow.StructOf(many[1:]...))), BadRequest, []string{"more than 4096 columns"}},
		"too deep":               {schemaOf(column("a", nested(TypeDepthMax+1))), BadRequest, []string{`column "a" is nested deeper than 32`}},
		"names": {
			schemaOf(column("", int8s), column("\xff", int8s), column(strings.Repeat("x", 256), int8s), column("a", int8s), column("A", int8s),
				column("Straße", int8s), column("STRAßE", int8s), column("_Offset", int8s), column("_rowid", int8s)), BadRequest,
			[]string{"has no name", "is not UTF-8", "has 256 bytes", `"a" and "A"`, `"Straße" and "STRAßE"`, `"_Offset" is reserved`},
		},
		"types": {
			schemaOf(column("u", union), column("r", arrow.RunEndEncodedOf(arrow.PrimitiveTypes.Int32, text)),
				column("s", arrow.StructOf(column("v", arrow.ListViewOf(text))))), UnsupportedType,
			[]string{`column "u": values of type dense_union`, `column "r": values of type run_end`, `column "s.v": values of type list_view`},
		},
		"types and names":    {schemaOf(column("", union)), BadRequest, []string{"has no name", "dense_union"}},
		"null for ever":      {schemaOf(arrow.Field{Name: "n", Type: arrow.Null}), BadRequest, []string{"no value fits"}},
		"nested names twice": {schemaOf(column("s", arrow.StructOf(column("a", int8s), column("a", text)))), BadRequest, []string{`two fields are called "a"`}},
		"wide binary":        {schemaOf(column("b", &arrow.FixedSizeBinaryType{ByteWidth: FixedSizeMax + 1})), UnsupportedType, []string{"the width is 1048577"}},
		"extensions over others": {
			schemaOf(extended("u", "arrow.uuid", &arrow.FixedSizeBinaryType{ByteWidth: 8}), extended("j", "arrow.json", arrow.BinaryTypes.Binary),
				column("s", arrow.StructOf(extended("b", "arrow.bool8", arrow.PrimitiveTypes.Uint8))),
				extended("t", "arrow.fixed_shape_tensor", arrow.ListOf(text))), UnsupportedType,
			[]string{
				`column "u": the extension type arrow.uuid is stored as fixed_size_binary[16], got fixed_size_binary[8]`,
				`column "j": the extension type arrow.json is stored as a string, got binary`, `column "s.b": `, `column "t": `,
			},
		},
		"extensions": {
			schemaOf(extended("u", "arrow.uuid", &arrow.FixedSizeBinaryType{ByteWidth: 16}), extended("j", "arrow.json", dictionary),
				extended("b", "arrow.bool8", int8s), extended("t", "arrow.fixed_shape_tensor", arrow.FixedSizeListOf(2, text)),
				extended("own", "geo.point", text)), "", nil,
		},
		"extension over a dictionary": {schemaOf(column("o", extensions.NewOpaqueType(dictionary, "t", "v"))), UnsupportedType, []string{"arrow.opaque is stored in a dictionary"}},
	} {
		err := CheckSchema(c.schema)
		if len(c.wants) == 0 {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if !errors.Is(err, c.reason) {
			t.Errorf("%s: got %v, want %s", name, err, c.reason)
			continue
		}
		for _, want := range c.wants {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v does not say %s", name, err, want)
			}
		}
		if strings.Contains(err.Error(), "_rowid") {
			t.Errorf("%s: %v refuses _rowid", name, err)
		}
	}
}

// extended is a column as a client sends it that has an extension type.
func extended(name, extension string, stored arrow.DataType) arrow.Field {
	return arrow.Field{Name: name, Type: stored, Nullable: true, Metadata: arrow.MetadataFrom(map[string]string{extensionNameKey: extension})}
}

func TestStoredSchemaHasNoDictionaries(t *testing.T) {
	text := arrow.BinaryTypes.String
	dictionary := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: text}
	metadata := arrow.MetadataFrom(map[string]string{"k": "v"})
	sorted := arrow.MapOf(dictionary, dictionary)
	sorted.KeysSorted = true
	in := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64, Nullable: true, Metadata: metadata},
		{Name: "d", Type: dictionary, Nullable: true, Metadata: metadata},
		{Name: "m", Type: sorted},
		{Name: "s", Type: arrow.StructOf(arrow.Field{Name: "l", Type: arrow.ListOfNonNullable(dictionary), Metadata: metadata})},
		{Name: "f", Type: arrow.FixedSizeListOf(2, arrow.LargeListOf(dictionary))},
	}, &metadata)
	got := StoredSchema(in, "id")
	var texts []string
	for _, field := range got.Fields() {
		texts = append(texts, formatField(field))
	}
	want := "id: int64 not null; d: string; m: map<string, string, keys_sorted> not null; " +
		"s: struct<l: list<item: string not null> not null> not null; f: fixed_size_list<item: large_list<item: string>>[2] not null"
	if strings.Join(texts, "; ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(texts, "; "), want)
	}
	if meta := got.Metadata(); meta.ToMap()["k"] != "v" || got.Field(1).Metadata.ToMap()["k"] != "v" {
		t.Error("the metadata is lost")
	}
	if in.Field(0).Nullable != true || in.Field(1).Type != arrow.DataType(dictionary) {
		t.Error("the schema that came in was changed")
	}
}
