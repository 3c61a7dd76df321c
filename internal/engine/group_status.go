package engine

import (
	"context"
	"time"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/streams"
)

// GroupState is a picture of a group.
type GroupState struct {
	Group string
	Table model.TableName
	// TableID guards a position against another table of the name.
	TableID    string
	Generation int64
	// Active is when the group last had a member or committed.
	Active  time.Time
	Members []GroupMemberState
	// Buckets are those of the table, or those that were asked for.
	Buckets []GroupBucketState
	// Lag is the number of rows that the group has not committed, over all buckets; of a bucket without
	// a position all of its rows.
	Lag int64
}

// GroupMemberState is a picture of a member.
type GroupMemberState struct {
	Member string
	// Generation is the one that the member has acknowledged.
	Generation int64
	Session    time.Duration
	// Seen is when the member called last.
	Seen           time.Time
	Buckets, Waits []int32
}

// GroupBucketState is where a group stands in a bucket.
type GroupBucketState struct {
	Bucket int32
	// Committed is the position of the group, −1 where it has none. Start and End are those of the bucket.
	Committed, Start, End int64
	// Lag is the number of rows from Committed, or from Start where that is farther, to End.
	Lag int64
	// Member is who reads the bucket; empty: nobody.
	Member string
}

// Positions tells where a group stands in every bucket.
func (e *Engine) Positions(_ context.Context, table model.TableName, group string) (*GroupState, error) {
	t, err := e.table(table)
	if err != nil {
		return nil, err
	}
	// A call, so that sessions that have expired are noticed.
	if err := t.groups.call(group, func(*groupDraft) error { return nil }); err != nil {
		return nil, err
	}
	all, err := t.groups.all()
	if err != nil {
		return nil, err
	}
	for _, g := range all {
		if g.name == group {
			return t.groupState(g, t.lagging)
		}
	}
	return nil, t.noGroup(group)
}

// Groups tells of the groups of the tables whose name matches the glob, sorted by table and name. See
// model.MatchTable.
func (e *Engine) Groups(_ context.Context, pattern string) ([]*GroupState, error) {
	var states []*GroupState
	for _, t := range e.catalog.all() {
		if !model.MatchTable(pattern, t.definition.Load().Name) {
			continue
		}
		if err := t.groups.upkeep(); err != nil {
			return nil, err
		}
		of, err := t.groupStates()
		if err != nil {
			return nil, err
		}
		states = append(states, of...)
	}
	return states, nil
}

// groupStates tells of the groups of a table without opening a bucket.
func (t *table) groupStates() ([]*GroupState, error) {
	all, err := t.groups.all()
	if err != nil {
		return nil, err
	}
	states := make([]*GroupState, len(all))
	for i, g := range all {
		if states[i], err = t.groupState(g, t.known); err != nil {
			return nil, err
		}
	}
	return states, nil
}

// known gives the range of offsets of a bucket without opening it: one that was not used since the start
// may seem to have rows that are gone.
func (t *table) known(number int32, _ int64) (model.Range, error) {
	t.mu.Lock()
	b, extent := t.buckets[number], t.extents[number]
	t.mu.Unlock()
	if b == nil {
		return model.Range{To: extent.Next}, nil
	}
	return model.Range{From: b.Start(), To: b.End()}, nil
}

// lagging gives the range of offsets of a bucket in which a group stands at an offset. It opens the bucket only
// if the group lags there.
func (t *table) lagging(number int32, committed int64) (model.Range, error) {
	r, err := t.known(number, committed)
	if err != nil || committed >= r.To || t.isOpen(number) {
		return r, err
	}
	return t.readable(number)
}

func (t *table) groupState(g *consumerGroup, rows func(number int32, committed int64) (model.Range, error)) (*GroupState, error) {
	definition := t.definition.Load()
	state := &GroupState{
		Group: g.name, Table: definition.Name, TableID: definition.ID, Generation: g.generation, Active: time.UnixMicro(g.active).UTC(),
	}
	readers := map[int32]string{}
	for i := range g.members {
		m := &g.members[i]
		reads := m.reads()
		for _, bucket := range reads {
			readers[bucket] = m.id
		}
		state.Members = append(state.Members, GroupMemberState{
			Member: m.id, Generation: m.floor, Session: m.session, Seen: m.seen, Buckets: reads, Waits: m.waits(),
		})
	}
	for _, number := range t.groupBuckets() {
		b := GroupBucketState{Bucket: number, Committed: -1, Member: readers[number]}
		if at, known := g.positions[number]; known {
			b.Committed = at
		}
		r, err := rows(number, b.Committed)
		if err != nil && t.isGone(number) {
			continue
		}
		if err != nil {
			return nil, err
		}
		b.Start, b.End = r.From, r.To
		b.Lag = max(0, b.End-max(b.Committed, b.Start))
		state.Lag += b.Lag
		state.Buckets = append(state.Buckets, b)
	}
	return state, nil
}

// upkeep takes note of sessions that have expired and of buckets that have come or gone, and forgets the
// groups whose time is over.
func (g *tableGroups) upkeep() error {
	all, err := g.all()
	if err != nil {
		return err
	}
	ttl := g.table.options.Load().GroupTTL
	forgotten := func(group *consumerGroup, now time.Time) bool {
		return ttl > 0 && len(group.members) == 0 && now.Sub(time.UnixMicro(group.active)) >= ttl
	}
	now, buckets, parents := g.table.engine.options.Clock.Now(), g.table.groupBuckets(), g.table.groupParents()
	for _, group := range all {
		fresh := group.clone()
		fresh.refresh(now, buckets, parents)
		if fresh.generation == group.generation && !forgotten(fresh, now) {
			continue
		}
		err := g.call(group.name, func(d *groupDraft) error {
			if d.after != nil && forgotten(d.after, d.now) {
				d.drop()
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// keepGroups does the upkeep of all groups.
func (e *Engine) keepGroups() {
	for _, t := range e.catalog.all() {
		if err := t.groups.upkeep(); err != nil && t.err() == nil {
			e.options.Logger.Warn("upkeep of groups", "table", t.definition.Load().Name, "error", err)
		}
	}
}

// retentions gives what of a bucket may go: what is due by the table's options, where the option group.pin
// keeps of it what a group has not committed.
func (t *table) retentions(number int32, r streams.Retention) []streams.Retention {
	pin := t.options.Load().GroupPin
	if pin == 0 || r.Before == 0 {
		return []streams.Retention{r}
	}
	slowest := t.slowestGroup(number)
	if slowest < 0 {
		return []streams.Retention{r}
	}
	committed, rest := r, r
	rest.Before -= pin.Microseconds()
	if slowest == 0 {
		return []streams.Retention{rest}
	}
	committed.Until = slowest
	return []streams.Retention{committed, rest}
}

// slowestGroup gives the least position of a group in a bucket; −1 where no group has one.
func (t *table) slowestGroup(number int32) int64 {
	all, err := t.groups.all()
	if err != nil {
		return 0 // nobody knows how far they are
	}
	slowest := int64(-1)
	for _, g := range all {
		at, known := g.positions[number]
		if !known && len(g.members) > 0 {
			at, known = 0, true
		}
		if known && (slowest < 0 || at < slowest) {
			slowest = at
		}
	}
	return slowest
}
