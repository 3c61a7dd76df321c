package pkstore

import (
	"fmt"
	"slices"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// Change is what one request does to one bucket.
type Change struct {
	// Rows is a plain batch. Apply does not keep it.
	Rows *arrowipc.View
	// Columns has the index in Options.Layout of each column of Rows, and names the key columns. An
	// upsert of all columns of the table inserts or replaces rows. One of some changes these columns
	// only; in a row that was not there the others get their defaults, or null. A deletion needs no more than the key.
	Columns []int
	// Hashes are those of the key of each row: arrowipc.RowHasher over the key columns, in the order
	// of Options.Key.
	Hashes []uint64
	// Delete says that the rows name keys to be deleted.
	Delete bool
	// Retract says that the rows name values to be taken back from those of their keys, whose rows stay; a
	// key that has none is passed over. It needs MergeAggregation.
	Retract bool
	// OnlyNew says that keys that are there stay as they are, whatever the merge engine.
	OnlyNew bool
	// Expected makes the change one that takes back what somebody has seen: a row is deleted only if
	// the newest row of its key has this offset. Such a deletion is never refused or ignored. It needs
	// Delete.
	Expected []int64
	// Time is when the request was accepted, in µs since 1970 UTC.
	Time int64
}

// source is how the columns of changes of one form lie.
type source struct {
	layout  *arrowipc.Layout
	columns []int
	keys    *arrowipc.KeyColumns
	at      []int // by column of the log, its index in the change or -1
	// whole says that rows of the change can be taken as they are: they have all columns of the
	// table in order.
	whole bool
}

// fits says that the source was made for a change.
func (s *source) fits(c *Change) bool {
	return s != nil && s.layout == c.Rows.Layout() && slices.Equal(s.columns, c.Columns)
}

// newSource checks the columns of a change.
func newSource(o *Options, change int, c *Change) (*source, error) {
	layout := c.Rows.Layout()
	if n := layout.Schema().NumFields(); n != len(c.Columns) {
		return nil, fmt.Errorf("a change of %d columns has rows of %d", len(c.Columns), n)
	}
	s := &source{layout: layout, columns: slices.Clone(c.Columns), whole: len(c.Columns) == change}
	s.at = slices.Repeat([]int{-1}, change)
	for i, column := range c.Columns {
		if column < 0 || column >= change || s.at[column] >= 0 {
			return nil, fmt.Errorf("a change names column %d, which is not one of the %d columns, or twice", column, change)
		}
		s.at[column] = i
		s.whole = s.whole && i == column
	}
	key := make([]int, len(o.Key))
	for i, column := range o.Key {
		if key[i] = s.at[column]; key[i] < 0 {
			return nil, model.Errorf(model.SchemaMismatch, "the key column %q is missing", o.Layout.Schema().Field(column).Name)
		}
	}
	var err error
	s.keys, err = arrowipc.NewKeyColumns(layout, key)
	return s, err
}

// checkVersion says whether a change may leave out the version column.
func (s *source) checkVersion(o *Options, c *Change) error {
	column := o.Merge.VersionColumn
	if o.Merge.Engine != model.MergeVersioned || c.Delete || c.OnlyNew || s.at[column] >= 0 {
		return nil
	}
	return model.Errorf(model.SchemaMismatch, "the version column %q is missing", o.Layout.Schema().Field(column).Name).
		WithRemedy("A partial update of a versioned table names its version column too")
}
