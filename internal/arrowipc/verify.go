package arrowipc

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"
)

// verify checks what the buffers of a plain batch hold, whose counts and lengths have been checked:
// that null counts are those of the bitmaps, that offsets, views and indices stay inside, and that
// text is UTF-8. After it any value can be read. Values of nulls are not looked at, except that
// their offsets must be in order.
//
// It reports through garbage that a view of a null, or the unused bytes of a view, are not zero: no
// value is wrong, but some readers follow such views, and compare all 16 bytes, so the views are to be
// rebuilt.
func verify(vectors []vector) (garbage bool, err error) {
	for i := range vectors {
		v := &vectors[i]
		if err := v.verifyNulls(); err != nil {
			return false, err
		}
		switch v.column.kind {
		case offset32Kind:
			err = verifyBinaries(v, int32s(v.values))
		case offset64Kind:
			err = verifyBinaries(v, int64s(v.values))
		case list32Kind:
			_, _, err = verifyOffsets(v, int32s(v.values), vectors[v.column.children[0].node].length)
		case list64Kind:
			_, _, err = verifyOffsets(v, int64s(v.values), vectors[v.column.children[0].node].length)
		case viewKind:
			var dirty bool
			dirty, err = v.verifyViews()
			garbage = garbage || dirty
		case dictionaryKind:
			err = v.verifyIndices()
		}
		if err != nil {
			return false, err
		}
	}
	return garbage, nil
}

func (v *vector) verifyNulls() error {
	if v.column.kind == nullKind || v.nulls == 0 {
		return nil
	}
	if got := v.length - countBits(v.validity, 0, v.length); got != v.nulls {
		return fmt.Errorf("%s says that %d values are null, its bitmap that %d are", v.column.path(), v.nulls, got)
	}
	return nil
}

// verifyOffsets gives what the offsets span.
func verifyOffsets[T int32 | int64](v *vector, offsets []T, limit int64) (first, last int64, err error) {
	if v.length == 0 {
		return 0, 0, nil
	}
	offsets = offsets[:v.length+1]
	previous := offsets[0]
	signs := previous
	for _, offset := range offsets[1:] {
		signs |= offset | (offset - previous)
		previous = offset
	}
	if signs < 0 || int64(previous) > limit {
		return 0, 0, fmt.Errorf("%s has offsets that decrease, or lead beyond %d", v.column.path(), limit)
	}
	return int64(offsets[0]), int64(previous), nil
}

func verifyBinaries[T int32 | int64](v *vector, offsets []T) error {
	first, last, err := verifyOffsets(v, offsets, int64(len(v.data)))
	if err != nil || !v.column.text || v.length == 0 {
		return err
	}
	used := v.data[first:last]
	if ascii(used) {
		return nil
	}
	if utf8.Valid(used) && betweenRunes(v.data, offsets[:v.length], last) {
		return nil
	}
	for row := range v.length {
		if !v.isNull(row) && !utf8.Valid(v.data[offsets[row]:offsets[row+1]]) {
			return fmt.Errorf("%s has text that is not UTF-8 in row %d", v.column.path(), row)
		}
	}
	return nil
}

// betweenRunes says that no offset leads into the middle of a character.
func betweenRunes[T int32 | int64](data []byte, offsets []T, last int64) bool {
	for _, offset := range offsets {
		if int64(offset) < last && !utf8.RuneStart(data[offset]) {
			return false
		}
	}
	return true
}

// ascii says that no byte is above 127.
func ascii(text []byte) bool {
	high := uint64(0)
	for len(text) >= 32 {
		block := text[:32]
		high |= binary.LittleEndian.Uint64(block) | binary.LittleEndian.Uint64(block[8:]) |
			binary.LittleEndian.Uint64(block[16:]) | binary.LittleEndian.Uint64(block[24:])
		text = text[32:]
	}
	for _, b := range text {
		high |= uint64(b)
	}
	return high&0x8080808080808080 == 0
}

func (v *vector) verifyViews() (garbage bool, err error) {
	for row := range v.length {
		view := v.values[row*viewWidth : (row+1)*viewWidth]
		if v.isNull(row) {
			garbage = garbage || binary.LittleEndian.Uint64(view)|binary.LittleEndian.Uint64(view[8:]) != 0
			continue
		}
		value, ok := v.viewed(row)
		if !ok || len(value) > viewInlineMax && string(value[:4]) != string(view[4:8]) {
			return false, fmt.Errorf("%s has a view in row %d that does not fit its data", v.column.path(), row)
		}
		for _, unused := range view[min(4+len(value), viewWidth):] {
			garbage = garbage || unused != 0 && len(value) < viewInlineMax
		}
		if v.column.text && !utf8.Valid(value) {
			return false, fmt.Errorf("%s has text that is not UTF-8 in row %d", v.column.path(), row)
		}
	}
	return garbage, nil
}

func (v *vector) verifyIndices() error {
	limit := v.dictionary[0].length
	for row := range v.length {
		if v.isNull(row) {
			continue
		}
		if index := v.index(row); index < 0 || index >= limit {
			return fmt.Errorf("%s has an index in row %d that is not in its dictionary", v.column.path(), row)
		}
	}
	return nil
}

// verifyRequired checks that a column that may not be null has no null, at any depth. A null inside
// a row that is itself null does not count.
func verifyRequired(vectors []vector, source, target *column) (row int64, path string, ok bool) {
	v := &vectors[source.node]
	if !target.nullable && v.nulls > 0 {
		for row := range v.length {
			if v.isNull(row) && !masked(vectors, source, row) {
				return row, target.path(), false
			}
		}
	}
	if source.kind == nullKind || source.kind == dictionaryKind {
		return 0, "", true
	}
	for i, child := range target.children {
		if row, path, ok := verifyRequired(vectors, source.children[i], child); !ok {
			return row, path, false
		}
	}
	return 0, "", true
}

// masked says that a row of a nested column lies in a row that is null.
func masked(vectors []vector, c *column, row int64) bool {
	parent := c.parent
	if parent == nil || parent.kind != structKind && parent.kind != fixedListKind {
		return false
	}
	if parent.kind == fixedListKind {
		row /= parent.width
	}
	return vectors[parent.node].isNull(row) || masked(vectors, parent, row)
}
