package filter

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// layoutOf gives a layout that has the columns of an expression, of types in turn; nil where their names
// cannot be.
func layoutOf(e Expression) *arrowipc.Layout {
	var fields []arrow.Field
	for i, column := range Columns(e) {
		data := columnModels[i%len(columnModels)].data
		for j := len(column) - 1; j > 0; j-- {
			data = arrow.StructOf(arrow.Field{Name: column[j], Type: data, Nullable: true})
		}
		fields = append(fields, arrow.Field{Name: column[0], Type: data, Nullable: true})
	}
	layout, err := arrowipc.NewLayout(arrow.NewSchema(fields, nil))
	if err != nil {
		return nil
	}
	return layout
}

func mustLayout(t testing.TB, fields ...arrow.Field) *arrowipc.Layout {
	t.Helper()
	layout, err := arrowipc.NewLayout(arrow.NewSchema(fields, nil))
	if err != nil {
		t.Fatal(err)
	}
	return layout
}

func mustBind(t testing.TB, layout *arrowipc.Layout, sql string) *Filter {
	t.Helper()
	e, err := ParseSQL(sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	f, err := Bind(e, layout, nil)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return f
}

// TestWhatDoesNotGoTogetherIsRefused binds literals of the wrong kind.
func TestWhatDoesNotGoTogetherIsRefused(t *testing.T) {
	layout := mustLayout(t,
		arrow.Field{Name: "n", Type: arrow.PrimitiveTypes.Int32}, arrow.Field{Name: "s", Type: arrow.BinaryTypes.String},
		arrow.Field{Name: "f", Type: arrow.PrimitiveTypes.Float32}, arrow.Field{Name: "flag", Type: arrow.FixedWidthTypes.Boolean},
		arrow.Field{Name: "b", Type: arrow.BinaryTypes.Binary}, arrow.Field{Name: "local", Type: &arrow.TimestampType{Unit: arrow.Second}},
		arrow.Field{Name: "day", Type: arrow.FixedWidthTypes.Date32}, arrow.Field{Name: "clock", Type: arrow.FixedWidthTypes.Time32s},
		arrow.Field{Name: "list", Type: arrow.ListOf(arrow.PrimitiveTypes.Int8)}, arrow.Field{Name: "nothing", Type: arrow.Null},
		arrow.Field{Name: "span", Type: arrow.FixedWidthTypes.MonthInterval}, arrow.Field{Name: "st", Type: arrow.StructOf(arrow.Field{Name: "x", Type: arrow.PrimitiveTypes.Int8})},
	)
	for _, c := range []struct {
		sql    string
		reason model.Reason
		column string
		want   string
	}{
		{"nope = 1", model.ColumnNotFound, "nope", "The columns are n, s, f,"},
		{"st.y = 1", model.ColumnNotFound, "st.y", "is not there"},
		{"n.x = 1", model.ColumnNotFound, "n.x", "is not there"},
		{"n = 'x'", model.BadRequest, "n", "of type int32 is compared with \"x\", want a number"},
		{"n in (1, true)", model.BadRequest, "n", "compared with true"},
		{"n like 'x'", model.BadRequest, "n", "cannot be matched with a pattern"},
		{"s = 1", model.BadRequest, "s", "want a text"},
		{"s in ('a', 1)", model.BadRequest, "s", "want a text"},
		{"s like 'x!y' escape '!'", model.BadRequest, "", "the escape \"!\" before something else"},
		{"s like 'x!' escape '!'", model.BadRequest, "", "the escape"},
		{"s like '" + strings.Repeat("a%", 600) + "'", model.BadRequest, "", "at most 1024 are allowed"},
		{"f = 'x'", model.BadRequest, "f", "want a number, \"NaN\""},
		{"f in ('x')", model.BadRequest, "f", "want a number"},
		{"flag = 1", model.BadRequest, "flag", "want true or false"},
		{"flag in ('true')", model.BadRequest, "flag", "want true or false"},
		{"n", model.BadRequest, "n", "compared with true, want a number"},
		{"b = 'not base64!'", model.BadRequest, "b", "want base64, or X'…' in SQL"},
		{"b = 1", model.BadRequest, "b", "want base64"},
		{"local = '2026-11-21T08:00:00+01:00'", model.BadRequest, "local", "the text must be in UTC"},
		{"local = 7", model.BadRequest, "local", "want a time such as"},
		{"day = 20454", model.BadRequest, "day", "want a date such as"},
		{"clock = '25:00:00'", model.BadRequest, "clock", "want a time such as"},
		{"list = 1", model.BadRequest, "list", "cannot be compared. Use IS NULL"},
		{"list in (1)", model.BadRequest, "list", "cannot be compared"},
		{"st > 1", model.BadRequest, "st", "cannot be compared"},
		{"span = 1", model.BadRequest, "span", "cannot be compared"},
		{"n = 1 and (true or nope = 1)", model.ColumnNotFound, "nope", "is not there"},
	} {
		e, err := ParseSQL(c.sql)
		if err != nil {
			t.Errorf("%s: %v", c.sql, err)
			continue
		}
		_, err = Bind(e, layout, nil)
		own, ok := errors.AsType[*model.Error](err)
		if !ok || own.Reason != c.reason || !strings.Contains(own.Error(), c.want) {
			t.Errorf("%s: %v, want %s: %s", c.sql, err, c.reason, c.want)
			continue
		}
		if got, _ := own.Details["column"].(string); got != c.column {
			t.Errorf("%s: the column is %q, want %q", c.sql, got, c.column)
		}
	}
	for _, sql := range []string{"nothing = 1", "nothing in (1)", "nothing like 'x'", "list is null or st is null or span is not null", "st.x = 1"} {
		mustBind(t, layout, sql)
	}
}

// TestMayMatch asks what can be known of rows from minima, maxima and nulls.
func TestMayMatch(t *testing.T) {
	layout := mustLayout(t,
		arrow.Field{Name: "n", Type: arrow.PrimitiveTypes.Int32, Nullable: true}, arrow.Field{Name: "s", Type: arrow.BinaryTypes.String, Nullable: true},
		arrow.Field{Name: "f", Type: arrow.PrimitiveTypes.Float64, Nullable: true}, arrow.Field{Name: "flag", Type: arrow.FixedWidthTypes.Boolean, Nullable: true},
		arrow.Field{Name: "d", Type: &arrow.Decimal128Type{Precision: 20, Scale: 1}, Nullable: true}, arrow.Field{Name: "unknown", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
		arrow.Field{Name: "empty", Type: arrow.PrimitiveTypes.Int32, Nullable: true}, arrow.Field{Name: "st", Type: arrow.StructOf(arrow.Field{Name: "x", Type: arrow.PrimitiveTypes.Int32}), Nullable: true},
		arrow.Field{Name: "same", Type: arrow.BinaryTypes.String},
	)
	number := func(n int32) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(n)) }
	float := func(x float64) []byte { return binary.LittleEndian.AppendUint64(nil, math.Float64bits(x)) }
	decimal := func(n int64) []byte {
		return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, uint64(n)), uint64(n>>63))
	}
	s := &arrowipc.Statistics{Rows: 100, Columns: []arrowipc.ColumnStatistics{
		{Nulls: 0, Min: number(-10), Max: number(10)}, {Nulls: 1, Min: []byte("ba"), Max: []byte("bz")},
		{Nulls: 0, Min: float(-1.5), Max: float(2)}, {Nulls: 0, Min: []byte{1}, Max: []byte{1}},
		{Nulls: 0, Min: decimal(-50), Max: decimal(15)}, {Nulls: -1}, {Nulls: 100}, {Nulls: 7},
		{Nulls: 0, Min: []byte("abc"), Max: []byte("abc")},
	}}
	for _, c := range []struct {
		may  bool
		list string // predicates, separated by semicolons
	}{
		{true, `n = -10; n = 10; n < -9; n > 9; n >= 10; n != 3; n in (99, 4); n not in (4); n between 5 and 50; not n > 9; n is not null; n = 3.0; n < 1e30`},
		{false, `n = -11; n = 11; n < -10; n > 10; n >= 10.5; n in (99, -99); n between 11 and 50; not n <= 10; n is null; n = 3.5; n > 1e30; n != null; n in (null)`},
		{true, `s = 'bb'; s > 'b'; s < 'bb'; s like 'b%'; s like 'ba_%'; starts_with(s, 'bz'); s like '%x'; s in ('x', 'by'); s not in ('bb'); s is null; s != 'ba'; s not like 'ba%'; s like 'b%z'; s >= 'bz'`},
		{false, `s = 'a'; s > 'bz'; s < 'ba'; s like 'c%'; starts_with(s, 'bzz'); s in ('x', 'y'); s not like 'b%'; s like 'a%x%'; not starts_with(s, 'b')`},
		{true, `f = 2; f > 1; f < -1; f != 2; f >= -1.5; f in (7, 1); not f = 1; f < 'NaN'`},
		{false, `f > 2; f < -1.5; f = 3; f in (7, 8); f = 'NaN'; f > 'Infinity'; not f < 3`},
		{true, `flag; flag = true; flag >= false; flag != false; flag in (true)`},
		{false, `not flag; flag = false; flag < true; flag in (false)`},
		{true, `d > 1; d = -5; d in (9, 0.5); d != 1`},
		{false, `d > 1.5; d < -5; d = 1.55; d in (9, 10)`},
		{true, `unknown = 7; unknown is null; st is null; st.x = 5; st.x is null`},
		{false, `empty = 7; empty is not null; empty != 7`},
		{true, `same = 'abc'; same not in ('x'); n > 9 and s > 'by'; n > 10 or flag; not (n > 9 and n < 5)`},
		{false, `same != 'abc'; same not in ('abc', 'x'); n > 10 and flag; n > 10 or not flag; not (n < 11 or flag); n > 5 and n < 5; false; null`},
	} {
		for sql := range strings.SplitSeq(c.list, ";") {
			if got := mustBind(t, layout, sql).MayMatch(s); got != c.may {
				t.Errorf("%s: may match: %v, want %v", sql, got, c.may)
			}
		}
	}
}

// TestSelectFailsOnWrongOffsets reads a string column whose offsets lead outside.
func TestSelectFailsOnWrongOffsets(t *testing.T) {
	for _, data := range []arrow.DataType{arrow.BinaryTypes.String, arrow.BinaryTypes.LargeString, arrow.BinaryTypes.StringView} {
		layout := mustLayout(t, arrow.Field{Name: "s", Type: data})
		builder := arrowipc.NewBuilder(layout)
		for _, value := range []string{"a text that is long", "another one that is long"} {
			if err := builder.AppendValue(0, []byte(value)); err != nil {
				t.Fatal(err)
			}
		}
		batch := builder.Finish()
		batch.Body[batch.Buffers[1].Offset+int64(map[arrow.Type]int{arrow.STRING: 5, arrow.LARGE_STRING: 9, arrow.STRING_VIEW: 3}[data.ID()])] = 0x7f
		for _, sql := range []string{"s > 'b'", "s = 'b'", "s like '%x_'"} {
			if rows, err := mustBind(t, layout, sql).Select(All(batch), nil); err == nil {
				t.Errorf("%s, %s: rows %v without an error", data, sql, rows)
			}
		}
	}
}

// TestExtraColumns binds a column whose values come with the input.
func TestExtraColumns(t *testing.T) {
	layout := mustLayout(t, arrow.Field{Name: "n", Type: arrow.PrimitiveTypes.Int64})
	builder := arrowipc.NewBuilder(layout)
	var offsets []byte
	for i := range 100 {
		offsets = binary.LittleEndian.AppendUint64(offsets, uint64(1000+i))
		if err := builder.AppendValue(0, binary.LittleEndian.AppendUint64(nil, uint64(i%10))); err != nil {
			t.Fatal(err)
		}
	}
	batch := builder.Finish()
	e, err := ParseSQL("n = 3 and _offset >= 1050")
	if err != nil {
		t.Fatal(err)
	}
	extra := []arrow.Field{{Name: "_bucket", Type: arrow.PrimitiveTypes.Int32}, {Name: "_offset", Type: arrow.PrimitiveTypes.Int64}}
	f, err := Bind(e, layout, extra)
	if err != nil {
		t.Fatal(err)
	}
	if f.UsesExtra(0) || !f.UsesExtra(1) || !slices.Equal(f.Columns(), []int{0}) {
		t.Errorf("it reads %v, %v, %v", f.Columns(), f.UsesExtra(0), f.UsesExtra(1))
	}
	got, err := f.Select(Input{Batch: batch, To: batch.Rows, Extra: [][]byte{nil, offsets}}, nil)
	if want := []int32{53, 63, 73, 83, 93}; err != nil || !slices.Equal(got, want) {
		t.Errorf("rows %v, %v, want %v", got, err, want)
	}
}

// numbers makes a batch of n rows: values of a multiplicative sequence below limit.
func numbers(b *testing.B, data arrow.DataType, n int, limit uint32, encode func(uint32) []byte) *arrowipc.Batch {
	builder := arrowipc.NewBuilder(mustLayout(b, arrow.Field{Name: "a", Type: data}))
	for i := range n {
		if err := builder.AppendValue(0, encode(uint32(i)*2654435761%limit)); err != nil {
			b.Fatal(err)
		}
	}
	return builder.Finish()
}

// BenchmarkSelect counts a row as a byte: MB/s are millions of rows a second.
func BenchmarkSelect(b *testing.B) {
	word := func(v uint32) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(v)) }
	double := func(v uint32) []byte { return binary.LittleEndian.AppendUint64(nil, math.Float64bits(float64(v))) }
	text := func(v uint32) []byte { return []byte("value-" + string(rune('a'+v%26)) + string(rune('a'+v/26%26))) }
	const rows = 1 << 16
	for _, c := range []struct {
		name  string
		sql   string
		batch *arrowipc.Batch
	}{
		{"int64-1-percent", "a < 100", numbers(b, arrow.PrimitiveTypes.Int64, rows, 10_000, word)},
		{"int64-between", "a between 100 and 199", numbers(b, arrow.PrimitiveTypes.Int64, rows, 10_000, word)},
		{"int64-in", "a in (1, 200, 3000, 7)", numbers(b, arrow.PrimitiveTypes.Int64, rows, 10_000, word)},
		{"int64-or", "a < 50 or a > 9950", numbers(b, arrow.PrimitiveTypes.Int64, rows, 10_000, word)},
		{"double", "a < 100", numbers(b, arrow.PrimitiveTypes.Float64, rows, 10_000, double)},
		{"string-equal", "a = 'value-ab'", numbers(b, arrow.BinaryTypes.String, rows, 26*26, text)},
		{"string-like", "a like '%-a%'", numbers(b, arrow.BinaryTypes.String, rows, 26*26, text)},
	} {
		b.Run(c.name, func(b *testing.B) {
			f := mustBind(b, c.batch.Layout, c.sql)
			b.SetBytes(rows)
			b.ReportAllocs()
			var kept []int32
			for b.Loop() {
				var err error
				if kept, err = f.Select(All(c.batch), kept[:0]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
