package engine

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// filled is an engine with a table "t" of one bucket that holds the rows 0..n−1 in batches of 100.
func filled(t *testing.T, files vfs.FS, n int64) *Engine {
	t.Helper()
	e := open(t, testOptions(files))
	createTable(t, e, CreateTable{Name: name(t, "t")})
	w := openWriter(t, e, "t", PutRequest{})
	for from := int64(0); from < n; from += 100 {
		if _, err := w.write(from, 100, nil); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

func offsets(o model.Offsets) Bound {
	return Bound{Kind: BoundOffsets, Position: model.Position{Offsets: o}}
}

func TestScanRanges(t *testing.T) {
	e := filled(t, vfs.NewMem(vfs.MemOptions{}), 1000)
	defer closeEngine(t, e)
	all := Scan{Table: name(t, "t")}
	with := func(change func(*Scan)) Scan {
		scan := all
		change(&scan)
		return scan
	}
	for _, tc := range []struct {
		what       string
		scan       Scan
		first, end int64
		reason     error
	}{
		{"everything", all, 0, 1000, nil},
		{"within a batch", with(func(s *Scan) { s.From, s.To = offsets(model.Offsets{0: 10}), offsets(model.Offsets{0: 20}) }), 10, 20, nil},
		{"over a border", with(func(s *Scan) { s.From, s.To = offsets(model.Offsets{0: 95}), offsets(model.Offsets{0: 305}) }), 95, 305, nil},
		{"at borders", with(func(s *Scan) { s.From, s.To = offsets(model.Offsets{0: 100}), offsets(model.Offsets{0: 200}) }), 100, 200, nil},
		{"from latest", with(func(s *Scan) { s.From = Bound{Kind: BoundLatest} }), 0, 0, nil},
		{"to earliest", with(func(s *Scan) { s.To = Bound{Kind: BoundEarliest} }), 0, 0, nil},
		{"a limit", with(func(s *Scan) { s.Limit, s.HasLimit = 107, true }), 0, 107, nil},
		{"a limit of none", with(func(s *Scan) { s.HasLimit = true }), 0, 0, nil},
		{"a bucket that is not named", with(func(s *Scan) { s.To = offsets(nil) }), 0, 0, nil},
		{"small messages", with(func(s *Scan) { s.MessageBytes = 2000 }), 0, 1000, nil},
		{"behind the end", with(func(s *Scan) { s.From = offsets(model.Offsets{0: 1001}) }), 0, 0, model.OffsetBeyondEnd},
		{"no such bucket", with(func(s *Scan) { s.Buckets = []int32{1} }), 0, 0, model.BadRequest},
		{"no such column", with(func(s *Scan) { s.Columns = []string{"nope"} }), 0, 0, model.ColumnNotFound},
		{"no such table", Scan{Table: name(t, "none")}, 0, 0, model.TableNotFound},
		{"a negative limit", with(func(s *Scan) { s.Limit, s.HasLimit = -1, true }), 0, 0, model.BadRequest},
		{"a plan that is not there", with(func(s *Scan) { s.Plan = "x" }), 0, 0, model.PlanExpired},
		{"another table's position", with(func(s *Scan) {
			s.From = Bound{Kind: BoundOffsets, Position: model.Position{TableID: "01", Offsets: model.Offsets{0: 1}}}
		}), 0, 0, model.TableReplaced},
	} {
		t.Run(tc.what, func(t *testing.T) {
			rows, err := scanAll(t, e, tc.scan)
			if !errors.Is(err, tc.reason) || (err != nil) != (tc.reason != nil) {
				t.Fatalf("error %v, want %v", err, tc.reason)
			}
			if int64(len(rows)) != tc.end-tc.first {
				t.Fatalf("%d rows, want %d", len(rows), tc.end-tc.first)
			}
			for i, r := range rows {
				if want := tc.first + int64(i); r.id != want || r.offset != want {
					t.Fatalf("row %d is %+v, want id and offset %d", i, r, want)
				}
			}
		})
	}
}

// TestScanEnd looks at the end marks and resumes from one.
func TestScanEnd(t *testing.T) {
	e := filled(t, vfs.NewMem(vfs.MemOptions{}), 300)
	defer closeEngine(t, e)
	r, err := e.Scan(t.Context(), Scan{Table: name(t, "t"), Limit: 120, HasLimit: true})
	if err != nil {
		t.Fatal(err)
	}
	var last Chunk
	for {
		chunk, err := r.Next(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		last = chunk
	}
	r.Close()
	if last.End != EndLimit || last.Position.Offsets[0] != 120 || last.Position.TableID == "" {
		t.Fatalf("the end mark is %+v", last)
	}
	rows, err := scanAll(t, e, Scan{Table: name(t, "t"), From: Bound{Kind: BoundOffsets, Position: last.Position}})
	if err != nil || len(rows) != 180 || rows[0].id != 120 {
		t.Errorf("%d rows from %+v, %v; want 180 from 120", len(rows), rows[:1], err)
	}
}

// TestSystemColumns reads the system columns of a part of a coalesced batch.
func TestSystemColumns(t *testing.T) {
	e := filled(t, vfs.NewMem(vfs.MemOptions{}), 300)
	defer closeEngine(t, e)
	r, err := e.Scan(t.Context(), Scan{Table: name(t, "t"), Columns: []string{}, SystemColumns: true, From: offsets(model.Offsets{0: 150})})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	layout, err := arrowipc.NewLayout(r.projection.Schema())
	if err != nil {
		t.Fatal(err)
	}
	next, before := int64(150), int64(0)
	for next < 300 {
		chunk, err := r.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var batch arrowipc.Batch
		body := slices.Concat(chunk.Message.Body...)
		if err := arrowipc.ParseMessage(layout, chunk.Message.Header, body, 0, &batch); err != nil {
			t.Fatal(err)
		}
		values := func(buffer int) []int64 {
			span := batch.Buffers[buffer]
			return int64Bytes(batch.Body[span.Offset : span.Offset+span.Length])
		}
		for i, offset := range values(3) {
			if offset != next {
				t.Fatalf("_offset is %d, want %d", offset, next)
			}
			next++
			if micros := values(5)[i]; micros < before || micros == 0 {
				t.Fatalf("_timestamp is %d behind %d", micros, before)
			} else {
				before = micros
			}
		}
	}
}

// TestFollow follows a table from before its first row, through several batches, until it drains.
func TestFollow(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	createTable(t, e, CreateTable{Name: name(t, "t"), Buckets: 2, BucketKey: []string{"id"}})
	r, err := e.Scan(t.Context(), Scan{Table: name(t, "t"), To: Bound{Kind: BoundNever}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	layout, err := arrowipc.NewLayout(testSchema)
	if err != nil {
		t.Fatal(err)
	}
	w := openWriter(t, e, "t", PutRequest{})
	seen := map[int64]bool{}
	for round := range int64(20) {
		if _, err := w.send(round*50, 50, nil); err != nil {
			t.Fatal(err)
		}
		for int64(len(seen)) < (round+1)*50 {
			chunk, err := r.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range decode(t, layout, chunk) {
				if seen[row.id] {
					t.Fatalf("row %d came twice", row.id)
				}
				seen[row.id] = true
			}
		}
	}
	e.Drain()
	defer closeEngine(t, e)
	chunk, err := r.Next(t.Context())
	if err != nil || chunk.End != EndDraining || chunk.Position.Offsets[0]+chunk.Position.Offsets[1] != 1000 {
		t.Errorf("behind the drain: %+v, %v", chunk, err)
	}
}

// TestFollowEnds cancels a follower, and drops the table of another.
func TestFollowEnds(t *testing.T) {
	e := filled(t, vfs.NewMem(vfs.MemOptions{}), 0)
	defer closeEngine(t, e)
	follow := Scan{Table: name(t, "t"), To: Bound{Kind: BoundNever}}
	r, err := e.Scan(t.Context(), follow)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	failed := make(chan error)
	go func() {
		_, err := r.Next(context.Background())
		failed <- err
	}()
	if err := e.DropTable(t.Context(), name(t, "t"), false); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; !errors.Is(err, model.TableNotFound) {
		t.Errorf("error %v, want %v", err, model.TableNotFound)
	}
}

// TestPlanPinsRows plans a read, lets retention press, and reads what was planned.
func TestPlanPinsRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options := testOptions(vfs.NewMem(vfs.MemOptions{}))
		options.MaintenancePeriod = time.Minute
		e := open(t, options)
		defer closeEngine(t, e)
		createTable(t, e, CreateTable{Name: name(t, "t"), Options: map[string]string{"log.ttl": "5m"}})
		w := openWriter(t, e, "t", PutRequest{})
		const rows = 30_000
		for from := int64(0); from < rows; from += 1000 {
			if _, err := w.write(from, 1000, nil); err != nil {
				t.Fatal(err)
			}
		}
		plan, err := e.Plan(t.Context(), Scan{Table: name(t, "t")})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 { // renewed every 8 minutes, against a life of 10
			pass(8 * time.Minute)
			if _, err := e.RenewPlan(plan.ID); err != nil {
				t.Fatal(err)
			}
		}
		if got := len(readAll(t, e, "t")); got != rows {
			t.Fatalf("%d rows while the plan lives, want %d", got, rows)
		}
		pass(12 * time.Minute)
		if _, err := e.Scan(t.Context(), Scan{Table: name(t, "t"), Plan: plan.ID}); !errors.Is(err, model.PlanExpired) {
			t.Errorf("error %v, want %v", err, model.PlanExpired)
		}
		if got := len(readAll(t, e, "t")); got != 0 {
			t.Errorf("%d rows are left behind the time to live, want none", got)
		}
		if _, err := w.write(rows, 10, nil); err != nil {
			t.Fatal(err)
		}
		left := readAll(t, e, "t")
		if len(left) != 10 || left[0].offset != rows {
			t.Errorf("%d rows, the first %+v; want 10 at offset %d: offsets are never used again", len(left), left[:1], rows)
		}
		if _, err := scanAll(t, e, Scan{Table: name(t, "t"), From: offsets(model.Offsets{0: 5})}); !errors.Is(err, model.OffsetTrimmed) {
			t.Errorf("error %v, want %v", err, model.OffsetTrimmed)
		}
	})
}

// TestTimeBounds starts and ends reads at times.
func TestTimeBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
		defer closeEngine(t, e)
		createTable(t, e, CreateTable{Name: name(t, "t")})
		w := openWriter(t, e, "t", PutRequest{})
		began := time.Now()
		for n := range int64(10) {
			if _, err := w.write(n*10, 10, nil); err != nil {
				t.Fatal(err)
			}
			pass(time.Minute)
		}
		at := func(minutes float64) Bound {
			return Bound{Kind: BoundTime, Time: began.Add(time.Duration(minutes * float64(time.Minute)))}
		}
		for _, tc := range []struct {
			from, to   Bound
			first, end int64
		}{
			{at(2.5), Bound{}, 30, 100}, {Bound{}, at(2.5), 0, 30}, {at(-1), at(100), 0, 100}, {at(100), Bound{}, 100, 100}, {at(5), at(3), 50, 50},
		} {
			rows, err := scanAll(t, e, Scan{Table: name(t, "t"), From: tc.from, To: tc.to})
			if err != nil || int64(len(rows)) != tc.end-tc.first || len(rows) > 0 && rows[0].id != tc.first {
				t.Errorf("from %v to %v: %d rows, %v; want %d..%d", tc.from, tc.to, len(rows), err, tc.first, tc.end)
			}
		}
	})
}
