package engine

import (
	"context"
	"time"

	"github.com/headrace/headrace/internal/model"
)

// A group reads a table together: each bucket is read by one of its members, and the group remembers per
// bucket up to where its rows are done. It belongs to one table; the same name for another table is another
// group.
//
// # Members and generations
//
// A member joins, tells by heartbeats that it is there, and leaves; one that is silent for longer than its
// session has expired. Every change of the members, and of the table's buckets, makes a new generation, which
// has a share of the buckets for each member: as even as possible, and such that as few buckets as possible
// move. In one generation no bucket is in two shares.
//
// A bucket moves in two steps. It stays with the member that holds it, until that member acknowledges the
// new generation, by naming it in a heartbeat or a commit or by joining again, or until its session has
// expired. Only then does the answer to a heartbeat name it for the member that it is meant for. So at every
// moment at most one member that is within its session believes that it reads a bucket.
//
// A call names the generation that the member knows. The answer to a heartbeat names the newest one, and the
// buckets that the member reads in it. While the member names the one before, it still holds what it held,
// and may commit it: it finishes what it has begun, commits, and names the new generation from then on. A
// call with a generation that is older than one that the member has named, and any call of a member that has
// left or expired, is refused with model.MemberFenced.
//
// # Positions
//
// A commit is durable when it is answered, and taken only from the member that holds the bucket. Positions
// go forward; only ResetPosition moves them back. A member that gets a bucket goes on at the position of the
// group: rows that the member before has read and not committed are read again. So every row is read at
// least once, and once if no bucket moves between a read and its commit.
//
// A bucket that was split from another one is given to nobody before the group has committed the rows that the
// other one had then, so that the rows of a key come in order.
//
// All of this is in a ledger in the table's folder, members included: a restart of the server is no change
// of the members. Their sessions then begin anew.

// The bounds of a member's session.
const (
	SessionMin     = time.Second
	SessionMax     = 10 * time.Minute
	SessionDefault = 30 * time.Second
)

// GroupMember names who calls.
type GroupMember struct {
	Table model.TableName
	Group string
	// Member is the id of the member, and Generation the newest one that it knows.
	Member     string
	Generation int64
}

// JoinGroup asks for a membership.
type JoinGroup struct {
	Table model.TableName
	Group string
	// Member is the id of the member; empty: one is made. A member that joins again begins its membership
	// anew: whoever had the id before is fenced.
	Member string
	// Session is for how long the member may be silent. Default SessionDefault; SessionMin to SessionMax.
	Session time.Duration
	// Start is where a new group begins. It counts until the group has its first member: from then on the
	// group has a position in every bucket, and buckets that come later are read from their first row.
	Start Bound
}

// Membership is what a member is told.
type Membership struct {
	Member     string
	Generation int64
	// Buckets are those that the member reads, sorted. Waits are those that it will read once others have
	// given them up: it asks again soon.
	Buckets, Waits []int32
	// Position is that of the group in Buckets.
	Position model.Position
	Session  time.Duration
}

// JoinGroup makes a member of a group, and the group where it is missing.
func (e *Engine) JoinGroup(ctx context.Context, request JoinGroup) (*Membership, error) {
	t, err := e.table(request.Table)
	if err != nil {
		return nil, err
	}
	if err := e.checkJoin(&request); err != nil {
		return nil, err
	}
	starts, err := t.groupStarts(ctx, request.Group, request.Start)
	if err != nil {
		return nil, err
	}
	var joined *Membership
	err = t.groups.call(request.Group, func(d *groupDraft) error {
		if err := d.create(request.Group); err != nil {
			return err
		}
		if _, found := d.after.find(request.Member); !found && len(d.after.members) >= groupMembersMax {
			return model.Errorf(model.Quota, "the group %q has %d members, and no more are allowed", request.Group, groupMembersMax)
		}
		if d.after.generation == 0 {
			for bucket, offset := range starts {
				if _, known := d.after.positions[bucket]; !known {
					d.after.setPosition(bucket, offset)
				}
			}
		}
		d.after.join(d.now, request.Member, request.Session, d.buckets)
		d.after.fill(t.firstOffset)
		joined = t.membership(d.after, request.Member)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return joined, nil
}

// checkJoin sets defaults and checks the rest.
func (e *Engine) checkJoin(request *JoinGroup) error {
	if request.Session == 0 {
		request.Session = SessionDefault
	}
	if request.Member == "" {
		id, err := model.NewID(e.options.Clock, e.options.Entropy)
		if err != nil {
			return err
		}
		request.Member = id
	}
	faults := []error{model.CheckLabel("group", request.Group), model.CheckLabel("member", request.Member)}
	if request.Session < SessionMin || request.Session > SessionMax {
		faults = append(faults, model.Errorf(model.BadRequest, "the session is %s, want %s to %s", request.Session, SessionMin, SessionMax))
	}
	return model.JoinFaults(faults)
}

// groupStarts gives where a group begins that has never had a member; nil for another one.
func (t *table) groupStarts(ctx context.Context, name string, start Bound) (model.Offsets, error) {
	all, err := t.groups.all()
	if err != nil {
		return nil, err
	}
	for _, g := range all {
		if g.name == name && g.generation > 0 {
			return nil, nil
		}
	}
	return t.durablePosition(ctx, start)
}

// durablePosition gives the offsets that a bound stands for, once the rows below them survive a power cut: a
// position must not be known for longer than the rows below it.
func (t *table) durablePosition(ctx context.Context, at Bound) (model.Offsets, error) {
	ranges, err := t.resolve(Scan{From: at, To: Bound{Kind: BoundNever}}) // without partitions that go meanwhile
	if err != nil {
		return nil, err
	}
	offsets := model.Offsets{}
	for bucket, r := range ranges {
		_, named := at.Position.Offsets[bucket]
		if named || at.Kind != BoundOffsets {
			offsets[bucket] = r.From
		}
	}
	if t.level() < model.Fsync {
		return offsets, t.engine.Flush(ctx, model.Fsync)
	}
	return offsets, nil
}

// membership tells a member where it stands.
func (t *table) membership(g *consumerGroup, id string) *Membership {
	i, _ := g.find(id)
	m := &g.members[i]
	told := &Membership{
		Member: id, Generation: g.generation, Buckets: m.reads(), Waits: m.waits(), Session: m.session,
		Position: model.Position{TableID: t.definition.Load().ID, Offsets: model.Offsets{}},
	}
	for _, bucket := range told.Buckets {
		told.Position.Offsets[bucket] = g.positions[bucket]
	}
	return told
}

// Heartbeat tells that a member is there, and that it knows the generation that it names. The answer has the
// newest generation.
func (e *Engine) Heartbeat(_ context.Context, from GroupMember) (*Membership, error) {
	t, err := e.table(from.Table)
	if err != nil {
		return nil, err
	}
	var told *Membership
	err = t.groups.call(from.Group, func(d *groupDraft) error {
		if _, err := d.member(from); err != nil {
			return err
		}
		told = t.membership(d.after, from.Member)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return told, nil
}

// member checks a call of a member.
func (d *groupDraft) member(from GroupMember) (*groupMember, error) {
	if d.after == nil {
		d := consumerGroup{name: from.Group}
		return nil, d.fenced("the group %q is not there", from.Group)
	}
	return d.after.call(d.now, from.Member, from.Generation)
}

// LeaveGroup ends a membership: what the member held goes to others at once. One that is over already is no
// error.
func (e *Engine) LeaveGroup(_ context.Context, from GroupMember) error {
	t, err := e.table(from.Table)
	if err != nil {
		return err
	}
	return t.groups.call(from.Group, func(d *groupDraft) error {
		if d.after == nil {
			return nil
		}
		// An older incarnation of a member that has joined again must not end it.
		if i, found := d.after.find(from.Member); found && from.Generation >= d.after.members[i].floor {
			d.after.leave(i)
		}
		return nil
	})
}

// Committed is the answer to a commit.
type Committed struct {
	// Generation is the newest one of the group: a member that knows an older one sends a heartbeat.
	Generation int64
	// Position is that of the group in the buckets that the commit named.
	Position model.Position
}

// CommitPosition moves the position of a group forward. Without a member, and with generation 0, it is for a
// group that has no members, and makes it where it is missing.
func (e *Engine) CommitPosition(ctx context.Context, from GroupMember, position model.Position) (*Committed, error) {
	t, err := e.table(from.Table)
	if err != nil {
		return nil, err
	}
	if err := model.CheckLabel("group", from.Group); err != nil {
		return nil, err
	}
	if err := t.checkCommit(ctx, position); err != nil {
		return nil, err
	}
	position.Offsets = t.present(position.Offsets)
	var committed *Committed
	err = t.groups.call(from.Group, func(d *groupDraft) error {
		if err := d.commit(from, position.Offsets); err != nil {
			return err
		}
		committed = &Committed{
			Generation: d.after.generation,
			Position:   model.Position{TableID: t.definition.Load().ID, Offsets: model.Offsets{}},
		}
		for bucket := range position.Offsets {
			committed.Position.Offsets[bucket] = d.after.positions[bucket]
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return committed, nil
}

func (d *groupDraft) commit(from GroupMember, offsets model.Offsets) error {
	if from.Member != "" || from.Generation != 0 {
		m, err := d.member(from)
		if err != nil {
			return err
		}
		return d.after.commit(m, offsets)
	}
	if err := d.create(from.Group); err != nil {
		return err
	}
	if len(d.after.members) > 0 {
		return d.after.fenced("the group %q has members, and the commit names none", from.Group)
	}
	d.after.advance(offsets)
	return nil
}

// checkCommit checks that the rows below a position are there, and are so behind a power cut too.
func (t *table) checkCommit(ctx context.Context, position model.Position) error {
	if err := t.checkBounds(Scan{From: Bound{Kind: BoundOffsets, Position: position}}); err != nil {
		return err
	}
	for _, bucket := range position.Offsets.Buckets() {
		rows, err := t.readable(bucket)
		if t.isGone(bucket) {
			continue
		}
		if err != nil {
			return err
		}
		if offset := position.Offsets[bucket]; offset > rows.To {
			return beyondEnd(bucket, offset, rows.To)
		}
	}
	if t.level() < model.Fsync {
		return t.engine.Flush(ctx, model.Fsync)
	}
	return nil
}

// ResetPosition moves the position of a group, forward or back: to a time, to the first or the last row, or
// to a position, of which only the buckets that it names move. Members have to join again. It gives the
// offsets that were set.
func (e *Engine) ResetPosition(ctx context.Context, table model.TableName, group string, to Bound) (model.Position, error) {
	t, err := e.table(table)
	if err != nil {
		return model.Position{}, err
	}
	offsets, err := t.durablePosition(ctx, to)
	if err != nil {
		return model.Position{}, err
	}
	err = t.groups.call(group, func(d *groupDraft) error {
		if d.after == nil {
			return t.noGroup(group)
		}
		d.after.reset(offsets)
		return nil
	})
	return model.Position{TableID: t.definition.Load().ID, Offsets: offsets}, err
}

// DropGroup forgets a group. Its members are fenced.
func (e *Engine) DropGroup(_ context.Context, table model.TableName, group string, missingOK bool) error {
	t, err := e.table(table)
	if err != nil {
		return err
	}
	return t.groups.call(group, func(d *groupDraft) error {
		if d.after == nil && !missingOK {
			return t.noGroup(group)
		}
		d.drop()
		return nil
	})
}

func (t *table) noGroup(name string) error {
	table := t.definition.Load().Name
	return model.Errorf(model.GroupNotFound, "the table %s has no group %q", table, name).
		With("table", table.String()).With("group", name).
		WithRemedy("A group is made by its first member, or its first commit; ListGroups gives those that there are")
}

// groupBuckets gives the buckets that groups share, sorted.
func (t *table) groupBuckets() []int32 { return t.numbers() }

// present gives those of the offsets whose buckets are there: a commit names buckets of partitions that were
// dropped meanwhile.
func (t *table) present(offsets model.Offsets) model.Offsets {
	present := make(model.Offsets, len(offsets))
	for bucket, offset := range offsets {
		if !t.isGone(bucket) {
			present[bucket] = offset
		}
	}
	return present
}

// groupParents gives for buckets that were split from others what a group reads before them, so that the rows
// of a key come in order also where the two have different readers.
func (t *table) groupParents() map[int32]groupParent { return t.parents.Load().byChild }

// firstOffset gives the offset of the first row that a bucket ever had or will have.
func (t *table) firstOffset(bucket int32) int64 { return t.definition.Load().First(bucket) }
