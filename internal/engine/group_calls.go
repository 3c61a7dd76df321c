package engine

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/headrace/headrace/internal/model"
)

// groupsMax and groupMembersMax bound the groups of a table and the members of a group, so that a program
// that makes a new name at each start does no harm.
const (
	groupsMax       = 4096
	groupMembersMax = 1024
)

// ledgerSlack is the number of records that a ledger of groups may have beyond those that it needs.
const ledgerSlack = 1000

// tableGroups are the groups of a table. Calls that change them are put one behind the other by whoever
// comes first: he runs his own call and those that have come meanwhile, writes what they have changed with
// one append, and publishes it. Nobody sees what is not durable.
type tableGroups struct {
	table *table

	mu sync.Mutex
	// set is what is durable; nil until somebody has asked for it. Guarded by mu; the groups in it are
	// never changed.
	set *groupSet
	// waiting are the calls that nobody runs yet; guarded by mu.
	waiting []*groupCall
	// idle is closed when nobody runs calls any more; nil while nobody does. Guarded by mu.
	idle chan struct{}
	// gone is why no calls are taken any more; guarded by mu.
	gone error

	// ledger is for who runs calls; nil until it was opened.
	ledger *ledger
}

// groupCall is a change of one group.
type groupCall struct {
	// group is empty for a call that only wants the groups to be read from disk.
	group string
	// apply changes the draft. What it has changed stays, also where it fails.
	apply func(d *groupDraft) error
	err   error
	done  chan struct{}
	// leads says, once done is closed, that it is this caller's turn to run calls.
	leads bool
}

// groupDraft is what becomes of a group.
type groupDraft struct {
	set *groupSet
	now time.Time
	// buckets are those of the table, sorted.
	buckets []int32
	parents map[int32]groupParent
	// before is what is durable, after what will be; nil where there is no such group.
	before, after *consumerGroup
	// records are what happened to the group on the way to before.
	records []*groupRecord
}

// drop makes the group go.
func (d *groupDraft) drop() {
	if d.after == nil {
		return
	}
	// Also where the group was made by a call of this round, whose caller may act on what it was told.
	d.records = append(d.records, recordChange(d.after, nil, d.now.UnixMicro()))
	d.set.used = max(d.set.used, d.after.generation)
	d.before, d.after = nil, nil
}

// create makes the group where it is missing.
func (d *groupDraft) create(name string) error {
	if d.after != nil {
		return nil
	}
	if groups := len(d.set.byName); groups >= groupsMax {
		return model.Errorf(model.Quota, "the table has %d groups, and no more are allowed", groups).WithRemedy("Drop groups that nobody uses")
	}
	d.after = d.set.newGroup(name)
	d.after.buckets, d.after.parents = d.buckets, d.parents
	return nil
}

// call runs apply on a group and returns once what it has changed is durable. It is not given up while it
// waits for the disk.
func (g *tableGroups) call(group string, apply func(d *groupDraft) error) error {
	c := &groupCall{group: group, apply: apply, done: make(chan struct{})}
	g.mu.Lock()
	if g.gone != nil {
		defer g.mu.Unlock()
		return g.gone
	}
	g.waiting = append(g.waiting, c)
	if g.idle != nil {
		g.mu.Unlock()
		<-c.done
		if !c.leads {
			return c.err
		}
	} else {
		g.idle = make(chan struct{})
		g.mu.Unlock()
	}
	g.lead()
	return c.err
}

// lead runs the calls that wait and then passes the lead to one that has come meanwhile.
func (g *tableGroups) lead() {
	g.mu.Lock()
	calls := g.waiting
	g.waiting = nil
	g.mu.Unlock()
	g.run(calls)
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range calls {
		if !c.leads {
			close(c.done)
		}
	}
	if len(g.waiting) == 0 {
		close(g.idle)
		g.idle = nil
		return
	}
	g.waiting[0].leads = true
	close(g.waiting[0].done)
}

// run applies calls, writes what they have changed, and publishes it.
func (g *tableGroups) run(calls []*groupCall) {
	now := g.table.engine.options.Clock.Now()
	err := g.load(now)
	drafts := map[string]*groupDraft{}
	set := groupSet{}
	if err == nil {
		set = groupSet{byName: g.set.byName, used: g.set.used}
		for _, c := range calls {
			if c.group == "" {
				continue
			}
			d := drafts[c.group]
			if d == nil {
				d = g.draft(c.group, &set, now)
				drafts[c.group] = d
			}
			c.err = c.apply(d)
			if d.after != nil {
				d.after.fill(g.table.firstOffset)
			}
		}
		err = g.write(drafts)
	}
	if err != nil {
		err = g.failed(err)
		for _, c := range calls {
			if c.err == nil {
				c.err = err
			}
		}
		return
	}
	g.publish(drafts, set.used)
	g.compact()
}

// failed gives the error for the caller of one that the ledger gave.
func (g *tableGroups) failed(cause error) error {
	name := g.table.definition.Load().Name
	if errors.Is(cause, model.Corrupt) {
		return model.Errorf(model.Corrupt, "the groups of table %s cannot be read: %s is damaged", name, groupsFile).
			With("table", name.String()).With("file", g.table.dir()+"/"+groupsFile).WithCause(cause).
			WithRemedy("Put the file back from a copy, or remove it: the table is then without groups")
	}
	return g.table.engine.diskError(fmt.Sprintf("write the groups of table %s", name), cause)
}

// draft gives what is to become of a group, with what has happened by itself: sessions that have expired,
// buckets that have come or gone.
func (g *tableGroups) draft(name string, set *groupSet, now time.Time) *groupDraft {
	d := &groupDraft{set: set, now: now, buckets: g.table.groupBuckets(), parents: g.table.groupParents(), before: g.set.byName[name]}
	if d.before != nil {
		d.after = d.before.clone()
		d.after.refresh(now, d.buckets, d.parents)
	}
	return d
}

// write makes what has changed durable.
func (g *tableGroups) write(drafts map[string]*groupDraft) error {
	var records []*groupRecord
	for _, name := range slices.Sorted(maps.Keys(drafts)) {
		d := drafts[name]
		records = append(records, d.records...)
		if d.after == nil && d.before == nil {
			continue
		}
		if record := recordChange(d.before, d.after, d.now.UnixMicro()); record != nil {
			records = append(records, record)
			if d.after != nil {
				d.after.active = record.At
			}
		}
	}
	if len(records) == 0 {
		return nil
	}
	if err := g.mend(); err != nil {
		return err
	}
	encoded, err := encodeRecords(records)
	if err != nil {
		return err
	}
	return g.ledger.append(encoded...)
}

// mend makes a ledger usable again that a failed write has left in doubt.
func (g *tableGroups) mend() error {
	if g.ledger.broken == nil {
		return nil
	}
	records, err := g.set.records()
	if err != nil {
		return err
	}
	return g.ledger.rewrite(slices.Values(records))
}

func (g *tableGroups) publish(drafts map[string]*groupDraft, used int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.set.used = used
	for name, d := range drafts {
		if d.after == nil {
			delete(g.set.byName, name)
		} else {
			g.set.byName[name] = d.after
		}
	}
}

// compact rewrites a ledger most of whose records mean nothing any more.
func (g *tableGroups) compact() {
	if g.ledger.records <= 2*len(g.set.byName)+ledgerSlack {
		return
	}
	records, err := g.set.records()
	if err == nil {
		err = g.ledger.rewrite(slices.Values(records))
	}
	if err != nil { // the next call tries again
		g.table.engine.options.Logger.Warn("compact the ledger of groups", "table", g.table.definition.Load().Name, "error", err)
	}
}

// load reads the ledger where nobody has yet.
func (g *tableGroups) load(now time.Time) error {
	if g.set != nil {
		return nil
	}
	set := &groupSet{byName: map[string]*consumerGroup{}}
	ledger, err := openLedger(g.table.engine.options.FS, g.table.dir(), groupsFile, func(record []byte) error {
		return set.apply(record, now)
	})
	if err != nil {
		return err
	}
	g.ledger = ledger
	g.mu.Lock()
	defer g.mu.Unlock()
	g.set = set
	return nil
}

// all gives the groups of the table, sorted by name. They are as they were after the newest call.
func (g *tableGroups) all() ([]*consumerGroup, error) {
	g.mu.Lock()
	loaded := g.set != nil
	g.mu.Unlock()
	if !loaded {
		if err := g.call("", nil); err != nil {
			return nil, err
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make([]*consumerGroup, 0, len(g.set.byName))
	for _, group := range g.set.byName {
		all = append(all, group)
	}
	slices.SortFunc(all, func(a, b *consumerGroup) int { return strings.Compare(a.name, b.name) })
	return all, nil
}

// close waits for the calls that are under way, and takes no more.
func (g *tableGroups) close(cause error) error {
	g.mu.Lock()
	g.gone = cause
	idle := g.idle
	g.mu.Unlock()
	if idle != nil {
		<-idle
	}
	if g.ledger == nil {
		return nil
	}
	return g.ledger.close()
}
