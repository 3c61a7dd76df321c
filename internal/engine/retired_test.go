package engine

import (
	"testing"

	"github.com/headrace/headrace/internal/vfs"
)

// TestUnreadableTableKeepsItsExtents damages a definition; the rows are all there when it was made
// anew, also behind another checkpoint.
func TestUnreadableTableKeepsItsExtents(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	e := filled(t, mem, 300)
	id := e.catalog.lookup(name(t, "t")).definition.Load().ID
	closeEngine(t, e)
	file, err := mem.Open(tablesDir + "/" + id + "/" + tableFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := file.WriteAt([][]byte{{'x'}}, 20); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	e = open(t, testOptions(mem))
	if len(e.recovery.Findings) != 1 {
		t.Fatalf("findings %v, want the definition", e.recovery.Findings)
	}
	if err := e.control(t.Context(), e.checkpoint); err != nil {
		t.Fatal(err)
	}
	closeEngine(t, e)
	if _, err := Check(mem, true, func(Finding) {}); err != nil {
		t.Fatal(err)
	}
	e = open(t, testOptions(mem))
	defer closeEngine(t, e)
	if rows := readAll(t, e, "t"); len(rows) != 300 {
		t.Errorf("%d rows, want 300", len(rows))
	}
}

// TestRetentionKeepsProducers retires the segments that name a producer's newest batches, after a
// restart: a retry is still recognised.
func TestRetentionKeepsProducers(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	e := open(t, testOptions(mem))
	createTable(t, e, CreateTable{Name: name(t, "t")})
	w := openWriter(t, e, "t", PutRequest{})
	n := int64(0)
	for ; n < 30; n++ {
		if _, err := w.write(n*400, 400, &Sequence{"p", 1, n}); err != nil {
			t.Fatal(err)
		}
	}
	e.Maintain(t.Context())
	for ; n < 33; n++ {
		if _, err := w.write(n*400, 400, &Sequence{"p", 1, n}); err != nil {
			t.Fatal(err)
		}
	}
	closeEngine(t, e)
	e = open(t, testOptions(mem))
	defer closeEngine(t, e)
	w = openWriter(t, e, "t", PutRequest{})
	for i := int64(0); i < 40; i++ {
		if _, err := w.write((1000+i)*400, 400, nil); err != nil {
			t.Fatal(err)
		}
	}
	e.Maintain(t.Context())
	if _, err := e.TruncateTable(t.Context(), name(t, "t"), nil); err != nil {
		t.Fatal(err)
	}
	e.Maintain(t.Context())
	for at := int64(25); at < n; at++ {
		ack, err := openWriter(t, e, "t", PutRequest{}).write(at*400, 400, &Sequence{"p", 1, at})
		if err != nil || !ack.Duplicate {
			t.Errorf("retry of seq %d, whose rows are gone: %+v, %v; want a duplicate", at, ack, err)
		}
	}
	if _, err := openWriter(t, e, "t", PutRequest{}).write(n*400, 400, &Sequence{"p", 1, n}); err != nil {
		t.Errorf("the next batch: %v", err)
	}
}
