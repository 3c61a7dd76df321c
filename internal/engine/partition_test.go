package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

func TestPartitionedTableRefuses(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	nested := arrow.NewSchema([]arrow.Field{{Name: "l", Type: arrow.ListOf(arrow.PrimitiveTypes.Int8)}}, nil)
	for _, tc := range []struct {
		what    string
		request CreateTable
		reason  model.Reason
	}{
		{"a column that is not there", CreateTable{PartitionBy: []string{"x"}}, model.ColumnNotFound},
		{"a column twice", CreateTable{PartitionBy: []string{"country", "country"}}, model.BadRequest},
		{"a nested column", CreateTable{Schema: nested, PartitionBy: []string{"l"}}, model.UnsupportedType},
		{"a key without it", CreateTable{PartitionBy: []string{"country"}, PrimaryKey: []string{"id"}}, model.BadRequest},
		{"a bucket key with it", CreateTable{PartitionBy: []string{"country"}, BucketKey: []string{"country"}}, model.BadRequest},
		{
			"a bucket key that the rest of the key does not begin with",
			CreateTable{PartitionBy: []string{"country"}, PrimaryKey: []string{"country", "id"}, BucketKey: []string{"country"}}, model.BadRequest,
		},
		{"options without partitions", CreateTable{Options: map[string]string{"partition.auto-create": "false"}}, model.BadRequest},
		{"keep without a unit", CreateTable{PartitionBy: []string{"country"}, Options: map[string]string{"partition.keep": "3"}}, model.BadRequest},
		{
			"a unit without a column of time",
			CreateTable{PartitionBy: []string{"id"}, Options: map[string]string{"partition.time-unit": "day"}}, model.BadRequest,
		},
	} {
		request := tc.request
		request.Name = name(t, "x")
		if request.Schema == nil {
			request.Schema = partedSchema
		}
		if _, err := e.CreateTable(t.Context(), request); !errors.Is(err, tc.reason) {
			t.Errorf("%s: error %v, want %v", tc.what, err, tc.reason)
		}
	}
	createTable(t, e, CreateTable{Name: name(t, "plain")})
	if _, err := e.Partitions(name(t, "plain"), nil); !errors.Is(err, model.BadRequest) {
		t.Errorf("partitions of a table without: %v", err)
	}
	if _, err := e.Scan(t.Context(), Scan{Table: name(t, "plain"), Partitions: []PartitionValues{}}); !errors.Is(err, model.BadRequest) {
		t.Errorf("scan partitions of a table without: %v", err)
	}
}

// TestPartitions writes, lists, prunes, drops and restarts, for both kinds of tables.
func TestPartitions(t *testing.T) {
	for _, keyed := range []bool{false, true} {
		t.Run(fmt.Sprint("keyed ", keyed), func(t *testing.T) {
			mem := vfs.NewMem(vfs.MemOptions{})
			options := testOptions(mem)
			options.OpenCold = filesColdOf(mem)
			e := open(t, options)
			defer func() { closeEngine(t, e) }()
			createParted(t, e, "t", keyed, nil)
			rows := []partedRow{{"DE", 1, "a"}, {"FR", 2, "b"}, {"DE", 3, "c"}, {"", 4, "d"}, {"FR", 5, "e"}, {"DE", 6, "f"}}
			ack := putParted(t, e, "t", rows...)
			if ack.Rows != 6 {
				t.Errorf("the acknowledgement has %d rows", ack.Rows)
			}
			for round := range 3 {
				wantParted(t, e, "t", rows)
				wantParted(t, e, "t", []partedRow{rows[0], rows[2], rows[5]}, "DE")
				wantParted(t, e, "t", []partedRow{rows[1], rows[4], rows[3]}, "FR", "", "IT")
				if got := countriesOf(t, e, "t"); !slices.Equal(got, []string{"DE", "FR", ""}) {
					t.Errorf("round %d: partitions %q", round, got)
				}
				states, err := e.Partitions(name(t, "t"), PartitionValues{"country": "DE"})
				if err != nil || len(states) != 1 || states[0].Rows != 3 || states[0].Bytes == 0 {
					t.Errorf("round %d: %+v, %v; want 3 rows", round, states, err)
				}
				switch round {
				case 0:
					closeEngine(t, e)
				case 1:
					mem = mem.Crash(vfs.Cut{Mode: vfs.KeepNone})
					_ = e.Close(context.Background())
				}
				options.FS, options.OpenCold = mem, filesColdOf(mem)
				if round < 2 {
					e = open(t, options)
				}
			}
			dropParted(t, e, "t", "DE")
			wantParted(t, e, "t", []partedRow{rows[1], rows[3], rows[4]})
			wantParted(t, e, "t", nil, "DE")
			e.Maintain(t.Context())
			if got := countriesOf(t, e, "t"); !slices.Equal(got, []string{"FR", ""}) {
				t.Errorf("partitions %q", got)
			}
			// It comes back with the next row, and with other buckets.
			again := partedRow{"DE", 1, "again"}
			if ack := putParted(t, e, "t", again); len(ack.Offsets) != 1 {
				t.Errorf("the row went to %v", ack.Offsets)
			}
			wantParted(t, e, "t", []partedRow{again}, "DE")
			if _, err := e.DropPartition(t.Context(), name(t, "t"), PartitionValues{"country": "XX"}, false, false); !errors.Is(err, model.PartitionNotFound) {
				t.Errorf("drop what is not there: %v", err)
			}
			if n, err := e.DropPartition(t.Context(), name(t, "t"), PartitionValues{"country": "XX"}, false, true); n != 0 || err != nil {
				t.Errorf("drop what is not there, missing_ok: %d, %v", n, err)
			}
			if _, err := e.CreatePartition(t.Context(), name(t, "t"), PartitionValues{"country": "DE"}, false); !errors.Is(err, model.PartitionAlreadyExists) {
				t.Errorf("create what is there: %v", err)
			}
			if state, err := e.CreatePartition(t.Context(), name(t, "t"), PartitionValues{"country": "IT"}, false); err != nil || state.Rows != 0 || len(state.Buckets) != 2 {
				t.Errorf("create: %+v, %v", state, err)
			}
			if _, err := e.CreatePartition(t.Context(), name(t, "t"), PartitionValues{"id": 3}, false); !errors.Is(err, model.ColumnNotFound) {
				t.Errorf("create with another column: %v", err)
			}
			if _, err := check(mem, options.OpenCold, false, func(f Finding) { t.Errorf("check finds %+v", f) }); err == nil {
				t.Error("check runs beside a server")
			}
		})
	}
}

// TestAutoCreateIsOff refuses rows of partitions that are not there, whole batches.
func TestAutoCreateIsOff(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	createParted(t, e, "t", false, map[string]string{"partition.auto-create": "false"})
	if _, err := e.CreatePartition(t.Context(), name(t, "t"), PartitionValues{"country": "DE"}, false); err != nil {
		t.Fatal(err)
	}
	if _, err := tryPutParted(t, e, "t", nil, partedRow{"DE", 1, ""}, partedRow{"FR", 2, ""}); !errors.Is(err, model.PartitionNotFound) {
		t.Fatalf("error %v, want %v", err, model.PartitionNotFound)
	}
	wantParted(t, e, "t", nil)
	putParted(t, e, "t", partedRow{"DE", 1, ""})
	wantParted(t, e, "t", []partedRow{{"DE", 1, ""}})
}

// TestFollowPartitions follows a table whose partitions come and go.
func TestFollowPartitions(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	createParted(t, e, "t", false, nil)
	putParted(t, e, "t", partedRow{"DE", 1, ""})
	all, err := e.Scan(t.Context(), Scan{Table: name(t, "t"), To: Bound{Kind: BoundNever}})
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	some, err := e.Scan(t.Context(), Scan{
		Table: name(t, "t"), To: Bound{Kind: BoundNever}, Partitions: []PartitionValues{{"country": "IT"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer some.Close()
	next := func(r *Reader) partedRow {
		t.Helper()
		chunk, err := r.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return partedRows(t, r.SchemaMessage(), chunk)[0]
	}
	if got := next(all); got.id != 1 {
		t.Errorf("row %+v", got)
	}
	putParted(t, e, "t", partedRow{"FR", 2, ""})
	if got := next(all); got.id != 2 {
		t.Errorf("row %+v of a partition that has appeared", got)
	}
	dropParted(t, e, "t", "DE")
	e.Maintain(t.Context())
	putParted(t, e, "t", partedRow{"IT", 3, ""})
	if got := next(all); got.id != 3 {
		t.Errorf("row %+v behind a drop", got)
	}
	if got := next(some); got.id != 3 {
		t.Errorf("row %+v of the partition chosen", got)
	}
	dropParted(t, e, "t", "IT")
	putParted(t, e, "t", partedRow{"IT", 4, ""})
	if got := next(some); got.id != 4 {
		t.Errorf("row %+v of the partition that has come back", got)
	}
}

// TestPlanOutlivesDrop reads a plan whose partition is dropped before it is read, then from positions that
// name it.
func TestPlanOutlivesDrop(t *testing.T) {
	for _, keyed := range []bool{false, true} {
		t.Run(fmt.Sprint("keyed ", keyed), func(t *testing.T) {
			mem := vfs.NewMem(vfs.MemOptions{})
			e := open(t, testOptions(mem))
			defer closeEngine(t, e)
			table := createParted(t, e, "t", keyed, nil)
			rows := []partedRow{{"DE", 1, "a"}, {"FR", 2, "b"}}
			putParted(t, e, "t", rows...)
			plan, err := e.Plan(t.Context(), Scan{Table: name(t, "t")})
			if err != nil {
				t.Fatal(err)
			}
			if len(plan.Partitions) != 4 {
				t.Errorf("the plan names the partitions of %d buckets, want 4", len(plan.Partitions))
			}
			_, before, err := tryScanParted(t, e, Scan{Table: name(t, "t"), View: map[bool]View{true: ViewChangelog}[keyed]})
			if err != nil {
				t.Fatal(err)
			}
			dropParted(t, e, "t", "DE")
			e.Maintain(t.Context())
			frozen := Scan{Table: name(t, "t"), Plan: plan.ID}
			for number, r := range plan.Ranges {
				frozen.Buckets = append(frozen.Buckets, number)
				if !keyed {
					if frozen.From.Position.Offsets == nil {
						frozen.From = Bound{Kind: BoundOffsets, Position: model.Position{TableID: table.ID, Offsets: model.Offsets{}}}
						frozen.To = Bound{Kind: BoundOffsets, Position: model.Position{TableID: table.ID, Offsets: model.Offsets{}}}
					}
					frozen.From.Position.Offsets[number], frozen.To.Position.Offsets[number] = r.From, r.To
				}
			}
			got, _, err := tryScanParted(t, e, frozen)
			if err != nil || len(got) != 2 {
				t.Errorf("the plan gives %v, %v; want both rows", got, err)
			}
			wantParted(t, e, "t", rows[1:])
			if err := e.CancelPlan(plan.ID); err != nil {
				t.Fatal(err)
			}
			e.Maintain(t.Context())
			if _, _, err := tryScanParted(t, e, frozen); err == nil {
				t.Error("a plan that was cancelled is read")
			}
			frozen.Plan = ""
			if _, _, err := tryScanParted(t, e, frozen); !errors.Is(err, model.PartitionNotFound) {
				t.Errorf("buckets of a dropped partition: %v", err)
			}
			// A position of before the drop goes on behind it.
			putParted(t, e, "t", partedRow{"FR", 3, "c"})
			resumed := Scan{Table: name(t, "t"), From: Bound{Kind: BoundOffsets, Position: before}, View: map[bool]View{true: ViewChangelog}[keyed]}
			got, _, err = tryScanParted(t, e, resumed)
			if err != nil || len(got) != 1 || got[0].id != 3 {
				t.Errorf("resumed: %v, %v; want row 3", got, err)
			}
			if err := e.WaitFor(t.Context(), name(t, "t"), before); err != nil {
				t.Errorf("wait for a position of before: %v", err)
			}
			names, err := mem.List(trashDir)
			if err != nil || len(names) == 0 || !strings.HasPrefix(names[0], "tables_"+table.ID) {
				t.Errorf("the trash holds %v, %v; want the buckets", names, err)
			}
		})
	}
}

// TestRetryAcrossPartitions sends batches again, also of a partition that was dropped, and across restarts.
func TestRetryAcrossPartitions(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	e := open(t, testOptions(mem))
	createParted(t, e, "t", false, nil)
	batches := [][]partedRow{{{"DE", 1, "a"}, {"FR", 2, "b"}}, {{"DE", 3, "c"}}, {}, {{"IT", 4, "d"}}}
	first := make([]Ack, len(batches))
	for i, rows := range batches {
		var err error
		if first[i], err = tryPutParted(t, e, "t", &Sequence{"p", 1, int64(i)}, rows...); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 4 {
		for i, rows := range batches {
			again, err := tryPutParted(t, e, "t", &Sequence{"p", 1, int64(i)}, rows...)
			if err != nil || !again.Duplicate || fmt.Sprint(again.Offsets) != fmt.Sprint(first[i].Offsets) {
				t.Fatalf("round %d, batch %d: %+v, %v; want %+v", round, i, again, err, first[i])
			}
		}
		switch round {
		case 0:
			dropParted(t, e, "t", "DE")
		case 1:
			e.Maintain(t.Context())
			closeEngine(t, e)
			e = open(t, testOptions(mem))
		case 2:
			mem = mem.Crash(vfs.Cut{Mode: vfs.KeepNone})
			_ = e.Close(context.Background())
			e = open(t, testOptions(mem))
		}
		if round > 0 && slices.Contains(countriesOf(t, e, "t"), "DE") {
			t.Fatal("a retry has made a partition")
		}
	}
	closeEngine(t, e)
}

// TestTimePartitions lets days pass.
func TestTimePartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem(vfs.MemOptions{Now: time.Now})
		options := testOptions(mem)
		options.TrashGrace = 24 * time.Hour
		e := open(t, options)
		defer closeEngine(t, e)
		createParted(t, e, "t", false, map[string]string{"partition.time-unit": "day", "partition.keep": "2"})
		pass(2 * time.Hour) // of 2000-01-01
		if got := countriesOf(t, e, "t"); !slices.Equal(got, []string{"2000-01-01", "2000-01-02", "2000-01-03"}) {
			t.Fatalf("partitions %v", got)
		}
		putParted(t, e, "t", partedRow{"2000-01-01", 1, ""}, partedRow{"1999-12-30", 2, ""})
		for _, country := range []string{"1999-12-29", "DE", "2000-1-1"} {
			if _, err := tryPutParted(t, e, "t", nil, partedRow{country, 3, ""}); err == nil {
				t.Errorf("a row of %s is taken", country)
			}
		}
		pass(24 * time.Hour)
		if got := countriesOf(t, e, "t"); !slices.Equal(got, []string{"2000-01-01", "2000-01-02", "2000-01-03", "2000-01-04"}) {
			t.Errorf("partitions %v", got)
		}
		wantParted(t, e, "t", []partedRow{{"2000-01-01", 1, ""}})
		pass(2 * time.Hour)
		if names, err := mem.List(trashDir); err != nil || len(names) > 0 {
			t.Errorf("the trash holds %v, %v", names, err)
		}
	})
}

// TestRebuildPartitions loses the ledger, or both files of the catalog, and makes them anew from segments.
func TestRebuildPartitions(t *testing.T) {
	for _, lost := range [][]string{{partitionsFile}, {partitionsFile, tableFile}} {
		mem := vfs.NewMem(vfs.MemOptions{})
		e := open(t, testOptions(mem))
		table := createParted(t, e, "t", false, nil)
		rows := []partedRow{{"DE", 1, "a"}, {"FR", 2, "b"}, {"", 3, "c"}}
		putParted(t, e, "t", rows...)
		dropParted(t, e, "t", "FR")
		e.Maintain(t.Context())
		closeEngine(t, e)
		for _, file := range lost {
			if err := mem.Remove(tablesDir + "/" + table.ID + "/" + file); err != nil {
				t.Fatal(err)
			}
		}
		findings := 0
		if _, err := Check(mem, false, func(Finding) { findings++ }); err != nil || findings != 1 {
			t.Errorf("without %v: %d findings, %v; want 1", lost, findings, err)
		}
		e = open(t, testOptions(mem))
		if len(e.recovery.Findings) != 1 {
			t.Errorf("without %v: the server finds %v", lost, e.recovery.Findings)
		}
		closeEngine(t, e)
		checked, err := Check(mem, true, func(f Finding) { t.Errorf("rebuild finds %+v", f) })
		if err != nil || checked.Rebuilt != len(lost) {
			t.Errorf("%d files are made anew, %v; want %d", checked.Rebuilt, err, len(lost))
		}
		e = open(t, testOptions(mem))
		wantParted(t, e, "t", []partedRow{rows[0], rows[2]})
		more := partedRow{"FR", 4, "d"}
		putParted(t, e, "t", more)
		wantParted(t, e, "t", []partedRow{rows[0], rows[2], more})
		checkNumbers(t, "rebuilt", e)
		closeEngine(t, e)
	}
}
