package filter

import (
	"bytes"
	"cmp"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"pgregory.net/rapid"

	"github.com/headrace/headrace/internal/arrowipc"
)

// The model evaluates an expression row by row, with rational numbers, package time and regular
// expressions, and shares nothing with what it checks but the tree.

// cell is a value as the model has it: nil, bool, *big.Rat (times in nanoseconds), float64 or string.
type cell any

// columnModel is a column of a type: how to make its values, and what a literal means for it.
type columnModel struct {
	name string
	data arrow.DataType
	// value gives the bytes of a stored value, and its cell.
	value func(t *rapid.T) ([]byte, cell)
	// literal gives a literal, and its cell.
	literal func(t *rapid.T) (Literal, cell)
}

func integerModel(name string, data arrow.DataType, bits int, signed bool) columnModel {
	low, high := big.NewInt(0), new(big.Int).Lsh(big.NewInt(1), uint(bits))
	if signed {
		high.Rsh(high, 1)
		low.Neg(high)
	}
	high.Sub(high, big.NewInt(1))
	small := rapid.Int64Range(-5, 5)
	if !signed {
		small = rapid.Int64Range(0, 10)
	}
	m := columnModel{name: name, data: data}
	stored := func(t *rapid.T) *big.Int {
		switch rapid.IntRange(0, 9).Draw(t, "which") {
		case 0:
			return low
		case 1:
			return high
		}
		return big.NewInt(small.Draw(t, "small"))
	}
	m.value = func(t *rapid.T) ([]byte, cell) {
		v := stored(t)
		return storedBytes(v, bits/8), new(big.Rat).SetInt(v)
	}
	m.literal = func(t *rapid.T) (Literal, cell) {
		text := rapid.SampledFrom([]string{"3.5", "-0.5", "1e30", "-1e30", "0.0", "2", "2.00", "127", "255.5", "18446744073709551615"}).Draw(t, "literal")
		if rapid.Bool().Draw(t, "stored") {
			text = stored(t).String()
		}
		return readNumber(t, text)
	}
	return m
}

func readNumber(t *rapid.T, text string) (Literal, cell) {
	l, err := numberLiteral(text)
	if err != nil {
		t.Fatal(err)
	}
	value, _ := new(big.Rat).SetString(text)
	return l, value
}

func storedBytes(v *big.Int, width int) []byte {
	if v.Sign() < 0 {
		v = new(big.Int).Add(v, new(big.Int).Lsh(big.NewInt(1), uint(8*width)))
	}
	out := make([]byte, width)
	v.FillBytes(out)
	slices.Reverse(out)
	return out
}

func decimalModel(name string, data arrow.DecimalType) columnModel {
	m := columnModel{name: name, data: data.(arrow.DataType)}
	power := new(big.Rat).SetFrac(big.NewInt(1), powerOfTen(int(data.GetScale())))
	m.value = func(t *rapid.T) ([]byte, cell) {
		v := big.NewInt(rapid.Int64Range(-500, 500).Draw(t, "unscaled"))
		if rapid.IntRange(0, 9).Draw(t, "large") == 0 && data.BitWidth() > 64 {
			v.Mul(v, powerOfTen(20))
		}
		return storedBytes(v, data.BitWidth()/8), new(big.Rat).Mul(new(big.Rat).SetInt(v), power)
	}
	m.literal = func(t *rapid.T) (Literal, cell) {
		text := big.NewRat(rapid.Int64Range(-5000, 5000).Draw(t, "literal"), 1000).FloatString(3)
		return readNumber(t, text)
	}
	return m
}

func timeModel(name string, data arrow.DataType, width int, unit int64) columnModel {
	m := columnModel{name: name, data: data}
	// A range around 1970 with few values, so that they meet.
	count := rapid.Int64Range(-3, 3)
	m.value = func(t *rapid.T) ([]byte, cell) {
		v := count.Draw(t, "count")
		return storedBytes(big.NewInt(v), width), new(big.Rat).SetInt64(v * unit)
	}
	m.literal = func(t *rapid.T) (Literal, cell) {
		nanos := count.Draw(t, "count")*unit + rapid.SampledFrom([]int64{0, 0, 1, -1}).Draw(t, "beside")
		text := time.Unix(0, nanos).UTC().Format(time.RFC3339Nano)
		return textLiteral(text), new(big.Rat).SetInt64(nanos)
	}
	return m
}

func clockModel(name string, data arrow.DataType, width int, unit int64) columnModel {
	m := timeModel(name, data, width, unit)
	count := rapid.Int64Range(0, 5)
	m.value = func(t *rapid.T) ([]byte, cell) {
		v := count.Draw(t, "count")
		return storedBytes(big.NewInt(v), width), new(big.Rat).SetInt64(v * unit)
	}
	m.literal = func(t *rapid.T) (Literal, cell) {
		nanos := count.Draw(t, "count")*unit + rapid.SampledFrom([]int64{0, 0, 1}).Draw(t, "beside")
		return textLiteral(time.Unix(0, nanos).UTC().Format("15:04:05.999999999")), new(big.Rat).SetInt64(nanos)
	}
	return m
}

// beyond is the cell of a finite literal that lies behind the largest float of a type.
type beyond int

func floatModel(name string, data arrow.DataType, encode func(float64) []byte, round func(text string) (float64, bool)) columnModel {
	m := columnModel{name: name, data: data}
	values := []float64{0, math.Copysign(0, -1), 1, -1, 0.5, 0.1, 2, -2.5, math.NaN(), math.Inf(1), math.Inf(-1), 65504, 1e-7, 0x1p-24, -0x1.ff8p-15}
	m.value = func(t *rapid.T) ([]byte, cell) {
		raw := encode(rapid.SampledFrom(values).Draw(t, "value"))
		return raw, floatOfBytes(raw)
	}
	m.literal = func(t *rapid.T) (Literal, cell) {
		text := rapid.SampledFrom([]string{
			"0", "-0.0", "1", "-1", "0.5", "0.1", "0.1000001", "2", "-2.5", "NaN", "Infinity", "-Infinity", "65504", "65519", "65519.9999999999", "-65520", "65520", "6e-8", "3e-8", "1e39", "-1e39", "1e309", "-1e309", "1e-400", "1e-7",
		}).Draw(t, "literal")
		if isWord(text) {
			value, _ := strconv.ParseFloat(text, 64)
			return textLiteral(text), value
		}
		l, _ := numberLiteral(text)
		value, finite := round(text)
		if !finite {
			return l, beyond(math.Copysign(1, value))
		}
		return l, value
	}
	return m
}

func parseRounded(bits int) func(string) (float64, bool) {
	return func(text string) (float64, bool) {
		value, err := strconv.ParseFloat(text, bits)
		return value, err == nil
	}
}

// halves are all float16, by their bits.
var halves = func() (values [1 << 16]float64) {
	for bits := range values {
		fraction, exponent := float64(bits&0x3ff), bits>>10&0x1f
		switch {
		case exponent == 0x1f && fraction > 0:
			values[bits] = math.NaN()
		case exponent == 0x1f:
			values[bits] = math.Inf(1)
		case exponent == 0:
			values[bits] = math.Ldexp(fraction, -24)
		default:
			values[bits] = math.Ldexp(1024+fraction, exponent-25)
		}
		if bits>>15 == 1 {
			values[bits] = -values[bits]
		}
	}
	return values
}()

// roundHalfSlowly looks at every float16.
func roundHalfSlowly(text string) (float64, bool) {
	wanted, _ := new(big.Rat).SetString(text)
	best, distance := math.Inf(1), new(big.Rat)
	for bits, value := range halves {
		if math.IsInf(value, 0) || math.IsNaN(value) {
			continue
		}
		d := new(big.Rat).Sub(new(big.Rat).SetFloat64(value), wanted)
		if d.Abs(d); math.IsInf(best, 0) || d.Cmp(distance) < 0 || d.Cmp(distance) == 0 && bits&1 == 0 {
			best, distance = value, d
		}
	}
	if limit := big.NewRat(65520, 1); new(big.Rat).Abs(wanted).Cmp(limit) >= 0 {
		return float64(wanted.Sign()), false
	}
	return best, true
}

func textModel(name string, data arrow.DataType, width int) columnModel {
	m := columnModel{name: name, data: data}
	binary := data.ID() != arrow.STRING && data.ID() != arrow.LARGE_STRING && data.ID() != arrow.STRING_VIEW
	text := rapid.StringOfN(rapid.SampledFrom([]rune("ab%_é!")), 0, 5, -1)
	draw := func(t *rapid.T) string {
		value := text.Draw(t, "text")
		if rapid.IntRange(0, 9).Draw(t, "long") == 0 {
			value += strings.Repeat("ab", 20)
		}
		if width > 0 {
			value = (value + "aaaaaaaa")[:width]
		}
		return value
	}
	m.value = func(t *rapid.T) ([]byte, cell) {
		value := draw(t)
		return []byte(value), value
	}
	m.literal = func(t *rapid.T) (Literal, cell) {
		value := draw(t)
		if binary {
			return bytesLiteral([]byte(value)), value
		}
		return textLiteral(value), value
	}
	return m
}

func boolModel() columnModel {
	m := columnModel{name: "flag", data: arrow.FixedWidthTypes.Boolean}
	m.value = func(t *rapid.T) ([]byte, cell) {
		v := rapid.Bool().Draw(t, "value")
		return []byte{byte(one(v))}, v
	}
	m.literal = func(t *rapid.T) (Literal, cell) {
		v := rapid.Bool().Draw(t, "literal")
		return boolLiteral(v), v
	}
	return m
}

func encodeDouble(x float64) []byte {
	return storedBytes(new(big.Int).SetUint64(math.Float64bits(x)), 8)
}
func encodeFloat(x float64) []byte {
	return storedBytes(new(big.Int).SetUint64(uint64(math.Float32bits(float32(x)))), 4)
}
func encodeHalf(x float64) []byte {
	bits := slices.IndexFunc(halves[:], func(value float64) bool {
		return math.Signbit(value) == math.Signbit(x) && (value == x || value != value && x != x)
	})
	if bits < 0 {
		value, _ := roundHalfSlowly(strconv.FormatFloat(x, 'g', -1, 64))
		return encodeHalf(value)
	}
	return storedBytes(big.NewInt(int64(bits)), 2)
}

// columnModels are all types whose values are compared.
var columnModels = []columnModel{
	boolModel(),
	integerModel("i8", arrow.PrimitiveTypes.Int8, 8, true), integerModel("i16", arrow.PrimitiveTypes.Int16, 16, true),
	integerModel("i32", arrow.PrimitiveTypes.Int32, 32, true), integerModel("i64", arrow.PrimitiveTypes.Int64, 64, true),
	integerModel("u8", arrow.PrimitiveTypes.Uint8, 8, false), integerModel("u16", arrow.PrimitiveTypes.Uint16, 16, false),
	integerModel("u32", arrow.PrimitiveTypes.Uint32, 32, false), integerModel("u64", arrow.PrimitiveTypes.Uint64, 64, false),
	integerModel("duration", arrow.FixedWidthTypes.Duration_ms, 64, true),
	floatModel("f16", arrow.FixedWidthTypes.Float16, encodeHalf, roundHalfSlowly),
	floatModel("f32", arrow.PrimitiveTypes.Float32, encodeFloat, parseRounded(32)),
	floatModel("f64", arrow.PrimitiveTypes.Float64, encodeDouble, parseRounded(64)),
	decimalModel("d32", &arrow.Decimal32Type{Precision: 9, Scale: 2}), decimalModel("d64", &arrow.Decimal64Type{Precision: 18, Scale: 2}),
	decimalModel("d128", &arrow.Decimal128Type{Precision: 38, Scale: 2}), decimalModel("d256", &arrow.Decimal256Type{Precision: 70, Scale: 2}),
	timeModel("date32", arrow.FixedWidthTypes.Date32, 4, nanosOfDay), timeModel("date64", arrow.FixedWidthTypes.Date64, 8, nanosOfMilli),
	timeModel("ts_s", &arrow.TimestampType{Unit: arrow.Second}, 8, 1e9),
	timeModel("ts_us", &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}, 8, 1e3),
	timeModel("ts_ns", &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "Europe/Berlin"}, 8, 1),
	clockModel("time32", arrow.FixedWidthTypes.Time32ms, 4, 1e6), clockModel("time64", arrow.FixedWidthTypes.Time64us, 8, 1e3),
	textModel("text", arrow.BinaryTypes.String, 0), textModel("large_text", arrow.BinaryTypes.LargeString, 0),
	textModel("view", arrow.BinaryTypes.StringView, 0), textModel("binary", arrow.BinaryTypes.Binary, 0),
	textModel("large_binary", arrow.BinaryTypes.LargeBinary, 0), textModel("binary_view", arrow.BinaryTypes.BinaryView, 0),
	textModel("fixed", &arrow.FixedSizeBinaryType{ByteWidth: 3}, 3),
}

// truth is false, true or null.
type truth uint8

const (
	isFalse truth = iota
	isTrueRow
	isNullRow
)

func truthOf(b bool) truth {
	if b {
		return isTrueRow
	}
	return isFalse
}

// order compares two cells of one kind that are not null.
func compareCells(a, b cell) int {
	switch a := a.(type) {
	case bool:
		return int(one(a)) - int(one(b.(bool)))
	case *big.Rat:
		return a.Cmp(b.(*big.Rat))
	case string:
		return strings.Compare(a, b.(string))
	}
	x := a.(float64)
	if limit, ok := b.(beyond); ok {
		if math.IsNaN(x) || limit < 0 && !math.IsInf(x, -1) || limit > 0 && math.IsInf(x, 1) {
			return 1
		}
		return -1
	}
	y := b.(float64)
	switch {
	case math.IsNaN(x) && math.IsNaN(y) || x == y:
		return 0
	case math.IsNaN(x) || x > y:
		return 1
	}
	return -1
}

// modelOf evaluates an expression. cells gives the value of a column, mean that of a literal for a column.
type modelOf struct {
	cells func(Column) cell
	mean  func(Column, Literal) cell
}

func (m modelOf) eval(e Expression) truth {
	switch e := e.(type) {
	case *And:
		worst := isTrueRow
		for _, arg := range e.Args {
			switch m.eval(arg) {
			case isFalse:
				return isFalse
			case isNullRow:
				worst = isNullRow
			}
		}
		return worst
	case *Or:
		best := isFalse
		for _, arg := range e.Args {
			switch m.eval(arg) {
			case isTrueRow:
				return isTrueRow
			case isNullRow:
				best = isNullRow
			}
		}
		return best
	case *Not:
		return [...]truth{isTrueRow, isFalse, isNullRow}[m.eval(e.Arg)]
	case *Constant:
		if e.Value.Kind == NullLiteral {
			return isNullRow
		}
		return truthOf(e.Value.Text == "true")
	case *IsNull:
		return truthOf(m.cells(e.Column) == nil)
	case *Compare:
		return m.compare(e)
	case *In:
		return m.in(e)
	}
	return m.match(e.(*Match))
}

func (m modelOf) compare(e *Compare) truth {
	value, literal := m.cells(e.Column), m.mean(e.Column, e.Value)
	if value == nil || literal == nil {
		return isNullRow
	}
	return truthOf(holds(e.Operator, compareCells(value, literal)))
}

func (m modelOf) in(e *In) truth {
	value := m.cells(e.Column)
	if value == nil {
		return isNullRow
	}
	result := isFalse
	for _, l := range e.Values {
		literal := m.mean(e.Column, l)
		if literal == nil {
			result = isNullRow
		} else if compareCells(value, literal) == 0 {
			return isTrueRow
		}
	}
	return result
}

func (m modelOf) match(e *Match) truth {
	value := m.cells(e.Column)
	if value == nil {
		return isNullRow
	}
	text := value.(string)
	switch e.Kind {
	case StartsWith:
		return truthOf(strings.HasPrefix(text, e.Pattern))
	case EndsWith:
		return truthOf(strings.HasSuffix(text, e.Pattern))
	case Contains:
		return truthOf(strings.Contains(text, e.Pattern))
	}
	pattern := "(?s)^"
	escaped := false
	for _, r := range e.Pattern {
		switch {
		case !escaped && e.Escape != 0 && r == e.Escape:
			escaped = true
			continue
		case !escaped && r == '%':
			pattern += ".*"
		case !escaped && r == '_':
			pattern += "."
		default:
			pattern += regexp.QuoteMeta(string(r))
		}
		escaped = false
	}
	return truthOf(regexp.MustCompile(pattern + "$").MatchString(text))
}

// drawExpression makes a random expression over columns; means notes the cells of its literals.
func drawExpression(t *rapid.T, columns []columnModel, means map[Literal]map[string]cell, depth int) Expression {
	draw := func() Expression { return drawExpression(t, columns, means, depth-1) }
	kind := rapid.IntRange(0, 11).Draw(t, "kind")
	if depth == 0 {
		kind = max(kind, 3)
	}
	m := rapid.SampledFrom(columns).Draw(t, "column")
	column := Column(strings.Split(m.name, "."))
	literal := func() Literal {
		if rapid.IntRange(0, 15).Draw(t, "null") == 0 {
			return Literal{}
		}
		l, mean := m.literal(t)
		if means[l] == nil {
			means[l] = map[string]cell{}
		}
		means[l][m.name] = mean
		return l
	}
	switch kind {
	case 0:
		return allOf([]Expression{draw(), draw(), draw()})
	case 1:
		return anyOf([]Expression{draw(), draw()})
	case 2:
		return &Not{draw()}
	case 3:
		return &IsNull{column}
	case 4, 5:
		values := make([]Literal, rapid.IntRange(1, 6).Draw(t, "values"))
		for i := range values {
			values[i] = literal()
		}
		return &In{column, values}
	case 6:
		return between(column, literal(), literal())
	case 7:
		return &Constant{rapid.SampledFrom([]Literal{{}, boolLiteral(true), boolLiteral(false)}).Draw(t, "constant")}
	case 8:
		if id := m.data.ID(); id == arrow.STRING || id == arrow.LARGE_STRING || id == arrow.STRING_VIEW {
			return drawMatch(t, column)
		}
	}
	return &Compare{column, Operator(rapid.IntRange(0, 5).Draw(t, "operator")), literal()}
}

func drawMatch(t *rapid.T, column Column) Expression {
	m := &Match{Column: column, Kind: MatchKind(rapid.IntRange(0, 3).Draw(t, "match"))}
	m.Pattern = rapid.StringOfN(rapid.SampledFrom([]rune("ab%%_é")), 0, 5, -1).Draw(t, "pattern")
	if m.Kind == Like && rapid.Bool().Draw(t, "escape") {
		m.Escape = '!'
		m.Pattern += rapid.SampledFrom([]string{"!%", "!_a", "!!%", ""}).Draw(t, "escaped")
	}
	return m
}

// modelRows are random rows: a batch, and its cells by column.
type modelRows struct {
	batch *arrowipc.Batch
	cells map[string][]cell
}

func drawRows(t *rapid.T, columns []columnModel, n int) modelRows {
	fields := make([]arrow.Field, 0, len(columns)+1)
	for _, m := range columns {
		fields = append(fields, arrow.Field{Name: m.name, Type: m.data, Nullable: true})
	}
	layout, err := arrowipc.NewLayout(arrow.NewSchema(fields, nil))
	if err != nil {
		t.Fatal(err)
	}
	rows := modelRows{cells: map[string][]cell{}}
	builder := arrowipc.NewBuilder(layout)
	for i, m := range columns {
		nulls := rapid.SampledFrom([]int{0, 0, 3, 10}).Draw(t, "nulls")
		for range n {
			if rapid.IntRange(1, 10).Draw(t, "null") <= nulls {
				builder.AppendNull(i)
				rows.cells[m.name] = append(rows.cells[m.name], nil)
				continue
			}
			raw, value := m.value(t)
			if err := builder.AppendValue(i, raw); err != nil {
				t.Fatal(err)
			}
			rows.cells[m.name] = append(rows.cells[m.name], value)
		}
	}
	rows.batch = builder.Finish()
	return rows
}

// inStruct puts the columns into a struct "in" of which some rows are null, behind a column of integers.
func (r modelRows) inStruct(t *rapid.T, columns []columnModel) (modelRows, []columnModel) {
	fields := r.batch.Layout.Schema().Fields()
	layout, err := arrowipc.NewLayout(arrow.NewSchema([]arrow.Field{{Name: "in", Type: arrow.StructOf(fields...), Nullable: true}}, nil))
	if err != nil {
		t.Fatal(err)
	}
	view, err := arrowipc.NewView(r.batch)
	if err != nil {
		t.Fatal(err)
	}
	nested := modelRows{cells: map[string][]cell{}}
	sources, named := make([]int, len(columns)), make([]columnModel, len(columns))
	for i, m := range columns {
		sources[i], named[i] = i, m
		named[i].name = "in." + m.name
		nested.cells[named[i].name] = slices.Clone(r.cells[m.name])
	}
	picks := make([]arrowipc.Pick, r.batch.Rows)
	for row := range picks {
		picks[row] = arrowipc.Pick{View: view, Row: int32(row)}
		if rapid.IntRange(0, 4).Draw(t, "null struct") == 0 {
			picks[row] = arrowipc.Pick{}
			for _, m := range named {
				nested.cells[m.name][row] = nil
			}
		}
	}
	builder := arrowipc.NewBuilder(layout)
	if err := builder.AppendStructPicks(0, sources, picks); err != nil {
		t.Fatal(err)
	}
	nested.batch = builder.Finish()
	return nested, named
}

func TestRandomExpressionsAgainstTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		columns := make([]columnModel, rapid.IntRange(1, 3).Draw(t, "columns"))
		first := rapid.IntRange(0, len(columnModels)-1).Draw(t, "first")
		for i := range columns {
			columns[i] = columnModels[(first+7*i)%len(columnModels)]
		}
		n := rapid.SampledFrom([]int{1, 5, 63, 64, 70, 130}).Draw(t, "rows")
		rows := drawRows(t, columns, n)
		if rapid.IntRange(0, 3).Draw(t, "nested") == 0 {
			rows, columns = rows.inStruct(t, columns)
		}
		for range 20 {
			checkExpression(t, columns, rows, n)
		}
	})
}

// checkExpression compares one random expression with the model.
func checkExpression(t *rapid.T, columns []columnModel, rows modelRows, n int) {
	means := map[Literal]map[string]cell{}
	e := drawExpression(t, columns, means, rapid.IntRange(0, 3).Draw(t, "depth"))
	f, err := Bind(e, rows.batch.Layout, nil)
	if err != nil {
		t.Fatalf("%s: %v", AppendJSON(nil, e), err)
	}
	var want []int32
	from := rapid.IntRange(0, n-1).Draw(t, "from")
	to := rapid.IntRange(from, n).Draw(t, "to")
	for row := from; row < to; row++ {
		m := modelOf{
			func(c Column) cell { return rows.cells[c.String()][row] },
			func(c Column, l Literal) cell {
				if l.Kind == NullLiteral {
					return nil
				}
				return means[l][c.String()]
			},
		}
		if m.eval(e) == isTrueRow {
			want = append(want, int32(row))
		}
	}
	checkSelect(t, e, f, Input{Batch: rows.batch, From: int64(from), To: int64(to)}, want)
	stored, err := arrowipc.Summarize(rows.batch)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*arrowipc.Statistics{summarize(rows.batch), stored} {
		if len(want) > 0 && !f.MayMatch(s) {
			t.Fatalf("%s: nothing may match %v, but rows %v do", AppendJSON(nil, e), s, want)
		}
	}
}

// summarize gives the statistics of a batch, worked out by comparing values.
func summarize(batch *arrowipc.Batch) *arrowipc.Statistics {
	s := &arrowipc.Statistics{Rows: batch.Rows}
	view, err := arrowipc.NewView(batch)
	if err != nil {
		return nil
	}
	for i, field := range batch.Layout.Schema().Fields() {
		c := arrowipc.ColumnStatistics{}
		compare := storedOrder(field.Type)
		for row := range int32(batch.Rows) {
			switch value := view.Value(i, row); {
			case view.IsNull(i, row):
				c.Nulls++
			case compare == nil:
			case arrow.IsFloating(field.Type.ID()) && math.IsNaN(floatOfBytes(value)):
				compare, c.Min, c.Max = nil, nil, nil
			default:
				if c.Min == nil || compare(value, c.Min) < 0 {
					c.Min = append([]byte{}, value...)
				}
				if c.Max == nil || compare(value, c.Max) > 0 {
					c.Max = append([]byte{}, value...)
				}
			}
		}
		if arrow.IsBinaryLike(field.Type.ID()) || arrow.IsLargeBinaryLike(field.Type.ID()) {
			c.Min, c.Max = cut(c.Min, false), cut(c.Max, true)
		}
		s.Columns = append(s.Columns, c)
	}
	return s
}

// cut shortens a bound to 32 bytes; one above is rounded up.
func cut(bound []byte, up bool) []byte {
	if len(bound) <= 32 {
		return bound
	}
	bound = bound[:32:32]
	if up {
		bound[31]++
	}
	return bound
}

// storedOrder compares stored values of a type; nil for nested types.
func storedOrder(t arrow.DataType) func(a, b []byte) int {
	if ints := integersOf(t); ints != nil {
		return func(a, b []byte) int {
			if ints.bits <= 64 {
				return cmp.Compare(keyOfBytes(order{ints.signed}, a), keyOfBytes(order{ints.signed}, b))
			}
			return wideOf(a).compare(wideOf(b))
		}
	}
	if floatsOf(t) != nil {
		return func(a, b []byte) int { return cmp.Compare(floatOfBytes(a), floatOfBytes(b)) }
	}
	if _, nested := t.(arrow.NestedType); nested {
		return nil
	}
	return bytes.Compare
}

// checkSelect selects from the batch, and from compressed forms of it.
func checkSelect(t *rapid.T, e Expression, f *Filter, in Input, want []int32) {
	codec := rapid.SampledFrom([]arrowipc.Codec{arrowipc.NoCodec, arrowipc.NoCodec, arrowipc.LZ4, arrowipc.ZSTD}).Draw(t, "codec")
	if codec != arrowipc.NoCodec {
		packed, err := arrowipc.Compress(in.Batch, codec, 0)
		if err != nil {
			t.Fatal(err)
		}
		in.Batch = packed
	}
	for range 2 { // the second time in used memory
		got, err := f.Select(in, nil)
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("%s: rows %v, %v, want %v", AppendJSON(nil, e), got, err, want)
		}
	}
	in.Among = make([]int32, 0, in.To-in.From)
	for row := in.From; row < in.To; row += 2 {
		in.Among = append(in.Among, int32(row))
	}
	got, err := f.Select(in, nil)
	want = slices.DeleteFunc(slices.Clone(want), func(row int32) bool { return !slices.Contains(in.Among, row) })
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("%s: among %v rows %v, %v, want %v", AppendJSON(nil, e), in.Among, got, err, want)
	}
	read, err := ParseJSON(AppendJSON(nil, e))
	if err != nil || !bytes.Equal(AppendJSON(nil, read), AppendJSON(nil, e)) {
		t.Fatalf("%s is read back as %s, %v", AppendJSON(nil, e), AppendJSON(nil, read), err)
	}
}
