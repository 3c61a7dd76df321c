package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/spf13/cobra"
)

// lookupFlags are the flags of "lookup".
type lookupFlags struct {
	columns, by           []string
	where, format, output string
}

func (p *program) lookupCommand() *cobra.Command {
	var flags lookupFlags
	command := &cobra.Command{
		Use:   "lookup TABLE KEY…|-",
		Short: "Read the rows of some keys",
		Long: `Read the rows of some keys of a table with a primary key, in the order of the keys. Where the key
has several columns, their values are separated by commas, as in a line of CSV. With -, keys are read
from standard input, one a line.

A key without a row gives nothing; the exit code is 1 if none of the keys has one.`,
		Example: `  headrace lookup web.users 17 18
  headrace lookup web.stations DE,1042 --columns name -o json
  cut -d, -f1 visits.csv | headrace lookup web.users - --columns name,age`,
		Args: func(command *cobra.Command, args []string) error {
			if len(args) >= 2 {
				return nil
			}
			return arguments("TABLE", "KEY")(command, args)
		},
		RunE: func(command *cobra.Command, args []string) error {
			return p.withClient(func(c *client) error { return p.lookup(command.Context(), c, args[0], args[1:], flags) })
		},
	}
	set := command.Flags()
	set.StringSliceVar(&flags.columns, "columns", nil, "columns to read, in this order; a.b is the field b of the struct a (default: all)")
	set.StringSliceVar(&flags.by, "by", nil, "columns that the keys have (default: the primary key)")
	set.StringVar(&flags.where, "where", "", "condition in SQL: rows that do not meet it count as not there (default: none)")
	set.StringVarP(&flags.format, "format", "o", "", "table, csv, json or jsonl (one object a line), arrow (a stream) or parquet "+
		"(default: by the name of --output; table on a terminal; else jsonl)")
	set.StringVar(&flags.output, "output", "", "file to write (default: standard output)")
	return command
}

// lookupBody is a lookup as the server takes it.
type lookupBody struct {
	Table   string       `json:"table"`
	Columns []columnPath `json:"columns,omitzero"`
	By      []string     `json:"by,omitzero"`
	Filter  sqlFilter    `json:"filter,omitzero"`
	How     string       `json:"how"`
}

func (p *program) lookup(ctx context.Context, c *client, table string, texts []string, flags lookupFlags) error {
	format, err := p.outputFormat(scanFlags{format: flags.format, output: flags.output})
	if err != nil {
		return err
	}
	description, err := c.describe(ctx, table)
	if err != nil {
		return err
	}
	if len(description.PrimaryKey) == 0 {
		return fmt.Errorf("%s has no primary key to look rows up by; read it with headrace scan", description.Table)
	}
	schema, err := keySchema(description, flags.by)
	if err != nil {
		return err
	}
	if len(texts) == 1 && texts[0] == "-" {
		if texts, err = readKeys(p.stdin); err != nil {
			return err
		}
	}
	keys, err := parseKeys(schema, texts)
	if err != nil {
		return err
	}
	defer keys.Release()
	out, closeOut, err := p.openOutput(flags.output)
	if err != nil {
		return err
	}
	body := lookupBody{Table: table, Columns: wholeColumns(flags.columns), By: flags.by, Filter: sqlFilter{flags.where}, How: "inner"}
	if err := c.findFields(ctx, table, body.Columns); err != nil {
		return err
	}
	rows, err := c.lookup(ctx, body, keys, func(schema *arrow.Schema) (rowWriter, error) { return newRowWriter(format, out, schema) })
	if err = errors.Join(err, closeOut()); err != nil {
		return err
	}
	return p.lookupSummary(rows, keys.NumRows())
}

func (p *program) lookupSummary(rows, keys int64) error {
	switch {
	case rows == 0 && keys > 0:
		return errors.New("no row has any of these keys")
	case rows < keys:
		p.note("%s of %s keys have a row", formatCount(rows), formatCount(keys))
	}
	return nil
}

// keySchema gives the columns that the keys have.
func keySchema(description *tableDescription, by []string) (*arrow.Schema, error) {
	table, err := description.arrowSchema()
	if err != nil {
		return nil, err
	}
	if len(by) == 0 {
		by = description.PrimaryKey
	}
	fields := make([]arrow.Field, len(by))
	for i, name := range by {
		found, ok := table.FieldsByName(name)
		if !ok {
			return nil, fmt.Errorf("%s has no column %q; it has %s", description.Table, name, strings.Join(columnNames(table), ", "))
		}
		fields[i] = arrow.Field{Name: name, Type: found[0].Type, Nullable: true}
	}
	return arrow.NewSchema(fields, nil), nil
}

// readKeys reads keys from lines; blank ones are left out.
func readKeys(input io.Reader) ([]string, error) {
	text, err := io.ReadAll(input)
	if err != nil {
		return nil, fmt.Errorf("reading the keys: %w", err)
	}
	var keys []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" {
			keys = append(keys, line)
		}
	}
	return keys, nil
}

// parseKeys reads keys that are written as text.
func parseKeys(schema *arrow.Schema, texts []string) (arrow.RecordBatch, error) {
	builder := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer builder.Release()
	for _, text := range texts {
		values := []string{text}
		if schema.NumFields() > 1 {
			var err error
			if values, err = csv.NewReader(strings.NewReader(text)).Read(); err != nil {
				return nil, usagef("the key %q: %v", text, err)
			}
		}
		if len(values) != schema.NumFields() {
			return nil, usagef("the key %q has %d values, want %d: %s", text, len(values), schema.NumFields(),
				strings.Join(columnNames(schema), ","))
		}
		for i, value := range values {
			if err := appendText(builder.Field(i), value); err != nil {
				return nil, usagef("the key %q: %q is not a value of %s, which is %s", text, value, schema.Field(i).Name, schema.Field(i).Type)
			}
		}
	}
	return builder.NewRecordBatch(), nil
}

// lookupRows is the number of keys that are sent as one batch.
const lookupRows = 16 << 10

// lookup looks up keys, batch by batch, and writes the rows; it gives their number.
func (c *client) lookup(ctx context.Context, body lookupBody, keys arrow.RecordBatch, begin func(*arrow.Schema) (rowWriter, error)) (rows int64, err error) {
	descriptor, err := json.Marshal(map[string]lookupBody{"lookup": body})
	if err != nil {
		return 0, fmt.Errorf("encoding the request: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.flight.DoExchange(ctx)
	if err != nil {
		return 0, remoteError(ctx, c.uri, err)
	}
	sent := flight.NewRecordWriter(stream, ipc.WithSchema(keys.Schema()))
	sent.SetFlightDescriptor(&flight.FlightDescriptor{Type: flight.DescriptorCMD, Cmd: descriptor})
	l := &lookupStream{client: c, stream: stream, begin: begin}
	defer func() { err = errors.Join(err, l.close()) }()
	for first := int64(0); first == 0 || first < keys.NumRows(); first += lookupRows {
		part := keys.NewSlice(first, min(first+lookupRows, keys.NumRows()))
		err := sent.Write(part)
		part.Release()
		if err != nil && !errors.Is(err, io.EOF) { // io.EOF: the stream has ended; answer tells why
			return l.rows, remoteError(ctx, c.uri, err)
		}
		if err := l.answer(ctx); err != nil {
			return l.rows, err
		}
	}
	return l.rows, nil
}

// lookupStream writes the answers of a stream of lookups.
type lookupStream struct {
	client *client
	stream flight.FlightService_DoExchangeClient
	begin  func(*arrow.Schema) (rowWriter, error)
	reader *flight.Reader
	out    rowWriter
	rows   int64
}

// answer writes all parts of the next answer.
func (l *lookupStream) answer(ctx context.Context) (err error) {
	if l.reader == nil {
		if l.reader, err = flight.NewRecordReader(l.stream); err != nil {
			return remoteError(ctx, l.client.uri, err)
		}
		if l.out, err = l.begin(l.reader.Schema()); err != nil {
			return err
		}
	}
	for l.reader.Next() {
		batch := l.reader.RecordBatch()
		l.rows += batch.NumRows()
		if batch.NumRows() > 0 {
			if err := l.out.Write(batch); err != nil {
				return err
			}
		}
		var metadata struct {
			Last bool `json:"last"`
		}
		if err := json.Unmarshal(l.reader.LatestAppMetadata(), &metadata); err != nil {
			return fmt.Errorf("reading what the server says of an answer: %w", err)
		}
		if metadata.Last {
			return nil
		}
	}
	if err := l.reader.Err(); err != nil && !errors.Is(err, io.EOF) {
		return remoteError(ctx, l.client.uri, err)
	}
	return errCut
}

// close brings out what was written.
func (l *lookupStream) close() error {
	if l.reader != nil {
		l.reader.Release()
	}
	if l.out != nil {
		return l.out.Close()
	}
	return nil
}
