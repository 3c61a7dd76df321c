package engine

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/vfs"
)

// keyedRequest is one request to a primary-key table.
type keyedRequest struct {
	mode    PutMode
	columns []string
	rows    []keyedRow
}

// write sends the request.
func (r keyedRequest) write(t testing.TB, e *Engine, table string, sequence *Sequence) (Ack, error) {
	request := PutRequest{Table: name(t, table), Mode: r.mode, Columns: r.columns}
	w := &keyedWriter{t: t, schema: keyedFields(r.columns...)}
	if r.mode == PutDelete {
		w.schema = keyedFields("id")
	}
	request.Schema = arrowipc.EncodeSchema(w.schema)
	var err error
	if w.put, err = e.OpenPut(t.Context(), request); err != nil {
		return Ack{}, err
	}
	return w.write(sequence, r.rows...)
}

// keyedForm is a kind of primary-key table, with the model of what it makes of a request.
type keyedForm struct {
	name    string
	options map[string]string
	// partial says that partial updates are allowed.
	partial bool
	// merge gives the row that is left of an old row and one that is upserted; named says whether
	// that names a column.
	merge func(old keyedRow, known bool, fresh keyedRow, named func(string) bool) (row keyedRow, taken bool)
}

func mergeLastRow(old keyedRow, known bool, fresh keyedRow, named func(string) bool) (keyedRow, bool) {
	if !known {
		old = keyedRow{fresh.id, noText, noNumber}
	}
	if named("text") {
		old.text = fresh.text
	}
	if named("number") {
		old.number = fresh.number
	}
	return old, true
}

var keyedForms = []keyedForm{
	{"last", nil, true, mergeLastRow},
	{"newimage", map[string]string{"changelog.image": "new"}, true, mergeLastRow},
	{
		"first", map[string]string{"merge.engine": "first-row", "delete.behavior": "ignore"}, false,
		func(old keyedRow, known bool, fresh keyedRow, _ func(string) bool) (keyedRow, bool) {
			if known {
				return old, false
			}
			return fresh, true
		},
	},
	{
		"versioned", map[string]string{"merge.engine": "versioned", "merge.version-column": "number"}, false,
		func(old keyedRow, known bool, fresh keyedRow, _ func(string) bool) (keyedRow, bool) {
			if fresh.number == noNumber || known && fresh.number < old.number {
				return old, false
			}
			return fresh, true
		},
	},
	{
		"sum", map[string]string{"merge.engine": "aggregation", "merge.aggregate.number": "sum"}, true,
		func(old keyedRow, known bool, fresh keyedRow, named func(string) bool) (keyedRow, bool) {
			if !known {
				old = keyedRow{fresh.id, noText, noNumber}
			}
			if named("text") && fresh.text != noText {
				old.text = fresh.text
			}
			switch {
			case !named("number") || fresh.number == noNumber:
			case old.number == noNumber:
				old.number = fresh.number
			default:
				old.number += fresh.number
			}
			return old, true
		},
	},
}

// apply makes the state behind a request, and counts what the request has changed.
func (f keyedForm) apply(state keyedState, r keyedRequest) (keyedState, int) {
	next := maps.Clone(state)
	changes := 0
	named := func(column string) bool { return r.columns == nil || slices.Contains(r.columns, column) }
	for _, row := range r.rows {
		old, known := next[row.id]
		if r.mode == PutDelete {
			if known && f.options["delete.behavior"] != "ignore" {
				delete(next, row.id)
				changes++
			}
			continue
		}
		if merged, taken := f.merge(old, known, row, named); taken {
			next[row.id] = merged
			changes++
		}
	}
	return next, changes
}

// randomRequest makes a request over few keys, so that they meet.
func (f keyedForm) randomRequest(random *rand.Rand, rowsMax int) keyedRequest {
	r := keyedRequest{}
	switch {
	case random.IntN(4) == 0:
		r.mode = PutDelete
	case f.partial && random.IntN(3) == 0:
		r.columns = [][]string{{"id", "number"}, {"text", "id"}, {"id"}}[random.IntN(3)]
	}
	for range random.IntN(rowsMax + 1) {
		row := keyedRow{random.Int64N(40), noText, noNumber}
		if random.IntN(5) > 0 {
			row.text = strings.Repeat(fmt.Sprint(random.IntN(1000)), random.IntN(30))
		}
		if random.IntN(5) > 0 {
			row.number = random.Int64N(20) - 5
		}
		r.rows = append(r.rows, row)
	}
	return r
}

// TestKeyedModel compares tables of every kind with a map, over restarts, kills, power cuts and
// maintenance; plans that were made on the way keep what they have seen.
func TestKeyedModel(t *testing.T) {
	t.Parallel()
	for _, form := range keyedForms {
		t.Run(form.name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(r *rapid.T) {
				m := &keyedMachine{t: t, form: form, mem: vfs.NewMem(vfs.MemOptions{}), state: keyedState{}}
				m.random = rand.New(rand.NewPCG(rapid.Uint64().Draw(r, "seed"), 0))
				m.options = crashOptions
				if rapid.Bool().Draw(r, "no journal") {
					m.options = func(files vfs.FS) Options {
						o := testOptions(files)
						o.JournalBytes = -1
						o.OpenCold = filesColdOf(files)
						return o
					}
				}
				m.e = open(t, m.options(m.mem))
				createKeyed(t, m.e, "t", rapid.Int32Range(1, 4).Draw(r, "buckets"), form.options)
				defer func() { closeEngine(t, m.e) }()
				r.Repeat(map[string]func(*rapid.T){
					"write": m.write, "write 2": m.write, "write 3": m.write, "retry": m.retry, "plan": m.plan,
					"restart": m.restart, "retire": m.retire, "crash": m.crash, "maintain": func(*rapid.T) { m.e.Maintain(t.Context()) },
					"grow": m.grow,
					"":     m.check,
				})
			})
		})
	}
}

// keyedMachine is one run of TestKeyedModel.
type keyedMachine struct {
	t       *testing.T
	form    keyedForm
	options func(vfs.FS) Options
	random  *rand.Rand
	mem     *vfs.Mem
	e       *Engine
	state   keyedState
	sent    int64 // requests
	last    keyedRequest
	lastAck Ack

	planID string
	before keyedState // that the plan has seen
}

func (m *keyedMachine) write(r *rapid.T) {
	request := m.form.randomRequest(m.random, rapid.SampledFrom([]int{3, 60, 400}).Draw(r, "rows"))
	ack, err := request.write(m.t, m.e, "t", &Sequence{"p", 1, m.sent})
	if err != nil || ack.Duplicate {
		r.Fatalf("request %d: %+v, %v", m.sent, ack, err)
	}
	m.last, m.lastAck = request, ack
	m.state, _ = m.form.apply(m.state, request)
	m.sent++
}

// grow gives the table 2 or 4 times as many buckets, as long as there are few.
func (m *keyedMachine) grow(r *rapid.T) {
	table, err := m.e.Table(name(m.t, "t"))
	if err != nil {
		r.Fatal(err)
	}
	if table.Buckets >= 16 {
		r.Skip("the table is large enough")
	}
	buckets := int64(table.Buckets) << rapid.IntRange(1, 2).Draw(r, "doublings")
	if _, err := m.e.AlterTable(m.t.Context(), table.Name, Expect{}, SetBuckets{buckets}); err != nil {
		r.Fatal(err)
	}
}

func (m *keyedMachine) retry(r *rapid.T) {
	if m.sent == 0 {
		r.Skip("nothing was sent")
	}
	ack, err := m.last.write(m.t, m.e, "t", &Sequence{"p", 1, m.sent - 1})
	if err != nil || !ack.Duplicate || !maps.Equal(ack.Offsets, m.lastAck.Offsets) {
		r.Fatalf("request %d again: %+v, %v; want a duplicate at %v", m.sent-1, ack, err, m.lastAck.Offsets)
	}
}

func (m *keyedMachine) plan(r *rapid.T) {
	plan, err := m.e.Plan(m.t.Context(), Scan{Table: name(m.t, "t")})
	if err != nil || plan.Rows != int64(len(m.state)) {
		r.Fatalf("%+v, %v; want a plan of %d rows", plan, err, len(m.state))
	}
	m.planID, m.before = plan.ID, m.state
}

func (m *keyedMachine) restart(*rapid.T) {
	closeEngine(m.t, m.e)
	m.e, m.planID = open(m.t, m.options(m.mem)), ""
}

func (m *keyedMachine) crash(r *rapid.T) {
	left := m.mem.Kill()
	if rapid.Bool().Draw(r, "power cut") {
		mode := vfs.KeepNone + vfs.CutMode(rapid.IntRange(0, int(vfs.KeepRandom-vfs.KeepNone)).Draw(r, "mode"))
		left = m.mem.Crash(vfs.Cut{Mode: mode, Rand: m.random})
	}
	closeEngine(m.t, m.e)
	m.mem = left
	m.e, m.planID = open(m.t, m.options(m.mem)), ""
}

func (m *keyedMachine) check(r *rapid.T) {
	if got := stateOfTable(m.t, m.e, "t"); !maps.Equal(got, m.state) {
		r.Fatalf("behind %d requests, the table has\n%v, want\n%v", m.sent, got, m.state)
	}
	if m.planID == "" {
		return
	}
	cells, _, err := readCells(m.t, m.e, Scan{Table: name(m.t, "t"), Plan: m.planID})
	if err != nil {
		r.Fatal(err)
	}
	seen := keyedState{}
	for _, c := range cells {
		seen[c.row.id] = c.row
	}
	if !maps.Equal(seen, m.before) || len(cells) != len(seen) {
		r.Fatalf("the plan has\n%v, had\n%v", seen, m.before)
	}
}

// TestKeyedOptionsDoNotMatter runs the same requests under other numbers of buckets, segment sizes, ways
// to disk and restarts: the tables are the same, and so are the changes of each key.
func TestKeyedOptionsDoNotMatter(t *testing.T) {
	type variant struct {
		buckets            int32
		segment, journal   int64
		restarts, unsynced bool
		retires            int64 // after how many requests rows are retired; 0: never
		grows              int64 // after how many requests the number of buckets is doubled, at most twice; 0: never
	}
	variants := []variant{
		{buckets: 1, segment: 1 << 20}, {buckets: 1, segment: 64 << 10, restarts: true}, {buckets: 7, segment: 128 << 10, journal: -1},
		{buckets: 3, segment: 64 << 10, journal: 1 << 10, restarts: true}, {buckets: 16, segment: 1 << 20, unsynced: true},
		{buckets: 2, segment: 64 << 10, journal: -1, restarts: true, unsynced: true},
		{buckets: 1, segment: 64 << 10, retires: 1}, {buckets: 4, segment: 64 << 10, restarts: true, retires: 5},
		{buckets: 1, segment: 64 << 10, grows: 17}, {buckets: 3, segment: 64 << 10, restarts: true, grows: 25, journal: -1},
		{buckets: 1, segment: 64 << 10, restarts: true, retires: 6, grows: 13},
	}
	for _, form := range keyedForms {
		var first keyedState
		var changes map[int64][]cell
		for i, v := range variants {
			options := testOptions(vfs.NewMem(vfs.MemOptions{}))
			options.SegmentBytes, options.JournalBytes, options.OpenCold = v.segment, v.journal, filesColdOf(options.FS)
			e := open(t, options)
			set := maps.Clone(form.options)
			if v.unsynced {
				if set == nil {
					set = map[string]string{}
				}
				set["log.durability"] = "os"
			}
			createKeyed(t, e, "t", v.buckets, set)
			random := rand.New(rand.NewPCG(3, 5))
			for number := range int64(60) {
				if _, err := form.randomRequest(random, 100).write(t, e, "t", &Sequence{"p", 1, number}); err != nil {
					t.Fatal(err)
				}
				if v.retires > 0 && number%v.retires == 0 {
					retireAllBut(t, e, number)
				}
				if v.grows > 0 && (number+1)%v.grows == 0 && number < 3*v.grows-1 {
					growTable(t, e, "t")
				}
				if v.restarts && number%7 == 3 {
					closeEngine(t, e)
					e = open(t, options)
				}
			}
			state, byKey := stateOfTable(t, e, "t"), changesByKey(mustRead(t, e, "t", ViewChangelog))
			closeEngine(t, e)
			if i == 0 {
				first, changes = state, byKey
				continue
			}
			if !maps.Equal(state, first) {
				t.Errorf("%s, %+v: the table differs from that of %+v", form.name, v, variants[0])
			}
			if !maps.EqualFunc(byKey, changes, slices.Equal) {
				t.Errorf("%s, %+v: the changes differ from those of %+v", form.name, v, variants[0])
			}
		}
	}
}

// changesByKey gives the changes of each key in their order, without their places.
func changesByKey(changes []cell) map[int64][]cell {
	byKey := map[int64][]cell{}
	for _, c := range changes {
		byKey[c.row.id] = append(byKey[c.row.id], cell{kind: c.kind, row: c.row})
	}
	return byKey
}
