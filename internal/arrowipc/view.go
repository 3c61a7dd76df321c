package arrowipc

import (
	"encoding/binary"
	"math"
)

// A view is 16 bytes: int32 length; then up to 12 bytes of the value, or its first 4 bytes, the
// int32 index of a data buffer and an int32 position in it.
const viewInlineMax = 12

// viewed gives the value of a view; false where the view is not valid.
func (v *vector) viewed(row int64) ([]byte, bool) {
	view := v.values[row*viewWidth : (row+1)*viewWidth]
	length := int64(int32(binary.LittleEndian.Uint32(view)))
	if length < 0 {
		return nil, false
	}
	if length <= viewInlineMax {
		return view[4 : 4+length : 4+length], true
	}
	index := int64(int32(binary.LittleEndian.Uint32(view[8:])))
	from := int64(int32(binary.LittleEndian.Uint32(view[12:])))
	if index < 0 || index >= int64(len(v.views)) || from < 0 || from+length > int64(len(v.views[index])) {
		return nil, false
	}
	return v.views[index][from : from+length : from+length], true
}

// appendView appends a view of value to views, and value itself to data where it is long.
func appendView(views, data, value []byte) (newViews, newData []byte, err error) {
	var view [viewWidth]byte
	binary.LittleEndian.PutUint32(view[:], uint32(len(value)))
	copy(view[4:], value[:min(len(value), viewInlineMax)])
	if len(value) > viewInlineMax {
		if len(data)+len(value) > math.MaxInt32 {
			return views, data, errTooLong
		}
		binary.LittleEndian.PutUint32(view[8:], 0)
		binary.LittleEndian.PutUint32(view[12:], uint32(len(data)))
		data = append(data, value...)
	}
	return append(views, view[:]...), data, nil
}
