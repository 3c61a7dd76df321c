package arrowipc

import (
	"encoding/binary"
	"fmt"
)

// flat reads a FlatBuffers message that may be hostile. Every access is checked against the bytes
// of the message; offsets lead forward only, so that there are no cycles; and the number of tables
// that may be visited is bounded, so that many references to one table do not multiply.
//
// The first failure stays in err; reads after it give zero values, so that callers look at err at
// the end and wherever they loop or allocate.
type flat struct {
	data   []byte
	tables int // that may still be visited
	copies int // bytes of text that may still be given out: callers copy them
	err    error
}

// flatTable is a table whose own bytes and vtable lie inside the message. The zero value has no
// fields.
type flatTable struct {
	position int
	vtable   int
	slots    int // fields that the vtable knows
	size     int // bytes of the table
}

func (f *flat) fail(format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf(format, args...)
	}
}

// inside says that n bytes at position lie in the message.
func (f *flat) inside(position, n int) bool {
	if f.err != nil {
		return false
	}
	if position < 0 || n < 0 || position > len(f.data) || n > len(f.data)-position {
		f.fail("it refers to bytes %d+%d of a message of %d", position, n, len(f.data))
		return false
	}
	return true
}

func (f *flat) uint16(position int) int {
	if !f.inside(position, 2) {
		return 0
	}
	return int(binary.LittleEndian.Uint16(f.data[position:]))
}

func (f *flat) uint32(position int) uint32 {
	if !f.inside(position, 4) {
		return 0
	}
	return binary.LittleEndian.Uint32(f.data[position:])
}

// follow gives the position that the offset stored at position leads to.
func (f *flat) follow(position int) int {
	offset := f.uint32(position)
	if offset == 0 || offset > 1<<31-1 {
		f.fail("it has the offset %d", offset)
		return 0
	}
	target := position + int(offset)
	if !f.inside(target, 4) {
		return 0
	}
	return target
}

// root gives the table that the message begins with.
func (f *flat) root() flatTable { return f.table(f.follow(0)) }

func (f *flat) table(position int) flatTable {
	if f.tables--; f.tables < 0 {
		f.fail("it has too many tables")
	}
	vtable := position - int(int32(f.uint32(position)))
	size := f.uint16(vtable)
	if f.err == nil && (size < 4 || size%2 != 0) {
		f.fail("it has a vtable of %d bytes", size)
	}
	if !f.inside(vtable, size) {
		return flatTable{}
	}
	t := flatTable{position: position, vtable: vtable, slots: (size - 4) / 2, size: f.uint16(vtable + 2)}
	if !f.inside(position, t.size) {
		return flatTable{}
	}
	return t
}

// field gives the position of a field of width bytes, or -1 where the table leaves it out.
func (f *flat) field(t flatTable, slot, width int) int {
	if f.err != nil || slot >= t.slots {
		return -1
	}
	offset := f.uint16(t.vtable + 4 + 2*slot)
	if offset == 0 {
		return -1
	}
	if offset+width > t.size {
		f.fail("it has a field outside its table")
		return -1
	}
	return t.position + offset
}

func (f *flat) byteField(t flatTable, slot int) byte {
	if at := f.field(t, slot, 1); at >= 0 {
		return f.data[at]
	}
	return 0
}

// int16Field gives the field, or otherwise where the table leaves it out.
func (f *flat) int16Field(t flatTable, slot int, otherwise int16) int16 {
	if at := f.field(t, slot, 2); at >= 0 {
		return int16(f.uint16(at))
	}
	return otherwise
}

func (f *flat) int32Field(t flatTable, slot int, otherwise int32) int32 {
	if at := f.field(t, slot, 4); at >= 0 {
		return int32(f.uint32(at))
	}
	return otherwise
}

func (f *flat) int64Field(t flatTable, slot int) int64 {
	if at := f.field(t, slot, 8); at >= 0 {
		return f.int64(at)
	}
	return 0
}

// int64 reads a position that field or vector has checked.
func (f *flat) int64(position int) int64 {
	return int64(binary.LittleEndian.Uint64(f.data[position:]))
}

// tableField gives the table that a field refers to; false where it is left out.
func (f *flat) tableField(t flatTable, slot int) (flatTable, bool) {
	at := f.field(t, slot, 4)
	if at < 0 {
		return flatTable{}, false
	}
	table := f.table(f.follow(at))
	return table, f.err == nil
}

// vector gives the position of the first element and the number of elements, each of width bytes.
func (f *flat) vector(t flatTable, slot, width int) (position, n int) {
	at := f.field(t, slot, 4)
	if at < 0 {
		return 0, 0
	}
	position = f.follow(at)
	n = int(f.uint32(position))
	if f.err != nil || !f.inside(position+4, n*width) {
		return 0, 0
	}
	return position + 4, n
}

// text gives a string of at most max bytes, as a view into the message.
func (f *flat) text(t flatTable, slot, max int) []byte {
	position, n := f.vector(t, slot, 1)
	if n > max {
		f.fail("it has a text of %d bytes, at most %d are allowed", n, max)
	}
	if f.copies -= n; f.copies < 0 {
		f.fail("its texts refer to the same bytes again and again")
	}
	if f.err != nil {
		return nil
	}
	return f.data[position : position+n]
}
