package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
)

// sourceRows is the number of rows that a source reads at a time. It must not change between two
// runs of a put that is resumed: see recut.
const sourceRows = 16 << 10

// recordSource gives the rows of a file, batch by batch: the same batches for the same file.
type recordSource interface {
	// Schema is the schema of every batch.
	Schema() *arrow.Schema
	// Next gives the next batch, which the caller releases; io.EOF behind the last one.
	Next() (arrow.RecordBatch, error)
}

// sourceOptions say how a file is read.
type sourceOptions struct {
	// format is parquet, csv, jsonl or arrow; empty: told by the name.
	format string
	// table is the schema of the table, from which text formats take their types; nil: inferred.
	table *arrow.Schema
	// columns are the columns to keep; empty: all.
	columns   []string
	delimiter rune
	nulls     []string
}

// sourceFile is an open source. Its owner closes it.
type sourceFile struct {
	recordSource
	file *os.File
	size int64 // 0: not known
	read atomic.Int64
	// partial are the columns of a partial update; nil: rows are whole.
	partial []string
}

// formats by the end of a file's name.
var formatByExtension = map[string]string{
	".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl",
	".json": "jsonl", ".arrow": "arrow", ".arrows": "arrow", ".feather": "arrow", ".ipc": "arrow",
}

var sourceFormats = []string{"parquet", "csv", "jsonl", "arrow"}

// formatOf gives the format of the file at path.
func formatOf(path, format string) (string, error) {
	if format == "json" || format == "ndjson" {
		format = "jsonl"
	}
	if format != "" {
		if !slices.Contains(sourceFormats, format) {
			return "", usagef("--format is %q, want one of %s", format, strings.Join(sourceFormats, ", "))
		}
		return format, nil
	}
	if path == "-" {
		return "", usagef("say the format of the input: --format %s", strings.Join(sourceFormats, "|"))
	}
	format, ok := formatByExtension[strings.ToLower(filepath.Ext(path))]
	if !ok {
		return "", usagef("the name %q does not tell the format; say --format %s", path, strings.Join(sourceFormats, "|"))
	}
	return format, nil
}

// openSource opens the file at path, or stdin for "-".
func openSource(ctx context.Context, path string, stdin io.Reader, options sourceOptions) (*sourceFile, error) {
	format, err := formatOf(path, options.format)
	if err != nil {
		return nil, err
	}
	source := &sourceFile{}
	input := stdin
	if path != "-" {
		if source.file, err = os.Open(path); err != nil {
			return nil, err
		}
		input = source.file
	}
	if f, ok := input.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			source.size = info.Size()
		}
	}
	if strings.EqualFold(filepath.Ext(path), ".tsv") && options.delimiter == 0 {
		options.delimiter = '\t'
	}
	opened, err := source.open(ctx, format, input, options)
	if err == nil && len(options.columns) > 0 {
		opened, err = selectColumns(opened, options.columns)
	}
	if err != nil {
		source.close()
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	source.recordSource = castColumns(ctx, opened, options.table)
	return source, nil
}

func (s *sourceFile) open(ctx context.Context, format string, input io.Reader, options sourceOptions) (recordSource, error) {
	counted := &countingReader{input, &s.read}
	switch format {
	case "parquet":
		return openParquet(ctx, input, &s.read, options.columns)
	case "csv":
		return openCSV(counted, options)
	case "jsonl":
		return openJSONLines(counted, options)
	}
	return openArrow(input, counted)
}

// close closes the file; stdin stays open.
func (s *sourceFile) close() {
	if closer, ok := s.recordSource.(io.Closer); ok {
		_ = closer.Close()
	}
	if s.file != nil {
		_ = s.file.Close()
	}
}

// share tells how much of the file was read, 0 to 1; −1 if that is not known.
func (s *sourceFile) share() float64 {
	if s.size == 0 {
		return -1
	}
	return min(1, float64(s.read.Load())/float64(s.size))
}

// countingReader counts the bytes that went through it.
type countingReader struct {
	io.Reader
	count *atomic.Int64
}

// Read implements io.Reader.
func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.count.Add(int64(n))
	return n, err
}

// batchReader is what arrow-go's readers have in common.
type batchReader interface {
	Schema() *arrow.Schema
	Next() bool
	RecordBatch() arrow.RecordBatch
	Err() error
}

// readerSource makes a recordSource of a reader of arrow-go.
type readerSource struct {
	reader  batchReader
	advance func() // notes progress; may be nil
	closers []func() error
}

// Schema implements recordSource.
func (s *readerSource) Schema() *arrow.Schema { return s.reader.Schema() }

// Next implements recordSource.
func (s *readerSource) Next() (arrow.RecordBatch, error) {
	if !s.reader.Next() {
		if err := s.reader.Err(); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		return nil, io.EOF
	}
	batch := s.reader.RecordBatch()
	batch.Retain()
	if s.advance != nil {
		s.advance()
	}
	return batch, nil
}

// Close implements io.Closer.
func (s *readerSource) Close() error {
	var errs []error
	for _, closer := range slices.Backward(s.closers) {
		errs = append(errs, closer())
	}
	return errors.Join(errs...)
}

// arrowFileMagic begins an Arrow file; a stream begins otherwise.
var arrowFileMagic = []byte("ARROW1")

// openArrow reads an Arrow IPC file or stream.
func openArrow(input io.Reader, counted *countingReader) (recordSource, error) {
	buffered := bufio.NewReaderSize(counted, 1<<20)
	head, err := buffered.Peek(len(arrowFileMagic))
	if err == nil && bytes.Equal(head, arrowFileMagic) {
		return openArrowFile(input, buffered, counted.count)
	}
	reader, err := ipc.NewReader(buffered)
	if err != nil {
		return nil, err
	}
	return &readerSource{reader: reader, closers: []func() error{func() error { reader.Release(); return nil }}}, nil
}

// openArrowFile reads an Arrow file in place, or, from a pipe, from memory.
func openArrowFile(input io.Reader, buffered io.Reader, read *atomic.Int64) (recordSource, error) {
	var content ipc.ReadAtSeeker
	if f, ok := input.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			content = io.NewSectionReader(f, 0, info.Size())
			read.Store(0)
		}
	}
	if content == nil {
		whole, err := io.ReadAll(buffered)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(whole)
	}
	reader, err := ipc.NewFileReader(content)
	if err != nil {
		return nil, err
	}
	return &arrowFileSource{reader: reader}, nil
}

// arrowFileSource gives the batches of an Arrow file.
type arrowFileSource struct {
	reader *ipc.FileReader
	next   int
}

// Schema implements recordSource.
func (s *arrowFileSource) Schema() *arrow.Schema { return s.reader.Schema() }

// Next implements recordSource.
func (s *arrowFileSource) Next() (arrow.RecordBatch, error) {
	if s.next == s.reader.NumRecords() {
		return nil, io.EOF
	}
	s.next++
	return s.reader.RecordBatchAt(s.next - 1)
}

// Close implements io.Closer.
func (s *arrowFileSource) Close() error { return s.reader.Close() }

// columnSource keeps some columns of another source.
type columnSource struct {
	recordSource
	schema  *arrow.Schema
	indexes []int
}

func selectColumns(source recordSource, names []string) (recordSource, error) {
	selected := &columnSource{recordSource: source}
	var fields []arrow.Field
	for _, name := range names {
		indexes := source.Schema().FieldIndices(name)
		if len(indexes) == 0 {
			return nil, fmt.Errorf("there is no column %q in it; there are %s", name, strings.Join(columnNames(source.Schema()), ", "))
		}
		selected.indexes = append(selected.indexes, indexes[0])
		fields = append(fields, source.Schema().Field(indexes[0]))
	}
	metadata := source.Schema().Metadata()
	selected.schema = arrow.NewSchema(fields, &metadata)
	return selected, nil
}

func columnNames(schema *arrow.Schema) []string {
	var names []string
	for _, field := range schema.Fields() {
		names = append(names, field.Name)
	}
	return names
}

// Schema implements recordSource.
func (s *columnSource) Schema() *arrow.Schema { return s.schema }

// Next implements recordSource.
func (s *columnSource) Next() (arrow.RecordBatch, error) {
	batch, err := s.recordSource.Next()
	if err != nil {
		return nil, err
	}
	defer batch.Release()
	columns := make([]arrow.Array, len(s.indexes))
	for i, index := range s.indexes {
		columns[i] = batch.Column(index)
	}
	return array.NewRecordBatch(s.schema, columns, batch.NumRows()), nil
}

// Close implements io.Closer.
func (s *columnSource) Close() error {
	if closer, ok := s.recordSource.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}
