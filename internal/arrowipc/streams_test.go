package arrowipc

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// TestStreamsOfOtherWriters decodes streams that pyarrow 26 and Polars wrote, and compares the values
// with what arrow-go's reader makes of them.
func TestStreamsOfOtherWriters(t *testing.T) {
	files, err := filepath.Glob("testdata/streams/*.arrows")
	if err != nil || len(files) < 12 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			stream, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			rnd := rand.New(rand.NewPCG(1, 1))
			want := readStream(t, stream)
			got := batchRecords(t, decodeAll(t, cutStream(stream), DecoderOptions{}, rnd))
			if len(want) != len(got) {
				t.Fatalf("got %d batches, want %d", len(got), len(want))
			}
			for i := range want {
				requireSameValues(t, want[i], got[i])
			}
		})
	}
}

// requireSameValues compares the values, whatever types they are in.
func requireSameValues(t *testing.T, want, got arrow.RecordBatch) {
	t.Helper()
	if want.NumRows() != got.NumRows() {
		t.Fatalf("got %d rows, want %d", got.NumRows(), want.NumRows())
	}
	for c := range want.Columns() {
		for row := range int(want.NumRows()) {
			a, b := valueAt(want.Column(c), row), valueAt(got.Column(c), row)
			if a != b {
				t.Fatalf("column %q, row %d: got %s, want %s", want.ColumnName(c), row, b, a)
			}
		}
	}
}

func valueAt(values arrow.Array, row int) string {
	if values.IsNull(row) {
		return "null"
	}
	if d, ok := values.(*array.Dictionary); ok {
		return valueAt(d.Dictionary(), d.GetValueIndex(row))
	}
	if s, ok := values.(*array.Struct); ok {
		text := ""
		for i := range s.NumField() {
			text += valueAt(s.Field(i), row) + ","
		}
		return "{" + text + "}"
	}
	if list, ok := values.(array.ListLike); ok {
		text := ""
		from, to := list.ValueOffsets(row)
		for i := from; i < to; i++ {
			text += valueAt(list.ListValues(), int(i)) + ","
		}
		return "[" + text + "]"
	}
	return values.ValueStr(row)
}
