package main

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/extensions"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/headrace/headrace/internal/model"
)

// csvSource reads CSV with a header line.
type csvSource struct {
	reader  *csv.Reader
	schema  *arrow.Schema
	builder *array.RecordBuilder
	ahead   [][]string // rows that were read to infer types
	line    int
	isNull  func(string) bool
}

func openCSV(input io.Reader, options sourceOptions) (recordSource, error) {
	reader := csv.NewReader(bufio.NewReaderSize(input, 1<<20))
	if options.delimiter != 0 {
		reader.Comma = options.delimiter
	}
	header, err := reader.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("it is empty: the first line must name the columns")
	}
	if err != nil {
		return nil, err
	}
	header[0] = strings.TrimPrefix(header[0], "\ufeff")
	s := &csvSource{reader: reader, line: 1, isNull: func(text string) bool { return slices.Contains(options.nulls, text) }}
	for len(s.ahead) < inferRows && options.table == nil {
		row, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		s.ahead = append(s.ahead, row)
	}
	s.schema = inferCSV(header, s.ahead, s.isNull)
	if options.table != nil {
		if s.schema, err = schemaOfHeader(header, options.table); err != nil {
			return nil, err
		}
	}
	reader.ReuseRecord = true
	s.builder = array.NewRecordBuilder(memory.DefaultAllocator, s.schema)
	return s, nil
}

// schemaOfHeader takes the types of a file's columns from the table.
func schemaOfHeader(header []string, table *arrow.Schema) (*arrow.Schema, error) {
	var fields []arrow.Field
	for _, name := range header {
		indexes := table.FieldIndices(name)
		if len(indexes) == 0 {
			return nil, fmt.Errorf("its column %q is not one of the table, which has %s; choose with --columns",
				name, strings.Join(columnNames(table), ", "))
		}
		field := table.Field(indexes[0])
		field.Nullable = true // the server checks, and names the row
		fields = append(fields, field)
	}
	return arrow.NewSchema(fields, nil), nil
}

// Schema implements recordSource.
func (s *csvSource) Schema() *arrow.Schema { return s.schema }

// Next implements recordSource.
func (s *csvSource) Next() (arrow.RecordBatch, error) {
	rows := 0
	for ; rows < sourceRows; rows++ {
		row, err := s.row()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		s.line++
		if err := s.append(row); err != nil {
			return nil, err
		}
	}
	if rows == 0 {
		return nil, io.EOF
	}
	return s.builder.NewRecordBatch(), nil
}

// row gives the next row, first those that were read ahead.
func (s *csvSource) row() ([]string, error) {
	if len(s.ahead) > 0 {
		row := s.ahead[0]
		s.ahead = s.ahead[1:]
		return row, nil
	}
	return s.reader.Read()
}

func (s *csvSource) append(row []string) error {
	for i, text := range row {
		builder := s.builder.Field(i)
		field := s.schema.Field(i)
		if s.isNull(text) && !isText(field.Type) {
			builder.AppendNull()
			continue
		}
		if err := appendText(builder, text); err != nil {
			return fmt.Errorf("row %d, column %q: %q is not of type %s: %w", s.line-1, field.Name, text, model.FormatType(field.Type), err)
		}
	}
	return nil
}

// isText says that every text is a value of type t.
func isText(t arrow.DataType) bool {
	t = storage(t)
	return t.ID() == arrow.STRING || t.ID() == arrow.LARGE_STRING || t.ID() == arrow.STRING_VIEW
}

// appendText appends the value that text stands for. arrow-go panics on some types.
func appendText(builder array.Builder, text string) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("%v", fault)
		}
	}()
	switch b := builder.(type) {
	case *array.StringBuilder:
		b.Append(text)
		return nil
	case *array.ExtensionBuilder:
		return appendText(b.Builder, text)
	case *extensions.Bool8Builder:
		return appendText(b.Builder, text)
	case *array.Float16Builder:
		return appendHalf(b, text)
	}
	if _, nested := storage(builder.Type()).(arrow.NestedType); nested {
		return unmarshal(builder, []byte("["+text+"]"))
	}
	if b, ok := builder.(*array.BooleanBuilder); ok {
		text = strings.ToLower(text)
		if text != "true" && text != "false" && text != "1" && text != "0" {
			return errors.New("want true or false")
		}
		b.Append(text == "true" || text == "1")
		return nil
	}
	return builder.AppendValueFromString(strings.TrimSpace(text))
}

// Close implements io.Closer.
func (s *csvSource) Close() error {
	s.builder.Release()
	return nil
}
