package engine

import (
	"iter"

	"golang.org/x/sync/errgroup"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/pkstore"
	"github.com/headrace/headrace/streams"
)

// halvesMin is the number of keys from which on two goroutines look them up: nearly all of the time is
// spent waiting for memory, and one stream of lookups should not leave a processor idle. For fewer keys
// waking the other one takes as long as doing its half; and where two messages are being answered, both are busy.
const halvesMin = 256

// search is the keys of one bucket.
type search struct {
	place
	rows []int32 // nil: all
	asOf int64
}

// findInAll fills l.found with the rows of keys, bucket by bucket.
func (l *Lookup) findInAll(keys pkstore.Keys, places iter.Seq2[place, []int32]) (model.Offsets, error) {
	n := len(keys.Hashes)
	if cap(l.found) < n {
		l.found = make([]arrowipc.Pick, n)
	}
	l.found, l.searches = l.found[:n], l.searches[:0]
	for at, rows := range places {
		l.searches = append(l.searches, search{place: at, rows: rows})
	}
	if len(l.searches) == 1 && l.searches[0].rows == nil {
		return l.findInOne(l.searches[0].place, keys)
	}
	half := func(which, step int) error {
		for i := which; i < len(l.searches); i += step {
			if err := l.findOne(&l.searches[i], keys, which); err != nil {
				return err
			}
		}
		return nil
	}
	if err := l.inHalves(n, half); err != nil {
		return nil, err
	}
	offsets := make(model.Offsets, len(l.searches))
	for _, s := range l.searches {
		if s.bucket >= 0 {
			offsets[s.bucket] = s.asOf
		}
	}
	return offsets, nil
}

// findInOne fills l.found with the rows of keys all of which are in one bucket.
func (l *Lookup) findInOne(at place, keys pkstore.Keys) (model.Offsets, error) {
	found, asOf, err := l.findAt(at, keys, l.readers[0], l.found[:0])
	if err != nil {
		return nil, err
	}
	l.found = found
	if at.bucket < 0 {
		return model.Offsets{}, nil
	}
	return model.Offsets{at.bucket: asOf}, nil
}

// findAt appends the rows of keys of one place to picks: nothing is found in a partition that is not there, or
// not any more.
func (l *Lookup) findAt(at place, keys pkstore.Keys, reader *pkstore.RowReader, picks []arrowipc.Pick) (found []arrowipc.Pick, asOf int64, err error) {
	if at.bucket >= 0 {
		if found, asOf, err = l.findIn(at.bucket, keys, reader, picks); err == nil || !l.table.isGone(at.bucket) {
			return found, asOf, err
		}
	}
	n := len(keys.Rows)
	if keys.Rows == nil {
		n = len(keys.Hashes)
	}
	for range n {
		picks = append(picks, arrowipc.Pick{})
	}
	return picks, 0, nil
}

// findOne puts the rows of the keys of one bucket at their places in l.found.
func (l *Lookup) findOne(s *search, keys pkstore.Keys, half int) (err error) {
	keys.Rows = s.rows
	picks := &l.halves[half]
	if *picks, s.asOf, err = l.findAt(s.place, keys, l.readers[half], (*picks)[:0]); err != nil {
		return err
	}
	for i, row := range s.rows {
		l.found[row] = (*picks)[i]
	}
	return nil
}

// gather makes a part of the answer, of some of the rows that were found.
func (l *Lookup) gather(a *lookupAnswer, from, to int) (*arrowipc.Batch, error) {
	builders := &a.binding.builders[a.number]
	err := l.inHalves(to-from, func(which, step int) error {
		first, last := from, to
		if step == 2 {
			middle := (from + to) / 2
			first, last = [2]int{from, middle}[which], [2]int{middle, to}[which]
		}
		var input []arrowipc.Pick
		if l.carried > 0 {
			input = a.input[first:last]
		}
		return streams.Guard(func() error { return l.fill(a.binding, builders[which], a.found[first:last], input) })
	})
	if err != nil {
		return nil, err
	}
	if builders[1].Rows() > 0 {
		second := builders[1].Finish()
		defer second.Release()
		if err := builders[0].AppendRange(second, 0, second.Rows); err != nil {
			return nil, err
		}
	}
	return a.binding.finish(builders[0], to-from)
}

// inHalves does a work of that many keys: at once in two goroutines, as halves 0 and 1 with step 2, or
// alone, as half 0 with step 1.
func (l *Lookup) inHalves(keys int, work func(which, step int) error) error {
	if keys < halvesMin || l.underWay.Load() > 1 {
		return work(0, 1)
	}
	var other errgroup.Group
	other.Go(func() error { return work(1, 2) })
	err := work(0, 2)
	if failed := other.Wait(); err == nil {
		err = failed
	}
	return err
}
