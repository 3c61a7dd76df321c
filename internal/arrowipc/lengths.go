package arrowipc

import "fmt"

// checkSpans checks that the buffers lie in a body of size bytes, ascend, do not overlap and begin at
// multiples of align. The spans of the message count from lead bytes before the body; they are made
// to count from its beginning.
func checkSpans(b *Batch, lead, size, align int64) error {
	end := int64(0)
	for i, s := range b.Buffers {
		if s.Length == 0 {
			b.Buffers[i].Offset = end
			continue
		}
		offset := s.Offset - lead
		if s.Offset < 0 || offset < end || s.Length < 0 || offset > size || s.Length > size-offset {
			return fmt.Errorf("buffer %d is bytes %d+%d of a body of %d, and must begin at %d or later",
				i, offset, s.Length, size, end)
		}
		if offset%align != 0 {
			return fmt.Errorf("buffer %d begins at %d, want a multiple of %d", i, offset, align)
		}
		b.Buffers[i].Offset = offset
		end = offset + s.Length
	}
	return nil
}

// lengthMax bounds the length of a column, so that sizes in bytes cannot overflow.
const lengthMax = 1 << 38

// checkNodes checks that the lengths of nodes agree with their parents', and that no column without
// bytes is longer than emptyLength. The child of a list is checked where its offsets are.
func checkNodes(b *Batch, emptyLength int64) error {
	if b.Rows < 0 {
		return fmt.Errorf("it has %d rows", b.Rows)
	}
	for i, c := range b.Layout.all {
		n := b.Nodes[i]
		if n.Length < 0 || n.Length > lengthMax || n.Nulls < 0 || n.Nulls > n.Length {
			return fmt.Errorf("%s has %d values, %d of them null", c.path(), n.Length, n.Nulls)
		}
		want := n.Length
		switch {
		case c.parent == nil:
			want = b.Rows
		case c.parent.kind == structKind:
			want = b.Nodes[c.parent.node].Length
		case c.parent.kind == fixedListKind:
			want = b.Nodes[c.parent.node].Length * c.parent.width
		}
		if n.Length != want {
			return fmt.Errorf("%s has %d values, want %d", c.path(), n.Length, want)
		}
		if empty := c.kind == nullKind || c.kind == structKind && len(c.children) == 0; empty && n.Length > emptyLength {
			return fmt.Errorf("%s has %d values, at most %d are allowed", c.path(), n.Length, emptyLength)
		}
	}
	return nil
}

// checkLengths checks that the buffers of a plain batch have the bytes that its nodes need.
func checkLengths(b *Batch) error {
	for i, c := range b.Layout.all {
		shift := b.shift(c.view)
		for j := range buffersOf[c.kind] {
			length := b.Buffers[c.buffer+shift+j].Length
			if need := c.bytesNeeded(j, b.Nodes[i]); length < need {
				return fmt.Errorf("buffer %d of %s has %d bytes, want %d", j, c.path(), length, need)
			}
		}
	}
	return nil
}

// bytesNeeded is the least length of the column's buffer: 0 validity, 1 values or offsets, 2 data.
func (c *column) bytesNeeded(buffer int, n Node) int64 {
	if n.Length == 0 || buffer == 2 {
		return 0
	}
	if buffer == 0 {
		if n.Nulls == 0 {
			return 0
		}
		return (n.Length + 7) / 8
	}
	switch c.kind {
	case bitKind:
		return (n.Length + 7) / 8
	case fixedKind, dictionaryKind:
		return n.Length * c.width
	case viewKind:
		return n.Length * viewWidth
	case offset32Kind, list32Kind:
		return (n.Length + 1) * 4
	case offset64Kind, list64Kind:
		return (n.Length + 1) * 8
	}
	return 0
}

// path names the column for users.
func (c *column) path() string {
	name := c.name
	for parent := c.parent; parent != nil; parent = parent.parent {
		name = parent.name + "." + name
	}
	return fmt.Sprintf("column %q", name)
}
