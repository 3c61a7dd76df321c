package arrowipc

// sizer tells how many bytes rows take in a batch.
type sizer struct {
	vectors []vector
	padded  bool // with the padding of each buffer
}

func (s sizer) buffer(n int64) int64 {
	if s.padded {
		return aligned(n)
	}
	return n
}

// bytes is at least what rows [from, to) of vectors[at], which has no offset, take once they stand in
// a batch of their own.
func (s sizer) bytes(at int, from, to int64) int64 {
	v := &s.vectors[at]
	n := to - from
	if n == 0 || v.column.kind == nullKind {
		return 0
	}
	size := int64(0)
	if v.nulls > 0 {
		size += s.buffer((n + 7) / 8)
	}
	switch c := v.column; c.kind {
	case bitKind:
		size += s.buffer((n + 7) / 8)
	case fixedKind, dictionaryKind:
		size += s.buffer(n * c.width)
	case offset32Kind, offset64Kind, list32Kind, list64Kind:
		first, last := v.span(from, to)
		if len(c.children) > 0 {
			size += s.bytes(c.children[0].node, first, last)
		} else {
			size += s.buffer(last - first)
		}
		size += s.buffer((n + 1) * c.offsetWidth())
	case viewKind:
		size += s.buffer(n*viewWidth) + s.buffer(v.longBytes(from, to))
	case fixedListKind:
		size += s.bytes(c.children[0].node, from*c.width, to*c.width)
	case structKind:
		for _, child := range c.children {
			size += s.bytes(child.node, from, to)
		}
	}
	return size
}

// span is what the offsets of rows [from, to) span, of a verified column.
func (v *vector) span(from, to int64) (first, last int64) {
	first, _ = v.offsetPair(from)
	_, last = v.offsetPair(to - 1)
	return first, last
}

func (c *column) offsetWidth() int64 {
	if c.kind == offset32Kind || c.kind == list32Kind {
		return 4
	}
	return 8
}

// longBytes is how much of the values of rows [from, to) does not fit into their views.
func (v *vector) longBytes(from, to int64) int64 {
	size := int64(0)
	for row := from; row < to; row++ {
		if v.isNull(row) {
			continue
		}
		if value, _ := v.viewed(row); len(value) > viewInlineMax {
			size += int64(len(value))
		}
	}
	return size
}

// emptyRowMax is where emptyRowBytes stops counting, so that it can be multiplied.
const emptyRowMax = 1 << 32

// emptyRowBytes is what a row without a value takes.
func (c *column) emptyRowBytes() int64 {
	size := int64(1)
	switch c.kind {
	case fixedKind:
		size += c.width
	case viewKind:
		size += viewWidth
	case offset32Kind, offset64Kind, list32Kind, list64Kind:
		size += c.offsetWidth()
	case fixedListKind:
		size += c.width * c.children[0].emptyRowBytes()
	case structKind:
		for _, child := range c.children {
			size += child.emptyRowBytes()
		}
	}
	return min(size, emptyRowMax)
}
