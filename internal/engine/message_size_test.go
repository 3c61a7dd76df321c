package engine

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/vfs"
)

// TestMessagesFit reads rows of very different sizes, and rows that are much larger with system
// columns or without compression: no message is larger than the client takes, unless it is one row.
func TestMessagesFit(t *testing.T) {
	e := open(t, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(t, e)
	skewed := func(row int) string {
		if row%100 < 95 {
			return "x"
		}
		return strings.Repeat("y", 5000)
	}
	even := func(int) string { return "" }
	for _, tc := range []struct {
		table string
		rows  int
		text  func(int) string
		scan  Scan
		limit int64
	}{
		{"skewed", 100, skewed, Scan{MessageBytes: 16 << 10}, 16 << 10},
		{"one", 100, skewed, Scan{MessageBytes: 2 << 10}, 2 << 10},
		{"system", 250_000, even, Scan{SystemColumns: true}, messageBytesDefault},
		{"plain", 250_000, even, Scan{}, messageBytesDefault},
	} {
		t.Run(tc.table, func(t *testing.T) {
			createTable(t, e, CreateTable{Name: name(t, tc.table)})
			fillTexts(t, e, tc.table, tc.rows, tc.text)
			tc.scan.Table = name(t, tc.table)
			r, err := e.Scan(t.Context(), tc.scan)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			rows := int64(0)
			for {
				chunk, err := r.Next(t.Context())
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				size := int64(len(chunk.Message.Header)) + chunk.Message.BodyLength
				if size > tc.limit && chunk.Rows > 1 {
					t.Fatalf("a message of %d rows has %d bytes, want at most %d", chunk.Rows, size, tc.limit)
				}
				if chunk.End == "" && chunk.Offset != rows {
					t.Fatalf("a message begins at row %d, want %d", chunk.Offset, rows)
				}
				rows += chunk.Rows
			}
			if rows != int64(tc.rows) {
				t.Errorf("%d rows, want %d", rows, tc.rows)
			}
		})
	}
}

// fillTexts writes one batch of rows with these texts.
func fillTexts(t *testing.T, e *Engine, table string, rows int, text func(row int) string) {
	t.Helper()
	b := array.NewRecordBuilder(memory.DefaultAllocator, testSchema)
	defer b.Release()
	for row := range rows {
		b.Field(0).(*array.Int64Builder).Append(int64(row))
		b.Field(1).(*array.StringBuilder).Append(text(row))
	}
	record := b.NewRecordBatch()
	defer record.Release()
	layout, err := arrowipc.NewLayout(testSchema)
	if err != nil {
		t.Fatal(err)
	}
	batch, err := arrowipc.FromRecord(layout, record)
	if err != nil {
		t.Fatal(err)
	}
	put, err := e.OpenPut(t.Context(), PutRequest{Table: name(t, table), Schema: schemaMessage})
	if err != nil {
		t.Fatal(err)
	}
	pending, err := put.Send(t.Context(), batch.Message(0), [][]byte{batch.Body}, nil)
	if err != nil {
		t.Fatal(err)
	}
	<-pending.Done()
	if _, err := pending.Ack(); err != nil {
		t.Fatal(err)
	}
}

// TestExistOKComparesDefaults creates a table again with another default.
func TestExistOKComparesDefaults(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	e := open(t, testOptions(mem))
	request := CreateTable{Name: name(t, "t"), Schema: testSchema, Defaults: map[string]any{"id": float64(7)}, ExistOK: true}
	createTable(t, e, request)
	closeEngine(t, e)
	e = open(t, testOptions(mem))
	defer closeEngine(t, e)
	if _, err := e.CreateTable(t.Context(), request); err != nil {
		t.Errorf("the same definition: %v", err)
	}
	request.Defaults = map[string]any{"id": float64(8)}
	if _, err := e.CreateTable(t.Context(), request); err == nil {
		t.Error("another default is no other definition")
	}
}
