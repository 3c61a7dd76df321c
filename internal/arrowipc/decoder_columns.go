package arrowipc

import (
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/model"
)

// faultsMax is how many faults of a schema an error names.
const faultsMax = 20

// matchColumns finds the source column of each target column, and says what is wrong with the
// schema, all at once.
func (d *Decoder) matchColumns(options DecoderOptions) error {
	var faults []string
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	d.columns = make([]*column, len(d.target.top))
	d.fills = make([]*fill, len(d.target.top))
	d.direct = true
	for _, c := range d.source.top {
		i := d.target.ColumnIndex(c.name)
		switch {
		case i < 0:
			fault("column %q is not in the table", c.name)
			continue
		case d.columns[i] != nil:
			fault("column %q was sent twice", c.name)
			continue
		}
		target := d.target.top[i]
		fit := matchTypes(c, target)
		if fit == misfit {
			sent, want := model.FormatType(c.dataType), model.FormatType(target.dataType)
			fault("column %q is of type %s, want %s", c.name, sent, want)
		}
		d.direct = d.direct && fit == same
		d.columns[i] = c
	}
	for i, target := range d.target.top {
		if d.columns[i] != nil {
			continue
		}
		value := options.Defaults[target.name]
		if slices.Contains(options.Required, target.name) || value == nil && !target.nullable {
			fault("column %q is missing", target.name)
			continue
		}
		var err error
		if d.fills[i], err = newFill(d.target.schema.Field(i), value); err != nil {
			return err
		}
	}
	if len(faults) == 0 {
		return nil
	}
	if len(faults) > faultsMax {
		faults = append(faults[:faultsMax], "and more")
	}
	return model.Errorf(model.SchemaMismatch, "the schema does not fit the table: %s", strings.Join(faults, "; ")).
		WithRemedy("Send the columns that DescribeTable names; their order does not matter")
}

// fit says how values of a sent type become values of a table's type.
type fit uint8

const (
	misfit    fit = iota
	converted     // without loss
	same          // the buffers are the same
)

// families are the kinds whose values are converted into one another.
var families = [...]kind{
	offset32Kind: offset32Kind, offset64Kind: offset32Kind, viewKind: offset32Kind,
	list32Kind: list32Kind, list64Kind: list32Kind, dictionaryKind: dictionaryKind,
}

func matchTypes(source, target *column) fit {
	if source.kind == nullKind {
		if target.kind == nullKind {
			return same
		}
		return converted
	}
	if source.kind == dictionaryKind {
		return min(converted, matchTypes(source.dictionary.values.top[0], target))
	}
	result := same
	if source.kind != target.kind {
		if families[source.kind] == nullKind || families[source.kind] != families[target.kind] {
			return misfit
		}
		result = converted
	}
	isMap := source.dataType.ID() == arrow.MAP
	switch {
	case source.text != target.text || source.width != target.width,
		isMap != (target.dataType.ID() == arrow.MAP),
		len(source.children) != len(target.children),
		source.kind == fixedKind && !arrow.TypeEqual(source.dataType, target.dataType):
		return misfit
	}
	for i, child := range source.children {
		if source.kind == structKind && child.name != target.children[i].name {
			return misfit
		}
		result = min(result, matchTypes(child, target.children[i]))
	}
	return result
}

// plainSchema gives the schema with dictionaries replaced by their values.
func plainSchema(schema *arrow.Schema) *arrow.Schema {
	metadata := schema.Metadata()
	return arrow.NewSchema(plainFields(schema.Fields()), &metadata)
}

func plainFields(fields []arrow.Field) []arrow.Field {
	plain := slices.Clone(fields)
	for i := range plain {
		plain[i].Type = plainType(plain[i].Type)
	}
	return plain
}

func plainType(t arrow.DataType) arrow.DataType {
	switch t := t.(type) {
	case *arrow.DictionaryType:
		return plainType(t.ValueType)
	case *arrow.ListType:
		return arrow.ListOfField(plainFields(t.Fields())[0])
	case *arrow.LargeListType:
		return arrow.LargeListOfField(plainFields(t.Fields())[0])
	case *arrow.FixedSizeListType:
		return arrow.FixedSizeListOfField(t.Len(), plainFields(t.Fields())[0])
	case *arrow.StructType:
		return arrow.StructOf(plainFields(t.Fields())...)
	case *arrow.MapType:
		pair := plainFields([]arrow.Field{t.KeyField(), t.ItemField()})
		plain := arrow.MapOfFields(pair[0], pair[1])
		plain.KeysSorted = t.KeysSorted
		return plain
	}
	return t
}
