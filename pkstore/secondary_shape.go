package pkstore

import (
	"slices"

	"github.com/headrace/headrace/internal/arrowipc"
)

// indexShape is where the columns of a secondary index are in one version of the schema. It is immutable but
// for hasher, which is for who holds publishing.
type indexShape struct {
	schema  *bucketSchema
	at      []int
	columns *arrowipc.KeyColumns
	hasher  *arrowipc.RowHasher
}

func newIndexShape(s *bucketSchema, columns []int) (*indexShape, error) {
	shape := &indexShape{schema: s, at: slices.Clone(columns)}
	var err error
	if shape.columns, err = arrowipc.NewKeyColumns(s.options.Layout, columns); err != nil {
		return nil, err
	}
	shape.hasher, err = arrowipc.NewRowHasher(s.options.Layout, columns)
	return shape, err
}

// moved gives the shape in another version of the schema; nil where a column is not there any more.
func (p *indexShape) moved(s *bucketSchema, moved []int) (*indexShape, error) {
	columns := make([]int, len(p.at))
	for i, column := range p.at {
		if columns[i] = moved[column]; columns[i] < 0 {
			return nil, nil
		}
	}
	return newIndexShape(s, columns)
}

// latest is the shape in the schema of the bucket.
func (x *secondaryIndex) latest() *indexShape {
	shapes := *x.shapes.Load()
	return shapes[len(shapes)-1]
}

// shape gives the shape in a version of the schema that the bucket had since the index was added.
func (x *secondaryIndex) shape(s *bucketSchema) *indexShape {
	for _, shape := range slices.Backward(*x.shapes.Load()) {
		if shape.schema.options.Layout == s.options.Layout {
			return shape
		}
	}
	return x.latest()
}

// evolve makes a shape the latest one. publishing is held, or nobody else knows the index.
func (x *secondaryIndex) evolve(shape *indexShape) {
	var shapes []*indexShape
	if have := x.shapes.Load(); have != nil {
		shapes = slices.Clone(*have)
	}
	shapes = append(shapes, shape)
	x.shapes.Store(&shapes)
	x.hasher = shape.hasher
}

// hashers hash columns, and the key.
func (s *bucketSchema) hashers(columns []int) (values, keys *arrowipc.RowHasher, err error) {
	if values, err = arrowipc.NewRowHasher(s.options.Layout, columns); err != nil {
		return nil, nil, err
	}
	keys, err = arrowipc.NewRowHasher(s.options.Layout, s.options.Key)
	return values, keys, err
}
