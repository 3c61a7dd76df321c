package flightsrv

import (
	stdjson "encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/headrace/headrace/internal/model"
)

// requestBytesMax bounds the JSON of a request.
const requestBytesMax = 1 << 20

// decodeOptions refuse what a typing error would make: unknown names, names that differ in case,
// duplicates, invalid UTF-8 and bytes behind the end. Numbers of untyped values keep their digits.
var decodeOptions = json.JoinOptions(
	json.RejectUnknownMembers(true),
	json.WithUnmarshalers(json.UnmarshalFromFunc(func(decoder *jsontext.Decoder, value *any) error {
		if decoder.PeekKind() != '0' {
			return errors.ErrUnsupported
		}
		number, err := decoder.ReadValue()
		*value = stdjson.Number(number.Clone())
		return err
	})),
)

// decodeJSON reads the JSON of what (a ticket, an action's body) into the struct that into points
// to. It is strict, and its errors name the field. No bytes at all are an error.
func decodeJSON(data []byte, what string, into any) error {
	if len(data) == 0 {
		return model.Errorf(model.BadRequest, "%s is empty", what).WithRemedy("Send a JSON object")
	}
	if len(data) > requestBytesMax {
		return model.Errorf(model.BadRequest, "%s has %d bytes, at most %d are allowed", what, len(data), requestBytesMax)
	}
	err := json.Unmarshal(data, into, decodeOptions)
	if err == nil {
		return nil
	}
	return describeJSONError(err, what, reflect.TypeOf(into))
}

// decodeNested reads value, which decoder has just read as a part of something larger. Errors name
// the place in the whole.
func decodeNested(decoder *jsontext.Decoder, value jsontext.Value, into any) error {
	err := json.Unmarshal(value, into, decodeOptions)
	if semantic, ok := errors.AsType[*json.SemanticError](err); ok {
		semantic.JSONPointer = decoder.StackPointer() + semantic.JSONPointer
		return semantic
	}
	if syntactic, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		syntactic.JSONPointer = decoder.StackPointer() + syntactic.JSONPointer
	}
	return err
}

// describeJSONError says in the interface's words what is wrong with the JSON of what.
func describeJSONError(err error, what string, into reflect.Type) error {
	if semantic, ok := errors.AsType[*json.SemanticError](err); ok {
		return describeSemanticError(semantic, what, into)
	}
	if syntactic, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		if errors.Is(err, jsontext.ErrDuplicateName) {
			return model.Errorf(model.BadRequest, "%s: the field %s occurs twice", what, fieldName(syntactic.JSONPointer))
		}
		return model.Errorf(model.BadRequest, "%s is not valid JSON at byte %d: %s", what, syntactic.ByteOffset, clipText(syntactic.Err.Error(), 200))
	}
	return model.Errorf(model.BadRequest, "%s is not valid JSON: %s", what, clipText(err.Error(), 200))
}

func describeSemanticError(err *json.SemanticError, what string, into reflect.Type) error {
	if errors.Is(err, json.ErrUnknownName) {
		unknown := model.Errorf(model.BadRequest, "%s: the field %s is unknown", what, fieldName(err.JSONPointer))
		if known := knownFields(err.GoType, into); len(known) > 0 {
			unknown.WithRemedy("Known here are %s", strings.Join(known, ", "))
		}
		return unknown
	}
	if own, ok := errors.AsType[*model.Error](err); ok {
		placed := model.Errorf(own.Reason, "%s: %s: %s", what, fieldName(err.JSONPointer), own.Text).WithRemedy("%s", own.Remedy)
		placed.Details = own.Details
		return placed
	}
	return model.Errorf(model.BadRequest, "%s: %s is %s, want %s", what, fieldName(err.JSONPointer), kindName(err.JSONKind), typeName(err.GoType))
}

// fieldName writes the place of a field as scan.from.time; "the value" for the whole.
func fieldName(pointer jsontext.Pointer) string {
	var names []string
	for token := range pointer.Tokens() {
		names = append(names, clipText(token, 80))
	}
	if len(names) == 0 {
		return "the value"
	}
	return `"` + strings.Join(names, ".") + `"`
}

// knownFields lists the JSON names of the struct type t, or of into where t is none.
func knownFields(t, into reflect.Type) []string {
	for _, candidate := range []reflect.Type{t, into} {
		for candidate != nil && candidate.Kind() == reflect.Pointer {
			candidate = candidate.Elem()
		}
		if candidate == nil || candidate.Kind() != reflect.Struct {
			continue
		}
		var names []string
		for i := range candidate.NumField() {
			name, _, _ := strings.Cut(candidate.Field(i).Tag.Get("json"), ",")
			if name != "" && name != "-" {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		return names
	}
	return nil
}

// kindName names what was found.
func kindName(kind jsontext.Kind) string {
	switch kind {
	case 'n':
		return "null"
	case 't', 'f':
		return "a boolean"
	case '"':
		return "a string"
	case '0':
		return "a number"
	case '{':
		return "an object"
	case '[':
		return "a list"
	}
	return "something else"
}

// typeName names what is wanted for a Go type.
func typeName(t reflect.Type) string {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil {
		return "another type"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Float64:
		return "a number"
	}
	return "another type"
}

// clipText cuts text to at most n bytes, between characters.
func clipText(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n], "") + "…"
}

// encodeJSON gives the JSON of value, object names sorted where they come from a map.
func encodeJSON(value any) ([]byte, error) {
	return json.Marshal(value, json.Deterministic(true))
}
