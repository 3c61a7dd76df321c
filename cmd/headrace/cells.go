package main

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/extensions"
	"github.com/go-json-experiment/json/jsontext"
)

// cellAppender appends the value of one row to dst.
type cellAppender func(dst []byte, row int) []byte

// jsonCells gives what appends the values of an array as JSON: times in RFC 3339, binary in base64,
// decimals as strings, maps as arrays of {"key":…,"value":…}.
func jsonCells(values arrow.Array) cellAppender {
	if values.DataType().ID() == arrow.NULL {
		return func(dst []byte, _ int) []byte { return append(dst, "null"...) }
	}
	appendValue := jsonValues(values)
	if values.NullN() == 0 {
		return appendValue
	}
	return func(dst []byte, row int) []byte {
		if values.IsNull(row) {
			return append(dst, "null"...)
		}
		return appendValue(dst, row)
	}
}

// textCells gives what appends the values of an array as plain text, nothing for null. Nested values
// are JSON.
func textCells(values arrow.Array) cellAppender {
	if values.DataType().ID() == arrow.NULL {
		return func(dst []byte, _ int) []byte { return dst }
	}
	appendValue := jsonValues(values)
	text, isText := values.(array.StringLike)
	if extension, ok := values.(array.ExtensionArray); ok && !isText {
		text, isText = extension.Storage().(array.StringLike)
	}
	return func(dst []byte, row int) []byte {
		if values.IsNull(row) {
			return dst
		}
		if isText {
			return append(dst, text.Value(row)...)
		}
		at := len(dst)
		dst = appendValue(dst, row)
		if dst[at] != '"' {
			return dst
		}
		return append(dst[:at], dst[at+1:len(dst)-1]...)
	}
}

// jsonValues is jsonCells for rows that are not null.
func jsonValues(values arrow.Array) cellAppender {
	switch a := values.(type) {
	case *array.Boolean:
		return func(dst []byte, row int) []byte { return strconv.AppendBool(dst, a.Value(row)) }
	case array.StringLike:
		return func(dst []byte, row int) []byte { return appendQuoted(dst, a.Value(row)) }
	case *array.Struct:
		return structCells(a)
	case *array.Map:
		return mapCells(a)
	case array.ListLike:
		return listCells(a)
	case *array.Dictionary:
		appendValue := jsonCells(a.Dictionary())
		return func(dst []byte, row int) []byte { return appendValue(dst, a.GetValueIndex(row)) }
	case *extensions.UUIDArray:
		return func(dst []byte, row int) []byte { return appendQuoted(dst, a.ValueStr(row)) }
	case array.ExtensionArray:
		return jsonValues(a.Storage())
	}
	if cells := numberCells(values); cells != nil {
		return cells
	}
	if cells := timeCells(values); cells != nil {
		return cells
	}
	if cells := binaryCells(values); cells != nil {
		return cells
	}
	return func(dst []byte, row int) []byte {
		encoded, err := json.Marshal(values.GetOneForMarshal(row))
		if err != nil {
			return appendQuoted(dst, values.ValueStr(row))
		}
		return append(dst, encoded...)
	}
}

func appendQuoted(dst []byte, text string) []byte {
	// The error says that the text is not UTF-8; what is not is then replaced.
	dst, _ = jsontext.AppendQuote(dst, text)
	return dst
}

type integer interface {
	~int8 | ~int16 | ~int32 | ~int64 | ~uint8 | ~uint16 | ~uint32
}

func integerCells[T integer](values interface{ Value(int) T }) cellAppender {
	return func(dst []byte, row int) []byte { return strconv.AppendInt(dst, int64(values.Value(row)), 10) }
}

func numberCells(values arrow.Array) cellAppender {
	switch a := values.(type) {
	case *array.Int8:
		return integerCells(a)
	case *array.Int16:
		return integerCells(a)
	case *array.Int32:
		return integerCells(a)
	case *array.Int64:
		return integerCells(a)
	case *array.Uint8:
		return integerCells(a)
	case *array.Uint16:
		return integerCells(a)
	case *array.Uint32:
		return integerCells(a)
	case *array.Uint64:
		return func(dst []byte, row int) []byte { return strconv.AppendUint(dst, a.Value(row), 10) }
	case *array.Duration:
		return integerCells(a)
	}
	return fractionCells(values)
}

func fractionCells(values arrow.Array) cellAppender {
	switch a := values.(type) {
	case *array.Float16:
		return func(dst []byte, row int) []byte { return appendFloat(dst, halfValue(a.Value(row)), 32) }
	case *array.Float32:
		return func(dst []byte, row int) []byte { return appendFloat(dst, float64(a.Value(row)), 32) }
	case *array.Float64:
		return func(dst []byte, row int) []byte { return appendFloat(dst, a.Value(row), 64) }
	case *array.Decimal32:
		return decimalCells(a)
	case *array.Decimal64:
		return decimalCells(a)
	case *array.Decimal128:
		return decimalCells(a)
	case *array.Decimal256:
		return decimalCells(a)
	}
	return nil
}

// decimalCells gives decimals with all digits of their scale.
func decimalCells[T interface{ ToString(scale int32) string }](values interface {
	arrow.Array
	Value(int) T
}) cellAppender {
	t, _ := values.DataType().(arrow.DecimalType)
	return func(dst []byte, row int) []byte { return appendQuoted(dst, values.Value(row).ToString(t.GetScale())) }
}

// appendFloat writes a float as JSON, those that JSON does not have as strings.
func appendFloat(dst []byte, value float64, bits int) []byte {
	switch {
	case math.IsNaN(value):
		return append(dst, `"NaN"`...)
	case math.IsInf(value, 1):
		return append(dst, `"Infinity"`...)
	case math.IsInf(value, -1):
		return append(dst, `"-Infinity"`...)
	}
	format := byte('f')
	if size := math.Abs(value); size != 0 && (size < 1e-6 || size >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, value, format, -1, bits)
}

// The layouts of points in time, with and without a zone.
const (
	instantLayout = "2006-01-02T15:04:05.999999999Z"
	localLayout   = "2006-01-02T15:04:05.999999999"
	timeLayout    = "15:04:05.999999999"
)

func timeCells(values arrow.Array) cellAppender {
	quoted := func(text func(row int) string) cellAppender {
		return func(dst []byte, row int) []byte { return append(append(append(dst, '"'), text(row)...), '"') }
	}
	switch a := values.(type) {
	case *array.Timestamp:
		t, _ := a.DataType().(*arrow.TimestampType)
		layout := localLayout
		if t.TimeZone != "" {
			layout = instantLayout
		}
		return func(dst []byte, row int) []byte {
			return append(a.Value(row).ToTime(t.Unit).UTC().AppendFormat(append(dst, '"'), layout), '"')
		}
	case *array.Date32:
		return quoted(func(row int) string { return a.Value(row).FormattedString() })
	case *array.Date64:
		return quoted(func(row int) string { return a.Value(row).FormattedString() })
	case *array.Time32:
		t, _ := a.DataType().(*arrow.Time32Type)
		return quoted(func(row int) string { return a.Value(row).ToTime(t.Unit).Format(timeLayout) })
	case *array.Time64:
		t, _ := a.DataType().(*arrow.Time64Type)
		return quoted(func(row int) string { return a.Value(row).ToTime(t.Unit).Format(timeLayout) })
	}
	return nil
}

func binaryCells(values arrow.Array) cellAppender {
	a, ok := values.(interface{ Value(int) []byte })
	if !ok {
		return nil
	}
	return func(dst []byte, row int) []byte {
		return append(base64.StdEncoding.AppendEncode(append(dst, '"'), a.Value(row)), '"')
	}
}

func listCells(list array.ListLike) cellAppender {
	appendValue := jsonCells(list.ListValues())
	return func(dst []byte, row int) []byte {
		from, to := list.ValueOffsets(row)
		dst = append(dst, '[')
		for at := from; at < to; at++ {
			if at > from {
				dst = append(dst, ',')
			}
			dst = appendValue(dst, int(at))
		}
		return append(dst, ']')
	}
}

func mapCells(m *array.Map) cellAppender {
	appendKey, appendItem := jsonCells(m.Keys()), jsonCells(m.Items())
	return func(dst []byte, row int) []byte {
		from, to := m.ValueOffsets(row)
		dst = append(dst, '[')
		for at := from; at < to; at++ {
			if at > from {
				dst = append(dst, ',')
			}
			dst = appendKey(append(dst, `{"key":`...), int(at))
			dst = appendItem(append(dst, `,"value":`...), int(at))
			dst = append(dst, '}')
		}
		return append(dst, ']')
	}
}

func structCells(s *array.Struct) cellAppender {
	t, _ := s.DataType().(*arrow.StructType)
	return objectCells(t.Fields(), func(i int) arrow.Array { return s.Field(i) })
}

// objectCells appends a row of several columns as one JSON object.
func objectCells(fields []arrow.Field, column func(int) arrow.Array) cellAppender {
	names := make([][]byte, len(fields))
	values := make([]cellAppender, len(fields))
	for i, field := range fields {
		separator := byte(',')
		if i == 0 {
			separator = '{'
		}
		names[i] = append(appendQuoted([]byte{separator}, field.Name), ':')
		values[i] = jsonCells(column(i))
	}
	return func(dst []byte, row int) []byte {
		if len(values) == 0 {
			return append(dst, "{}"...)
		}
		for i, appendValue := range values {
			dst = appendValue(append(dst, names[i]...), row)
		}
		return append(dst, '}')
	}
}
