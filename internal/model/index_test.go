package model

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
)

func indexedTable() *Table {
	var fields []arrow.Field
	for _, name := range []string{"tenant", "id", "email", "city"} {
		fields = append(fields, arrow.Field{Name: name, Type: arrow.BinaryTypes.String, Nullable: true})
	}
	return &Table{
		Name: TableName{"default", "users"}, Schema: arrow.NewSchema(fields, nil), PrimaryKey: []string{"tenant", "id"},
		BucketKey: []string{"tenant"}, Indexes: []Index{{"by_email", []string{"email"}}},
	}
}

func TestWithIndex(t *testing.T) {
	for _, c := range []struct {
		index Index
		want  error
	}{
		{Index{"by_city", []string{"city"}}, nil},
		{Index{"by_both", []string{"city", "email"}}, nil},
		{Index{"by_id", []string{"id"}}, nil},
		{Index{"by_email", []string{"city"}}, IndexAlreadyExists},
		{Index{"other", []string{"email"}}, BadRequest},
		{Index{"none", nil}, BadRequest},
		{Index{"twice", []string{"city", "city"}}, BadRequest},
		{Index{"missing", []string{"nowhere"}}, ColumnNotFound},
		{Index{"key", []string{"id", "tenant"}}, BadRequest},
		{Index{"prefix", []string{"tenant"}}, BadRequest},
		{Index{"a name", []string{"city"}}, BadRequest},
		{Index{"", []string{"city"}}, BadRequest},
	} {
		table := indexedTable()
		got, err := table.WithIndex(c.index)
		if !errors.Is(err, c.want) || len(table.Indexes) != 1 {
			t.Errorf("%+v: %v, want %v", c.index, err, c.want)
		}
		if err == nil && (len(got.Indexes) != 2 || !slices.Equal(got.Index(c.index.Name).Columns, c.index.Columns)) {
			t.Errorf("%+v: %+v", c.index, got.Indexes)
		}
	}
	log := &Table{Name: TableName{"default", "log"}, Schema: indexedTable().Schema}
	if _, err := log.WithIndex(Index{"by_city", []string{"city"}}); !errors.Is(err, BadRequest) {
		t.Errorf("an index of a log table: %v", err)
	}
}

func TestIndexesMax(t *testing.T) {
	table, err := indexedTable(), error(nil)
	for i := range IndexesMax {
		table.Schema = arrow.NewSchema(append(table.Schema.Fields(), arrow.Field{Name: fmt.Sprint("c", i), Type: arrow.PrimitiveTypes.Int64}), nil)
		next := table
		if next, err = table.WithIndex(Index{fmt.Sprint("by_", i), []string{fmt.Sprint("c", i)}}); err != nil {
			break
		}
		table = next
	}
	if !errors.Is(err, BadRequest) || len(table.Indexes) != IndexesMax {
		t.Errorf("%d indexes: %v", len(table.Indexes), err)
	}
}

func TestWithoutIndex(t *testing.T) {
	table := indexedTable()
	if _, err := table.WithoutIndex("by_city"); !errors.Is(err, IndexNotFound) {
		t.Errorf("an index that is not there: %v", err)
	}
	got, err := table.WithoutIndex("by_email")
	if err != nil || len(got.Indexes) != 0 || len(table.Indexes) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}
