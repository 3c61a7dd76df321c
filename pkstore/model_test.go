package pkstore

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// machine drives a bucket and a reference at once.
type machine struct {
	t      *rapid.T
	bucket *Bucket
	// states has the reference after each change, the first being the one that is published.
	states []modelState
	log    []loggedRow // from start up to the end of the last state
	start  int64
	// weak says that the hashes of keys differ in two bits only.
	weak   bool
	stored []Stored // what is published

	snapshots []*Snapshot
	expected  []modelState

	// cold is what rows are retired to; saved is an index file, and the log that it goes with.
	cold     *memoryCold
	saved    []byte
	savedLog []Stored
}

type modelState struct {
	reference
	end     int64
	batches []*arrowipc.Batch // of the change that led to it
}

func (m *machine) last() *modelState { return &m.states[len(m.states)-1] }

var (
	drawnID   = rapid.SampledFrom([]string{"1", "2", "-7"})
	drawnName = rapid.SampledFrom([]string{"", "a", "bc"})
	drawnCell = rapid.OneOf(rapid.Just(null), rapid.Map(rapid.IntRange(-2, 3), func(n int) string { return fmt.Sprint(n) }))
	drawnText = rapid.SampledFrom([]string{null, "", "x", "a longer text than fits anywhere"})
)

func drawRows(t *rapid.T, label string) []testRow {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) testRow {
		return testRow{
			drawnID.Draw(t, "id"), drawnName.Draw(t, "name"), drawnCell.Draw(t, "version"),
			drawnCell.Draw(t, "number"), drawnText.Draw(t, "text"),
		}
	}), 0, 12).Draw(t, label)
}

// drawColumns gives the key and any of the others, in any order.
func (m *machine) drawColumns(t *rapid.T) []int {
	columns := slices.Clone(testKey)
	for _, column := range []int{versionColumn, numberColumn, textColumn} {
		needed := column == versionColumn && m.last().options.Merge.Engine == model.MergeVersioned
		if needed || rapid.Bool().Draw(t, "named") {
			columns = append(columns, column)
		}
	}
	return rapid.Permutation(columns).Draw(t, "columns")
}

func (m *machine) change(t *rapid.T, rows []testRow, columns []int, deletes bool) {
	onlyNew := !deletes && rapid.IntRange(0, 9).Draw(t, "only new") == 0
	next := modelState{reference: m.last().clone()}
	want := next.apply(rows, columns, deletes, onlyNew)
	c := changeOf(t, columns, rows)
	c.Delete, c.OnlyNew, c.Hashes = deletes, onlyNew, m.hashes(c.Hashes)
	var err error
	next.batches, err = m.bucket.Apply(m.last().end, c)
	if err != nil {
		t.Fatal(err)
	}
	c.Rows.Batch().Release()
	if got := logged(t, next.batches); !slices.Equal(got, want) {
		t.Fatalf("the changelog has\n%v\nwant\n%v", got, want)
	}
	next.end = m.last().end + int64(len(want))
	m.states = append(m.states, next)
	m.log = append(m.log, want...)
}

func (m *machine) Upsert(t *rapid.T)  { m.change(t, drawRows(t, "rows"), allOf, false) }
func (m *machine) Partial(t *rapid.T) { m.change(t, drawRows(t, "rows"), m.drawColumns(t), false) }
func (m *machine) Delete(t *rapid.T) {
	m.change(t, drawRows(t, "keys"), []int{nameColumn, idColumn}, true)
}

func (m *machine) Publish(t *rapid.T) {
	n := rapid.IntRange(0, len(m.states)-1).Draw(t, "changes")
	every := rapid.Int64Range(1, 5).Draw(t, "rows of a batch")
	var stored []Stored
	for i := 1; i <= n; i++ {
		stored = append(stored, kept(t, m.states[i-1].end, m.states[i].batches, every)...)
	}
	if err := m.bucket.Publish(m.states[n].end, stored); err != nil {
		t.Fatal(err)
	}
	m.stored = append(m.stored, stored...)
	m.states = m.states[n:]
}

func (m *machine) Abandon(t *rapid.T) {
	n := rapid.IntRange(1, len(m.states)).Draw(t, "states")
	m.states = m.states[:n]
	m.bucket.Abandon(m.last().end)
	m.log = m.log[:m.last().end-m.start]
}

func (m *machine) Snapshot(*rapid.T) {
	m.snapshots = append(m.snapshots, m.bucket.Snapshot())
	m.expected = append(m.expected, m.states[0])
}

func (m *machine) hashes(hashes []uint64) []uint64 {
	if m.weak {
		for i := range hashes {
			hashes[i] &= 3 << 61
		}
	}
	return hashes
}

// Reopen makes the bucket anew from what was published: from its index, from the log, or from an index
// and the log behind it.
func (m *machine) Reopen(t *rapid.T) {
	m.states = m.states[:1]
	m.log = m.log[:m.last().end-m.start]
	if len(m.stored) == 0 {
		m.open(t, nil, nil)
		return
	}
	if m.saved != nil && !m.weak && rapid.Bool().Draw(t, "saved index") && m.reopenSaved(t) {
		return
	}
	if !m.weak {
		m.recut(t)
		indexed := rapid.IntRange(0, len(m.stored)).Draw(t, "batches in the index")
		m.open(t, nil, nil)
		for _, s := range m.stored[:indexed] {
			if err := m.bucket.Replay(s); err != nil {
				t.Fatal(err)
			}
		}
		if indexed > 0 {
			m.reload(t, m.stored[:indexed])
		}
		for _, s := range m.stored[indexed:] {
			if err := m.bucket.Replay(s); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	m.reload(t, m.stored)
}

func (m *machine) reload(t *rapid.T, stored []Stored) {
	m.open(t, m.bucket.AppendIndex(nil), stored)
}

// recut cuts the log into other batches, as rewriting it does: one may have rows of several changes.
func (m *machine) recut(t *rapid.T) {
	builder := arrowipc.NewBuilder(m.bucket.current().options.Layout)
	m.forget()
	m.saved = nil // its batches are others
	if len(m.stored) == 0 {
		return
	}
	base, size := m.stored[0].Base, rapid.Int64Range(1, 40).Draw(t, "rows of a batch")
	var stored []Stored
	cut := func() {
		if builder.Rows() > 0 {
			stored = append(stored, Stored{Base: base, View: opened(t, builder.Finish())})
			base = stored[len(stored)-1].end()
		}
	}
	for _, s := range m.stored {
		for row := range s.View.Rows() {
			if err := builder.AppendRange(s.View.Batch(), row, row+1); err != nil {
				t.Fatal(err)
			}
			if builder.Rows() == size {
				cut()
			}
		}
	}
	cut()
	m.stored = stored
}

func (m *machine) Check(t *rapid.T) {
	published := m.states[0]
	if got := stateOf(t, m.bucket.Snapshot()); !maps.Equal(got, published.state) {
		t.Fatalf("the state is %v, want %v", got, published.state)
	}
	if published.options.Image == model.ImageFull {
		if got := folded(t, m.log[:published.end-m.start]); !maps.Equal(got, published.state) {
			t.Fatalf("the changelog folds to %v, want %v", got, published.state)
		}
	}
	for i, s := range m.snapshots {
		want := m.expected[i]
		if got := stateOf(t, s); (s.End() != want.end && s.End() != 0) || !maps.Equal(got, want.state) {
			t.Fatalf("the snapshot at %d is %v, want %v at %d", s.End(), got, want.state, want.end)
		}
	}
	m.checkLookup(t, published)
	checkShape(t, &m.bucket.index)
	m.checkRetired(t)
	if s := m.bucket.Stats(); s.Keys != int64(len(published.state)) || s.End != published.end && len(m.stored) > 0 {
		t.Fatalf("stats are %+v, want %d keys up to %d", s, len(published.state), published.end)
	}
	if len(m.states) == 1 && (len(m.bucket.batches) > 0 || !m.bucket.pending.empty()) {
		t.Fatal("nothing is pending, but the bucket keeps something")
	}
}

func (m *machine) checkLookup(t *rapid.T, published modelState) {
	var keys []testRow
	var want []string
	for _, id := range []string{"1", "2", "-7", "8"} {
		for _, name := range []string{"", "a", "bc", "d"} {
			key := testRow{id, name}
			text := null
			if row, ok := published.state[key.key()]; ok {
				text = fmt.Sprint(row)
			}
			keys, want = append(keys, key), append(want, text)
		}
	}
	got, asOf := lookedUpHashed(t, m.bucket, keys, nil, m.hashes)
	if len(m.stored) == 0 {
		asOf = published.end // where nothing was ever published, nobody knows where the log begins
	}
	if asOf != published.end || !slices.Equal(got, want) {
		t.Fatalf("looked up\n%v at %d, want\n%v at %d", got, asOf, want, published.end)
	}
	got, _ = lookedUpHashed(t, m.bucket, keys, []int32{5, 1}, m.hashes)
	if want := []string{want[5], want[1]}; !slices.Equal(got, want) {
		t.Fatalf("looked up %v, want %v", got, want)
	}
}

func testEngine(t *testing.T, o Options) {
	rapid.Check(t, func(t *rapid.T) {
		o := o
		o.Image = rapid.SampledFrom([]model.ChangelogImage{model.ImageFull, model.ImageNew}).Draw(t, "image")
		o.BatchBytes = rapid.SampledFrom([]int64{0, 1, 1000}).Draw(t, "batch bytes")
		m := &machine{t: t, cold: newMemoryCold(), bucket: newTestBucket(t, o), weak: rapid.Bool().Draw(t, "weak hashes")}
		// The log may begin anywhere, also where the offsets in slots begin again from 0.
		m.start = rapid.SampledFrom([]int64{0, chunkRows - 3, windowRows - 5, 3*windowRows + 100}).Draw(t, "start")
		m.states = []modelState{{reference: reference{o, map[string]testRow{}}, end: m.start}}
		m.open(t, nil, nil)
		t.Repeat(map[string]func(*rapid.T){
			"upsert": m.Upsert, "partial": m.Partial, "delete": m.Delete, "publish": m.Publish,
			"abandon": m.Abandon, "snapshot": m.Snapshot, "reopen": m.Reopen, "": m.Check,
			"retire": m.Retire, "save": m.Save,
		})
	})
}

func TestModelLastRow(t *testing.T) { testEngine(t, Options{}) }
func TestModelFirstRow(t *testing.T) {
	testEngine(t, Options{Merge: MergeOptions{Engine: model.MergeFirstRow}})
}
func TestModelVersioned(t *testing.T) {
	testEngine(t, Options{Merge: MergeOptions{Engine: model.MergeVersioned}})
}
func TestModelAggregation(t *testing.T) {
	testEngine(t, Options{Merge: MergeOptions{
		Engine: model.MergeAggregation, Aggregates: map[int]AggregateFunction{numberColumn: AggregateSum},
	}})
}
