package engine

import (
	"context"
	"fmt"
	"testing"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// TestPartitionsSurviveTheirTable drops a partitioned table and brings it back, truncates it, and loses the commit
// file.
func TestPartitionsSurviveTheirTable(t *testing.T) {
	for _, keyed := range []bool{false, true} {
		t.Run(fmt.Sprint("keyed ", keyed), func(t *testing.T) {
			mem := vfs.NewMem(vfs.MemOptions{})
			e := open(t, testOptions(mem))
			defer func() { closeEngine(t, e) }()
			createParted(t, e, "t", keyed, nil)
			if keyed {
				if _, err := e.AlterTable(t.Context(), name(t, "t"), Expect{}, CreateIndex{model.Index{Name: "by_text", Columns: []string{"text"}}}); err != nil {
					t.Fatal(err)
				}
			}
			rows := []partedRow{{"DE", 1, "a"}, {"FR", 2, "b"}, {"IT", 3, "c"}}
			putParted(t, e, "t", rows...)
			dropParted(t, e, "t", "FR")
			rows = []partedRow{rows[0], rows[2]}
			if err := e.DropTable(t.Context(), name(t, "t"), false); err != nil {
				t.Fatal(err)
			}
			if _, err := e.UndropTable(t.Context(), name(t, "t")); err != nil {
				t.Fatal(err)
			}
			wantParted(t, e, "t", rows)
			if keyed {
				wantByText(t, e, "c", 1)
			}
			e.Maintain(t.Context())
			putParted(t, e, "t", partedRow{"FR", 4, "d"})
			rows = append(rows, partedRow{"FR", 4, "d"})
			wantParted(t, e, "t", rows)
			closeEngine(t, e)
			for half := range 2 {
				if err := mem.Remove(fmt.Sprintf("%s/commit-%d", commitDir, half)); err != nil {
					t.Fatal(err)
				}
			}
			e = open(t, testOptions(mem))
			wantParted(t, e, "t", rows)
			checkNumbers(t, "without a commit file", e)
			if keyed {
				wantByText(t, e, "d", 1)
				return
			}
			if _, err := e.TruncateTable(t.Context(), name(t, "t"), nil); err != nil {
				t.Fatal(err)
			}
			wantParted(t, e, "t", nil)
			if got := len(countriesOf(t, e, "t")); got != 3 {
				t.Errorf("%d partitions are left behind a truncation, want 3", got)
			}
		})
	}
}

// wantByText looks rows up by the index of their text.
func wantByText(t *testing.T, e *Engine, text string, want int) {
	t.Helper()
	if got := len(lookupParted(t, e, LookupRequest{By: []string{"text"}, Inner: true}, []string{"text"}, partedRow{text: text})); got != want {
		t.Errorf("%d rows have the text %q, want %d", got, text, want)
	}
}

// TestLookupAcrossPartitions looks keys up in partitions that are there, are not, and were dropped, inserts those
// that are missing, and uses the bucket key as a prefix.
func TestLookupAcrossPartitions(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	createTable(t, e, CreateTable{
		Name: name(t, "t"), Schema: partedSchema, PartitionBy: []string{"country"}, Buckets: 3,
		PrimaryKey: []string{"id", "country", "text"}, BucketKey: []string{"id"},
	})
	var rows []partedRow
	for i := range int64(600) {
		rows = append(rows, partedRow{fmt.Sprint("c", i%5), i, fmt.Sprint(i)})
	}
	putParted(t, e, "t", rows...)
	key := []string{"country", "id", "text"}
	if got := len(lookupParted(t, e, LookupRequest{Inner: true}, key, rows...)); got != 600 {
		t.Errorf("%d rows are found, want 600", got)
	}
	absent := []partedRow{{"c1", 2, "2"}, {"none", 1, "1"}, {"c2", 2, "2"}}
	if got := lookupParted(t, e, LookupRequest{Inner: true}, key, absent...); len(got) != 1 || got[0] != rows[2] {
		t.Errorf("found %v, want %v", got, rows[2])
	}
	putParted(t, e, "t", partedRow{"c2", 2, "another"})
	prefix := []string{"country", "id"}
	if got := lookupParted(t, e, LookupRequest{By: prefix, Inner: true}, prefix, absent...); len(got) != 2 {
		t.Errorf("found %v by the prefix, want 2 rows", got)
	}
	inserted := lookupParted(t, e, LookupRequest{InsertMissing: true}, key, absent...)
	if len(inserted) != 3 || len(countriesOf(t, e, "t")) != 6 {
		t.Errorf("inserted %v; partitions %v", inserted, countriesOf(t, e, "t"))
	}
	dropParted(t, e, "t", "c2")
	if got := lookupParted(t, e, LookupRequest{Inner: true}, key, rows...); len(got) != 480 {
		t.Errorf("%d rows are found behind a drop, want 480", len(got))
	}
	ack := putParted(t, e, "t", partedRow{"c3", 3, "3"})
	if got := lookupParted(t, e, LookupRequest{MinOffsets: ack.offsets(), Inner: true}, key, rows[3]); len(got) != 1 {
		t.Errorf("found %v", got)
	}
}

// offsets gives where the rows of an acknowledgement end.
func (a Ack) offsets() model.Offsets {
	offsets := model.Offsets{model.HomeBucket: 0}
	for bucket, r := range a.Offsets {
		offsets[bucket] = r.To
	}
	return offsets
}

// lookupParted looks up keys, of which only some columns are sent, and gives the rows that are found.
func lookupParted(t *testing.T, e *Engine, request LookupRequest, columns []string, keys ...partedRow) []partedRow {
	t.Helper()
	request.Table, request.Columns = name(t, "t"), []string{"id", "country", "text"}
	schema, header, body := partedKeys(t, columns, keys...)
	request.Schema = schema
	l, err := e.OpenLookup(context.Background(), request)
	if err != nil {
		t.Fatal(err)
	}
	var found []partedRow
	for part, err := range l.Answer(t.Context(), KeyMessage{Header: header, Body: body}) {
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, partedRows(t, l.SchemaMessage(), Chunk{Message: part.Message})...)
	}
	return found
}

// TestGroupsSharePartitions lets a group read a table whose partitions come and go.
func TestGroupsSharePartitions(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	table := createParted(t, e, "t", false, nil)
	putParted(t, e, "t", partedRow{"DE", 1, ""}, partedRow{"FR", 2, ""})
	join := JoinGroup{Table: name(t, "t"), Group: "g", Member: "m", Start: Bound{Kind: BoundEarliest}}
	joined, err := e.JoinGroup(t.Context(), join)
	if err != nil || len(joined.Buckets) != 4 {
		t.Fatalf("%+v, %v; want the 4 buckets of two partitions", joined, err)
	}
	dropParted(t, e, "t", "DE")
	putParted(t, e, "t", partedRow{"IT", 3, ""})
	member := GroupMember{Table: name(t, "t"), Group: "g", Member: "m", Generation: joined.Generation}
	beat, err := e.Heartbeat(t.Context(), member)
	if err != nil || beat.Generation <= joined.Generation {
		t.Fatalf("%+v, %v; want a new generation", beat, err)
	}
	// A commit that names what was dropped moves the rest.
	position := model.Position{TableID: table.ID, Offsets: joined.Position.Offsets.Clone()}
	member.Generation = beat.Generation
	if _, err := e.Heartbeat(t.Context(), member); err != nil {
		t.Fatal(err)
	}
	if _, err := e.CommitPosition(t.Context(), member, position); err != nil {
		t.Errorf("a commit of dropped buckets: %v", err)
	}
	again, err := e.Heartbeat(t.Context(), member)
	if err != nil || len(again.Buckets) != 4 || again.Buckets[0] != 3 {
		t.Errorf("%+v, %v; want the buckets 3 to 6", again, err)
	}
	state, err := e.Positions(t.Context(), name(t, "t"), "g")
	if err != nil || state.Lag != 2 {
		t.Errorf("%+v, %v; want a lag of 2 rows", state, err)
	}
}
