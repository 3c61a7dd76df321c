package arrowipc

import "fmt"

// Slice gives the rows [from, to) of b as a plain batch of its own, which the caller releases. Columns that are hollow
// stay so: see Adapter.AdaptSome.
func Slice(b *Batch, from, to int64) (*Batch, error) {
	if b.Codec != NoCodec {
		plain, err := Decompress(b)
		if err != nil {
			return nil, err
		}
		defer plain.Release()
		b = plain
	}
	if from < 0 || to < from || to > b.Rows {
		return nil, fmt.Errorf("rows %d..%d of a batch of %d", from, to, b.Rows)
	}
	builder := NewBuilder(b.Layout)
	vectors, err := builder.open(b)
	if err != nil {
		return nil, err
	}
	for _, c := range b.Layout.top {
		if vectors[c.node].length < b.Rows {
			continue
		}
		if err := builder.appendRange(c.node, vectors, c.node, from, to); err != nil {
			return nil, err
		}
	}
	sliced := builder.Finish()
	sliced.Rows = to - from
	return sliced, nil
}
