package arrowipc

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"unsafe"
)

// Bounds of text come from keys. A key has the next textPrefix bytes of a value, the first one on top,
// zeros behind the value's end, and in its lowest byte how many of them there are, one more than
// textPrefix where the value goes on. So keys compare as the values do, as far as they reach. Where all
// values begin with the same bytes, another pass makes keys of what follows.
const (
	textPrefix = 7
	textMore   = textPrefix + 1
	textPasses = 4 // all prefixes and the byte that is rounded up stay below BoundBytesMax
)

// keyMasks keep as many bytes of a key as the index says.
var keyMasks = [textMore + 1]uint64{
	0, 0xff << 56, 0xffff << 48, 0xffffff << 40, 0xffffffff << 32,
	0xffffffffff << 24, 0xffffffffffff << 16, 0xffffffffffffff << 8, 0xffffffffffffff << 8,
}

// textRange is the least and the greatest key of the values behind their first skip bytes.
type textRange struct {
	low, high uint64
	begun     bool // there is a key
	skip      int64
}

// boundText bounds strings and binaries.
func (v *vector) boundText(into *ColumnStatistics, arena []byte) ([]byte, error) {
	var common [textPasses * textPrefix]byte
	r := textRange{}
	for {
		r.begun = false
		if !v.addKeys(&r) {
			return arena, fmt.Errorf("%s has offsets or views that lead outside", v.column.path())
		}
		if r.low != r.high || r.low&0xff != textMore || r.skip+textPrefix == int64(len(common)) {
			break
		}
		putKey(common[r.skip:], r.low)
		r.skip += textPrefix
	}
	var bound [textPasses * textPrefix]byte
	copy(bound[:], common[:r.skip])
	arena, into.Min = keep(arena, bound[:r.skip+putKey(bound[r.skip:], r.low)])
	most := bound[:r.skip+putKey(bound[r.skip:], r.high)]
	if r.high&0xff == textMore {
		if most = roundUp(most); most == nil {
			return arena, nil
		}
	}
	arena, into.Max = keep(arena, most)
	return arena, nil
}

// putKey writes the bytes of a key, and gives how many there are.
func putKey(dst []byte, key uint64) int64 {
	for i := range textPrefix {
		dst[i] = byte(key >> (56 - 8*i))
	}
	return int64(min(key&0xff, textPrefix))
}

// roundUp gives the shortest bytes that are above everything that begins with prefix, in its memory;
// nil where there are none.
func roundUp(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] < 0xff {
			prefix[i]++
			return prefix[:i+1]
		}
	}
	return nil
}

// addKeys adds the keys of all values; false where one lies outside.
func (v *vector) addKeys(r *textRange) bool {
	for from, to := range v.valid {
		inside := true
		switch v.column.kind {
		case offset32Kind:
			inside = addSlotKeys(r, int32s(v.values)[from:to+1], v.data)
		case offset64Kind:
			inside = addSlotKeys(r, int64s(v.values)[from:to+1], v.data)
		case viewKind:
			inside = v.addViewKeys(r, from, to)
		default:
			for row := from; row < to; row++ {
				r.add(v.values, row*v.column.width, (row+1)*v.column.width)
			}
		}
		if !inside {
			return false
		}
	}
	return true
}

// addSlotKeys adds the keys of the values between offsets. Most are in the range, which one comparison
// tells: how far a key lies above its low end.
func addSlotKeys[T int32 | int64](r *textRange, offsets []T, data []byte) bool {
	skip := uint64(r.skip)
	inner := uint64(max(int64(len(data))-textPrefix-r.skip, 0)) // values that begin before have 8 bytes behind skip
	base := unsafe.Add(unsafe.Pointer(unsafe.SliceData(data)), skip)
	if !r.begun && !addEndKeys(r, offsets[:2], data) {
		return false
	}
	low, span := r.low, r.high-r.low
	begin := uint64(offsets[0])
	for i, offset := range offsets[1:] {
		end := uint64(offset)
		if begin >= inner {
			return addEndKeys(r, offsets[i:], data)
		}
		length := min(end-begin-skip, textMore)
		key := bits.ReverseBytes64(*(*uint64)(unsafe.Add(base, begin)))&keyMasks[length] | length
		if key-low > span {
			r.widen(key)
			low, span = r.low, r.high-r.low
		}
		begin = end
	}
	return begin <= uint64(len(data))
}

// addEndKeys is addSlotKeys where less than 8 bytes may be left.
func addEndKeys[T int32 | int64](r *textRange, offsets []T, data []byte) bool {
	begin := int64(offsets[0])
	for _, offset := range offsets[1:] {
		end := int64(offset)
		if begin < 0 || end-begin < r.skip || end > int64(len(data)) {
			return false
		}
		r.add(data, begin, end)
		begin = end
	}
	return true
}

func (v *vector) addViewKeys(r *textRange, from, to int64) bool {
	for row := from; row < to; row++ {
		value, ok := v.viewed(row)
		if !ok {
			return false
		}
		r.add(value, 0, int64(len(value)))
	}
	return true
}

// add adds the key of the value data[begin:end], which is at least r.skip bytes long.
func (r *textRange) add(data []byte, begin, end int64) {
	value := data[begin+r.skip : end]
	var padded [8]byte
	copy(padded[:], value)
	length := min(len(value), textMore)
	r.widen(binary.BigEndian.Uint64(padded[:])&keyMasks[length] | uint64(length))
}

// widen makes the range hold a key.
func (r *textRange) widen(key uint64) {
	if !r.begun {
		r.low, r.high, r.begun = key, key, true
	}
	r.low, r.high = min(r.low, key), max(r.high, key)
}
