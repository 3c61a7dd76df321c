package pkstore

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"pgregory.net/rapid"

	"github.com/headrace/headrace/internal/arrowipc"
)

var rewriteGolden = flag.Bool("rewrite-golden", false, "write the files of encodings in testdata again")

// keyTypes are types of every form of key, with some values in their order.
var keyTypes = []struct {
	dataType arrow.DataType
	ordered  []string
}{
	{arrow.FixedWidthTypes.Boolean, []string{"false", "true"}},
	{arrow.PrimitiveTypes.Int8, []string{"-128", "-1", "0", "1", "127"}},
	{arrow.PrimitiveTypes.Int16, []string{"-32768", "-256", "-1", "0", "255", "256", "32767"}},
	{arrow.PrimitiveTypes.Int32, []string{"-2147483648", "-1", "0", "65536", "2147483647"}},
	{arrow.PrimitiveTypes.Int64, []string{"-9223372036854775808", "-1", "0", "1", "9223372036854775807"}},
	{arrow.PrimitiveTypes.Uint8, []string{"0", "1", "128", "255"}},
	{arrow.PrimitiveTypes.Uint16, []string{"0", "255", "256", "65535"}},
	{arrow.PrimitiveTypes.Uint32, []string{"0", "4294967295"}},
	{arrow.PrimitiveTypes.Uint64, []string{"0", "1", "18446744073709551615"}},
	{arrow.FixedWidthTypes.Float16, []string{"-2", "-0.5", "0", "0.5", "2"}},
	{arrow.PrimitiveTypes.Float32, []string{"-1e30", "-1.5", "0", "1e-40", "1", "1e30"}},
	{arrow.PrimitiveTypes.Float64, []string{"-1e300", "-1", "0", "5e-324", "1", "1e300"}},
	{arrow.FixedWidthTypes.Date32, []string{`"1960-01-01"`, `"1970-01-01"`, `"2020-01-01"`}},
	{arrow.FixedWidthTypes.Time64us, []string{`"00:00:00"`, `"12:00:00.000001"`, `"23:59:59"`}},
	{arrow.FixedWidthTypes.Timestamp_us, []string{`"1960-01-01T00:00:00Z"`, `"2020-01-01T00:00:00Z"`}},
	{arrow.FixedWidthTypes.Duration_ms, []string{"-5", "0", "5"}},
	{&arrow.Decimal32Type{Precision: 5, Scale: 2}, []string{`"-1.50"`, `"0"`, `"99.99"`}},
	{&arrow.Decimal64Type{Precision: 12, Scale: 2}, []string{`"-1.50"`, `"0"`, `"99.99"`}},
	{&arrow.Decimal128Type{Precision: 30, Scale: 0}, []string{`"-100000000000000000000"`, `"-1"`, `"0"`, `"256"`}},
	{&arrow.Decimal256Type{Precision: 60, Scale: 0}, []string{`"-100000000000000000000"`, `"-1"`, `"0"`, `"256"`}},
	{&arrow.FixedSizeBinaryType{ByteWidth: 3}, []string{`"AAAA"`, `"AAAB"`, `"////"`}},
	{arrow.BinaryTypes.String, []string{`""`, `"\u0000"`, `"\u0000\u0000"`, `"\u0000a"`, `"\u0001"`, `"a"`, `"a\u0000"`, `"aa"`, `"é"`}},
	{arrow.BinaryTypes.LargeString, []string{`""`, `"a"`, `"b"`}},
	{arrow.BinaryTypes.StringView, []string{`""`, `"a"`, `"a text that is not inline"`, `"b"`}},
	{arrow.BinaryTypes.Binary, []string{`""`, `"AA=="`, `"AAE="`, `"AP8="`, `"AQ=="`, `"/w=="`, `"/wA="`, `"//8="`}},
	{arrow.BinaryTypes.BinaryView, []string{`""`, `"AA=="`, `"/w=="`}},
}

func TestKeysAreInTheOrderOfTheirValues(t *testing.T) {
	var golden strings.Builder
	for _, c := range keyTypes {
		l := oneColumn(t, c.dataType)
		encoding, err := NewKeyEncoding(l, []int{0})
		if err != nil {
			t.Fatal(err)
		}
		ordered := append([]string{"null"}, c.ordered...)
		view := jsonView(t, l, `[{"v":`+strings.Join(ordered, `},{"v":`)+`}]`)
		fmt.Fprintln(&golden, c.dataType)
		var before []byte
		for row, text := range ordered {
			key := encoding.AppendKey(nil, view, int32(row))
			if row > 0 && bytes.Compare(before, key) >= 0 {
				t.Errorf("%s: the key of %s is %x, not above %x of %s", c.dataType, text, key, before, ordered[row-1])
			}
			before = key
			fmt.Fprintf(&golden, "  %-40s %x\n", text, key)
		}
	}
	compareGolden(t, "key_encoding_1", golden.String())
}

func compareGolden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewriteGolden {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the stored encoding has changed; %s has\n%s\ngot\n%s", path, want, got)
	}
}

func TestFloatKeysHaveATotalOrder(t *testing.T) {
	l := oneColumn(t, arrow.PrimitiveTypes.Float64)
	encoding, err := NewKeyEncoding(l, []int{0})
	if err != nil {
		t.Fatal(err)
	}
	negativeNaN := math.Float64frombits(math.Float64bits(math.NaN()) | 1<<63)
	order := []float64{
		negativeNaN, math.Inf(-1), -1, math.Copysign(0, -1), 0, 1, math.Inf(1), math.NaN(),
	}
	builder := arrowipc.NewBuilder(l)
	for _, value := range order {
		if err := builder.AppendValue(0, binary.LittleEndian.AppendUint64(nil, math.Float64bits(value))); err != nil {
			t.Fatal(err)
		}
	}
	view := openView(t, builder.Finish())
	for row := 1; row < len(order); row++ {
		a, b := encoding.AppendKey(nil, view, int32(row-1)), encoding.AppendKey(nil, view, int32(row))
		if bytes.Compare(a, b) >= 0 {
			t.Errorf("the key of %v is %x, that of %v is %x", order[row-1], a, order[row], b)
		}
	}
}

// allKeys is a layout with a key column of each type, and its encoding.
func allKeys(t testing.TB) (*arrowipc.Layout, *KeyEncoding, []int) {
	t.Helper()
	var fields []arrow.Field
	var columns []int
	types := []arrow.DataType{arrow.FixedWidthTypes.DayTimeInterval, arrow.FixedWidthTypes.MonthDayNanoInterval}
	for _, c := range keyTypes {
		types = append(types, c.dataType)
	}
	for i, dataType := range types {
		fields = append(fields, arrow.Field{Name: fmt.Sprint("c", i), Type: dataType, Nullable: true})
		columns = append(columns, i)
	}
	l := fieldsLayout(t, fields...)
	encoding, err := NewKeyEncoding(l, columns)
	if err != nil {
		t.Fatal(err)
	}
	return l, encoding, columns
}

func drawValue(t *rapid.T, dataType arrow.DataType, name string) []byte {
	switch typed := dataType.(type) {
	case *arrow.BooleanType:
		return []byte{rapid.ByteRange(0, 1).Draw(t, name)}
	case arrow.FixedWidthDataType:
		width := typed.BitWidth() / 8
		return rapid.SliceOfN(rapid.Byte(), width, width).Draw(t, name)
	}
	return rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 0x7f, 'a'}), 0, 20).Draw(t, name)
}

func TestKeysDecodeToWhatWasEncoded(t *testing.T) {
	l, encoding, columns := allKeys(t)
	builder := arrowipc.NewBuilder(l)
	rapid.Check(t, func(rt *rapid.T) {
		for i, field := range l.Schema().Fields() {
			if rapid.IntRange(0, 4).Draw(rt, "null") == 0 {
				builder.AppendNull(i)
			} else if err := builder.AppendValue(i, drawValue(rt, field.Type, field.Name)); err != nil {
				rt.Fatal(err)
			}
		}
		view := openView(t, builder.Finish())
		key := encoding.AppendKey(nil, view, 0)
		if err := encoding.Decode(key, builder, columns); err != nil {
			rt.Fatal(err)
		}
		back := openView(t, builder.Finish())
		for i := range columns {
			if view.IsNull(i, 0) != back.IsNull(i, 0) || !bytes.Equal(view.Value(i, 0), back.Value(i, 0)) {
				rt.Fatalf("column %d: %x became %x", i, view.Value(i, 0), back.Value(i, 0))
			}
		}
		for n := range columns {
			prefix := encoding.AppendPrefix(nil, view, 0, n)
			if !bytes.HasPrefix(key, prefix) {
				rt.Fatalf("%d columns give %x, which %x does not begin with", n, prefix, key)
			}
			if length, err := encoding.PrefixLength(key, n); err != nil || length != len(prefix) {
				rt.Fatalf("%d columns of %x take %d bytes (%v), want %d", n, key, length, err, len(prefix))
			}
		}
		if n := rapid.IntRange(0, len(key)-1).Draw(rt, "cut"); encoding.Check(key[:n]) == nil {
			rt.Fatalf("%d of %d bytes were taken for a key", n, len(key))
		}
	})
}

func TestKeyEncodingRefusesNestedColumns(t *testing.T) {
	l := oneColumn(t, arrow.ListOf(arrow.PrimitiveTypes.Int8))
	if _, err := NewKeyEncoding(l, []int{0}); err == nil {
		t.Error("a list was taken as a key")
	}
	if _, err := NewKeyEncoding(l, []int{1}); err == nil {
		t.Error("a column that is not there was taken as a key")
	}
}

func TestKeysAreRefusedWhereTheyAreMalformed(t *testing.T) {
	l := fieldsLayout(t,
		arrow.Field{Name: "b", Type: arrow.FixedWidthTypes.Boolean, Nullable: true},
		arrow.Field{Name: "s", Type: arrow.BinaryTypes.String, Nullable: true})
	encoding, err := NewKeyEncoding(l, []int{0, 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "02", "0102", "01010100", "0101016100", "010101000200", "00000000", "0001610001ff", "00"} {
		key, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if encoding.Check(key) == nil {
			t.Errorf("%s was taken for a key", text)
		}
	}
}

// What is taken for a key is the key of what it decodes to.
func FuzzKeyEncoding(f *testing.F) {
	l, encoding, columns := allKeys(f)
	builder := arrowipc.NewBuilder(l)
	f.Add(bytes.Repeat([]byte{0}, len(columns)))
	for i, field := range l.Schema().Fields() {
		width := 1
		if fixed, ok := field.Type.(arrow.FixedWidthDataType); ok {
			width = max(1, fixed.BitWidth()/8)
		}
		if err := builder.AppendValue(i, make([]byte, width)); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(encoding.AppendKey(nil, openView(f, builder.Finish()), 0))
	f.Fuzz(func(t *testing.T, key []byte) {
		if err := encoding.Decode(key, builder, columns); err != nil {
			if builder.Rows() > 0 {
				t.Fatal("a key that was refused left something behind")
			}
			return
		}
		if back := encoding.AppendKey(nil, openView(t, builder.Finish()), 0); !bytes.Equal(back, key) {
			t.Fatalf("%x became %x", key, back)
		}
	})
}

func BenchmarkAppendKey(b *testing.B) {
	l := fieldsLayout(b,
		arrow.Field{Name: "id", Type: arrow.PrimitiveTypes.Int64}, arrow.Field{Name: "name", Type: arrow.BinaryTypes.String})
	encoding, err := NewKeyEncoding(l, []int{0, 1})
	if err != nil {
		b.Fatal(err)
	}
	view := jsonView(b, l, `[{"id":12345,"name":"somebody@example.com"}]`)
	var key []byte
	for b.Loop() {
		key = encoding.AppendKey(key[:0], view, 0)
	}
	b.SetBytes(int64(len(key)))
}
