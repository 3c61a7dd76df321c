package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync/atomic"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/headrace/headrace/internal/model"
)

// openParquet reads columns of a Parquet file, all of them where none are named; read is moved on with the
// share of rows that were read.
func openParquet(ctx context.Context, input io.Reader, read *atomic.Int64, columns []string) (recordSource, error) {
	f, ok := input.(*os.File)
	if !ok {
		return nil, errors.New("a Parquet file cannot be read from a pipe: its index is at its end")
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("a Parquet file cannot be read from a pipe: its index is at its end")
	}
	// The reader ends the process on some columns of JSON if it knows their extension type; they are text.
	_ = arrow.UnregisterExtensionType("arrow.json") // an error says that it was done before
	// The reader closes what it is given; the file belongs to sourceFile.
	parquetFile, err := file.NewParquetReader(io.NewSectionReader(f, 0, info.Size()))
	if err != nil {
		return nil, err
	}
	reader, err := pqarrow.NewFileReader(parquetFile, pqarrow.ArrowReadProperties{BatchSize: sourceRows, Parallel: true}, memory.DefaultAllocator)
	if err != nil {
		return nil, errors.Join(err, parquetFile.Close())
	}
	leaves, err := parquetLeaves(reader.Manifest, columns)
	if err != nil {
		return nil, errors.Join(err, parquetFile.Close())
	}
	records, err := reader.GetRecordReader(ctx, leaves, nil)
	if err != nil {
		return nil, errors.Join(err, parquetFile.Close())
	}
	total, rows := parquetFile.NumRows(), int64(0)
	advance := func() {
		rows += records.RecordBatch().NumRows()
		read.Store(int64(float64(info.Size()) * float64(rows) / float64(max(1, total))))
	}
	release := func() error { records.Release(); return nil }
	return &readerSource{reader: records, advance: advance, closers: []func() error{parquetFile.Close, release}}, nil
}

// parquetLeaves gives what is read of a file for columns: its leaves, by number; nil for all. A column that
// is not there makes it all, for an error that lists them. The error names the columns that the reader
// does not know.
func parquetLeaves(manifest *pqarrow.SchemaManifest, columns []string) ([]int, error) {
	var leaves []int
	var faults []error
	found := 0
	for i := range manifest.Fields {
		field := &manifest.Fields[i]
		if len(columns) > 0 && !slices.Contains(columns, field.Field.Name) {
			continue
		}
		found++
		if holdsDuration(field.Field.Type) {
			faults = append(faults, fmt.Errorf("its column %q is of type %s, which is not read from Parquet: choose others with --columns",
				field.Field.Name, model.FormatType(field.Field.Type)))
		}
		leaves = appendLeaves(leaves, field)
	}
	if err := errors.Join(faults...); err != nil || found < len(columns) || len(columns) == 0 {
		return nil, err
	}
	return leaves, nil
}

func appendLeaves(leaves []int, field *pqarrow.SchemaField) []int {
	if field.IsLeaf() {
		return append(leaves, field.ColIndex)
	}
	for i := range field.Children {
		leaves = appendLeaves(leaves, &field.Children[i])
	}
	return leaves
}

func holdsDuration(t arrow.DataType) bool {
	t = storage(t)
	if nested, ok := t.(arrow.NestedType); ok {
		return slices.ContainsFunc(nested.Fields(), func(field arrow.Field) bool { return holdsDuration(field.Type) })
	}
	return t.ID() == arrow.DURATION
}
