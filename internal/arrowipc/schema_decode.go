package arrowipc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/model"
)

// textMax bounds names, time zones, and keys of metadata, in bytes; metadataMax bounds each value.
const (
	textMax     = 64 << 10
	metadataMax = 1 << 20
)

// DecodeSchema reads a schema from a FlatBuffers Message without its 8-byte prefix, which may be
// hostile. Extension types come back as their storage type with the two ARROW:extension keys in the
// field's metadata, whether they are registered or not: EncodeSchema writes the same again.
//
// What is malformed is model.BadRequest; unions, run-end encoding, list-views and big-endian data
// are model.UnsupportedType.
func DecodeSchema(message []byte, limits Limits) (*arrow.Schema, error) {
	schema, _, err := decodeSchema(message, limits)
	return schema, err
}

// DecodeSchemaAny reads a schema from a bare message, from an encapsulated one (with the length
// before it, and FFFFFFFF before that or, as in old writers, not), or from an IPC stream that begins
// with one.
func DecodeSchemaAny(data []byte, limits Limits) (*arrow.Schema, error) {
	if len(data) < 8 {
		return nil, invalidSchema(fmt.Errorf("it has %d bytes", len(data)))
	}
	rest := data[4:]
	if binary.LittleEndian.Uint32(data) == 0xffffffff {
		message, err := cutMessage(rest)
		if err != nil {
			return nil, invalidSchema(err)
		}
		return DecodeSchema(message, limits)
	}
	schema, err := DecodeSchema(data, limits)
	if errors.Is(err, model.BadRequest) {
		if message, cut := cutMessage(data); cut == nil {
			if schema, legacy := DecodeSchema(message, limits); legacy == nil {
				return schema, nil
			}
		}
	}
	return schema, err
}

// cutMessage gives the message whose length stands before it.
func cutMessage(data []byte) ([]byte, error) {
	length, rest := int64(binary.LittleEndian.Uint32(data)), data[4:]
	if length > int64(len(rest)) {
		return nil, fmt.Errorf("its length is given as %d bytes, there are %d", length, len(rest))
	}
	return rest[:length], nil
}

// decodeSchema also gives the ids of the dictionaries, as newLayout wants them.
func decodeSchema(message []byte, limits Limits) (*arrow.Schema, []int64, error) {
	limits = limits.withDefaults()
	d := &schemaDecoder{
		flat:   flat{data: message, tables: 64 + tablesPerField*limits.Fields, copies: 4*len(message) + 1024},
		limits: limits,
	}
	schema := d.message()
	if d.unsupported != nil {
		return nil, nil, d.unsupported
	}
	if d.err != nil {
		return nil, nil, invalidSchema(d.err)
	}
	return schema, d.ids, nil
}

type schemaDecoder struct {
	flat
	limits      Limits
	fields      int
	ids         []int64
	path        []string // names that lead to the field that is being read
	unsupported error
}

// refuse ends the decoding with an UnsupportedType, unless the schema is not valid anyway.
func (d *schemaDecoder) refuse(fault *model.Error) {
	if d.err == nil {
		d.unsupported = fault
	}
	d.fail("unsupported")
}

// refuseType refuses the type of the field that is being read.
func (d *schemaDecoder) refuseType(name, remedy string) {
	column := ""
	if len(d.path) > 0 {
		column = d.path[0]
	}
	d.refuse(model.Errorf(model.UnsupportedType, "column %q is of type %s, which is not stored", strings.Join(d.path, "."), name).
		With("column", column).WithRemedy("%s", remedy))
}

func (d *schemaDecoder) message() *arrow.Schema {
	root := d.root()
	if kind := d.byteField(root, 1); d.err == nil && kind != schemaMessage {
		d.fail("the message is of kind %d, want a schema, %d", kind, schemaMessage)
	}
	d.version(root)
	if n := d.int64Field(root, 3); d.err == nil && n != 0 {
		d.fail("it has a body of %d bytes", n)
	}
	table, ok := d.tableField(root, 2)
	if !ok {
		d.fail("the message holds no schema")
		return nil
	}
	if d.int16Field(table, 0, 0) != 0 {
		d.refuse(model.Errorf(model.UnsupportedType, "the schema says that data are big-endian").WithRemedy("Send little-endian data"))
	}
	fields := d.fieldVector(table, 1, 1)
	metadata := d.metadata(table, 2)
	if d.err != nil {
		return nil
	}
	return arrow.NewSchema(fields, &metadata)
}

func (f *flat) version(root flatTable) {
	if v := f.int16Field(root, 0, 0); f.err == nil && v != versionV4 && v != versionV5 {
		f.fail("its format version is V%d, want V4 or V5", v+1)
	}
}

func (d *schemaDecoder) fieldVector(t flatTable, slot, depth int) []arrow.Field {
	at, n := d.vector(t, slot, 4)
	if d.fields += n; d.fields > d.limits.Fields {
		d.fail("it has more than %d fields", d.limits.Fields)
	}
	if d.err != nil {
		return nil
	}
	fields := make([]arrow.Field, 0, n)
	for i := range n {
		fields = append(fields, d.field(d.table(d.follow(at+4*i)), depth))
		if d.err != nil {
			return nil
		}
	}
	return fields
}

func (d *schemaDecoder) field(t flatTable, depth int) arrow.Field {
	if depth > d.limits.Depth {
		d.fail("its types nest deeper than %d", d.limits.Depth)
	}
	name := d.string(t, 0)
	d.path = append(d.path, name)
	defer func() { d.path = d.path[:len(d.path)-1] }()
	nullable := d.byteField(t, 1) != 0
	typeID := d.byteField(t, 2)
	typeTable, ok := d.tableField(t, 3)
	if !ok {
		d.fail("field %q has no type", name)
		return arrow.Field{}
	}
	index := d.dictionary(t)
	children := d.fieldVector(t, 5, depth+1)
	metadata := d.metadata(t, 6)
	if d.err != nil {
		return arrow.Field{}
	}
	dataType, err := d.dataType(typeID, typeTable, children)
	if err != nil {
		d.fail("field %q: %v", name, err)
	}
	if d.err != nil {
		return arrow.Field{}
	}
	if index != nil {
		dataType = &arrow.DictionaryType{IndexType: index, ValueType: dataType}
	}
	return arrow.Field{Name: name, Type: dataType, Nullable: nullable, Metadata: metadata}
}

func (d *schemaDecoder) string(t flatTable, slot int) string {
	text := d.text(t, slot, textMax)
	if !utf8.Valid(text) {
		d.fail("a name is not UTF-8")
	}
	return string(text)
}

// dictionary gives the type of the indices; nil where the field is not dictionary-encoded.
func (d *schemaDecoder) dictionary(t flatTable) arrow.DataType {
	encoding, ok := d.tableField(t, 4)
	if !ok {
		return nil
	}
	d.ids = append(d.ids, d.int64Field(encoding, 0))
	if d.int16Field(encoding, 3, 0) != 0 {
		d.fail("a dictionary is of an unknown kind")
	}
	index, ok := d.tableField(encoding, 1)
	if !ok {
		return arrow.PrimitiveTypes.Int32 // what the format says when it is left out
	}
	dataType, err := d.integer(index)
	if err != nil {
		d.fail("a dictionary index: %v", err)
	}
	return dataType
}

func (d *schemaDecoder) metadata(t flatTable, slot int) arrow.Metadata {
	at, n := d.vector(t, slot, 4)
	if d.err != nil || n == 0 {
		return arrow.Metadata{}
	}
	if n > d.tables {
		d.fail("it has %d keys of metadata", n)
		return arrow.Metadata{}
	}
	keys, values := make([]string, 0, n), make([]string, 0, n)
	for i := range n {
		pair := d.table(d.follow(at + 4*i))
		key, value := d.text(pair, 0, textMax), d.text(pair, 1, metadataMax)
		if d.err != nil {
			return arrow.Metadata{}
		}
		keys, values = append(keys, string(key)), append(values, string(value))
	}
	return arrow.NewMetadata(keys, values)
}

// nested makes the types that have children.
func (d *schemaDecoder) nested(typeID byte, t flatTable, children []arrow.Field) (arrow.DataType, error) {
	if typeID == typeStruct {
		return structType(children)
	}
	if len(children) != 1 {
		return nil, fmt.Errorf("type %d has %d children, want 1", typeID, len(children))
	}
	switch typeID {
	case typeList:
		return arrow.ListOfField(children[0]), nil
	case typeLargeList:
		return arrow.LargeListOfField(children[0]), nil
	case typeFixedList:
		size := d.int32Field(t, 0, 0)
		if size == 0 {
			d.refuseType("fixed_size_list of length 0", "Leave the column out, or cast it to a list")
		}
		if size < 1 || size > fixedWidthMax {
			return nil, fmt.Errorf("a fixed-size list of %d values", size)
		}
		return arrow.FixedSizeListOfField(size, children[0]), nil
	}
	pair, ok := children[0].Type.(*arrow.StructType)
	if !ok || pair.NumFields() != 2 {
		return nil, errors.New("the entries of a map must be structs of a key and a value")
	}
	if children[0].Nullable || pair.Field(0).Nullable {
		return nil, errors.New("the entries and keys of a map must not be nullable")
	}
	entries := arrow.MapOfFields(pair.Field(0), pair.Field(1))
	entries.KeysSorted = d.byteField(t, 0) != 0
	return entries, nil
}

func structType(fields []arrow.Field) (arrow.DataType, error) {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Name
	}
	slices.Sort(names)
	if len(slices.Compact(names)) != len(fields) {
		return nil, errors.New("two fields of the struct have the same name")
	}
	return arrow.StructOf(fields...), nil
}
