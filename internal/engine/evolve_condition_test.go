package engine

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"pgregory.net/rapid"

	"github.com/headrace/headrace/internal/filter"
	"github.com/headrace/headrace/internal/model"
)

// evolvingCondition is a filter of one column, in the words of the engine and in Go.
type evolvingCondition struct {
	tree   *model.FieldTree
	sql    string
	filter filter.Expression
	keeps  func(value any) bool
}

func (m *evolvingMachine) drawCondition(r *rapid.T, trees []*model.FieldTree) *evolvingCondition {
	c := &evolvingCondition{tree: rapid.SampledFrom(trees).Draw(r, "of")}
	column := fmt.Sprintf("%q", c.tree.Field.Name)
	kind := rapid.IntRange(0, 2).Draw(r, "condition")
	switch {
	case kind == 0 || c.tree.Field.Type.ID() == arrow.STRUCT:
		c.sql, c.keeps = column+" is null", func(value any) bool { return value == nil }
	case arrow.IsInteger(c.tree.Field.Type.ID()) || arrow.IsFloating(c.tree.Field.Type.ID()):
		bound := rapid.SampledFrom([]float64{0, 3, 5, 6, 50, 101}).Draw(r, "bound")
		c.sql = fmt.Sprintf("%s >= %v", column, bound)
		c.keeps = func(value any) bool { return value != nil && value.(float64) >= bound }
	default:
		prefix := rapid.SampledFrom([]string{"", "d", "h", "~"}).Draw(r, "prefix")
		c.sql = fmt.Sprintf("%s >= '%s'", column, prefix)
		c.keeps = func(value any) bool { return value != nil && value.(string) >= prefix }
	}
	c.filter = condition(m.t, c.sql)
	return c
}

// checkFilteredLog compares the changelog that a filter leaves with what it should leave.
func (m *evolvingMachine) checkFilteredLog(r *rapid.T, c *evolvingCondition) {
	scan := Scan{Table: name(m.t, "t"), View: ViewChangelog, SystemColumns: true}
	texts := func(rows []map[string]any) string {
		lines := make([]string, len(rows))
		for i, row := range rows {
			text, err := json.Marshal(row)
			if err != nil {
				r.Fatal(err)
			}
			lines[i] = string(text)
		}
		return strings.Join(lines, "\n     ")
	}
	all := openJSONReader(m.t, m.e, scan).all()
	want := slices.DeleteFunc(slices.Clone(all), func(row map[string]any) bool { return !c.keeps(row[c.tree.Field.Name]) })
	scan.Filter = c.filter
	if got := openJSONReader(m.t, m.e, scan).all(); texts(got) != texts(want) {
		r.Fatalf("the changelog with %s:\n got %s\nwant %s", c.sql, texts(got), texts(want))
	}
}

// grow doubles the number of buckets.
func (m *evolvingMachine) grow(r *rapid.T) {
	if m.definition.Buckets >= 8 {
		r.Skip("enough buckets")
	}
	m.definition = growTable(m.t, m.e, "t")
}

// rest makes all buckets rest that are not used between two looks.
func (m *evolvingMachine) rest(*rapid.T) {
	for range 2 {
		m.e.restIdle(m.t.Context(), time.Now())
	}
}
