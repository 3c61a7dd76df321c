package pkstore

import (
	"maps"
	"slices"
	"strconv"

	"github.com/headrace/headrace/internal/model"
)

// reference says row by row what a bucket must do. Under aggregation, number is summed and the other
// columns keep their last value.
type reference struct {
	options Options
	state   map[string]testRow
}

func (r reference) clone() reference { return reference{r.options, maps.Clone(r.state)} }

// apply changes the state and gives the rows of the changelog.
func (r reference) apply(rows []testRow, columns []int, deletes, onlyNew bool) []loggedRow {
	var log []loggedRow
	for _, row := range rows {
		old, there := r.state[row.key()]
		if deletes {
			if there {
				delete(r.state, row.key())
				log = append(log, loggedRow{model.ChangeDelete, old})
			}
			continue
		}
		if there && onlyNew || !onlyNew && !r.accepts(old, there, row) {
			continue
		}
		fresh := r.merged(old, there, row, columns)
		r.state[row.key()] = fresh
		switch {
		case !there:
			log = append(log, loggedRow{model.ChangeInsert, fresh})
		case r.options.Image == model.ImageFull:
			log = append(log, loggedRow{model.ChangeUpdateBefore, old}, loggedRow{model.ChangeUpdateAfter, fresh})
		default:
			log = append(log, loggedRow{model.ChangeUpdateAfter, fresh})
		}
	}
	return log
}

func (r reference) accepts(old testRow, there bool, row testRow) bool {
	switch r.options.Merge.Engine {
	case model.MergeFirstRow:
		return !there
	case model.MergeVersioned:
		if row[versionColumn] == null {
			return false
		}
		return !there || old[versionColumn] == null || number(row[versionColumn]) >= number(old[versionColumn])
	}
	return true
}

func (r reference) merged(old testRow, there bool, row testRow, columns []int) testRow {
	if !there {
		old = testRow{null, null, null, null, null}
	}
	fresh := old
	for _, column := range columns {
		switch {
		case r.options.Merge.Engine != model.MergeAggregation || slices.Contains(testKey, column):
			fresh[column] = row[column]
		case row[column] == null:
		case column == numberColumn && old[column] != null:
			fresh[column] = strconv.Itoa(number(old[column]) + number(row[column]))
		default:
			fresh[column] = row[column]
		}
	}
	return fresh
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		panic(err)
	}
	return n
}

// folded is the table that a changelog gives.
func folded(t failer, log []loggedRow) map[string]testRow {
	t.Helper()
	state := map[string]testRow{}
	for i, r := range log {
		old, there := state[r.row.key()]
		switch r.kind {
		case model.ChangeInsert:
			if there {
				t.Fatalf("row %d: %v although the key is there", i, r)
			}
			state[r.row.key()] = r.row
		case model.ChangeUpdateBefore, model.ChangeDelete:
			if !there || old != r.row {
				t.Fatalf("row %d: %v although the key has %v", i, r, old)
			}
			delete(state, r.row.key())
			if r.kind == model.ChangeUpdateBefore {
				if i+1 == len(log) || log[i+1].kind != model.ChangeUpdateAfter || log[i+1].row.key() != r.row.key() {
					t.Fatalf("row %d: %v without a row after it", i, r)
				}
				state[r.row.key()] = r.row
			}
		case model.ChangeUpdateAfter:
			if !there {
				t.Fatalf("row %d: %v although the key is not there", i, r)
			}
			state[r.row.key()] = r.row
		}
	}
	return state
}
