package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/vfs"
)

// appendChanges writes rows of a changelog as they are, past everything that would refuse them. Each is
// a kind of change, a key and a text: "+I 1 a".
func appendChanges(t *testing.T, e *Engine, table string, rows ...string) {
	t.Helper()
	served, err := e.table(name(t, table))
	if err != nil {
		t.Fatal(err)
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, served.schema.Load().log.Schema())
	for _, row := range rows {
		var kind, text string
		var id int64
		if _, err := fmt.Sscan(row, &kind, &id, &text); err != nil {
			t.Fatal(err)
		}
		b.Field(0).(*array.Int64Builder).Append(id)
		b.Field(1).(*array.StringBuilder).Append(text)
		b.Field(2).AppendNull()
		b.Field(3).(*array.Uint8Builder).Append(uint8(slices.Index([]string{"+I", "-U", "+U", "-D", "?"}, kind)))
	}
	batch, err := arrowipc.FromRecord(served.schema.Load().log, b.NewRecordBatch())
	if err != nil {
		t.Fatal(err)
	}
	put := &Put{engine: e, table: served, schema: served.schema.Load(), level: served.level()}
	if err := e.submitChanges(t.Context(), put, nil, part{batch: batch}); err != nil {
		t.Fatal(err)
	}
}

// TestCheckFoldsChangelogs writes changelogs with faults and looks for what Check says of them.
func TestCheckFoldsChangelogs(t *testing.T) {
	for _, test := range []struct {
		image string
		rows  []string
		want  []string // offset and text
	}{
		{"full", []string{"+I 1 a", "-U 1 a", "+U 1 b", "-D 1 b", "+I 1 c"}, nil},
		{"new", []string{"+I 1 a", "+U 1 b", "-D 1 b", "+I 1 c"}, nil},
		{"full", []string{"+I 1 a", "+I 1 b"}, []string{"1 +I of a key that is there"}},
		{"full", []string{"+I 1 a", "-U 1 b", "+U 1 c"}, []string{"1 -U with another row"}},
		{"full", []string{"+I 1 a", "-D 1 b"}, []string{"1 -D with another row"}},
		{"full", []string{"-D 1 a", "+I 1 a"}, []string{"0 -D of a key that is not there"}},
		{"full", []string{"+I 1 a", "+U 1 b"}, []string{"1 +U without -U"}},
		{"full", []string{"-U 1 a", "+U 1 b", "-D 1 b"}, []string{"0 -U of a key that is not there"}},
		{"full", []string{"+I 1 a", "+I 2 a", "-U 1 a", "+U 2 b"}, []string{"2 -U is not followed"}},
		{"full", []string{"+I 1 a", "-U 1 a"}, []string{"1 -U is the last row"}},
		{"new", []string{"+I 1 a", "-U 1 a", "+U 1 b"}, []string{"1 -U in a changelog without"}},
		{"new", []string{"+U 1 a"}, []string{"0 +U of a key that is not there"}},
		{"full", []string{"+I 1 a", "? 1 a"}, []string{"1 4 is no kind of change"}},
	} {
		mem := vfs.NewMem(vfs.MemOptions{})
		e := open(t, testOptions(mem))
		createKeyed(t, e, "t", 1, map[string]string{"changelog.image": test.image})
		for row := range slices.Chunk(test.rows, 2) { // batches part the rows of some updates
			appendChanges(t, e, "t", row...)
		}
		closeEngine(t, e)
		var got []string
		checked, err := Check(mem, false, func(f Finding) {
			if got = append(got, fmt.Sprintf("%d %s", f.FirstOffset, strings.TrimPrefix(f.Detail, "changelog: "))); f.Table != "default.t" || f.LastOffset != f.FirstOffset {
				t.Errorf("%v: %+v", test.rows, f)
			}
		})
		fits := slices.EqualFunc(got, test.want, strings.HasPrefix)
		if err != nil || !fits || checked.Segments != 1 {
			t.Errorf("%s, %v: check finds %q in %+v, error %v; want %q", test.image, test.rows, got, checked, err, test.want)
		}
	}
}

// TestCheckEndsAtTheFirstMistakes writes more of them than are worth reporting.
func TestCheckEndsAtTheFirstMistakes(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	e := open(t, testOptions(mem))
	createKeyed(t, e, "t", 1, nil)
	for range 5 {
		appendChanges(t, e, "t", slices.Repeat([]string{"+I 1 a"}, 10)...)
	}
	closeEngine(t, e)
	findings := 0
	if _, err := Check(mem, false, func(Finding) { findings++ }); err != nil || findings != keyedFindingsMax {
		t.Errorf("%d findings, error %v; want %d", findings, err, keyedFindingsMax)
	}
}

// TestCheckOfSoundKeyedTables checks tables of every kind over several segments.
func TestCheckOfSoundKeyedTables(t *testing.T) {
	for _, form := range keyedForms {
		mem := vfs.NewMem(vfs.MemOptions{})
		e := open(t, testOptions(mem))
		createKeyed(t, e, "t", 2, form.options)
		for from := int64(0); from < 3000; from += 200 {
			upsert(t, e, "t", numbered(from, from+400, strings.Repeat("text ", 20))...)
			deleteKeys(t, e, "t", from, from+5)
		}
		closeEngine(t, e)
		checked, err := Check(mem, false, func(f Finding) { t.Errorf("%s: %+v", form.name, f) })
		if err != nil || checked.Segments < 4 {
			t.Errorf("%s: %+v, %v; want some segments", form.name, checked, err)
		}
	}
}
