package engine

import (
	"fmt"
	"slices"
	"testing"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// partedStep is one thing that a workload does to the partitioned table.
type partedStep struct {
	rows         []partedRow
	create, drop string
	maintain     bool
	buckets      int64 // that each partition is to have
}

// partedSteps make partitions by rows and by name, drop some, write to them again and let the maintenance run.
var partedSteps = []partedStep{
	{rows: []partedRow{{"DE", 1, "a"}, {"FR", 2, "b"}, {"DE", 3, "c"}}},
	{create: "IT"},
	{rows: []partedRow{{"IT", 4, "d"}, {"ES", 5, "e"}, {"PT", 6, "f"}}},
	{buckets: 4},
	{drop: "FR"},
	{rows: []partedRow{{"FR", 7, "g"}, {"DE", 8, "h"}}},
	{maintain: true},
	{drop: "DE"},
	{buckets: 8},
	{maintain: true},
	{rows: []partedRow{{"DE", 9, "i"}}},
	{drop: "ES"},
}

// partedContent is what a table has: its partitions with their rows.
type partedContent map[string][]partedRow

func (c partedContent) apply(s partedStep) partedContent {
	next := partedContent{}
	for country, rows := range c {
		next[country] = rows
	}
	if s.create != "" {
		next[s.create] = nil
	}
	for _, row := range s.rows {
		next[row.country] = append(slices.Clone(next[row.country]), row)
	}
	delete(next, s.drop)
	return next
}

// do does a step; sequence counts those with rows.
func (s partedStep) do(t *testing.T, e *Engine, sequence int64) error {
	var err error
	switch {
	case s.create != "":
		_, err = e.CreatePartition(t.Context(), name(t, "t"), PartitionValues{"country": s.create}, false)
	case s.drop != "":
		_, err = e.DropPartition(t.Context(), name(t, "t"), PartitionValues{"country": s.drop}, false, false)
	case s.maintain:
		e.Maintain(t.Context())
	case s.buckets > 0:
		_, err = e.AlterTable(t.Context(), name(t, "t"), Expect{}, SetBuckets{s.buckets})
	default:
		_, err = tryPutParted(t, e, "t", &Sequence{"p", 1, sequence}, s.rows...)
	}
	return err
}

// TestPartitionsCrashAtEveryCall fails each call to the disk in turn, and looks at what is there behind a kill
// and behind power cuts: all that was acknowledged, and of the step that failed all or nothing.
func TestPartitionsCrashAtEveryCall(t *testing.T) {
	t.Parallel()
	for _, keyed := range []bool{false, true} {
		t.Run(fmt.Sprint("keyed ", keyed), func(t *testing.T) {
			t.Parallel()
			step := int64(1)
			if testing.Short() {
				step = 13
			}
			for failAt := int64(0); ; failAt += step {
				mem := vfs.NewMem(vfs.MemOptions{})
				fault := vfs.NewFault(mem, vfs.FaultOptions{FailAt: failAt, ChangesOnly: true})
				before, after, created := partedWorkload(t, fault, keyed)
				for name, crashed := range crashes(mem, uint64(failAt), "fsync") {
					what := fmt.Sprintf("call %d failed, %s", failAt, name)
					checkUndamaged(t, what, crashed.files)
					if created {
						checkParted(t, what, crashed.files, before, after)
					}
				}
				for _, mode := range []vfs.CutMode{vfs.KeepNone, vfs.KeepRandom} {
					left := mem.Crash(vfs.Cut{Mode: mode, Rand: entropyOf(failAt)})
					what := fmt.Sprintf("call %d failed, power cut in mode %v", failAt, mode)
					checkUndamaged(t, what, left)
					if created {
						checkParted(t, what, left, before, after)
					}
				}
				if fault.Calls() <= failAt {
					return
				}
			}
		})
	}
}

// partedWorkload does the steps until one fails; it gives what the table has to have then, without that step
// and with it, and whether there is a table.
func partedWorkload(t *testing.T, files vfs.FS, keyed bool) (before, after partedContent, created bool) {
	before, after = partedContent{}, partedContent{}
	e, err := Open(t.Context(), crashOptions(files))
	if err != nil {
		return before, after, false
	}
	defer func() { _ = e.Close(t.Context()) }()
	request := CreateTable{Name: name(t, "t"), Schema: partedSchema, PartitionBy: []string{"country"}, Buckets: 2, BucketKey: []string{"id"}}
	if keyed {
		request.PrimaryKey = []string{"country", "id"}
	}
	if _, err := e.CreateTable(t.Context(), request); err != nil {
		return before, after, false
	}
	sequence := int64(0)
	for _, step := range partedSteps {
		after = before.apply(step)
		if err := step.do(t, e, sequence); err != nil {
			return before, after, true
		}
		if step.rows != nil {
			sequence++
		}
		before = after
	}
	return before, after, true
}

func checkParted(t *testing.T, what string, files *vfs.Mem, before, after partedContent) {
	t.Helper()
	e := openCrashed(t, what, files)
	defer closeEngine(t, e)
	got := partedContent{}
	for _, country := range countriesOf(t, e, "t") {
		got[country] = nil
	}
	for _, row := range scanParted(t, e, "t") {
		if _, there := got[row.country]; !there {
			t.Fatalf("%s: row %+v is of no partition", what, row)
		}
		got[row.country] = append(got[row.country], row)
	}
	if !sameContent(got, before, after) && !sameContent(got, after, after) {
		t.Fatalf("%s: the table has\n%v\nwant\n%v\nor\n%v", what, got, before, after)
	}
	// It goes on: also a partition that was made for nothing takes rows.
	for _, country := range []string{"FR", "XX"} {
		row := partedRow{country, 100, "new"}
		if _, err := tryPutParted(t, e, "t", nil, row); err != nil {
			t.Fatalf("%s: a row of %s: %v", what, country, err)
		}
		wantParted(t, e, "t", append(got[country], row), country)
	}
	checkNumbers(t, what, e)
	e.Maintain(t.Context())
}

// sameContent compares the rows, and the partitions without rows but for those that a step that failed may
// have made.
func sameContent(got, want, allowed partedContent) bool {
	for country, rows := range want {
		found, there := got[country]
		slices.SortFunc(found, comparePartedRows)
		rows = slices.Clone(rows)
		slices.SortFunc(rows, comparePartedRows)
		if !there || !slices.Equal(found, rows) {
			return false
		}
	}
	for country, rows := range got {
		_, wanted := want[country]
		_, known := allowed[country]
		if !wanted && (!known || len(rows) > 0) {
			return false
		}
	}
	return true
}

// checkNumbers checks that no bucket belongs to two partitions.
func checkNumbers(t *testing.T, what string, e *Engine) {
	t.Helper()
	states, err := e.Partitions(name(t, "t"), nil)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int32]int64{}
	for _, state := range states {
		for _, number := range state.Buckets {
			if other, taken := seen[number]; taken || number == model.HomeBucket {
				t.Fatalf("%s: bucket %d is of partitions %d and %d", what, number, other, state.ID)
			}
			seen[number] = state.ID
		}
	}
}
