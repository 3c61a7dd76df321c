package model

import "github.com/apache/arrow-go/v18/arrow"

// ChangeColumn is the column of a changelog that says what kind of change a row is. In the log of a
// primary-key table it is the last column, a uint8 that holds a ChangeType; readers get it as text.
const ChangeColumn = "_change_type"

// ChangeType is the kind of a row of a changelog. The numbers are stored.
type ChangeType uint8

// The kinds of changes.
const (
	// ChangeInsert is a row whose key was not there.
	ChangeInsert ChangeType = iota
	// ChangeUpdateBefore is the row that an update replaces; the row behind it is its ChangeUpdateAfter.
	ChangeUpdateBefore
	// ChangeUpdateAfter is the row that an update leaves.
	ChangeUpdateAfter
	// ChangeDelete is the row that a deletion takes away.
	ChangeDelete
)

var changeTexts = [...]string{"+I", "-U", "+U", "-D"}

// String gives the two characters that readers see: +I -U +U -D.
func (c ChangeType) String() string {
	if int(c) < len(changeTexts) {
		return changeTexts[c]
	}
	return "?"
}

// Keyed says that the table has a primary key, so that its log is a changelog.
func (t *Table) Keyed() bool { return len(t.PrimaryKey) > 0 }

// LogSchema is the schema of the rows in the table's log: Schema, and for a primary-key table
// ChangeColumn behind it.
func (t *Table) LogSchema() *arrow.Schema { return t.LogSchemaOf(t.Schema) }

// LogSchemaOf is LogSchema for a version of Schema.
func (t *Table) LogSchemaOf(schema *arrow.Schema) *arrow.Schema {
	if !t.Keyed() {
		return schema
	}
	fields := append(schema.Fields(), arrow.Field{Name: ChangeColumn, Type: arrow.PrimitiveTypes.Uint8})
	metadata := schema.Metadata()
	return arrow.NewSchema(fields, &metadata)
}

// SetLogSchema sets Schema from the schema of the rows in the table's log.
func (t *Table) SetLogSchema(schema *arrow.Schema) {
	t.Schema = schema
	fields := schema.Fields()
	if n := len(fields); t.Keyed() && n > 0 && fields[n-1].Name == ChangeColumn {
		metadata := schema.Metadata()
		t.Schema = arrow.NewSchema(fields[:n-1], &metadata)
	}
}

// MergeEngine says what a primary-key table makes of a row whose key is there already.
type MergeEngine string

// The merge engines, as the option merge.engine spells them.
const (
	// MergeLastRow takes the new row.
	MergeLastRow MergeEngine = "last-row"
	// MergeFirstRow keeps the old row.
	MergeFirstRow MergeEngine = "first-row"
	// MergeVersioned takes the new row unless its version is lower or null.
	MergeVersioned MergeEngine = "versioned"
	// MergeAggregation merges column by column.
	MergeAggregation MergeEngine = "aggregation"
)

// DeleteBehavior says what a primary-key table makes of a deletion.
type DeleteBehavior string

// The delete behaviours, as the option delete.behavior spells them.
const (
	DeleteAllow  DeleteBehavior = "allow"
	DeleteIgnore DeleteBehavior = "ignore"
	DeleteRefuse DeleteBehavior = "refuse"
)

// ChangelogImage says whether a changelog has the rows that updates replace.
type ChangelogImage string

// The changelog images, as the option changelog.image spells them.
const (
	// ImageFull has them.
	ImageFull ChangelogImage = "full"
	// ImageNew leaves them out.
	ImageNew ChangelogImage = "new"
)
