package arrowipc

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
)

// collectDictionaries finds the dictionaries that the columns of a layout, and their values, refer
// to. Several columns may share one.
func (d *Decoder) collectDictionaries(l *Layout) error {
	for _, c := range l.all {
		if c.kind != dictionaryKind {
			continue
		}
		values := c.dictionary.values
		if known, ok := d.wanted[c.dictionary.id]; ok {
			if !arrow.TypeEqual(known.top[0].dataType, values.top[0].dataType) {
				return invalidSchema(fmt.Errorf("dictionary %d has values of two types", c.dictionary.id))
			}
			continue
		}
		d.wanted[c.dictionary.id] = values
		if err := d.collectDictionaries(values); err != nil {
			return err
		}
	}
	return nil
}

// decodeDictionary takes in a dictionary: it is verified and converted to plain values. It replaces
// the one of the same id, or is appended to that.
func (d *Decoder) decodeDictionary(f *flat, table flatTable, parts *scattered) error {
	id, delta := f.int64Field(table, 0), f.byteField(table, 2) != 0
	data, ok := f.tableField(table, 1)
	if !ok {
		f.fail("a dictionary has no values")
		return f.err
	}
	layout, ok := d.wanted[id]
	if !ok {
		return fmt.Errorf("no column has the dictionary %d", id)
	}
	if err := d.readWire(f, data, layout, parts.size); err != nil {
		return err
	}
	plain, err := d.plain(parts)
	if err != nil {
		return err
	}
	defer plain.Release()
	d.vectors, err = openVectors(d.vectors, plain, d.dictionaries)
	if err != nil {
		return err
	}
	if _, err := verify(d.vectors); err != nil {
		return err
	}
	values, err := d.buildDictionary(id, layout, plain.Rows, delta)
	if err != nil {
		return err
	}
	d.dictionaries[id] = values
	return nil
}

// buildDictionary makes plain values of d.vectors. All dictionaries of a stream together stay below
// the limit of a decompressed batch. Their bodies are left to the garbage collector.
func (d *Decoder) buildDictionary(id int64, layout *Layout, rows int64, delta bool) (*Batch, error) {
	target, err := NewLayout(plainSchema(layout.schema))
	if err != nil {
		return nil, err
	}
	b := NewBuilder(target)
	b.limit = d.limits.DecompressedBytes
	for other, values := range d.dictionaries {
		if other != id {
			b.charged += int64(len(values.Body))
		}
	}
	if old := d.dictionaries[id]; delta && old != nil {
		if err := b.charge(int64(len(old.Body))); err != nil {
			return nil, err
		}
		vectors, err := openVectors(nil, old, nil)
		if err != nil {
			return nil, err
		}
		if err := b.appendRange(0, vectors, 0, 0, old.Rows); err != nil {
			return nil, err
		}
		b.rows = old.Rows
	}
	if err := b.charge((sizer{vectors: d.vectors}).bytes(0, 0, rows)); err != nil {
		return nil, err
	}
	if err := b.appendRange(0, d.vectors, 0, 0, rows); err != nil {
		return nil, err
	}
	if b.rows += rows; b.rows > d.limits.Rows {
		return nil, fmt.Errorf("%w: dictionary %d has %d values, want at most %d", errTooMuch, id, b.rows, d.limits.Rows)
	}
	return b.Finish(), nil
}
