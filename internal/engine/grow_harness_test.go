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
