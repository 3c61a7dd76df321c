package arrowipc

import (
	"fmt"
	"math"
	"slices"
	"unsafe"
)

// gatherImages appends to a column of any flat kind what the picks have at a place where rows lie one by one.
func (b *Builder) gatherImages(c *columnBuilder, at place, picks []Pick) error {
	from := &at.shape.columns[at.node]
	switch c.column.kind {
	case bitKind:
		c.gatherImageBits(from.at, picks)
	case fixedKind:
		c.gatherImageFixed(from.at, picks)
	case offset32Kind:
		if err := gatherImageTexts[int32](b, c, at.shape, from, picks); err != nil {
			return err
		}
	case offset64Kind:
		if err := gatherImageTexts[int64](b, c, at.shape, from, picks); err != nil {
			return err
		}
	case viewKind:
		if err := c.gatherImageViews(at, picks); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%s is of no kind that an image has", c.column.path())
	}
	c.gatherPickedValidity(at, picks)
	return nil
}

// imageValidWord is validWord of picks at a place where rows lie one by one.
func imageValidWord(picks []Pick, at place) uint64 {
	word := uint64(0)
	for i := range picks {
		if p := &picks[i]; p.View != nil && at.shape.has(p.View.images[p.Row], at.node) {
			word |= 1 << i
		}
	}
	return word
}

func (c *columnBuilder) gatherImageViews(at place, picks []Pick) (err error) {
	for i := range picks {
		var value []byte
		if p := &picks[i]; p.View != nil {
			value = at.shape.value(p.View.images[p.Row], at.node)
		}
		if c.values, c.data, err = appendView(c.values, c.data, value); err != nil {
			return err
		}
	}
	return nil
}

func (c *columnBuilder) gatherImageBits(at int, picks []Pick) {
	have := c.length
	for len(picks) > 0 {
		n, word := min(len(picks), 64), uint64(0)
		for i := range picks[:n] {
			if p := &picks[i]; p.View != nil {
				word |= uint64(*(*uint8)(unsafe.Add(p.View.images[p.Row], at))) << i
			}
		}
		c.appendValueWord(have, word, int64(n))
		have += int64(n)
		picks = picks[n:]
	}
}

func (c *columnBuilder) gatherImageFixed(at int, picks []Pick) {
	width := int(c.column.width)
	out := c.growValues(len(picks) * width)
	switch width {
	case 1:
		gatherImageWords(out, at, picks)
	case 2:
		gatherImageWords(castSlice[uint16](out), at, picks)
	case 4:
		gatherImageWords(castSlice[uint32](out), at, picks)
	case 8:
		gatherImageWords(castSlice[uint64](out), at, picks)
	case 16:
		gatherImageWords(castSlice[[2]uint64](out), at, picks)
	default:
		for i := range picks {
			if p := &picks[i]; p.View != nil {
				copy(out[:width], unsafe.Slice((*byte)(unsafe.Add(p.View.images[p.Row], at)), width))
			} else {
				clear(out[:width])
			}
			out = out[width:]
		}
	}
}

// gatherImageWords sets a value for each pick, zero for picks of nulls.
func gatherImageWords[T any](out []T, at int, picks []Pick) {
	out = out[:len(picks)]
	for i := range picks {
		if p := &picks[i]; p.View != nil {
			out[i] = *(*T)(unsafe.Add(p.View.images[p.Row], at))
		} else {
			clear(out[i : i+1])
		}
	}
}

// gatherImageTexts appends texts to a column with offsets of T.
func gatherImageTexts[T int32 | int64](b *Builder, c *columnBuilder, s *RowShape, from *rowColumn, picks []Pick) error {
	have := len(c.values)
	width := int(c.column.offsetWidth())
	c.growValues(len(picks) * width)
	offsets := castSlice[T](c.values[have-width:]) // the first is the end of what is there
	b.starts = slices.Grow(b.starts[:0], len(picks))[:len(picks)]
	begin := int64(offsets[0])
	end := begin
	for i := range picks {
		if p := &picks[i]; p.View != nil {
			start, stop := s.text(p.View.images[p.Row], from)
			b.starts[i] = int64(start)
			end += int64(stop - start)
		}
		offsets[i+1] = T(end)
	}
	if width == 4 && end > math.MaxInt32 {
		return errTooLong
	}
	c.data = slices.Grow(c.data, int(end-begin))[:end]
	copyImageTexts(c.data[begin:], offsets[:len(picks)+1], b.starts, picks)
	return nil
}

// copyImageTexts copies the texts that begin at starts in their images to where offsets say.
func copyImageTexts[T int32 | int64](out []byte, offsets []T, starts []int64, picks []Pick) {
	for i := range picks {
		n := int(offsets[i+1] - offsets[i])
		if n == 0 {
			continue // perhaps of no image
		}
		p := &picks[i]
		text := unsafe.Add(p.View.images[p.Row], starts[i])
		switch to := unsafe.Pointer(&out[0]); {
		case n > 2*shortCopy || n < shortCopy/4:
			copy(out[:n], unsafe.Slice((*byte)(text), n))
		case n >= shortCopy:
			copyEnds[[shortCopy]byte](to, text, n)
		case n >= shortCopy/2:
			copyEnds[uint64](to, text, n)
		default:
			copyEnds[uint32](to, text, n)
		}
		out = out[n:]
	}
}

// copyEnds copies n bytes as two values of T, which overlap unless they are as many as both.
func copyEnds[T any](to, from unsafe.Pointer, n int) {
	var value T
	last := n - int(unsafe.Sizeof(value))
	first, second := *(*T)(from), *(*T)(unsafe.Add(from, last))
	*(*T)(to) = first
	*(*T)(unsafe.Add(to, last)) = second
}
