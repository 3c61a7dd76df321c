package filter

import (
	"encoding/hex"
	"strings"
	"unicode/utf8"

	"github.com/headrace/headrace/internal/model"
)

// ParseSQL reads a predicate in SQL:
//
//	predicate = conjunction { OR conjunction }
//	conjunction = negation { AND negation }
//	negation = NOT negation | "(" predicate ")" | condition
//	condition = TRUE | FALSE | NULL | column
//	          | column operator literal | literal operator column
//	          | column [NOT] IN "(" literal { "," literal } ")"
//	          | column [NOT] BETWEEN literal AND literal
//	          | column [NOT] LIKE text [ESCAPE text]
//	          | column IS [NOT] NULL
//	          | (starts_with | ends_with | contains) "(" column "," text ")"
//	operator = "=" | "==" | "<>" | "!=" | "<" | "<=" | ">" | ">="
//	column = name { "." name }, a name bare or in double quotes
//	literal = number | text | TRUE | FALSE | NULL | DATE text | TIME text | TIMESTAMP text | X text
//
// Keywords are read in any case, names exactly; a bare name that is a keyword needs quotes. It fails
// with model.BadRequest, which names the character and what was expected there.
func ParseSQL(text string) (Expression, error) {
	switch {
	case len(text) > SQLMax:
		return nil, model.Errorf(model.BadRequest, "the filter has %d bytes, at most %d are allowed", len(text), SQLMax)
	case !utf8.ValidString(text):
		return nil, model.Errorf(model.BadRequest, "the filter is not valid UTF-8")
	}
	p := &sqlParser{lexer: lexer{text: text}}
	if err := p.advance(); err != nil {
		return nil, err
	}
	e, err := p.disjunction()
	if err == nil && p.token.kind != endToken {
		err = p.expected("AND, OR or the end")
	}
	return finish(e, err)
}

type sqlParser struct {
	counter
	lexer lexer
	token token // the next one
	depth int   // parentheses and NOTs around it
}

func (p *sqlParser) advance() (err error) {
	p.token, err = p.lexer.next()
	return err
}

func (p *sqlParser) expected(what string) error {
	return sqlError(p.token.at, "got %s, want %s", p.token, what)
}

// accept moves behind a keyword, if it is next.
func (p *sqlParser) accept(keyword string) (bool, error) {
	if !p.token.is(keyword) {
		return false, nil
	}
	return true, p.advance()
}

// need moves behind a sign, which must be next.
func (p *sqlParser) need(sign string) error {
	if !p.token.isSign(sign) {
		return p.expected(`"` + sign + `"`)
	}
	return p.advance()
}

func (p *sqlParser) disjunction() (Expression, error) {
	return p.chain("OR", p.conjunction, anyOf)
}

func (p *sqlParser) conjunction() (Expression, error) {
	return p.chain("AND", p.negation, allOf)
}

// chain reads parts with a keyword between them.
func (p *sqlParser) chain(keyword string, part func() (Expression, error), join func([]Expression) Expression) (Expression, error) {
	var parts []Expression
	for {
		e, err := part()
		if err != nil {
			return nil, err
		}
		parts = append(parts, e)
		if more, err := p.accept(keyword); err != nil || !more {
			return join(parts), err
		}
	}
}

func (p *sqlParser) negation() (Expression, error) {
	p.depth++
	defer func() { p.depth-- }()
	if err := p.enter(p.depth); err != nil {
		return nil, err
	}
	not, err := p.accept("NOT")
	if err != nil {
		return nil, err
	}
	if not {
		arg, err := p.negation()
		return &Not{arg}, err
	}
	if !p.token.isSign("(") {
		return p.condition()
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	e, err := p.disjunction()
	if err != nil {
		return nil, err
	}
	if !p.token.isSign(")") {
		return nil, p.expected(`AND, OR or ")"`)
	}
	return e, p.advance()
}

// condition reads what has no AND, OR or NOT in it.
func (p *sqlParser) condition() (Expression, error) {
	at := p.token
	value, isValue, err := p.literal()
	if err != nil {
		return nil, err
	}
	if isValue {
		operator, ok, err := p.operator()
		if err != nil {
			return nil, err
		}
		if !ok {
			if value.Kind == BoolLiteral || value.Kind == NullLiteral {
				return &Constant{value}, nil
			}
			return nil, p.expected("an operator")
		}
		column, err := p.column("a column: a filter compares a column with a value")
		return &Compare{Column: column, Operator: operator.mirrored(), Value: value}, err
	}
	if e, err := p.function(); e != nil || err != nil {
		return e, err
	}
	column, err := p.column("a condition")
	if err != nil {
		return nil, err
	}
	return p.behind(column, at)
}

// behind reads what follows a column.
func (p *sqlParser) behind(column Column, at token) (Expression, error) {
	operator, ok, err := p.operator()
	if err != nil {
		return nil, err
	}
	if ok {
		value, err := p.value()
		return &Compare{Column: column, Operator: operator, Value: value}, err
	}
	if is, err := p.accept("IS"); is || err != nil {
		return p.isNull(column, err)
	}
	not, err := p.accept("NOT")
	if err != nil {
		return nil, err
	}
	e, err := p.listed(column)
	switch {
	case err != nil:
		return nil, err
	case e == nil && not:
		return nil, p.expected("IN, BETWEEN or LIKE")
	case e == nil && at.kind == wordToken && p.token.isSign("("):
		return nil, sqlError(at.at, "there is no function %s, want starts_with, ends_with or contains", at)
	case e == nil:
		return isTrue(column), nil
	case not:
		return &Not{e}, nil
	}
	return e, nil
}

func (p *sqlParser) isNull(column Column, err error) (Expression, error) {
	if err != nil {
		return nil, err
	}
	not, err := p.accept("NOT")
	if err != nil {
		return nil, err
	}
	if !p.token.is("NULL") {
		return nil, p.expected("NULL")
	}
	if not {
		return &Not{&IsNull{column}}, p.advance()
	}
	return &IsNull{column}, p.advance()
}

// listed reads an IN, a BETWEEN or a LIKE; nil where none follows.
func (p *sqlParser) listed(column Column) (Expression, error) {
	if is, err := p.accept("IN"); is || err != nil {
		return p.in(column, err)
	}
	if is, err := p.accept("BETWEEN"); is || err != nil {
		if err != nil {
			return nil, err
		}
		low, err := p.value()
		if err != nil {
			return nil, err
		}
		if !p.token.is("AND") {
			return nil, p.expected("AND")
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
		high, err := p.value()
		return between(column, low, high), err
	}
	if is, err := p.accept("LIKE"); is || err != nil {
		return p.like(column, err)
	}
	return nil, nil
}

func (p *sqlParser) in(column Column, err error) (Expression, error) {
	if err != nil {
		return nil, err
	}
	if err := p.need("("); err != nil {
		return nil, err
	}
	var values []Literal
	for {
		value, err := p.value()
		if err != nil {
			return nil, err
		}
		if values = append(values, value); len(values) > ListMax {
			return oneOf(column, values)
		}
		if p.token.isSign(")") {
			if err := p.advance(); err != nil {
				return nil, err
			}
			return oneOf(column, values)
		}
		if !p.token.isSign(",") {
			return nil, p.expected(`"," or ")"`)
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
	}
}

func (p *sqlParser) like(column Column, err error) (Expression, error) {
	if err != nil {
		return nil, err
	}
	if p.token.is("NULL") {
		return &Constant{}, p.advance()
	}
	pattern, err := p.text("a pattern in single quotes")
	if err != nil {
		return nil, err
	}
	match := &Match{Column: column, Kind: Like, Pattern: pattern}
	escaped, err := p.accept("ESCAPE")
	if err != nil || !escaped {
		return match, err
	}
	at := p.token.at
	escape, err := p.text("one character in single quotes")
	if err != nil {
		return nil, err
	}
	if match.Escape, err = escapeOf(escape); err != nil {
		return nil, sqlError(at, "got '%s', want one character in single quotes", clip(escape))
	}
	return match, nil
}

// function reads starts_with(column, 'text') and its like; nil where none is next.
func (p *sqlParser) function() (Expression, error) {
	for kind := StartsWith; kind <= Contains; kind++ {
		if !p.token.is(matchTexts[kind]) {
			continue
		}
		before, name := p.lexer, p.token
		if err := p.advance(); err != nil {
			return nil, err
		}
		if !p.token.isSign("(") { // a column of that name
			p.lexer, p.token = before, name
			return nil, nil
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
		column, err := p.column("a column")
		if err != nil {
			return nil, err
		}
		if err := p.need(","); err != nil {
			return nil, err
		}
		pattern, err := p.text("a text in single quotes")
		if err != nil {
			return nil, err
		}
		return &Match{Column: column, Kind: kind, Pattern: pattern}, p.need(")")
	}
	return nil, nil
}

// operator reads a comparison, if one is next.
func (p *sqlParser) operator() (Operator, bool, error) {
	if p.token.kind != signToken {
		return 0, false, nil
	}
	text := p.token.text
	switch text {
	case "<>":
		text = "!="
	case "==":
		text = "="
	}
	for operator, name := range operatorTexts {
		if name == text {
			return Operator(operator), true, p.advance()
		}
	}
	return 0, false, nil
}

// text reads a text in single quotes.
func (p *sqlParser) text(what string) (string, error) {
	if p.token.kind != textToken {
		return "", p.expected(what)
	}
	text := p.token.text
	return text, p.advance()
}

// keywords cannot be bare names.
var keywords = []string{"AND", "OR", "NOT", "IN", "BETWEEN", "LIKE", "ESCAPE", "IS", "NULL", "TRUE", "FALSE"}

// column reads a name, or names with points between them.
func (p *sqlParser) column(what string) (Column, error) {
	var column Column
	for {
		switch {
		case p.token.kind == nameToken:
		case p.token.kind == wordToken:
			for _, keyword := range keywords {
				if p.token.is(keyword) {
					return nil, p.expected(what)
				}
			}
		default:
			return nil, p.expected(what)
		}
		if column = append(column, p.token.text); len(column) > DepthMax {
			return nil, sqlError(p.token.at, "a column has more than %d names", DepthMax)
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
		if !p.token.isSign(".") {
			return column, nil
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
		what = "a name"
	}
}

// value reads a literal, which must be next.
func (p *sqlParser) value() (Literal, error) {
	value, ok, err := p.literal()
	if err == nil && !ok {
		err = p.expected("a value: a number, 'text', TRUE, FALSE, NULL, DATE '…', TIMESTAMP '…' or X'…'")
	}
	return value, err
}

// literal reads a literal, if one is next.
func (p *sqlParser) literal() (Literal, bool, error) {
	t := p.token
	switch {
	case t.kind == textToken:
		return textLiteral(t.text), true, p.advance()
	case t.kind == numberToken:
		return p.number("")
	case t.isSign("-"), t.isSign("+"):
		if err := p.advance(); err != nil {
			return Literal{}, false, err
		}
		if p.token.kind != numberToken {
			return Literal{}, false, p.expected("a number")
		}
		return p.number(t.text)
	case t.is("NULL"):
		return Literal{}, true, p.advance()
	case t.is("TRUE"), t.is("FALSE"):
		return boolLiteral(t.is("TRUE")), true, p.advance()
	case t.kind == wordToken:
		return p.typed()
	}
	return Literal{}, false, nil
}

func (p *sqlParser) number(sign string) (Literal, bool, error) {
	value, err := numberLiteral(sign + p.token.text)
	if err != nil {
		return Literal{}, false, sqlError(p.token.at, "%s", model.AsError(err).Text)
	}
	return value, true, p.advance()
}

// typed reads a word and a text behind it; where no text follows, the word is a name.
func (p *sqlParser) typed() (Literal, bool, error) {
	forms := []struct {
		word, want string
		read       func(string) (Literal, bool)
	}{
		{"DATE", "a date such as '2026-11-21'", readDateText},
		{"TIME", "a time such as '08:00:00'", readTimeText},
		{"TIMESTAMP", "a time such as '2026-11-21 08:00:00Z'", readTimestampText},
		{"X", "hexadecimal digits", readHexText},
	}
	for _, form := range forms {
		if !p.token.is(form.word) {
			continue
		}
		before, word := p.lexer, p.token
		if err := p.advance(); err != nil {
			return Literal{}, false, err
		}
		if p.token.kind != textToken {
			p.lexer, p.token = before, word
			return Literal{}, false, nil
		}
		value, ok := form.read(p.token.text)
		if !ok {
			return Literal{}, false, sqlError(p.token.at, "got '%s', want %s", clip(p.token.text), form.want)
		}
		return value, true, p.advance()
	}
	return Literal{}, false, nil
}

func readDateText(text string) (Literal, bool) {
	_, ok := readInstant(text)
	return textLiteral(text), ok && !strings.Contains(text, ":")
}

func readTimeText(text string) (Literal, bool) {
	_, ok := readTimeOfDay(text)
	return textLiteral(text), ok
}

func readTimestampText(text string) (Literal, bool) {
	_, ok := readInstant(text)
	return textLiteral(text), ok
}

func readHexText(text string) (Literal, bool) {
	bytes, err := hex.DecodeString(text)
	return bytesLiteral(bytes), err == nil
}
