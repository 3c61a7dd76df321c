package pkstore

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
)

// coldBenchRows is how many rows of 100 bytes are there to be looked up.
const coldBenchRows = 300_000

func BenchmarkColdRetire(b *testing.B) {
	c := openCold(b, ColdOptions{Dir: b.TempDir(), MemoryBytes: 16 << 20})
	defer closeCold(b, c)
	const rows = 50_000
	commit := uint64(0)
	for b.Loop() {
		commit++
		move := ColdRetire{Commit: commit, Boundary: int64(commit)}
		if err := c.Retire(b.Context(), move, countingRows(rows, commit, func(int) {})); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(100 * rows)
	b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

func BenchmarkColdGet(b *testing.B) {
	c := openCold(b, ColdOptions{Dir: b.TempDir(), MemoryBytes: 16 << 20})
	defer closeCold(b, c)
	if err := c.Retire(b.Context(), ColdRetire{Commit: 7}, countingRows(coldBenchRows, 7, func(int) {})); err != nil {
		b.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	const batch = 10_000
	keys := make([][]byte, batch)
	for i := range keys {
		keys[i] = binary.BigEndian.AppendUint32(nil, random.Uint32N(coldBenchRows))
	}
	sorted := slices.Clone(keys)
	slices.SortFunc(sorted, slices.Compare)
	lookUp := func(b *testing.B, keys [][]byte, each int) {
		s := pin(b, c, 0)
		defer s.Release()
		bytes := 0
		for b.Loop() {
			for some := range slices.Chunk(keys, each) {
				if err := s.Get(some, func(_ int, value []byte) error {
					bytes += len(value)
					return nil
				}); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.SetBytes(int64(bytes / b.N))
		b.ReportMetric(float64(batch)*float64(b.N)/b.Elapsed().Seconds(), "keys/s")
	}
	b.Run("one by one", func(b *testing.B) { lookUp(b, keys, 1) })
	b.Run("batches", func(b *testing.B) { lookUp(b, keys, batch) })
	b.Run("sorted batches", func(b *testing.B) { lookUp(b, sorted, batch) })
	b.Run("scan", func(b *testing.B) {
		s := pin(b, c, 0)
		defer s.Release()
		rows := 0
		for b.Loop() {
			for _, err := range s.Rows(nil, nil) {
				if err != nil {
					b.Fatal(err)
				}
				rows++
			}
		}
		b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
	})
}
