package flightsrv

import (
	"reflect"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// jsonSchema is the part of JSON Schema that describes requests.
type jsonSchema struct {
	Title       string                 `json:"title,omitzero"`
	Description string                 `json:"description,omitzero"`
	Type        any                    `json:"type,omitzero"`
	Properties  map[string]*jsonSchema `json:"properties,omitzero"`
	Items       *jsonSchema            `json:"items,omitzero"`
	// AdditionalProperties is false, or the schema of a map's values.
	AdditionalProperties any `json:"additionalProperties,omitzero"`
}

// describeRequest gives the JSON Schema of a Request struct as text.
func describeRequest[Request any](name, summary string) string {
	schema := schemaOf(reflect.TypeFor[Request]())
	schema.Title, schema.Description = name, summary
	text, err := encodeJSON(schema)
	if err != nil {
		return summary
	}
	return string(text)
}

// wordSchemas are the types that write their own JSON.
var wordSchemas = map[reflect.Type]*jsonSchema{
	reflect.TypeFor[integer]():        {Type: []string{"integer", "string"}},
	reflect.TypeFor[bytesValue]():     {Type: "string", Description: "base64"},
	reflect.TypeFor[timeValue]():      {Type: "string", Description: "RFC 3339, with a zone"},
	reflect.TypeFor[position]():       {Type: "object", Description: `{"table_id":…,"offsets":{"0":1200}}, or the offsets alone`},
	reflect.TypeFor[columnPath]():     {Type: []string{"string", "array"}, Description: "a column, or the names that lead to a nested field"},
	reflect.TypeFor[any]():            {},
	reflect.TypeFor[filterValue]():    {Type: "object", Description: `{"sql":"age > 3"}, {"op":">","column":"age","value":3} or {"substrait":base64}`},
	reflect.TypeFor[bound]():          {Description: `"earliest", "latest", {"time":…} or a position`},
	reflect.TypeFor[jsontext.Value](): {},
}

// schemaOf describes a type as decodeJSON reads it.
func schemaOf(t reflect.Type) *jsonSchema {
	if word, ok := wordSchemas[t]; ok {
		copied := *word
		return &copied
	}
	switch t.Kind() {
	case reflect.Pointer:
		return schemaOf(t.Elem())
	case reflect.Struct:
		return structSchema(t)
	case reflect.Slice:
		return &jsonSchema{Type: "array", Items: schemaOf(t.Elem())}
	case reflect.Map:
		return &jsonSchema{Type: "object", AdditionalProperties: schemaOf(t.Elem())}
	case reflect.Bool:
		return &jsonSchema{Type: "boolean"}
	case reflect.String:
		return &jsonSchema{Type: "string"}
	}
	return &jsonSchema{}
}

func structSchema(t reflect.Type) *jsonSchema {
	schema := &jsonSchema{Type: "object", AdditionalProperties: false, Properties: map[string]*jsonSchema{}}
	for i := range t.NumField() {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); name != "" {
			schema.Properties[name] = schemaOf(t.Field(i).Type)
		}
	}
	return schema
}
