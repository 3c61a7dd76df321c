package engine

import (
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/vfs"
)

// TestRowsExpire writes rows at several times: those that nobody has written for longer than row.ttl are
// deleted, by changes of the changelog.
func TestRowsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := vfs.NewMem(vfs.MemOptions{})
		e := open(t, testOptions(files))
		createKeyed(t, e, "u", 2, map[string]string{"row.ttl": "1h", "delete.behavior": "refuse"})
		for id := range int64(20) {
			upsert(t, e, "u", keyedRow{id, "old", 0})
		}
		pass(40 * time.Minute)
		for id := int64(0); id < 20; id += 3 {
			upsert(t, e, "u", keyedRow{id, "new", 1})
		}
		e.Maintain(t.Context())
		if n := len(stateOfTable(t, e, "u")); n != 20 {
			t.Fatalf("%d rows after 40 minutes, want 20", n)
		}
		pass(30 * time.Minute)
		e.Maintain(t.Context())
		state := stateOfTable(t, e, "u") // folds the changelog too
		if len(state) != 7 {
			t.Fatalf("%d rows after 70 minutes, want the 7 that were written again: %v", len(state), state)
		}
		for id, row := range state {
			if id%3 != 0 || row.text != "new" {
				t.Errorf("row %+v is there", row)
			}
		}
		end := len(mustRead(t, e, "u", ViewChangelog))
		e.Maintain(t.Context())
		if again := len(mustRead(t, e, "u", ViewChangelog)); again != end {
			t.Errorf("another round makes %d changes", again-end)
		}
		closeEngine(t, e)
		e = open(t, testOptions(files))
		defer closeEngine(t, e)
		if again := stateOfTable(t, e, "u"); !maps.Equal(again, state) {
			t.Errorf("after a restart the state is %v, want %v", again, state)
		}
	})
}

// TestExpiryLeavesRowsThatWereWritten takes a state, changes a row of it, and only then asks for the
// deletion of what it saw: the row that was changed stays.
func TestExpiryLeavesRowsThatWereWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
		defer closeEngine(t, e)
		createKeyed(t, e, "u", 1, map[string]string{"row.ttl": "1h"})
		upsert(t, e, "u", keyedRow{1, "a", 0}, keyedRow{2, "b", 0})
		pass(2 * time.Hour)
		served, err := e.table(name(t, "u"))
		if err != nil {
			t.Fatal(err)
		}
		x, err := e.newExpiry(served, time.Now().UnixMicro())
		if err != nil {
			t.Fatal(err)
		}
		b, err := served.bucket(0)
		if err != nil {
			t.Fatal(err)
		}
		for live, err := range b.keyed.Snapshot().Batches() {
			if err != nil {
				t.Fatal(err)
			}
			if err := x.collect(live); err != nil {
				t.Fatal(err)
			}
		}
		upsert(t, e, "u", keyedRow{2, "written meanwhile", 1})
		if err := x.delete(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		want := keyedState{2: {2, "written meanwhile", 1}}
		if state := stateOfTable(t, e, "u"); !maps.Equal(state, want) {
			t.Errorf("the state is %v, want %v", state, want)
		}
	})
}

// TestRowsExpireByColumn counts from a column of the row; null keeps it.
func TestRowsExpireByColumn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
		defer closeEngine(t, e)
		fields := []arrow.Field{keyedSchema.Field(0), {Name: "seen", Type: arrow.FixedWidthTypes.Timestamp_ms, Nullable: true}}
		schema := arrow.NewSchema(fields, nil)
		createTable(t, e, CreateTable{
			Name: name(t, "u"), Schema: schema, PrimaryKey: []string{"id"},
			Options: map[string]string{"row.ttl": "1h", "row.ttl-column": "seen"},
		})
		put, err := e.OpenPut(t.Context(), PutRequest{Table: name(t, "u"), Schema: arrowipc.EncodeSchema(schema)})
		if err != nil {
			t.Fatal(err)
		}
		now := arrow.Timestamp(time.Now().UnixMilli())
		header, body := timesMessage(t, schema, now-2*3_600_000, now, now-3_500_000)
		pending, err := put.Send(t.Context(), header, body, nil)
		if err != nil {
			t.Fatal(err)
		}
		<-pending.Done()
		if _, err := pending.Ack(); err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			wait time.Duration
			left int64
		}{{0, 3}, {30 * time.Minute, 2}, {time.Hour, 1}, {1000 * time.Hour, 1}} {
			pass(step.wait)
			e.Maintain(t.Context())
			plan, err := e.Plan(t.Context(), Scan{Table: name(t, "u")})
			if err != nil {
				t.Fatal(err)
			}
			if plan.Rows != step.left {
				t.Errorf("after another %v there are %d rows, want %d", step.wait, plan.Rows, step.left)
			}
		}
	})
}
