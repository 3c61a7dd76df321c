package flightsrv

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/headrace/headrace/internal/model"
)

// columnName names a top-level column.
type columnName string

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (c *columnName) UnmarshalJSONFrom(decoder *jsontext.Decoder) error {
	switch kind := decoder.PeekKind(); kind {
	case '"':
		token, err := decoder.ReadToken()
		if err != nil {
			return err
		}
		*c = columnName(token.String())
		return nil
	case '[':
		return model.Errorf(model.BadRequest, "a list stands where only whole columns can be named").
			WithRemedy("Name the whole column")
	case 0:
		return decoder.SkipValue()
	default:
		return model.Errorf(model.BadRequest, "%s, want the name of a column", kindName(kind))
	}
}

// columnNames gives the plain names; nil stays nil.
func columnNames(columns *[]columnName) []string {
	if columns == nil {
		return nil
	}
	names := make([]string, len(*columns))
	for i, name := range *columns {
		names[i] = string(name)
	}
	return names
}

// columnPath names a top-level column by a text, or a field of structs within one by the list of the names
// that lead to it.
type columnPath []string

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (c *columnPath) UnmarshalJSONFrom(decoder *jsontext.Decoder) error {
	if decoder.PeekKind() != '[' {
		var name columnName
		if err := name.UnmarshalJSONFrom(decoder); err != nil {
			return err
		}
		*c = columnPath{string(name)}
		return nil
	}
	var names []string
	if err := json.UnmarshalDecode(decoder, &names); err != nil {
		return err
	}
	if len(names) == 0 {
		return model.Errorf(model.BadRequest, "a column is an empty list").
			WithRemedy(`Name a column, "a", or a field of structs within one, ["a","b"]`)
	}
	*c = names
	return nil
}

// MarshalJSONTo implements json.MarshalerTo.
func (c columnPath) MarshalJSONTo(encoder *jsontext.Encoder) error {
	if len(c) == 1 {
		return json.MarshalEncode(encoder, c[0])
	}
	return json.MarshalEncode(encoder, []string(c))
}

// columnPaths gives the top-level columns, nil stays nil, and for each the way to a field within it; nil
// where there is none.
func columnPaths(columns *[]columnPath) (names []string, paths [][]string) {
	if columns == nil {
		return nil, nil
	}
	names = make([]string, len(*columns))
	for i, path := range *columns {
		names[i] = path[0]
		if len(path) > 1 && paths == nil {
			paths = make([][]string, len(names))
		}
		if len(path) > 1 {
			paths[i] = path[1:]
		}
	}
	return names, paths
}
