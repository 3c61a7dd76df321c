package engine

import (
	"fmt"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// grownSteps are calls that change columns, an option and the number of buckets at once, with the columns that the
// table has behind each.
var grownSteps = []struct {
	columns string
	changes []model.ColumnChange
}{
	{columns: "id int64 not null, day string not null, a int8"},
	{"day string not null, key int64 not null, a int8", []model.ColumnChange{
		model.RenameColumn{Path: columnPath{"id"}, To: "key"},
		model.MoveColumn{Path: columnPath{"day"}, Place: model.Place{First: true}},
	}},
	{"day string not null, id int64 not null, a int32, n int32", []model.ColumnChange{
		model.RenameColumn{Path: columnPath{"key"}, To: "id"},
		model.SetType{Path: columnPath{"a"}, Type: arrow.PrimitiveTypes.Int32},
		model.AddColumn{Path: columnPath{"n"}, Field: arrow.Field{Name: "n", Type: arrow.PrimitiveTypes.Int32, Nullable: true}, Default: 5.0},
	}},
}

// grownHistory is what a workload has had answers for, and what it has sent.
type grownHistory struct {
	created        bool
	altered, tried int // index of the step
	acked, sent    int // rows
}

// grownRows is how many rows are written behind each step, half of them of each day.
const grownRows = 12

// grownRowText gives a row, in the columns of a step.
func grownRowText(id, step int) string {
	key, more := "id", ""
	switch step {
	case 1:
		key = "key"
	case 2:
		more = fmt.Sprintf(`,"n":%d`, id)
	}
	return fmt.Sprintf(`{%q:%d,"day":%q,"a":%d%s}`, key, id, []string{"mon", "tue"}[id%2], id%100, more)
}

func writeGrown(t *testing.T, e *Engine, from, step int, sequence *Sequence) error {
	w, err := openJSONWriter(t, e, "t", schemaOfText(t, grownSteps[step].columns), PutRequest{})
	if err != nil {
		return err
	}
	text := ""
	for id := from; id < from+grownRows; id++ {
		text += "," + grownRowText(id, step)
	}
	_, err = w.write(sequence, "["+text[1:]+"]")
	return err
}

// grownWorkload does the steps until something fails.
func grownWorkload(t *testing.T, files vfs.FS, request CreateTable) (h grownHistory) {
	e, err := Open(t.Context(), crashOptions(files))
	if err != nil {
		return h
	}
	defer func() { _ = e.Close(t.Context()) }()
	request.Name, request.Schema, request.Buckets = name(t, "t"), schemaOfText(t, grownSteps[0].columns), 2
	request.Options = map[string]string{"log.ttl": "1d"}
	if _, err := e.CreateTable(t.Context(), request); err != nil {
		return h
	}
	h.created = true
	for step, s := range grownSteps {
		if step > 0 {
			h.tried = step
			_, err := e.AlterTable(t.Context(), name(t, "t"), Expect{},
				SetOption{"log.ttl", fmt.Sprint(step+1, "d")}, ChangeColumns{s.changes}, SetBuckets{2 << step})
			if err != nil {
				return h
			}
			h.altered = step
		}
		h.sent += grownRows
		if writeGrown(t, e, h.acked, step, &Sequence{"p", 1, int64(step)}) != nil {
			return h
		}
		h.acked = h.sent
		e.Maintain(t.Context())
	}
	return h
}

// TestCrashWhileColumnsChangeAndTheTableGrows fails each call to the disk in turn, and kills the server or cuts the
// power: of a call that changes columns, an option and the number of buckets all is there, or nothing.
func TestCrashWhileColumnsChangeAndTheTableGrows(t *testing.T) {
	t.Parallel()
	for form, request := range evolvingForms {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			step := int64(1)
			if testing.Short() {
				step = 7
			}
			for failAt := int64(0); ; failAt += step {
				mem := vfs.NewMem(vfs.MemOptions{})
				fault := vfs.NewFault(mem, vfs.FaultOptions{FailAt: failAt, ChangesOnly: true})
				h := grownWorkload(t, fault, request)
				for name, crashed := range crashes(mem, uint64(failAt), "fsync") {
					what := fmt.Sprintf("call %d failed, %s", failAt, name)
					checkUndamaged(t, what, crashed.files)
					if h.created {
						checkGrown(t, what, crashed.files, &h)
					}
				}
				if fault.Calls() <= failAt {
					if h.altered != len(grownSteps)-1 {
						t.Fatalf("the workload without a failure ends with %+v", h)
					}
					return
				}
			}
		})
	}
}

func checkGrown(t *testing.T, what string, files *vfs.Mem, h *grownHistory) {
	t.Helper()
	e := openCrashed(t, what, files)
	defer closeEngine(t, e)
	definition, err := e.Table(name(t, "t"))
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	step := int(definition.SchemaVersion) - 1
	if step != h.altered && step != h.tried {
		t.Fatalf("%s: the schema has version %d, want %d or %d", what, step+1, h.altered+1, h.tried+1)
	}
	if definition.Buckets != 2<<step || definition.Options["log.ttl"] != fmt.Sprint(step+1, "d") {
		t.Fatalf("%s: the schema has version %d, and the table %d buckets and the options %v", what, step+1, definition.Buckets, definition.Options)
	}
	rows := checkGrownRows(t, what, e, step)
	if rows != h.acked && rows != h.sent {
		t.Fatalf("%s: %d rows, want %d or %d", what, rows, h.acked, h.sent)
	}
	if err := writeGrown(t, e, rows, step, nil); err != nil {
		t.Fatalf("%s: more rows: %v", what, err)
	}
	if more := checkGrownRows(t, what, e, step); more != rows+grownRows {
		t.Fatalf("%s: %d rows, want %d", what, more, rows+grownRows)
	}
}

// checkGrownRows checks that the rows are there as the schema of a step shows them, and gives their number.
func checkGrownRows(t *testing.T, what string, e *Engine, step int) int {
	t.Helper()
	rows := readJSON(t, e, "t")
	key := "id"
	if step == 1 {
		key = "key"
	}
	seen := map[int]bool{}
	for _, row := range rows {
		id := int(row[key].(float64))
		want := map[string]any{key: float64(id), "day": []string{"mon", "tue"}[id%2], "a": float64(id % 100)}
		if step == 2 {
			if want["n"] = 5.0; id >= 2*grownRows { // written behind the step
				want["n"] = float64(id)
			}
		}
		if seen[id] || id >= len(rows) || fmt.Sprint(row) != fmt.Sprint(want) {
			t.Fatalf("%s: row %v among %d, want %v, once", what, row, len(rows), want)
		}
		seen[id] = true
	}
	return len(rows)
}
