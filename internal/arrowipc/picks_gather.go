package arrowipc

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"unsafe"
)

// gather appends to the column target, and to what is nested in it, what the picks have at a place. The
// picks have been checked.
//
// The loops do little for each pick, and nothing for each change of the view, so that a processor has
// many picks under way: rows of old batches are far from any cache.
func (b *Builder) gather(target int, at place, picks []Pick) error {
	c := &b.columns[target]
	if at.shape != nil {
		return b.gatherImages(c, at, picks)
	}
	switch c.column.kind {
	case nullKind:
		b.appendEmpty(target, int64(len(picks)), false)
		return nil
	case bitKind:
		c.gatherPickedBits(at.node, picks)
	case fixedKind:
		c.gatherPickedFixed(at.node, picks)
	case offset32Kind, offset64Kind, viewKind:
		if err := b.gatherPickedBinaries(c, at, picks); err != nil {
			return err
		}
	case structKind:
		if at.gaps {
			return b.gatherRuns(target, at.node, picks)
		}
		for _, child := range c.column.children {
			inner := at
			inner.node, inner.kind = at.node+child.node-c.column.node, child.kind
			if err := b.gather(child.node, inner, picks); err != nil {
				return err
			}
		}
	default:
		return b.gatherRuns(target, at.node, picks)
	}
	c.gatherPickedValidity(at, picks)
	return nil
}

// gatherRuns appends picks as ranges of neighbours in one view.
func (b *Builder) gatherRuns(target, node int, picks []Pick) error {
	for len(picks) > 0 {
		n, first := 1, picks[0]
		if first.View == nil {
			for n < len(picks) && picks[n].View == nil {
				n++
			}
			b.appendEmpty(target, int64(n), false)
		} else {
			for n < len(picks) && picks[n].View == first.View && picks[n].Row == first.Row+int32(n) {
				n++
			}
			from := int64(first.Row)
			if err := b.appendRange(target, first.View.vectors, node, from, from+int64(n)); err != nil {
				return err
			}
		}
		picks = picks[n:]
	}
	return nil
}

func (c *columnBuilder) gatherPickedValidity(at place, picks []Pick) {
	if !at.gaps && !at.hasNulls() {
		if c.nulls > 0 {
			c.validity = appendOnes(c.validity, c.length, int64(len(picks)))
		}
		c.length += int64(len(picks))
		return
	}
	for len(picks) > 0 {
		n := min(len(picks), 64)
		word := uint64(0)
		if at.shape != nil {
			word = imageValidWord(picks[:n], at)
		} else {
			word = validWord(picks[:n], at.node)
		}
		c.appendValidWord(word, int64(n))
		picks = picks[n:]
	}
}

// appendValidWord appends the validity of n rows, at most 64.
func (c *columnBuilder) appendValidWord(valid uint64, n int64) {
	var room [8]byte
	binary.LittleEndian.PutUint64(room[:], valid)
	if nulls := n - countBits(room[:], 0, n); nulls > 0 {
		c.beginValidity()
		c.nulls += nulls
	}
	if c.nulls > 0 {
		c.validity = appendBits(c.validity, c.length, room[:], 0, n)
	}
	c.length += n
}

// validWord gives a bit for each of at most 64 picks, one where it is valid.
func validWord(picks []Pick, node int) uint64 {
	word := uint64(0)
	for i := range picks {
		if p := &picks[i]; p.View != nil {
			one := uint64(1)
			if bitmap := p.View.lanes[node].validity; bitmap != nil {
				one = bitAt(bitmap, p.Row)
			}
			word |= one << i
		}
	}
	return word
}

func (c *columnBuilder) gatherPickedBits(node int, picks []Pick) {
	for have := c.length; len(picks) > 0; {
		n := min(len(picks), 64)
		word := uint64(0)
		for i := range picks[:n] {
			if p := &picks[i]; p.View != nil {
				word |= bitAt(p.View.lanes[node].values, p.Row) << i
			}
		}
		c.appendValueWord(have, word, int64(n))
		have += int64(n)
		picks = picks[n:]
	}
}

// appendValueWord appends n bits, at most 64, to the have values of a bit column.
func (c *columnBuilder) appendValueWord(have int64, word uint64, n int64) {
	var room [8]byte
	binary.LittleEndian.PutUint64(room[:], word)
	c.values = appendBits(c.values, have, room[:], 0, n)
}

func (c *columnBuilder) gatherPickedFixed(node int, picks []Pick) {
	width := int(c.column.width)
	out := c.growValues(len(picks) * width)
	switch width {
	case 1:
		gatherWords(out, node, picks)
	case 2:
		gatherWords(castSlice[uint16](out), node, picks)
	case 4:
		gatherWords(castSlice[uint32](out), node, picks)
	case 8:
		gatherWords(castSlice[uint64](out), node, picks)
	case 16:
		gatherWords(castSlice[[2]uint64](out), node, picks)
	default:
		gatherWide(out, node, picks, width)
	}
}

// growValues gives room for n bytes more of values, of any content.
func (c *columnBuilder) growValues(n int) []byte {
	have := len(c.values)
	c.values = slices.Grow(c.values, n)[:have+n]
	return c.values[have:]
}

// gatherWords sets a value for each pick, zero for picks of nulls.
func gatherWords[T any](out []T, node int, picks []Pick) {
	out = out[:len(picks)]
	for i := range picks {
		if p := &picks[i]; p.View != nil {
			out[i] = loadAt[T](p.View.lanes[node].values, p.Row)
		} else {
			clear(out[i : i+1])
		}
	}
}

func gatherWide(out []byte, node int, picks []Pick, width int) {
	for _, p := range picks {
		if p.View == nil {
			clear(out[:width])
		} else {
			copy(out[:width], p.View.vectors[node].values[int(p.Row)*width:])
		}
		out = out[width:]
	}
}

// gatherPickedBinaries appends values of any form.
func (b *Builder) gatherPickedBinaries(c *columnBuilder, at place, picks []Pick) error {
	switch {
	case c.column.kind == viewKind || at.kind == viewKind:
		return c.gatherPickedForms(at.node, picks)
	case c.column.kind == offset64Kind:
		return gatherTexts[int64](b, c, at, picks)
	}
	return gatherTexts[int32](b, c, at, picks)
}

// gatherTexts appends values with offsets to a column with offsets of T.
func gatherTexts[T int32 | int64](b *Builder, c *columnBuilder, at place, picks []Pick) error {
	b.starts = slices.Grow(b.starts[:0], len(picks))[:len(picks)]
	width := int(c.column.offsetWidth())
	have := len(c.values)
	c.growValues(len(picks) * width)
	offsets := castSlice[T](c.values[have-width:]) // the first is the end of what is there
	var end int64
	var bad int
	if at.kind == offset64Kind {
		end, bad = gatherOffsets[T, int64](offsets, b.starts, at.node, picks)
	} else {
		end, bad = gatherOffsets[T, int32](offsets, b.starts, at.node, picks)
	}
	if bad >= 0 {
		return fmt.Errorf("%s has an invalid value in row %d", c.column.path(), picks[bad].Row)
	}
	if width == 4 && end > math.MaxInt32 {
		return errTooLong
	}
	c.data = slices.Grow(c.data, int(end)-len(c.data))[:end]
	gatherData(c.data, offsets, b.starts, at.node, picks)
	return nil
}

// gatherOffsets sets offsets[1:], where offsets[0] is, to the ends of the picks' values once they stand
// one after the other, and starts to where they begin in their views' data. It gives the last end, and
// the first pick whose own offsets lead outside, or -1.
//
// Lengths come before bytes, so that many loads are under way at a time: copying would wait for each
// length.
func gatherOffsets[T, S int32 | int64](offsets []T, starts []int64, node int, picks []Pick) (end int64, bad int) {
	var size S
	end = int64(offsets[0])
	ends := offsets[1 : len(picks)+1]
	starts = starts[:len(picks)]
	for i := range picks {
		if p := &picks[i]; p.View != nil {
			l := &p.View.lanes[node]
			if l.validity == nil || bitAt(l.validity, p.Row) == 1 {
				pair := (*[2]S)(unsafe.Add(l.values, uintptr(p.Row)*unsafe.Sizeof(size)))
				from, to := int64(pair[0]), int64(pair[1])
				if from < 0 || to < from || to > int64(len(l.data)) {
					return 0, i
				}
				starts[i] = from
				end += to - from
			}
		}
		ends[i] = T(end)
	}
	return end, -1
}

// shortCopy is how many bytes are copied at once where there is room for them: most values are no
// longer, and what is copied beyond a value is overwritten by the next.
const shortCopy = 16

// gatherData copies the values that gatherOffsets found to out, where offsets say.
func gatherData[T int32 | int64](out []byte, offsets []T, starts []int64, node int, picks []Pick) {
	at := int(offsets[0])
	ends := offsets[1 : len(picks)+1]
	starts = starts[:len(picks)]
	for i := range picks {
		n := int(ends[i]) - at
		if n == 0 {
			continue // perhaps a null, whose start is not set
		}
		value := picks[i].View.lanes[node].data[starts[i]:]
		if n <= shortCopy && len(value) >= shortCopy && len(out)-at >= shortCopy {
			copy(out[at:at+shortCopy], value[:shortCopy])
		} else {
			copy(out[at:at+n], value)
		}
		at += n
	}
}

// gatherPickedForms appends values of mixed forms, or to views.
func (c *columnBuilder) gatherPickedForms(node int, picks []Pick) error {
	for _, p := range picks {
		var value []byte
		if p.View != nil {
			v := &p.View.vectors[node]
			if !v.isNull(int64(p.Row)) {
				var ok bool
				if value, ok = v.slot(int64(p.Row)); !ok {
					return fmt.Errorf("%s has an invalid value in row %d", c.column.path(), p.Row)
				}
			}
		}
		var err error
		if c.column.kind != viewKind {
			err = c.appendValue(value)
		} else {
			c.values, c.data, err = appendView(c.values, c.data, value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
