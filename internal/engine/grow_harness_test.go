package engine

import (
	"testing"

	"github.com/headrace/headrace/internal/model"
)

// growTable doubles the number of buckets of a table.
func growTable(t testing.TB, e *Engine, table string) *model.Table {
	t.Helper()
	before, err := e.Table(name(t, table))
	if err != nil {
		t.Fatal(err)
	}
	grown, err := e.AlterTable(t.Context(), before.Name, Expect{}, SetBuckets{2 * int64(before.Buckets)})
	if err != nil {
		t.Fatal(err)
	}
	return grown
}

// growMoving doubles the number of buckets of a table of keyedSchema, and changes the places of its columns in the same
// call.
func growMoving(t testing.TB, e *Engine, table string) {
	t.Helper()
	before, err := e.Table(name(t, table))
	if err != nil {
		t.Fatal(err)
	}
	first := before.Schema.Field(before.Schema.NumFields() - 1).Name
	move := model.MoveColumn{Path: columnPath{first}, Place: model.Place{First: true}}
	grown, err := e.AlterTable(t.Context(), before.Name, Expect{SchemaVersion: before.SchemaVersion}, SetBuckets{2 * int64(before.Buckets)}, ChangeColumns{[]model.ColumnChange{move}})
	if err != nil || grown.Buckets != 2*before.Buckets || grown.SchemaVersion != before.SchemaVersion+1 {
		t.Fatalf("%+v, %v", grown, err)
	}
}
