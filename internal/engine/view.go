package engine

import (
	"maps"
	"slices"

	"github.com/headrace/headrace/internal/model"
)

// checkView replaces ViewDefault, and refuses views and bounds that the table does not have.
func (t *table) checkView(scan *Scan) error {
	name := t.definition.Load().Name
	if t.keyed == nil {
		if scan.View > ViewRows {
			return model.Errorf(model.BadRequest, "%s is a log table, which has the view rows alone", name).
				WithRemedy("Leave view out: the rows of a log table are its changes")
		}
		return nil
	}
	if scan.View == ViewDefault {
		scan.View = ViewRows
	}
	switch {
	case scan.View == ViewRows && (scan.From.Kind != BoundDefault || scan.To.Kind != BoundDefault && scan.To.Kind != BoundNow):
		return model.Errorf(model.BadRequest, "the view rows of %s is its state now: from and to do not apply", name).
			WithRemedy(`Read the view changelog for a range, or rows+changelog to follow`)
	case scan.View == ViewRowsAndChangelog && scan.From.Kind != BoundDefault:
		return model.Errorf(model.BadRequest, "the view rows+changelog begins with the state now: from does not apply").
			WithRemedy("Read the view changelog from a position")
	}
	return nil
}

// hasState says that the scan reads the state of a table.
func (s Scan) hasState(t *table) bool {
	return t.keyed != nil && (s.View == ViewRows || s.View == ViewRowsAndChangelog)
}

// stateOf gives the state that a scan reads, and its schema: that of its plan, or that of this moment; nil
// for a scan of the log. named says that the scan has named its buckets.
func (e *Engine) stateOf(t *table, scan Scan, named bool) (tableState, *tableSchema, error) {
	if !scan.hasState(t) {
		return nil, nil, nil
	}
	if scan.Plan == "" {
		return t.fixState(scan.Buckets, named, scan.To.Kind == BoundNever)
	}
	state, schema, err := e.plans.stateOf(t, scan.Plan)
	if err != nil || scan.Buckets == nil {
		return state, schema, err
	}
	chosen := make(tableState, len(scan.Buckets))
	for _, number := range scan.Buckets {
		snapshot := state[number]
		if snapshot == nil {
			return nil, nil, model.Errorf(model.BadRequest, "the plan %q does not have bucket %d", scan.Plan, number)
		}
		chosen[number] = snapshot
	}
	return chosen, schema, nil
}

// nameBuckets makes a scan of a planned state that names no buckets one of those that were planned.
func (e *Engine) nameBuckets(t *table, scan *Scan) error {
	if scan.Plan == "" || scan.Buckets != nil || !scan.hasState(t) {
		return nil
	}
	state, _, err := e.plans.stateOf(t, scan.Plan)
	scan.Buckets = state.numbers()
	return err
}

// numbers gives the buckets of a state, ascending; never nil.
func (s tableState) numbers() []int32 {
	return slices.AppendSeq(make([]int32, 0, len(s)), slices.Values(slices.Sorted(maps.Keys(s))))
}

// stateOf gives the state that a plan of the table has fixed, and its schema.
func (p *plans) stateOf(t *table, id string) (tableState, *tableSchema, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.byID[id]
	if l == nil {
		return nil, nil, planExpired(id).WithRemedy("Plan the read again")
	}
	if l.table != t {
		return nil, nil, model.Errorf(model.BadRequest, "the plan %q is of table %s", id, l.state.Table).WithRemedy("Read the table that was planned")
	}
	if l.states == nil {
		return nil, nil, model.Errorf(model.BadRequest, "the plan %q is of a changelog", id).WithRemedy("Read the view that was planned")
	}
	return l.states, l.schema, nil
}

// schemaOf gives the schema that a read of the table shows rows in: that of its plan.
func (p *plans) schemaOf(t *table, id string) *tableSchema {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.byID[id]; l != nil && l.table == t {
		return l.schema
	}
	return t.schema.Load()
}

// resolveView turns the bounds of a scan into offsets of the log, by bucket: nothing for a state alone,
// and the changes behind it where they are read too.
func (t *table) resolveView(scan Scan, state tableState) (map[int32]model.Range, error) {
	if state == nil {
		return t.resolve(scan)
	}
	ends := state.ends()
	if scan.View == ViewRows {
		ranges := make(map[int32]model.Range, len(ends))
		for number, end := range ends {
			ranges[number] = model.Range{From: end, To: end}
		}
		return ranges, nil
	}
	scan.From = Bound{Kind: BoundOffsets, Position: model.Position{Offsets: ends}}
	return t.resolve(scan)
}
