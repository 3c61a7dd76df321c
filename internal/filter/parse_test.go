package filter

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/headrace/headrace/internal/model"
)

// sqlCases are predicates in SQL and their JSON.
var sqlCases = []struct{ sql, json string }{
	{`a > 3`, `{"op":">","column":"a","value":3}`},
	{`3 < a`, `{"op":">","column":"a","value":3}`},
	{`a >= -3.50`, `{"op":">=","column":"a","value":-3.5}`},
	{`a<>+1e3`, `{"op":"!=","column":"a","value":1000}`},
	{`a == .5`, `{"op":"=","column":"a","value":0.5}`},
	{`a != 1e300`, `{"op":"!=","column":"a","value":1e300}`},
	{`"A b".c = 'it''s'`, `{"op":"=","column":["A b","c"],"value":"it's"}`},
	{`"a""b" IS NULL`, `{"op":"is_null","column":"a\"b"}`},
	{`a is not null`, `{"op":"not","args":[{"op":"is_null","column":"a"}]}`},
	{`a in (1, 'x', null, true)`, `{"op":"in","column":"a","values":[1,"x",null,true]}`},
	{`a not in (1)`, `{"op":"not","args":[{"op":"in","column":"a","values":[1]}]}`},
	{`a between 1 and 2 and b`, `{"op":"and","args":[{"op":">=","column":"a","value":1},{"op":"<=","column":"a","value":2},{"op":"=","column":"b","value":true}]}`},
	{`a not between 1 and 2`, `{"op":"not","args":[{"op":"and","args":[{"op":">=","column":"a","value":1},{"op":"<=","column":"a","value":2}]}]}`},
	{`a LIKE 'x%' escape '!' or a not like '_'`, `{"op":"or","args":[{"op":"like","column":"a","value":"x%","escape":"!"},{"op":"not","args":[{"op":"like","column":"a","value":"_"}]}]}`},
	{`Starts_With(a.b, 'x') and ends_with(a,'') and contains(a, 'y')`, `{"op":"and","args":[{"op":"starts_with","column":["a","b"],"value":"x"},{"op":"ends_with","column":"a","value":""},{"op":"contains","column":"a","value":"y"}]}`},
	{`contains = 1 and date = 2 and x`, `{"op":"and","args":[{"op":"=","column":"contains","value":1},{"op":"=","column":"date","value":2},{"op":"=","column":"x","value":true}]}`},
	{`d = DATE '2026-11-21'`, `{"op":"=","column":"d","value":"2026-11-21"}`},
	{`timestamp '2026-11-21 08:00:00Z' > t`, `{"op":"<","column":"t","value":"2026-11-21 08:00:00Z"}`},
	{`t = time '08:00:00'`, `{"op":"=","column":"t","value":"08:00:00"}`},
	{`b = X'00ff'`, `{"op":"=","column":"b","value":"AP8="}`},
	{`not not a`, `{"op":"not","args":[{"op":"not","args":[{"op":"=","column":"a","value":true}]}]}`},
	{`a or b and c`, `{"op":"or","args":[{"op":"=","column":"a","value":true},{"op":"and","args":[{"op":"=","column":"b","value":true},{"op":"=","column":"c","value":true}]}]}`},
	{`((a or b) or (c))`, `{"op":"or","args":[{"op":"=","column":"a","value":true},{"op":"=","column":"b","value":true},{"op":"=","column":"c","value":true}]}`},
	{`true and not null`, `{"op":"and","args":[{"op":"literal","value":true},{"op":"not","args":[{"op":"literal","value":null}]}]}`},
	{`TRUE = a`, `{"op":"=","column":"a","value":true}`},
	{`a = null`, `{"op":"=","column":"a","value":null}`},
	{`größe > 1`, `{"op":">","column":"größe","value":1}`},
}

func TestSQLAndJSONGiveTheSameTree(t *testing.T) {
	for _, c := range sqlCases {
		e, err := ParseSQL(c.sql)
		if err != nil {
			t.Errorf("%s: %v", c.sql, err)
			continue
		}
		if got := string(AppendJSON(nil, e)); got != c.json {
			t.Errorf("%s:\n got %s\nwant %s", c.sql, got, c.json)
		}
		again, err := ParseJSON([]byte(c.json))
		if err != nil || string(AppendJSON(nil, again)) != c.json {
			t.Errorf("%s is read back as %s, %v", c.json, AppendJSON(nil, again), err)
		}
	}
}

func TestJSONFormsThatSQLWritesOtherwise(t *testing.T) {
	for raw, want := range map[string]string{
		`{"op":"between","column":["a"],"low":"1","high":2.0}`:                                         `{"op":"and","args":[{"op":">=","column":"a","value":"1"},{"op":"<=","column":"a","value":2}]}`,
		`{"op":"not_in","column":"a","values":[]}`:                                                     `{"op":"not","args":[{"op":"literal","value":false}]}`,
		`{"op":"is_not_null","column":["a","b"]}`:                                                      `{"op":"not","args":[{"op":"is_null","column":["a","b"]}]}`,
		`{"op":"not_like","column":"a","value":"x","escape":"é"}`:                                      `{"op":"not","args":[{"op":"like","column":"a","value":"x","escape":"é"}]}`,
		`{"op":"like","column":"a","value":null}`:                                                      `{"op":"literal","value":null}`,
		`{"op":"and","args":[{"op":"and","args":[{"op":"is_null","column":"a"}]}]}`:                    `{"op":"is_null","column":"a"}`,
		`{"op":"=","column":"a","value":123456789012345678901234567890.10}`:                            `{"op":"=","column":"a","value":123456789012345678901234567890.1}`,
		`{"op":"or","args":[{"op":"literal","value":false},{"op":"=","column":"a","value":"\u00e9"}]}`: `{"op":"or","args":[{"op":"literal","value":false},{"op":"=","column":"a","value":"é"}]}`,
	} {
		e, err := ParseJSON([]byte(raw))
		if err != nil || string(AppendJSON(nil, e)) != want {
			t.Errorf("%s:\n got %s, %v\nwant %s", raw, AppendJSON(nil, e), err, want)
		}
	}
}

// TestWrongPredicates compares what is said of what is wrong.
func TestWrongPredicates(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("(", n) + "a" + strings.Repeat(")", n) }
	turns := func(n int) string { return strings.Repeat("not ", n) + "a" }
	for _, c := range []struct{ sql, want string }{
		{``, `at character 1: got the end, want a condition`},
		{`a >`, `at character 4: got the end, want a value`},
		{`a = b`, `at character 5: got b, want a value`},
		{`3`, `at character 2: got the end, want an operator`},
		{`3 = 3`, `at character 5: got 3, want a column`},
		{`a b`, `at character 3: got b, want AND, OR or the end`},
		{`(a`, `at character 3: got the end, want AND, OR or ")"`},
		{`a)`, `at character 2: got ), want AND, OR or the end`},
		{`a is nul`, `at character 6: got nul, want NULL`},
		{`a not 3`, `at character 7: got 3, want IN, BETWEEN or LIKE`},
		{`a in 3`, `at character 6: got 3, want "("`},
		{`a in ()`, `at character 7: got ), want a value`},
		{`a in (1 2)`, `at character 9: got 2, want "," or ")"`},
		{`a between 1 or 2`, `at character 13: got or, want AND`},
		{`a like b`, `at character 8: got b, want a pattern in single quotes`},
		{`a like 'x' escape 'xy'`, `at character 19: got 'xy', want one character`},
		{`lower(a) = 'x'`, `at character 1: there is no function lower, want starts_with`},
		{`starts_with('x', a)`, `at character 13: got 'x', want a column`},
		{`contains(a 'x')`, `at character 12: got 'x', want ","`},
		{`a. = 1`, `at character 4: got =, want a name`},
		{`select = 1 and from`, ``},
		{`and = 1`, `at character 1: got and, want a condition`},
		{`a = 'x`, `at character 5: the text has no closing '`},
		{`"a = 1`, `at character 1: the name has no closing "`},
		{`é = ;`, `at character 5: ";" is no part of a predicate`},
		{`a = - b`, `at character 7: got b, want a number`},
		{`a = X'0g'`, `got '0g', want hexadecimal digits`},
		{`a = DATE '2026-13-01'`, `got '2026-13-01', want a date such as`},
		{`a = DATE '2026-11-01 00:00:00'`, `want a date such as`},
		{`a = TIMESTAMP '2026-11-01 00:00:00.1234567891Z'`, `want a time such as`},
		{`a = TIME '25:00:00'`, `want a time such as`},
		{`a = 1e99999`, `has too many digits`},
		{`a = ` + strings.Repeat("9", 500), `has too many digits`},
		{"a = '\xff'", `not valid UTF-8`},
		{deep(900), ``},
		{deep(1001), `nested deeper than 64`},
		{turns(63), ``},
		{turns(64), `nested deeper than 64`},
		{"a" + strings.Repeat(" and a", 9000), ``},
		{"a" + strings.Repeat(" and a", 10001), `more than 10000 parts`},
		{"a in (1" + strings.Repeat(",1", 10000) + ")", `the list for column "a" has 10001 values`},
		{"a = '" + strings.Repeat("x", LiteralMax+1) + "'", `at most 65536 are allowed`},
		{strings.Repeat(" ", SQLMax+1), `at most 1048576 are allowed`},
	} {
		_, err := ParseSQL(c.sql)
		checkRefused(t, fmt.Sprintf("%.60s", c.sql), err, c.want)
	}
	for _, c := range []struct{ json, want string }{
		{`7`, `the wrong kind at its beginning`},
		{`{"op":"=","column":"a","value":1}x`, `not valid JSON`},
		{`{"op":"=","op":"=","column":"a","value":1}`, `not valid JSON`},
		{`{"op":"and","args":[{"opp":"x"}]}`, `an unknown member at "args.0.opp"`},
		{`{"op":"and","args":[null]}`, `null where an expression is wanted`},
		{`{"op":"and","args":[]}`, `the op "and" has no args`},
		{`{"op":"not","args":[]}`, `the op "not" has 0 args`},
		{`{"op":"xor","args":[]}`, `the unknown op "xor". Use one of and, or`},
		{`{"op":"=","column":"a"}`, `the op "=" has no "value". Add it`},
		{`{"op":"is_null","column":"a","value":null}`, `the op "is_null" has "value", which it does not take`},
		{`{"op":"=","column":[],"value":1}`, `the column [] is not a name`},
		{`{"op":"=","column":7,"value":1}`, `the column 7 is not a name`},
		{`{"op":"=","column":"a","value":{}}`, `{} is no value of a filter`},
		{`{"op":"like","column":"a","value":7}`, `column "a" is matched with 7, want a text`},
		{`{"op":"like","column":"a","value":"x","escape":"xx"}`, `the escape of a LIKE is "xx"`},
		{`{"op":"literal","value":7}`, `the op "literal" has 7, want true, false or null`},
		{strings.Repeat(`{"op":"not","args":[`, 70) + `{"op":"is_null","column":"a"}` + strings.Repeat("]}", 70), `nested deeper than 64`},
		{strings.Repeat(`{"op":"and","args":[`, 70) + `{"op":"is_null","column":"a"}` + strings.Repeat("]}", 70), ``},
	} {
		_, err := ParseJSON([]byte(c.json))
		checkRefused(t, fmt.Sprintf("%.60s", c.json), err, c.want)
	}
}

// checkRefused compares an error with what it says; an empty text means that there is none.
func checkRefused(t *testing.T, what string, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("%s: %v", what, err)
	case want != "" && (err == nil || !errors.Is(err, model.BadRequest) || !strings.Contains(err.Error(), want)):
		t.Errorf("%s:\n got %v\nwant %s", what, err, want)
	}
}

// substraitCases are what pyarrow wrote, by the name of the file: Expression.to_substrait of version 26.
var substraitCases = map[string]string{
	"gt":    `a > 3`,
	"ls2":   `3 < a`,
	"neq":   `a != 3`,
	"i8":    `i8 > 3`,
	"isin":  `a in (1, 2, null)`,
	"sin":   `s in ('a', 'b')`,
	"null":  `a is null`,
	"nn":    `a is not null`,
	"isnan": `f = 'NaN'`,
	"st":    `st.x = 1`,
	"ts":    `ts > '2026-01-01T00:00:00Z'`,
	"naive": `ts > '2026-01-01T00:00:00Z'`,
	"tsec":  `tsec > '2026-01-01T00:00:00Z'`,
	"d":     `d > DATE '2026-01-01'`,
	"d64":   `d64 > DATE '2026-01-01'`,
	"dec":   `dec > 1.25`,
	"b":     `b = X'6162'`,
	"f":     `f > 0.5`,
	"bo":    `bo`,
	"nbo":   `not bo`,
	"an":    `a > 3 and s = 'x' or a < 1`,
	"ti":    `ti > TIME '01:02:03'`,
	"ls":    `ls = 'a'`,
	"sw":    `starts_with(s, 'a')`,
	"nul":   `a = null`,
}

func TestSubstraitGivesTheSameTree(t *testing.T) {
	for name, sql := range substraitCases {
		e, err := ParseSubstrait(readSubstrait(t, name))
		want, sqlErr := ParseSQL(sql)
		if err != nil || sqlErr != nil {
			t.Errorf("%s: %v, %v", name, err, sqlErr)
			continue
		}
		if got := AppendJSON(nil, e); string(got) != string(AppendJSON(nil, want)) {
			t.Errorf("%s:\n got %s\nwant %s", name, got, AppendJSON(nil, want))
		}
	}
	_, err := ParseSubstrait(readSubstrait(t, "ife"))
	checkRefused(t, "if_else", err, "a part that is no comparison")
}

func readSubstrait(t testing.TB, name string) []byte {
	message, err := os.ReadFile(filepath.Join("testdata", "substrait", name+".bin"))
	if err != nil {
		t.Fatal(err)
	}
	return message
}

func FuzzParseSQL(f *testing.F) {
	for _, c := range sqlCases {
		f.Add(c.sql)
	}
	f.Fuzz(func(t *testing.T, text string) {
		checkParsed(t, text, func() (Expression, error) { return ParseSQL(text) })
	})
}

func FuzzParseJSON(f *testing.F) {
	for _, c := range sqlCases {
		f.Add([]byte(c.json))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		checkParsed(t, string(raw), func() (Expression, error) { return ParseJSON(raw) })
	})
}

func FuzzParseSubstrait(f *testing.F) {
	for name := range substraitCases {
		f.Add(readSubstrait(f, name))
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		checkParsed(t, fmt.Sprintf("%x", message), func() (Expression, error) { return ParseSubstrait(message) })
	})
}

// checkParsed checks that what a parser takes can be written and read back, and that what it refuses is
// the sender's fault.
func checkParsed(t *testing.T, what string, parse func() (Expression, error)) {
	e, err := parse()
	if err != nil {
		if !errors.Is(err, model.BadRequest) {
			t.Fatalf("%q: %v", what, err)
		}
		return
	}
	raw := AppendJSON(nil, e)
	again, err := ParseJSON(raw)
	if err != nil || string(AppendJSON(nil, again)) != string(raw) {
		t.Fatalf("%q gives %s, which is read back as %s, %v", what, raw, AppendJSON(nil, again), err)
	}
	if layout := layoutOf(e); layout != nil {
		f, err := Bind(e, layout, nil)
		if err == nil {
			f.MayMatch(nil)
		}
	}
}
