package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/headrace/headrace/internal/model"
)

// castSource gives the rows of another source with the types of the table, where that changes no value.
// Formats have types of their own: Parquet has no seconds and no lists of a fixed size, Arrow files have
// what their writer took. What cannot be cast is left to the server, which names the column.
type castSource struct {
	recordSource
	ctx    context.Context
	schema *arrow.Schema
	casts  map[int]arrow.DataType // by column
}

// castColumns gives source itself where nothing has to be cast. Without a table, JSON that was read as
// bytes becomes text, as its extension type wants it.
func castColumns(ctx context.Context, source recordSource, table *arrow.Schema) recordSource {
	fields, casts := source.Schema().Fields(), map[int]arrow.DataType{}
	for i, field := range fields {
		to := textOfJSON(field).Type
		if table != nil {
			wanted, ok := table.FieldsByName(field.Name)
			if !ok || !castable(field.Type, wanted[0].Type) {
				continue
			}
			to = wanted[0].Type
		}
		if to = storage(to); !arrow.TypeEqual(storage(field.Type), to) {
			casts[i], fields[i].Type = to, to
		}
	}
	if len(casts) == 0 {
		return source
	}
	metadata := source.Schema().Metadata()
	return &castSource{recordSource: source, ctx: ctx, schema: arrow.NewSchema(fields, &metadata), casts: casts}
}

// textOfJSON gives a field with text in place of bytes, wherever it is of the extension type arrow.json.
func textOfJSON(field arrow.Field) arrow.Field {
	if name, ok := field.Metadata.GetValue("ARROW:extension:name"); ok && name == "arrow.json" && field.Type.ID() == arrow.BINARY {
		field.Type = arrow.BinaryTypes.String
	}
	switch t := field.Type.(type) {
	case *arrow.StructType:
		fields := t.Fields()
		for i := range fields {
			fields[i] = textOfJSON(fields[i])
		}
		field.Type = arrow.StructOf(fields...)
	case *arrow.ListType:
		field.Type = arrow.ListOfField(textOfJSON(t.ElemField()))
	}
	return field
}

// families are types whose values can become one another's, as far as they fit.
var families = [][]arrow.Type{
	{
		arrow.INT8, arrow.INT16, arrow.INT32, arrow.INT64, arrow.UINT8, arrow.UINT16, arrow.UINT32, arrow.UINT64,
		arrow.FLOAT16, arrow.FLOAT32, arrow.FLOAT64,
	},
	{arrow.DECIMAL32, arrow.DECIMAL64, arrow.DECIMAL128, arrow.DECIMAL256},
	{arrow.DATE32, arrow.DATE64}, {arrow.TIME32, arrow.TIME64}, {arrow.DURATION}, {arrow.TIMESTAMP},
	{arrow.STRING, arrow.LARGE_STRING, arrow.STRING_VIEW, arrow.BINARY, arrow.LARGE_BINARY, arrow.BINARY_VIEW},
	{arrow.LIST, arrow.LARGE_LIST, arrow.FIXED_SIZE_LIST}, {arrow.MAP},
}

// castable says that values of one type can become values of another without a guess about their meaning:
// whether each fits is for the cast to find out.
func castable(from, to arrow.DataType) bool {
	from, to = storage(from), storage(to)
	if arrow.TypeEqual(from, to) {
		return true
	}
	if !slices.ContainsFunc(families, func(family []arrow.Type) bool {
		return slices.Contains(family, from.ID()) && slices.Contains(family, to.ID())
	}) {
		return from.ID() == arrow.STRUCT && to.ID() == arrow.STRUCT && castableFields(from.(*arrow.StructType), to.(*arrow.StructType))
	}
	switch t := from.(type) {
	case *arrow.TimestampType:
		return (t.TimeZone == "") == (to.(*arrow.TimestampType).TimeZone == "")
	case arrow.DecimalType:
		return narrow(to) == narrow(from) || t.GetScale() == to.(arrow.DecimalType).GetScale()
	case arrow.ListLikeType:
		return castable(t.Elem(), to.(arrow.ListLikeType).Elem())
	}
	return true
}

func castableFields(from, to *arrow.StructType) bool {
	if from.NumFields() != to.NumFields() {
		return false
	}
	for i, field := range from.Fields() {
		if field.Name != to.Field(i).Name || !castable(field.Type, to.Field(i).Type) {
			return false
		}
	}
	return true
}

// narrow says that a type is a decimal of at most 64 bits, which few formats have.
func narrow(t arrow.DataType) bool { return t.ID() == arrow.DECIMAL32 || t.ID() == arrow.DECIMAL64 }

// storage is how the values of a type are kept.
func storage(t arrow.DataType) arrow.DataType {
	if extension, ok := t.(arrow.ExtensionType); ok {
		return storage(extension.StorageType())
	}
	return t
}

// Schema implements recordSource.
func (s *castSource) Schema() *arrow.Schema { return s.schema }

// Next implements recordSource.
func (s *castSource) Next() (arrow.RecordBatch, error) {
	batch, err := s.recordSource.Next()
	if err != nil {
		return nil, err
	}
	defer batch.Release()
	columns := make([]arrow.Array, batch.NumCols())
	for i := range columns {
		columns[i] = batch.Column(i)
		to := s.casts[i]
		if to == nil {
			continue
		}
		cast, err := castArray(s.ctx, columns[i], to)
		if err != nil {
			return nil, fmt.Errorf("column %q: %s does not fit %s: %w", s.schema.Field(i).Name,
				model.FormatType(columns[i].DataType()), model.FormatType(to), err)
		}
		defer cast.Release()
		columns[i] = cast
	}
	return array.NewRecordBatch(s.schema, columns, batch.NumRows()), nil
}

// Close implements io.Closer.
func (s *castSource) Close() error {
	if closer, ok := s.recordSource.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}
