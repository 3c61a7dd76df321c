package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// steppedClock stands still until a test moves it.
type steppedClock struct {
	model.WallClock
	now time.Time
}

func (c *steppedClock) Now() time.Time { return c.now }

// groupsOptions are options with a clock of the test.
func groupsOptions(files vfs.FS, clock model.Clock) Options {
	options := testOptions(files)
	options.Clock = clock
	return options
}

// believer is a member as it sees itself.
type believer struct {
	id      string
	told    *Membership
	seen    time.Time
	session time.Duration
	// over says that the next call must be refused: it has left, or was fenced by a reset.
	over bool
}

// groupsModel plays the members of a group, and knows what they were told.
type groupsModel struct {
	t         *rapid.T
	mem       *vfs.Mem
	clock     *steppedClock
	engine    *Engine
	table     model.TableName
	buckets   int32
	members   map[string]*believer
	committed model.Offsets
	// readers are the members that were told of a bucket, by generation.
	readers    map[string]string
	generation int64
	joined     int
}

const modelGroup = "billing"

func newGroupsModel(outer testing.TB, t *rapid.T) *groupsModel {
	m := &groupsModel{
		t: t, mem: vfs.NewMem(vfs.MemOptions{}), clock: &steppedClock{now: time.Unix(1_800_000_000, 0)}, buckets: 5,
		table: model.TableName{Database: "default", Table: "t"}, members: map[string]*believer{}, readers: map[string]string{},
		committed: model.Offsets{},
	}
	m.open()
	_, err := m.engine.CreateTable(context.Background(), CreateTable{
		Name: m.table, Schema: testSchema, Buckets: m.buckets, BucketKey: []string{"id"}, Options: map[string]string{"group.ttl": "0"},
	})
	m.check(err)
	put, err := m.engine.OpenPut(context.Background(), PutRequest{Table: m.table, Schema: schemaMessage})
	m.check(err)
	header, body := message(outer, 0, 1000)
	pending, err := put.Send(context.Background(), header, body, nil)
	m.check(err)
	<-pending.Done()
	_, err = pending.Ack()
	m.check(err)
	return m
}

func (m *groupsModel) check(err error) {
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *groupsModel) open() {
	e, err := Open(context.Background(), groupsOptions(m.mem, m.clock))
	m.check(err)
	m.engine = e
}

func (m *groupsModel) from(b *believer) GroupMember {
	return GroupMember{Table: m.table, Group: modelGroup, Member: b.id, Generation: b.told.Generation}
}

func (m *groupsModel) alive(b *believer) bool { return !b.over && m.clock.now.Sub(b.seen) < b.session }

// told checks what a member was told, and notes it.
func (m *groupsModel) told(b *believer, told *Membership) {
	b.told, b.seen, b.over = told, m.clock.now, false
	if told.Generation < m.generation {
		m.t.Fatalf("%s was told generation %d, behind %d", b.id, told.Generation, m.generation)
	}
	m.generation = told.Generation
	for _, bucket := range told.Buckets {
		key := fmt.Sprintf("%d/%d", told.Generation, bucket)
		if other := m.readers[key]; other != "" && other != b.id {
			m.t.Fatalf("generation %d gives bucket %d to %s and to %s", told.Generation, bucket, other, b.id)
		}
		m.readers[key] = b.id
		if want, known := m.committed[bucket]; known && told.Position.Offsets[bucket] != want {
			m.t.Fatalf("%s was told position %d of bucket %d, want %d", b.id, told.Position.Offsets[bucket], bucket, want)
		}
	}
	m.oneReader()
}

// oneReader checks that no two members within their sessions believe to read one bucket.
func (m *groupsModel) oneReader() {
	readers := map[int32]string{}
	for _, b := range m.members {
		if !m.alive(b) {
			continue
		}
		for _, bucket := range b.told.Buckets {
			if other, taken := readers[bucket]; taken {
				m.t.Fatalf("%s and %s read bucket %d", other, b.id, bucket)
			}
			readers[bucket] = b.id
		}
	}
}

func (m *groupsModel) join(id string) {
	session := time.Duration(rapid.IntRange(1, 20).Draw(m.t, "session")) * time.Second
	told, err := m.engine.JoinGroup(context.Background(), JoinGroup{
		Table: m.table, Group: modelGroup, Member: id, Session: session, Start: Bound{Kind: BoundEarliest},
	})
	m.check(err)
	b := m.members[id]
	if b == nil {
		b = &believer{id: id}
		m.members[id] = b
	}
	b.session = session
	b.told = told // before others are looked at: it has given up what it read
	m.told(b, told)
}

// result checks that a call of a member was taken, or refused for a reason.
func (m *groupsModel) result(b *believer, alive bool, err error) bool {
	switch {
	case alive && err != nil:
		m.t.Fatalf("%s, which is a member, was refused: %v", b.id, err)
	case !alive && !errors.Is(err, model.MemberFenced):
		m.t.Fatalf("%s, which is no member any more, got %v, want %v", b.id, err, model.MemberFenced)
	}
	return alive
}

func (m *groupsModel) heartbeat(b *believer) {
	alive := m.alive(b)
	told, err := m.engine.Heartbeat(context.Background(), m.from(b))
	if m.result(b, alive, err) {
		m.told(b, told)
	}
}

func (m *groupsModel) commit(b *believer) {
	if len(b.told.Buckets) == 0 {
		return
	}
	bucket := rapid.SampledFrom(b.told.Buckets).Draw(m.t, "bucket")
	offset := int64(rapid.IntRange(0, 100).Draw(m.t, "offset"))
	if rows, err := m.engine.catalog.lookup(m.table).readable(bucket); err != nil || offset > rows.To {
		offset = rows.To
	}
	alive := m.alive(b)
	answer, err := m.engine.CommitPosition(context.Background(), m.from(b), model.Position{Offsets: model.Offsets{bucket: offset}})
	if !m.result(b, alive, err) {
		return
	}
	b.seen = m.clock.now
	m.committed[bucket] = max(m.committed[bucket], offset)
	if answer.Position.Offsets[bucket] != m.committed[bucket] {
		m.t.Fatalf("bucket %d is committed at %d, want %d", bucket, answer.Position.Offsets[bucket], m.committed[bucket])
	}
}

// reset moves the position; whoever has read something has to join again.
func (m *groupsModel) reset() {
	bucket := int32(rapid.IntRange(0, 4).Draw(m.t, "bucket"))
	position := model.Position{Offsets: model.Offsets{bucket: int64(rapid.IntRange(0, 50).Draw(m.t, "offset"))}}
	_, err := m.engine.ResetPosition(context.Background(), m.table, modelGroup, Bound{Kind: BoundOffsets, Position: position})
	if errors.Is(err, model.GroupNotFound) && m.generation == 0 {
		return
	}
	m.check(err)
	maps.Copy(m.committed, position.Offsets)
	for _, b := range m.members {
		b.over = true
	}
}

// restart kills the server, or cuts the power: nothing that was told is forgotten, and sessions begin anew.
func (m *groupsModel) restart() {
	m.mem = m.mem.Crash(vfs.Cut{Mode: vfs.KeepNone})
	m.check(m.engine.Close(context.Background()))
	m.open()
	// Who had expired and was not noticed may be a member again: it holds what it held.
	for _, b := range m.members {
		if !b.over && m.isMember(b) {
			b.seen = m.clock.now
		}
	}
}

func (m *groupsModel) isMember(b *believer) bool {
	all, err := m.engine.catalog.lookup(m.table).groups.all()
	m.check(err)
	for _, g := range all {
		if _, found := g.find(b.id); found {
			return true
		}
	}
	return false
}

// grow doubles the buckets of the table.
func (m *groupsModel) grow() {
	if m.buckets > 20 {
		return
	}
	m.buckets *= 2
	t := m.engine.catalog.lookup(m.table)
	definition := *t.definition.Load()
	definition.Buckets = m.buckets
	m.check(m.engine.redefine(t, &redefinition{&definition, t.schema.Load()}))
}

func (m *groupsModel) step() {
	ids := slices.Sorted(maps.Keys(m.members))
	operation := rapid.SampledFrom([]string{
		"join", "heartbeat", "heartbeat", "heartbeat", "commit", "commit", "commit", "wait", "leave", "rejoin", "restart", "reset", "grow", "upkeep",
	}).Draw(m.t, "operation")
	switch {
	case operation == "wait":
		m.clock.now = m.clock.now.Add(time.Duration(rapid.IntRange(1, 8000).Draw(m.t, "ms")) * time.Millisecond)
		return
	case operation == "restart":
		m.restart()
		return
	case operation == "reset":
		m.reset()
		return
	case operation == "grow":
		m.grow()
		return
	case operation == "upkeep":
		m.engine.keepGroups()
		return
	case operation == "join" && m.joined < 8, len(ids) == 0:
		m.joined++
		m.join(fmt.Sprintf("m%d", m.joined))
		return
	}
	b := m.members[rapid.SampledFrom(ids).Draw(m.t, "member")]
	switch operation {
	case "heartbeat":
		m.heartbeat(b)
	case "commit":
		m.commit(b)
	case "rejoin":
		m.join(b.id)
	case "leave":
		m.check(m.engine.LeaveGroup(context.Background(), m.from(b)))
		b.over = true
	}
}

// settled checks that every bucket has one reader once the sessions of those who are silent, or fenced, have
// expired, and that the shares are even.
func (m *groupsModel) settled() {
	m.join("last")
	for range 25 {
		m.clock.now = m.clock.now.Add(900 * time.Millisecond)
		for _, id := range slices.Sorted(maps.Keys(m.members)) {
			if b := m.members[id]; m.alive(b) {
				m.heartbeat(b)
			}
		}
	}
	readers, least, most := 0, 1<<30, 0
	for _, b := range m.members {
		if !m.alive(b) {
			continue
		}
		readers += len(b.told.Buckets)
		least, most = min(least, len(b.told.Buckets)), max(most, len(b.told.Buckets))
		if len(b.told.Waits) > 0 {
			m.t.Fatalf("%s still waits for %v", b.id, b.told.Waits)
		}
	}
	if readers != int(m.buckets) || most-least > 1 {
		m.t.Fatalf("%d of %d buckets have a reader, shares are %d to %d", readers, m.buckets, least, most)
	}
}

// TestGroupsModel plays members that join, read, commit, fall silent and leave, over restarts of the server.
func TestGroupsModel(t *testing.T) {
	outer := t
	rapid.Check(t, func(t *rapid.T) {
		m := newGroupsModel(outer, t)
		defer func() { _ = m.engine.Close(context.Background()) }()
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			m.step()
			m.oneReader()
		}
		m.settled()
		m.restart()
		state, err := m.engine.Positions(context.Background(), m.table, modelGroup)
		m.check(err)
		for _, b := range state.Buckets {
			if want, known := m.committed[b.Bucket]; known && b.Committed != want {
				t.Fatalf("bucket %d is committed at %d behind a restart, want %d", b.Bucket, b.Committed, want)
			}
		}
	})
}
