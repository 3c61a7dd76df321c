package main

import (
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/headrace/headrace/internal/model"
)

// parquetSchema gives the schema of a Parquet file that holds columns of a schema. Types that Parquet has
// not become others that hold the same values; the error names the columns for which there is none.
func parquetSchema(schema *arrow.Schema) (*arrow.Schema, error) {
	fields := schema.Fields()
	var faults []error
	for i, field := range fields {
		converted, err := parquetType(field.Type)
		if err != nil {
			faults = append(faults, fmt.Errorf("column %q is of type %s, and Parquet has %w: leave it out with --columns, or use -o arrow",
				field.Name, model.FormatType(field.Type), err))
			continue
		}
		fields[i].Type = converted
	}
	metadata := schema.Metadata()
	return arrow.NewSchema(fields, &metadata), errors.Join(faults...)
}

func parquetType(t arrow.DataType) (arrow.DataType, error) {
	switch t := t.(type) {
	case *arrow.Decimal32Type:
		return &arrow.Decimal128Type{Precision: t.Precision, Scale: t.Scale}, negative(t.Scale)
	case *arrow.Decimal64Type:
		return &arrow.Decimal128Type{Precision: t.Precision, Scale: t.Scale}, negative(t.Scale)
	case *arrow.Decimal128Type:
		return t, negative(t.Scale)
	case *arrow.Decimal256Type:
		return t, negative(t.Scale)
	case *arrow.StringViewType:
		return arrow.BinaryTypes.String, nil
	case *arrow.BinaryViewType:
		return arrow.BinaryTypes.Binary, nil
	case *arrow.DurationType:
		return nil, errors.New("no durations")
	case *arrow.MonthIntervalType, *arrow.DayTimeIntervalType, *arrow.MonthDayNanoIntervalType:
		return nil, errors.New("no intervals that Arrow reads")
	case arrow.ExtensionType:
		return parquetExtension(t)
	}
	return parquetNested(t)
}

func negative(scale int32) error {
	if scale < 0 {
		return errors.New("no decimals with a negative scale")
	}
	return nil
}

// parquetExtension keeps an extension type over what Parquet has, and else gives what it is stored as.
func parquetExtension(t arrow.ExtensionType) (arrow.DataType, error) {
	stored, err := parquetType(t.StorageType())
	_, nested := stored.(arrow.NestedType)
	if err == nil && !nested && arrow.TypeEqual(stored, t.StorageType()) {
		return t, nil
	}
	return stored, err
}

func parquetNested(t arrow.DataType) (arrow.DataType, error) {
	element := func(field arrow.Field) (arrow.Field, error) {
		var err error
		field.Type, err = parquetType(field.Type)
		return field, err
	}
	switch t := t.(type) {
	case *arrow.StructType:
		if t.NumFields() == 0 {
			return nil, errors.New("no structs without fields")
		}
		fields := t.Fields()
		for i := range fields {
			var err error
			if fields[i], err = element(fields[i]); err != nil {
				return nil, err
			}
		}
		return arrow.StructOf(fields...), nil
	case *arrow.MapType:
		item, err := element(t.ItemField())
		if err != nil {
			return nil, err
		}
		key, err := element(t.KeyField())
		if err != nil {
			return nil, err
		}
		converted := arrow.MapOfFields(key, item)
		converted.KeysSorted = t.KeysSorted
		return converted, nil
	case arrow.ListLikeType:
		field, err := element(t.ElemField())
		if err != nil {
			return nil, err
		}
		if t.ID() == arrow.LARGE_LIST {
			return arrow.LargeListOfField(field), nil
		}
		return arrow.ListOfField(field), nil
	}
	return t, nil
}

// parquetArray gives values as the type that parquetType gave for theirs, and what is above them as null,
// where above is not nil: the Parquet writer wants null lists to be empty. The caller releases it.
func parquetArray(values arrow.Array, to arrow.DataType, above func(row int) bool) (arrow.Array, error) {
	switch a := values.(type) {
	case array.ExtensionArray:
		if _, kept := to.(arrow.ExtensionType); !kept {
			return parquetArray(a.Storage(), to, above)
		}
	case *array.Struct:
		return parquetStruct(a, to.(*arrow.StructType), above)
	case array.ListLike:
		return parquetList(a, to.(arrow.ListLikeType), above)
	}
	if arrow.TypeEqual(values.DataType(), to) {
		values.Retain()
		return values, nil
	}
	return parquetFlat(values, to)
}

func parquetFlat(values arrow.Array, to arrow.DataType) (arrow.Array, error) {
	builder := array.NewBuilder(memory.DefaultAllocator, to)
	defer builder.Release()
	builder.Reserve(values.Len())
	for row := range values.Len() {
		if values.IsNull(row) {
			builder.AppendNull()
			continue
		}
		switch a := values.(type) {
		case *array.StringView:
			builder.(*array.StringBuilder).Append(a.Value(row))
		case *array.BinaryView:
			builder.(*array.BinaryBuilder).Append(a.Value(row))
		case *array.Decimal32:
			builder.(*array.Decimal128Builder).Append(decimal128.FromI64(int64(a.Value(row))))
		case *array.Decimal64:
			builder.(*array.Decimal128Builder).Append(decimal128.FromI64(int64(a.Value(row))))
		default:
			return nil, fmt.Errorf("writing %s as %s", values.DataType(), to)
		}
	}
	return builder.NewArray(), nil
}

func parquetStruct(values *array.Struct, to *arrow.StructType, above func(row int) bool) (arrow.Array, error) {
	children := make([]arrow.ArrayData, values.NumField())
	valid := above
	if values.NullN() > 0 {
		valid = func(row int) bool { return values.IsValid(row) && (above == nil || above(row)) }
	}
	for i := range children {
		child, err := parquetArray(values.Field(i), to.Field(i).Type, valid)
		if err != nil {
			return nil, err
		}
		defer child.Release()
		children[i] = child.Data()
	}
	return nestedArray(to, values.Len(), children, validityOf(values, above))
}

func parquetList(values array.ListLike, to arrow.ListLikeType, above func(row int) bool) (arrow.Array, error) {
	elements, offsets, err := compactLists(values, above, -1)
	if err != nil {
		return nil, err
	}
	defer elements.Release()
	child, err := parquetArray(elements, to.Elem(), nil)
	if err != nil {
		return nil, err
	}
	defer child.Release()
	return nestedArray(to, values.Len(), []arrow.ArrayData{child.Data()}, validityOf(values, above), offsetsBuffer(offsets, to))
}
