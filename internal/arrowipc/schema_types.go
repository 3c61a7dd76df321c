package arrowipc

import (
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
)

// The numbers of types in the IPC format.
const (
	typeNull = iota + 1
	typeInt
	typeFloat
	typeBinary
	typeString
	typeBool
	typeDecimal
	typeDate
	typeTime
	typeTimestamp
	typeInterval
	typeList
	typeStruct
	typeUnion
	typeFixedBinary
	typeFixedList
	typeMap
	typeDuration
	typeLargeBinary
	typeLargeString
	typeLargeList
	typeRunEnd
	typeBinaryView
	typeStringView
	typeListView
	typeLargeListView
)

// plainTypes are the types without parameters.
var plainTypes = map[byte]arrow.DataType{
	typeNull: arrow.Null, typeBool: arrow.FixedWidthTypes.Boolean,
	typeBinary: arrow.BinaryTypes.Binary, typeString: arrow.BinaryTypes.String,
	typeLargeBinary: arrow.BinaryTypes.LargeBinary, typeLargeString: arrow.BinaryTypes.LargeString,
	typeBinaryView: arrow.BinaryTypes.BinaryView, typeStringView: arrow.BinaryTypes.StringView,
}

// refusedTypes are the types that are not stored, and what to send in their place.
var refusedTypes = map[byte]struct{ name, remedy string }{
	typeUnion:         {"union", "Send a struct that has a field for each of its types"},
	typeRunEnd:        {"run_end_encoded", "Send its values, as run_end_decode of pyarrow.compute gives them, or a dictionary"},
	typeListView:      {"list_view", "Cast it to a list"},
	typeLargeListView: {"large_list_view", "Cast it to a large_list"},
}

func (d *schemaDecoder) dataType(typeID byte, t flatTable, children []arrow.Field) (arrow.DataType, error) {
	if refused, found := refusedTypes[typeID]; found {
		d.refuseType(refused.name, refused.remedy)
		return nil, errors.New("unsupported")
	}
	switch typeID {
	case typeList, typeLargeList, typeStruct, typeMap, typeFixedList:
		return d.nested(typeID, t, children)
	}
	if len(children) != 0 {
		return nil, fmt.Errorf("type %d has %d children, want none", typeID, len(children))
	}
	if plain, ok := plainTypes[typeID]; ok {
		return plain, nil
	}
	switch typeID {
	case typeInt:
		return d.integer(t)
	case typeFloat:
		return pick(int(d.int16Field(t, 0, 0)), "floating-point precision", floats)
	case typeDecimal:
		return d.decimal(t)
	case typeFixedBinary:
		width := d.int32Field(t, 0, 0)
		if width == 0 {
			d.refuseType("fixed_size_binary of width 0", "Leave the column out, or cast it to binary")
		}
		if width < 1 || width > fixedWidthMax {
			return nil, fmt.Errorf("a fixed-size binary of %d bytes", width)
		}
		return &arrow.FixedSizeBinaryType{ByteWidth: int(width)}, nil
	}
	return d.temporal(typeID, t)
}

var (
	floats = []arrow.DataType{
		arrow.FixedWidthTypes.Float16, arrow.PrimitiveTypes.Float32, arrow.PrimitiveTypes.Float64,
	}
	dates     = []arrow.DataType{arrow.FixedWidthTypes.Date32, arrow.FixedWidthTypes.Date64}
	intervals = []arrow.DataType{
		arrow.FixedWidthTypes.MonthInterval, arrow.FixedWidthTypes.DayTimeInterval,
		arrow.FixedWidthTypes.MonthDayNanoInterval,
	}
	units = []arrow.TimeUnit{arrow.Second, arrow.Millisecond, arrow.Microsecond, arrow.Nanosecond}
)

func pick[T any](i int, what string, from []T) (T, error) {
	if i < 0 || i >= len(from) {
		var none T
		return none, fmt.Errorf("the unknown %s %d", what, i)
	}
	return from[i], nil
}

func (d *schemaDecoder) temporal(typeID byte, t flatTable) (arrow.DataType, error) {
	switch typeID {
	case typeDate:
		return pick(int(d.int16Field(t, 0, 1)), "date unit", dates)
	case typeInterval:
		return pick(int(d.int16Field(t, 0, 0)), "interval unit", intervals)
	case typeTime:
		unit, err := pick(int(d.int16Field(t, 0, 1)), "time unit", units)
		width := d.int32Field(t, 1, 32)
		switch {
		case err != nil:
			return nil, err
		case width == 32 && unit <= arrow.Millisecond:
			return &arrow.Time32Type{Unit: unit}, nil
		case width == 64 && unit >= arrow.Microsecond:
			return &arrow.Time64Type{Unit: unit}, nil
		}
		return nil, fmt.Errorf("a time of %d bits in %s", width, unit)
	case typeTimestamp:
		unit, err := pick(int(d.int16Field(t, 0, 0)), "time unit", units)
		return &arrow.TimestampType{Unit: unit, TimeZone: d.string(t, 1)}, err
	case typeDuration:
		unit, err := pick(int(d.int16Field(t, 0, 1)), "time unit", units)
		return &arrow.DurationType{Unit: unit}, err
	}
	return nil, fmt.Errorf("the unknown type %d", typeID)
}

func (d *schemaDecoder) integer(t flatTable) (arrow.DataType, error) {
	signed := d.byteField(t, 1) != 0
	p := arrow.PrimitiveTypes
	switch width := d.int32Field(t, 0, 0); {
	case width == 8 && signed:
		return p.Int8, nil
	case width == 16 && signed:
		return p.Int16, nil
	case width == 32 && signed:
		return p.Int32, nil
	case width == 64 && signed:
		return p.Int64, nil
	case width == 8:
		return p.Uint8, nil
	case width == 16:
		return p.Uint16, nil
	case width == 32:
		return p.Uint32, nil
	case width == 64:
		return p.Uint64, nil
	default:
		return nil, fmt.Errorf("an integer of %d bits", width)
	}
}

// digits are the most digits that a decimal of so many bits holds.
var digits = map[int32]int32{32: 9, 64: 18, 128: 38, 256: 76}

func (d *schemaDecoder) decimal(t flatTable) (arrow.DataType, error) {
	precision, scale, width := d.int32Field(t, 0, 0), d.int32Field(t, 1, 0), d.int32Field(t, 2, 128)
	limit, ok := digits[width]
	if !ok {
		return nil, fmt.Errorf("a decimal of %d bits", width)
	}
	if precision < 1 || precision > limit || scale < -limit || scale > limit {
		return nil, fmt.Errorf("a decimal of %d bits with precision %d and scale %d", width, precision, scale)
	}
	switch width {
	case 32:
		return &arrow.Decimal32Type{Precision: precision, Scale: scale}, nil
	case 64:
		return &arrow.Decimal64Type{Precision: precision, Scale: scale}, nil
	case 128:
		return &arrow.Decimal128Type{Precision: precision, Scale: scale}, nil
	}
	return &arrow.Decimal256Type{Precision: precision, Scale: scale}, nil
}
