package engine

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/vfs"
)

// eventBatch makes a batch of 20 columns: nine integers, six floats, five texts, about 200 bytes a row.
func eventBatch(b *testing.B, rows int) *arrowipc.Batch {
	b.Helper()
	rnd := rand.New(rand.NewPCG(6, 6))
	var fields []arrow.Field
	for i := range 20 {
		field := arrow.Field{Name: fmt.Sprint("c", i), Type: arrow.PrimitiveTypes.Int64, Nullable: true}
		if i >= 9 {
			field.Type = arrow.PrimitiveTypes.Float64
		}
		if i >= 15 {
			field.Type = arrow.BinaryTypes.String
		}
		fields = append(fields, field)
	}
	builder := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	defer builder.Release()
	words := []string{"page_view", "click", "add_to_cart", "US", "DE", "web-chrome-126", "/product/00123/detail"}
	for range rows {
		for _, field := range builder.Fields() {
			switch f := field.(type) {
			case *array.Int64Builder:
				f.Append(rnd.Int64N(1 << 40))
			case *array.Float64Builder:
				f.Append(rnd.NormFloat64())
			case *array.StringBuilder:
				f.Append(words[rnd.IntN(len(words))])
			}
		}
	}
	record := builder.NewRecordBatch()
	defer record.Release()
	layout, err := arrowipc.NewLayout(record.Schema())
	if err != nil {
		b.Fatal(err)
	}
	batch, err := arrowipc.FromRecord(layout, record)
	if err != nil {
		b.Fatal(err)
	}
	return batch
}

// processorTime is what this process has used.
func processorTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkPut stores batches of 20 columns in files that are not synced, without a network. It tells the
// processor time of a row, and that of statistics that are taken of a row for themselves; while a column is
// copied they take less, see arrowipc.
func BenchmarkPut(b *testing.B) {
	for _, rows := range []int{1000, 10_000} {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			disk, err := vfs.NewDisk(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			options := testOptions(unsynced{disk})
			options.SegmentBytes, options.CommitBytes = 256<<20, 16<<20
			e := open(b, options)
			defer closeEngine(b, e)
			batch := eventBatch(b, rows)
			createTable(b, e, CreateTable{
				Name: name(b, "t"), Schema: batch.Layout.Schema(),
				Options: map[string]string{"log.durability": "os", "log.max-bytes": "512MiB"},
			})
			put, err := e.OpenPut(b.Context(), PutRequest{Table: name(b, "t"), Schema: arrowipc.EncodeSchema(batch.Layout.Schema())})
			if err != nil {
				b.Fatal(err)
			}
			header, body, sent := batch.Message(0), [][]byte{batch.Body}, 0
			b.SetBytes(int64(len(batch.Body)))
			began := processorTime()
			var window []*Pending
			for b.Loop() {
				pending, err := put.Send(b.Context(), header, body, nil)
				if err != nil {
					b.Fatal(err)
				}
				if window = append(window, pending); len(window) == 16 {
					<-window[0].Done()
					window = window[1:]
				}
				if sent++; sent*len(batch.Body) > 600<<20 {
					sent = 0
					e.Maintain(b.Context())
				}
			}
			for _, pending := range window {
				<-pending.Done()
			}
			all := processorTime() - began
			began = processorTime()
			const summaries = 100
			for range summaries {
				if _, err := arrowipc.Summarize(batch); err != nil {
					b.Fatal(err)
				}
			}
			statistics := float64((processorTime() - began).Nanoseconds()) / float64(summaries*rows)
			b.ReportMetric(float64(all.Nanoseconds())/float64(b.N*rows), "cpu-ns/row")
			b.ReportMetric(statistics, "statistics-ns/row")
		})
	}
}
