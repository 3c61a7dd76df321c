package engine

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// evolvingSteps are the schemas of a table, and the change that leads to each from the one before.
var evolvingSteps = []struct{ columns, change string }{
	{columns: "id int64 not null, a int8"},
	{columns: "n int32, id int64 not null, a int8", change: "add"},
	{columns: "n int32, id int64 not null, a int32", change: "widen"},
	{columns: "n int32, id int64 not null, b int32", change: "rename"},
	{columns: "id int64 not null, b int32", change: "drop"},
}

func evolvingChange(t testing.TB, change string) model.ColumnChange {
	switch change {
	case "add":
		return model.AddColumn{Path: columnPath{"n"}, Field: fieldOfText(t, "n int32"), Default: 5.0, Place: model.Place{First: true}}
	case "widen":
		return model.SetType{Path: columnPath{"a"}, Type: fieldOfText(t, "a int32").Type}
	case "rename":
		return model.RenameColumn{Path: columnPath{"a"}, To: "b"}
	}
	return model.DropColumn{Path: columnPath{"n"}}
}

// evolvingText gives a row that was written under the first version or later, as columns show it.
func evolvingText(columns string, row, written int) string {
	var fields []string
	for column := range strings.SplitSeq(columns, ", ") {
		value := row
		if column == "n int32" {
			if value = 5; written >= 1 && written <= 3 {
				value = 100 + row
			}
		}
		name, _, _ := strings.Cut(column, " ")
		fields = append(fields, fmt.Sprintf("%q:%d", name, value))
	}
	return "{" + strings.Join(fields, ",") + "}"
}

// evolvingHistory is what a workload knows: how far it came, and how far answers did.
type evolvingHistory struct {
	created, epoch bool
	altered, tried int   // index of the version
	written, sent  int   // rows
	versions       []int // by row
}

// evolvingWorkload writes a row under each version of the schema. At first, there is only the epoch of a
// producer, so that the first change finds a segment without rows.
func evolvingWorkload(t *testing.T, files vfs.FS, key string) (h evolvingHistory) {
	e, err := Open(t.Context(), crashOptions(files))
	if err != nil {
		return h
	}
	defer func() { _ = e.Close(t.Context()) }()
	request := CreateTable{Name: name(t, "t"), Schema: schemaOfText(t, evolvingSteps[0].columns)}
	if key != "" {
		request.PrimaryKey = []string{key}
	}
	if _, err := e.CreateTable(t.Context(), request); err != nil {
		return h
	}
	h.created = true
	if _, err := e.OpenProducer(t.Context(), name(t, "t"), "p", true); err != nil {
		return h
	}
	h.epoch = true
	for version, step := range evolvingSteps {
		if version > 0 {
			h.tried = version
			if _, err := e.AlterTable(t.Context(), name(t, "t"), Expect{}, ChangeColumns{[]model.ColumnChange{evolvingChange(t, step.change)}}); err != nil {
				return h
			}
			h.altered = version
		}
		if version == 0 || version == 2 {
			continue // two changes with nothing between them
		}
		row := h.sent
		h.sent, h.versions = h.sent+1, append(h.versions, version)
		w, err := openJSONWriter(t, e, "t", schemaOfText(t, step.columns), PutRequest{Producer: "p", Epoch: 1})
		if err != nil {
			return h
		}
		if _, err := w.write(&Sequence{Number: int64(row)}, "["+evolvingText(step.columns, row, version)+"]"); err != nil {
			return h
		}
		h.written = h.sent
	}
	return h
}

// TestCrashDuringChanges fails each call to the disk in turn, and kills the server or cuts the power: the schema
// is the old or the new one, and all rows that were acknowledged are there in it.
func TestCrashDuringChanges(t *testing.T) {
	for _, key := range []string{"", "id"} {
		t.Run("key "+key, func(t *testing.T) {
			step := int64(1)
			if testing.Short() {
				step = 3
			}
			for failAt := int64(0); ; failAt += step {
				mem := vfs.NewMem(vfs.MemOptions{})
				fault := vfs.NewFault(mem, vfs.FaultOptions{FailAt: failAt, ChangesOnly: true})
				h := evolvingWorkload(t, fault, key)
				for name, crashed := range crashes(mem, uint64(failAt), "fsync") {
					what := fmt.Sprintf("call %d failed, %s", failAt, name)
					checkUndamaged(t, what, crashed.files)
					checkEvolved(t, what, crashed.files, &h)
				}
				if fault.Calls() <= failAt {
					return
				}
			}
		})
	}
}

func checkEvolved(t *testing.T, what string, files *vfs.Mem, h *evolvingHistory) {
	t.Helper()
	e := openCrashed(t, what, files)
	defer closeEngine(t, e)
	definition, err := e.Table(name(t, "t"))
	if err != nil {
		if h.created {
			t.Fatalf("%s: %v", what, err)
		}
		return
	}
	version := int(definition.SchemaVersion) - 1
	if version != h.altered && version != h.tried {
		t.Fatalf("%s: the schema has version %d, want %d or %d", what, version+1, h.altered+1, h.tried+1)
	}
	rows := readJSON(t, e, "t")
	if n := len(rows); n != h.written && n != h.sent {
		t.Fatalf("%s: %d rows, want %d or %d", what, n, h.written, h.sent)
	}
	texts := make([]string, len(rows))
	for row := range rows {
		texts[row] = evolvingText(evolvingSteps[version].columns, row, h.versions[row])
	}
	sameJSON(t, what, rows, "["+strings.Join(texts, ",")+"]")
	if !h.epoch {
		return
	}
	columns := evolvingSteps[version].columns
	w, err := openJSONWriter(t, e, "t", schemaOfText(t, columns), PutRequest{Producer: "p", Epoch: 1})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if len(rows) > 0 {
		// The schema that the row was sent under may be another one: then it is not the same request.
		last := len(rows) - 1
		ack, err := w.write(&Sequence{Number: int64(last)}, "["+evolvingText(columns, last, h.versions[last])+"]")
		if version == h.versions[last] && (err != nil || !ack.Duplicate) || err != nil && !errors.Is(err, model.SequenceReused) {
			t.Fatalf("%s: the retry of row %d: %+v, %v", what, last, ack, err)
		}
		if w, err = openJSONWriter(t, e, "t", schemaOfText(t, columns), PutRequest{Producer: "p", Epoch: 1}); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	next := len(rows)
	if _, err := w.write(&Sequence{Number: int64(next)}, "["+evolvingText(columns, next, version)+"]"); err != nil {
		t.Fatalf("%s: the next row: %v", what, err)
	}
	if got := readJSON(t, e, "t"); len(got) != next+1 {
		t.Fatalf("%s: %d rows, want %d", what, len(got), next+1)
	}
}
