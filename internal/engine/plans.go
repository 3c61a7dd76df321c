package engine

import (
	"context"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/model"
)

// Plan is the fixed set of rows that one read sees. Its rows are kept until it expires.
type Plan struct {
	ID    string
	Table *model.Table
	// Scan is what was asked for.
	Scan Scan
	// Ranges are the offsets to read, by bucket; every bucket of the scan has one. Where the read
	// follows, To is the end at the time of planning.
	Ranges map[int32]model.Range
	// Rows is the number of rows of the plan: those in Ranges, or those of State; −1 where a filter decides.
	Rows int64
	// State says that the plan is the state of a primary-key table: its reads name the plan and no
	// bounds. In ViewRowsAndChangelog, Ranges are the changes behind it.
	State bool
	// Follow says that the read goes on behind Ranges for ever.
	Follow  bool
	Expires time.Time
	// NextBucket is the number from which on the buckets come that appear later; 0 where none do.
	NextBucket int32
	// Partitions tells for each bucket of Ranges which partition it belongs to; nil in a table without
	// partitions.
	Partitions map[int32]*model.Partition
	// Schema is that of the batches that the read sends; SchemaMessage is its IPC message.
	Schema        *arrow.Schema
	SchemaMessage []byte
}

// PlanState tells who keeps how much.
type PlanState struct {
	ID             string
	Table          model.TableName
	Since, Expires time.Time
	// PinnedRows is the number of rows that the plan keeps.
	PinnedRows int64
}

// plans are the leases of the engine: each pins the rows of a Plan.
type plans struct {
	engine *Engine
	mu     sync.Mutex
	byID   map[string]*lease // guarded by mu
}

// lease keeps the rows of one plan.
type lease struct {
	state   PlanState
	latest  time.Time // the lease is not renewed beyond: plan.max-pin
	release []func()
	// let gives free the files of partitions that were dropped meanwhile; nil where there is nothing to give.
	let func()
	// states are what a plan of a primary-key table's state reads; nil for other plans.
	states tableState
	table  *table
	// schema is what the rows are shown in.
	schema *tableSchema
	// readers counts the open reads of the plan, which keep it until latest; guarded by plans.mu.
	readers int
}

// renew makes the lease last for life from now on, but not beyond latest. plans.mu is held.
func (l *lease) renew(now time.Time, life time.Duration) {
	l.state.Expires = earlier(now.Add(life), l.latest)
}

// expired says that the lease keeps its rows no longer. plans.mu is held.
func (l *lease) expired(now time.Time) bool {
	if l.readers > 0 {
		return !now.Before(l.latest)
	}
	return !now.Before(l.state.Expires)
}

// Plan fixes what a read sees and pins its rows for PlanLife.
func (e *Engine) Plan(_ context.Context, scan Scan) (*Plan, error) {
	t, err := e.table(scan.Table)
	if err != nil {
		return nil, err
	}
	if err := t.checkView(&scan); err != nil {
		return nil, err
	}
	id, err := model.NewID(e.options.Clock, e.options.Entropy)
	if err != nil {
		return nil, err
	}
	now := e.options.Clock.Now()
	l := &lease{
		state: PlanState{ID: id, Table: t.definition.Load().Name, Since: now}, table: t, latest: now.Add(t.options.Load().PlanMaxPin),
	}
	chosen, ranges, err := t.chooseAndFix(scan, l)
	if err != nil {
		return nil, err
	}
	projection, err := l.schema.project(scan)
	if err == nil {
		_, err = l.schema.bindFilter(scan)
	}
	if err != nil {
		l.end()
		return nil, err
	}
	l.renew(now, e.options.PlanLife)
	if err := e.plans.add(l); err != nil {
		l.end()
		return nil, err
	}
	rows := l.state.PinnedRows
	if scan.Filter != nil {
		rows = -1
	}
	return &Plan{
		ID: id, Table: t.definitionOf(l.schema), Scan: scan, Ranges: ranges, Rows: rows, State: l.states != nil, Follow: scan.To.Kind == BoundNever,
		NextBucket: chosen.next, Partitions: t.partitionsOf(ranges), Expires: l.state.Expires, Schema: projection.Schema(), SchemaMessage: projection.SchemaMessage(),
	}, nil
}

// chooseAndFix makes a lease of what a scan reads. Where the schema changes between the choice of the buckets and the
// fixing of their rows, it is done again: a name may mean another column.
func (t *table) chooseAndFix(scan Scan, l *lease) (chosen choice, ranges map[int32]model.Range, err error) {
	for {
		schema := t.schema.Load()
		if chosen, err = t.choose(scan, schema); err != nil {
			return chosen, nil, err
		}
		l.let = chosen.release
		ranges, err = t.fix(scan, chosen, l)
		if err == nil && l.schema == schema {
			return chosen, ranges, nil
		}
		l.end()
		l.let, l.states = nil, nil
		if err != nil {
			return chosen, nil, err
		}
	}
}

// fix makes a lease of what a scan reads of the buckets chosen for it, in the schema that the table has then.
func (t *table) fix(scan Scan, chosen choice, l *lease) (ranges map[int32]model.Range, err error) {
	scan.Buckets = chosen.numbers
	if !scan.hasState(t) {
		ranges, err = t.resolvePinned(scan, l)
		l.schema = t.schema.Load()
		return ranges, err
	}
	if l.states, l.schema, err = t.fixState(scan.Buckets, chosen.named, scan.To.Kind == BoundNever); err != nil {
		return nil, err
	}
	scan.Buckets = l.states.numbers()
	return t.resolvePinned(scan, l)
}

// resolvePinned resolves the bounds of a scan and pins the rows. Retention may take rows between the
// two: then it is done again, which finds a later start, or that the rows asked for are gone.
func (t *table) resolvePinned(scan Scan, l *lease) (map[int32]model.Range, error) {
	for {
		ranges, err := t.resolveView(scan, l.states)
		if err != nil {
			return nil, err
		}
		kept := true
		l.state.PinnedRows = l.states.rows()
		for number, r := range ranges {
			l.state.PinnedRows += r.Rows()
			if r.Rows() == 0 {
				continue
			}
			b, err := t.bucket(number)
			if err != nil && scan.To.Kind == BoundNever && t.isGone(number) {
				delete(ranges, number)
				continue
			}
			if err != nil {
				return nil, err
			}
			l.release = append(l.release, b.Pin(r.From))
			kept = kept && b.Start() <= r.From
		}
		if kept {
			return ranges, nil
		}
		l.unpin()
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// plansMax bounds the plans of the server, so that a client that plans and never reads does no harm.
const plansMax = 1 << 16

func (p *plans) add(l *lease) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.byID) >= plansMax {
		return model.Errorf(model.Overloaded, "%d plans keep rows, and no more are allowed", plansMax).
			WithRemedy("Cancel plans that are not read any more, or wait until they expire")
	}
	if p.byID == nil {
		p.byID = map[string]*lease{}
	}
	p.byID[l.state.ID] = l
	return nil
}

// attach makes a plan last while a read is open; detach ends that, and may be called more than once.
func (p *plans) attach(id string) (detach func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.byID[id]
	if l == nil {
		return nil, planExpired(id).WithRemedy("Plan the read again")
	}
	l.readers++
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		l.readers--
		l.renew(p.engine.options.Clock.Now(), p.engine.options.PlanLife)
	}), nil
}

func planExpired(id string) *model.Error {
	return model.Errorf(model.PlanExpired, "the plan %q has expired or was cancelled", id)
}

// RenewPlan makes a plan last PlanLife from now, at most plan.max-pin from its beginning.
func (e *Engine) RenewPlan(id string) (time.Time, error) {
	e.plans.mu.Lock()
	defer e.plans.mu.Unlock()
	now := e.options.Clock.Now()
	l := e.plans.byID[id]
	if l == nil || l.expired(now) {
		return time.Time{}, planExpired(id).WithRemedy("Plan the read again")
	}
	l.renew(now, e.options.PlanLife)
	return l.state.Expires, nil
}

// CancelPlan gives the rows of a plan free. An unknown one is PlanExpired.
func (e *Engine) CancelPlan(id string) error {
	e.plans.mu.Lock()
	l := e.plans.byID[id]
	delete(e.plans.byID, id)
	e.plans.mu.Unlock()
	if l == nil {
		return planExpired(id)
	}
	l.end()
	return nil
}

// Plans tells which plans keep rows.
func (e *Engine) Plans() []PlanState {
	e.plans.mu.Lock()
	defer e.plans.mu.Unlock()
	states := make([]PlanState, 0, len(e.plans.byID))
	for _, l := range e.plans.byID {
		states = append(states, l.state)
	}
	return states
}

// expire ends the plans whose time has passed.
func (p *plans) expire(now time.Time) {
	var ended []*lease
	p.mu.Lock()
	for id, l := range p.byID {
		if l.readers > 0 {
			l.renew(now, p.engine.options.PlanLife)
		}
		if l.expired(now) {
			ended = append(ended, l)
			delete(p.byID, id)
		}
	}
	p.mu.Unlock()
	for _, l := range ended {
		l.end()
	}
}

func (p *plans) close() {
	p.mu.Lock()
	ended := p.byID
	p.byID = nil
	p.mu.Unlock()
	for _, l := range ended {
		l.end()
	}
}

func (l *lease) end() {
	l.unpin()
	if l.let != nil {
		l.let()
	}
}

func (l *lease) unpin() {
	for _, release := range l.release {
		release()
	}
	l.release = nil
}
