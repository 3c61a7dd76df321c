package main

import (
	"context"
	"fmt"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/apache/arrow-go/v18/arrow/compute"
	"github.com/apache/arrow-go/v18/arrow/decimal"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// castArray gives values as another type that castable allows. The caller releases it.
func castArray(ctx context.Context, values arrow.Array, to arrow.DataType) (arrow.Array, error) {
	if extension, ok := values.(array.ExtensionArray); ok {
		return castArray(ctx, extension.Storage(), to)
	}
	to = storage(to)
	if arrow.TypeEqual(values.DataType(), to) {
		values.Retain()
		return values, nil
	}
	switch a := values.(type) {
	case *array.Struct:
		return castStruct(ctx, a, to.(*arrow.StructType))
	case array.ListLike:
		if fixed, ok := to.(*arrow.FixedSizeListType); ok {
			return castFixedList(ctx, a, fixed)
		}
		return castList(ctx, a, to.(arrow.ListLikeType))
	}
	switch {
	case narrow(to) || narrow(values.DataType()):
		return castNarrow(values, to)
	case isView(to) || isView(values.DataType()):
		return castView(values, to)
	}
	return compute.CastArray(ctx, values, compute.SafeCastOptions(to))
}

func castStruct(ctx context.Context, values *array.Struct, to *arrow.StructType) (arrow.Array, error) {
	children := make([]arrow.ArrayData, values.NumField())
	for i := range children {
		child, err := castArray(ctx, values.Field(i), to.Field(i).Type)
		if err != nil {
			return nil, fmt.Errorf("field %q: %w", to.Field(i).Name, err)
		}
		defer child.Release()
		children[i] = child.Data()
	}
	return nestedArray(to, values.Len(), children, validityOf(values, nil))
}

// castList gives lists with other elements, or with offsets of another width.
func castList(ctx context.Context, values array.ListLike, to arrow.ListLikeType) (arrow.Array, error) {
	elements, offsets, err := compactLists(values, nil, -1)
	if err != nil {
		return nil, err
	}
	defer elements.Release()
	child, err := castArray(ctx, elements, to.Elem())
	if err != nil {
		return nil, err
	}
	defer child.Release()
	return nestedArray(to, values.Len(), []arrow.ArrayData{child.Data()}, validityOf(values, nil), offsetsBuffer(offsets, to))
}

// castFixedList gives lists that all have the length of a type.
func castFixedList(ctx context.Context, values array.ListLike, to *arrow.FixedSizeListType) (arrow.Array, error) {
	length := int64(to.Len())
	for row := range values.Len() {
		if from, end := values.ValueOffsets(row); values.IsValid(row) && end-from != length {
			return nil, fmt.Errorf("a list has %d values", end-from)
		}
	}
	elements, _, err := compactLists(values, nil, length)
	if err != nil {
		return nil, err
	}
	defer elements.Release()
	child, err := castArray(ctx, elements, to.Elem())
	if err != nil {
		return nil, err
	}
	defer child.Release()
	return nestedArray(to, values.Len(), []arrow.ArrayData{child.Data()}, validityOf(values, nil))
}

// castNarrow casts decimals of the same scale, of which one type has at most 64 bits.
func castNarrow(values arrow.Array, to arrow.DataType) (arrow.Array, error) {
	from, _ := values.DataType().(arrow.DecimalType)
	target, _ := to.(arrow.DecimalType)
	builder := array.NewBuilder(memory.DefaultAllocator, to)
	defer builder.Release()
	for row := range values.Len() {
		if values.IsNull(row) {
			builder.AppendNull()
			continue
		}
		text := values.ValueStr(row)
		number, err := decimal.Decimal128FromString(text, 38, from.GetScale())
		if err != nil || !number.FitsInPrecision(target.GetPrecision()) {
			return nil, fmt.Errorf("%s has too many digits", text)
		}
		if err := builder.AppendValueFromString(text); err != nil {
			return nil, err
		}
	}
	return builder.NewArray(), nil
}

func isView(t arrow.DataType) bool { return t.ID() == arrow.STRING_VIEW || t.ID() == arrow.BINARY_VIEW }

// castView casts text and bytes from or to views.
func castView(values arrow.Array, to arrow.DataType) (arrow.Array, error) {
	builder := array.NewBuilder(memory.DefaultAllocator, to)
	defer builder.Release()
	for row := range values.Len() {
		if values.IsNull(row) {
			builder.AppendNull()
			continue
		}
		var value []byte
		switch a := values.(type) {
		case array.StringLike:
			value = []byte(a.Value(row))
		case interface{ Value(int) []byte }:
			value = a.Value(row)
		}
		switch b := builder.(type) {
		case array.StringLikeBuilder:
			if !utf8.Valid(value) {
				return nil, fmt.Errorf("row %d is not UTF-8", row)
			}
			b.Append(string(value))
		case interface{ Append([]byte) }:
			b.Append(value)
		}
	}
	return builder.NewArray(), nil
}

// nestedArray makes an array of its parts. The first buffer is the bitmap.
func nestedArray(t arrow.DataType, length int, children []arrow.ArrayData, buffers ...*memory.Buffer) (arrow.Array, error) {
	nulls := 0
	if buffers[0] != nil {
		nulls = length - bitutil.CountSetBits(buffers[0].Bytes(), 0, length)
	}
	data := array.NewData(t, length, buffers, children, nulls, 0)
	defer data.Release()
	return array.MakeFromData(data), nil
}

// validityOf gives the bitmap of values from bit 0 on, in which those are null, too, that above has as null;
// nil where there is no null.
func validityOf(values arrow.Array, above func(row int) bool) *memory.Buffer {
	if values.NullN() == 0 && above == nil {
		return nil
	}
	bits := make([]byte, (values.Len()+7)/8)
	for row := range values.Len() {
		if values.IsValid(row) && (above == nil || above(row)) {
			bits[row/8] |= 1 << (row % 8)
		}
	}
	return memory.NewBufferBytes(bits)
}

// compactLists gives the elements of lists without those that no list has, and where each list begins.
// Lists that are null have filler elements that are null, or none where filler is below 0.
func compactLists(values array.ListLike, above func(row int) bool, filler int64) (arrow.Array, []int64, error) {
	var pieces []arrow.Array
	defer func() {
		for _, piece := range pieces {
			piece.Release()
		}
	}()
	offsets := make([]int64, 1, values.Len()+1)
	from, end := int64(0), int64(0) // of neighbours that are kept
	keep := func() {
		if end > from {
			pieces = append(pieces, array.NewSlice(values.ListValues(), from, end))
		}
		from = end
	}
	for row := range values.Len() {
		first, last := values.ValueOffsets(row)
		switch {
		case values.IsNull(row) || above != nil && !above(row):
			first, last = 0, max(filler, 0)
			if filler > 0 {
				keep()
				pieces = append(pieces, array.MakeArrayOfNull(memory.DefaultAllocator, values.ListValues().DataType(), int(filler)))
			}
		case last > first && first != end:
			keep()
			from, end = first, last
		case last > first:
			end = last
		}
		offsets = append(offsets, offsets[row]+last-first)
	}
	keep()
	elements, err := joined(pieces, values.ListValues())
	return elements, offsets, err
}

// joined gives pieces of values as one array.
func joined(pieces []arrow.Array, values arrow.Array) (arrow.Array, error) {
	switch len(pieces) {
	case 0:
		return array.NewSlice(values, 0, 0), nil
	case 1:
		pieces[0].Retain()
		return pieces[0], nil
	}
	return array.Concatenate(pieces, memory.DefaultAllocator)
}

func offsetsBuffer(offsets []int64, of arrow.ListLikeType) *memory.Buffer {
	if of.ID() == arrow.LARGE_LIST {
		return memory.NewBufferBytes(arrow.Int64Traits.CastToBytes(offsets))
	}
	short := make([]int32, len(offsets))
	for i, offset := range offsets {
		short[i] = int32(offset)
	}
	return memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(short))
}
