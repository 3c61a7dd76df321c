package engine

import (
	"cmp"
	"errors"
	"slices"
	"testing"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// TestIndexesAcrossChanges changes indexes and their columns at once: what has another column, or one of another type,
// is another index, also where it has the name of one that was there.
func TestIndexesAcrossChanges(t *testing.T) {
	index := CreateIndex{model.Index{Name: "by_a", Columns: []string{"a"}}}
	columns := func(changes ...model.ColumnChange) TableChange { return ChangeColumns{changes} }
	a := columnPath{"a"}
	for _, test := range []struct {
		what    string
		changes []TableChange
		key     string // the column to look up by, "" for none
		want    string
	}{
		{"dropped", []TableChange{DropIndex{"by_a"}, columns(model.DropColumn{Path: a})}, "", ""},
		{"widened", []TableChange{DropIndex{"by_a"}, columns(model.SetType{Path: a, Type: fieldOfText(t, "a int64").Type}), index}, "a int64", `[{"id":1},{"id":2}]`},
		{"another column", []TableChange{
			DropIndex{"by_a"}, columns(model.DropColumn{Path: a}, model.AddColumn{Path: a, Field: fieldOfText(t, "a int8"), Default: 7.0}), index,
		}, "a int8", `[{"id":1},{"id":2},{"id":3}]`},
		{"exchanged", []TableChange{
			DropIndex{"by_a"}, columns(model.RenameColumn{Path: a, To: "x"}, model.RenameColumn{Path: columnPath{"b"}, To: "a"}), index,
		}, "a int8", `[{"id":3}]`},
		{"made and renamed", []TableChange{
			CreateIndex{model.Index{Name: "by_b", Columns: []string{"b"}}}, columns(model.RenameColumn{Path: columnPath{"b"}, To: "c"}),
		}, "c int8", `[{"id":3}]`},
	} {
		t.Run(test.what, func(t *testing.T) {
			options := testOptions(vfs.NewMem(vfs.MemOptions{}))
			e := open(t, options)
			const stored = "id int64 not null, a int8, b int8"
			createTable(t, e, CreateTable{Name: name(t, "t"), Schema: schemaOfText(t, stored), PrimaryKey: []string{"id"}, Buckets: 2})
			mustOpen(t, e, "t", stored, PutRequest{}).mustWrite(`[{"id":1,"a":7,"b":1},{"id":2,"a":7,"b":2},{"id":3,"a":1,"b":7}]`)
			change := func(changes ...TableChange) {
				t.Helper()
				if _, err := e.AlterTable(t.Context(), name(t, "t"), Expect{}, changes...); err != nil {
					t.Fatal(err)
				}
			}
			change(index)
			awaitIndexes(t, e, "t")
			ask := func(l *Lookup, key string) ([]map[string]any, error) {
				schema := schemaOfText(t, key)
				if l == nil {
					var err error
					l, err = e.OpenLookup(t.Context(), LookupRequest{
						Table: name(t, "t"), Schema: arrowipc.EncodeSchema(schema), By: []string{schema.Field(0).Name}, Columns: []string{"id"}, Inner: true,
					})
					if err != nil {
						return nil, err
					}
				}
				return lookupJSON(t, l, schema, `[{"`+schema.Field(0).Name+`":7}]`)
			}
			before, err := e.OpenLookup(t.Context(), LookupRequest{
				Table: name(t, "t"), Schema: arrowipc.EncodeSchema(schemaOfText(t, "a int8")), By: []string{"a"}, Columns: []string{"id"}, Inner: true,
			})
			if err != nil {
				t.Fatal(err)
			}
			change(test.changes...)
			awaitIndexes(t, e, "t")
			if _, err := ask(before, "a int8"); test.what != "made and renamed" && !errors.Is(err, model.IndexNotFound) {
				t.Errorf("a lookup that was open before: %v", err)
			}
			for _, at := range []string{"at once", "behind a restart"} {
				if test.key != "" {
					got, err := ask(nil, test.key)
					if err != nil {
						t.Fatal(err)
					}
					slices.SortFunc(got, func(x, y map[string]any) int { return cmp.Compare(x["id"].(float64), y["id"].(float64)) })
					sameJSON(t, at, got, test.want)
				}
				closeEngine(t, e)
				e = open(t, options)
				awaitIndexes(t, e, "t")
			}
			closeEngine(t, e)
		})
	}
}
