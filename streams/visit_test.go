package streams

import (
	"errors"
	"testing"
)

// TestVisitSegment walks a segment as it is, up to a byte in it, and with damage in its middle.
func TestVisitSegment(t *testing.T) {
	fs := newFS(t)
	b := mustOpen(t, nothing(), testOptions(fs))
	var ends []Extent
	for i := range int64(5) {
		appendRows(t, b, 10+i, 1000+i)
		ends = append(ends, mustWrite(t, b))
	}
	path := ends[0].Segment.Path()
	visit := func(end int64) (rows, batches, last int64, whole bool) {
		t.Helper()
		whole, err := VisitSegment(testOptions(fs), path, end, func(v Visited) error {
			if v.Base != rows {
				t.Errorf("a batch begins at offset %d, want %d", v.Base, rows)
			}
			rows, batches, last = rows+v.Batch.Rows, batches+1, v.Position
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return rows, batches, last, whole
	}
	rows, batches, last, whole := visit(-1)
	if rows != 60 || batches != 5 || last != ends[3].End || !whole {
		t.Errorf("%d rows in %d batches, the last at %d, whole %t; want 60 in 5, at %d", rows, batches, last, whole, ends[3].End)
	}
	if rows, _, _, whole := visit(ends[2].End); rows != ends[2].Next || !whole {
		t.Errorf("up to a batch: %d rows, whole %t; want %d", rows, whole, ends[2].Next)
	}
	if rows, _, _, whole := visit(ends[2].End - 1); rows != ends[1].Next || whole {
		t.Errorf("up to the middle of a batch: %d rows, whole %t; want %d, not whole", rows, whole, ends[1].Next)
	}
	refused := errors.New("refused")
	if whole, err := VisitSegment(testOptions(fs), path, -1, func(Visited) error { return refused }); whole || !errors.Is(err, refused) {
		t.Errorf("whole %t, error %v; want %v", whole, err, refused)
	}
	flipBit(t, fs, path, ends[2].End-70, 3)
	if rows, _, _, whole := visit(-1); rows != ends[1].Next || whole {
		t.Errorf("behind damage: %d rows, whole %t; want %d, not whole", rows, whole, ends[1].Next)
	}
}
