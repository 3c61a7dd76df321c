package filter

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/headrace/headrace/internal/model"
)

// SQLMax is how many bytes the text of a predicate may have.
const SQLMax = 1 << 20

// tokenKind is what a token of SQL is.
type tokenKind uint8

const (
	endToken    tokenKind = iota
	wordToken             // a keyword, a function or a bare name
	nameToken             // a name in double quotes, without them
	numberToken           // without a sign
	textToken             // a text in single quotes, without them
	signToken             // an operator or punctuation
)

// token is a piece of SQL.
type token struct {
	kind tokenKind
	text string
	at   int // of its first character, from 1
}

// String names the token in errors.
func (t token) String() string {
	switch t.kind {
	case endToken:
		return "the end"
	case textToken:
		return "'" + clip(t.text) + "'"
	case nameToken:
		return `"` + clip(t.text) + `"`
	}
	return clip(t.text)
}

// is says whether the token is a keyword, in any case.
func (t token) is(keyword string) bool {
	return t.kind == wordToken && strings.EqualFold(t.text, keyword)
}

func (t token) isSign(sign string) bool { return t.kind == signToken && t.text == sign }

// lexer cuts SQL into tokens.
type lexer struct {
	text     string
	position int // in bytes
	at       int // in characters, from 0
}

func sqlError(at int, format string, args ...any) *model.Error {
	return model.Errorf(model.BadRequest, "at character %d: %s", at, fmt.Sprintf(format, args...)).With("position", at)
}

// signs are the operators and punctuation, the longer ones first.
var signs = []string{"<>", "!=", "<=", ">=", "==", "=", "<", ">", "(", ")", ",", ".", "-", "+"}

// next gives the next token.
func (l *lexer) next() (token, error) {
	l.run(unicode.IsSpace)
	start, at, rest := l.position, l.at+1, l.text[l.position:]
	first, _ := utf8.DecodeRuneInString(rest)
	switch {
	case rest == "":
		return token{endToken, "", at}, nil
	case first == '\'' || first == '"':
		return l.quoted(byte(first))
	case isDigit(rest[0]) || rest[0] == '.' && len(rest) > 1 && isDigit(rest[1]):
		l.number()
		return token{numberToken, l.text[start:l.position], at}, nil
	case startsWord(first):
		l.word()
		return token{wordToken, l.text[start:l.position], at}, nil
	}
	for _, sign := range signs {
		if strings.HasPrefix(rest, sign) {
			for range sign {
				l.skip(1)
			}
			return token{signToken, sign, at}, nil
		}
	}
	return token{}, sqlError(at, "%q is no part of a predicate", string(first))
}

// skip moves behind one character.
func (l *lexer) skip(size int) {
	l.position += size
	l.at++
}

func isDigit(b byte) bool { return b >= '0' && b <= '9' }

func startsWord(r rune) bool { return r == '_' || unicode.IsLetter(r) }

// word moves behind letters and digits.
func (l *lexer) word() {
	l.run(func(r rune) bool { return startsWord(r) || unicode.IsDigit(r) || r == '$' })
}

// run moves behind characters of a kind.
func (l *lexer) run(is func(rune) bool) {
	for {
		r, size := utf8.DecodeRuneInString(l.text[l.position:])
		if size == 0 || !is(r) {
			return
		}
		l.skip(size)
	}
}

// number moves behind digits, a point and an exponent.
func (l *lexer) number() {
	l.digits()
	if l.peek() == '.' {
		l.skip(1)
		l.digits()
	}
	if l.peek()|0x20 != 'e' {
		return
	}
	sign := 1
	if rest := l.text[l.position:]; len(rest) > 1 && (rest[1] == '-' || rest[1] == '+') {
		sign = 2
	}
	if rest := l.text[l.position:]; len(rest) > sign && isDigit(rest[sign]) {
		for range sign {
			l.skip(1)
		}
		l.digits()
	}
}

func (l *lexer) digits() {
	for isDigit(l.peek()) {
		l.skip(1)
	}
}

// peek gives the byte at the position, 0 at the end.
func (l *lexer) peek() byte {
	if l.position < len(l.text) {
		return l.text[l.position]
	}
	return 0
}

// quoted reads up to the closing quote; two quotes stand for one.
func (l *lexer) quoted(quote byte) (token, error) {
	kind, what := textToken, "the text"
	if quote == '"' {
		kind, what = nameToken, "the name"
	}
	at := l.at + 1
	l.skip(1)
	var text strings.Builder
	for {
		rest := l.text[l.position:]
		end := strings.IndexByte(rest, quote)
		if end < 0 {
			return token{}, sqlError(at, "%s has no closing %c", what, quote)
		}
		text.WriteString(rest[:end])
		l.at += utf8.RuneCountInString(rest[:end]) + 1
		l.position += end + 1
		if l.peek() != quote {
			break
		}
		text.WriteByte(quote)
		l.skip(1)
	}
	if text.Len() > LiteralMax {
		return token{}, tooLong(text.Len())
	}
	return token{kind, text.String(), at}, nil
}
