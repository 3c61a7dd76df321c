package pkstore

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// newRetiredBench gives a bucket of benchKeys keys, the older half of which is retired, and these keys.
func newRetiredBench(b *testing.B) (*bench, []int) {
	b.Helper()
	x := newBench(b)
	store := openCold(b, ColdOptions{Dir: b.TempDir(), MemoryBytes: 16 << 20})
	b.Cleanup(func() { closeCold(b, store) })
	if err := x.bucket.UseCold(store, ColdBucket{}); err != nil {
		b.Fatal(err)
	}
	x.retire(b, x.end/2)
	return x, rand.New(rand.NewPCG(1, 1)).Perm(benchKeys)[:benchKeys/2]
}

func (x *bench) retire(b *testing.B, before int64) int64 {
	b.Helper()
	r := Retirement{Before: before, Times: testTimes, Durable: func(context.Context) error { return nil }}
	moved, err := x.bucket.Retire(b.Context(), r)
	if err != nil {
		b.Error(err)
	}
	return moved
}

// BenchmarkUpsertRetired replaces rows half of which are retired, and inserts new keys beside retired ones.
func BenchmarkUpsertRetired(b *testing.B) {
	for _, kind := range []string{"half", "new"} {
		b.Run(kind, func(b *testing.B) {
			x, cold := newRetiredBench(b)
			hot := rand.New(rand.NewPCG(1, 1)).Perm(benchKeys)[benchKeys/2:]
			rows, next := 0, benchKeys
			b.ResetTimer()
			for b.Loop() {
				b.StopTimer()
				var keys []int
				for i := range benchRows {
					switch {
					case kind == "new":
						next++
						keys = append(keys, next)
					case i%2 == 0:
						keys = append(keys, hot[(rows+i)%len(hot)])
					default:
						if len(cold) == 0 {
							b.Fatal("all retired keys are used")
						}
						keys, cold = append(keys, cold[0]), cold[1:]
					}
				}
				c := x.change(b, keys)
				b.StartTimer()
				x.apply(b, c)
				rows += benchRows
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(rows), "ns/row")
		})
	}
}

// BenchmarkRetire moves a million rows while changes of 1,000 rows are applied and published, and tells how long
// these take.
func BenchmarkRetire(b *testing.B) {
	x := newBench(b)
	store := openCold(b, ColdOptions{Dir: b.TempDir(), MemoryBytes: 16 << 20})
	b.Cleanup(func() { closeCold(b, store) })
	if err := x.bucket.UseCold(store, ColdBucket{}); err != nil {
		b.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(2, 2))
	var changes []Change
	for range 200 {
		changes = append(changes, x.change(b, randomKeys(rnd, 1000)))
	}
	var took []time.Duration
	moved := int64(0)
	for b.Loop() {
		done := make(chan struct{})
		before := x.end
		go func() {
			defer close(done)
			moved += x.retire(b, before)
		}()
		for running := true; running; {
			select {
			case <-done:
				running = false
			default:
				began := time.Now()
				x.apply(b, changes[len(took)%len(changes)])
				took = append(took, time.Since(began))
			}
		}
	}
	slices.Sort(took)
	for name, at := range map[string]int{"p50-ms": len(took) / 2, "p99-ms": len(took) * 99 / 100, "longest-ms": len(took) - 1} {
		b.ReportMetric(float64(took[at].Microseconds())/1000, name)
	}
	b.ReportMetric(float64(moved)/b.Elapsed().Seconds(), "rows/s")
}
