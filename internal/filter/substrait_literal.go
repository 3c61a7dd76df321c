package filter

//lint:file-ignore SA1019 pyarrow writes times in the forms that Substrait had before

import (
	"math"
	"math/big"
	"slices"
	"strconv"
	"time"

	substrait "github.com/substrait-io/substrait-protobuf/go/substraitpb"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/headrace/headrace/internal/model"
)

// literal reads a value in the text form that it has in JSON.
func (p *substraitParser) literal(l *substrait.Expression_Literal) (Literal, error) {
	switch v := l.GetLiteralType().(type) {
	case *substrait.Expression_Literal_Null:
		return Literal{}, nil
	case *substrait.Expression_Literal_Boolean:
		return boolLiteral(v.Boolean), nil
	case *substrait.Expression_Literal_I8:
		return integerLiteral(int64(v.I8)), nil
	case *substrait.Expression_Literal_I16:
		return integerLiteral(int64(v.I16)), nil
	case *substrait.Expression_Literal_I32:
		return integerLiteral(int64(v.I32)), nil
	case *substrait.Expression_Literal_I64:
		return integerLiteral(v.I64), nil
	case *substrait.Expression_Literal_Fp32:
		return floatLiteral(float64(v.Fp32), 32), nil
	case *substrait.Expression_Literal_Fp64:
		return floatLiteral(v.Fp64, 64), nil
	case *substrait.Expression_Literal_Decimal_:
		return decimalLiteral(v.Decimal.GetValue(), int(v.Decimal.GetScale()))
	}
	if text, ok := textOf(l); ok {
		if len(text.Text) > LiteralMax {
			return Literal{}, tooLong(len(text.Text))
		}
		return text, nil
	}
	if literal, ok, err := timeOf(l); ok || err != nil {
		return literal, err
	}
	if user := l.GetUserDefined(); user != nil {
		return p.extensionLiteral(p.types[user.GetTypeReference()], user.GetValue())
	}
	return Literal{}, unsupportedSubstrait("a literal of another type")
}

// textOf reads strings and binaries.
func textOf(l *substrait.Expression_Literal) (Literal, bool) {
	switch v := l.GetLiteralType().(type) {
	case *substrait.Expression_Literal_String_:
		return textLiteral(v.String_), true
	case *substrait.Expression_Literal_FixedChar:
		return textLiteral(v.FixedChar), true
	case *substrait.Expression_Literal_VarChar_:
		return textLiteral(v.VarChar.GetValue()), true
	case *substrait.Expression_Literal_Binary:
		return bytesLiteral(v.Binary), true
	case *substrait.Expression_Literal_FixedBinary:
		return bytesLiteral(v.FixedBinary), true
	case *substrait.Expression_Literal_Uuid:
		return bytesLiteral(v.Uuid), true
	}
	return Literal{}, false
}

// timeOf reads dates and times; the older forms, which pyarrow writes, are in microseconds.
func timeOf(l *substrait.Expression_Literal) (literal Literal, ok bool, err error) {
	const micros = 6
	switch v := l.GetLiteralType().(type) {
	case *substrait.Expression_Literal_Date:
		literal, err = dateLiteral(int64(v.Date))
	case *substrait.Expression_Literal_Time:
		literal, err = timeOfDayLiteral(v.Time, micros)
	case *substrait.Expression_Literal_PrecisionTime_:
		literal, err = timeOfDayLiteral(v.PrecisionTime.GetValue(), v.PrecisionTime.GetPrecision())
	case *substrait.Expression_Literal_Timestamp:
		literal, err = momentLiteral(v.Timestamp, micros)
	case *substrait.Expression_Literal_TimestampTz:
		literal, err = momentLiteral(v.TimestampTz, micros)
	case *substrait.Expression_Literal_PrecisionTimestamp_:
		literal, err = momentLiteral(v.PrecisionTimestamp.GetValue(), v.PrecisionTimestamp.GetPrecision())
	case *substrait.Expression_Literal_PrecisionTimestampTz:
		literal, err = momentLiteral(v.PrecisionTimestampTz.GetValue(), v.PrecisionTimestampTz.GetPrecision())
	default:
		return literal, false, nil
	}
	return literal, true, err
}

// decimalLiteral reads a signed little-endian integer, which counts 10^-scale.
func decimalLiteral(bytes []byte, scale int) (Literal, error) {
	if len(bytes) > 32 || scale < -exponentMax || scale > exponentMax {
		return Literal{}, unsupportedSubstrait("a decimal of that size")
	}
	value := signedLittleEndian(bytes)
	return numberLiteral(value.String() + "e" + strconv.Itoa(-scale))
}

// signedLittleEndian reads an integer in two's complement.
func signedLittleEndian(bytes []byte) *big.Int {
	reversed := slices.Clone(bytes)
	slices.Reverse(reversed)
	value := new(big.Int).SetBytes(reversed)
	if len(bytes) > 0 && bytes[len(bytes)-1] >= 0x80 {
		value.Sub(value, new(big.Int).Lsh(big.NewInt(1), uint(8*len(bytes))))
	}
	return value
}

// nanosOf turns a count of 10^-precision seconds into nanoseconds; false for a precision that Arrow does
// not have.
func nanosOf(value int64, precision int32) (*big.Int, bool) {
	if precision < 0 || precision > 9 {
		return nil, false
	}
	return new(big.Int).Mul(big.NewInt(value), powerOfTen(9-int(precision))), true
}

func momentLiteral(value int64, precision int32) (Literal, error) {
	nanos, ok := nanosOf(value, precision)
	if !ok {
		return Literal{}, unsupportedSubstrait("a time of that precision")
	}
	return instantLiteral(nanos)
}

func timeOfDayLiteral(value int64, precision int32) (Literal, error) {
	nanos, ok := nanosOf(value, precision)
	if !ok || nanos.Sign() < 0 || nanos.Cmp(big.NewInt(int64(24*time.Hour))) >= 0 {
		return Literal{}, unsupportedSubstrait("a time of day that is none")
	}
	return textLiteral(time.Unix(0, nanos.Int64()).UTC().Format("15:04:05.999999999")), nil
}

func dateLiteral(days int64) (Literal, error) {
	literal, err := instantLiteral(new(big.Int).Mul(big.NewInt(days), big.NewInt(int64(24*time.Hour))))
	if err == nil {
		literal.Text = literal.Text[:len("2006-01-02")]
	}
	return literal, err
}

// instantLiteral is the literal of a moment in nanoseconds since 1970, with Z at its end.
func instantLiteral(nanos *big.Int) (Literal, error) {
	seconds, rest := new(big.Int).DivMod(nanos, big.NewInt(int64(time.Second)), new(big.Int))
	if !seconds.IsInt64() || seconds.Int64() > yearMaxUnix || seconds.Int64() < yearMinUnix {
		return Literal{}, model.Errorf(model.BadRequest, "the filter has a time that lies outside of the years 0 to 9999")
	}
	return textLiteral(time.Unix(seconds.Int64(), rest.Int64()).UTC().Format("2006-01-02T15:04:05.999999999Z07:00")), nil
}

// extensionLiteral reads a value of a type that Arrow has and Substrait has not; pyarrow wraps it in a
// message of its own.
func (p *substraitParser) extensionLiteral(name string, value *anypb.Any) (Literal, error) {
	message, err := value.UnmarshalNew()
	if err != nil {
		return Literal{}, unsupportedSubstrait("a literal of the type " + clip(name))
	}
	var number int64
	switch m := message.(type) {
	case *wrapperspb.StringValue:
		return textLiteral(m.GetValue()), nil
	case *wrapperspb.BytesValue:
		return bytesLiteral(m.GetValue()), nil
	case *wrapperspb.UInt64Value:
		if m.GetValue() > math.MaxInt64 {
			return numberLiteral(strconv.FormatUint(m.GetValue(), 10))
		}
		number = int64(m.GetValue())
	case *wrapperspb.UInt32Value:
		number = int64(m.GetValue())
	case *wrapperspb.Int64Value:
		number = m.GetValue()
	case *wrapperspb.Int32Value:
		number = int64(m.GetValue())
	default:
		return Literal{}, unsupportedSubstrait("a literal of the type " + clip(name))
	}
	switch name {
	case "u8", "u16", "u32", "u64":
		return integerLiteral(number), nil
	case "date_millis":
		return dateLiteral(int64(math.Floor(float64(number) / float64(24*time.Hour/time.Millisecond))))
	case "time_seconds":
		return timeOfDayLiteral(number, 0)
	case "time_millis":
		return timeOfDayLiteral(number, 3)
	case "time_nanos":
		return timeOfDayLiteral(number, 9)
	}
	return Literal{}, unsupportedSubstrait("a literal of the type " + clip(name))
}
