package engine

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// PartitionValues are values of partition columns, by the column's name, in JSON form as model.CheckDefault
// has it.
type PartitionValues map[string]any

// parsedValues are values of some partition columns, by their place among these; nil for one that is not
// named.
type parsedValues struct {
	values [][]byte
	// key is the key encoding of all; "" where one is not named.
	key string
}

// parse reads values of partition columns. The error names every fault.
func (p *partitions) parse(t *table, values PartitionValues) (*parsedValues, error) {
	return p.parseAs(t, p.shape.Load(), values)
}

// parseAs is parse where the partition columns have the names of a shape.
func (p *partitions) parseAs(t *table, shape *partitionShape, values PartitionValues) (*parsedValues, error) {
	var faults []error
	checked := make(map[string]any, len(values))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		i := slices.IndexFunc(shape.fields, func(f arrow.Field) bool { return f.Name == name })
		if i < 0 {
			faults = append(faults, model.Errorf(model.ColumnNotFound, "%q is no partition column of %s", name, t.definition.Load().Name).
				WithRemedy("Its partition columns are %s", strings.Join(shape.names(), ", ")))
			continue
		}
		field := shape.fields[i]
		field.Nullable = false
		value, err := model.CheckDefault(field, values[name])
		if err != nil || model.AutoIncremented(field, value) {
			text := fmt.Sprintf("%v", values[name])
			if err != nil {
				text = model.AsError(err).Text
			}
			faults = append(faults, model.Errorf(model.BadRequest, "the value of partition column %q: %s", name,
				strings.TrimPrefix(text, fmt.Sprintf("the default of column %q: ", name))))
			continue
		}
		checked[name] = value
	}
	if err := model.JoinFaults(faults); err != nil {
		return nil, err
	}
	return p.encode(shape, checked)
}

// encode gives values in the form of model.CheckDefault as bytes.
func (p *partitions) encode(shape *partitionShape, checked map[string]any) (*parsedValues, error) {
	row, err := arrowipc.DefaultRow(shape.layout, checked)
	if err != nil {
		return nil, err
	}
	view, err := arrowipc.NewView(row)
	if err != nil {
		return nil, err
	}
	hasher, err := p.hasher()
	if err != nil {
		return nil, err
	}
	key := hasher.AppendKey(nil, view, 0)
	parsed := &parsedValues{}
	if parsed.values, err = hasher.CutKey(key); err != nil {
		return nil, err
	}
	if len(checked) == len(shape.fields) {
		parsed.key = string(key)
	}
	return parsed, nil
}

// match says that a partition has the values.
func (v *parsedValues) match(x *partition) bool {
	for i, value := range v.values {
		if value != nil && string(value) != string(x.values[i]) {
			return false
		}
	}
	return true
}

// matching gives the partitions that have any of the values, in the order in which they were made.
func (p *partitions) matching(wanted []*parsedValues) []*partition {
	var found []*partition
	partial := slices.ContainsFunc(wanted, func(v *parsedValues) bool { return v.key == "" })
	if !partial {
		p.mu.RLock()
		defer p.mu.RUnlock()
		for _, v := range wanted {
			if x := p.byKey[v.key]; x != nil {
				found = append(found, x)
			}
		}
		slices.SortFunc(found, byID)
		return slices.Compact(found)
	}
	for _, x := range p.all() {
		if matchesAny(wanted, x) {
			found = append(found, x)
		}
	}
	return found
}

func matchesAny(wanted []*parsedValues, x *partition) bool {
	return slices.ContainsFunc(wanted, func(v *parsedValues) bool { return v.match(x) })
}

// draft makes a partition that is wanted, from a key. It fails on values that have no text form, or one that
// stands for other bytes: nobody could name the partition.
func (p *partitions) draft(key []byte) (*partition, error) {
	hasher, err := p.hasher()
	if err != nil {
		return nil, err
	}
	x := &partition{key: string(key)}
	if x.values, err = hasher.CutKey([]byte(x.key)); err != nil {
		return nil, err
	}
	if len(key) > model.PartitionKeyMax {
		return nil, model.Errorf(model.SchemaMismatch, "the values of the partition columns have %d bytes, at most %d are allowed", len(key), model.PartitionKeyMax)
	}
	for i, value := range x.values {
		if value == nil {
			return nil, model.Errorf(model.SchemaMismatch, "the partition column %q is null", p.fields()[i].Name)
		}
	}
	return x, nil
}

// check refuses a new partition whose values have no text form, or one that stands for other bytes.
func (p *partitions) check(x *partition) error {
	described, err := p.describe(x)
	if err == nil {
		shape := p.shape.Load()
		checked := make(map[string]any, len(shape.fields))
		for i, field := range shape.fields {
			checked[field.Name] = described.Values[i]
		}
		var again *parsedValues
		if again, err = p.encode(shape, checked); err == nil && again.key != x.key {
			err = fmt.Errorf("%v stands for other bytes", described.Values)
		}
	}
	if err != nil {
		return model.Errorf(model.SchemaMismatch, "a partition cannot have these values: %v", err).
			WithRemedy("Send values that can be written as text and read back")
	}
	return nil
}

// valuesText writes the values of a partition for errors and logs.
func (p *partitions) valuesText(x *partition) string {
	fields := p.fields()
	texts := make([]string, len(fields))
	for i, field := range fields {
		value, err := model.FormatValue(field.Type, x.values[i])
		if err != nil {
			value = fmt.Sprintf("%x", x.values[i])
		}
		texts[i] = fmt.Sprintf("%s=%v", field.Name, value)
	}
	return strings.Join(texts, ", ")
}
