package model

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
)

// TypeDepthMax is how deep types may be nested: a column of a flat type has depth 1.
const TypeDepthMax = 32

// FixedSizeMax bounds the width of fixed_size_binary and the length of fixed_size_list.
const FixedSizeMax = 1 << 20

const typeRemedy = "Types are spelled as in pyarrow, such as int64, double, string, timestamp[us, tz=UTC], " +
	"decimal128(10, 2), list<item: float> or struct<a: int64 not null, b: string>"

// ParseType reads the text of a type as pyarrow spells it; see FormatType. Some other spellings are
// taken too: float16, float32, float64, date32, utf8, list<T> for list<item: T>. A dictionary is
// read as the type of its values, which is how it is stored. An error says at which character,
// counted from 1, the text stops to make sense.
func ParseType(text string) (arrow.DataType, error) {
	p := typeParser{text: text}
	t, err := p.parseType(1)
	if err == nil {
		err = p.expectEnd()
	}
	if err != nil {
		return nil, p.fault("type", err)
	}
	return t, nil
}

// typeParser reads text from left to right; at is the next byte.
type typeParser struct {
	text string
	at   int
}

// fault is what the user sees of err, which says what is wrong at p.at.
func (p *typeParser) fault(kind string, err error) *Error {
	character := len([]rune(p.text[:p.at])) + 1
	return Errorf(BadRequest, "%s %q: at character %d: %v", kind, clip(p.text, 200), character, err).
		WithRemedy(typeRemedy)
}

func (p *typeParser) skipSpace() {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
}

// accept consumes token, with space before it, if it comes next.
func (p *typeParser) accept(token string) bool {
	p.skipSpace()
	if strings.HasPrefix(p.text[p.at:], token) {
		p.at += len(token)
		return true
	}
	return false
}

func (p *typeParser) expect(token string) error {
	if !p.accept(token) {
		return fmt.Errorf("got %s, want %q", p.next(), token)
	}
	return nil
}

func (p *typeParser) expectEnd() error {
	p.skipSpace()
	if p.at < len(p.text) {
		return fmt.Errorf("got %s, want the end", p.next())
	}
	return nil
}

// next describes what stands at p.at.
func (p *typeParser) next() string {
	if p.at == len(p.text) {
		return "the end"
	}
	return strconv.Quote(clip(p.text[p.at:], 20))
}

func isWordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// word consumes letters, digits and underscores.
func (p *typeParser) word() string {
	p.skipSpace()
	from := p.at
	for p.at < len(p.text) && isWordByte(p.text[p.at]) {
		p.at++
	}
	return p.text[from:p.at]
}

func (p *typeParser) parseType(depth int) (arrow.DataType, error) {
	if depth > TypeDepthMax {
		return nil, fmt.Errorf("types are nested deeper than %d", TypeDepthMax)
	}
	p.skipSpace()
	from := p.at
	word := p.word()
	if parse, ok := p.parametric(word); ok {
		return parse(depth)
	}
	if unit := p.text[p.at:]; strings.HasPrefix(unit, "[") && strings.Contains(unit, "]") {
		whole := word + unit[:strings.Index(unit, "]")+1]
		if t, ok := plainTypes[whole]; ok {
			p.at = from + len(whole)
			return t, nil
		}
	}
	if alias, ok := typeAliases[word]; ok {
		word = alias
	}
	if t, ok := plainTypes[word]; ok {
		return t, nil
	}
	p.at = from
	if from == len(p.text) {
		return nil, errors.New("got the end, want a type")
	}
	return nil, fmt.Errorf("%s is not a type", p.next())
}

// parametric gives the function that reads what stands behind word.
func (p *typeParser) parametric(word string) (func(depth int) (arrow.DataType, error), bool) {
	switch word {
	case "list", "large_list":
		return func(depth int) (arrow.DataType, error) { return p.parseList(word, depth) }, true
	case "fixed_size_list":
		return p.parseFixedSizeList, true
	case "struct":
		return p.parseStruct, true
	case "map":
		return p.parseMap, true
	case "dictionary":
		return p.parseDictionary, true
	case "fixed_size_binary":
		return func(int) (arrow.DataType, error) {
			width, err := p.bracketed(1, FixedSizeMax)
			return &arrow.FixedSizeBinaryType{ByteWidth: int(width)}, err
		}, true
	case "timestamp":
		return func(int) (arrow.DataType, error) { return p.parseTimestamp() }, true
	case "duration":
		return func(int) (arrow.DataType, error) { return p.parseDuration() }, true
	case "decimal", "decimal32", "decimal64", "decimal128", "decimal256":
		return func(int) (arrow.DataType, error) { return p.parseDecimal(word) }, true
	}
	return nil, false
}

func (p *typeParser) parseList(word string, depth int) (arrow.DataType, error) {
	field, err := p.parseElement(depth)
	if err != nil {
		return nil, err
	}
	if word == "list" {
		return arrow.ListOfField(field), nil
	}
	return arrow.LargeListOfField(field), nil
}

func (p *typeParser) parseFixedSizeList(depth int) (arrow.DataType, error) {
	field, err := p.parseElement(depth)
	if err != nil {
		return nil, err
	}
	length, err := p.bracketed(1, FixedSizeMax)
	if err != nil {
		return nil, err
	}
	return arrow.FixedSizeListOfField(int32(length), field), nil
}

// parseElement reads `<name: type>` or `<type>`, whose name is then "item".
func (p *typeParser) parseElement(depth int) (arrow.Field, error) {
	if err := p.expect("<"); err != nil {
		return arrow.Field{}, err
	}
	from := p.at
	if _, err := p.parseName(); err != nil || !p.accept(":") {
		p.at = from
		field, err := p.parseFieldType("item", depth)
		if err != nil {
			return field, err
		}
		return field, p.expect(">")
	}
	p.at = from
	field, err := p.parseField(depth)
	if err != nil {
		return field, err
	}
	return field, p.expect(">")
}

// parseField reads `name: type` or `name: type not null`.
func (p *typeParser) parseField(depth int) (arrow.Field, error) {
	name, err := p.parseName()
	if err == nil {
		err = p.expect(":")
	}
	if err != nil {
		return arrow.Field{}, err
	}
	return p.parseFieldType(name, depth)
}

func (p *typeParser) parseFieldType(name string, depth int) (arrow.Field, error) {
	t, err := p.parseType(depth + 1)
	return arrow.Field{Name: name, Type: t, Nullable: !p.acceptNotNull()}, err
}

// acceptNotNull consumes `not null` if it comes next.
func (p *typeParser) acceptNotNull() bool {
	from := p.at
	if strings.EqualFold(p.word(), "not") && strings.EqualFold(p.word(), "null") {
		return true
	}
	p.at = from
	return false
}

// parseName reads a name: any characters but `:,<>` and backquotes, or anything in backquotes,
// where two of them stand for one.
func (p *typeParser) parseName() (string, error) {
	if p.accept("`") {
		return p.quotedName()
	}
	from := p.at
	for p.at < len(p.text) && strings.IndexByte(":,<>`", p.text[p.at]) < 0 {
		p.at++
	}
	name := strings.TrimSpace(p.text[from:p.at])
	if name == "" {
		return "", fmt.Errorf("got %s, want a name", p.next())
	}
	return name, nil
}

func (p *typeParser) quotedName() (string, error) {
	var name strings.Builder
	for {
		end := strings.IndexByte(p.text[p.at:], '`')
		if end < 0 {
			return "", errors.New("the name has no closing backquote")
		}
		name.WriteString(p.text[p.at : p.at+end])
		p.at += end + 1
		if p.at == len(p.text) || p.text[p.at] != '`' {
			return name.String(), nil
		}
		name.WriteByte('`')
		p.at++
	}
}

func (p *typeParser) parseStruct(depth int) (arrow.DataType, error) {
	if err := p.expect("<"); err != nil {
		return nil, err
	}
	var fields []arrow.Field
	if p.accept(">") {
		return arrow.StructOf(), nil
	}
	for {
		field, err := p.parseField(depth)
		if err != nil {
			return nil, err
		}
		fields = append(fields, field)
		if p.accept(">") {
			return arrow.StructOf(fields...), nil
		}
		if err := p.expect(","); err != nil {
			return nil, err
		}
	}
}

// parseMap reads `<key, value>`, where the value may be `not null` and `, keys_sorted` may follow.
func (p *typeParser) parseMap(depth int) (arrow.DataType, error) {
	if err := p.expect("<"); err != nil {
		return nil, err
	}
	key, err := p.parseType(depth + 2)
	if err == nil {
		err = p.expect(",")
	}
	if err != nil {
		return nil, err
	}
	value, err := p.parseFieldType("value", depth+1)
	if err != nil {
		return nil, err
	}
	t := arrow.MapOfFields(arrow.Field{Name: "key", Type: key}, value)
	if p.accept(",") {
		if word := p.word(); word != "keys_sorted" {
			return nil, fmt.Errorf("got %q, want keys_sorted", word)
		}
		t.KeysSorted = true
	}
	return t, p.expect(">")
}

// parseDictionary reads `<values=T, indices=I, ordered=0>` and gives T.
func (p *typeParser) parseDictionary(depth int) (arrow.DataType, error) {
	if err := p.expect("<values="); err != nil {
		return nil, err
	}
	values, err := p.parseType(depth + 1)
	if err == nil {
		err = p.expect(",")
	}
	if err == nil {
		err = p.expect("indices=")
	}
	if err != nil {
		return nil, err
	}
	if word := p.word(); !strings.HasPrefix(strings.TrimPrefix(word, "u"), "int") || plainTypes[word] == nil {
		return nil, fmt.Errorf("the indices are %q, want a type of integers", word)
	}
	if p.accept(",") {
		if err := p.expect("ordered="); err != nil {
			return nil, err
		}
		if word := p.word(); word != "0" && word != "1" {
			return nil, fmt.Errorf("ordered is %q, want 0 or 1", word)
		}
	}
	return values, p.expect(">")
}

var timeUnits = []string{"s", "ms", "us", "ns"}

// openUnit reads `[unit`.
func (p *typeParser) openUnit() (arrow.TimeUnit, error) {
	if err := p.expect("["); err != nil {
		return 0, err
	}
	from := p.at
	unit := slices.Index(timeUnits, p.word())
	if unit < 0 {
		p.at = from
		return 0, fmt.Errorf("got %s, want a unit: s, ms, us or ns", p.next())
	}
	return arrow.TimeUnit(unit), nil
}

func (p *typeParser) parseTimestamp() (arrow.DataType, error) {
	unit, err := p.openUnit()
	if err != nil {
		return nil, err
	}
	t := &arrow.TimestampType{Unit: unit}
	if p.accept(",") {
		if err := p.expect("tz="); err != nil {
			return nil, err
		}
		end := strings.IndexByte(p.text[p.at:], ']')
		if end <= 0 {
			return nil, fmt.Errorf("got %s, want a time zone and ]", p.next())
		}
		t.TimeZone = p.text[p.at : p.at+end]
		p.at += end
	}
	return t, p.expect("]")
}

func (p *typeParser) parseDuration() (arrow.DataType, error) {
	unit, err := p.openUnit()
	if err != nil {
		return nil, err
	}
	return &arrow.DurationType{Unit: unit}, p.expect("]")
}

// decimalPrecision is the largest precision by the word of the type.
var decimalPrecision = map[string]int64{
	"decimal": 38, "decimal32": 9, "decimal64": 18, "decimal128": 38, "decimal256": 76,
}

// parseDecimal reads `(precision, scale)` or `(precision)`.
func (p *typeParser) parseDecimal(word string) (arrow.DataType, error) {
	if err := p.expect("("); err != nil {
		return nil, err
	}
	precision, err := p.number(1, decimalPrecision[word])
	if err != nil {
		return nil, fmt.Errorf("precision of %s: %w", word, err)
	}
	scale := int64(0)
	if p.accept(",") {
		if scale, err = p.number(-76, 76); err != nil {
			return nil, fmt.Errorf("scale of %s: %w", word, err)
		}
	}
	if err := p.expect(")"); err != nil {
		return nil, err
	}
	switch word {
	case "decimal32":
		return &arrow.Decimal32Type{Precision: int32(precision), Scale: int32(scale)}, nil
	case "decimal64":
		return &arrow.Decimal64Type{Precision: int32(precision), Scale: int32(scale)}, nil
	case "decimal256":
		return &arrow.Decimal256Type{Precision: int32(precision), Scale: int32(scale)}, nil
	}
	return &arrow.Decimal128Type{Precision: int32(precision), Scale: int32(scale)}, nil
}

// bracketed reads `[number]`.
func (p *typeParser) bracketed(low, high int64) (int64, error) {
	if err := p.expect("["); err != nil {
		return 0, err
	}
	n, err := p.number(low, high)
	if err != nil {
		return 0, err
	}
	return n, p.expect("]")
}

func (p *typeParser) number(low, high int64) (int64, error) {
	sign := ""
	if p.accept("-") {
		sign = "-"
	}
	word := p.word()
	n, err := strconv.ParseInt(sign+word, 10, 64)
	if err != nil || n < low || n > high {
		return 0, fmt.Errorf("got %q, want a number from %d to %d", sign+word, low, high)
	}
	return n, nil
}

// clip shortens text that is quoted in an error.
func clip(text string, bytesMax int) string {
	if len(text) <= bytesMax {
		return text
	}
	return strings.ToValidUTF8(text[:bytesMax], "") + "…"
}
