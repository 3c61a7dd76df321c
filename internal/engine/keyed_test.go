package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// kindsOf lists the kinds of changes.
func kindsOf(cells []cell) (kinds string) {
	for _, c := range cells {
		kinds += c.kind
	}
	return kinds
}

func stateOf(rows ...keyedRow) keyedState {
	state := keyedState{}
	for _, row := range rows {
		state[row.id] = row
	}
	return state
}

func wantState(t *testing.T, e *Engine, table string, want ...keyedRow) {
	t.Helper()
	if got := stateOfTable(t, e, table); !maps.Equal(got, stateOf(want...)) {
		t.Fatalf("the table has %v, want %v", got, want)
	}
}

func wantKinds(t *testing.T, e *Engine, table, want string) {
	t.Helper()
	if kinds := kindsOf(mustRead(t, e, table, ViewChangelog)); kinds != want {
		t.Fatalf("changes %s, want %s", kinds, want)
	}
}

// TestMergeEngines sends the same to tables of every kind: what they hold and how they came to it.
func TestMergeEngines(t *testing.T) {
	for _, test := range []struct {
		name    string
		options map[string]string
		want    []keyedRow
		kinds   string
	}{
		{"last row", nil, []keyedRow{{1, "c", 5}}, "+I+I-U+U-U+U-U+U-U+U-D"},
		{"new image", map[string]string{"changelog.image": "new"}, []keyedRow{{1, "c", 5}}, "+I+I+U+U+U+U-D"},
		{"deletions ignored", map[string]string{"delete.behavior": "ignore"}, []keyedRow{{1, "c", 5}, {2, "b", 20}}, "+I+I-U+U-U+U-U+U-U+U"},
		{"first row", map[string]string{"merge.engine": "first-row"}, []keyedRow{{1, "a", 10}}, "+I+I-D"},
		{
			"versioned", map[string]string{"merge.engine": "versioned", "merge.version-column": "number"},
			[]keyedRow{{1, "z", 10}}, "+I+I-U+U-D",
		},
		{
			"aggregation", map[string]string{"merge.engine": "aggregation", "merge.aggregate.number": "sum"},
			[]keyedRow{{1, "c", 30}}, "+I+I-U+U-U+U-U+U-U+U-D",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			mem := vfs.NewMem(vfs.MemOptions{})
			e := open(t, testOptions(mem))
			createKeyed(t, e, "t", 1, test.options)
			upsert(t, e, "t", keyedRow{1, "a", 10}, keyedRow{2, "b", 20}, keyedRow{1, "z", 10})
			upsert(t, e, "t", keyedRow{1, "c", 5}, keyedRow{1, noText, noNumber}, keyedRow{1, "c", 5})
			deleteKeys(t, e, "t", 2, 7, 2)
			wantState(t, e, "t", test.want...)
			wantKinds(t, e, "t", test.kinds)
			closeEngine(t, e)
			e = open(t, testOptions(mem))
			defer closeEngine(t, e)
			wantState(t, e, "t", test.want...)
		})
	}
}

// TestPartialUpdates changes some columns of rows that are there, that are not, and that come twice.
func TestPartialUpdates(t *testing.T) {
	for _, buckets := range []int32{1, 3} {
		e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
		createKeyed(t, e, "t", buckets, nil)
		upsert(t, e, "t", keyedRow{1, "a", 10}, keyedRow{2, "b", 20})
		w := openKeyedWriter(t, e, "t", PutRequest{Columns: []string{"number", "id"}})
		if _, err := w.write(nil, keyedRow{1, "", 11}, keyedRow{3, "", 30}, keyedRow{3, "", 31}, keyedRow{2, "", noNumber}); err != nil {
			t.Fatal(err)
		}
		wantState(t, e, "t", keyedRow{1, "a", 11}, keyedRow{2, "b", noNumber}, keyedRow{3, noText, 31})
		w = openKeyedWriter(t, e, "t", PutRequest{Columns: []string{"id"}})
		if _, err := w.write(nil, keyedRow{1, "", 0}, keyedRow{4, "", 0}); err != nil {
			t.Fatal(err)
		}
		wantState(t, e, "t", keyedRow{1, "a", 11}, keyedRow{2, "b", noNumber}, keyedRow{3, noText, 31}, keyedRow{4, noText, noNumber})
		closeEngine(t, e)
	}
}

// TestRetraction takes values back from rows of an aggregating table: those that are there, one that is not,
// and again after a restart, by the same request.
func TestRetraction(t *testing.T) {
	for _, buckets := range []int32{1, 3} {
		mem := vfs.NewMem(vfs.MemOptions{})
		e := open(t, testOptions(mem))
		options := map[string]string{"merge.engine": "aggregation", "merge.aggregate.number": "sum", "delete.behavior": "refuse"}
		createKeyed(t, e, "t", buckets, options)
		upsert(t, e, "t", keyedRow{1, "a", 10}, keyedRow{2, "b", 20}, keyedRow{1, "z", 10})
		back := PutRequest{Mode: PutDelete, Columns: []string{"number", "id"}}
		sequence := &Sequence{Producer: "p", Number: 0}
		w := openKeyedWriter(t, e, "t", back)
		if _, err := w.write(sequence, keyedRow{1, "", 15}, keyedRow{3, "", 1}, keyedRow{2, "", noNumber}); err != nil {
			t.Fatal(err)
		}
		want := []keyedRow{{1, "z", 5}, {2, "b", 20}}
		wantState(t, e, "t", want...)
		closeEngine(t, e)
		e = open(t, testOptions(mem))
		w = openKeyedWriter(t, e, "t", back)
		ack, err := w.write(sequence, keyedRow{1, "", 15}, keyedRow{3, "", 1}, keyedRow{2, "", noNumber})
		if err != nil || !ack.Duplicate {
			t.Fatalf("a retry: %+v, %v", ack, err)
		}
		wantState(t, e, "t", want...)
		closeEngine(t, e)
	}
}

// idAs is keyedSchema with another type of the key.
func idAs(keyType arrow.DataType) *arrow.Schema {
	fields := keyedSchema.Fields()
	fields[0].Type, fields[0].Nullable = keyType, true
	return arrow.NewSchema(fields, nil)
}

// TestRefusedPuts opens streams that a table does not take.
func TestRefusedPuts(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	createKeyed(t, e, "t", 2, nil)
	createKeyed(t, e, "refuses", 2, map[string]string{"delete.behavior": "refuse"})
	createKeyed(t, e, "first", 2, map[string]string{"merge.engine": "first-row"})
	createTable(t, e, CreateTable{Name: name(t, "log")})
	whole, key := arrowipc.EncodeSchema(keyedSchema), arrowipc.EncodeSchema(keyedFields("id"))
	for _, test := range []struct {
		what, table string
		request     PutRequest
		want        model.Reason
	}{
		{"append", "t", PutRequest{Schema: whole, Mode: PutAppend}, model.BadRequest},
		{"a missing column", "t", PutRequest{Schema: key}, model.SchemaMismatch},
		{"no key column", "t", PutRequest{Schema: arrowipc.EncodeSchema(keyedFields("text", "number"))}, model.SchemaMismatch},
		{"a deletion without the key", "t", PutRequest{Schema: arrowipc.EncodeSchema(keyedFields("text")), Mode: PutDelete}, model.SchemaMismatch},
		{"a key that is text", "t", PutRequest{Schema: arrowipc.EncodeSchema(idAs(arrow.BinaryTypes.String))}, model.SchemaMismatch},
		{"a partial update without the key", "t", PutRequest{Schema: whole, Columns: []string{"text"}}, model.SchemaMismatch},
		{"a partial update of an unknown column", "t", PutRequest{Schema: whole, Columns: []string{"id", "x"}}, model.ColumnNotFound},
		{"a partial update of a column twice", "t", PutRequest{Schema: whole, Columns: []string{"id", "text", "text"}}, model.BadRequest},
		{"a partial update in a first-row table", "first", PutRequest{Schema: whole, Columns: []string{"id", "text"}}, model.BadRequest},
		{"a deletion with columns", "t", PutRequest{Schema: key, Mode: PutDelete, Columns: []string{"id"}}, model.BadRequest},
		{"a deletion that the table refuses", "refuses", PutRequest{Schema: key, Mode: PutDelete}, model.DeleteRefused},
		{"an upsert into a log table", "log", PutRequest{Schema: schemaMessage, Mode: PutUpsert}, model.BadRequest},
		{"a deletion in a log table", "log", PutRequest{Schema: schemaMessage, Mode: PutDelete}, model.BadRequest},
		{"columns in a log table", "log", PutRequest{Schema: schemaMessage, Columns: []string{"id"}}, model.BadRequest},
	} {
		test.request.Table = name(t, test.table)
		if _, err := e.OpenPut(t.Context(), test.request); !errors.Is(err, test.want) {
			t.Errorf("%s: error %v, want %v", test.what, err, test.want)
		}
	}
}

// TestNullKeysAreRefused sends batches with null keys: nothing of them is applied.
func TestNullKeysAreRefused(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	createKeyed(t, e, "t", 2, nil)
	upsert(t, e, "t", keyedRow{0, "zero", 0})
	for _, mode := range []PutMode{PutUpsert, PutDelete} {
		schema := arrow.NewSchema(idAs(arrow.PrimitiveTypes.Int64).Fields()[:1], nil)
		request := PutRequest{Table: name(t, "t"), Schema: arrowipc.EncodeSchema(schema), Mode: mode}
		if mode == PutUpsert {
			request.Columns = []string{"id"}
		}
		put, err := e.OpenPut(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		header, body := keyMessage(t, 0, 1, -1, 3)
		if _, err := put.Send(t.Context(), header, body, nil); !errors.Is(err, model.SchemaMismatch) {
			t.Errorf("mode %d: error %v, want %v", mode, err, model.SchemaMismatch)
		}
	}
	wantState(t, e, "t", keyedRow{0, "zero", 0})
	wantKinds(t, e, "t", "+I")
}

// TestDeleteBehaviorChanges alters delete.behavior under a stream that is open.
func TestDeleteBehaviorChanges(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	createKeyed(t, e, "t", 2, map[string]string{"delete.behavior": "ignore"})
	upsert(t, e, "t", keyedRow{1, "a", 1}, keyedRow{2, "b", 2}, keyedRow{3, "c", 3})
	w := openKeyedWriter(t, e, "t", PutRequest{Mode: PutDelete})
	for i, step := range []struct {
		behavior string
		want     error
		left     int
	}{{"ignore", nil, 3}, {"allow", nil, 2}, {"ignore", nil, 2}, {"refuse", model.DeleteRefused, 2}} {
		if _, err := e.AlterTable(t.Context(), name(t, "t"), Expect{}, SetOption{"delete.behavior", step.behavior}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.write(nil, keyedRow{int64(i + 1), "", 0}); !errors.Is(err, step.want) || (err == nil) != (step.want == nil) {
			t.Errorf("step %d, %s: error %v, want %v", i, step.behavior, err, step.want)
		}
		if left := len(stateOfTable(t, e, "t")); left != step.left {
			t.Errorf("step %d, %s: %d rows are left, want %d", i, step.behavior, left, step.left)
		}
	}
}

// TestKeyedSequences sends batches with sequence numbers, among them some that change nothing, and all
// of them again, before and behind a restart.
func TestKeyedSequences(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	e := open(t, testOptions(mem))
	defer func() { closeEngine(t, e) }()
	createKeyed(t, e, "t", 3, map[string]string{"merge.engine": "first-row", "delete.behavior": "ignore"})
	batch := []keyedRow{{1, "a", 1}, {2, "b", 2}, {3, "c", 3}, {4, "d", 4}, {1, "e", 5}}
	large := make([]keyedRow, 3000) // several batches of the log in each bucket
	for i := range large {
		large[i] = keyedRow{int64(100 + i), strings.Repeat("long ", 1000), int64(i)}
	}
	steps := []struct {
		what string
		mode PutMode
		rows []keyedRow
		new  int64 // rows of the changelog
	}{
		{"new rows", PutUpsert, batch, 4},
		{"rows that are there", PutUpsert, batch[:3], 0},
		{"ignored deletions", PutDelete, rowsOfKeys(1, 2), 0},
		{"no rows", PutUpsert, nil, 0},
		{"one more", PutUpsert, []keyedRow{{5, "f", 6}}, 1},
		{"many", PutUpsert, large, int64(len(large))},
	}
	acks := make([]Ack, len(steps))
	for i, step := range steps {
		ack, err := openKeyedWriter(t, e, "t", PutRequest{Mode: step.mode}).write(&Sequence{"p", 1, int64(i)}, step.rows...)
		if err != nil || ack.Duplicate || ack.Rows != int64(len(step.rows)) {
			t.Fatalf("%s: %+v, %v", step.what, ack, err)
		}
		n := int64(0)
		for _, r := range ack.Offsets {
			n += r.Rows()
		}
		if n != step.new || len(ack.Offsets) == 0 {
			t.Errorf("%s: offsets %v, want %d rows", step.what, ack.Offsets, step.new)
		}
		acks[i] = ack
	}
	for range 3 {
		for i, step := range steps {
			ack, err := openKeyedWriter(t, e, "t", PutRequest{Mode: step.mode}).write(&Sequence{"p", 1, int64(i)}, step.rows...)
			if err != nil || !ack.Duplicate || !maps.Equal(ack.Offsets, acks[i].Offsets) {
				t.Fatalf("%s again: %+v, %v; want a duplicate at %v", step.what, ack, err, acks[i].Offsets)
			}
		}
		if state, err := e.OpenProducer(t.Context(), name(t, "t"), "p", false); err != nil || state.NextSequence != int64(len(steps)) {
			t.Fatalf("%+v, %v; want %d as the next sequence", state, err, len(steps))
		}
		if n := len(stateOfTable(t, e, "t")); n != 5+len(large) {
			t.Fatalf("%d rows, want %d", n, 5+len(large))
		}
		closeEngine(t, e)
		e = open(t, testOptions(mem))
	}
}

// TestAcksNameTheChanges compares what acknowledgements say with the changelog.
func TestAcksNameTheChanges(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	createKeyed(t, e, "t", 4, nil)
	acks := []Ack{
		upsert(t, e, "t", numbered(0, 40, "a")...),
		upsert(t, e, "t", numbered(20, 60, "b")...),
		deleteKeys(t, e, "t", 0, 1, 2, 99),
		upsert(t, e, "t", keyedRow{7, "c", 0}),
	}
	wants := []map[string]int{{"+I": 40}, {"+I": 20, "-U": 20, "+U": 20}, {"-D": 3}, {"-U": 1, "+U": 1}}
	changes := mustRead(t, e, "t", ViewChangelog)
	for i, ack := range acks {
		got := map[string]int{}
		for _, c := range changes {
			if r := ack.Offsets[c.bucket]; c.offset >= r.From && c.offset < r.To {
				got[c.kind]++
			}
		}
		if !maps.Equal(got, wants[i]) {
			t.Errorf("request %d, offsets %v: changes %v, want %v", i, ack.Offsets, got, wants[i])
		}
	}
	if ack := deleteKeys(t, e, "t", 1000); len(ack.Offsets) != 0 || ack.Rows != 1 {
		t.Errorf("a request that changes nothing: %+v, want 1 row and no offsets", ack)
	}
}

// numbered makes rows with the ids from..to−1.
func numbered(from, to int64, text string) []keyedRow {
	var rows []keyedRow
	for id := from; id < to; id++ {
		rows = append(rows, keyedRow{id, fmt.Sprintf("%s%d", text, id), id})
	}
	return rows
}

// TestKeyedTableAfterLossOfTheCommitFile starts without the commit file: what the segments hold is
// taken in.
func TestKeyedTableAfterLossOfTheCommitFile(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	e := open(t, testOptions(mem))
	createKeyed(t, e, "t", 2, nil)
	upsert(t, e, "t", numbered(0, 10, "a")...)
	deleteKeys(t, e, "t", 1, 2, 3)
	want := stateOfTable(t, e, "t")
	closeEngine(t, e)
	if err := mem.RemoveAll(commitDir); err != nil {
		t.Fatal(err)
	}
	e = open(t, testOptions(mem))
	defer closeEngine(t, e)
	if got := stateOfTable(t, e, "t"); !maps.Equal(got, want) {
		t.Errorf("the table has %v, want %v", got, want)
	}
	upsert(t, e, "t", keyedRow{1, "again", 1})
	want[1] = keyedRow{1, "again", 1}
	if got := stateOfTable(t, e, "t"); !maps.Equal(got, want) {
		t.Errorf("the table has %v, want %v", got, want)
	}
}

// TestKeyedRefusalsLeaveNothing fails a request in the middle of a group: the disk is full for it, and
// the keys that it had touched are as before.
func TestKeyedRefusalsLeaveNothing(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{Capacity: 24 << 20})
	e := open(t, testOptions(mem))
	defer closeEngine(t, e)
	createKeyed(t, e, "t", 2, nil)
	rows := numbered(0, 200, strings.Repeat("x", 5000))
	upsert(t, e, "t", rows...)
	want := stateOf(rows...)
	var err error
	for round := range int64(1000) {
		for i := range rows {
			rows[i].number = round
		}
		if _, err = openKeyedWriter(t, e, "t", PutRequest{}).write(nil, rows...); err != nil {
			break
		}
		want = stateOf(rows...)
	}
	if !errors.Is(err, model.DiskFull) {
		t.Fatalf("error %v, want %v", err, model.DiskFull)
	}
	if got := stateOfTable(t, e, "t"); !maps.Equal(got, want) {
		t.Error("the refused request has left something")
	}
	mem.SetCapacity(48 << 20)
	deleteKeys(t, e, "t", 5)
	upsert(t, e, "t", keyedRow{6, "six", 6})
	delete(want, 5)
	want[6] = keyedRow{6, "six", 6}
	if got := stateOfTable(t, e, "t"); !maps.Equal(got, want) {
		t.Error("with space again: the table differs")
	}
	crashed := open(t, testOptions(mem.Crash(vfs.Cut{Mode: vfs.KeepNone})))
	defer closeEngine(t, crashed)
	if got := stateOfTable(t, crashed, "t"); !maps.Equal(got, want) {
		t.Error("behind a crash, the table differs")
	}
}

// TestManyRequestsOfAGroup sends changes of the same keys without waiting, so that requests of one
// group and of groups before the sync build on each other.
func TestManyRequestsOfAGroup(t *testing.T) {
	for _, durability := range []string{"os", "fsync"} {
		options := testOptions(vfs.NewMem(vfs.MemOptions{}))
		e := open(t, options)
		createKeyed(t, e, "t", 2, map[string]string{"log.durability": durability, "merge.engine": "aggregation", "merge.aggregate.number": "sum"})
		w := openKeyedWriter(t, e, "t", PutRequest{})
		var all []*Pending
		for i := range int64(500) {
			header, body := keyedMessage(t, w.schema, []keyedRow{{i % 3, fmt.Sprint(i), 1}, {i % 5, fmt.Sprint(i), 1}})
			pending, err := w.put.Send(context.Background(), header, body, nil)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, pending)
		}
		for _, pending := range all {
			<-pending.Done()
			if _, err := pending.Ack(); err != nil {
				t.Fatal(err)
			}
		}
		sum := int64(0)
		for _, row := range stateOfTable(t, e, "t") {
			sum += row.number
		}
		if sum != 1000 {
			t.Errorf("%s: the sum is %d, want 1000", durability, sum)
		}
		closeEngine(t, e)
	}
}

// TestDamagedRowFailsTheWholeRequest damages a row of one bucket: a request that has to read it fails,
// and leaves nothing in the other bucket either.
func TestDamagedRowFailsTheWholeRequest(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	e := open(t, testOptions(mem))
	table := createKeyed(t, e, "t", 2, nil)
	upsert(t, e, "t", numbered(0, 20, "needle")...)
	byBucket := map[int32][]keyedRow{}
	for _, c := range mustRead(t, e, "t", ViewRows) {
		byBucket[c.bucket] = append(byBucket[c.bucket], c.row)
	}
	closeEngine(t, e)
	bad, good := byBucket[1][0], byBucket[0]
	file, err := mem.Open(fmt.Sprintf("%s/%s/1/%020d.arrow", tablesDir, table.ID, 0))
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
	if err := file.WriteAt([][]byte{{'N'}}, int64(bytes.LastIndex(content, []byte(bad.text)))); err != nil {
		t.Fatal(err)
	}

	e = open(t, testOptions(mem))
	defer closeEngine(t, e)
	for _, order := range [][]keyedRow{{good[0], good[1], bad}, {bad, good[0], good[1]}} {
		for i := range order {
			order[i].text = "changed"
		}
		if _, err := openKeyedWriter(t, e, "t", PutRequest{}).write(nil, order...); !errors.Is(err, model.Corrupt) {
			t.Fatalf("error %v, want %v", err, model.Corrupt)
		}
	}
	if rows := lookupRows(t, e, "t", good[0].id, good[1].id); rows[0] != good[0] || rows[1] != good[1] {
		t.Errorf("a request that failed has left %v", rows)
	}
	upsert(t, e, "t", keyedRow{good[0].id, "later", 1}, good[1])
	if rows := lookupRows(t, e, "t", good[0].id, good[1].id); rows[0].text != "later" || rows[1] != good[1] {
		t.Errorf("a request behind it has made %v", rows)
	}
	header, body := keyedMessage(t, keyedFields("id"), rowsOfKeys(bad.id))
	if _, _, err := openLookup(t, e, "t", LookupRequest{}).ask(t.Context(), header, body); !errors.Is(err, model.Corrupt) {
		t.Errorf("a lookup of the damaged row: error %v, want %v", err, model.Corrupt)
	}
	if _, _, err := readCells(t, e, Scan{Table: name(t, "t")}); !errors.Is(err, model.Corrupt) {
		t.Errorf("the state with the damaged row: error %v, want %v", err, model.Corrupt)
	}
	if _, _, err := readCells(t, e, Scan{Table: name(t, "t"), Buckets: []int32{0}}); err != nil {
		t.Errorf("the state of the other bucket: %v", err)
	}
}

// TestUpsertsInOtherForms upserts and deletes batches that are compressed, or whose strings have
// another form.
func TestUpsertsInOtherForms(t *testing.T) {
	for buckets := int32(1); buckets <= 3; buckets += 2 {
		e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
		createKeyed(t, e, "t", buckets, nil)
		send := func(what string, mode PutMode, schema *arrow.Schema, header, body []byte, sequence int64) {
			t.Helper()
			put, err := e.OpenPut(t.Context(), PutRequest{Table: name(t, "t"), Schema: arrowipc.EncodeSchema(schema), Mode: mode})
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			pending, err := put.Send(t.Context(), header, [][]byte{body}, &Sequence{"p", 1, sequence})
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if <-pending.Done(); pending.err != nil {
				t.Fatalf("%s: %v", what, pending.err)
			}
		}
		compressed := func(schema *arrow.Schema, codec arrowipc.Codec, rows []keyedRow) (header, body []byte) {
			t.Helper()
			layout, err := arrowipc.NewLayout(schema)
			if err != nil {
				t.Fatal(err)
			}
			var batch arrowipc.Batch
			plain, parts := keyedMessage(t, schema, rows)
			if err := arrowipc.ParseMessage(layout, plain, parts[0], 0, &batch); err != nil {
				t.Fatal(err)
			}
			small, err := arrowipc.Compress(&batch, codec, 1)
			if err != nil {
				t.Fatal(err)
			}
			return small.Message(0), small.Body
		}
		rows := numbered(0, 500, strings.Repeat("compresses ", 10))
		header, body := compressed(keyedSchema, arrowipc.ZSTD, rows)
		send("zstd", PutUpsert, keyedSchema, header, body, 0)
		header, body = compressed(keyedFields("id"), arrowipc.LZ4, rowsOfKeys(1, 2, 3))
		send("lz4", PutDelete, keyedFields("id"), header, body, 1)
		fields := keyedSchema.Fields()
		fields[1].Type = arrow.BinaryTypes.LargeString
		b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
		b.Field(0).(*array.Int64Builder).Append(7)
		b.Field(1).(*array.LargeStringBuilder).Append("large")
		b.Field(2).AppendNull()
		record := b.NewRecordBatch()
		large, parts := recordMessage(t, record)
		send("large string", PutUpsert, record.Schema(), large, parts[0], 2)
		want := stateOf(rows...)
		for id := range int64(3) {
			delete(want, id+1)
		}
		want[7] = keyedRow{7, "large", noNumber}
		if got := stateOfTable(t, e, "t"); !maps.Equal(got, want) {
			t.Errorf("%d buckets: %d rows, want %d", buckets, len(got), len(want))
		}
		closeEngine(t, e)
	}
}

// TestDroppedKeyedTableComesBack drops a table and brings it back: its state is made anew.
func TestDroppedKeyedTableComesBack(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	createKeyed(t, e, "t", 2, nil)
	upsert(t, e, "t", numbered(0, 20, "a")...)
	want := stateOfTable(t, e, "t")
	l := openLookup(t, e, "t", LookupRequest{})
	plan, err := e.Plan(t.Context(), Scan{Table: name(t, "t")})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.DropTable(t.Context(), name(t, "t"), false); err != nil {
		t.Fatal(err)
	}
	header, body := keyedMessage(t, keyedFields("id"), rowsOfKeys(1))
	if _, _, err := l.ask(t.Context(), header, body); err == nil || model.AsError(err).Reason == model.Internal {
		t.Errorf("a lookup in a table that is gone: error %v", err)
	}
	if _, err := e.UndropTable(t.Context(), name(t, "t")); err != nil {
		t.Fatal(err)
	}
	if got := stateOfTable(t, e, "t"); !maps.Equal(got, want) {
		t.Errorf("the table has %v, want %v", got, want)
	}
	upsert(t, e, "t", keyedRow{1, "later", 1})
	want[1] = keyedRow{1, "later", 1}
	if got := stateOfTable(t, e, "t"); !maps.Equal(got, want) {
		t.Errorf("the table has %v, want %v", got, want)
	}
	if err := e.DropTable(t.Context(), name(t, "t"), false); err != nil {
		t.Fatal(err)
	}
	createKeyed(t, e, "t", 2, nil)
	if _, err := e.Scan(t.Context(), Scan{Table: name(t, "t"), Plan: plan.ID}); err == nil {
		t.Error("a plan of the dropped table reads another one")
	}
}
