package pkstore

import (
	"bytes"
	"context"
	"fmt"
	"iter"
)

// ColdAncestor names retired rows that a bucket has from before it split from another bucket.
type ColdAncestor struct {
	// Bucket is what they are under in the store.
	Bucket ColdBucket
	// Below is the offset below which they are there; others there are not the bucket's.
	Below int64
}

// coldLineage is the store of one bucket with a Share: what it sees under its own name, and of its ancestors
// under theirs, are the rows whose keys are its own.
//
// Nothing is moved when a bucket splits. A row of an ancestor stays where it is for ever, and does not count once
// the bucket has put something under the same key: a row, or, as a deletion alone would uncover what is below,
// a gravestone, which is a row's head without a row.
type coldLineage struct {
	ColdStore
	own       ColdBucket
	ancestors []ColdAncestor // nearest first, without those that have no rows
	keys      func() (*sharedKeys, error)
}

// NewColdLineage gives a store that has of the bucket own what belongs to a share of its keys, and beneath it the
// rows of its ancestors, nearest first. layout and key are those of Options. Other buckets are not to be asked for.
func NewColdLineage(store ColdStore, o Options, own ColdBucket, ancestors []ColdAncestor) (ColdStore, error) {
	l := &coldLineage{ColdStore: store, own: own, keys: func() (*sharedKeys, error) { return newSharedKeys(o.Layout, o.Key, o.Share) }}
	for _, ancestor := range ancestors {
		if ancestor.Below > 0 {
			l.ancestors = append(l.ancestors, ancestor)
		}
	}
	_, err := l.keys()
	return l, err
}

// inherits is 1 where there are rows of ancestors. They count as a commit, so that who asks whether there are
// rows at all hears of them.
func (l *coldLineage) inherits() uint64 { return uint64(min(len(l.ancestors), 1)) }

func (l *coldLineage) lift(state ColdState) ColdState {
	if len(l.ancestors) > 0 {
		state.Boundary = max(state.Boundary, l.ancestors[0].Below)
	}
	state.Commit += l.inherits()
	return state
}

// State implements ColdStore.
func (l *coldLineage) State(bucket ColdBucket) ColdState { return l.lift(l.ColdStore.State(bucket)) }

// Retire implements ColdStore.
func (l *coldLineage) Retire(ctx context.Context, retire ColdRetire, rows iter.Seq2[ColdRow, error]) error {
	retire.Commit -= l.inherits()
	if len(l.ancestors) == 0 {
		return l.ColdStore.Retire(ctx, retire, rows)
	}
	reader, err := l.reader()
	if err != nil {
		return err
	}
	defer reader.Release()
	return l.ColdStore.Retire(ctx, retire, func(yield func(ColdRow, error) bool) {
		for row, err := range rows {
			if err == nil && row.Deleted {
				row.Deleted, err = reader.lacks(row.Key)
			}
			if !yield(row, err) {
				return
			}
		}
	})
}

// Reader implements ColdStore.
func (l *coldLineage) Reader(ColdBucket) (ColdReader, error) { return l.reader() }

func (l *coldLineage) reader() (*lineageReader, error) {
	r := &lineageReader{lineage: l}
	for i, bucket := range append([]ColdAncestor{{Bucket: l.own}}, l.ancestors...) {
		reader, err := l.ColdStore.Reader(bucket.Bucket)
		if err != nil {
			r.Release()
			return nil, err
		}
		if i == 0 {
			r.state = l.lift(reader.State())
		}
		r.layers = append(r.layers, lineageLayer{reader, bucket.Below})
	}
	return r, nil
}

// lineageReader reads a coldLineage: its own rows lie over those of its ancestors.
type lineageReader struct {
	lineage *coldLineage
	state   ColdState
	layers  []lineageLayer // the bucket's own first
}

// lineageLayer is what stands under one name.
type lineageLayer struct {
	ColdReader
	below int64 // 0: no bound
}

// hides says that a row of the layer does not count: it came there after the split.
func (y lineageLayer) hides(value []byte) (bool, error) {
	offset, _, _, err := readRetired(value)
	return y.below > 0 && offset >= y.below, err
}

// isGravestone says that what is stored is no row.
func isGravestone(value []byte) bool { return len(value) == retiredHeadBytes }

// State implements ColdReader.
func (r *lineageReader) State() ColdState { return r.state }

// Release implements ColdReader.
func (r *lineageReader) Release() {
	for _, layer := range r.layers {
		layer.Release()
	}
}

// lacks says that no ancestor has something under a key.
func (r *lineageReader) lacks(key []byte) (bool, error) {
	lacks := true
	for _, layer := range r.layers[1:] {
		err := layer.Get([][]byte{key}, func(int, []byte) error {
			lacks = false
			return nil
		})
		if err != nil || !lacks {
			return false, err
		}
	}
	return true, nil
}

// Get implements ColdReader. It gives what is stored under keys whether or not they are in the share: who asks
// knows.
func (r *lineageReader) Get(keys [][]byte, found func(i int, value []byte) error) error {
	places := make([]int, len(keys))
	for i := range places {
		places[i] = i
	}
	for _, layer := range r.layers {
		seen := make([]bool, len(keys))
		err := layer.Get(keys, func(i int, value []byte) error {
			hidden, err := layer.hides(value)
			if err != nil || hidden {
				return err
			}
			if seen[i] = true; isGravestone(value) {
				return nil
			}
			return found(places[i], value)
		})
		if err != nil {
			return err
		}
		var left [][]byte
		var leftPlaces []int
		for i, key := range keys {
			if !seen[i] {
				left, leftPlaces = append(left, key), append(leftPlaces, places[i])
			}
		}
		if keys, places = left, leftPlaces; len(keys) == 0 {
			return nil
		}
	}
	return nil
}

// lineageRows is the iteration over the rows of one layer.
type lineageRows struct {
	layer lineageLayer
	next  func() (ColdRow, error, bool)
	row   ColdRow
	more  bool
}

// advance goes to the next row that counts.
func (s *lineageRows) advance() error {
	for {
		var err error
		if s.row, err, s.more = s.next(); !s.more || err != nil {
			return err
		}
		if hidden, err := s.layer.hides(s.row.Value); !hidden || err != nil {
			return err
		}
	}
}

// Rows implements ColdReader: of each key the topmost row.
func (r *lineageReader) Rows(prefix, after []byte) iter.Seq2[ColdRow, error] {
	return func(yield func(ColdRow, error) bool) {
		if err := r.rows(prefix, after, yield); err != nil {
			yield(ColdRow{}, err)
		}
	}
}

func (r *lineageReader) rows(prefix, after []byte, yield func(ColdRow, error) bool) error {
	keys, err := r.lineage.keys()
	if err != nil {
		return err
	}
	sources := make(lineageSources, len(r.layers))
	for i, layer := range r.layers {
		next, stop := iter.Pull2(layer.Rows(prefix, after))
		defer stop()
		sources[i] = &lineageRows{layer: layer, next: next}
		if err := sources[i].advance(); err != nil {
			return err
		}
	}
	for {
		first := sources.first()
		if first == nil {
			return nil
		}
		owned, err := keys.owns(first.row.Key)
		if err != nil {
			return fmt.Errorf("reading a retired row: %w", err)
		}
		if owned && !isGravestone(first.row.Value) && !yield(first.row, nil) {
			return nil
		}
		if err := sources.pass(first); err != nil {
			return err
		}
	}
}

// lineageSources are the iterations over all layers, the topmost first.
type lineageSources []*lineageRows

// first gives the one with the lowest key, the topmost of several; nil at the end.
func (s lineageSources) first() *lineageRows {
	var first *lineageRows
	for _, x := range s {
		if x.more && (first == nil || bytes.Compare(x.row.Key, first.row.Key) < 0) {
			first = x
		}
	}
	return first
}

// pass goes on behind the key that one of them is at, which the others are passed over at too.
func (s lineageSources) pass(first *lineageRows) error {
	for _, x := range s {
		if x == first || !x.more || !bytes.Equal(x.row.Key, first.row.Key) {
			continue
		}
		if err := x.advance(); err != nil {
			return err
		}
	}
	return first.advance()
}
