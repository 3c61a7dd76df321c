package arrowipc

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"pgregory.net/rapid"
)

// groupsSchema has a key column of each kind.
var groupsSchema = arrow.NewSchema([]arrow.Field{
	{Name: "s", Type: arrow.BinaryTypes.String, Nullable: true}, {Name: "i", Type: arrow.PrimitiveTypes.Int16, Nullable: true},
	{Name: "b", Type: arrow.FixedWidthTypes.Boolean, Nullable: true}, {Name: "l", Type: arrow.BinaryTypes.LargeBinary, Nullable: true},
}, nil)

// TestRowGroups compares groups with those that a map of keys makes, and reads the keys back.
func TestRowGroups(t *testing.T) {
	layout := layoutOf(t, groupsSchema)
	groups, err := NewRowGroups(layout, []int{0, 1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	hasher, err := NewRowHasher(layout, []int{0, 1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(r *rapid.T) {
		builder := NewBuilder(layout)
		n := rapid.SampledFrom([]int{0, 1, 10, 500}).Draw(r, "rows")
		spread := rapid.SampledFrom([]int{1, 3, 1000}).Draw(r, "spread")
		for range n {
			x := rapid.IntRange(0, spread).Draw(r, "x")
			values := [][]byte{[]byte(fmt.Sprint(x / 2)), {byte(x), byte(x >> 8)}, {byte(x & 1)}, bytes.Repeat([]byte{1}, x%7)}
			for i, value := range values {
				if x%11 == i {
					builder.AppendNull(i)
				} else if err := builder.AppendValue(i, value); err != nil {
					r.Fatal(err)
				}
			}
		}
		batch := builder.Finish()
		defer batch.Release()
		view, err := NewView(batch)
		if err != nil {
			r.Fatal(err)
		}
		rows, err := groups.Group(batch)
		if err != nil || len(rows) != n {
			r.Fatalf("%d rows, %v; want %d", len(rows), err, n)
		}
		known := map[string]int32{}
		for row, group := range rows {
			key := hasher.AppendKey(nil, view, int32(row))
			want, seen := known[string(key)]
			if !seen {
				want = int32(len(known))
				known[string(key)] = want
				if groups.First(int(want)) != int32(row) {
					r.Fatalf("group %d begins at row %d, want %d", want, groups.First(int(want)), row)
				}
			}
			if group != want || !bytes.Equal(groups.Key(int(group)), key) {
				r.Fatalf("row %d is in group %d, want %d", row, group, want)
			}
			values, err := hasher.CutKey(key)
			if err != nil {
				r.Fatal(err)
			}
			for i, value := range values {
				if view.IsNull(i, int32(row)) != (value == nil) || !bytes.Equal(value, view.Value(i, int32(row))) {
					r.Fatalf("column %d of row %d is %x in the key, want %x", i, row, value, view.Value(i, int32(row)))
				}
			}
		}
		if groups.Len() != len(known) {
			r.Fatalf("%d groups, want %d", groups.Len(), len(known))
		}
	})
}

// FuzzCutKey takes no bytes for a key that AppendKey does not give.
func FuzzCutKey(f *testing.F) {
	layout, err := NewLayout(groupsSchema)
	if err != nil {
		f.Fatal(err)
	}
	hasher, err := NewRowHasher(layout, []int{0, 1, 2, 3})
	if err != nil {
		f.Fatal(err)
	}
	whole := []byte("\x01\x02ab\x01\x01\x00\x01\x01\x01\x00")
	if _, err := hasher.CutKey(whole); err != nil {
		f.Fatal(err)
	}
	for i := range whole {
		if _, err := hasher.CutKey(whole[:i]); err == nil {
			f.Errorf("the first %d bytes of a key are taken for one", i)
		}
	}
	f.Add(whole)
	f.Add([]byte{0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, key []byte) {
		values, err := hasher.CutKey(key)
		if err != nil {
			return
		}
		total := len(values)
		for _, value := range values {
			total += len(value)
		}
		if total > len(key) {
			t.Errorf("%x has values of %d bytes", key, total)
		}
	})
}

func BenchmarkRowGroups(b *testing.B) {
	for _, spread := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprint(spread, " groups"), func(b *testing.B) {
			layout, err := NewLayout(arrow.NewSchema(groupsSchema.Fields()[:1], nil))
			if err != nil {
				b.Fatal(err)
			}
			builder := NewBuilder(layout)
			const rows = 1 << 16
			for i := range rows {
				if err := builder.AppendValue(0, fmt.Appendf(nil, "2026-11-%05d", i*7919%spread)); err != nil {
					b.Fatal(err)
				}
			}
			batch := builder.Finish()
			groups, err := NewRowGroups(layout, []int{0})
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(batch.Body)))
			for b.Loop() {
				if _, err := groups.Group(batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
		})
	}
}
