package filter

import (
	"github.com/go-json-experiment/json/jsontext"
)

// AppendJSON appends the JSON form of an expression, which ParseJSON reads back to an equal one.
func AppendJSON(dst []byte, e Expression) []byte {
	switch e := e.(type) {
	case *And:
		return appendArgs(dst, "and", e.Args)
	case *Or:
		return appendArgs(dst, "or", e.Args)
	case *Not:
		return appendArgs(dst, "not", []Expression{e.Arg})
	case *Compare:
		dst = appendOp(dst, e.Operator.String(), e.Column)
		dst = append(dst, `,"value":`...)
		dst = appendLiteral(dst, e.Value)
	case *In:
		dst = appendOp(dst, "in", e.Column)
		dst = append(dst, `,"values":[`...)
		for i, value := range e.Values {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendLiteral(dst, value)
		}
		dst = append(dst, ']')
	case *IsNull:
		dst = appendOp(dst, "is_null", e.Column)
	case *Match:
		dst = appendOp(dst, matchTexts[e.Kind], e.Column)
		dst = append(dst, `,"value":`...)
		dst = appendQuoted(dst, e.Pattern)
		if e.Escape != 0 {
			dst = append(dst, `,"escape":`...)
			dst = appendQuoted(dst, string(e.Escape))
		}
	case *Constant:
		dst = append(dst, `{"op":"literal","value":`...)
		dst = appendLiteral(dst, e.Value)
	}
	return append(dst, '}')
}

func appendArgs(dst []byte, op string, args []Expression) []byte {
	dst = append(dst, `{"op":"`...)
	dst = append(dst, op...)
	dst = append(dst, `","args":[`...)
	for i, arg := range args {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendJSON(dst, arg)
	}
	return append(dst, `]}`...)
}

// appendOp begins a node with its op and its column.
func appendOp(dst []byte, op string, column Column) []byte {
	dst = append(dst, `{"op":"`...)
	dst = append(dst, op...)
	dst = append(dst, `","column":`...)
	if len(column) == 1 {
		return appendQuoted(dst, column[0])
	}
	dst = append(dst, '[')
	for i, name := range column {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendQuoted(dst, name)
	}
	return append(dst, ']')
}

func appendLiteral(dst []byte, l Literal) []byte {
	switch l.Kind {
	case NullLiteral:
		return append(dst, "null"...)
	case TextLiteral:
		return appendQuoted(dst, l.Text)
	}
	return append(dst, l.Text...)
}

// appendQuoted appends a JSON string; bytes that are not UTF-8, which no column has, are replaced.
func appendQuoted(dst []byte, text string) []byte {
	quoted, err := jsontext.AppendQuote(dst, text)
	if err != nil {
		return quoted
	}
	return quoted
}
