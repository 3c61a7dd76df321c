package engine

import (
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// timesMessage makes rows with ids from 0 and a time each, and one with null behind them.
func timesMessage(t testing.TB, schema *arrow.Schema, times ...arrow.Timestamp) (header []byte, body [][]byte) {
	t.Helper()
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for id, at := range times {
		b.Field(0).(*array.Int64Builder).Append(int64(id))
		b.Field(1).(*array.TimestampBuilder).Append(at)
	}
	b.Field(0).(*array.Int64Builder).Append(int64(len(times)))
	b.Field(1).AppendNull()
	record := b.NewRecordBatch()
	defer record.Release()
	return recordMessage(t, record)
}

// createNumbered makes a table whose rows get a number, and a default text.
func createNumbered(t testing.TB, e *Engine, table string, buckets int32) {
	t.Helper()
	createTable(t, e, CreateTable{
		Name: name(t, table), Schema: keyedSchema, PrimaryKey: []string{"id"}, Buckets: buckets,
		Defaults: map[string]any{"number": model.AutoIncrement, "text": "none"},
	})
}

// TestInsertMissing looks keys up from many goroutines at once: each key gets one row, with one number
// that no other key has, and whoever asks again gets the same, also after a restart.
func TestInsertMissing(t *testing.T) {
	files := vfs.NewMem(vfs.MemOptions{})
	e := open(t, testOptions(files))
	createNumbered(t, e, "u", 3)
	const clients, keys = 8, 200
	answers := make([][]keyedRow, clients)
	var wait sync.WaitGroup
	for c := range clients {
		wait.Go(func() {
			l := openLookup(t, e, "u", LookupRequest{InsertMissing: true})
			for from := int64(0); from < keys; from += 20 {
				ids := make([]int64, 0, 22)
				for id := from; id < from+20; id++ {
					ids = append(ids, (id*7+int64(c))%keys)
				}
				rows, _ := l.rows(append(ids, ids[0], ids[1])...)
				if rows[20] != rows[0] || rows[21] != rows[1] {
					t.Errorf("the same key twice in a batch: %+v and %+v", rows[0], rows[20])
				}
				answers[c] = append(answers[c], rows[:20]...)
			}
		})
	}
	wait.Wait()
	numbers, want := map[int64]int64{}, keyedState{}
	for c := range clients {
		for _, row := range answers[c] {
			if before, seen := want[row.id]; seen && before != row {
				t.Fatalf("key %d is %+v and %+v", row.id, before, row)
			}
			if other, taken := numbers[row.number]; taken && other != row.id || row.text != "none" {
				t.Fatalf("row %+v: key %d has the same number, or the text is no default", row, other)
			}
			numbers[row.number], want[row.id] = row.id, row
		}
	}
	if state := stateOfTable(t, e, "u"); len(want) != keys || !maps.Equal(state, want) {
		t.Errorf("%d keys were answered, the state has %d", len(want), len(state))
	}
	if changes := mustRead(t, e, "u", ViewChangelog); len(changes) != keys {
		t.Errorf("%d changes for %d keys", len(changes), keys)
	}
	closeEngine(t, e)
	e = open(t, testOptions(files))
	defer closeEngine(t, e)
	l := openLookup(t, e, "u", LookupRequest{InsertMissing: true})
	if rows, _ := l.rows(5, keys+1); rows[0] != want[5] || numbers[rows[1].number] != 0 && rows[1].number != 0 {
		t.Errorf("after a restart: %+v, want %+v and a new number", rows, want[5])
	}
}

// TestNumberedColumns inserts, changes and deletes rows of a table with numbers: a number stays with its
// row, and is never given twice.
func TestNumberedColumns(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	createNumbered(t, e, "u", 2)
	columns := []string{"id", "text"}
	write := func(rows ...keyedRow) {
		t.Helper()
		if _, err := openKeyedWriter(t, e, "u", PutRequest{Columns: columns}).write(nil, rows...); err != nil {
			t.Fatal(err)
		}
	}
	write(keyedRow{1, "a", 0}, keyedRow{2, "b", 0}, keyedRow{1, "c", 0}, keyedRow{3, "d", 0})
	first := stateOfTable(t, e, "u")
	write(keyedRow{3, "e", 0}, keyedRow{4, "f", 0}, keyedRow{2, "g", 0})
	deleteKeys(t, e, "u", 1)
	write(keyedRow{1, "back", 0})
	second := stateOfTable(t, e, "u")
	given := []int64{}
	for id, row := range first {
		if given = append(given, row.number); id != 1 && second[id].number != row.number {
			t.Errorf("key %d had the number %d and has %d", id, row.number, second[id].number)
		}
	}
	for _, id := range []int64{1, 4} {
		if slices.Contains(given, second[id].number) {
			t.Errorf("key %d has the number %d, which was given before", id, second[id].number)
		}
	}
	if second[3].text != "e" || second[1].text != "back" {
		t.Errorf("the state is %v", second)
	}
	request := PutRequest{Table: name(t, "u"), Schema: nil, Columns: []string{"id", "number"}}
	if _, err := e.OpenPut(t.Context(), request); err == nil {
		t.Error("a client may set the numbers")
	}
}
