package pkstore

import (
	"encoding/binary"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/arrowipc"
)

func checkVersionType(t arrow.DataType) error {
	switch t.ID() {
	case arrow.INT8, arrow.INT16, arrow.INT32, arrow.INT64, arrow.UINT8, arrow.UINT16, arrow.UINT32, arrow.UINT64,
		arrow.DATE32, arrow.DATE64, arrow.TIME32, arrow.TIME64, arrow.TIMESTAMP, arrow.DURATION:
		return nil
	}
	return fmt.Errorf("%s cannot be a version, want an integer, date, time, timestamp or duration", t)
}

// version reads a value of a version column as a number whose order is that of the versions; false
// for null.
func version(p arrowipc.Pick, column int, unsigned bool) (uint64, bool) {
	if p.View.IsNull(column, p.Row) {
		return 0, false
	}
	const sign = 1 << 63
	value := p.View.Value(column, p.Row)
	var number uint64
	switch len(value) {
	case 1:
		number = uint64(int64(int8(value[0])))
	case 2:
		number = uint64(int64(int16(binary.LittleEndian.Uint16(value))))
	case 4:
		number = uint64(int64(int32(binary.LittleEndian.Uint32(value))))
	default:
		number = binary.LittleEndian.Uint64(value)
	}
	if unsigned {
		return number << (64 - 8*len(value)) >> (64 - 8*len(value)), true
	}
	return number ^ sign, true
}
