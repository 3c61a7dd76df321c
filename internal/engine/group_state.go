package engine

import (
	"cmp"
	"slices"
	"time"

	"github.com/headrace/headrace/internal/model"
)

// consumerGroup is the state of a group: who its members are, which buckets each may read, and how far
// the group has come. It is a value: a change is made to a copy of it. See groups.go for the protocol.
type consumerGroup struct {
	name string
	// generation goes up by one whenever the members or the buckets change; 0: the group had none yet.
	generation int64
	// base is a generation that is over: the first one of this group is above it.
	base int64
	// resetAt is the generation of the newest reset: what was read in an earlier one does not count.
	resetAt int64
	// active is when the group last had a member or committed, in µs.
	active int64
	// members are sorted by id.
	members []groupMember
	// buckets are those of the table when it was looked at last, sorted; nil: not since the start.
	buckets []int32
	// parents are the buckets whose rows come before those of others; nil: none do.
	parents map[int32]groupParent
	// positions are the next offsets wanted, by bucket.
	positions model.Offsets
	// owned says that no other copy has the same positions.
	owned bool
}

// groupMember is a member of a group.
type groupMember struct {
	id      string
	session time.Duration
	// floor is the least generation that the member's calls may name: the one that it named last, or in
	// which it joined.
	floor int64
	// share are the buckets that are meant for the member in this generation; no two members have one
	// in common. holds are those that nobody else may read, since the member does or may do so. Both are
	// sorted, and replaced as a whole. A member may read what is in both.
	share, holds []int32
	// seen is when the member called last. It is not kept on disk: all sessions begin anew with the server.
	seen time.Time
}

// groupParent is the bucket that another one was split from, whose rows before an offset come first.
type groupParent struct {
	bucket int32
	before int64
}

// clone gives a copy that can be changed by itself.
func (g *consumerGroup) clone() *consumerGroup {
	copied := *g
	copied.members = slices.Clone(g.members)
	copied.owned = false
	return &copied
}

// setPosition sets the next offset wanted of a bucket.
func (g *consumerGroup) setPosition(bucket int32, offset int64) {
	g.ownPositions()
	g.positions[bucket] = offset
}

func (g *consumerGroup) ownPositions() {
	if g.owned {
		return
	}
	g.owned, g.positions = true, g.positions.Clone()
	if g.positions == nil {
		g.positions = model.Offsets{}
	}
}

// find gives the place of a member in members.
func (g *consumerGroup) find(id string) (int, bool) {
	return slices.BinarySearchFunc(g.members, id, func(m groupMember, id string) int { return cmp.Compare(m.id, id) })
}

// refresh takes note of sessions that have expired and of buckets that have come or gone: each makes a
// new generation. What a member that has expired held is free. buckets are those of the table, sorted.
func (g *consumerGroup) refresh(now time.Time, buckets []int32, parents map[int32]groupParent) {
	g.parents = parents
	count := len(g.members)
	g.members = slices.DeleteFunc(g.members, func(m groupMember) bool { return now.Sub(m.seen) >= m.session })
	changed := len(g.members) < count
	if g.buckets == nil {
		g.buckets = g.shared()
	}
	if !slices.Equal(g.buckets, buckets) {
		changed = changed || count > 0
		g.buckets = buckets
		g.forgetBuckets()
	}
	switch {
	case changed:
		g.rebalance(buckets)
	case len(parents) > 0:
		g.handOver() // a parent may have been read since
	}
}

// shared gives the buckets of all shares, sorted.
func (g *consumerGroup) shared() []int32 {
	all := []int32{}
	for _, m := range g.members {
		all = append(all, m.share...)
	}
	slices.Sort(all)
	return all
}

// forgetBuckets forgets the positions of buckets that are gone.
func (g *consumerGroup) forgetBuckets() {
	for bucket := range g.positions {
		if _, found := slices.BinarySearch(g.buckets, bucket); !found {
			g.ownPositions()
			delete(g.positions, bucket)
		}
	}
}

// rebalance begins a new generation, with a share of the buckets for each member.
func (g *consumerGroup) rebalance(buckets []int32) {
	g.generation = max(g.generation, g.base) + 1
	g.buckets = buckets
	for i := range g.members {
		g.members[i].holds = intersect(g.members[i].holds, buckets)
	}
	shareBuckets(g.members, buckets)
	g.handOver()
}

// fill sets the positions that are missing: a bucket that has come later is read from its first row on.
func (g *consumerGroup) fill(first func(bucket int32) int64) {
	if len(g.members) == 0 || len(g.positions) == len(g.buckets) {
		return
	}
	for _, bucket := range g.buckets {
		if _, known := g.positions[bucket]; !known {
			g.setPosition(bucket, first(bucket))
		}
	}
}

// early says that a bucket must not be read yet: the group has not committed what comes before it, in the bucket
// that it was split from or before that one.
func (g *consumerGroup) early(bucket int32) bool {
	parent, splits := g.parents[bucket]
	return splits && (g.positions[parent.bucket] < parent.before || g.early(parent.bucket))
}

// handOver gives each bucket that nobody holds to the member that it is meant for, once the rows of the bucket
// that it was split from are done.
func (g *consumerGroup) handOver() {
	held := map[int32]bool{}
	for _, m := range g.members {
		for _, bucket := range m.holds {
			held[bucket] = true
		}
	}
	for i := range g.members {
		m := &g.members[i]
		var free []int32
		for _, bucket := range m.share {
			if !held[bucket] && !g.early(bucket) {
				free = append(free, bucket)
			}
		}
		if free != nil {
			m.holds = append(slices.Clone(m.holds), free...)
			slices.Sort(m.holds)
		}
	}
}

// join makes id a member, or begins its membership anew: it has given up what it read.
func (g *consumerGroup) join(now time.Time, id string, session time.Duration, buckets []int32) {
	i, found := g.find(id)
	if !found {
		g.members = slices.Insert(g.members, i, groupMember{id: id})
	}
	g.members[i].session, g.members[i].seen = session, now
	g.rebalance(buckets)
	g.acknowledge(i, g.generation)
}

// leave ends a membership; what the member held is free.
func (g *consumerGroup) leave(i int) {
	g.members = slices.Delete(g.members, i, i+1)
	g.rebalance(g.buckets)
}

// acknowledge notes that a member knows a generation: if it is the newest one, the member does not read
// any more what is not in its share.
func (g *consumerGroup) acknowledge(i int, generation int64) {
	m := &g.members[i]
	if m.floor >= generation {
		return
	}
	m.floor = generation
	if generation == g.generation {
		// A reset may have moved a parent back.
		m.holds = slices.DeleteFunc(intersect(m.holds, m.share), g.early)
		g.handOver()
	}
}

// call checks who calls, and takes note that he is there and knows the generation that he names.
func (g *consumerGroup) call(now time.Time, id string, generation int64) (*groupMember, error) {
	i, found := g.find(id)
	if !found {
		return nil, g.fenced("%q is not a member of the group %q: it has never joined, has left, or its session has expired", id, g.name)
	}
	m := g.members[i]
	switch {
	case generation < g.resetAt:
		return nil, g.fenced("the position of the group %q was reset in generation %d, behind %d", g.name, g.resetAt, generation)
	case generation < m.floor:
		return nil, g.fenced("%q is in generation %d of the group %q, and was called from %d: another program has its name", id, m.floor, g.name, generation).
			With("replaced", true)
	case generation > g.generation:
		return nil, g.fenced("the group %q has not come to generation %d yet, but to %d", g.name, generation, g.generation)
	}
	g.members[i].seen = now
	g.acknowledge(i, generation)
	return &g.members[i], nil
}

func (g *consumerGroup) fenced(format string, args ...any) *model.Error {
	return model.Errorf(model.MemberFenced, format, args...).With("group", g.name).With("generation", g.generation).
		WithRemedy("Join again, and go on from the committed position")
}

// commit moves the group's position forward in buckets that the member holds; one that is farther already
// stays.
func (g *consumerGroup) commit(m *groupMember, offsets model.Offsets) error {
	for bucket := range offsets {
		if _, holds := slices.BinarySearch(m.holds, bucket); !holds {
			return g.fenced("bucket %d is not one of those that the member %q of the group %q reads", bucket, m.id, g.name)
		}
	}
	g.advance(offsets)
	return nil
}

// advance moves positions forward.
func (g *consumerGroup) advance(offsets model.Offsets) {
	for bucket, offset := range offsets {
		if at, known := g.positions[bucket]; !known || at < offset {
			g.setPosition(bucket, offset)
		}
	}
}

// reset sets positions, forward or back. Members have to join again: nothing that they have read from
// before can be committed. Until then, or until their sessions expire, they keep what they hold.
func (g *consumerGroup) reset(offsets model.Offsets) {
	for bucket, offset := range offsets {
		g.setPosition(bucket, offset)
	}
	if len(g.members) == 0 {
		return
	}
	g.rebalance(g.buckets)
	g.resetAt = g.generation
}

// reads gives the buckets that a member may read.
func (m *groupMember) reads() []int32 { return intersect(m.holds, m.share) }

// waits gives the buckets that are meant for a member and that another one still holds.
func (m *groupMember) waits() []int32 {
	return slices.DeleteFunc(slices.Clone(m.share), func(bucket int32) bool {
		_, holds := slices.BinarySearch(m.holds, bucket)
		return holds
	})
}

// intersect gives what is in both of two sorted lists.
func intersect(a, b []int32) []int32 {
	var both []int32
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0] < b[0]:
			a = a[1:]
		case a[0] > b[0]:
			b = b[1:]
		default:
			both = append(both, a[0])
			a, b = a[1:], b[1:]
		}
	}
	return both
}

// shareBuckets gives every bucket to one member, so that the shares differ by at most one bucket and as
// few buckets as possible leave the members that hold them.
func shareBuckets(members []groupMember, buckets []int32) {
	if len(members) == 0 {
		return
	}
	// Those that hold most get the shares that are larger by one.
	order := make([]*groupMember, len(members))
	for i := range members {
		order[i] = &members[i]
	}
	slices.SortStableFunc(order, func(a, b *groupMember) int { return cmp.Compare(len(b.holds), len(a.holds)) })
	kept := map[int32]bool{}
	quotas := make([]int, len(order))
	for i, m := range order {
		quotas[i] = len(buckets) / len(members)
		if i < len(buckets)%len(members) {
			quotas[i]++
		}
		m.share = slices.Clone(m.holds[:min(quotas[i], len(m.holds))])
		for _, bucket := range m.share {
			kept[bucket] = true
		}
	}
	next := 0
	for _, bucket := range buckets {
		if kept[bucket] {
			continue
		}
		for len(order[next].share) >= quotas[next] {
			next++
		}
		order[next].share = append(order[next].share, bucket)
	}
	for _, m := range order {
		slices.Sort(m.share)
	}
}
