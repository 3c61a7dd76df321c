package engine

import (
	"context"
	"time"

	"github.com/headrace/headrace/internal/model"
)

// makePartitions makes the partitions that the rows of a group need and that are not there: all of a table
// with one write and one sync, before any row of the group has its place. A partition that was made for a
// group that is not written stays, empty. A request whose partitions cannot be made gets the reason as its
// fault.
func (e *Engine) makePartitions(g *group) {
	var wanted map[*table]*newPartitionSet
	for _, r := range g.requests {
		if r.put == nil || r.table.partitions == nil || r.put.refused != nil || r.table.err() != nil {
			continue
		}
		set := wanted[r.table]
		missing := r.missingPartitions(set)
		if len(missing) == 0 || r.isRetry() || r.adoption().refusal() != nil {
			continue
		}
		if set == nil {
			set = &newPartitionSet{keys: map[string]bool{}}
		}
		if r.fault = e.mayMake(r.table, missing, len(set.list)); r.fault != nil {
			continue
		}
		if wanted == nil {
			wanted = map[*table]*newPartitionSet{}
		}
		wanted[r.table] = set
		set.add(missing)
	}
	for t, set := range wanted {
		if err := e.addPartitions(t, set.list); err != nil {
			g.failPartitions(t, err)
		}
	}
}

// isRetry says that the rows of a request are stored already, or were dropped with their partition.
func (r *request) isRetry() bool {
	if r.sequence == nil {
		return false
	}
	done, _ := r.table.producers.admit(r)
	return done
}

// failPartitions gives the requests of a table that need partitions that are not there the reason.
func (g *group) failPartitions(t *table, cause error) {
	for _, r := range g.requests {
		if r.put != nil && r.table == t && len(r.missingPartitions(nil)) > 0 {
			r.fault = cause
		}
	}
}

// newPartitionSet are the partitions of one table that a group makes.
type newPartitionSet struct {
	list []*partition
	keys map[string]bool
}

func (s *newPartitionSet) add(list []*partition) {
	s.list = append(s.list, list...)
	for _, x := range list {
		s.keys[x.key] = true
	}
}

// missingPartitions gives the partitions that the rows of a request need and that are not there, each once;
// those of a set are about to be.
func (r *request) missingPartitions(made *newPartitionSet) []*partition {
	var missing []*partition
	var seen map[string]bool
	for _, part := range r.parts {
		x := part.partition
		if x == nil || part.bucket >= 0 && !x.gone.Load() || made != nil && made.keys[x.key] || seen[x.key] ||
			r.table.partitions.find([]byte(x.key)) != nil {
			continue
		}
		if seen == nil {
			seen = map[string]bool{}
		}
		seen[x.key] = true
		missing = append(missing, x)
	}
	return missing
}

// mayMake says why a request may not make partitions, or nil. made counts those that others of the group make.
func (e *Engine) mayMake(t *table, missing []*partition, made int) error {
	definition, options := t.definition.Load(), t.options.Load()
	if !options.Partition.AutoCreate {
		return t.errNoPartition(missing[0]).WithRemedy("Create it first, or set the option partition.auto-create to true")
	}
	if len(missing) > model.NewPartitionsMax {
		return model.Errorf(model.BadRequest, "the batch has rows of %d partitions that are not there, at most %d are made by one", len(missing), model.NewPartitionsMax).
			WithRemedy("Send smaller batches, or choose partition columns with fewer values")
	}
	if n := t.partitions.count() + made + len(missing); n > model.PartitionsMax {
		return model.Errorf(model.Quota, "table %s would have %d partitions, at most %d are allowed", definition.Name, n, model.PartitionsMax).
			WithRemedy("Drop partitions, or choose partition columns with fewer values")
	}
	for _, x := range missing {
		if err := t.checkPartition(x, e.options.Clock.Now()); err != nil {
			return err
		}
	}
	return nil
}

// checkPartition refuses a new partition by its values.
func (t *table) checkPartition(x *partition, now time.Time) error {
	if err := t.partitions.check(x); err != nil {
		return err
	}
	return t.checkPartitionTime(x, now)
}

func (t *table) errNoPartition(x *partition) *model.Error {
	name := t.definition.Load().Name
	return model.Errorf(model.PartitionNotFound, "table %s has no partition %s", name, t.partitions.valuesText(x)).
		With("table", name.String())
}

// addPartitions makes partitions of the keys of drafts, durably. It is for the committer.
func (e *Engine) addPartitions(t *table, drafts []*partition) error {
	p, definition := t.partitions, t.definition.Load()
	p.mu.RLock()
	id, bucket := p.nextID, p.nextBucket
	p.mu.RUnlock()
	made := make([]*partition, len(drafts))
	records := make([]partitionRecord, len(drafts))
	for i, draft := range drafts {
		x := &partition{key: draft.key, values: draft.values, id: id, created: e.options.Clock.Now().UTC()}
		buckets := make([]int32, definition.Buckets)
		for j := range buckets {
			buckets[j] = bucket
			bucket++
		}
		x.list.Store(&buckets)
		if bucket <= 0 {
			return model.Errorf(model.Quota, "table %s has used up the numbers of buckets", definition.Name)
		}
		id++
		made[i], records[i] = x, recordOfPartition(x)
	}
	if err := p.writeLedger(records...); err != nil {
		return e.diskError("make partitions of table "+definition.Name.String(), err)
	}
	p.mu.Lock()
	for _, x := range made {
		p.add(x)
	}
	p.mu.Unlock()
	t.published.Wake()
	return nil
}

// settleParts gives the rows of a request the buckets of the table and its partitions as they are now.
func (r *request) settleParts() error {
	if r.fault != nil {
		return r.fault
	}
	for i := range r.parts {
		part := &r.parts[i]
		x := part.partition
		if x == nil || part.bucket >= 0 && !x.gone.Load() {
			continue
		}
		now := r.table.partitions.find([]byte(x.key))
		if now == nil {
			return r.table.errNoPartition(x).WithRemedy("Send the batch again")
		}
		buckets := now.numbers()
		part.partition, part.bucket = now, buckets[int(part.index)%len(buckets)]
	}
	return r.reroute()
}

// CreatePartition makes a partition of a table; values has every partition column. It is durable when it
// returns.
func (e *Engine) CreatePartition(ctx context.Context, name model.TableName, values PartitionValues, existOK bool) (*PartitionState, error) {
	e.catalog.changes.Lock()
	defer e.catalog.changes.Unlock()
	t, err := e.partitionedTable(name)
	if err != nil {
		return nil, err
	}
	wanted, err := t.partitions.parse(t, values)
	if err != nil {
		return nil, err
	}
	if wanted.key == "" {
		return nil, t.errIncomplete()
	}
	draft, err := t.partitions.draft([]byte(wanted.key))
	if err != nil {
		return nil, err
	}
	// The committer: a row may make the same partition.
	err = e.control(ctx, func() error {
		if t.partitions.find([]byte(wanted.key)) != nil {
			if existOK {
				return nil
			}
			return model.Errorf(model.PartitionAlreadyExists, "table %s has a partition %s already", name, t.partitions.valuesText(draft)).
				With("table", name.String()).WithRemedy("Send exist_ok if that is fine")
		}
		if err := e.writable(); err != nil {
			return err
		}
		if n := t.partitions.count(); n >= model.PartitionsMax {
			return model.Errorf(model.Quota, "table %s has %d partitions, which is the most that a table can have", name, n)
		}
		if err := t.checkPartition(draft, e.options.Clock.Now()); err != nil {
			return err
		}
		return e.addPartitions(t, []*partition{draft})
	})
	if err != nil {
		return nil, err
	}
	made := t.partitions.find([]byte(wanted.key))
	if made == nil {
		return nil, t.errNoPartition(draft).WithRemedy("It was dropped meanwhile")
	}
	return t.partitionState(made)
}

// partitionedTable gives the table of a name, which has partition columns.
func (e *Engine) partitionedTable(name model.TableName) (*table, error) {
	t, err := e.table(name)
	if err != nil {
		return nil, err
	}
	if t.partitions == nil {
		return nil, model.Errorf(model.BadRequest, "%s has no partitions", name).
			WithRemedy("Create a table with partition_by")
	}
	return t, nil
}

func (t *table) errIncomplete() error {
	definition := t.definition.Load()
	return model.Errorf(model.BadRequest, "the values do not name every partition column of %s", definition.Name).
		WithRemedy("Name all of %v, or send prefix to mean every partition that has the values", definition.PartitionBy)
}
