package engine

import (
	"testing"

	"github.com/headrace/headrace/internal/vfs"
)

// A snapshot that waited does not replace a later one: that may know what the log does not have any more.
func TestAnOlderSnapshotOfProducersIsNotWritten(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	createText(t, e, "t", "id int64", "", nil)
	table := e.catalog.lookup(name(t, "t"))
	var snapshots []*producersRecord
	for range 2 {
		if _, err := e.OpenProducer(t.Context(), name(t, "t"), "p", true); err != nil {
			t.Fatal(err)
		}
		snapshots = append(snapshots, table.producers.snapshot(table.nextOffsets()))
	}
	for _, at := range []int{1, 0} {
		if err := table.producers.write(snapshots[at]); err != nil {
			t.Fatal(err)
		}
	}
	read := &producers{table: table}
	if _, err := read.readSnapshot(); err != nil || read.byName["p"].epoch != 2 {
		t.Errorf("%v, epoch %d is read, want 2", err, read.byName["p"].epoch)
	}
}
