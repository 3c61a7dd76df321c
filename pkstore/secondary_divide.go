package pkstore

import (
	"slices"

	"github.com/headrace/headrace/internal/model"
)

// inherit takes over the indexes of a bucket that is divided, as far as they are built, as they are: what they lead
// to beside the rows of this bucket is not in its index of keys. Nobody else has s yet; publishing of the other
// bucket is held.
func (s *secondaryIndexes) inherit(from *secondaryIndexes, schema *bucketSchema) {
	var list []*secondaryIndex
	for _, x := range from.all() {
		if x.root.Load() == nil {
			continue
		}
		own, err := newSecondaryIndex(x.name, schema, x.latest().at)
		if err != nil {
			continue // it was made of the same columns of the same layout before
		}
		own.tree = &entryTree{root: x.tree.root, rows: x.tree.rows, bytes: x.tree.bytes}
		own.count.Store(x.count.Load())
		own.bytes.Store(x.bytes.Load())
		own.root.Store(x.tree.root)
		list = append(list, own)
	}
	s.list.Store(&list)
}

// RenewIndex begins to build an index anew, while the one that is there stays in use. Behind a division, its entries
// are those of the keys of all parts: too many, but none is missing. It fails with model.IndexNotFound, and with
// model.IndexNotReady where the index is not built.
func (b *Bucket) RenewIndex(name string) (*IndexBuild, error) {
	old, err := b.usable(name)
	if err != nil {
		return nil, err
	}
	b.publishing.Lock()
	defer b.publishing.Unlock()
	build, err := b.newBuild(name, old.latest().at)
	if err != nil {
		return nil, err
	}
	build.index.renews.Store(old)
	if b.secondary.find(name) != old {
		return nil, model.Errorf(model.IndexNotFound, "there is no index %q any more", name)
	}
	build.begin()
	return build, nil
}

// replace puts an index that was built in the place of the one that it renews. publishing is held.
func (s *secondaryIndexes) replace(x *secondaryIndex) {
	old := x.renews.Load()
	if old == nil {
		return
	}
	s.remove(x)
	list := slices.Clone(s.all())
	if i := slices.Index(list, old); i >= 0 {
		list[i] = x
	}
	x.renews.Store(nil)
	s.list.Store(&list)
}

// remove takes an index out of the list. publishing is held.
func (s *secondaryIndexes) remove(x *secondaryIndex) {
	list := slices.DeleteFunc(slices.Clone(s.all()), func(y *secondaryIndex) bool { return x == y })
	s.list.Store(&list)
}
