package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// TestViewsOfAKeyedTable reads every view with system columns, projections, limits and small messages:
// always the same rows.
func TestViewsOfAKeyedTable(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	createKeyed(t, e, "t", 3, nil)
	upsert(t, e, "t", numbered(0, 3000, "a")...)
	upsert(t, e, "t", numbered(500, 1500, "b")...)
	deleteKeys(t, e, "t", 3, 5, 7)
	for _, view := range []View{ViewRows, ViewChangelog, ViewRowsAndChangelog} {
		whole := mustRead(t, e, "t", view)
		bare := slices.Clone(whole)
		for i := range bare {
			bare[i].kind, bare[i].bucket, bare[i].offset, bare[i].micros = "", 0, 0, 0
		}
		numbers := slices.Clone(whole)
		for i := range numbers {
			numbers[i].row = keyedRow{0, "", numbers[i].row.number}
		}
		nothing := slices.Clone(whole)
		for i := range nothing {
			nothing[i].row = keyedRow{}
		}
		for _, test := range []struct {
			what string
			scan Scan
			want []cell
		}{
			{"without system columns", Scan{}, bare},
			{"one column", Scan{Columns: []string{"number"}, SystemColumns: true}, numbers},
			{"no column", Scan{Columns: []string{}, SystemColumns: true}, nothing},
			{"nothing but counts", Scan{Columns: []string{}}, make([]cell, len(whole))},
			{"columns in another order", Scan{Columns: []string{"number", "text", "id"}, SystemColumns: true}, whole},
			{"plain", Scan{Compression: CompressionNone, SystemColumns: true}, whole},
			{"messages of 5 kB", Scan{MessageBytes: 5000, SystemColumns: true}, whole},
			{"messages of 5 kB without columns", Scan{MessageBytes: 5000, Columns: []string{}, SystemColumns: true}, nothing},
		} {
			test.scan.Table, test.scan.View = name(t, "t"), view
			got, m, err := readCells(t, e, test.scan)
			if err != nil || !slices.Equal(got, test.want) {
				t.Errorf("view %d, %s: %d rows, error %v; want %d", view, test.what, len(got), err, len(test.want))
			}
			if m.end != EndComplete || (m.state >= 0) != (view == ViewRowsAndChangelog) {
				t.Errorf("view %d, %s: marks %+v", view, test.what, m)
			}
		}
		for _, limit := range []int64{0, 1, 700, 2999, int64(len(whole)) - 1, int64(len(whole)), int64(len(whole)) + 1} {
			got, m, err := readCells(t, e, Scan{Table: name(t, "t"), View: view, Limit: limit, HasLimit: true, SystemColumns: true})
			want, end := whole[:min(limit, int64(len(whole)))], EndLimit
			if limit > int64(len(whole)) {
				end = EndComplete
			}
			if err != nil || !slices.Equal(got, want) || m.end != end {
				t.Errorf("view %d, limit %d: %d rows, end %q, error %v", view, limit, len(got), m.end, err)
			}
		}
	}
}

// TestMessagesOfAStateAreNoLarger reads long rows of a state and a changelog in messages of a given size.
func TestMessagesOfAStateAreNoLarger(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	createKeyed(t, e, "t", 1, nil)
	upsert(t, e, "t", numbered(0, 500, strings.Repeat("long ", 40))...)
	upsert(t, e, "t", numbered(100, 500, strings.Repeat("longer ", 60))...)
	for _, view := range []View{ViewRows, ViewRowsAndChangelog, ViewChangelog} {
		for _, size := range []int{2 << 10, 20 << 10, 100 << 10} {
			r, err := e.Scan(t.Context(), Scan{Table: name(t, "t"), View: view, MessageBytes: size, SystemColumns: true})
			if err != nil {
				t.Fatal(err)
			}
			chunks := 0
			for {
				chunk, err := r.Next(t.Context())
				if err != nil {
					break
				}
				n := len(chunk.Message.Header)
				for _, part := range chunk.Message.Body {
					n += len(part)
				}
				if n > size && chunk.Rows > 1 {
					t.Fatalf("view %d: a message of %d rows takes %d bytes, want at most %d", view, chunk.Rows, n, size)
				}
				chunks++
			}
			if r.Close(); chunks < 500*100/size {
				t.Errorf("view %d, size %d: %d chunks", view, size, chunks)
			}
		}
	}
}

// TestRefusedViews asks for what a table does not have.
func TestRefusedViews(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	createKeyed(t, e, "t", 2, nil)
	createTable(t, e, CreateTable{Name: name(t, "log")})
	offsets := Bound{Kind: BoundOffsets, Position: model.Position{Offsets: model.Offsets{0: 0}}}
	for _, test := range []struct {
		what  string
		table string
		scan  Scan
		want  model.Reason
	}{
		{"a changelog of a log table", "log", Scan{View: ViewChangelog}, model.BadRequest},
		{"a state of a log table", "log", Scan{View: ViewRowsAndChangelog}, model.BadRequest},
		{"a state from an offset", "t", Scan{From: offsets}, model.BadRequest},
		{"a state that follows", "t", Scan{To: Bound{Kind: BoundNever}}, model.BadRequest},
		{"a state and changes from earliest", "t", Scan{View: ViewRowsAndChangelog, From: Bound{Kind: BoundEarliest}}, model.BadRequest},
		{"an unknown column of a state", "t", Scan{Columns: []string{"x"}}, model.ColumnNotFound},
		{"the stored change column", "t", Scan{Columns: []string{model.ChangeColumn}}, model.ColumnNotFound},
		{"a bucket that is not there", "t", Scan{Buckets: []int32{2}}, model.BadRequest},
		{"an unknown plan", "t", Scan{Plan: "x"}, model.PlanExpired},
	} {
		test.scan.Table = name(t, test.table)
		if r, err := e.Scan(t.Context(), test.scan); !errors.Is(err, test.want) {
			t.Errorf("%s: error %v, want %v", test.what, err, test.want)
			if err == nil {
				r.Close()
			}
		}
		if test.scan.Plan != "" {
			continue
		}
		if _, err := e.Plan(t.Context(), test.scan); !errors.Is(err, test.want) {
			t.Errorf("plan of %s: error %v, want %v", test.what, err, test.want)
		}
	}
}

// TestPlanOfAState reads a plan before and behind later writes, whole and bucket by bucket, until it
// expires.
func TestPlanOfAState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options := testOptions(vfs.NewMem(vfs.MemOptions{}))
		options.MaintenancePeriod = time.Minute
		e := open(t, options)
		defer closeEngine(t, e)
		createKeyed(t, e, "t", 3, nil)
		upsert(t, e, "t", numbered(0, 300, "a")...)
		plan, err := e.Plan(t.Context(), Scan{Table: name(t, "t"), SystemColumns: true})
		if err != nil || !plan.State || plan.Rows != 300 {
			t.Fatalf("%+v, %v; want a state of 300 rows", plan, err)
		}
		want := mustRead(t, e, "t", ViewRows)
		upsert(t, e, "t", numbered(100, 400, "b")...)
		deleteKeys(t, e, "t", 1, 2, 3)
		e.Maintain(t.Context())
		for range 2 {
			got, _, err := readCells(t, e, Scan{Table: name(t, "t"), Plan: plan.ID, SystemColumns: true})
			if err != nil || !slices.Equal(got, want) {
				t.Fatalf("%d rows of the plan, error %v; want %d", len(got), err, len(want))
			}
		}
		var parts []cell
		for bucket := range int32(3) {
			got, m, err := readCells(t, e, Scan{Table: name(t, "t"), Plan: plan.ID, Buckets: []int32{bucket}, SystemColumns: true})
			if err != nil || len(m.last.Offsets) != 1 {
				t.Fatalf("bucket %d: %+v, %v", bucket, m, err)
			}
			parts = append(parts, got...)
		}
		if !slices.Equal(parts, want) {
			t.Errorf("%d rows of the plan, bucket by bucket, want %d", len(parts), len(want))
		}
		some, err := e.Plan(t.Context(), Scan{Table: name(t, "t"), Buckets: []int32{1}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Scan(t.Context(), Scan{Table: name(t, "t"), Plan: some.ID, Buckets: []int32{0}}); !errors.Is(err, model.BadRequest) {
			t.Errorf("a bucket that the plan does not have: error %v, want %v", err, model.BadRequest)
		}
		if got, _, err := readCells(t, e, Scan{Table: name(t, "t"), Plan: some.ID}); err != nil || int64(len(got)) != some.Rows {
			t.Errorf("%d rows of a plan of one bucket, error %v; want %d", len(got), err, some.Rows)
		}
		changes, err := e.Plan(t.Context(), Scan{Table: name(t, "t"), View: ViewChangelog})
		if err != nil || changes.State {
			t.Fatalf("%+v, %v", changes, err)
		}
		if _, err := e.Scan(t.Context(), Scan{Table: name(t, "t"), Plan: changes.ID}); !errors.Is(err, model.BadRequest) {
			t.Errorf("the state of a plan of changes: error %v, want %v", err, model.BadRequest)
		}
		pass(12 * time.Minute)
		if _, err := e.Scan(t.Context(), Scan{Table: name(t, "t"), Plan: plan.ID}); !errors.Is(err, model.PlanExpired) {
			t.Errorf("error %v, want %v", err, model.PlanExpired)
		}
	})
}

// TestPlansOfOtherTables reads a table by the plan of another one.
func TestPlansOfOtherTables(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	createKeyed(t, e, "a", 2, nil)
	createKeyed(t, e, "b", 2, nil)
	upsert(t, e, "a", keyedRow{1, "of a", 1})
	plan, err := e.Plan(t.Context(), Scan{Table: name(t, "a")})
	if err != nil {
		t.Fatal(err)
	}
	if got, _, err := readCells(t, e, Scan{Table: name(t, "b"), Plan: plan.ID}); !errors.Is(err, model.BadRequest) {
		t.Errorf("%v, error %v, want %v", got, err, model.BadRequest)
	}
}

// TestPlanOfStateAndChanges reads the state of a plan, then the changes behind it up to now.
func TestPlanOfStateAndChanges(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	createKeyed(t, e, "t", 2, nil)
	upsert(t, e, "t", numbered(0, 100, "a")...)
	plan, err := e.Plan(t.Context(), Scan{Table: name(t, "t"), View: ViewRowsAndChangelog})
	if err != nil {
		t.Fatal(err)
	}
	upsert(t, e, "t", numbered(50, 150, "b")...)
	got, m, err := readCells(t, e, Scan{Table: name(t, "t"), View: ViewRowsAndChangelog, Plan: plan.ID, SystemColumns: true})
	if err != nil || m.state != 100 || len(got) != 100+150 {
		t.Fatalf("%d rows, %+v, %v; want 100 rows and 150 changes", len(got), m, err)
	}
	state := keyedState{}
	state.fold(t, got, model.ImageFull)
	if !maps.Equal(state, stateOfTable(t, e, "t")) {
		t.Error("the state and the changes behind it are not the table")
	}
}

// TestStateThenChangesWhileWriting bootstraps followers while writers run: the state and the changes
// behind it give the table, with no change twice and none left out.
func TestStateThenChangesWhileWriting(t *testing.T) {
	for _, level := range []string{"os", "fsync"} {
		t.Run(level, func(t *testing.T) {
			e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
			defer closeEngine(t, e)
			createKeyed(t, e, "t", 3, map[string]string{"log.durability": level})
			const requests = 300
			var writers, followers sync.WaitGroup
			for writer := range int64(2) {
				writers.Go(func() {
					w := openKeyedWriter(t, e, "t", PutRequest{})
					for i := range int64(requests) {
						rows := []keyedRow{{i % 7, fmt.Sprint(writer, i), i}, {i % 11, fmt.Sprint(writer, i), i}, {i, "", i}}
						if _, err := w.write(nil, rows...); err != nil {
							t.Error(err)
						}
						if i%13 == 0 {
							deleteKeys(t, e, "t", i%7, i%11)
						}
					}
				})
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			written := make(chan model.Offsets, 1)
			for range 4 {
				ends := make(chan model.Offsets, 1)
				followers.Go(func() { followState(ctx, t, e, ends) })
				go func() {
					o := <-written
					written <- o
					ends <- o
				}()
			}
			writers.Wait()
			ends := model.Offsets{}
			for _, c := range mustRead(t, e, "t", ViewChangelog) {
				ends[c.bucket] = max(ends[c.bucket], c.offset+1)
			}
			written <- ends
			followers.Wait()
		})
	}
}

// followState reads a state and the changes behind it up to the offsets that come through ends, and
// compares what that gives with the table.
func followState(ctx context.Context, t *testing.T, e *Engine, ends <-chan model.Offsets) {
	r, err := e.Scan(ctx, Scan{
		Table: name(t, "t"), View: ViewRowsAndChangelog, To: Bound{Kind: BoundNever}, SystemColumns: true,
	})
	if err != nil {
		t.Error(err)
		return
	}
	defer r.Close()
	state := keyedState{}
	var at, until model.Offsets
	for !reached(at, until) {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		chunk, err := r.Next(ctx)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			select {
			case until = <-ends:
			default:
			}
			continue
		}
		if err != nil {
			t.Error(err)
			return
		}
		if chunk.Mark != "" {
			at = maps.Clone(chunk.Position.Offsets)
			continue
		}
		record := decodeRecord(t, r.SchemaMessage(), chunk.Message)
		cells := cellsOf(t, record)
		record.Release()
		if at != nil {
			if at[chunk.Bucket] != chunk.Offset {
				t.Errorf("bucket %d: changes from %d on, want %d", chunk.Bucket, chunk.Offset, at[chunk.Bucket])
				return
			}
			at[chunk.Bucket] = chunk.Next
		}
		state.fold(t, cells, model.ImageFull)
	}
	if want := stateOfTable(t, e, "t"); !maps.Equal(state, want) {
		t.Errorf("a follower has %d rows, the table %d", len(state), len(want))
	}
}

// reached says that a read has got to the ends; false where they are not known.
func reached(at, ends model.Offsets) bool {
	if at == nil || ends == nil {
		return false
	}
	for bucket, end := range ends {
		if at[bucket] < end {
			return false
		}
	}
	return true
}

// changePair is a row of ViewBeforeAfter.
type changePair struct {
	bucket        int32
	offset        int64
	kind          string
	before, after keyedRow
}

// noRow stands for a struct that is null.
var noRow = keyedRow{-1, noText, noNumber}

// readPairs reads ViewBeforeAfter.
func readPairs(t *testing.T, e *Engine, scan Scan) []changePair {
	t.Helper()
	scan.View, scan.SystemColumns = ViewBeforeAfter, true
	r, err := e.Scan(t.Context(), scan)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var pairs []changePair
	for {
		chunk, err := r.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return pairs
		}
		if err != nil {
			t.Fatal(err)
		}
		record := decodeRecord(t, r.SchemaMessage(), chunk.Message)
		column := func(name string) arrow.Array { return record.Column(record.Schema().FieldIndices(name)[0]) }
		for i := range int(record.NumRows()) {
			pairs = append(pairs, changePair{
				bucket: column("_bucket").(*array.Int32).Value(i), offset: column("_offset").(*array.Int64).Value(i),
				kind:   column(model.ChangeColumn).(*array.String).Value(i),
				before: structRow(column("before").(*array.Struct), i), after: structRow(column("after").(*array.Struct), i),
			})
		}
		record.Release()
	}
}

func structRow(s *array.Struct, i int) keyedRow {
	if s.IsNull(i) {
		return noRow
	}
	row := keyedRow{s.Field(0).(*array.Int64).Value(i), noText, noNumber}
	if text := s.Field(1).(*array.String); text.IsValid(i) {
		row.text = text.Value(i)
	}
	if number := s.Field(2).(*array.Int64); number.IsValid(i) {
		row.number = number.Value(i)
	}
	return row
}

// pairsOf makes of changes what ViewBeforeAfter should give.
func pairsOf(changes []cell) (pairs []changePair) {
	before := noRow
	for _, c := range changes {
		pair := changePair{c.bucket, c.offset, c.kind, before, c.row}
		switch before = noRow; c.kind {
		case "-U":
			before = c.row
			continue
		case "-D":
			pair.before, pair.after = c.row, noRow
		}
		pairs = append(pairs, pair)
	}
	return pairs
}

// TestBeforeAndAfter compares the view with the changelog: whole, from any offset, with limits, in small
// messages.
func TestBeforeAndAfter(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	for _, image := range []string{"full", "new"} {
		createKeyed(t, e, image, 2, map[string]string{"changelog.image": image})
		upsert(t, e, image, numbered(0, 30, "a")...)
		upsert(t, e, image, numbered(10, 50, "b")...)
		deleteKeys(t, e, image, 3, 20, 70)
		changes := mustRead(t, e, image, ViewChangelog)
		want := pairsOf(changes)
		for _, size := range []int{0, 1500} {
			if got := readPairs(t, e, Scan{Table: name(t, image), MessageBytes: size}); !slices.Equal(got, want) {
				t.Fatalf("%s, messages of %d bytes: %d changes, want %d", image, size, len(got), len(want))
			}
		}
		for limit := range int64(len(want)) {
			if got := readPairs(t, e, Scan{Table: name(t, image), Limit: limit, HasLimit: true}); !slices.Equal(got, want[:limit]) {
				t.Fatalf("%s, limit %d: %d changes", image, limit, len(got))
			}
		}
		var ofBucket []cell
		for _, c := range changes {
			if c.bucket == 1 {
				ofBucket = append(ofBucket, c)
			}
		}
		for at := range ofBucket {
			position := Bound{Kind: BoundOffsets, Position: model.Position{Offsets: model.Offsets{1: int64(at)}}}
			scan := Scan{Table: name(t, image), Buckets: []int32{1}}
			scan.From = position
			if got := readPairs(t, e, scan); !slices.Equal(got, pairsOf(ofBucket[at:])) {
				t.Fatalf("%s, from %d: %+v", image, at, got)
			}
			scan.From, scan.To = Bound{}, position
			if got := readPairs(t, e, scan); !slices.Equal(got, pairsOf(ofBucket[:at])) {
				t.Fatalf("%s, to %d: %+v", image, at, got)
			}
		}
	}
}
