package filter

import (
	"encoding/base64"
	"math"
	"math/big"
	"strconv"
	"strings"

	"github.com/headrace/headrace/internal/model"
)

// LiteralKind says what a Literal is before a column's type is known.
type LiteralKind uint8

// The kinds of literals.
const (
	NullLiteral LiteralKind = iota
	BoolLiteral
	NumberLiteral
	// TextLiteral is a string, or the text of a time or a binary.
	TextLiteral
)

// Literal is a value in the text form that values have in JSON; what it means is decided by the type of
// the column that it is compared with. Literals of the same value and kind are equal.
type Literal struct {
	Kind LiteralKind
	// Text is "true" or "false" of a bool; of a number its decimal digits, in one form a value ("3",
	// "-0.5", "1e300"); of a text itself. Infinities and NaN are the texts "Infinity", "-Infinity" and
	// "NaN"; binaries are base64.
	Text string
}

func boolLiteral(value bool) Literal  { return Literal{BoolLiteral, strconv.FormatBool(value)} }
func textLiteral(text string) Literal { return Literal{TextLiteral, text} }
func bytesLiteral(bytes []byte) Literal {
	return Literal{TextLiteral, base64.StdEncoding.EncodeToString(bytes)}
}

// describe names the literal in errors.
func (l Literal) describe() string {
	switch l.Kind {
	case NullLiteral:
		return "null"
	case TextLiteral:
		return strconv.Quote(clip(l.Text))
	}
	return clip(l.Text)
}

// clip cuts text for errors.
func clip(text string) string {
	const most = 60
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

const (
	// digitsMax and exponentMax bound the digits and the exponent of a number: no type holds more.
	digitsMax   = 400
	exponentMax = 1000
	// plainDigits is how many digits a number may have to be written without an exponent.
	plainDigits = 80
)

// The floats that are no numbers, as texts.
const (
	notANumber = "NaN"
	plusInf    = "Infinity"
	minusInf   = "-Infinity"
)

func isWord(text string) bool { return text == notANumber || text == plusInf || text == minusInf }

// numberLiteral reads a decimal number with an optional sign, point and exponent.
func numberLiteral(text string) (Literal, error) {
	digits, exponent, negative, ok := splitNumber(text)
	if !ok {
		return Literal{}, model.Errorf(model.BadRequest, "%q is not a number", clip(text))
	}
	if len(digits) > digitsMax || exponent > exponentMax || exponent < -exponentMax {
		return Literal{}, model.Errorf(model.BadRequest, "the number %s has too many digits", clip(text)).
			WithRemedy("Use at most %d digits and exponents up to %d", digitsMax, exponentMax)
	}
	return Literal{NumberLiteral, joinNumber(digits, exponent, negative)}, nil
}

// splitNumber gives a number as digits × 10^exponent, without zeros at either end of the digits; none
// for zero.
func splitNumber(text string) (digits string, exponent int, negative, ok bool) {
	if text != "" && (text[0] == '-' || text[0] == '+') {
		negative, text = text[0] == '-', text[1:]
	}
	mantissa := text
	if at := strings.IndexAny(text, "eE"); at >= 0 {
		power := text[at+1:]
		if len(power) > 6 {
			return "", 0, false, false
		}
		n, err := strconv.Atoi(power)
		if err != nil {
			return "", 0, false, false
		}
		mantissa, exponent = text[:at], n
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	if whole+fraction == "" || strings.Trim(whole+fraction, "0123456789") != "" {
		return "", 0, false, false
	}
	digits, exponent = strings.TrimLeft(whole+fraction, "0"), exponent-len(fraction)
	trimmed := strings.TrimRight(digits, "0")
	exponent += len(digits) - len(trimmed)
	if trimmed == "" {
		exponent, negative = 0, false
	}
	return trimmed, exponent, negative, true
}

// joinNumber writes what splitNumber gave in one form.
func joinNumber(digits string, exponent int, negative bool) string {
	sign := ""
	if negative {
		sign = "-"
	}
	switch {
	case digits == "":
		return "0"
	case exponent >= 0 && len(digits)+exponent <= plainDigits:
		return sign + digits + strings.Repeat("0", exponent)
	case exponent < 0 && -exponent <= plainDigits:
		if missing := 1 - exponent - len(digits); missing > 0 {
			digits = strings.Repeat("0", missing) + digits
		}
		point := len(digits) + exponent
		return sign + digits[:point] + "." + digits[point:]
	}
	return sign + digits + "e" + strconv.Itoa(exponent)
}

// floatLiteral is the shortest number that reads back as value.
func floatLiteral(value float64, bits int) Literal {
	switch {
	case math.IsNaN(value):
		return textLiteral(notANumber)
	case math.IsInf(value, 1):
		return textLiteral(plusInf)
	case math.IsInf(value, -1):
		return textLiteral(minusInf)
	}
	literal, _ := numberLiteral(strconv.FormatFloat(value, 'g', -1, bits)) // has at most 17 digits
	return literal
}

func integerLiteral(value int64) Literal { return Literal{NumberLiteral, strconv.FormatInt(value, 10)} }

// number is the value of a number: a rational, or one of the three words.
type number struct {
	rational *big.Rat // nil: one of the words
	word     string
}

// number reads a number, also from a text.
func (l Literal) number() (number, bool) {
	if l.Kind == TextLiteral && isWord(l.Text) {
		return number{word: l.Text}, true
	}
	if l.Kind == TextLiteral {
		read, err := numberLiteral(strings.TrimSpace(l.Text))
		if err != nil {
			return number{}, false
		}
		l = read
	}
	if l.Kind != NumberLiteral {
		return number{}, false
	}
	digits, exponent, negative, _ := splitNumber(l.Text)
	mantissa, ok := new(big.Int).SetString("0"+digits, 10)
	if !ok {
		return number{}, false
	}
	if negative {
		mantissa.Neg(mantissa)
	}
	power := powerOfTen(max(exponent, -exponent))
	value := new(big.Rat).SetInt(mantissa)
	if exponent >= 0 {
		value.Mul(value, new(big.Rat).SetInt(power))
	} else {
		value.Quo(value, new(big.Rat).SetInt(power))
	}
	return number{rational: value}, true
}

func powerOfTen(n int) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil) }

// readBase64 reads base64 of the standard or the URL alphabet, padded or not.
func readBase64(text string) ([]byte, bool) {
	standard := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
	bytes, err := base64.RawStdEncoding.DecodeString(standard)
	return bytes, err == nil
}
