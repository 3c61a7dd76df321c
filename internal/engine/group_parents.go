package engine

import "github.com/headrace/headrace/internal/model"

// groupParents are what groups read before the buckets of a table that split from others.
type groupParents struct{ byChild map[int32]groupParent }

// parentsOf gives those of a definition. It has none for buckets whose parent had no rows.
func parentsOf(definition *model.Table) *groupParents {
	p := &groupParents{}
	for child, split := range definition.Splits {
		if split.At == 0 {
			continue
		}
		if p.byChild == nil {
			p.byChild = make(map[int32]groupParent, len(definition.Splits))
		}
		p.byChild[child] = groupParent{bucket: split.Parent, before: split.At}
	}
	return p
}
