package pkstore

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// Benchmarks use user profiles: a key and ten attributes, about 100 bytes a row.
const (
	benchKeys = 1_000_000
	benchRows = 10_000
)

var benchTypes = []arrow.DataType{
	arrow.PrimitiveTypes.Int64, arrow.BinaryTypes.String, arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int32,
	arrow.PrimitiveTypes.Int64, arrow.PrimitiveTypes.Float64, arrow.PrimitiveTypes.Float64, arrow.PrimitiveTypes.Int64,
	arrow.FixedWidthTypes.Timestamp_us, arrow.PrimitiveTypes.Int32, arrow.FixedWidthTypes.Boolean,
}

// bench is a bucket with benchKeys keys, and batches that update them.
type bench struct {
	bucket  *Bucket
	layout  *arrowipc.Layout
	hasher  *arrowipc.RowHasher
	end     int64
	stored  []Stored
	columns []int
}

func newBench(b *testing.B) *bench {
	b.Helper()
	var fields []arrow.Field
	x := &bench{}
	for i, t := range benchTypes {
		fields = append(fields, arrow.Field{Name: fmt.Sprintf("c%d", i), Type: t})
		x.columns = append(x.columns, i)
	}
	table := &model.Table{Schema: arrow.NewSchema(fields, nil), PrimaryKey: []string{"c0"}}
	x.layout = layoutOf(b, table.Schema)
	var err error
	if x.bucket, err = NewBucket(Options{Layout: layoutOf(b, table.LogSchema()), Key: []int{0}, RowCache: newTestCache(b, 512<<20)}); err != nil {
		b.Fatal(err)
	}
	if x.hasher, err = arrowipc.NewRowHasher(x.layout, []int{0}); err != nil {
		b.Fatal(err)
	}
	keys := rand.New(rand.NewPCG(1, 1)).Perm(benchKeys)
	for len(keys) > 0 {
		x.apply(b, x.change(b, keys[:benchRows]))
		keys = keys[benchRows:]
	}
	return x
}

func (x *bench) change(b *testing.B, keys []int) Change {
	b.Helper()
	builder := arrowipc.NewBuilder(x.layout)
	texts := []string{"berlin", "a street and its number", "tokyo", "x"}
	for _, key := range keys {
		for column, t := range benchTypes {
			var value []byte
			switch {
			case t.ID() == arrow.STRING:
				value = []byte(texts[(key+column)%len(texts)])
			case t.ID() == arrow.BOOL:
				value = []byte{byte(key & 1)}
			default:
				value = make([]byte, t.(arrow.FixedWidthDataType).Bytes())
				for i := range min(4, len(value)) {
					value[i] = byte(key >> (8 * i))
				}
			}
			if err := builder.AppendValue(column, value); err != nil {
				b.Fatal(err)
			}
		}
	}
	view := opened(b, builder.Finish())
	hashes, err := x.hasher.Hash(view.Batch(), nil)
	if err != nil {
		b.Fatal(err)
	}
	return Change{Rows: view, Columns: x.columns, Hashes: hashes}
}

// apply applies and publishes a change.
func (x *bench) apply(b *testing.B, c Change) {
	batches, err := x.bucket.Apply(x.end, c)
	if err != nil {
		b.Fatal(err)
	}
	b.StopTimer() // what the log does
	stored := kept(b, x.end, batches, 1<<30)
	b.StartTimer()
	x.end = stored[len(stored)-1].end()
	if err := x.bucket.Publish(x.end, stored); err != nil {
		b.Fatal(err)
	}
	x.stored = append(x.stored, stored...)
}

func randomKeys(rnd *rand.Rand, n int) []int {
	keys := make([]int, n)
	for i := range keys {
		keys[i] = rnd.IntN(benchKeys)
	}
	return keys
}

// BenchmarkUpsert replaces rows of keys that are there, with the full changelog.
func BenchmarkUpsert(b *testing.B) {
	x := newBench(b)
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

func BenchmarkLookup(b *testing.B) {
	x := newBench(b)
	columns, err := arrowipc.NewKeyColumns(x.layout, []int{0})
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			rnd := rand.New(rand.NewPCG(3, 3))
			var keys []Keys
			for range max(16, 100_000/n) {
				c := x.change(b, randomKeys(rnd, n))
				keys = append(keys, Keys{View: c.Rows, Columns: columns, Hashes: c.Hashes})
			}
			var picks []arrowipc.Pick
			i := 0
			b.SetBytes(int64(8 * n))
			for b.Loop() {
				if picks, _, err = x.bucket.Lookup(keys[i%len(keys)], nil, picks[:0]); err != nil {
					b.Fatal(err)
				}
				i++
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(i)/float64(n), "ns/key")
		})
	}
}

func BenchmarkReplay(b *testing.B) {
	x := newBench(b)
	b.SetBytes(benchKeys * 8)
	for b.Loop() {
		fresh, err := NewBucket(x.bucket.current().options)
		if err != nil {
			b.Fatal(err)
		}
		for _, s := range x.stored {
			if err := fresh.Replay(s); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchKeys, "ns/row")
}

// BenchmarkOneKey merges many rows of one key in a request, each of which reads what the one before
// it made.
func BenchmarkOneKey(b *testing.B) {
	o := Options{Merge: MergeOptions{
		Engine: model.MergeAggregation, Aggregates: map[int]AggregateFunction{numberColumn: AggregateSum},
	}}
	rows := make([]testRow, 1000)
	for i := range rows {
		rows[i] = testRow{"1", "a", "1", "1", "x"}
	}
	bucket, c := newTestBucket(b, o), changeOf(b, allOf, rows)
	b.SetBytes(int64(len(c.Rows.Batch().Body)))
	for b.Loop() {
		if _, err := bucket.Apply(0, c); err != nil {
			b.Fatal(err)
		}
		bucket.Abandon(0)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(rows)), "ns/row")
}
