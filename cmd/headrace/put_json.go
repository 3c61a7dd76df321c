package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/headrace/headrace/internal/model"
)

// orderedObject is a JSON object whose members keep their order.
type orderedObject []member

type member struct {
	name  string
	value any
}

// jsonSource reads one JSON object a line.
type jsonSource struct {
	reader  *bufio.Reader
	schema  *arrow.Schema
	columns []jsonColumn
	byName  map[string]int
	decoder jsontext.Decoder // refuses a name that is twice in an object
	ahead   [][]byte         // lines that were read to infer types
	rows    int              // objects given so far
}

func openJSONLines(input io.Reader, options sourceOptions) (recordSource, error) {
	s := &jsonSource{reader: bufio.NewReaderSize(input, 1<<20), byName: map[string]int{}}
	fields, err := s.sample()
	if err != nil {
		return nil, err
	}
	if options.table != nil {
		// Columns that do not occur are not sent, so that they get their defaults.
		if fields, err = tableFields(fields, options); err != nil {
			return nil, err
		}
	}
	s.schema = arrow.NewSchema(fields, nil)
	for i, field := range s.schema.Fields() {
		s.columns = append(s.columns, jsonColumn{field: field})
		s.byName[field.Name] = i
	}
	return s, nil
}

// sample reads the first objects, and infers the columns from them.
func (s *jsonSource) sample() ([]arrow.Field, error) {
	var fields []arrow.Field
	for len(s.ahead) < inferRows {
		line, err := s.readLine()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		s.ahead = append(s.ahead, line)
		object, err := parseObject(line)
		if err != nil {
			return nil, fmt.Errorf("object %d: %w", len(s.ahead), err)
		}
		fields = mergeFields(fields, object)
	}
	return fields, nil
}

// tableFields takes the types of the columns that occur, or are asked for, from the table.
func tableFields(sampled []arrow.Field, options sourceOptions) ([]arrow.Field, error) {
	header := slices.Clone(options.columns)
	for _, field := range sampled {
		if !slices.Contains(header, field.Name) {
			header = append(header, field.Name)
		}
	}
	schema, err := schemaOfHeader(header, options.table)
	if err != nil {
		return nil, err
	}
	return schema.Fields(), nil
}

// readLine gives the next line that is not blank.
func (s *jsonSource) readLine() ([]byte, error) {
	for {
		line, err := s.reader.ReadBytes('\n')
		line = bytes.TrimSpace(line)
		if len(line) > 0 {
			return line, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// Schema implements recordSource.
func (s *jsonSource) Schema() *arrow.Schema { return s.schema }

// Next implements recordSource. Values are gathered by column, so that each column is read at once.
func (s *jsonSource) Next() (arrow.RecordBatch, error) {
	for i := range s.columns {
		s.columns[i].values = append(s.columns[i].values[:0], '[')
	}
	rows := 0
	for ; rows < sourceRows; rows++ {
		line, err := s.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = s.gather(line, rows)
		}
		if err != nil {
			return nil, fmt.Errorf("object %d: %w", s.rows+rows+1, err)
		}
	}
	if rows == 0 {
		return nil, io.EOF
	}
	columns := make([]arrow.Array, len(s.columns))
	for i := range s.columns {
		values, err := s.columns[i].build(s.rows)
		if err != nil {
			return nil, err
		}
		defer values.Release()
		columns[i] = values
	}
	s.rows += rows
	return array.NewRecordBatch(s.schema, columns, int64(rows)), nil
}

func (s *jsonSource) next() ([]byte, error) {
	if len(s.ahead) > 0 {
		line := s.ahead[0]
		s.ahead = s.ahead[1:]
		return line, nil
	}
	return s.readLine()
}

// gather adds the members of an object to their columns; those that are left out are null.
func (s *jsonSource) gather(line []byte, row int) error {
	s.decoder.Reset(bytes.NewReader(line))
	if token, err := s.decoder.ReadToken(); err != nil || token.Kind() != '{' {
		return errors.Join(errors.New("want a JSON object"), err)
	}
	for s.decoder.PeekKind() != '}' {
		token, err := s.decoder.ReadToken()
		if err != nil {
			return err
		}
		name := token.String()
		at, ok := s.byName[name]
		if !ok {
			return fmt.Errorf("the column %q is not one of those in the first %d objects: %s; name all with --columns",
				name, inferRows, strings.Join(columnNames(s.schema), ", "))
		}
		value, err := s.decoder.ReadValue()
		if err != nil {
			return err
		}
		s.columns[at].add(value)
	}
	if _, err := s.decoder.ReadToken(); err != nil {
		return err
	}
	if _, err := s.decoder.ReadToken(); !errors.Is(err, io.EOF) {
		return errors.New("something stands behind the object: want one object a line")
	}
	for i := range s.columns {
		if s.columns[i].rows == row {
			s.columns[i].add([]byte("null"))
		}
	}
	return nil
}

// jsonColumn gathers the values of one column as a JSON array.
type jsonColumn struct {
	field  arrow.Field
	values []byte // "[1,2": without the closing bracket
	rows   int
}

func (c *jsonColumn) add(value []byte) {
	if c.rows > 0 {
		c.values = append(c.values, ',')
	}
	c.values = append(c.values, value...)
	c.rows++
}

// build gives the values as an array; first is the number of objects read before.
func (c *jsonColumn) build(first int) (arrow.Array, error) {
	c.values = append(c.values, ']')
	c.rows = 0
	builder := array.NewBuilder(memory.DefaultAllocator, c.field.Type)
	defer builder.Release()
	if err := unmarshal(builder, c.values); err == nil {
		return builder.NewArray(), nil
	}
	// Once more, value by value, to say which one is wrong.
	var values []json.RawMessage
	if err := json.Unmarshal(c.values, &values); err != nil {
		return nil, err
	}
	for i, value := range values {
		single := array.NewBuilder(memory.DefaultAllocator, c.field.Type)
		err := unmarshal(single, []byte("["+string(value)+"]"))
		single.Release()
		if err != nil {
			return nil, fmt.Errorf("object %d, column %q: %s is not of type %s: %w",
				first+i+1, c.field.Name, value, model.FormatType(c.field.Type), err)
		}
	}
	return nil, fmt.Errorf("column %q cannot be read", c.field.Name)
}

// unmarshal appends the values of a JSON array. arrow-go panics on some types.
func unmarshal(builder array.Builder, values []byte) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("%v", fault)
		}
	}()
	if halves, ok := builder.(*array.Float16Builder); ok {
		return unmarshalHalves(halves, values)
	}
	return builder.UnmarshalJSON(values)
}

// parseObject reads a JSON object with its order.
func parseObject(line []byte) (orderedObject, error) {
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.UseNumber()
	value, err := parseValue(decoder)
	if err != nil {
		return nil, err
	}
	object, ok := value.(orderedObject)
	if !ok {
		return nil, errors.New("want a JSON object")
	}
	return object, nil
}

func parseValue(decoder *json.Decoder) (any, error) {
	token, err := decoder.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		object := orderedObject{}
		for decoder.More() {
			name, err := decoder.Token()
			if err != nil {
				return nil, err
			}
			value, err := parseValue(decoder)
			if err != nil {
				return nil, err
			}
			text, _ := name.(string)
			object = append(object, member{text, value})
		}
		_, err := decoder.Token()
		return object, err
	case json.Delim('['):
		list := []any{}
		for decoder.More() {
			value, err := parseValue(decoder)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		_, err := decoder.Token()
		return list, err
	}
	return token, nil
}
