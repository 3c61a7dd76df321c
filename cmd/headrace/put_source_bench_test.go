package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
)

// benchmarkSource reads rows of four columns in a text format.
func benchmarkSource(b *testing.B, format, header string, row func(i int) string) {
	var text bytes.Buffer
	text.WriteString(header)
	for i := range 100_000 {
		text.WriteString(row(i))
	}
	b.SetBytes(int64(text.Len()))
	for b.Loop() {
		source, err := openSource(b.Context(), "-", bytes.NewReader(text.Bytes()), sourceOptions{format: format, nulls: defaultNulls})
		if err != nil {
			b.Fatal(err)
		}
		for {
			batch, err := source.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				b.Fatal(err)
			}
			batch.Release()
		}
		source.close()
	}
}

func BenchmarkCSV(b *testing.B) {
	benchmarkSource(b, "csv", "id,name,score,at\n", func(i int) string {
		return fmt.Sprintf("%d,name-%d,%v,2013-01-01T05:00:%02dZ\n", i, i%97, float64(i)/7, i%60)
	})
}

func BenchmarkJSONLines(b *testing.B) {
	benchmarkSource(b, "jsonl", "", func(i int) string {
		return fmt.Sprintf(`{"id":%d,"name":"name-%d","score":%v,"at":"2013-01-01T05:00:%02dZ"}`+"\n", i, i%97, float64(i)/7, i%60)
	})
}
