package engine

import (
	"time"

	"github.com/headrace/headrace/internal/model"
)

// resolve turns the bounds of a scan into offsets, by bucket.
func (t *table) resolve(scan Scan) (map[int32]model.Range, error) {
	if err := t.checkBounds(scan); err != nil {
		return nil, err
	}
	buckets := scan.Buckets
	if buckets == nil {
		buckets = t.numbers()
	}
	ranges := make(map[int32]model.Range, len(buckets))
	for _, number := range buckets {
		if err := t.checkBucket(number); err != nil {
			return nil, err
		}
		readable, err := t.readable(number)
		if err != nil && scan.To.Kind == BoundNever && t.isGone(number) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if ranges[number], err = t.resolveBucket(scan, number, readable); err != nil {
			return nil, err
		}
	}
	return ranges, nil
}

// checkBounds checks what does not depend on a bucket.
func (t *table) checkBounds(scan Scan) error {
	definition := t.definition.Load()
	for _, bound := range []Bound{scan.From, scan.To} {
		if bound.Kind != BoundOffsets {
			continue
		}
		if id := bound.Position.TableID; id != "" && id != definition.ID {
			return model.Errorf(model.TableReplaced, "the position is of another table that had the name %s", definition.Name).
				With("table", definition.Name.String()).With("table_id", definition.ID).
				WithRemedy("Start from earliest or latest")
		}
		if err := t.checkBuckets(bound.Position.Offsets); err != nil {
			return err
		}
	}
	if scan.From.Kind == BoundNever {
		return model.Errorf(model.BadRequest, `"never" is for "to" alone`)
	}
	if scan.HasLimit && scan.Limit < 0 {
		return model.Errorf(model.BadRequest, "limit is %d", scan.Limit).WithRemedy("Leave it out for all rows")
	}
	return nil
}

// checkBuckets refuses offsets of buckets that the table never had. Those of partitions that were dropped are
// passed over.
func (t *table) checkBuckets(offsets model.Offsets) error {
	for _, number := range offsets.Buckets() {
		if err := t.checkBucket(number); err != nil {
			return err
		}
	}
	return nil
}

// resolveBucket gives the range of one bucket.
func (t *table) resolveBucket(scan Scan, number int32, readable model.Range) (model.Range, error) {
	from, err := t.resolveFrom(scan.From, number, readable)
	if err != nil {
		return model.Range{}, err
	}
	to := readable.To
	switch scan.To.Kind {
	case BoundEarliest:
		to = readable.From
	case BoundTime:
		if to, err = t.offsetAt(number, scan.To.Time, readable); err != nil {
			return model.Range{}, err
		}
	case BoundOffsets:
		wanted, named := scan.To.Position.Offsets[number]
		if !named {
			wanted = from
		}
		if wanted > readable.To {
			return model.Range{}, beyondEnd(number, wanted, readable.To)
		}
		to = wanted
	}
	return model.Range{From: from, To: max(from, to)}, nil
}

func (t *table) resolveFrom(bound Bound, number int32, readable model.Range) (int64, error) {
	switch bound.Kind {
	case BoundLatest, BoundNow:
		return readable.To, nil
	case BoundTime:
		return t.offsetAt(number, bound.Time, readable)
	case BoundOffsets:
		wanted, named := bound.Position.Offsets[number]
		switch {
		case !named:
			return readable.From, nil
		case wanted < readable.From:
			return 0, model.Errorf(model.OffsetTrimmed, "bucket %d begins at offset %d, behind %d", number, readable.From, wanted).
				With("table", t.definition.Load().Name.String()).With("bucket", number).With("earliest", readable.From).
				WithRemedy("Start at %d or later", readable.From)
		case wanted > readable.To:
			return 0, beyondEnd(number, wanted, readable.To)
		}
		return wanted, nil
	}
	return readable.From, nil
}

func beyondEnd(number int32, wanted, end int64) error {
	return model.Errorf(model.OffsetBeyondEnd, "bucket %d ends at offset %d, before %d", number, end, wanted).
		With("bucket", number).With("end", end).WithRemedy("Start at %d or earlier, or follow the table", end)
}

// offsetAt gives the first offset of a bucket whose append time is at or behind t.
func (t *table) offsetAt(number int32, at time.Time, readable model.Range) (int64, error) {
	if readable.Rows() == 0 {
		return readable.To, nil
	}
	b, err := t.bucket(number)
	if err != nil {
		return 0, err
	}
	offset, err := b.OffsetAt(at.UnixMicro())
	if err != nil {
		return 0, err
	}
	return min(max(offset, readable.From), readable.To), nil
}

// OffsetsAt gives for each bucket of a table the first offset whose append time is at or behind a
// time.
func (e *Engine) OffsetsAt(name model.TableName, at time.Time) (model.Offsets, error) {
	t, err := e.table(name)
	if err != nil {
		return nil, err
	}
	scan := Scan{Table: name, From: Bound{Kind: BoundTime, Time: at}}
	chosen, err := t.choose(scan, t.schema.Load())
	if err != nil {
		return nil, err
	}
	defer chosen.release()
	scan.Buckets = chosen.numbers
	ranges, err := t.resolve(scan)
	if err != nil {
		return nil, err
	}
	offsets := model.Offsets{}
	for number, r := range ranges {
		offsets[number] = r.From
	}
	return offsets, nil
}
