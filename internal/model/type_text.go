package model

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
)

// plainTypes are the types whose text is one word, with the text that FormatType gives.
var plainTypes = map[string]arrow.DataType{
	"null": arrow.Null, "bool": arrow.FixedWidthTypes.Boolean,
	"int8": arrow.PrimitiveTypes.Int8, "int16": arrow.PrimitiveTypes.Int16,
	"int32": arrow.PrimitiveTypes.Int32, "int64": arrow.PrimitiveTypes.Int64,
	"uint8": arrow.PrimitiveTypes.Uint8, "uint16": arrow.PrimitiveTypes.Uint16,
	"uint32": arrow.PrimitiveTypes.Uint32, "uint64": arrow.PrimitiveTypes.Uint64,
	"halffloat": arrow.FixedWidthTypes.Float16,
	"float":     arrow.PrimitiveTypes.Float32, "double": arrow.PrimitiveTypes.Float64,
	"string": arrow.BinaryTypes.String, "large_string": arrow.BinaryTypes.LargeString,
	"string_view": arrow.BinaryTypes.StringView,
	"binary":      arrow.BinaryTypes.Binary, "large_binary": arrow.BinaryTypes.LargeBinary,
	"binary_view": arrow.BinaryTypes.BinaryView,
	"date32[day]": arrow.FixedWidthTypes.Date32, "date64[ms]": arrow.FixedWidthTypes.Date64,
	"time32[s]": arrow.FixedWidthTypes.Time32s, "time32[ms]": arrow.FixedWidthTypes.Time32ms,
	"time64[us]": arrow.FixedWidthTypes.Time64us, "time64[ns]": arrow.FixedWidthTypes.Time64ns,
	"month_interval":          arrow.FixedWidthTypes.MonthInterval,
	"day_time_interval":       arrow.FixedWidthTypes.DayTimeInterval,
	"month_day_nano_interval": arrow.FixedWidthTypes.MonthDayNanoInterval,
}

// PlainTypes lists the texts of the types that have neither parameters nor others inside, sorted.
func PlainTypes() []string { return slices.Sorted(maps.Keys(plainTypes)) }

// typeAliases are other words that ParseType takes for a plain type.
var typeAliases = map[string]string{
	"boolean": "bool", "float16": "halffloat", "float32": "float", "float64": "double",
	"utf8": "string", "large_utf8": "large_string", "str": "string",
	"date32": "date32[day]", "date64": "date64[ms]",
}

// plainTexts is plainTypes the other way round.
var plainTexts = func() map[arrow.Type]string {
	texts := map[arrow.Type]string{}
	for text, t := range plainTypes {
		if !strings.HasPrefix(text, "time") {
			texts[t.ID()] = text
		}
	}
	return texts
}()

// FormatType gives the text of a type as pyarrow spells it, such as "list<item: string>". Where
// pyarrow's text says less than the type, more is said: names of fields that hold one of `:,<>` or
// a backquote are put in backquotes, and a map's values may be "not null". The text of an extension
// type is "extension<NAME[STORAGE]>". ParseType reads it back, except for extension types, unions,
// run-end encoding and list views; a dictionary comes back as the type of its values.
func FormatType(t arrow.DataType) string {
	if text, ok := plainTexts[t.ID()]; ok {
		return text
	}
	switch t := t.(type) {
	case *arrow.ListType:
		return "list<" + formatField(t.ElemField()) + ">"
	case *arrow.LargeListType:
		return "large_list<" + formatField(t.ElemField()) + ">"
	case *arrow.FixedSizeListType:
		return fmt.Sprintf("fixed_size_list<%s>[%d]", formatField(t.ElemField()), t.Len())
	case *arrow.StructType:
		return formatStruct(t)
	case *arrow.MapType:
		return formatMap(t)
	}
	return formatParametric(t)
}

// formatParametric gives the text of types with parameters that hold no fields.
func formatParametric(t arrow.DataType) string {
	switch t := t.(type) {
	case *arrow.Time32Type:
		return "time32[" + t.Unit.String() + "]"
	case *arrow.Time64Type:
		return "time64[" + t.Unit.String() + "]"
	case *arrow.DurationType:
		return "duration[" + t.Unit.String() + "]"
	case *arrow.TimestampType:
		if t.TimeZone != "" {
			return "timestamp[" + t.Unit.String() + ", tz=" + t.TimeZone + "]"
		}
		return "timestamp[" + t.Unit.String() + "]"
	case *arrow.FixedSizeBinaryType:
		return "fixed_size_binary[" + strconv.Itoa(t.ByteWidth) + "]"
	case arrow.DecimalType:
		return fmt.Sprintf("decimal%d(%d, %d)", t.BitWidth(), t.GetPrecision(), t.GetScale())
	case *arrow.DictionaryType:
		ordered := 0
		if t.Ordered {
			ordered = 1
		}
		return fmt.Sprintf("dictionary<values=%s, indices=%s, ordered=%d>",
			FormatType(t.ValueType), FormatType(t.IndexType), ordered)
	case arrow.ExtensionType:
		return "extension<" + t.ExtensionName() + "[" + FormatType(t.StorageType()) + "]>"
	}
	return t.String()
}

func formatStruct(t *arrow.StructType) string {
	fields := make([]string, t.NumFields())
	for i, field := range t.Fields() {
		fields[i] = formatField(field)
	}
	return "struct<" + strings.Join(fields, ", ") + ">"
}

func formatMap(t *arrow.MapType) string {
	text := "map<" + FormatType(t.KeyType()) + ", " + FormatType(t.ItemType())
	if !t.ItemField().Nullable {
		text += " not null"
	}
	if t.KeysSorted {
		text += ", keys_sorted"
	}
	return text + ">"
}

func formatField(field arrow.Field) string {
	text := formatName(field.Name) + ": " + FormatType(field.Type)
	if !field.Nullable {
		text += " not null"
	}
	return text
}

// formatName puts name in backquotes where the text would be read back as something else.
func formatName(name string) string {
	if name == "" || name != strings.TrimSpace(name) || strings.ContainsAny(name, ":,<>`") {
		return "`" + strings.ReplaceAll(name, "`", "``") + "`"
	}
	return name
}
