package engine

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
	"github.com/headrace/headrace/streams"
)

// groupsEngine opens an engine with a table of three buckets of 100 rows each.
func groupsEngine(t *testing.T, files vfs.FS, clock model.Clock, set map[string]string) *Engine {
	t.Helper()
	e := open(t, groupsOptions(files, clock))
	createTable(t, e, CreateTable{Name: name(t, "t"), Buckets: 3, Options: set})
	for range 3 {
		if _, err := openWriter(t, e, "t", PutRequest{}).write(0, 100, nil); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

func joinGroup(t *testing.T, e *Engine, group, member string, start BoundKind) *Membership {
	t.Helper()
	told, err := e.JoinGroup(t.Context(), JoinGroup{Table: name(t, "t"), Group: group, Member: member, Start: Bound{Kind: start}})
	if err != nil {
		t.Fatal(err)
	}
	return told
}

func caller(t *testing.T, group, member string, generation int64) GroupMember {
	return GroupMember{Table: name(t, "t"), Group: group, Member: member, Generation: generation}
}

func at(offsets model.Offsets) model.Position { return model.Position{Offsets: offsets} }

// TestGroupHandover follows two members from the first's join to the second's death.
func TestGroupHandover(t *testing.T) {
	clock := &steppedClock{now: time.Unix(1_800_000_000, 0)}
	e := groupsEngine(t, vfs.NewMem(vfs.MemOptions{}), clock, nil)
	defer closeEngine(t, e)
	beat := func(member string, generation int64) *Membership {
		t.Helper()
		told, err := e.Heartbeat(t.Context(), caller(t, "g", member, generation))
		if err != nil {
			t.Fatal(err)
		}
		return told
	}
	first := joinGroup(t, e, "g", "a", BoundLatest)
	if first.Generation != 1 || !slices.Equal(first.Buckets, []int32{0, 1, 2}) || first.Position.Offsets[1] != 100 {
		t.Fatalf("%+v, want all buckets from their ends", first)
	}
	if second := joinGroup(t, e, "g", "b", BoundEarliest); second.Generation != 2 || len(second.Buckets) > 0 || !slices.Equal(second.Waits, []int32{2}) {
		t.Fatalf("%+v, want to wait for bucket 2", second)
	}
	if told := beat("a", 1); told.Generation != 2 || !slices.Equal(told.Buckets, []int32{0, 1}) {
		t.Fatalf("%+v, want buckets 0 and 1 of generation 2", told)
	}
	if told := beat("b", 2); len(told.Buckets) > 0 {
		t.Fatalf("%+v, want none before the first has given bucket 2 up", told)
	}
	// It may still commit what it has read of the bucket.
	if _, err := e.CommitPosition(t.Context(), caller(t, "g", "a", 1), at(model.Offsets{2: 100})); err != nil {
		t.Fatal(err)
	}
	beat("a", 2)
	if told := beat("b", 2); !slices.Equal(told.Buckets, []int32{2}) || told.Position.Offsets[2] != 100 {
		t.Fatalf("%+v, want bucket 2 at 100", told)
	}
	if _, err := e.CommitPosition(t.Context(), caller(t, "g", "a", 2), at(model.Offsets{2: 100})); !errors.Is(err, model.MemberFenced) {
		t.Errorf("a commit of another's bucket: error %v, want %v", err, model.MemberFenced)
	}
	clock.now = clock.now.Add(SessionDefault - time.Second)
	beat("a", 2)
	clock.now = clock.now.Add(time.Second)
	if told := beat("a", 2); told.Generation != 3 || len(told.Buckets) != 3 {
		t.Errorf("%+v, want all buckets once the second's session is over", told)
	}
	if _, err := e.Heartbeat(t.Context(), caller(t, "g", "b", 2)); !errors.Is(err, model.MemberFenced) {
		t.Errorf("a member that has expired: error %v, want %v", err, model.MemberFenced)
	}
	if err := e.LeaveGroup(t.Context(), caller(t, "g", "a", 3)); err != nil {
		t.Fatal(err)
	}
	if err := e.LeaveGroup(t.Context(), caller(t, "g", "a", 3)); err != nil {
		t.Errorf("leaving twice: %v", err)
	}
}

// TestGroupRefusals gives calls that are refused, each for its reason.
func TestGroupRefusals(t *testing.T) {
	e := groupsEngine(t, vfs.NewMem(vfs.MemOptions{}), &steppedClock{now: time.Unix(1_800_000_000, 0)}, nil)
	defer closeEngine(t, e)
	told := joinGroup(t, e, "g", "a", BoundEarliest)
	again := joinGroup(t, e, "g", "a", BoundEarliest)
	commit := func(from GroupMember, position model.Position) error {
		_, err := e.CommitPosition(t.Context(), from, position)
		return err
	}
	for _, tc := range []struct {
		what   string
		err    error
		reason model.Reason
	}{
		{"an older incarnation", commit(caller(t, "g", "a", told.Generation), at(model.Offsets{0: 1})), model.MemberFenced},
		{"a generation to come", commit(caller(t, "g", "a", again.Generation+1), at(model.Offsets{0: 1})), model.MemberFenced},
		{"a stranger", commit(caller(t, "g", "x", again.Generation), at(model.Offsets{0: 1})), model.MemberFenced},
		{"a group that is not there", commit(caller(t, "h", "a", 1), at(model.Offsets{0: 1})), model.MemberFenced},
		{"no member, beside members", commit(caller(t, "g", "", 0), at(model.Offsets{0: 1})), model.MemberFenced},
		{"behind the end", commit(caller(t, "g", "a", again.Generation), at(model.Offsets{0: 101})), model.OffsetBeyondEnd},
		{"a bucket that is not there", commit(caller(t, "g", "a", again.Generation), at(model.Offsets{3: 1})), model.BadRequest},
		{"another table", commit(caller(t, "g", "a", again.Generation), model.Position{TableID: told.Member}), model.TableReplaced},
		{"no group", commit(caller(t, "", "", 0), at(nil)), model.BadRequest},
		{"no table", commit(GroupMember{Table: name(t, "x"), Group: "g"}, at(nil)), model.TableNotFound},
		{"a session that is too long", func() error {
			_, err := e.JoinGroup(t.Context(), JoinGroup{Table: name(t, "t"), Group: "g", Member: "\x00", Session: time.Hour})
			return err
		}(), model.BadRequest},
		{"reset of no group", func() error {
			_, err := e.ResetPosition(t.Context(), name(t, "t"), "h", Bound{})
			return err
		}(), model.GroupNotFound},
		{"positions of no group", func() error {
			_, err := e.Positions(t.Context(), name(t, "t"), "h")
			return err
		}(), model.GroupNotFound},
		{"drop of no group", e.DropGroup(t.Context(), name(t, "t"), "h", false), model.GroupNotFound},
	} {
		if !errors.Is(tc.err, tc.reason) {
			t.Errorf("%s: error %v, want %v", tc.what, tc.err, tc.reason)
		}
	}
	if err := e.DropGroup(t.Context(), name(t, "t"), "h", true); err != nil {
		t.Error(err)
	}
	if err := commit(caller(t, "alone", "", 0), at(model.Offsets{1: 10})); err != nil {
		t.Errorf("a consumer without members: %v", err)
	}
	if states, err := e.Groups(t.Context(), "default.*"); err != nil || len(states) != 2 || states[0].Group != "alone" || states[0].Lag != 290 || states[1].Lag != 300 {
		t.Errorf("%+v, %v; want the groups alone and g with their lags", states, err)
	}
}

// TestGroupReset moves positions back and forward; the members have to join again.
func TestGroupReset(t *testing.T) {
	e := groupsEngine(t, vfs.NewMem(vfs.MemOptions{}), &steppedClock{now: time.Unix(1_800_000_000, 0)}, map[string]string{"log.durability": "os"})
	defer closeEngine(t, e)
	told := joinGroup(t, e, "g", "a", BoundLatest)
	for _, tc := range []struct {
		to   Bound
		want model.Offsets
	}{
		{Bound{Kind: BoundEarliest}, model.Offsets{0: 0, 1: 0, 2: 0}},
		{Bound{Kind: BoundOffsets, Position: at(model.Offsets{1: 50})}, model.Offsets{0: 0, 1: 50, 2: 0}},
		{Bound{Kind: BoundTime, Time: time.Unix(1_900_000_000, 0)}, model.Offsets{0: 100, 1: 100, 2: 100}},
	} {
		if _, err := e.ResetPosition(t.Context(), name(t, "t"), "g", tc.to); err != nil {
			t.Fatal(err)
		}
		if _, err := e.CommitPosition(t.Context(), caller(t, "g", "a", told.Generation), at(model.Offsets{0: 100})); !errors.Is(err, model.MemberFenced) {
			t.Errorf("a commit of what was read before: error %v, want %v", err, model.MemberFenced)
		}
		if told = joinGroup(t, e, "g", "a", BoundLatest); !maps.Equal(told.Position.Offsets, tc.want) {
			t.Errorf("%+v, want the position %v", told, tc.want)
		}
	}
}

// TestGroupsOfDroppedTables drops a table and brings it back: its groups come back with it, and another table
// of the name has none.
func TestGroupsOfDroppedTables(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	e := groupsEngine(t, mem, model.WallClock{}, nil)
	defer closeEngine(t, e)
	told := joinGroup(t, e, "g", "a", BoundEarliest)
	if _, err := e.CommitPosition(t.Context(), caller(t, "g", "a", told.Generation), at(model.Offsets{1: 42})); err != nil {
		t.Fatal(err)
	}
	if err := e.DropTable(t.Context(), name(t, "t"), false); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Heartbeat(t.Context(), caller(t, "g", "a", told.Generation)); !errors.Is(err, model.TableNotFound) {
		t.Errorf("error %v, want %v", err, model.TableNotFound)
	}
	createTable(t, e, CreateTable{Name: name(t, "t")})
	if _, err := e.Heartbeat(t.Context(), caller(t, "g", "a", told.Generation)); !errors.Is(err, model.MemberFenced) {
		t.Errorf("error %v, want %v", err, model.MemberFenced)
	}
	if err := e.DropTable(t.Context(), name(t, "t"), false); err != nil {
		t.Fatal(err)
	}
	// The newest one comes back first.
	if _, err := e.UndropTable(t.Context(), name(t, "t")); err != nil {
		t.Fatal(err)
	}
	if _, err := e.RenameTable(t.Context(), name(t, "t"), name(t, "second")); err != nil {
		t.Fatal(err)
	}
	if _, err := e.UndropTable(t.Context(), name(t, "t")); err != nil {
		t.Fatal(err)
	}
	state, err := e.Positions(t.Context(), name(t, "t"), "g")
	if err != nil || state.Buckets[1].Committed != 42 || state.Buckets[1].Member != "a" || state.Lag != 258 {
		t.Errorf("%+v, %v; want the group with its position", state, err)
	}
}

// TestGroupTTL lets time pass: a group without members is forgotten, and its name does not revive an old
// membership.
func TestGroupTTL(t *testing.T) {
	clock := &steppedClock{now: time.Unix(1_800_000_000, 0)}
	e := groupsEngine(t, vfs.NewMem(vfs.MemOptions{}), clock, map[string]string{"group.ttl": "1h"})
	defer closeEngine(t, e)
	old := joinGroup(t, e, "g", "a", BoundEarliest)
	clock.now = clock.now.Add(50 * time.Minute)
	e.Maintain(t.Context()) // the session is over; from now on the group has no members
	clock.now = clock.now.Add(59 * time.Minute)
	e.Maintain(t.Context())
	if _, err := e.Positions(t.Context(), name(t, "t"), "g"); err != nil {
		t.Fatalf("before its time: %v", err)
	}
	clock.now = clock.now.Add(time.Minute)
	e.Maintain(t.Context())
	if _, err := e.Positions(t.Context(), name(t, "t"), "g"); !errors.Is(err, model.GroupNotFound) {
		t.Fatalf("error %v, want %v", err, model.GroupNotFound)
	}
	if told := joinGroup(t, e, "g", "a", BoundEarliest); told.Generation <= old.Generation {
		t.Errorf("generation %d behind %d", told.Generation, old.Generation)
	}
}

// TestGroupPin keeps rows that are due for as long as the option says, while a group has not committed them.
func TestGroupPin(t *testing.T) {
	for _, tc := range []struct {
		what      string
		pin       string
		committed int64
		after     time.Duration
		want      bool // rows are left
	}{
		{"no pin", "0", 0, 90 * time.Minute, false},
		{"a group that is behind", "1h", 0, 90 * time.Minute, true},
		{"the pin is over", "1h", 0, 130 * time.Minute, false},
		{"a group that is at the end", "1h", 100, 90 * time.Minute, false},
	} {
		t.Run(tc.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				options := testOptions(vfs.NewMem(vfs.MemOptions{Now: time.Now}))
				e := open(t, options)
				defer closeEngine(t, e)
				createTable(t, e, CreateTable{Name: name(t, "t"), Options: map[string]string{"log.ttl": "1h", "group.pin": tc.pin}})
				if _, err := openWriter(t, e, "t", PutRequest{}).write(0, 100, nil); err != nil {
					t.Fatal(err)
				}
				if _, err := e.CommitPosition(t.Context(), caller(t, "g", "", 0), at(model.Offsets{0: tc.committed})); err != nil {
					t.Fatal(err)
				}
				pass(tc.after)
				e.Maintain(t.Context())
				if rows := readAll(t, e, "t"); len(rows) > 0 != tc.want {
					t.Errorf("%d rows are left", len(rows))
				}
			})
		})
	}
}

// TestGroupPinBoundsRetention gives what retention may take of a bucket, for the slowest of the groups.
func TestGroupPinBoundsRetention(t *testing.T) {
	e := groupsEngine(t, vfs.NewMem(vfs.MemOptions{}), model.WallClock{}, map[string]string{"log.ttl": "1d", "group.pin": "1h"})
	defer closeEngine(t, e)
	due := streams.Retention{Before: 1e15, Bytes: 1 << 30}
	later := streams.Retention{Before: 1e15 - 3600e6, Bytes: 1 << 30}
	committed := due
	committed.Until = 40
	for _, step := range []struct {
		group  string
		offset int64
		want   []streams.Retention
	}{
		{"fast", 90, []streams.Retention{{Before: 1e15, Bytes: 1 << 30, Until: 90}, later}},
		{"slow", 0, []streams.Retention{later}},
		{"slow", 40, []streams.Retention{committed, later}},
	} {
		if _, err := e.CommitPosition(t.Context(), caller(t, step.group, "", 0), at(model.Offsets{0: step.offset})); err != nil {
			t.Fatal(err)
		}
		table := e.catalog.lookup(name(t, "t"))
		if got := table.retentions(0, due); !slices.Equal(got, step.want) {
			t.Errorf("%s at %d: %+v, want %+v", step.group, step.offset, got, step.want)
		}
		if got := table.retentions(1, due); !slices.Equal(got, []streams.Retention{due}) {
			t.Errorf("a bucket without positions: %+v, want %+v", got, due)
		}
	}
}

// TestGroupCommitsShareOneSync runs calls of many members together.
func TestGroupCommitsShareOneSync(t *testing.T) {
	fault := vfs.NewFault(vfs.NewMem(vfs.MemOptions{}), vfs.FaultOptions{FailAt: -1, ChangesOnly: true})
	e := groupsEngine(t, fault, model.WallClock{}, nil)
	defer closeEngine(t, e)
	groups := &e.catalog.lookup(name(t, "t")).groups
	commit := func(n int) []*groupCall {
		var calls []*groupCall
		for i := range n {
			from := caller(t, fmt.Sprint("g", i%4), "", 0)
			calls = append(calls, &groupCall{group: from.Group, done: make(chan struct{}), apply: func(d *groupDraft) error {
				return d.commit(from, model.Offsets{int32(i % 3): int64(i)})
			}})
		}
		groups.run(calls)
		for _, c := range calls {
			if c.err != nil {
				t.Fatal(c.err)
			}
		}
		return calls
	}
	commit(1)
	before := fault.Calls()
	commit(100)
	if calls := fault.Calls() - before; calls != 2 {
		t.Errorf("100 commits made %d calls to the disk, want one write and one sync", calls)
	}
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			_, err := e.CommitPosition(t.Context(), caller(t, "busy", "", 0), at(model.Offsets{int32(i % 3): int64(i)}))
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if state, err := e.Positions(t.Context(), name(t, "t"), "busy"); err != nil || state.Buckets[0].Committed != 63 || state.Buckets[2].Committed != 62 {
		t.Errorf("%+v, %v", state, err)
	}
}

// TestGroupLedgerIsCompacted commits so often that the ledger is rewritten on the way.
func TestGroupLedgerIsCompacted(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	e := groupsEngine(t, mem, model.WallClock{}, nil)
	told := joinGroup(t, e, "g", "a", BoundEarliest)
	for i := range int64(3 * ledgerSlack) {
		if _, err := e.CommitPosition(t.Context(), caller(t, "g", "a", told.Generation), at(model.Offsets{int32(i % 3): i * 100 / (3 * ledgerSlack)})); err != nil {
			t.Fatal(err)
		}
	}
	groups := &e.catalog.lookup(name(t, "t")).groups
	if n := groups.ledger.records; n > ledgerSlack+2 {
		t.Errorf("the ledger has %d records", n)
	}
	closeEngine(t, e)
	e = open(t, testOptions(mem))
	defer closeEngine(t, e)
	state, err := e.Positions(t.Context(), name(t, "t"), "g")
	if err != nil || state.Buckets[0].Committed != 99 || state.Generation != told.Generation || len(state.Members) != 1 {
		t.Errorf("%+v, %v; want what was committed", state, err)
	}
}

// TestCheckGroups damages the ledger: check finds it, and calls are refused by name while rows are read.
func TestCheckGroups(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	e := groupsEngine(t, mem, model.WallClock{}, nil)
	for range 3 {
		joinGroup(t, e, "g", "a", BoundEarliest)
	}
	path := e.catalog.lookup(name(t, "t")).dir() + "/" + groupsFile
	closeEngine(t, e)
	file, err := mem.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := file.WriteAt([][]byte{{'x'}}, ledgerHead+entryHead+20); err != nil {
		t.Fatal(err)
	}
	var findings []Finding
	if _, err := Check(mem, false, func(f Finding) { findings = append(findings, f) }); err != nil || len(findings) != 1 || findings[0].Path != path {
		t.Errorf("%+v, %v; want one in %s", findings, err, path)
	}
	e = open(t, testOptions(mem))
	defer closeEngine(t, e)
	if _, err := e.Positions(t.Context(), name(t, "t"), "g"); !errors.Is(err, model.Corrupt) {
		t.Errorf("error %v, want %v", err, model.Corrupt)
	}
	if rows := readAll(t, e, "t"); len(rows) != 300 {
		t.Errorf("%d rows", len(rows))
	}
}

// groupWorkload changes a group until the disk fails. It gives what was acknowledged, and what the newest call
// asked for.
func groupWorkload(t *testing.T, e *Engine) (acked, asked map[string]int64) {
	acked, asked = map[string]int64{}, map[string]int64{}
	step := func(what string, value int64, do func() error) bool {
		asked[what] = value
		if do() != nil {
			return false
		}
		acked[what] = value
		return true
	}
	generation := int64(1)
	if !step("generation", 1, func() error {
		_, err := e.JoinGroup(t.Context(), JoinGroup{Table: name(t, "t"), Group: "g", Member: "a"})
		return err
	}) {
		return acked, asked
	}
	for i := range int64(12) {
		if i%4 == 3 {
			generation++
			if !step("generation", generation, func() error {
				_, err := e.JoinGroup(t.Context(), JoinGroup{Table: name(t, "t"), Group: "g", Member: "a"})
				return err
			}) {
				return acked, asked
			}
		}
		if !step("position", 2*i, func() error {
			_, err := e.CommitPosition(t.Context(), caller(t, "g", "a", generation), at(model.Offsets{0: 2 * i}))
			return err
		}) {
			return acked, asked
		}
	}
	return acked, asked
}

// TestGroupsCrashAtEveryCall fails each call to the disk and kills the server or cuts the power: what was
// acknowledged is there, and of the newest call all or nothing. The failed server goes on once its disk does.
func TestGroupsCrashAtEveryCall(t *testing.T) {
	for failAt := int64(0); ; failAt++ {
		mem := vfs.NewMem(vfs.MemOptions{})
		closeEngine(t, groupsEngine(t, mem, model.WallClock{}, nil))
		probe := vfs.NewFault(mem, vfs.FaultOptions{FailAt: -1, ChangesOnly: true})
		closeEngine(t, open(t, testOptions(probe)))
		fault := vfs.NewFault(mem, vfs.FaultOptions{FailAt: probe.Calls() + failAt, ChangesOnly: true})
		e, err := Open(t.Context(), testOptions(fault))
		if err != nil {
			t.Fatal(err)
		}
		acked, asked := groupWorkload(t, e)
		done := fault.Calls() <= probe.Calls()+failAt
		for what, crashed := range crashes(mem, uint64(failAt), "fsync") {
			checkGroup(t, fmt.Sprintf("call %d failed, %s", failAt, what), crashed.files, acked, asked)
		}
		if acked["generation"] > 0 && !done {
			told, err := e.JoinGroup(t.Context(), JoinGroup{Table: name(t, "t"), Group: "g", Member: "a"})
			if err != nil || told.Position.Offsets[0] < acked["position"] {
				t.Fatalf("call %d failed, then a join gave %+v, %v; want position %d or more", failAt, told, err, acked["position"])
			}
			asked = map[string]int64{"generation": told.Generation, "position": told.Position.Offsets[0]}
			cut := mem.Crash(vfs.Cut{Mode: vfs.KeepRandom, Rand: rand.New(rand.NewPCG(uint64(failAt), 5))})
			checkGroup(t, fmt.Sprintf("call %d failed, then the disk went on", failAt), cut, asked, asked)
		}
		_ = e.Close(t.Context())
		if done {
			return
		}
	}
}

func checkGroup(t *testing.T, what string, files *vfs.Mem, acked, asked map[string]int64) {
	t.Helper()
	checkUndamaged(t, what, files)
	e := open(t, testOptions(files))
	defer closeEngine(t, e)
	state, err := e.Positions(t.Context(), name(t, "t"), "g")
	if errors.Is(err, model.GroupNotFound) && len(acked) == 0 {
		return
	}
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	for key, got := range map[string]int64{"generation": state.Generation, "position": max(0, state.Buckets[0].Committed)} {
		if got != acked[key] && got != asked[key] {
			t.Fatalf("%s: %s %d, want %d as acknowledged, or %d as asked for", what, key, got, acked[key], asked[key])
		}
	}
}

// TestGroupReadsParentsFirst splits a bucket: what comes from it is read once the rows before the split are
// committed, and again in that order behind a reset.
func TestGroupReadsParentsFirst(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	g := &consumerGroup{name: "g", positions: model.Offsets{}, parents: map[int32]groupParent{1: {bucket: 0, before: 50}}}
	reads := func(member string) []int32 {
		i, found := g.find(member)
		if !found {
			t.Fatalf("%s is no member", member)
		}
		return g.members[i].reads()
	}
	commit := func(offset int64) {
		t.Helper()
		m, err := g.call(now, "a", g.generation)
		if err == nil {
			err = g.commit(m, model.Offsets{0: offset})
		}
		if err != nil {
			t.Fatal(err)
		}
		g.refresh(now, []int32{0, 1}, g.parents)
	}
	g.join(now, "a", time.Minute, []int32{0, 1})
	g.join(now, "b", time.Minute, []int32{0, 1})
	for _, tc := range []struct {
		offset int64
		want   []int32
	}{{49, nil}, {50, []int32{1}}, {60, []int32{1}}} {
		commit(tc.offset)
		if !slices.Equal(reads("a"), []int32{0}) || !slices.Equal(reads("b"), tc.want) {
			t.Errorf("at %d a reads %v and b %v, want b to read %v", tc.offset, reads("a"), reads("b"), tc.want)
		}
	}
	g.reset(model.Offsets{0: 10})
	g.join(now, "b", time.Minute, []int32{0, 1})
	if len(reads("b")) > 0 {
		t.Errorf("behind a reset, b reads %v before a has come to the split", reads("b"))
	}
	g.join(now, "a", time.Minute, []int32{0, 1})
	commit(50)
	if !slices.Equal(reads("b"), []int32{1}) {
		t.Errorf("b reads %v, want bucket 1 again", reads("b"))
	}
}

// TestGroupReadsGrandparentsFirst splits a bucket twice with no rows in between.
func TestGroupReadsGrandparentsFirst(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	buckets := []int32{0, 1, 2, 3}
	g := &consumerGroup{name: "g", positions: model.Offsets{}, parents: map[int32]groupParent{
		1: {bucket: 0, before: 50}, 2: {bucket: 0, before: 50}, 3: {bucket: 1, before: 50},
	}}
	g.join(now, "a", time.Minute, buckets)
	g.fill(func(bucket int32) int64 { return g.parents[bucket].before })
	for _, tc := range []struct {
		offset int64
		want   []int32
	}{{49, []int32{0}}, {50, buckets}} {
		m, err := g.call(now, "a", g.generation)
		if err == nil {
			err = g.commit(m, model.Offsets{0: tc.offset})
		}
		if err != nil {
			t.Fatal(err)
		}
		if g.refresh(now, buckets, g.parents); !slices.Equal(g.members[0].reads(), tc.want) {
			t.Errorf("at %d of bucket 0 the group reads %v, want %v", tc.offset, g.members[0].reads(), tc.want)
		}
	}
}

// TestSharesAreEven shares buckets among members that hold some of them: evenly, and with as few moves as any
// even sharing needs.
func TestSharesAreEven(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		buckets := make([]int32, rapid.IntRange(0, 40).Draw(t, "buckets"))
		members := make([]groupMember, rapid.IntRange(1, 9).Draw(t, "members"))
		for i := range buckets {
			buckets[i] = int32(3 * i)
			if holder := rapid.IntRange(-1, len(members)-1).Draw(t, "holder"); holder >= 0 {
				members[holder].holds = append(members[holder].holds, buckets[i])
			}
		}
		shareBuckets(members, buckets)
		var shared []int32
		kept, sizes := 0, []int{}
		for _, m := range members {
			shared = append(shared, m.share...)
			kept += len(intersect(m.holds, m.share))
			sizes = append(sizes, len(m.holds))
			if n := len(m.share); n < len(buckets)/len(members) || n > (len(buckets)+len(members)-1)/len(members) {
				t.Fatalf("a share of %d of %d buckets among %d", n, len(buckets), len(members))
			}
		}
		slices.Sort(shared)
		if !slices.Equal(shared, buckets) {
			t.Fatalf("%v are shared, want %v", shared, buckets)
		}
		slices.SortFunc(sizes, func(a, b int) int { return b - a })
		most := 0
		for i, size := range sizes {
			quota := len(buckets) / len(members)
			if i < len(buckets)%len(members) {
				quota++
			}
			most += min(size, quota)
		}
		if kept != most {
			t.Fatalf("%d buckets stay, want %d", kept, most)
		}
	})
}
