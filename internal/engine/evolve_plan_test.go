package engine

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// TestScansChooseAndReadByOneSchema plans and scans while the names of two columns are exchanged again and again, one
// of which parts the table: the partitions are chosen by the names that rows are read by.
func TestScansChooseAndReadByOneSchema(t *testing.T) {
	for form, request := range map[string]CreateTable{
		"log": {}, "keyed": {PrimaryKey: []string{"id", "day"}},
	} {
		t.Run(form, func(t *testing.T) {
			e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
			defer closeEngine(t, e)
			const columns = "id int64 not null, day string not null, x string not null"
			request.Name, request.Schema, request.PartitionBy = name(t, "t"), schemaOfText(t, columns), []string{"day"}
			createTable(t, e, request)
			mustOpen(t, e, "t", columns, PutRequest{}).mustWrite(`[{"id":1,"day":"a","x":"b"},{"id":2,"day":"b","x":"a"},{"id":3,"day":"c","x":"c"}]`)
			exchange := ChangeColumns{[]model.ColumnChange{
				model.RenameColumn{Path: columnPath{"day"}, To: "other"}, model.RenameColumn{Path: columnPath{"x"}, To: "day"},
				model.RenameColumn{Path: columnPath{"other"}, To: "x"},
			}}
			done := make(chan struct{})
			var working sync.WaitGroup
			for planned := range 2 {
				working.Go(func() {
					for {
						select {
						case <-done:
							return
						default:
						}
						if err := scanOne(t, e, planned == 1); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			for range 150 {
				if _, err := e.AlterTable(t.Context(), name(t, "t"), Expect{}, exchange); err != nil {
					t.Error(err)
					break
				}
			}
			close(done)
			working.Wait()
		})
	}
}

// scanOne reads the row that the filter keeps, which there is in both schemas.
func scanOne(t *testing.T, e *Engine, planned bool) error {
	scan := Scan{Table: name(t, "t"), Filter: condition(t, "day = 'a' and x = 'b'")}
	if planned {
		plan, err := e.Plan(t.Context(), scan)
		if err != nil {
			return err
		}
		defer func() { _ = e.CancelPlan(plan.ID) }()
		scan = scanOfPlan(plan)
	}
	r, err := e.Scan(t.Context(), scan)
	if err != nil {
		return err
	}
	defer r.Close()
	rows := 0
	for {
		chunk, err := r.Next(t.Context())
		if err != nil {
			return err
		}
		if chunk.End != "" {
			break
		}
		rows += int(chunk.Rows)
	}
	if rows != 1 {
		return fmt.Errorf("planned %v: %d rows, want 1", planned, rows)
	}
	return nil
}

// scanOfPlan gives the scan that reads a plan, as tickets have it.
func scanOfPlan(plan *Plan) Scan {
	scan := plan.Scan
	if scan.Plan = plan.ID; plan.State {
		return scan
	}
	scan.From, scan.To = Bound{Kind: BoundOffsets}, Bound{Kind: BoundOffsets}
	scan.From.Position.Offsets, scan.To.Position.Offsets = model.Offsets{}, model.Offsets{}
	for bucket, r := range plan.Ranges {
		scan.From.Position.Offsets[bucket], scan.To.Position.Offsets[bucket] = r.From, r.To
	}
	return scan
}

// TestPlansKeepTheNamesOfPartitionColumns reads plans that name partitions behind a rename of their column.
func TestPlansKeepTheNamesOfPartitionColumns(t *testing.T) {
	for form, request := range evolvingForms {
		if request.PartitionBy == nil {
			continue
		}
		t.Run(form, func(t *testing.T) {
			e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
			defer closeEngine(t, e)
			const columns = "id int64 not null, day string not null"
			request.Name, request.Schema = name(t, "t"), schemaOfText(t, columns)
			createTable(t, e, request)
			mustOpen(t, e, "t", columns, PutRequest{}).mustWrite(`[{"id":1,"day":"a"},{"id":2,"day":"b"}]`)
			before := Scan{Table: name(t, "t"), Partitions: []PartitionValues{{"day": "a"}}, Filter: condition(t, "day < 'c'")}
			plan, err := e.Plan(t.Context(), before)
			if err != nil {
				t.Fatal(err)
			}
			alter(t, e, "t", model.RenameColumn{Path: columnPath{"day"}, To: "date"})
			sameJSON(t, "the plan", openJSONReader(t, e, scanOfPlan(plan)).all(), `[{"id":1,"day":"a"}]`)
			if _, err := e.Scan(t.Context(), before); !errors.Is(err, model.ColumnNotFound) {
				t.Errorf("a scan by the name of before: %v", err)
			}
			after := Scan{Table: name(t, "t"), Partitions: []PartitionValues{{"date": "a"}}}
			sameJSON(t, "a scan", openJSONReader(t, e, after).all(), `[{"id":1,"date":"a"}]`)
		})
	}
}
