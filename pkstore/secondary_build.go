package pkstore

import (
	"fmt"
	"iter"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// IndexBuild builds a secondary index from the rows that are there, in steps, while writes go on. It is
// for one goroutine, which must end it: by steps until there are no more, or by Fail.
type IndexBuild struct {
	bucket *Bucket
	index  *secondaryIndex
	next   func() (Live, error, bool)
	stop   func()
	// columns and keys hash the columns of the index and the key.
	columns, keys *arrowipc.RowHasher
	changes       entryChanges // reused
}

const (
	// buildRows is about how many rows a step takes in.
	buildRows = 32 << 10
	// buildLateMax is how many changes that were published meanwhile the last step takes in while it
	// holds up Publish.
	buildLateMax = 4 << 10
)

// AddIndex begins a secondary index over some columns of the log's layout, other than the change column.
// Lookups can use it once its build has ended. It fails with model.IndexAlreadyExists if there is one
// of that name, and with model.UnsupportedType on columns that cannot be keys.
func (b *Bucket) AddIndex(name string, columns []int) (*IndexBuild, error) {
	b.publishing.Lock()
	defer b.publishing.Unlock()
	build, err := b.newBuild(name, columns)
	if err != nil {
		return nil, err
	}
	if b.secondary.find(name) != nil {
		return nil, model.Errorf(model.IndexAlreadyExists, "there is an index %q already", name)
	}
	build.begin()
	return build, nil
}

// newBuild makes what builds an index; begin begins it. publishing is held.
func (b *Bucket) newBuild(name string, columns []int) (*IndexBuild, error) {
	s := b.current()
	x, err := newSecondaryIndex(name, s, columns)
	if err != nil {
		return nil, err
	}
	build := &IndexBuild{bucket: b, index: x}
	build.columns, build.keys, err = s.hashers(columns)
	return build, err
}

// begin puts the index among those of the bucket. publishing is held.
func (s *IndexBuild) begin() {
	b, x := s.bucket, s.index
	snapshot := b.snapshot()
	x.late = &entryChanges{}
	x.rows.Store(snapshot.Count())
	all := b.secondary.all()
	list := append(all[:len(all):len(all)], x)
	b.secondary.list.Store(&list)
	s.next, s.stop = iter.Pull2(snapshot.Batches())
}

// Name is the name of the index.
func (s *IndexBuild) Name() string { return s.index.name }

// Step takes in some of the rows; false when the index is built. After an error, also that of a panic,
// the caller ends the build with Fail.
func (s *IndexBuild) Step() (more bool, err error) {
	x := s.index
	if x.dropped.Load() {
		return false, ErrIndexDropped
	}
	changes := &s.changes
	changes.reset()
	seen := int64(0)
	for seen < buildRows {
		live, err, ok := s.next()
		if err != nil {
			return false, err
		}
		if !ok {
			break
		}
		n, err := s.take(live, changes)
		if err != nil {
			return false, err
		}
		seen += n
	}
	if seen > 0 {
		x.done.Add(seen)
		return true, s.grow(changes)
	}
	return s.catchUp()
}

// take appends the entries of a batch to changes, and gives how many of its rows are live.
func (s *IndexBuild) take(live Live, changes *entryChanges) (int64, error) {
	view, err := live.Whole()
	if err != nil {
		return 0, fmt.Errorf("reading rows from offset %d on: %w", live.Base, err)
	}
	n := view.Rows()
	if live.Rows != nil {
		n = int64(len(live.Rows))
	}
	for i := range n {
		row := int32(i)
		if live.Rows != nil {
			row = live.Rows[i]
		}
		if hash, null := s.columns.HashRow(view, row); !null {
			key, _ := s.keys.HashRow(view, row)
			changes.added = append(changes.added, entryOf(hash, key))
		}
	}
	return n, nil
}

func (s *IndexBuild) grow(changes *entryChanges) error {
	changes.sort()
	x := s.index
	if err := x.tree.change(changes.added, changes.removed); err != nil {
		return err
	}
	x.count.Store(x.tree.rows)
	x.bytes.Store(x.tree.bytes)
	return nil
}

// catchUp takes in what was published since the build began. The last part of it holds up Publish.
func (s *IndexBuild) catchUp() (more bool, err error) {
	b, x := s.bucket, s.index
	b.publishing.Lock()
	late := x.late
	if len(late.added)+len(late.removed) > buildLateMax {
		x.late = &entryChanges{}
		b.publishing.Unlock()
		return true, s.grow(late)
	}
	defer b.publishing.Unlock()
	if err := s.grow(late); err != nil {
		return false, err
	}
	x.late = nil
	x.root.Store(x.tree.root)
	b.secondary.replace(x)
	s.stop()
	return false, nil
}

// Fail gives the building up; lookups by the index get cause. It may be called after an error of Step.
func (s *IndexBuild) Fail(cause error) {
	s.stop()
	b, x := s.bucket, s.index
	b.publishing.Lock()
	defer b.publishing.Unlock()
	if x.renews.Load() != nil {
		b.secondary.remove(x)
		return
	}
	x.failed.Store(&cause)
	x.late, x.tree = nil, newEntryTree()
	x.count.Store(0)
	x.bytes.Store(0)
}
