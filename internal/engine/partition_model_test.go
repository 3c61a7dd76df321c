package engine

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/headrace/headrace/internal/vfs"
)

func entropyOf(seed int64) *rand.Rand { return rand.New(rand.NewPCG(uint64(seed), 1)) }

// partedMachine does random things to a partitioned table and compares it with a model.
type partedMachine struct {
	t       *testing.T
	mem     *vfs.Mem
	e       *Engine
	keyed   bool
	content map[string]map[int64]partedRow
	nextID  int64
	sent    int64
	last    []partedRow
	lastAck Ack
	planID  string
	planned []partedRow
}

func (m *partedMachine) options() Options {
	options := testOptions(m.mem)
	options.OpenCold = filesColdOf(m.mem)
	return options
}

func (m *partedMachine) country(r *rapid.T) string {
	return fmt.Sprintf("c%d", rapid.IntRange(0, 9).Draw(r, "country"))
}

func (m *partedMachine) write(r *rapid.T) {
	n := rapid.SampledFrom([]int{1, 5, 200}).Draw(r, "rows")
	rows := make([]partedRow, n)
	for i := range rows {
		m.nextID++
		rows[i] = partedRow{m.country(r), m.nextID, fmt.Sprint("text ", m.nextID)}
		if m.keyed && rapid.IntRange(0, 3).Draw(r, "old") == 0 {
			rows[i].id = rapid.Int64Range(1, m.nextID).Draw(r, "id")
		}
	}
	ack, err := tryPutParted(m.t, m.e, "t", &Sequence{"p", 1, m.sent}, rows...)
	if err != nil || ack.Duplicate {
		r.Fatalf("request %d: %+v, %v", m.sent, ack, err)
	}
	m.sent++
	m.last, m.lastAck = rows, ack
	for _, row := range rows {
		if m.content[row.country] == nil {
			m.content[row.country] = map[int64]partedRow{}
		}
		m.content[row.country][row.id] = row
	}
}

func (m *partedMachine) retry(r *rapid.T) {
	if m.sent == 0 {
		r.Skip("nothing was sent")
	}
	ack, err := tryPutParted(m.t, m.e, "t", &Sequence{"p", 1, m.sent - 1}, m.last...)
	if err != nil || !ack.Duplicate || !maps.Equal(ack.Offsets, m.lastAck.Offsets) {
		r.Fatalf("request %d again: %+v, %v; want a duplicate at %v", m.sent-1, ack, err, m.lastAck.Offsets)
	}
}

func (m *partedMachine) create(r *rapid.T) {
	country := m.country(r)
	if _, err := m.e.CreatePartition(m.t.Context(), name(m.t, "t"), PartitionValues{"country": country}, true); err != nil {
		r.Fatal(err)
	}
	if m.content[country] == nil {
		m.content[country] = map[int64]partedRow{}
	}
}

func (m *partedMachine) drop(r *rapid.T) {
	country := m.country(r)
	n, err := m.e.DropPartition(m.t.Context(), name(m.t, "t"), PartitionValues{"country": country}, false, true)
	if want := len(m.content[country]); err != nil || n == 0 && want > 0 || n > 1 {
		r.Fatalf("dropped %d, %v", n, err)
	}
	delete(m.content, country)
}

func (m *partedMachine) grow(r *rapid.T) {
	if table, err := m.e.Table(name(m.t, "t")); err != nil || table.Buckets > 8 {
		r.Skip("there are enough buckets")
	}
	growTable(m.t, m.e, "t")
}

func (m *partedMachine) rows() []partedRow {
	var rows []partedRow
	for _, partition := range m.content {
		rows = slices.AppendSeq(rows, maps.Values(partition))
	}
	slices.SortFunc(rows, comparePartedRows)
	return rows
}

func (m *partedMachine) plan(r *rapid.T) {
	plan, err := m.e.Plan(m.t.Context(), Scan{Table: name(m.t, "t")})
	if err != nil {
		r.Fatal(err)
	}
	m.planID, m.planned = plan.ID, m.rows()
	if !m.keyed {
		m.planID = "" // a scan of the log is frozen by its offsets
	}
}

func (m *partedMachine) maintain(*rapid.T) { m.e.Maintain(m.t.Context()) }

func (m *partedMachine) retire(r *rapid.T) {
	if !m.keyed {
		r.Skip("a log table")
	}
	opened := m.e.catalog.lookup(name(m.t, "t")).opened()
	opened = slices.DeleteFunc(opened, func(b *bucket) bool { return b.table.isGone(b.number) || b.keyed.End() == 0 })
	if len(opened) == 0 {
		r.Skip("no bucket is open")
	}
	b := opened[rapid.IntRange(0, len(opened)-1).Draw(r, "bucket")]
	if err := m.e.retireBucket(m.t.Context(), b, rapid.Int64Range(1, b.keyed.End()).Draw(r, "before"), m.e.newPacer()); err != nil {
		r.Fatal(err)
	}
}

func (m *partedMachine) restart(*rapid.T) {
	closeEngine(m.t, m.e)
	m.e, m.planID = open(m.t, m.options()), ""
}

func (m *partedMachine) crash(r *rapid.T) {
	left := m.mem.Kill()
	if rapid.Bool().Draw(r, "power cut") {
		mode := vfs.KeepNone + vfs.CutMode(rapid.IntRange(0, int(vfs.KeepRandom-vfs.KeepNone)).Draw(r, "mode"))
		left = m.mem.Crash(vfs.Cut{Mode: mode, Rand: entropyOf(m.sent)})
	}
	closeEngine(m.t, m.e)
	m.mem = left
	m.e, m.planID = open(m.t, m.options()), ""
}

func (m *partedMachine) check(r *rapid.T) {
	if got, want := scanParted(m.t, m.e, "t"), m.rows(); !slices.Equal(got, want) {
		r.Fatalf("the table has\n%v\nwant\n%v", got, want)
	}
	countries := countriesOf(m.t, m.e, "t")
	slices.Sort(countries)
	if want := slices.Sorted(maps.Keys(m.content)); !slices.Equal(countries, want) {
		r.Fatalf("the partitions are %v, want %v", countries, want)
	}
	some := m.country(r)
	want := slices.SortedFunc(maps.Values(m.content[some]), comparePartedRows)
	if got := scanParted(m.t, m.e, "t", some); !slices.Equal(got, want) {
		r.Fatalf("the partition %s has\n%v\nwant\n%v", some, got, want)
	}
	if m.planID == "" {
		return
	}
	if got, _, err := tryScanParted(m.t, m.e, Scan{Table: name(m.t, "t"), Plan: m.planID}); err != nil || !slices.Equal(got, m.planned) {
		r.Fatalf("the plan has\n%v, %v\nhad\n%v", got, err, m.planned)
	}
}

// TestPartitionModel compares a partitioned table with maps in memory.
func TestPartitionModel(t *testing.T) {
	t.Parallel()
	for _, keyed := range []bool{false, true} {
		t.Run(fmt.Sprint("keyed ", keyed), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(r *rapid.T) {
				m := &partedMachine{t: t, mem: vfs.NewMem(vfs.MemOptions{}), keyed: keyed, content: map[string]map[int64]partedRow{}}
				m.e = open(t, m.options())
				defer func() { closeEngine(t, m.e) }()
				createParted(t, m.e, "t", keyed, nil)
				r.Repeat(map[string]func(*rapid.T){
					"write": m.write, "retry": m.retry, "create": m.create, "drop": m.drop, "plan": m.plan, "maintain": m.maintain,
					"retire": m.retire, "restart": m.restart, "crash": m.crash, "grow": m.grow, "": m.check,
				})
			})
		})
	}
}
