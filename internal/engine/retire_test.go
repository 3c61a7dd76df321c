package engine

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
	"github.com/headrace/headrace/pkstore"
)

// retire moves rows of a bucket below its log.
func (m *keyedMachine) retire(r *rapid.T) {
	buckets := m.e.catalog.lookup(name(m.t, "t")).opened()
	if len(buckets) == 0 {
		r.Skip("no bucket is open")
	}
	b := buckets[rapid.IntRange(0, len(buckets)-1).Draw(r, "bucket")]
	if end := b.keyed.End(); end > 0 {
		if err := m.e.retireBucket(m.t.Context(), b, rapid.Int64Range(1, end).Draw(r, "before"), m.e.newPacer()); err != nil {
			r.Fatal(err)
		}
	}
}

// retireAllBut retires all rows but the newest ones of each bucket.
func retireAllBut(t *testing.T, e *Engine, rows int64) {
	t.Helper()
	for _, b := range e.catalog.lookup(name(t, "t")).opened() {
		if err := e.retireBucket(t.Context(), b, b.keyed.End()-rows, e.newPacer()); err != nil {
			t.Fatal(err)
		}
	}
}

// writeGenerations writes rows that fill segments.
func writeGenerations(t *testing.T, e *Engine, from, to int64, state keyedState) {
	t.Helper()
	for generation := from; generation < to; generation++ {
		var rows []keyedRow
		for id := range int64(400) {
			// Some keys are written once, some now and then, some always.
			if id%10 == 0 && generation > 0 || id%10 < 5 && generation%7 != 0 {
				continue
			}
			row := keyedRow{id, rowText(id * generation), generation}
			rows, state[id] = append(rows, row), row
		}
		upsert(t, e, "t", rows...)
		deleteKeys(t, e, "t", generation, 100+generation)
		delete(state, generation)
		delete(state, 100+generation)
	}
}

func wantTable(t *testing.T, e *Engine, want keyedState) {
	t.Helper()
	got := keyedState{}
	for _, c := range mustRead(t, e, "t", ViewRows) {
		if _, twice := got[c.row.id]; twice {
			t.Fatalf("key %d is there twice", c.row.id)
		}
		got[c.row.id] = c.row
	}
	if !maps.Equal(got, want) {
		t.Fatalf("the table has\n%v, want\n%v", got, want)
	}
	ids := make([]int64, 500)
	for i := range ids {
		ids[i] = int64(i)
	}
	for i, found := range lookupRows(t, e, "t", ids...) {
		row, known := want[int64(i)]
		if !known {
			row = keyedRow{0, noText, noNumber}
		}
		if found != row {
			t.Fatalf("a lookup of %d finds %+v, want %+v", i, found, row)
		}
	}
}

// TestRetention removes the segments of a primary-key table on a real disk: the table stays as it is, over
// restarts with an index file and without, a drop and an undrop, and growths in between.
func TestRetention(t *testing.T) {
	t.Run("two buckets", func(t *testing.T) { testRetention(t, func(int64, *Engine) {}) })
	t.Run("growing", func(t *testing.T) {
		testRetention(t, func(round int64, e *Engine) {
			if round == 1 || round == 3 {
				growTable(t, e, "t")
			}
		})
	})
}

func testRetention(t *testing.T, between func(round int64, e *Engine)) {
	folder := t.TempDir()
	disk, err := vfs.NewDisk(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = disk.Close() }()
	options := testOptions(disk)
	options.Folder = folder
	e := open(t, options)
	createKeyed(t, e, "t", 2, map[string]string{"log.max-bytes": "1MiB", "log.durability": "os"})
	state := keyedState{}
	for round := range int64(6) {
		between(round, e)
		writeGenerations(t, e, round*15, round*15+15, state)
		e.Maintain(t.Context())
		wantTable(t, e, state)
		switch round {
		case 1:
			closeEngine(t, e)
			e = open(t, options)
		case 2:
			closeEngine(t, e)
			files, err := filepath.Glob(folder + "/" + e.catalog.lookup(name(t, "t")).dir() + "/keys-*.index")
			if err != nil || len(files) == 0 {
				t.Fatalf("%d index files, %v", len(files), err)
			}
			for _, file := range files {
				if err := os.Remove(file); err != nil {
					t.Fatal(err)
				}
			}
			e = open(t, options)
		case 3:
			if err := e.DropTable(t.Context(), name(t, "t"), false); err != nil {
				t.Fatal(err)
			}
			if _, err := e.UndropTable(t.Context(), name(t, "t")); err != nil {
				t.Fatal(err)
			}
		}
		wantTable(t, e, state)
	}
	buckets, err := e.Buckets(name(t, "t"))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range buckets {
		if b.Start == 0 || b.Bytes > 1<<20 {
			t.Errorf("bucket %d keeps %d bytes from offset %d on", b.Bucket, b.Bytes, b.Start)
		}
	}
	closeEngine(t, e)
	if _, err := CheckFolder(disk, folder, false, func(f Finding) { t.Errorf("check finds %+v", f) }); err != nil {
		t.Error(err)
	}
}

// TestCheckFindsRetiredRows spoils a store of retired rows: each fault is found.
func TestCheckFindsRetiredRows(t *testing.T) {
	for what, spoil := range map[string]func(*coldBucketContent){
		"1 rows are missing": func(x *coldBucketContent) { delete(x.Rows, slices.Sorted(maps.Keys(x.Rows))[0]) },
		"retired rows: bucket 0: a row that was replaced": func(x *coldBucketContent) {
			for _, row := range x.Rows {
				row[0]--
			}
		},
		"damaged": func(x *coldBucketContent) {
			for key, row := range x.Rows {
				x.Rows[key] = row[:len(row)-1]
			}
		},
		"": func(*coldBucketContent) {},
	} {
		mem := vfs.NewMem(vfs.MemOptions{})
		options := testOptions(mem)
		options.OpenCold = filesColdOf(mem)
		e := open(t, options)
		createKeyed(t, e, "t", 1, nil)
		writeGenerations(t, e, 0, 3, keyedState{})
		retireAllBut(t, e, 300)
		dir := e.catalog.lookup(name(t, "t")).dir()
		closeEngine(t, e)
		store, err := filesColdOf(mem)(join(dir, coldDir))
		if err != nil {
			t.Fatal(err)
		}
		c := store.(*filesCold)
		spoil(c.content.Buckets[0])
		if err := c.save(); err != nil {
			t.Fatal(err)
		}
		var found []string
		if _, err := check(mem, filesColdOf(mem), false, func(f Finding) { found = append(found, f.Detail) }); err != nil {
			t.Fatal(err)
		}
		if what == "" && len(found) > 0 || what != "" && (len(found) != 1 || !strings.Contains(found[0], what)) {
			t.Errorf("found %q, want %q", found, what)
		}
	}
}

// failingCold is a store that fails when it is told to.
type failingCold struct {
	pkstore.ColdStore
	failed chan struct{}
}

var errColdFailed = errors.New("the disk has gone")

func (c *failingCold) Failed() <-chan struct{} { return c.failed }
func (c *failingCold) Err() error              { return errColdFailed }

// TestFailedColdEndsServer fails a store: writes are refused, reads of the log go on, and the server is told to end.
func TestFailedColdEndsServer(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	options := testOptions(mem)
	store := &failingCold{failed: make(chan struct{})}
	options.OpenCold = func(dir string) (c pkstore.ColdStore, err error) {
		store.ColdStore, err = filesColdOf(mem)(dir)
		return store, err
	}
	e := open(t, options)
	createKeyed(t, e, "t", 1, nil)
	upsert(t, e, "t", keyedRow{1, "a", 1}, keyedRow{2, "b", 2})
	retireAllBut(t, e, 1)
	if err := e.Err(); err != nil {
		t.Fatal(err)
	}
	w := openKeyedWriter(t, e, "t", PutRequest{})
	close(store.failed)
	<-e.Failed()
	if err := e.Err(); !errors.Is(err, errColdFailed) {
		t.Errorf("the cause is %v", err)
	}
	if _, err := w.write(nil, keyedRow{3, "c", 3}); !errors.Is(err, model.ReadOnly) {
		t.Errorf("a write: %v, want %v", err, model.ReadOnly)
	}
	if err := e.Close(context.Background()); !errors.Is(err, model.ReadOnly) {
		t.Errorf("closing: %v", err)
	}
}
