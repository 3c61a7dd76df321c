package pkstore

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/headrace/headrace/internal/arrowipc"
)

// uniqueColumn and repeatedColumn of the user profiles have the key as a number, and one of four texts.
const uniqueColumn, repeatedColumn = 4, 1

func (x *bench) index(b *testing.B, name string, columns ...int) {
	b.Helper()
	build, err := x.bucket.AddIndex(name, columns)
	for more := true; err == nil && more; {
		more, err = build.Step()
	}
	if err != nil {
		b.Fatal(err)
	}
	s := x.bucket.IndexStats()
	b.ReportMetric(float64(s[0].Bytes)/float64(s[0].Rows), "B/row")
}

// BenchmarkUpsertIndexed is BenchmarkUpsert with a secondary index whose column stays as it is.
func BenchmarkUpsertIndexed(b *testing.B) {
	x := newBench(b)
	x.index(b, "unique", uniqueColumn)
	rnd := rand.New(rand.NewPCG(2, 2))
	var changes []Change
	for range 8 {
		changes = append(changes, x.change(b, randomKeys(rnd, benchRows)))
	}
	b.SetBytes(int64(len(changes[0].Rows.Batch().Body)))
	i := 0
	for b.Loop() {
		x.apply(b, changes[i%len(changes)])
		i++
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(i)/benchRows, "ns/row")
}

// BenchmarkBuildIndex builds an index over all rows, of many values and of few.
func BenchmarkBuildIndex(b *testing.B) {
	x := newBench(b)
	for _, column := range []int{uniqueColumn, repeatedColumn} {
		b.Run(fmt.Sprint(column), func(b *testing.B) {
			for b.Loop() {
				x.index(b, "x", column)
				x.bucket.DropIndex("x")
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchKeys, "ns/row")
		})
	}
}

func BenchmarkLookupBy(b *testing.B) {
	x := newBench(b)
	x.index(b, "unique", uniqueColumn)
	columns, err := arrowipc.NewKeyColumns(x.layout, []int{uniqueColumn})
	if err != nil {
		b.Fatal(err)
	}
	hasher, err := arrowipc.NewRowHasher(x.layout, []int{uniqueColumn})
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			rnd := rand.New(rand.NewPCG(3, 3))
			var keys []Keys
			for range max(16, 100_000/n) {
				view := x.change(b, randomKeys(rnd, n)).Rows
				hashes, err := hasher.Hash(view.Batch(), nil)
				if err != nil {
					b.Fatal(err)
				}
				keys = append(keys, Keys{View: view, Columns: columns, Hashes: hashes})
			}
			var matches []Match
			i := 0
			b.SetBytes(int64(8 * n))
			for b.Loop() {
				if matches, _, err = x.bucket.LookupBy("unique", keys[i%len(keys)], matches[:0]); err != nil || len(matches) != n {
					b.Fatalf("%d rows: %v", len(matches), err)
				}
				i++
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(i)/float64(n), "ns/key")
		})
	}
}
