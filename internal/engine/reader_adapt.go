package engine

import (
	"errors"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/streams"
)

// adapt gives a stored batch in the schema of the read. Of columns that were of another type then, those in
// columns are converted, by index in the log; nil means all. It fails with model.SchemaChanged where the rows
// have no such form.
func (r *Reader) adapt(stored *streams.Stored, columns []int) (*arrowipc.Batch, error) {
	adapter, err := r.schema.adapter(stored.SchemaVersion())
	if err != nil || adapter == nil {
		return &stored.Batch, err
	}
	if !adapter.Converts(columns) {
		return adapter.AdaptSome(&stored.Batch, columns)
	}
	r.buffers = adapter.AppendBuffers(r.buffers[:0], &stored.Batch, columns)
	if err := stored.Load(r.buffers); err != nil {
		return nil, err
	}
	var adapted *arrowipc.Batch
	err = stored.Use(func() error {
		adapted, err = adapter.AdaptSome(&stored.Batch, columns)
		return err
	})
	return adapted, err
}

// appendBuffers appends those buffers of a stored batch that what, which reads columns of the log in the schema of
// the read, needs of it; nil means all columns.
func (r *Reader) appendBuffers(dst []int, stored *streams.Stored, what interface {
	AppendBuffers(dst []int, b *arrowipc.Batch) []int
}, columns []int) ([]int, error) {
	adapter, err := r.schema.adapter(stored.SchemaVersion())
	if err != nil {
		return dst, err
	}
	if adapter != nil {
		return adapter.AppendBuffers(dst, &stored.Batch, columns), nil
	}
	return what.AppendBuffers(dst, &stored.Batch), nil
}

// listBuffers makes r.buffers those of a stored batch that are read for what is sent.
func (r *Reader) listBuffers(stored *streams.Stored) (err error) {
	r.buffers, err = r.appendBuffers(r.buffers[:0], stored, r.projection, r.columns)
	return err
}

// verify checks the buffers that are sent of a stored batch.
func (r *Reader) verify(stored *streams.Stored) error {
	if err := r.listBuffers(stored); err != nil {
		return err
	}
	if r.showsChanges() {
		r.buffers = append(r.buffers, len(stored.Batch.Buffers)-1)
	}
	return stored.Verify(r.buffers)
}

// skipper gives skip the statistics of batches of any version of the schema as those of columns in this one. It is
// for one goroutine.
func (s *tableSchema) skipper(skip func(int32, *arrowipc.Statistics) bool) func(int32, *arrowipc.Statistics) bool {
	var adapted arrowipc.Statistics
	return func(version int32, stored *arrowipc.Statistics) bool {
		adapter, err := s.adapter(version)
		if err != nil {
			return false // whoever reads the batch learns why
		}
		if adapter != nil {
			adapter.AdaptStatistics(stored, &adapted)
			stored = &adapted
		}
		return skip(version, stored)
	}
}

// statisticsOf gives those of a stored batch as if it had this schema; nil: nothing is known.
func (s *tableSchema) statisticsOf(stored *streams.Stored) *arrowipc.Statistics {
	statistics := stored.Statistics()
	adapter, err := s.adapter(stored.SchemaVersion())
	if statistics == nil || err != nil {
		return nil
	}
	if adapter == nil {
		return statistics
	}
	var adapted arrowipc.Statistics
	adapter.AdaptStatistics(statistics, &adapted)
	return &adapted
}

// errOutdated says that a batch is of another schema than the read shows.
var errOutdated = model.Errorf(model.SchemaChanged, "the schema of the table has changed").WithRemedy("Open the read again at its position")

// schemaChanged says that a read which failed has come to rows that it cannot show in its schema, which it
// then ends before.
func (r *Reader) schemaChanged(err error) bool { return errors.Is(err, model.SchemaChanged) }

// outdated says that the read is to end before rows of another schema than its own, and that stored is such a
// batch; nil: that such rows are what comes next, if any.
func (r *Reader) outdated(stored *streams.Stored) bool {
	if !r.scan.EndAtSchemaChange {
		return false
	}
	if stored != nil {
		return stored.SchemaVersion() > r.schema.version
	}
	return r.follow && r.table.schema.Load().version > r.schema.version
}
