package pkstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// testIndexes are the columns of the indexes of tests, by name.
var testIndexes = map[string][]int{
	"number": {numberColumn}, "text": {textColumn}, "both": {textColumn, numberColumn}, "prefix": {idColumn},
}

// indexMachine drives a bucket with secondary indexes.
type indexMachine struct {
	machine
	builds map[string]*IndexBuild // nil: built
}

func (m *indexMachine) Add(t *rapid.T) {
	name := rapid.SampledFrom(sortedKeys(testIndexes)).Draw(t, "index")
	build, err := m.bucket.AddIndex(name, testIndexes[name])
	if _, there := m.builds[name]; there {
		if !errors.Is(err, model.IndexAlreadyExists) {
			t.Fatalf("an index added twice: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	m.builds[name] = build
}

func (m *indexMachine) Step(t *rapid.T) {
	for _, name := range sortedKeys(m.builds) {
		build := m.builds[name]
		if build == nil || rapid.Bool().Draw(t, "not yet") {
			continue
		}
		more, err := build.Step()
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			m.builds[name] = nil
		}
	}
}

func (m *indexMachine) Drop(t *rapid.T) {
	name := rapid.SampledFrom(sortedKeys(testIndexes)).Draw(t, "index")
	m.bucket.DropIndex(name)
	if build := m.builds[name]; build != nil {
		if _, err := build.Step(); !errors.Is(err, ErrIndexDropped) {
			t.Fatalf("a step of an index that was dropped: %v", err)
		}
		build.Fail(ErrIndexDropped)
	}
	delete(m.builds, name)
}

// Reopen makes the bucket anew, with some of the indexes added before the log is replayed.
func (m *indexMachine) Reopen(t *rapid.T) {
	m.states = m.states[:1]
	m.log = m.log[:m.last().end]
	for _, build := range m.builds {
		if build != nil {
			build.Fail(errors.New("the bucket is closed"))
		}
	}
	m.builds = map[string]*IndexBuild{}
	m.forget()
	m.open(t, nil, nil)
	if rapid.Bool().Draw(t, "first") {
		m.Add(t)
		m.Step(t)
	}
	for _, s := range m.stored {
		if err := m.bucket.Replay(s); err != nil {
			t.Fatal(err)
		}
	}
}

func (m *indexMachine) Check(t *rapid.T) {
	m.machine.Check(t)
	for name, build := range m.builds {
		x := m.bucket.secondary.find(name)
		if build != nil {
			if _, _, err := m.bucket.LookupBy(name, Keys{}, nil); !errors.Is(err, model.IndexNotReady) {
				t.Fatalf("a lookup by an index that is not built: %v", err)
			}
			continue
		}
		checkTree(t, x.tree)
		if x.root.Load() != x.tree.root {
			t.Fatal("readers see an old state")
		}
		m.checkIndex(t, name)
	}
}

func (m *indexMachine) checkIndex(t *rapid.T, name string) {
	columns := testIndexes[name]
	keys := []testRow{{"8", "", "", "77", "nobody"}}
	for _, row := range m.states[0].state {
		keys = append(keys, row, row)
	}
	slices.SortFunc(keys, func(a, b testRow) int { return slices.Compare(a[:], b[:]) })
	var want []string
	rows := map[string]bool{}
	for i, key := range keys {
		var found []string
		for _, row := range m.states[0].state {
			if sameValues(columns, key, row) {
				found = append(found, fmt.Sprint(i, row))
				rows[row.key()] = true
			}
		}
		slices.Sort(found)
		want = append(want, found...)
	}
	got, asOf := lookedUpBy(t, m.bucket, name, columns, keys)
	if asOf != m.states[0].end || !slices.Equal(got, want) {
		t.Fatalf("by %s\n%v at %d, want\n%v at %d", name, got, asOf, want, m.states[0].end)
	}
	if n := m.bucket.secondary.find(name).stats().Rows; n != int64(len(rows)) {
		t.Fatalf("index %s has %d rows, want %d", name, n, len(rows))
	}
}

func sameValues(columns []int, a, b testRow) bool {
	for _, column := range columns {
		if a[column] != b[column] || a[column] == null {
			return false
		}
	}
	return true
}

// lookedUpBy gives the rows found by an index, each behind the number of its key, sorted by key and text.
func lookedUpBy(t failer, b *Bucket, name string, columns []int, rows []testRow) ([]string, int64) {
	t.Helper()
	matches, asOf, err := b.LookupBy(name, keysBy(t, columns, rows), nil)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for from := 0; from < len(matches); {
		to := from
		var texts []string
		for ; to < len(matches) && matches[to].Key == matches[from].Key; to++ {
			m := matches[to]
			if to > from && m.Offset <= matches[to-1].Offset {
				t.Fatalf("offset %d comes behind %d", m.Offset, matches[to-1].Offset)
			}
			texts = append(texts, fmt.Sprint(m.Key, rowAt(m.Row.View, m.Row.Row)))
		}
		slices.Sort(texts)
		found = append(found, texts...)
		from = to
	}
	return found, asOf
}

// keysBy makes keys of the columns of an index.
func keysBy(t failer, columns []int, rows []testRow) Keys {
	t.Helper()
	view := viewOf(t, columns, rows)
	at := make([]int, len(columns))
	for i := range at {
		at[i] = i
	}
	key, err := arrowipc.NewKeyColumns(view.Layout(), at)
	if err != nil {
		t.Fatal(err)
	}
	hasher, err := arrowipc.NewRowHasher(view.Layout(), at)
	if err != nil {
		t.Fatal(err)
	}
	hashes, err := hasher.Hash(view.Batch(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return Keys{View: view, Columns: key, Hashes: hashes}
}

func TestModelSecondary(t *testing.T) {
	for _, engine := range []model.MergeEngine{model.MergeLastRow, model.MergeFirstRow, model.MergeVersioned, model.MergeAggregation} {
		t.Run(string(engine), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				o := Options{Merge: MergeOptions{Engine: engine}}
				if engine == model.MergeAggregation {
					o.Merge.Aggregates = map[int]AggregateFunction{numberColumn: AggregateSum}
				}
				o.Image = rapid.SampledFrom([]model.ChangelogImage{model.ImageFull, model.ImageNew}).Draw(t, "image")
				m := &indexMachine{builds: map[string]*IndexBuild{}}
				m.machine = machine{t: t, cold: newMemoryCold()}
				m.states = []modelState{{reference: reference{o, map[string]testRow{}}}}
				m.open(t, nil, nil)
				t.Repeat(map[string]func(*rapid.T){
					"upsert": m.Upsert, "partial": m.Partial, "delete": m.Delete, "publish": m.Publish, "abandon": m.Abandon,
					"reopen": m.Reopen, "add": m.Add, "step": m.Step, "drop": m.Drop, "": m.Check,
					"retire": m.Retire,
				})
			})
		})
	}
}

// fill puts n rows into a bucket whose text is one of a few, and publishes them.
func fillTexts(t failer, b *Bucket, from, n, texts int) {
	t.Helper()
	var rows []testRow
	for i := from; i < from+n; i++ {
		rows = append(rows, testRow{fmt.Sprint(i), "a", null, fmt.Sprint(i), fmt.Sprint("text ", i%texts)})
	}
	base := b.End()
	batches, err := b.Apply(base, changeOf(t, allOf, rows))
	if err != nil {
		t.Fatal(err)
	}
	stored := kept(t, base, batches, 1000)
	if err := b.Publish(stored[len(stored)-1].end(), stored); err != nil {
		t.Fatal(err)
	}
}

func buildIndex(t failer, b *Bucket, name string) {
	t.Helper()
	build, err := b.AddIndex(name, testIndexes[name])
	for more := true; err == nil && more; {
		more, err = build.Step()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// All of a request or nothing of it is found, by an index too, whatever runs at the same time.
func TestLookupByWhileWriting(t *testing.T) {
	t.Run("log", func(t *testing.T) { testLookupBy(t, newTestBucket(t, Options{}), func() bool { return false }) })
	t.Run("retired", func(t *testing.T) {
		b := newTestBucket(t, Options{})
		store := openCold(t, ColdOptions{Dir: t.TempDir()})
		defer closeCold(t, store)
		if err := b.UseCold(store, ColdBucket{}); err != nil {
			t.Fatal(err)
		}
		r := Retirement{Times: testTimes, Durable: func(context.Context) error { return nil }}
		testLookupBy(t, b, func() bool {
			r.Before = b.End() - 2000
			if _, err := b.Retire(t.Context(), r); err != nil {
				t.Error(err)
			}
			return true
		})
		if b.Stats().Boundary == 0 {
			t.Error("no row was retired")
		}
	})
}

// testLookupBy runs a writer and lookups by an index, and beside them meanwhile as long as it gives true.
func testLookupBy(t *testing.T, b *Bucket, meanwhile func() bool) {
	const rows, texts = 6000, 3
	fillTexts(t, b, 0, rows, texts)
	buildIndex(t, b, "text")
	keys := keysBy(t, []int{textColumn}, []testRow{{4: "text 0"}, {4: "text 1"}, {4: "text 2"}, {4: "text 3"}})
	stop := make(chan struct{})
	var readers sync.WaitGroup
	readers.Go(func() {
		for meanwhile() {
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				matches, asOf, err := b.LookupBy("text", keys, nil)
				if err != nil || len(matches) != rows {
					t.Errorf("%d rows at %d, want %d: %v", len(matches), asOf, rows, err)
					return
				}
				// Each row once, and all as of the end of a request, whose last row is that of a key.
				seen := map[string]bool{}
				newest := int64(0)
				for _, m := range matches {
					newest = max(newest, m.Offset)
					seen[textAt(m.Row.View, idColumn, m.Row.Row)] = true
				}
				if len(seen) != rows || newest+1 != asOf {
					t.Errorf("%d of %d rows are there as of %d, the newest at %d", len(seen), rows, asOf, newest)
					return
				}
			}
		})
	}
	// Each request gives all rows another text.
	for i := range 40 {
		fillTexts(t, b, 0, rows, 2+i%2)
	}
	close(stop)
	readers.Wait()
}

// With a pause in no place, a lookup of many rows reads a state that was fixed.
func TestLookupByFixedState(t *testing.T) {
	b := newTestBucket(t, Options{})
	const rows = 3 * matchesHeld
	fillTexts(t, b, 0, rows, 2)
	buildIndex(t, b, "text")
	b.sequence.Add(1) // as if a Publish ran
	for _, texts := range [][]string{{"text 0", "text 1"}, {"nobody"}} {
		var keys []testRow
		for _, text := range texts {
			keys = append(keys, testRow{4: text})
		}
		matches, _, err := b.LookupBy("text", keysBy(t, []int{textColumn}, keys), nil)
		if want := (len(texts) - 1) * rows; err != nil || len(matches) != want {
			t.Fatalf("%d rows, want %d: %v", len(matches), want, err)
		}
	}
	b.sequence.Add(1)
	fillTexts(t, b, 0, rows, 1)
	if matches, _, err := b.LookupBy("text", keysBy(t, []int{textColumn}, []testRow{{4: "text 0"}}), nil); err != nil || len(matches) != rows {
		t.Fatalf("%d rows, want %d: %v", len(matches), rows, err)
	}
}

func TestBuildWhileWriting(t *testing.T) {
	b := newTestBucket(t, Options{})
	fillTexts(t, b, 0, 3*buildRows, 100)
	build, err := b.AddIndex("text", testIndexes["text"])
	if err != nil {
		t.Fatal(err)
	}
	last := 0.0
	for more, from := true, 0; more; from += 3000 {
		if more, err = build.Step(); err != nil {
			t.Fatal(err)
		}
		s := b.IndexStats()[0]
		if s.Progress < last || more == s.Built {
			t.Fatalf("behind %v there is %+v", last, s)
		}
		last = s.Progress
		if from < 10_000 {
			fillTexts(t, b, 3*buildRows+from, 3000, 100)
			fillTexts(t, b, from, 3000, 1)
		}
	}
	if s := b.Stats(); last != 1 || s.SecondaryBytes == 0 {
		t.Errorf("progress is %v, stats %+v", last, s)
	}
	for _, x := range b.secondary.all() {
		if entries := checkTree(t, x.tree); len(entries) != int(b.Stats().Keys) {
			t.Errorf("%d entries of %d keys", len(entries), b.Stats().Keys)
		}
	}
}

func TestIndexRefuses(t *testing.T) {
	b := newTestBucket(t, Options{})
	if _, err := b.AddIndex("x", []int{99}); !errors.Is(err, model.ColumnNotFound) {
		t.Errorf("an index of a column that is not there: %v", err)
	}
	if _, _, err := b.LookupBy("x", Keys{}, nil); !errors.Is(err, model.IndexNotFound) {
		t.Errorf("a lookup by an index that is not there: %v", err)
	}
	fillTexts(t, b, 0, 10, 2)
	build, err := b.AddIndex("text", testIndexes["text"])
	if err != nil {
		t.Fatal(err)
	}
	cause := errors.New("a page cannot be read")
	build.Fail(cause)
	if _, _, err := b.LookupBy("text", Keys{}, nil); !errors.Is(err, cause) {
		t.Errorf("a lookup by an index that could not be built: %v", err)
	}
	fillTexts(t, b, 0, 10, 2)
	b.DropIndex("text")
	buildIndex(t, b, "text")
	if got := b.IndexStats(); len(got) != 1 || got[0].Rows != 10 || !got[0].Built {
		t.Errorf("%+v", got)
	}
}

// Keys whose hashes are nearly or quite the same are each found once.
func TestLookupByCollidingHashes(t *testing.T) {
	b := newTestBucket(t, Options{})
	buildIndex(t, b, "text")
	const shared = uint64(0xabcdef12) << 32
	hashes := []uint64{shared, shared, shared | 1, shared | 1<<32, shared | 3<<32, shared | 3<<32, 1 << 60, 1<<60 | 5<<32}
	var rows []testRow
	for i := range hashes {
		rows = append(rows, testRow{fmt.Sprint(i), "a", null, null, "same"})
	}
	rows[2][textColumn] = "other"
	apply := func(deleted bool, rows []testRow, hashes []uint64) {
		t.Helper()
		c := changeOf(t, allOf, rows)
		c.Hashes, c.Delete = hashes, deleted
		base := b.End()
		batches, err := b.Apply(base, c)
		if err != nil {
			t.Fatal(err)
		}
		stored := kept(t, base, batches, 3)
		if err := b.Publish(stored[len(stored)-1].end(), stored); err != nil {
			t.Fatal(err)
		}
	}
	want := func(same, other int) {
		t.Helper()
		keys := keysBy(t, []int{textColumn}, []testRow{{4: "same"}, {4: "other"}})
		matches, _, err := b.LookupBy("text", keys, nil)
		if err != nil {
			t.Fatal(err)
		}
		var found [2]map[int64]bool
		for i := range found {
			found[i] = map[int64]bool{}
		}
		for _, m := range matches {
			found[m.Key][m.Offset] = true
		}
		if len(found[0]) != same || len(found[1]) != other || len(matches) != same+other {
			t.Errorf("%d matches, of %d and %d rows, want %d and %d", len(matches), len(found[0]), len(found[1]), same, other)
		}
	}
	apply(false, rows, hashes)
	want(7, 1)
	apply(true, rows[:1], hashes[:1])
	want(6, 1)
	rows[1][textColumn] = "other"
	apply(false, rows[1:2], hashes[1:2])
	want(5, 2)
}
