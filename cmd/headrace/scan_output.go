package main

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
)

// rowWriter writes batches of one schema in a format.
type rowWriter interface {
	Write(batch arrow.RecordBatch) error
	// Flush brings out what was written so far, as far as the format allows.
	Flush() error
	// Close ends the format; the output itself stays open.
	Close() error
}

var outputFormats = []string{"table", "csv", "json", "jsonl", "arrow", "parquet"}

// outputExtensions tell the format by the end of the name of the output.
var outputExtensions = map[string]string{
	".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".arrow": "arrow", ".arrows": "arrow",
	".parquet": "parquet", ".pq": "parquet", ".txt": "table",
}

// newRowWriter gives the writer of a format; the caller closes it.
func newRowWriter(format string, out io.Writer, schema *arrow.Schema) (rowWriter, error) {
	switch format {
	case "table":
		return &tableWriter{out: bufio.NewWriterSize(out, 64<<10)}, nil
	case "csv":
		w := &csvWriter{out: csv.NewWriter(out)}
		return w, w.out.Write(columnNames(schema))
	case "json", "jsonl":
		return &jsonWriter{out: bufio.NewWriterSize(out, 64<<10)}, nil
	case "arrow":
		buffered := bufio.NewWriterSize(out, 256<<10)
		return &arrowWriter{buffered, ipc.NewWriter(buffered, ipc.WithSchema(schema))}, nil
	}
	schema, err := parquetSchema(schema)
	if err != nil {
		return nil, err
	}
	buffered := bufio.NewWriterSize(out, 256<<10)
	properties := parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Zstd))
	writer, err := pqarrow.NewFileWriter(schema, buffered, properties, pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()))
	if err != nil {
		return nil, fmt.Errorf("writing Parquet: %w", err)
	}
	return &parquetWriter{buffered, writer, schema}, nil
}

// jsonWriter writes one JSON object a row and line.
type jsonWriter struct {
	out  *bufio.Writer
	line []byte
}

// Write implements rowWriter.
func (w *jsonWriter) Write(batch arrow.RecordBatch) error {
	cells := objectCells(batch.Schema().Fields(), batch.Column)
	for row := range int(batch.NumRows()) {
		w.line = append(cells(w.line[:0], row), '\n')
		if _, err := w.out.Write(w.line); err != nil {
			return err
		}
	}
	return nil
}

// Flush implements rowWriter.
func (w *jsonWriter) Flush() error { return w.out.Flush() }

// Close implements rowWriter.
func (w *jsonWriter) Close() error { return w.out.Flush() }

// csvWriter writes CSV with a header line; null is an empty value.
type csvWriter struct {
	out *csv.Writer
	row []string
}

// Write implements rowWriter.
func (w *csvWriter) Write(batch arrow.RecordBatch) error {
	cells := textColumns(batch)
	w.row = slices.Grow(w.row[:0], len(cells))[:len(cells)]
	var text []byte
	for row := range int(batch.NumRows()) {
		for i, appendCell := range cells {
			text = appendCell(text[:0], row)
			w.row[i] = string(text)
		}
		if err := w.out.Write(w.row); err != nil {
			return err
		}
	}
	return nil
}

func textColumns(batch arrow.RecordBatch) []cellAppender {
	cells := make([]cellAppender, batch.NumCols())
	for i := range cells {
		cells[i] = textCells(batch.Column(i))
	}
	return cells
}

// Flush implements rowWriter.
func (w *csvWriter) Flush() error {
	w.out.Flush()
	return w.out.Error()
}

// Close implements rowWriter.
func (w *csvWriter) Close() error { return w.Flush() }

// arrowWriter writes an Arrow IPC stream.
type arrowWriter struct {
	out    *bufio.Writer
	writer *ipc.Writer
}

// Write implements rowWriter.
func (w *arrowWriter) Write(batch arrow.RecordBatch) error { return w.writer.Write(batch) }

// Flush implements rowWriter.
func (w *arrowWriter) Flush() error { return w.out.Flush() }

// Close implements rowWriter.
func (w *arrowWriter) Close() error { return errors.Join(w.writer.Close(), w.out.Flush()) }

// parquetWriter writes a Parquet file, which is readable once it is closed.
type parquetWriter struct {
	out    *bufio.Writer
	writer *pqarrow.FileWriter
	schema *arrow.Schema // see parquetSchema
}

// Write implements rowWriter.
func (w *parquetWriter) Write(batch arrow.RecordBatch) error {
	columns := make([]arrow.Array, batch.NumCols())
	for i := range columns {
		column, err := parquetArray(batch.Column(i), w.schema.Field(i).Type, nil)
		if err != nil {
			return fmt.Errorf("column %q: %w", batch.ColumnName(i), err)
		}
		defer column.Release()
		columns[i] = column
	}
	converted := array.NewRecordBatch(w.schema, columns, batch.NumRows())
	defer converted.Release()
	return w.writer.WriteBuffered(converted)
}

// Flush implements rowWriter.
func (*parquetWriter) Flush() error { return nil }

// Close implements rowWriter.
func (w *parquetWriter) Close() error { return errors.Join(w.writer.Close(), w.out.Flush()) }

const (
	// cellWidthMax is the width to which a cell of a table is cut.
	cellWidthMax = 40
	// widthRows is the number of rows by which the width of a column is chosen.
	widthRows = 1000
)

// tableWriter writes columns of equal width for people; later rows may break out of them.
type tableWriter struct {
	out    *bufio.Writer
	widths []int
	right  []bool
}

// Write implements rowWriter.
func (w *tableWriter) Write(batch arrow.RecordBatch) error {
	cells := textColumns(batch)
	if w.widths == nil {
		w.measure(batch, cells)
		if err := w.line(columnNames(batch.Schema())); err != nil {
			return err
		}
		rule := make([]string, len(w.widths))
		for i, width := range w.widths {
			rule[i] = strings.Repeat("─", width)
		}
		if err := w.line(rule); err != nil {
			return err
		}
	}
	row := make([]string, len(cells))
	for at := range int(batch.NumRows()) {
		for i := range cells {
			row[i] = cellOfTable(batch.Column(i), cells[i], at)
		}
		if err := w.line(row); err != nil {
			return err
		}
	}
	return nil
}

// cellOfTable gives a cell on one line and not too wide.
func cellOfTable(values arrow.Array, appendCell cellAppender, row int) string {
	if values.IsNull(row) {
		return "null"
	}
	text := string(appendCell(nil, row))
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		text = strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f {
				return '·'
			}
			return r
		}, text)
	}
	if utf8.RuneCountInString(text) > cellWidthMax {
		text = string([]rune(text)[:cellWidthMax-1]) + "…"
	}
	return text
}

func (w *tableWriter) measure(batch arrow.RecordBatch, cells []cellAppender) {
	w.widths, w.right = make([]int, len(cells)), make([]bool, len(cells))
	for i, appendCell := range cells {
		id := batch.Column(i).DataType().ID()
		w.right[i] = arrow.IsInteger(id) || arrow.IsFloating(id) || arrow.IsDecimal(id)
		w.widths[i] = utf8.RuneCountInString(batch.ColumnName(i))
		for row := range min(widthRows, int(batch.NumRows())) {
			w.widths[i] = max(w.widths[i], utf8.RuneCountInString(cellOfTable(batch.Column(i), appendCell, row)))
		}
	}
}

func (w *tableWriter) line(cells []string) error {
	for i, cell := range cells {
		if i > 0 {
			_, _ = w.out.WriteString("  ") // an error shows at the end of the line
		}
		padding := strings.Repeat(" ", max(0, w.widths[i]-utf8.RuneCountInString(cell)))
		switch {
		case w.right[i]:
			cell = padding + cell
		case i < len(cells)-1:
			cell += padding
		}
		_, _ = w.out.WriteString(cell)
	}
	return w.out.WriteByte('\n')
}

// Flush implements rowWriter.
func (w *tableWriter) Flush() error { return w.out.Flush() }

// Close implements rowWriter.
func (w *tableWriter) Close() error { return w.out.Flush() }
