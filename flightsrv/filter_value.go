package flightsrv

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/headrace/headrace/internal/filter"
	"github.com/headrace/headrace/internal/model"
)

// filterValue is a filter, in JSON {"sql":…}, {"substrait":…} or {"op":…}; it is written in the last form.
// null is no filter.
type filterValue struct{ filter.Expression }

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (f *filterValue) UnmarshalJSONFrom(decoder *jsontext.Decoder) error {
	value, err := decoder.ReadValue()
	if err != nil || value.Kind() == 'n' {
		return err
	}
	if value.Kind() != '{' {
		return model.Errorf(model.BadRequest, "%s, want a filter", kindName(value.Kind())).WithRemedy(`Write {"sql":"age > 3"}`)
	}
	var form struct {
		SQL       *string     `json:"sql"`
		Substrait *bytesValue `json:"substrait"`
	}
	switch first, err := firstName(value); {
	case err != nil:
		return err
	case first == "sql" || first == "substrait":
		if err := decodeNested(decoder, value, &form); err != nil {
			return err
		}
	default:
		f.Expression, err = filter.ParseJSON(value)
		return err
	}
	switch {
	case form.SQL != nil && form.Substrait != nil:
		return model.Errorf(model.BadRequest, `a filter has "sql" and "substrait"`).WithRemedy("Set one of them")
	case form.SQL != nil:
		f.Expression, err = filter.ParseSQL(*form.SQL)
	case form.Substrait != nil:
		f.Expression, err = filter.ParseSubstrait(*form.Substrait)
	}
	return err
}

// firstName gives the first member name of an object; empty where it has none.
func firstName(value jsontext.Value) (string, error) {
	var name string
	decoder := jsontext.NewDecoder(bytes.NewReader(value))
	if _, err := decoder.ReadToken(); err != nil {
		return "", err
	}
	token, err := decoder.ReadToken()
	if err == nil && token.Kind() == '"' {
		name = token.String()
	}
	return name, err
}

// MarshalJSONTo implements json.MarshalerTo.
func (f filterValue) MarshalJSONTo(encoder *jsontext.Encoder) error {
	if f.Expression == nil {
		return encoder.WriteToken(jsontext.Null)
	}
	return encoder.WriteValue(filter.AppendJSON(nil, f.Expression))
}

// IsZero makes omitzero leave out what is no filter.
func (f filterValue) IsZero() bool { return f.Expression == nil }
