package engine

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/headrace/headrace/internal/vfs"
)

// followParted reads a scan that follows until there are so many rows.
func followParted(ctx context.Context, t *testing.T, e *Engine, scan Scan, rows int) []partedRow {
	r, err := e.Scan(ctx, scan)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer r.Close()
	var all []partedRow
	for len(all) < rows {
		chunk, err := r.Next(ctx)
		if err != nil {
			t.Error(err)
			return all
		}
		all = append(all, partedRows(t, r.SchemaMessage(), chunk)...)
	}
	slices.SortFunc(all, comparePartedRows)
	return all
}

// TestGrowPartitions lets partitions of log tables and of primary-key tables grow, with followers that began before
// and lookups that were opened before.
func TestGrowPartitions(t *testing.T) {
	for _, form := range []string{"keyed", "routed", "free"} {
		mem := vfs.NewMem(vfs.MemOptions{})
		options := testOptions(mem)
		options.OpenCold, options.BucketRotateBytes = filesColdOf(mem), 1
		e := open(t, options)
		request := CreateTable{Name: name(t, "t"), Schema: partedSchema, PartitionBy: []string{"country"}, Buckets: 2}
		if form != "free" {
			request.BucketKey = []string{"id"}
		}
		if form == "keyed" {
			request.PrimaryKey = []string{"country", "id"}
		}
		createTable(t, e, request)
		var all []partedRow
		write := func(countries ...string) {
			for range 10 {
				var rows []partedRow
				for i := range 60 {
					rows = append(rows, partedRow{countries[i%len(countries)], int64(len(all) + i), fmt.Sprint("text ", i)})
				}
				putParted(t, e, "t", rows...)
				all = append(all, rows...)
			}
		}
		write("DE", "FR", "IT")
		scan := Scan{Table: name(t, "t"), To: Bound{Kind: BoundNever}}
		if form == "keyed" {
			scan.View = ViewChangelog
		}
		followed := make(chan []partedRow)
		go func() { followed <- followParted(t.Context(), t, e, scan, 2400) }()
		looked := func() {}
		if form == "keyed" {
			schema, _, _ := partedKeys(t, []string{"country", "id"})
			l, err := e.OpenLookup(t.Context(), LookupRequest{Table: name(t, "t"), Schema: schema, Inner: true})
			if err != nil {
				t.Fatal(err)
			}
			looked = func() {
				t.Helper()
				_, header, body := partedKeys(t, []string{"country", "id"}, all...)
				found := 0
				for part, err := range l.Answer(t.Context(), KeyMessage{Header: header, Body: body}) {
					if err != nil {
						t.Fatal(err)
					}
					found += int(part.Rows)
				}
				if found != len(all) {
					t.Fatalf("%d rows are found, want %d", found, len(all))
				}
			}
		}
		growTable(t, e, "t")
		looked()
		write("DE", "ES")
		if form == "keyed" {
			for _, b := range e.catalog.lookup(name(t, "t")).opened() {
				if end := b.keyed.End(); end > 0 && !b.table.isGone(b.number) {
					if err := e.retireBucket(t.Context(), b, end-3, e.newPacer()); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		growTable(t, e, "t")
		looked()
		write("IT", "DE")
		write("PT")
		want := slices.SortedFunc(slices.Values(all), comparePartedRows)
		if got := <-followed; !slices.Equal(got, want) {
			t.Fatalf("%s: %d rows are followed, want %d", form, len(got), len(want))
		}
		dropParted(t, e, "t", "FR")
		all = slices.DeleteFunc(all, func(row partedRow) bool { return row.country == "FR" })
		growTable(t, e, "t")
		looked()
		for range 2 {
			wantParted(t, e, "t", all)
			wantGrownPartitions(t, e, 16, int64(len(all)))
			closeEngine(t, e)
			if _, err := check(mem, filesColdOf(mem), false, func(f Finding) { t.Errorf("%s: check finds %+v", form, f) }); err != nil {
				t.Fatal(err)
			}
			e = open(t, options)
		}
		closeEngine(t, e)
	}
}

// wantGrownPartitions checks that each partition has so many buckets, and that they have so many rows together.
func wantGrownPartitions(t *testing.T, e *Engine, buckets int, want int64) {
	t.Helper()
	states, err := e.Partitions(name(t, "t"), nil)
	if err != nil {
		t.Fatal(err)
	}
	rows := int64(0)
	for _, state := range states {
		if rows += state.Rows; len(state.Buckets) != buckets {
			t.Errorf("partition %v has the buckets %v, want %d", state.Values, state.Buckets, buckets)
		}
	}
	if rows != want {
		t.Errorf("the partitions count %d rows, want %d", rows, want)
	}
}
