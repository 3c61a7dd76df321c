package engine

import (
	"context"
	"time"

	"github.com/headrace/headrace/internal/model"
)

// timesAhead is how many units of time behind the present one have their partition already.
const timesAhead = 2

// timeOf gives the time that a partition is of.
func (t *table) timeOf(x *partition, unit model.TimeUnit) (time.Time, error) {
	i := t.definition.Load().TimePartition()
	field := t.partitions.fields()[i]
	value, err := model.FormatValue(field.Type, x.values[i])
	if err != nil {
		return time.Time{}, err
	}
	return unit.Time(field.Type, value)
}

// checkPartitionTime refuses a new partition that is not of a unit of time, where the table has such, or whose
// time is over.
func (t *table) checkPartitionTime(x *partition, now time.Time) error {
	options := t.options.Load().Partition
	if options.TimeUnit == "" {
		return nil
	}
	at, err := t.timeOf(x, options.TimeUnit)
	if err != nil {
		return model.Errorf(model.SchemaMismatch, "partition %s: %v", t.partitions.valuesText(x), err).
			WithRemedy("The option partition.time-unit is %s: send the beginning of a %s, in UTC", options.TimeUnit, options.TimeUnit)
	}
	if options.Keep > 0 && at.Before(options.TimeUnit.Add(now, -options.Keep)) {
		return t.errNoPartition(x).WithRemedy("Its time is over: the option partition.keep is %d", options.Keep)
	}
	return nil
}

// followTime makes the partitions of the present time and of those that come next, and drops those whose time
// is over.
func (e *Engine) followTime(ctx context.Context, now time.Time) {
	for _, t := range e.catalog.all() {
		if t.partitions == nil || t.options.Load().Partition.TimeUnit == "" || e.failed() != nil {
			continue
		}
		if err := e.followTimeOf(ctx, t, now); err != nil && ctx.Err() == nil && t.err() == nil {
			e.options.Logger.Warn("make and drop partitions by time", "table", t.definition.Load().Name, "error", err)
		}
	}
}

func (e *Engine) followTimeOf(ctx context.Context, t *table, now time.Time) error {
	e.catalog.changes.Lock()
	defer e.catalog.changes.Unlock()
	options := t.options.Load().Partition
	if err := e.makeAhead(ctx, t, now); err != nil {
		return err
	}
	if options.Keep == 0 {
		return nil
	}
	var over []*partition
	first := options.TimeUnit.Add(now, -options.Keep)
	for _, x := range t.partitions.all() {
		if at, err := t.timeOf(x, options.TimeUnit); err == nil && at.Before(first) {
			over = append(over, x)
		}
	}
	if len(over) == 0 {
		return nil
	}
	return e.dropPartitions(ctx, t, over, true)
}

// makeAhead makes the partitions of the present unit and of the next ones. With other partition columns nobody
// knows their values.
func (e *Engine) makeAhead(ctx context.Context, t *table, now time.Time) error {
	p, unit := t.partitions, t.options.Load().Partition.TimeUnit
	if len(p.fields()) > 1 {
		return nil
	}
	missing := func() ([]*partition, error) {
		var drafts []*partition
		for n := range timesAhead + 1 {
			parsed, err := p.parse(t, PartitionValues{p.fields()[0].Name: unit.Value(p.fields()[0].Type, unit.Add(now, n))})
			if err != nil {
				return nil, err
			}
			if p.find([]byte(parsed.key)) != nil {
				continue
			}
			draft, err := p.draft([]byte(parsed.key))
			if err != nil {
				return nil, err
			}
			drafts = append(drafts, draft)
		}
		return drafts, nil
	}
	if drafts, err := missing(); err != nil || len(drafts) == 0 {
		return err
	}
	return e.control(ctx, func() error {
		drafts, err := missing() // a row may have made one meanwhile
		if err != nil || len(drafts) == 0 || p.count()+len(drafts) > model.PartitionsMax {
			return err
		}
		if err := t.err(); err != nil {
			return err
		}
		return e.addPartitions(t, drafts)
	})
}
