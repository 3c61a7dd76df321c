package engine

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// hold keeps the committer busy until release is called, so that what is sent meanwhile becomes one
// group.
func hold(t *testing.T, e *Engine) (release func()) {
	t.Helper()
	gate, reached := make(chan struct{}), make(chan struct{})
	_, err := e.submit(t.Context(), &request{control: func() { close(reached); <-gate }})
	if err != nil {
		t.Fatal(err)
	}
	<-reached
	return sync.OnceFunc(func() { close(gate) })
}

// awaitQueue returns when n requests wait for the committer.
func awaitQueue(e *Engine, n int) {
	for len(e.queue) < n {
		runtime.Gosched()
	}
}

// TestDropAmongPuts drops a table while rows of it and of another one wait for the committer: what
// was sent before is stored, what was sent behind is refused, and nothing else happens.
func TestDropAmongPuts(t *testing.T) {
	e := filled(t, vfs.NewMem(vfs.MemOptions{}), 100)
	defer closeEngine(t, e)
	createTable(t, e, CreateTable{Name: name(t, "u")})
	dropped, kept := openWriter(t, e, "t", PutRequest{}), openWriter(t, e, "u", PutRequest{})
	release := hold(t, e)
	defer release()
	var sent []*Pending
	send := func(w *writer, from int64) {
		pending, err := w.send(from, 10, nil)
		if err != nil {
			t.Fatal(err)
		}
		sent = append(sent, pending)
	}
	send(dropped, 100)
	send(kept, 0)
	done := make(chan error)
	go func() { done <- e.DropTable(context.Background(), name(t, "t"), false) }()
	awaitQueue(e, 3)
	send(dropped, 110)
	send(kept, 10)
	release()
	if err := <-done; err != nil {
		t.Errorf("drop: %v", err)
	}
	for i, want := range []error{nil, nil, model.TableNotFound, nil} {
		<-sent[i].Done()
		if _, err := sent[i].Ack(); !errors.Is(err, want) || (err != nil) != (want != nil) {
			t.Errorf("batch %d: error %v, want %v", i, err, want)
		}
	}
	if err := e.Ready(); err != nil {
		t.Errorf("the engine is not ready: %v", err)
	}
	if rows := readAll(t, e, "u"); len(rows) != 20 {
		t.Errorf("%d rows in the other table, want 20", len(rows))
	}
	if _, err := e.UndropTable(t.Context(), name(t, "t")); err != nil {
		t.Fatal(err)
	}
	if rows := readAll(t, e, "t"); len(rows) != 110 {
		t.Errorf("%d rows in the table that came back, want 110", len(rows))
	}
}

// TestRenameIsOneStep looks a table up while it is renamed to and fro: one of the names always
// finds it, and the list of extents for a checkpoint never lacks it.
func TestRenameIsOneStep(t *testing.T) {
	e := filled(t, vfs.NewMem(vfs.MemOptions{}), 100)
	defer closeEngine(t, e)
	names := []model.TableName{name(t, "t"), name(t, "u")}
	stop := make(chan struct{})
	var looking sync.WaitGroup
	looking.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if len(e.extents()) != 1 {
				t.Error("the extents lack a table that is renamed")
				return
			}
			found, text := e.catalog.all(), ""
			if len(found) == 1 {
				text = found[0].definition.Load().Name.String()
			}
			if text == "" {
				t.Error("the list lacks a table that is renamed")
				return
			}
		}
	})
	for i := range 3000 {
		if _, err := e.RenameTable(t.Context(), names[i%2], names[(i+1)%2]); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	looking.Wait()
}

// TestRotIsToldAtLevelOS damages rows of a table that does not wait for the disk, behind a clean
// stop: they were durable then, so that this is rot and no torn end.
func TestRotIsToldAtLevelOS(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	e := open(t, testOptions(mem))
	table := createTable(t, e, CreateTable{Name: name(t, "t"), Options: map[string]string{"log.durability": "os"}})
	if _, err := openWriter(t, e, "t", PutRequest{}).write(0, 100, nil); err != nil {
		t.Fatal(err)
	}
	path := e.catalog.lookup(table.Name).extents[0].Segment.Path()
	end := e.catalog.lookup(table.Name).extents[0].End
	closeEngine(t, e)
	file, err := mem.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := file.WriteAt([][]byte{{0xA5, 0x5A, 0xA5}}, end-600); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	e = open(t, testOptions(mem))
	defer closeEngine(t, e)
	if e.recovery.GroupsCut != 0 {
		t.Errorf("%d groups were cut, want none", e.recovery.GroupsCut)
	}
	if rows, err := scanAll(t, e, Scan{Table: table.Name}); !errors.Is(err, model.Corrupt) {
		t.Errorf("%d rows, error %v; want %v", len(rows), err, model.Corrupt)
	}
}

// TestTruncateThenPowerCut truncates rows that are not durable, cuts the power, and writes others:
// they are not truncated.
func TestTruncateThenPowerCut(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	e := open(t, testOptions(mem))
	createTable(t, e, CreateTable{Name: name(t, "t"), Options: map[string]string{"log.durability": "os"}})
	if _, err := openWriter(t, e, "t", PutRequest{}).write(0, 100, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := e.TruncateTable(t.Context(), name(t, "t"), nil); err != nil {
		t.Fatal(err)
	}
	crashed := mem.Crash(vfs.Cut{Mode: vfs.KeepNone})
	closeEngine(t, e)
	e = open(t, testOptions(crashed))
	defer closeEngine(t, e)
	if _, err := openWriter(t, e, "t", PutRequest{Durability: model.Fsync}).write(100, 50, nil); err != nil {
		t.Fatal(err)
	}
	e.Maintain(t.Context())
	if rows := readAll(t, e, "t"); len(rows) != 50 {
		t.Errorf("%d rows, want the 50 that were written behind the cut", len(rows))
	}
}

func TestTruncateRefuses(t *testing.T) {
	e := filled(t, vfs.NewMem(vfs.MemOptions{}), 100)
	defer closeEngine(t, e)
	for _, tc := range []struct {
		what   string
		before model.Position
		reason error
	}{
		{"a bucket that is not there", model.Position{Offsets: model.Offsets{9: 1}}, model.BadRequest},
		{"an offset beyond the end", model.Position{Offsets: model.Offsets{0: 101}}, model.OffsetBeyondEnd},
		{"another table's position", model.Position{TableID: "x", Offsets: model.Offsets{0: 1}}, model.TableReplaced},
	} {
		if _, err := e.TruncateTable(t.Context(), name(t, "t"), &tc.before); !errors.Is(err, tc.reason) {
			t.Errorf("%s: error %v, want %v", tc.what, err, tc.reason)
		}
	}
}

// TestEmptyBatchHasItsPlace sends a batch without rows among others of a producer; a restart does
// not forget its number.
func TestEmptyBatchHasItsPlace(t *testing.T) {
	for _, key := range [][]string{nil, {"id"}} {
		mem := vfs.NewMem(vfs.MemOptions{})
		e := open(t, testOptions(mem))
		createTable(t, e, CreateTable{Name: name(t, "t"), Buckets: 2, BucketKey: key})
		w := openWriter(t, e, "t", PutRequest{})
		var acks []Ack
		for number, rows := range []int64{10, 0} {
			ack, err := w.write(0, rows, &Sequence{"p", 1, int64(number)})
			if err != nil {
				t.Fatalf("seq %d: %v", number, err)
			}
			acks = append(acks, ack)
		}
		closeEngine(t, e)
		e = open(t, testOptions(mem))
		w = openWriter(t, e, "t", PutRequest{})
		retry, err := w.write(0, 0, &Sequence{"p", 1, 1})
		if err != nil || !retry.Duplicate || len(retry.Offsets) != len(acks[1].Offsets) {
			t.Errorf("retry of the empty batch: %+v, %v; want %+v as a duplicate", retry, err, acks[1])
		}
		if _, err := w.write(10, 5, &Sequence{"p", 1, 2}); err != nil {
			t.Errorf("the batch behind the empty one: %v", err)
		}
		if rows := readAll(t, e, "t"); len(rows) != 15 {
			t.Errorf("%d rows, want 15", len(rows))
		}
		closeEngine(t, e)
	}
}

// TestOpenReadKeepsItsPlan reads on for longer than a plan lives without being renewed.
func TestOpenReadKeepsItsPlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := filled(t, vfs.NewMem(vfs.MemOptions{Now: time.Now}), 300)
		defer closeEngine(t, e)
		plan, err := e.Plan(t.Context(), Scan{Table: name(t, "t")})
		if err != nil {
			t.Fatal(err)
		}
		r, err := e.Scan(t.Context(), Scan{Table: name(t, "t"), Plan: plan.ID})
		if err != nil {
			t.Fatal(err)
		}
		pass(30 * time.Minute)
		e.Maintain(t.Context())
		if plans := e.Plans(); len(plans) != 1 || !plans[0].Expires.After(time.Now()) {
			t.Errorf("plans are %+v while a read is open", plans)
		}
		r.Close()
		r.Close() // twice does no harm
		pass(30 * time.Minute)
		e.Maintain(t.Context())
		if plans := e.Plans(); len(plans) != 0 {
			t.Errorf("plans are %+v long behind the read", plans)
		}
		plan, err = e.Plan(t.Context(), Scan{Table: name(t, "t")})
		if err != nil {
			t.Fatal(err)
		}
		if r, err = e.Scan(t.Context(), Scan{Table: name(t, "t"), Plan: plan.ID}); err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		pass(30 * 24 * time.Hour)
		e.Maintain(t.Context())
		if plans := e.Plans(); len(plans) != 0 {
			t.Errorf("plans are %+v behind plan.max-pin", plans)
		}
	})
}

// TestDrainEndsABusyFollow drains while rows keep coming: the follower ends where the table ended
// when the drain began.
func TestDrainEndsABusyFollow(t *testing.T) {
	e := filled(t, vfs.NewMem(vfs.MemOptions{}), 1000)
	defer closeEngine(t, e)
	w := openWriter(t, e, "t", PutRequest{})
	r, err := e.Scan(t.Context(), Scan{Table: name(t, "t"), To: Bound{Kind: BoundNever}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	e.Drain()
	next := int64(1000)
	for range 100 {
		chunk, err := r.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if chunk.End != "" {
			if chunk.End != EndDraining || chunk.Position.Offsets[0] < 1000 {
				t.Errorf("the end mark is %q at %v", chunk.End, chunk.Position)
			}
			return
		}
		if _, err := w.write(next, 100, nil); err != nil {
			t.Fatal(err)
		}
		next += 100
	}
	t.Error("the follower goes on after 100 batches")
}

// TestRefusalsKeepTheirReason asks for changes that a stopped server cannot make.
func TestRefusalsKeepTheirReason(t *testing.T) {
	e := filled(t, vfs.NewMem(vfs.MemOptions{}), 100)
	e.fail(errors.New("a write failed"))
	for what, err := range map[string]error{
		"drop":     e.DropTable(t.Context(), name(t, "t"), false),
		"truncate": second(e.TruncateTable(t.Context(), name(t, "t"), nil)),
		"options":  second(e.SetOptions(t.Context(), name(t, "t"), Expect{}, map[string]string{"log.ttl": "1d"})),
	} {
		if !errors.Is(err, model.ReadOnly) {
			t.Errorf("%s: error %v, want %v", what, err, model.ReadOnly)
		}
	}
	if _, err := e.Table(name(t, "t")); err != nil {
		t.Errorf("the table is gone behind a drop that was refused: %v", err)
	}
	if err := e.Close(t.Context()); !errors.Is(err, model.ReadOnly) {
		t.Errorf("close: error %v, want %v", err, model.ReadOnly)
	}
}

func second[T any](_ T, err error) error { return err }
