package main

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
)

// columnPath names a column, or a field of structs in one by the names that lead to it.
type columnPath []string

// MarshalJSON implements json.Marshaler.
func (c columnPath) MarshalJSON() ([]byte, error) {
	if len(c) == 1 {
		return json.Marshal(c[0])
	}
	return json.Marshal([]string(c))
}

// wholeColumns gives names as paths; nil stays nil.
func wholeColumns(names []string) []columnPath {
	if names == nil {
		return nil
	}
	paths := make([]columnPath, len(names))
	for i, name := range names {
		paths[i] = columnPath{name}
	}
	return paths
}

// findFields turns a.b into the field b of a, where the table has a column a and none called a.b. Everything
// else stays for the server to judge.
func (c *client) findFields(ctx context.Context, table string, columns []columnPath) error {
	dotted := func(path columnPath) bool { return len(path) == 1 && strings.Contains(path[0], ".") }
	if !slices.ContainsFunc(columns, dotted) {
		return nil
	}
	description, err := c.describe(ctx, table)
	if err != nil {
		return err
	}
	schema, err := description.arrowSchema()
	if err != nil {
		return err
	}
	for i, path := range columns {
		if dotted(path) {
			columns[i] = fieldPath(schema, path[0])
		}
	}
	return nil
}

func fieldPath(schema *arrow.Schema, name string) columnPath {
	path := strings.Split(name, ".")
	if len(schema.FieldIndices(name)) > 0 || len(schema.FieldIndices(path[0])) == 0 {
		return columnPath{name}
	}
	return path
}
