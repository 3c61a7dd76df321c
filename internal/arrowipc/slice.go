package arrowipc

// Slice gives the rows [from, to) of b as a plain batch of its own, which the caller releases.
func Slice(b *Batch, from, to int64) (*Batch, error) {
	if b.Codec != NoCodec {
		plain, err := Decompress(b)
		if err != nil {
			return nil, err
		}
		defer plain.Release()
		b = plain
	}
	builder := NewBuilder(b.Layout)
	if err := builder.AppendRange(b, from, to); err != nil {
		return nil, err
	}
	return builder.Finish(), nil
}
