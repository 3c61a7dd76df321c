package engine

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/headrace/headrace/internal/vfs"
)

// TestManyPartitions makes thousands of partitions with one batch: what is read of one opens no other, and a
// restart opens none.
func TestManyPartitions(t *testing.T) {
	count := 10_000
	if testing.Short() {
		count = 1_000
	}
	mem := vfs.NewMem(vfs.MemOptions{})
	options := testOptions(mem)
	e := open(t, options)
	createTable(t, e, CreateTable{Name: name(t, "t"), Schema: partedSchema, PartitionBy: []string{"country"}})
	rows := make([]partedRow, 0, 2*count)
	for i := range int64(2 * count) {
		rows = append(rows, partedRow{fmt.Sprintf("c%05d", i%int64(count)), i, "text"})
	}
	ack := putParted(t, e, "t", rows...)
	if len(ack.Offsets) != count {
		t.Fatalf("the rows went to %d buckets, want %d", len(ack.Offsets), count)
	}
	closeEngine(t, e)
	e = open(t, options)
	defer closeEngine(t, e)
	table := e.catalog.lookup(name(t, "t"))
	states, err := e.Partitions(name(t, "t"), nil)
	if err != nil || len(states) != count || states[count-1].Rows != 2 {
		t.Fatalf("%d partitions, %v", len(states), err)
	}
	if n := len(table.opened()); n != 0 {
		t.Errorf("a list of partitions opens %d buckets", n)
	}
	for i := range 5 {
		country := fmt.Sprintf("c%05d", i*count/7)
		got := scanParted(t, e, "t", country)
		if len(got) != 2 || got[0].country != country {
			t.Fatalf("partition %s has %v", country, got)
		}
		plan, err := e.Plan(t.Context(), Scan{Table: name(t, "t"), Partitions: []PartitionValues{{"country": country}}})
		if err != nil || len(plan.Ranges) != 1 || plan.Rows != 2 {
			t.Fatalf("a plan of one partition: %+v, %v", plan, err)
		}
	}
	if n := len(table.opened()); n != 5 {
		t.Errorf("reads of 5 partitions open %d buckets", n)
	}
	if got := scanParted(t, e, "t"); len(got) != len(rows) {
		t.Errorf("%d rows, want %d", len(got), len(rows))
	}
	began := time.Now()
	if n, err := e.DropPartition(t.Context(), name(t, "t"), PartitionValues{}, true, false); err == nil {
		t.Errorf("%d partitions dropped without a value", n)
	}
	for i := range 100 {
		dropParted(t, e, "t", fmt.Sprintf("c%05d", i))
	}
	e.Maintain(t.Context())
	t.Logf("100 drops took %v", time.Since(began))
	if got := countriesOf(t, e, "t"); len(got) != count-100 || slices.Contains(got, "c00007") {
		t.Errorf("%d partitions are left", len(got))
	}
}
