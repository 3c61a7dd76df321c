package engine

import (
	"github.com/headrace/headrace/internal/filter"
	"github.com/headrace/headrace/pkstore"
	"github.com/headrace/headrace/streams"
)

// matches gives those of the live rows that the filter keeps, ascending. They are valid until the next call.
func (s *stateReader) matches(live pkstore.Live) ([]int32, error) {
	x := s.reader.filtered
	x.examined += live.View.Rows()
	if stored, ok := live.Keep.(*streams.Stored); ok && live.Offsets == nil && !x.filter.MayMatch(s.reader.schema.statisticsOf(stored)) {
		return nil, nil
	}
	batch := live.View.Batch()
	err := x.fillSystem(batch.Rows, s.current, func(row int64) int64 { return live.Offset(int32(row)) }, func() (func(int64) int64, error) {
		times, err := liveTimes(live)
		return func(row int64) int64 { return times(int32(row)) }, err
	})
	if err != nil {
		return nil, err
	}
	err = streams.Guard(func() error {
		whole, err := live.Whole()
		if err != nil {
			return err
		}
		in := filter.Input{Batch: whole.Batch(), To: batch.Rows, Among: live.Rows, Extra: x.extra}
		x.rows, err = x.filter.Select(in, x.rows[:0])
		return err
	})
	return x.rows, err
}
