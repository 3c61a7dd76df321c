package arrowipc

import (
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/model"
)

// link says what one field of a column that is converted is made of, and those nested in it.
type link struct {
	target *column
	// source is nil where the rows lack the field: value stands for it.
	source *column
	value  *fill
	// number converts numbers; nil: values are appended as they are, or field by field.
	number numberConversion
	// children are those of target, where values are appended field by field; nil: as they are.
	children []*link
	// same says that the buffers are the same, those of what is nested too.
	same bool
}

// linkMaker links the fields of one column by their numbers.
type linkMaker struct {
	from, to *FieldLayout
	missing  MissingValue
	misfit   error // why values cannot be had
}

// link links a field of the target with one of the source.
func (m *linkMaker) link(target, source *column) (*link, error) {
	k := &link{target: target, source: source}
	if !m.to.numbered(target) || !m.from.numbered(source) || len(target.children) == 0 || target.kind != source.kind {
		return k, m.values(k)
	}
	k.same = len(target.children) == len(source.children)
	if target.width != source.width {
		m.misfit = errMisfit(target)
	}
	for i, child := range target.children {
		below := i
		if target.kind == structKind && m.to.numbered(child) {
			below = slices.IndexFunc(source.children, func(s *column) bool { return m.from.ids[s.node] == m.to.ids[child.node] })
		}
		inner, err := m.child(child, source, below)
		if err != nil {
			return nil, err
		}
		k.same = k.same && inner.same && below == i
		k.children = append(k.children, inner)
	}
	return k, nil
}

// numbered says that a field or one inside it has a number of its own.
func (f *FieldLayout) numbered(c *column) bool {
	return slices.ContainsFunc(f.ids[c.node:c.nodeEnd], func(id int32) bool { return id != 0 })
}

// child links a nested field of the target with the field of source at an index; negative: rows lack it.
func (m *linkMaker) child(target, source *column, at int) (*link, error) {
	if at < 0 || at >= len(source.children) {
		value := m.missing(m.to.ids[target.node])
		if value == nil && !target.nullable {
			m.misfit = errLacking(target)
		}
		f, err := newFill(arrow.Field{Name: target.name, Type: target.dataType, Nullable: true}, value)
		return &link{target: target, value: f}, err
	}
	inner, err := m.link(target, source.children[at])
	if err == nil && !target.nullable && source.children[at].nullable {
		inner.same = false // nulls are looked for
	}
	return inner, err
}

// values links fields whose values are taken whole.
func (m *linkMaker) values(k *link) error {
	target, source := k.target, k.source
	switch {
	case target.kind.binary() && source.kind.binary() && target.text == source.text:
		k.same = target.kind == source.kind
	case sameType(target.dataType, source.dataType):
		k.same = true
	default:
		if k.number = numbersOf(source.dataType, target.dataType); k.number == nil {
			m.misfit = errMisfit(target)
		}
	}
	return nil
}

func errMisfit(c *column) error {
	return model.Errorf(model.SchemaChanged, "%s has another type, %s", c.path(), model.FormatType(c.dataType)).With("column", c.name).
		WithRemedy("Open the stream again for the table's present schema")
}

// conversion makes a column of another type, or of other fields.
type conversion struct {
	from, to *Layout // of one column each
	link     *link
}

// convert gives the column of b at an index as a batch of its own.
func (c *conversion) convert(b *Batch, source int) (*Batch, error) {
	one := b.columnBatch(source, c.from)
	if one.Codec != NoCodec {
		plain, err := Decompress(one)
		if err != nil {
			return nil, err
		}
		defer plain.Release()
		one = plain
	}
	vectors, err := openVectors(nil, one, nil)
	if err != nil {
		return nil, err
	}
	builder := NewBuilder(c.to)
	builder.limit = decompressedBytesDefault
	if err := c.link.append(builder, vectors, 0, one.Rows); err != nil {
		return nil, err
	}
	builder.rows = one.Rows
	out := builder.Finish()
	out.owned = false // whoever reads the adapted batch may do so for long
	if vectors, err = openVectors(vectors, out, nil); err != nil {
		return nil, err
	}
	if row, path, ok := verifyRequired(vectors, c.to.top[0], c.to.top[0]); !ok {
		return nil, model.Errorf(model.SchemaChanged, "%s has a null in row %d, which it had not before", path, row).
			With("column", c.to.top[0].name).WithRemedy("Open the stream again for the table's present schema")
	}
	return out, nil
}

// append appends the rows [from, to) of the source to the target.
func (k *link) append(b *Builder, vectors []vector, from, to int64) error {
	if k.source == nil {
		return k.value.append(b, k.target.node, to-from)
	}
	if k.number == nil && k.children == nil {
		return b.appendRange(k.target.node, vectors, k.source.node, from, to)
	}
	if from == to {
		return nil
	}
	c, v := &b.columns[k.target.node], &vectors[k.source.node]
	if k.number != nil {
		var fits bool
		if c.values, fits = k.number(c.values, v, from, to); !fits {
			return model.Errorf(model.SchemaChanged, "a value of %s does not fit its former type, %s", k.target.path(), model.FormatType(k.target.dataType)).
				With("column", k.target.name).WithRemedy("Open the stream again for the table's present schema")
		}
		c.appendValidity(v, from, to)
		return nil
	}
	first, last := from, to
	switch k.target.kind {
	case list32Kind, list64Kind:
		var err error
		if first, last, err = c.appendOffsets(v, from, to, vectors[k.source.children[0].node].length); err != nil {
			return err
		}
	case fixedListKind:
		first, last = from*k.target.width, to*k.target.width
	}
	for _, child := range k.children {
		if err := child.append(b, vectors, first, last); err != nil {
			return err
		}
	}
	c.appendValidity(v, from, to)
	return nil
}
