package engine

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// keyedHistory is what a workload knows about one table.
type keyedHistory struct {
	form     keyedForm
	level    model.Durability
	requests []keyedRequest // that were sent
	states   []keyedState   // before the first request and behind each of them
	acks     []Ack          // of the first requests: one writer sends them and stops at the first error
}

// keyedCrashTables are the tables of the workload: the kind, the buckets, and whether it waits for the disk
// as the test asks for, or never.
var keyedCrashTables = []struct {
	form    int
	buckets int32
	relaxed bool
}{{0, 3, false}, {1, 1, true}, {2, 2, false}, {3, 1, false}, {4, 2, false}}

// keyedCrashWorkload writes to tables of every kind.
func keyedCrashWorkload(t *testing.T, files vfs.FS, level string) map[string]*keyedHistory {
	tables := map[string]*keyedHistory{}
	e, err := Open(t.Context(), crashOptions(files))
	if err != nil {
		return tables
	}
	defer func() { _ = e.Close(t.Context()) }()
	for _, x := range keyedCrashTables {
		form := keyedForms[x.form]
		options := map[string]string{"log.durability": level}
		maps.Copy(options, form.options)
		if x.relaxed {
			options["log.durability"] = "os"
		}
		h := &keyedHistory{form: form, states: []keyedState{{}}}
		h.level, _ = model.ParseDurability(options["log.durability"])
		tables[form.name] = h
		request := CreateTable{Name: name(t, form.name), Schema: keyedSchema, PrimaryKey: []string{"id"}, Buckets: x.buckets, Options: options}
		if _, err := e.CreateTable(t.Context(), request); err != nil {
			return tables
		}
	}
	random := rand.New(rand.NewPCG(11, 13))
	for number := range 16 {
		for _, x := range keyedCrashTables {
			h := tables[keyedForms[x.form].name]
			request := h.form.randomRequest(random, 5+number*number)
			state, _ := h.form.apply(h.states[len(h.states)-1], request)
			h.requests, h.states = append(h.requests, request), append(h.states, state)
			ack, err := request.write(t, e, h.form.name, &Sequence{"p", 1, int64(number)})
			if err != nil {
				return tables
			}
			h.acks = append(h.acks, ack)
		}
		if number == 10 {
			e.Maintain(t.Context())
		}
		if number == 5 || number == 13 {
			for _, x := range keyedCrashTables {
				grow := SetBuckets{int64(x.buckets) << (1 + number/8)}
				if _, err := e.AlterTable(t.Context(), name(t, keyedForms[x.form].name), Expect{}, grow); err != nil {
					return tables
				}
			}
		}
		if number == 6 || number == 12 {
			if err := retireSome(t, e, random, tables); err != nil {
				return tables
			}
		}
	}
	return tables
}

// retireSome retires the rows of all tables below some offset of each bucket.
func retireSome(t *testing.T, e *Engine, random *rand.Rand, tables map[string]*keyedHistory) error {
	for _, table := range slices.Sorted(maps.Keys(tables)) {
		for _, b := range e.catalog.lookup(name(t, table)).opened() {
			if end := b.keyed.End(); end > 0 {
				if err := e.retireBucket(t.Context(), b, random.Int64N(end+1), e.newPacer()); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// TestKeyedCrashAtEveryCall fails each call to the disk in turn, kills the server or cuts the power in
// every way, and starts it again: the state, the folded changelog and lookups agree, they are what the
// acknowledged requests have made, with or without the one behind them, and retries are recognised.
func TestKeyedCrashAtEveryCall(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"fsync", "os"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			step := int64(1)
			if testing.Short() {
				step = 29
			}
			for failAt := int64(0); ; failAt += step {
				mem := vfs.NewMem(vfs.MemOptions{})
				fault := vfs.NewFault(mem, vfs.FaultOptions{FailAt: failAt, ChangesOnly: true})
				tables := keyedCrashWorkload(t, fault, level)
				for name, crashed := range crashes(mem, uint64(failAt), level) {
					what := fmt.Sprintf("call %d failed, %s", failAt, name)
					checkUndamaged(t, what, crashed.files)
					checkKeyedTables(t, what, crashed, tables)
				}
				if fault.Calls() <= failAt {
					return
				}
			}
		})
	}
}

// checkKeyedTables starts a server over what a crash has left and compares.
func checkKeyedTables(t *testing.T, what string, crashed crash, tables map[string]*keyedHistory) {
	t.Helper()
	e := openCrashed(t, what, crashed.files)
	defer closeEngine(t, e)
	for table, h := range tables {
		if len(h.acks) == 0 && e.catalog.lookup(name(t, table)) == nil {
			continue
		}
		got := stateOfTable(t, e, table)
		at := h.find(got, crashed)
		if at < 0 {
			t.Fatalf("%s: table %s has\n%v, which is not what the %d acknowledged requests of %d made:\n%v",
				what, table, got, len(h.acks), len(h.requests), h.states[len(h.acks)])
		}
		h.checkRetries(t, what, e, crashed)
	}
}

// find gives how many requests have made a state, −1 if none that a crash may leave.
func (h *keyedHistory) find(state keyedState, crashed crash) int {
	from := 0
	if h.level >= crashed.survived {
		from = len(h.acks)
	}
	for at := from; at < len(h.states); at++ {
		if maps.Equal(h.states[at], state) {
			return at
		}
	}
	return -1
}

// checkRetries sends the newest acknowledged requests again, and then what is left of the workload.
func (h *keyedHistory) checkRetries(t *testing.T, what string, e *Engine, crashed crash) {
	t.Helper()
	if h.level < crashed.survived || len(h.acks) == 0 {
		return
	}
	table := h.form.name
	for number := max(0, len(h.acks)-3); number < len(h.acks); number++ {
		ack, err := h.requests[number].write(t, e, table, &Sequence{"p", 1, int64(number)})
		if err != nil || !ack.Duplicate || !maps.Equal(ack.Offsets, h.acks[number].Offsets) {
			t.Fatalf("%s: table %s: retry of seq %d: %+v, %v; want a duplicate at %v", what, table, number, ack, err, h.acks[number].Offsets)
		}
	}
	random := rand.New(rand.NewPCG(17, 19))
	more := append(slices.Clone(h.requests), h.form.randomRequest(random, 30), h.form.randomRequest(random, 30))
	state := h.states[len(h.acks)]
	for number := len(h.acks); number < len(more); number++ {
		if _, err := more[number].write(t, e, table, &Sequence{"p", 1, int64(number)}); err != nil {
			t.Fatalf("%s: table %s: seq %d: %v", what, table, number, err)
		}
		state, _ = h.form.apply(state, more[number])
	}
	if got := stateOfTable(t, e, table); !maps.Equal(got, state) {
		t.Fatalf("%s: table %s, all requests sent again: it has\n%v, want\n%v", what, table, got, state)
	}
}
