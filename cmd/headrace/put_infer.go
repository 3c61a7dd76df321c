package main

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
)

// inferRows is the number of rows from which types are inferred.
const inferRows = 5000

// textKind is what all values of a column of text can be read as. A later kind is tried when a value
// does not fit the one before it.
type textKind int

const (
	kindNothing textKind = iota // nulls only, so far
	kindBool
	kindInteger
	kindFloat
	kindDate
	kindLocal   // a point in time without a zone
	kindInstant // a point in time with its zone
	kindString
)

var kindTypes = map[textKind]arrow.DataType{
	kindNothing: arrow.BinaryTypes.String, kindBool: arrow.FixedWidthTypes.Boolean,
	kindInteger: arrow.PrimitiveTypes.Int64, kindFloat: arrow.PrimitiveTypes.Float64,
	kindDate: arrow.FixedWidthTypes.Date32, kindLocal: &arrow.TimestampType{Unit: arrow.Microsecond},
	kindInstant: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}, kindString: arrow.BinaryTypes.String,
}

// kindOfText gives the narrowest kind of one value.
func kindOfText(text string) textKind {
	switch strings.ToLower(text) {
	case "true", "false":
		return kindBool
	}
	if kind := kindOfNumber(text); kind != kindString {
		return kind
	}
	return kindOfTime(text)
}

func kindOfNumber(text string) textKind {
	if _, err := strconv.ParseInt(text, 10, 64); err == nil {
		// 007 is a code, not a number.
		if digits := strings.TrimLeft(text, "+-"); len(digits) > 1 && digits[0] == '0' {
			return kindString
		}
		return kindInteger
	}
	if _, err := strconv.ParseFloat(text, 64); err == nil && !strings.ContainsAny(text, "xX_") {
		return kindFloat
	}
	return kindString
}

func kindOfTime(text string) textKind {
	if _, err := time.Parse(time.DateOnly, text); err == nil {
		return kindDate
	}
	_, zone, err := arrow.TimestampFromStringInLocation(text, arrow.Microsecond, time.UTC)
	switch {
	case err != nil || len(text) <= len(time.DateOnly):
		return kindString
	case zone:
		return kindInstant
	}
	return kindLocal
}

// joinKinds gives the narrowest kind that both fit.
func joinKinds(a, b textKind) textKind {
	low, high := min(a, b), max(a, b)
	switch {
	case low == kindNothing || low == high:
		return high
	case low == kindInteger && high == kindFloat, low == kindDate && high == kindLocal:
		return high
	}
	return kindString
}

// inferCSV gives the types of columns from rows of text.
func inferCSV(header []string, rows [][]string, isNull func(string) bool) *arrow.Schema {
	kinds := make([]textKind, len(header))
	for _, row := range rows {
		for i, text := range row[:min(len(row), len(kinds))] {
			if !isNull(text) {
				kinds[i] = joinKinds(kinds[i], kindOfText(text))
			}
		}
	}
	fields := make([]arrow.Field, len(header))
	for i, name := range header {
		fields[i] = arrow.Field{Name: name, Type: kindTypes[kinds[i]], Nullable: true}
	}
	return arrow.NewSchema(fields, nil)
}

// inferJSON gives the type that holds both a, what is known so far (nil: nothing), and value.
func inferJSON(a arrow.DataType, value any) arrow.DataType {
	switch v := value.(type) {
	case nil:
		return a
	case bool:
		return joinTypes(a, arrow.FixedWidthTypes.Boolean)
	case json.Number:
		if _, err := v.Int64(); err == nil {
			return joinTypes(a, arrow.PrimitiveTypes.Int64)
		}
		return joinTypes(a, arrow.PrimitiveTypes.Float64)
	case string:
		if kind := kindOfText(v); kind == kindInstant || kind == kindLocal || kind == kindDate {
			return joinTypes(a, kindTypes[kind])
		}
		return joinTypes(a, arrow.BinaryTypes.String)
	case []any:
		var element arrow.DataType
		if list, ok := a.(*arrow.ListType); ok {
			element = list.Elem()
		} else if a != nil {
			return arrow.BinaryTypes.String
		}
		for _, item := range v {
			element = inferJSON(element, item)
		}
		if element == nil {
			element = arrow.Null
		}
		return arrow.ListOf(element)
	case orderedObject:
		return inferObject(a, v)
	}
	return arrow.BinaryTypes.String
}

func inferObject(a arrow.DataType, object orderedObject) arrow.DataType {
	var fields []arrow.Field
	if known, ok := a.(*arrow.StructType); ok {
		fields = known.Fields()
	} else if a != nil {
		return arrow.BinaryTypes.String
	}
	return arrow.StructOf(mergeFields(fields, object)...)
}

// mergeFields adds to fields what an object says about their types.
func mergeFields(fields []arrow.Field, object orderedObject) []arrow.Field {
	for _, member := range object {
		at := -1
		for i := range fields {
			if fields[i].Name == member.name {
				at = i
			}
		}
		if at < 0 {
			fields = append(fields, arrow.Field{Name: member.name, Type: arrow.Null, Nullable: true})
			at = len(fields) - 1
		}
		known := fields[at].Type
		if known.ID() == arrow.NULL {
			known = nil
		}
		if t := inferJSON(known, member.value); t != nil {
			fields[at].Type = t
		}
	}
	return fields
}

// joinTypes gives the narrowest type that holds both; a may be nil.
func joinTypes(a, b arrow.DataType) arrow.DataType {
	if a == nil || a.ID() == arrow.NULL || arrow.TypeEqual(a, b) {
		return b
	}
	if kindA, kindB := kindOfType(a), kindOfType(b); kindA != kindNothing && kindB != kindNothing {
		return kindTypes[joinKinds(kindA, kindB)]
	}
	return arrow.BinaryTypes.String
}

// kindOfType gives the kind that a type stands for; kindNothing for others.
func kindOfType(t arrow.DataType) textKind {
	for kind := kindBool; kind <= kindString; kind++ {
		if arrow.TypeEqual(kindTypes[kind], t) {
			return kind
		}
	}
	return kindNothing
}
