package engine

import (
	"testing"

	"github.com/headrace/headrace/internal/vfs"
)

// TestCheckNamesTheRowsAtTheEnd damages the head of the last batch of a segment that grows, which no
// batch behind it tells the rows of, and cuts it off.
func TestCheckNamesTheRowsAtTheEnd(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	e := filled(t, mem, 1000)
	table, err := e.Table(name(t, "t"))
	if err != nil {
		t.Fatal(err)
	}
	closeEngine(t, e)
	segment := tablesDir + "/" + table.ID + "/0/00000000000000000000.arrow"
	file, err := mem.Open(segment)
	if err != nil {
		t.Fatal(err)
	}
	size, err := file.Size()
	if err != nil {
		t.Fatal(err)
	}
	content := make([]byte, size)
	if _, err := file.ReadAt(content, 0); err != nil {
		t.Fatal(err)
	}
	position := int64(0) // of the last batch
	for at := int64(0); at+4 <= size; at += 64 {
		if string(content[at:at+4]) == "\xff\xff\xff\xff" {
			position = at
		}
	}
	wantRows := func(what string) {
		t.Helper()
		named := false
		_, err := Check(mem, false, func(f Finding) {
			if f.FirstOffset < 0 && f.LastOffset < 0 {
				return
			}
			if f.Path != segment || f.Position != position || f.FirstOffset < 0 || f.LastOffset != 999 {
				t.Errorf("%s: %+v, want rows up to 999 at byte %d", what, f, position)
			}
			named = true
		})
		if err != nil || !named {
			t.Errorf("%s: no rows are named, error %v", what, err)
		}
	}
	if err := file.WriteAt([][]byte{{0}}, position); err != nil {
		t.Fatal(err)
	}
	wantRows("a damaged mark")
	if err := file.WriteAt([][]byte{{0xff}}, position); err != nil {
		t.Fatal(err)
	}
	if err := file.Truncate(position); err != nil {
		t.Fatal(err)
	}
	wantRows("a cut")
}
