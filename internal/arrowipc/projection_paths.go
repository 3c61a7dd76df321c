package arrowipc

import (
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/model"
)

// chosen is a column of a projection: a top-level column, or a field of structs within one.
type chosen struct {
	*column
	// above are the structs around a field, the outermost first; where one of them is null, the field is.
	above []*column
}

// choose finds a column and a field in it, and the field of the result.
func (l *Layout) choose(index int, path []string) (chosen, arrow.Field, error) {
	if index < 0 || index >= len(l.top) {
		return chosen{}, arrow.Field{}, model.Errorf(model.ColumnNotFound, "there is no column %d, the table has %d", index, len(l.top))
	}
	found, field := chosen{column: l.top[index]}, l.schema.Field(index)
	names := field.Name
	for _, name := range path {
		outer, ok := storageType(field.Type).(*arrow.StructType)
		if !ok {
			return chosen{}, field, model.Errorf(model.ColumnNotFound, "the column %q has no field %q: %s is of type %s",
				found.topName(), name, quoted(names), model.FormatType(field.Type)).
				With("column", found.topName()).WithRemedy("Fields of structs alone can be chosen: ask for the whole %s", quoted(names))
		}
		at, ok := outer.FieldIdx(name)
		if !ok {
			return chosen{}, field, model.Errorf(model.ColumnNotFound, "%s has no field %q", quoted(names), name).
				With("column", found.topName()).WithRemedy("Its fields are %s", fieldNames(outer))
		}
		nullable := field.Nullable
		found.above = append(found.above, found.column)
		found.column, field = found.children[at], outer.Field(at)
		names += "." + name
		field.Name, field.Nullable = names, field.Nullable || nullable
	}
	return found, field, nil
}

func quoted(name string) string { return fmt.Sprintf("%q", name) }

// topName is the name of the top-level column.
func (c chosen) topName() string {
	if len(c.above) > 0 {
		return c.above[0].name
	}
	return c.name
}

// fieldNames lists the names of the fields, cut short where there are many.
func fieldNames(t *arrow.StructType) string {
	const most = 20
	var names []string
	for _, field := range t.Fields() {
		if len(names) == most {
			names = append(names, "…")
			break
		}
		names = append(names, field.Name)
	}
	return strings.Join(names, ", ")
}

// nullsAbove gives those of the column and the structs around it that have nulls, the column last; nil
// where a field's own bitmap is all that counts.
func (c chosen) nullsAbove(b *Batch) []*column {
	var found []*column
	for _, outer := range c.above {
		if b.Nodes[outer.node].Nulls > 0 {
			found = append(found, outer)
		}
	}
	if len(found) == 0 || c.kind == nullKind {
		return nil
	}
	if b.Nodes[c.node].Nulls > 0 {
		found = append(found, c.column)
	}
	return found
}

// validity gives the bytes of the bitmap of a column that has nulls, as stored.
func (b *Batch) validity(c *column) Span { return b.Buffers[c.buffer+b.shift(c.view)] }

// joinValidity gives the bitmap of rows that are null in none of the columns, plain, and how many are.
func (b *Batch) joinValidity(columns []*column) (bitmap []byte, nulls int64, err error) {
	for _, c := range columns {
		span := b.validity(c)
		bytes := b.bytes(span)
		if b.Codec != NoCodec && !span.isAside() {
			if bytes, err = decompressOne(b.Codec, bytes); err != nil {
				return nil, 0, err
			}
		}
		size := (b.Rows + 7) / 8
		if int64(len(bytes)) < size {
			return nil, 0, fmt.Errorf("the bitmap of %s has %d bytes, want %d", c.path(), len(bytes), size)
		}
		if bitmap == nil {
			bitmap = append(make([]byte, 0, size), bytes[:size]...)
			continue
		}
		for i := range bitmap {
			bitmap[i] &= bytes[i]
		}
	}
	return bitmap, b.Rows - countBits(bitmap, 0, b.Rows), nil
}

// decompressOne gives what one compressed buffer holds.
func decompressOne(codec Codec, buffer []byte) ([]byte, error) {
	n, err := plainLength(buffer)
	if err != nil || n == 0 {
		return nil, err
	}
	if n > decompressedBytesDefault {
		return nil, fmt.Errorf("%w: more than %d bytes once decompressed", errTooMuch, int64(decompressedBytesDefault))
	}
	if int64(len(buffer)) == n+compressedPrefix && [8]byte(buffer[:8]) == notCompressed {
		return buffer[compressedPrefix:], nil
	}
	plain := make([]byte, n)
	return plain, decompressInto(plain, codec, buffer[compressedPrefix:])
}
