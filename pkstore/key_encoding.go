package pkstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// KeyEncodingVersion is the version of the order-preserving key encoding. What is stored under it never
// changes.
const KeyEncodingVersion = 1

// KeyEncoding turns key columns of rows into bytes whose order is the order of the keys, and back. The
// encoding of the first columns of a key is a prefix of that of the key.
//
// Version 1, for each column in order, one byte that is 0 for null, and else 1 and the value:
//
//	bool                     one byte, 0 or 1
//	unsigned integers        big-endian
//	integers, dates, times,  big-endian with the sign bit flipped
//	timestamps, durations,
//	months, decimals
//	floats                   the bits of IEEE 754, big-endian: all of them flipped where the sign is set,
//	                         else the sign alone
//	day-time, month-day-nano each of the fields as an integer
//	fixed-size binary        as it is
//	strings and binaries     the bytes with 00 written as 00 FF, then 00 01
//
// So null is below everything, -0 below 0, and NaN above everything or, with its sign set, below it.
// Strings and binaries in all forms have one encoding. Bytes that AppendKey does not give are refused
// by Check, so that a key has one encoding only.
//
// A KeyEncoding is immutable and may be shared.
type KeyEncoding struct {
	columns []keyColumn
}

type keyColumn struct {
	index int
	form  keyForm
	// fields are the widths of the integers of a value in keySigned form, in bytes.
	fields []int
	width  int // bytes of a value of fixed width
}

type keyForm uint8

const (
	keyBool keyForm = iota
	keyUnsigned
	keySigned
	keyFloat
	keyFixed
	keyBytes
)

// NewKeyEncoding chooses the key columns by index, in order. Columns of fixed width, bool, string and
// binary in any form may be keys; others are model.UnsupportedType.
func NewKeyEncoding(l *arrowipc.Layout, columns []int) (*KeyEncoding, error) {
	k := &KeyEncoding{}
	fields := l.Schema().Fields()
	for _, i := range columns {
		if i < 0 || i >= len(fields) {
			return nil, model.Errorf(model.ColumnNotFound, "there is no column %d, the table has %d", i, len(fields))
		}
		c, ok := newKeyColumn(i, valueType(fields[i].Type))
		if !ok {
			return nil, model.Errorf(model.UnsupportedType,
				"column %q is of type %s, which cannot be a key", fields[i].Name, model.FormatType(fields[i].Type))
		}
		k.columns = append(k.columns, c)
	}
	return k, nil
}

func newKeyColumn(index int, t arrow.DataType) (c keyColumn, ok bool) {
	c.index = index
	if fixed, isFixed := t.(arrow.FixedWidthDataType); isFixed {
		c.width = fixed.BitWidth() / 8
	}
	switch numberKinds[t.ID()] {
	case signedNumber, decimalNumber:
		c.form, c.fields = keySigned, []int{c.width}
		return c, true
	case unsignedNumber:
		c.form = keyUnsigned
		return c, true
	case floatNumber:
		c.form = keyFloat
		return c, true
	}
	switch t.ID() {
	case arrow.BOOL:
		c.form, c.width = keyBool, 1
	case arrow.INTERVAL_DAY_TIME:
		c.form, c.fields = keySigned, []int{4, 4}
	case arrow.INTERVAL_MONTH_DAY_NANO:
		c.form, c.fields = keySigned, []int{4, 4, 8}
	case arrow.FIXED_SIZE_BINARY:
		c.form = keyFixed
	case arrow.STRING, arrow.LARGE_STRING, arrow.STRING_VIEW,
		arrow.BINARY, arrow.LARGE_BINARY, arrow.BINARY_VIEW:
		c.form = keyBytes
	default:
		return c, false
	}
	return c, true
}

// Columns is how many columns a key has.
func (k *KeyEncoding) Columns() int { return len(k.columns) }

// AppendKey appends the key of a row of a view, which has the layout that k was made for.
func (k *KeyEncoding) AppendKey(dst []byte, v *arrowipc.View, row int32) []byte {
	return k.AppendPrefix(dst, v, row, len(k.columns))
}

// AppendPrefix appends the first columns of the key of a row.
func (k *KeyEncoding) AppendPrefix(dst []byte, v *arrowipc.View, row int32, columns int) []byte {
	for i := range k.columns[:columns] {
		c := &k.columns[i]
		if v.IsNull(c.index, row) {
			dst = append(dst, keyNull)
			continue
		}
		dst = append(dst, keyPresent)
		dst = c.append(dst, v.Value(c.index, row))
	}
	return dst
}

const (
	keyNull    = 0
	keyPresent = 1

	keyEscape  = 0x00 // before keyZero and keyEnd alone
	keyZero    = 0xFF // a zero byte of the value
	keyEnd     = 0x01
	keySignBit = 0x80
)

func (c *keyColumn) append(dst, value []byte) []byte {
	switch c.form {
	case keyBool, keyFixed:
		return append(dst, value...)
	case keyBytes:
		return appendEscaped(dst, value)
	case keySigned:
		if c.width == 8 && len(c.fields) == 1 {
			return binary.BigEndian.AppendUint64(dst, binary.LittleEndian.Uint64(value)^1<<63)
		}
	}
	have := len(dst)
	dst = append(dst, value...)
	c.turn(dst[have:], value)
	return dst
}

// turn writes a number of fixed width in the other form, of the two that in and stored batches have.
func (c *keyColumn) turn(out, in []byte) {
	switch c.form {
	case keyUnsigned:
		reverse(out, in)
	case keyFloat:
		reverse(out, in)
		flip := byte(0)
		if out[0]&keySignBit != 0 {
			flip = 0xFF
		}
		for i := range out {
			out[i] ^= flip
		}
		out[0] ^= keySignBit &^ flip
	case keySigned:
		for _, width := range c.fields {
			reverse(out[:width], in[:width])
			out[0] ^= keySignBit
			out, in = out[width:], in[width:]
		}
	default:
		copy(out, in)
	}
}

// turnBack is the inverse of turn.
func (c *keyColumn) turnBack(out, in []byte) {
	switch c.form {
	case keyUnsigned:
		reverse(out, in)
	case keyFloat:
		reverse(out, in)
		flip := byte(0)
		if in[0]&keySignBit == 0 {
			flip = 0xFF
		}
		for i := range out {
			out[i] ^= flip
		}
		out[len(out)-1] ^= keySignBit &^ flip
	case keySigned:
		for _, width := range c.fields {
			reverse(out[:width], in[:width])
			out[width-1] ^= keySignBit
			out, in = out[width:], in[width:]
		}
	default:
		copy(out, in)
	}
}

func reverse(out, in []byte) {
	if len(in) == 8 {
		binary.NativeEndian.PutUint64(out, bits.ReverseBytes64(binary.NativeEndian.Uint64(in)))
		return
	}
	for i, b := range in {
		out[len(in)-1-i] = b
	}
}

func appendEscaped(dst, value []byte) []byte {
	for {
		zero := bytes.IndexByte(value, 0)
		if zero < 0 {
			dst = append(dst, value...)
			return append(dst, keyEscape, keyEnd)
		}
		dst = append(dst, value[:zero]...)
		dst = append(dst, keyEscape, keyZero)
		value = value[zero+1:]
	}
}

// Check says what is wrong with the bytes of a key.
func (k *KeyEncoding) Check(key []byte) error {
	_, err := k.decode(key, len(k.columns), nil)
	return err
}

// PrefixLength is how many bytes the first columns of a key take.
func (k *KeyEncoding) PrefixLength(key []byte, columns int) (int, error) {
	return k.decode(key, columns, nil)
}

// Decode appends the columns of a key to the columns of b that into names, in order. After an error b
// has got nothing, unless the error is its own.
func (k *KeyEncoding) Decode(key []byte, b *arrowipc.Builder, into []int) error {
	if err := k.Check(key); err != nil {
		return err
	}
	_, err := k.decode(key, len(k.columns), func(i int, value []byte) error {
		if value == nil {
			b.AppendNull(into[i])
			return nil
		}
		return b.AppendValue(into[i], value)
	})
	return err
}

// decode reads the first columns of a key, and calls found with the value of each, nil for null, as
// arrowipc.View gives it. found may be nil. With all columns, nothing may stand behind them.
func (k *KeyEncoding) decode(key []byte, columns int, found func(i int, value []byte) error) (int, error) {
	rest := key
	var scratch []byte
	for i := range k.columns[:columns] {
		if len(rest) == 0 || rest[0] > keyPresent {
			return 0, fmt.Errorf("decoding a key of %d bytes: column %d does not begin with 0 or 1", len(key), i)
		}
		present := rest[0] == keyPresent
		rest = rest[1:]
		var value []byte
		if present {
			n := 0
			if value, n = k.columns[i].read(rest, scratch[:0]); n < 0 {
				return 0, fmt.Errorf("decoding a key of %d bytes: column %d is cut short or malformed", len(key), i)
			}
			rest, scratch = rest[n:], value
		}
		if found == nil {
			continue
		}
		if err := found(i, value); err != nil {
			return 0, err
		}
	}
	if columns == len(k.columns) && len(rest) > 0 {
		return 0, fmt.Errorf("decoding a key of %d bytes: %d bytes stand behind it", len(key), len(rest))
	}
	return len(key) - len(rest), nil
}

// read gives the value that rest begins with, in scratch's memory and not nil, and how many bytes of
// rest it takes; -1 where it is malformed.
func (c *keyColumn) read(rest, scratch []byte) ([]byte, int) {
	if scratch == nil {
		scratch = []byte{}
	}
	if c.form == keyBytes {
		return unescape(rest, scratch)
	}
	if len(rest) < c.width || c.form == keyBool && rest[0] > 1 {
		return scratch, -1
	}
	scratch = append(scratch, rest[:c.width]...)
	c.turnBack(scratch, rest[:c.width])
	return scratch, c.width
}

func unescape(rest, scratch []byte) ([]byte, int) {
	n := 0
	for {
		at := bytes.IndexByte(rest[n:], keyEscape)
		if at < 0 || n+at+1 >= len(rest) {
			return scratch, -1
		}
		scratch = append(scratch, rest[n:n+at]...)
		n += at + 2
		switch rest[n-1] {
		case keyEnd:
			return scratch, n
		case keyZero:
			scratch = append(scratch, 0)
		default:
			return scratch, -1
		}
	}
}
