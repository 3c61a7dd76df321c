package model

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
)

// exactIntegerMax is the largest integer up to which every integer is a float64.
const exactIntegerMax = 1 << 53

// AutoIncrement is the default of a column of a primary-key table that gets a number where a row is
// inserted. Numbers are unique in the table, not dense, and never used again.
const AutoIncrement = "auto_increment"

// AutoIncremented says that a default makes the column one that is numbered.
func AutoIncremented(field arrow.Field, value any) bool {
	return value == AutoIncrement && field.Type.ID() == arrow.INT64
}

// CheckDefaults checks the defaults of columns, by column name, and gives them in the form that
// CheckDefault gives. The error names every fault.
func CheckDefaults(schema *arrow.Schema, defaults map[string]any) (map[string]any, error) {
	checked := make(map[string]any, len(defaults))
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(defaults)) {
		fields, ok := schema.FieldsByName(name)
		if !ok {
			faults = append(faults, Errorf(ColumnNotFound, "the default is of a column %q that is not there", clip(name, 140)))
			continue
		}
		value, err := CheckDefault(fields[0], defaults[name])
		if err != nil {
			faults = append(faults, err)
			continue
		}
		checked[name] = value
	}
	if err := JoinFaults(faults); err != nil {
		return nil, err
	}
	return checked, nil
}

// CheckDefault says whether value, in JSON form, fits the column field, and gives it in the one form
// in which it is kept, made of nil, bool, float64, string, []any and map[string]any, as package
// encoding/json gives them:
//
//	integers, durations     a number up to 2^53, beyond it a string of digits
//	floats                  a number, or "NaN", "Infinity", "-Infinity"
//	decimals                a string with all digits of the scale
//	strings                 a string
//	binary                  base64 (standard alphabet, padded; both alphabets are read)
//	dates                   "2026-11-21"
//	times of day            "08:00:00.123"
//	timestamps              RFC 3339 in UTC; without a time zone in the type the text must be UTC too
//	lists                   an array; structs: an object, fields left out being null
//
// Columns of intervals and maps have no default.
//
// AutoIncrement stands for itself in a column of type int64.
func CheckDefault(field arrow.Field, value any) (any, error) {
	if AutoIncremented(field, value) {
		return value, nil
	}
	checked, err := defaultOf(field, value, 1)
	if err != nil {
		return nil, Errorf(BadRequest, "the default of column %q: %v", clip(field.Name, 140), err)
	}
	return checked, nil
}

func defaultOf(field arrow.Field, value any, depth int) (any, error) {
	if value == nil {
		if !field.Nullable {
			return nil, errors.New("null is no value of a NOT NULL column")
		}
		return nil, nil
	}
	if depth > TypeDepthMax {
		return nil, fmt.Errorf("it is nested deeper than %d", TypeDepthMax)
	}
	switch t := field.Type.(type) {
	case *arrow.ListType:
		return listDefault(t.ElemField(), value, -1, depth)
	case *arrow.LargeListType:
		return listDefault(t.ElemField(), value, -1, depth)
	case *arrow.FixedSizeListType:
		return listDefault(t.ElemField(), value, int(t.Len()), depth)
	case *arrow.StructType:
		return structDefault(t, value, depth)
	case *arrow.DictionaryType:
		return defaultOf(arrow.Field{Type: t.ValueType, Nullable: field.Nullable}, value, depth+1)
	case arrow.ExtensionType:
		return defaultOf(arrow.Field{Type: t.StorageType(), Nullable: field.Nullable}, value, depth+1)
	case arrow.DecimalType:
		return decimalDefault(t, value)
	case *arrow.Date32Type, *arrow.Date64Type, *arrow.Time32Type, *arrow.Time64Type,
		*arrow.TimestampType, *arrow.DurationType:
		return temporalDefault(field.Type, value)
	}
	return scalarDefault(field.Type, value)
}

func listDefault(element arrow.Field, value any, length, depth int) (any, error) {
	values, ok := value.([]any)
	if !ok {
		return nil, fmt.Errorf("got %s, want an array", describe(value))
	}
	if length >= 0 && len(values) != length {
		return nil, fmt.Errorf("got an array of %d values, want %d", len(values), length)
	}
	checked := make([]any, len(values))
	for i, v := range values {
		var err error
		if checked[i], err = defaultOf(element, v, depth+1); err != nil {
			return nil, fmt.Errorf("value %d: %w", i, err)
		}
	}
	return checked, nil
}

func structDefault(t *arrow.StructType, value any, depth int) (any, error) {
	values, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("got %s, want an object", describe(value))
	}
	checked := make(map[string]any, t.NumFields())
	for _, field := range t.Fields() {
		var err error
		if checked[field.Name], err = defaultOf(field, values[field.Name], depth+1); err != nil {
			return nil, fmt.Errorf("field %q: %w", field.Name, err)
		}
	}
	for name := range values {
		if _, ok := t.FieldByName(name); !ok {
			return nil, fmt.Errorf("there is no field %q in it", clip(name, 140))
		}
	}
	return checked, nil
}

func scalarDefault(t arrow.DataType, value any) (any, error) {
	switch {
	case t.ID() == arrow.BOOL:
		if b, ok := value.(bool); ok {
			return b, nil
		}
		return nil, fmt.Errorf("got %s, want true or false", describe(value))
	case arrow.IsInteger(t.ID()):
		return integerDefault(t, value)
	case arrow.IsFloating(t.ID()):
		return floatDefault(t, value)
	}
	text, ok := value.(string)
	switch t.ID() {
	case arrow.STRING, arrow.LARGE_STRING, arrow.STRING_VIEW:
		if !ok || !utf8.ValidString(text) {
			return nil, fmt.Errorf("got %s, want a string", describe(value))
		}
		return text, nil
	case arrow.BINARY, arrow.LARGE_BINARY, arrow.BINARY_VIEW, arrow.FIXED_SIZE_BINARY:
		if !ok {
			return nil, fmt.Errorf("got %s, want base64", describe(value))
		}
		return binaryDefault(t, text)
	}
	return nil, fmt.Errorf("columns of type %s have no default but null", clip(FormatType(t), 140))
}

// numberText gives the decimal digits of a JSON number, or of a string.
func numberText(value any) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case json.Number:
		return v.String(), nil
	case int:
		return strconv.Itoa(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case uint64:
		return strconv.FormatUint(v, 10), nil
	case float64:
		if math.Abs(v) > exactIntegerMax {
			return "", fmt.Errorf("%g may have lost digits: write it as a string", v)
		}
		return strconv.FormatFloat(v, 'f', -1, 64), nil
	}
	return "", fmt.Errorf("got %s, want a number", describe(value))
}

func integerDefault(t arrow.DataType, value any) (any, error) {
	bits := t.(arrow.FixedWidthDataType).BitWidth()
	low := new(big.Int)
	high := new(big.Int).Lsh(big.NewInt(1), uint(bits))
	if arrow.IsSignedInteger(t.ID()) {
		high.Rsh(high, 1)
		low.Neg(high)
	}
	return boundedInteger(value, low, high.Sub(high, big.NewInt(1)))
}

// boundedInteger reads an integer of low to high.
func boundedInteger(value any, low, high *big.Int) (any, error) {
	text, err := numberText(value)
	if err != nil {
		return nil, err
	}
	whole, fraction, _ := strings.Cut(text, ".")
	n, ok := new(big.Int), len(text) <= 40 && strings.Trim(fraction, "0") == ""
	if ok {
		_, ok = n.SetString(whole, 10)
	}
	if !ok {
		return nil, fmt.Errorf("got %s, want an integer", describe(value))
	}
	if n.Cmp(low) < 0 || n.Cmp(high) > 0 {
		return nil, fmt.Errorf("got %s, want %s to %s", n, low, high)
	}
	if n.CmpAbs(big.NewInt(exactIntegerMax)) <= 0 {
		return float64(n.Int64()), nil
	}
	return n.String(), nil
}

// floatMax is the largest finite value of the types of floats.
var floatMax = map[arrow.Type]float64{
	arrow.FLOAT16: 65504, arrow.FLOAT32: math.MaxFloat32, arrow.FLOAT64: math.MaxFloat64,
}

func floatDefault(t arrow.DataType, value any) (any, error) {
	if text, ok := value.(string); ok {
		if text == "NaN" || text == "Infinity" || text == "-Infinity" {
			return text, nil
		}
		return nil, fmt.Errorf(`got %s, want a number, "NaN", "Infinity" or "-Infinity"`, describe(value))
	}
	number, ok := value.(float64)
	if !ok {
		text, err := numberText(value)
		if err != nil {
			return nil, err
		}
		if number, err = strconv.ParseFloat(text, 64); err != nil {
			return nil, fmt.Errorf("got %s, want a number", describe(value))
		}
	}
	if !(math.Abs(number) <= floatMax[t.ID()]) {
		return nil, fmt.Errorf("got %g, which does not fit %s", number, FormatType(t))
	}
	return number, nil
}

func binaryDefault(t arrow.DataType, text string) (any, error) {
	standard := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
	bytes, err := base64.RawStdEncoding.DecodeString(standard)
	if err != nil {
		return nil, fmt.Errorf("got %s, want base64", describe(text))
	}
	if fixed, ok := t.(*arrow.FixedSizeBinaryType); ok && len(bytes) != fixed.ByteWidth {
		return nil, fmt.Errorf("got %d bytes, want %d", len(bytes), fixed.ByteWidth)
	}
	return base64.StdEncoding.EncodeToString(bytes), nil
}

// describe names a JSON value in an error.
func describe(value any) string {
	switch value.(type) {
	case nil:
		return "null"
	case []any:
		return "an array"
	case map[string]any:
		return "an object"
	}
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprintf("a %T", value)
	}
	return clip(string(text), 60)
}
