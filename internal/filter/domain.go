package filter

import (
	"math"
	"math/big"

	"github.com/apache/arrow-go/v18/arrow"
)

// scale says how the values of a type count: value × 10^digits is the integer that is stored. Times count
// their unit since 1970.
type scale struct {
	// read gives what a literal means for the type, times in nanoseconds; false where it means nothing.
	read func(Literal) (number, bool)
	// want tells the user what the type takes.
	want string
	// multiply and divide lead from what read gives to what is stored.
	multiply, divide *big.Int
}

// quantity is what a literal means among the integers of a type: the integer at or below it, and whether
// it is that one.
type quantity struct {
	floor *big.Int
	exact bool
	// beyond is -1 or 1 for what lies below or above all integers: infinities, and NaN, which is above.
	beyond int
}

func (s *scale) quantity(l Literal) (quantity, bool) {
	n, ok := s.read(l)
	switch {
	case !ok:
		return quantity{}, false
	case n.rational == nil && n.word == minusInf:
		return quantity{beyond: -1}, true
	case n.rational == nil:
		return quantity{beyond: 1}, true
	}
	value := new(big.Rat).Mul(n.rational, new(big.Rat).SetFrac(s.multiply, s.divide))
	floor := new(big.Int).Div(value.Num(), value.Denom()) // rounds down: the denominator is positive
	return quantity{floor: floor, exact: value.IsInt()}, true
}

// integers is a type whose values are stored as integers of low to high.
type integers struct {
	scale
	bits      int
	signed    bool
	low, high *big.Int
}

func newIntegers(bits int, signed bool, s scale) *integers {
	t := &integers{scale: s, bits: bits, signed: signed, low: new(big.Int), high: new(big.Int).Lsh(big.NewInt(1), uint(bits))}
	if signed {
		t.high.Rsh(t.high, 1)
		t.low.Neg(t.high)
	}
	t.high.Sub(t.high, big.NewInt(1))
	return t
}

// span is the integers for which a comparison is true, or those for which it is false.
type span struct {
	low, high *big.Int
	negated   bool
}

// verdict says that a comparison is known without looking at the values.
type verdict uint8

const (
	unknown verdict = iota
	never           // true for no value
	always          // true for every value that is not null
)

// spanOf gives the values for which a comparison is true.
func (t *integers) spanOf(operator Operator, q quantity) (span, verdict) {
	switch {
	case operator == NotEqual:
		s, v := t.spanOf(Equal, q)
		s.negated = true
		return s, [...]verdict{unknown: unknown, never: always, always: never}[v]
	case q.beyond != 0:
		above, less := q.beyond > 0, operator == Less || operator == LessEqual
		if operator == Equal || above != less {
			return span{}, never
		}
		return span{}, always
	case operator == Equal && !q.exact:
		return span{}, never
	}
	low, high := t.bounds(operator, q)
	s := span{low: larger(low, t.low), high: smaller(high, t.high)}
	switch {
	case s.low.Cmp(s.high) > 0:
		return s, never
	case s.low.Cmp(t.low) == 0 && s.high.Cmp(t.high) == 0:
		return s, always
	}
	return s, unknown
}

// bounds gives the least and the largest integer for which a comparison is true, those of the type where there
// is none.
func (t *integers) bounds(operator Operator, q quantity) (low, high *big.Int) {
	one := big.NewInt(1)
	switch {
	case operator == Equal:
		return q.floor, q.floor
	case operator == Less && q.exact:
		return t.low, new(big.Int).Sub(q.floor, one)
	case operator == Less || operator == LessEqual:
		return t.low, q.floor
	case operator == GreaterEqual && q.exact:
		return q.floor, t.high
	}
	return new(big.Int).Add(q.floor, one), t.high
}

func larger(a, b *big.Int) *big.Int {
	if a.Cmp(b) >= 0 {
		return a
	}
	return b
}

func smaller(a, b *big.Int) *big.Int {
	if a.Cmp(b) <= 0 {
		return a
	}
	return b
}

// rangeOf makes the test of a span.
func (t *integers) rangeOf(s span) test {
	if t.bits > 64 {
		return &wideRange{low: wideOfInteger(s.low), high: wideOfInteger(s.high), negated: s.negated}
	}
	o, low, high := order{t.signed}, t.key(s.low), t.key(s.high)
	switch t.bits {
	case 8:
		return &wordRange[uint8]{o, low, high, s.negated}
	case 16:
		return &wordRange[uint16]{o, low, high, s.negated}
	case 32:
		return &wordRange[uint32]{o, low, high, s.negated}
	}
	return &wordRange[uint64]{o, low, high, s.negated}
}

// key is the key of a value that the type has.
func (t *integers) key(value *big.Int) uint64 {
	if t.signed {
		return uint64(value.Int64()) ^ 1<<63
	}
	return value.Uint64()
}

// setOf makes the test for values that the type has; there is at least one.
func (t *integers) setOf(values []*big.Int, negated bool) test {
	if t.bits > 64 {
		wides := make([]wide, len(values))
		for i, value := range values {
			wides[i] = wideOfInteger(value)
		}
		return newWideSet(wides, negated)
	}
	keys := make([]uint64, len(values))
	for i, value := range values {
		keys[i] = t.key(value)
	}
	o := order{t.signed}
	switch t.bits {
	case 8:
		return newWordSet[uint8](o, keys, negated)
	case 16:
		return newWordSet[uint16](o, keys, negated)
	case 32:
		return newWordSet[uint32](o, keys, negated)
	}
	return newWordSet[uint64](o, keys, negated)
}

// integersOf gives the type as integers; nil if it has none.
func integersOf(t arrow.DataType) *integers {
	one := big.NewInt(1)
	counted := scale{read: Literal.number, want: "a number", multiply: one, divide: one}
	switch t := t.(type) {
	case arrow.DecimalType:
		s := counted
		if t.GetScale() >= 0 {
			s.multiply = powerOfTen(int(t.GetScale()))
		} else {
			s.divide = powerOfTen(-int(t.GetScale()))
		}
		return newIntegers(t.BitWidth(), true, s)
	case *arrow.DurationType:
		return newIntegers(64, true, counted)
	case *arrow.Date32Type:
		return newIntegers(32, true, timeScale(readDay, wantDate, big.NewInt(nanosOfDay)))
	case *arrow.Date64Type:
		return newIntegers(64, true, timeScale(readDay, wantDate, big.NewInt(nanosOfMilli)))
	case *arrow.Time32Type:
		return newIntegers(32, true, timeScale(readClock, wantClock, unitNanos(t.Unit)))
	case *arrow.Time64Type:
		return newIntegers(64, true, timeScale(readClock, wantClock, unitNanos(t.Unit)))
	case *arrow.TimestampType:
		if t.TimeZone == "" {
			return newIntegers(64, true, timeScale(readLocal, wantLocal, unitNanos(t.Unit)))
		}
		return newIntegers(64, true, timeScale(readMoment, wantMoment, unitNanos(t.Unit)))
	case arrow.FixedWidthDataType:
		if arrow.IsInteger(t.ID()) {
			return newIntegers(t.BitWidth(), arrow.IsSignedInteger(t.ID()), counted)
		}
	}
	return nil
}

const (
	nanosOfDay   = 24 * 60 * 60 * 1e9
	nanosOfMilli = 1e6
)

const (
	wantDate   = `a date such as "2026-11-21"`
	wantClock  = `a time such as "08:00:00"`
	wantMoment = `a time such as "2026-11-21T08:00:00Z"`
	wantLocal  = wantMoment + `; the column has no time zone, so the text must be in UTC`
)

func timeScale(read func(Literal) (number, bool), want string, nanos *big.Int) scale {
	return scale{read: read, want: want, multiply: big.NewInt(1), divide: nanos}
}

func unitNanos(unit arrow.TimeUnit) *big.Int { return big.NewInt(int64(unit.Multiplier())) }

func numberOf(value *big.Int) number { return number{rational: new(big.Rat).SetInt(value)} }

func readMoment(l Literal) (number, bool) {
	at, ok := readInstant(l.Text)
	if l.Kind != TextLiteral || !ok {
		return number{}, false
	}
	return numberOf(at.nanos), true
}

// readLocal reads a time for a column without a time zone.
func readLocal(l Literal) (number, bool) {
	if at, ok := readInstant(l.Text); !ok || at.shift != 0 {
		return number{}, false
	}
	return readMoment(l)
}

// readDay reads a date, or a time, which lies between two dates.
func readDay(l Literal) (number, bool) { return readLocal(l) }

func readClock(l Literal) (number, bool) {
	nanos, ok := readTimeOfDay(l.Text)
	if l.Kind != TextLiteral || !ok {
		return number{}, false
	}
	return numberOf(big.NewInt(nanos)), true
}

// floats is a type of floats.
type floats struct {
	width int
	max   float64
	// round gives the nearest value of the type; infinite where it lies beyond max.
	round func(*big.Rat) float64
	// next gives the neighbour of a value that is not NaN, above it or below.
	next func(x float64, up bool) float64
}

// floatMean is what a literal means among the floats of a type.
type floatMean struct {
	value float64
	// beyond is -1 or 1 for a finite literal that lies behind the largest value of the type.
	beyond int
}

func (t *floats) mean(l Literal) (floatMean, bool) {
	n, ok := l.number()
	switch {
	case !ok:
		return floatMean{}, false
	case n.rational != nil:
		value := t.round(n.rational)
		if math.IsInf(value, 0) {
			return floatMean{value: math.Copysign(t.max, value), beyond: int(math.Copysign(1, value))}, true
		}
		return floatMean{value: value}, true
	case n.word == plusInf:
		return floatMean{value: math.Inf(1)}, true
	case n.word == minusInf:
		return floatMean{value: math.Inf(-1)}, true
	}
	return floatMean{value: math.NaN()}, true
}

// rangeOf makes the test of a comparison. NaN equals itself and is above all others.
func (t *floats) rangeOf(operator Operator, m floatMean) *floatRange {
	inf := math.Inf(1)
	r := &floatRange{width: t.width, low: -inf, high: inf}
	if operator == NotEqual {
		r = t.rangeOf(Equal, m)
		r.negated = true
		return r
	}
	nan := math.IsNaN(m.value)
	switch operator {
	case Equal:
		r.low, r.high, r.nan = m.value, m.value, nan
		if nan || m.beyond != 0 {
			r.low, r.high = inf, -inf
		}
	case Less:
		if !nan {
			r.high = t.below(m)
		}
	case LessEqual:
		r.nan = nan
		if !nan {
			r.high = m.value
			if m.beyond < 0 {
				r.high = -inf
			}
		}
	case Greater, GreaterEqual:
		r.nan = true
		switch {
		case nan:
			r.low, r.high, r.nan = inf, -inf, operator == GreaterEqual
		case operator == Greater:
			r.low = t.above(m)
		default:
			r.low = m.value
			if m.beyond > 0 {
				r.low = inf
			}
		}
	}
	return r
}

// below is the largest value that is less than a literal; of the least one there is none, which NaN says
// in comparisons: nothing is at most NaN.
func (t *floats) below(m floatMean) float64 {
	switch {
	case m.beyond > 0:
		return t.max
	case m.beyond < 0:
		return math.Inf(-1)
	case math.IsInf(m.value, -1):
		return math.NaN()
	}
	return t.next(m.value, false)
}

// above is the least value that is greater than a literal; NaN where there is none.
func (t *floats) above(m floatMean) float64 {
	switch {
	case m.beyond > 0:
		return math.Inf(1)
	case m.beyond < 0:
		return -t.max
	case math.IsInf(m.value, 1):
		return math.NaN()
	}
	return t.next(m.value, true)
}
