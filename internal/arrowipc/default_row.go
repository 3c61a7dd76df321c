package arrowipc

import (
	"github.com/headrace/headrace/internal/model"
)

// DefaultRow gives a batch of one row with the defaults of columns, by name, in JSON form as
// model.CheckDefault has it, and null in all other columns, also in those that are NOT NULL. The
// caller releases it.
func DefaultRow(l *Layout, defaults map[string]any) (*Batch, error) {
	b := NewBuilder(l)
	for i := range l.top {
		field := l.schema.Field(i)
		value := defaults[field.Name]
		if model.AutoIncremented(field, value) {
			value = nil
		}
		f, err := newFill(field, value)
		if err != nil {
			return nil, err
		}
		if f.value == nil {
			if err := b.AppendColumnPicks(i, i, []Pick{{}}); err != nil {
				return nil, err
			}
			continue
		}
		view, err := NewView(f.value)
		if err != nil {
			return nil, err
		}
		if err := b.AppendColumnPicks(i, 0, []Pick{{View: view}}); err != nil {
			return nil, err
		}
	}
	return b.Finish(), nil
}
