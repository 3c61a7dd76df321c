package main

import (
	"context"
	"encoding/base64"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/spf13/cobra"

	"github.com/headrace/headrace/internal/model"
)

// createFlags are the flags of "create", also used by "put --create".
type createFlags struct {
	buckets               int
	primaryKey, bucketKey []string
	partitionBy           []string
	comment               string
	options               []string
}

func (f *createFlags) register(command *cobra.Command) {
	flags := command.Flags()
	flags.IntVar(&f.buckets, "buckets", 0, "number of buckets: how far reads and writes of the table spread (default 1)")
	flags.StringSliceVar(&f.primaryKey, "primary-key", nil, "columns that tell rows apart; rows are then written and read by key")
	flags.StringSliceVar(&f.bucketKey, "bucket-key", nil, "columns whose values choose the bucket of a row (default: the primary key)")
	flags.StringSliceVar(&f.partitionBy, "partition-by", nil, "columns whose values part the table: each partition is listed, read and dropped on its own")
	flags.StringVar(&f.comment, "comment", "", "free text")
	flags.StringArrayVar(&f.options, "set", nil, "option of the table, NAME=VALUE, as headrace options lists them; may be repeated")
}

// createRequest is the body of CreateTable.
type createRequest struct {
	Table       string            `json:"table"`
	Schema      string            `json:"schema,omitzero"`
	Columns     []model.Column    `json:"columns,omitzero"`
	PrimaryKey  []string          `json:"primary_key,omitzero"`
	Buckets     int               `json:"buckets,omitzero"`
	BucketKey   []string          `json:"bucket_key,omitzero"`
	PartitionBy []string          `json:"partition_by,omitzero"`
	Comment     string            `json:"comment,omitzero"`
	Options     map[string]string `json:"options,omitzero"`
	ExistOK     bool              `json:"exist_ok,omitzero"`
}

func (f *createFlags) request(table string) (createRequest, error) {
	options, err := parseOptionFlags(f.options)
	return createRequest{
		Table: table, PrimaryKey: f.primaryKey, Buckets: f.buckets, BucketKey: f.bucketKey, PartitionBy: f.partitionBy, Comment: f.comment, Options: options,
	}, err
}

// parseOptionFlags reads NAME=VALUE.
func parseOptionFlags(texts []string) (map[string]string, error) {
	if len(texts) == 0 {
		return nil, nil
	}
	options := map[string]string{}
	for _, text := range texts {
		name, value, found := strings.Cut(text, "=")
		if !found || name == "" {
			return nil, usagef("--set %q: want NAME=VALUE, such as log.ttl=7d", text)
		}
		options[name] = value
	}
	return options, nil
}

// encodeSchema gives a schema as requests carry it.
func encodeSchema(schema *arrow.Schema) string {
	return base64.StdEncoding.EncodeToString(flight.SerializeSchema(schema, memory.DefaultAllocator))
}

func (p *program) createCommand() *cobra.Command {
	var flags createFlags
	var like, columns, format string
	var existOK bool
	command := &cobra.Command{
		Use:   "create TABLE (--like FILE | --columns COLUMNS)",
		Short: "Make a table",
		Example: `  headrace create web.clicks --columns 'id int64 not null, at timestamp[us, tz=UTC], tags list<item: string>'
  headrace create web.clicks --like clicks.parquet --set log.ttl=7d --buckets 4
  headrace create web.visits --columns 'country string, at timestamp[us, tz=UTC]' --partition-by country
  headrace create web.users --columns 'user_id int64, name string, age int32' --primary-key user_id`,
		Args: arguments("TABLE"),
		RunE: func(command *cobra.Command, args []string) error {
			request, err := flags.request(args[0])
			if err != nil {
				return err
			}
			request.ExistOK = existOK
			switch {
			case (like == "") == (columns == ""):
				return usagef("say what columns the table has: either --like FILE or --columns 'NAME TYPE, …'")
			case columns != "":
				if request.Columns, err = model.ParseColumns(columns); err != nil {
					return usageError{err}
				}
			default:
				source, err := openSource(command.Context(), like, p.stdin, sourceOptions{format: format, nulls: defaultNulls})
				if err != nil {
					return err
				}
				request.Schema = encodeSchema(source.Schema())
				source.close()
			}
			return p.withClient(func(c *client) error { return p.changed(command.Context(), c, "CreateTable", request, "made") })
		},
	}
	flags.register(command)
	command.Flags().StringVar(&like, "like", "", "take the columns from this file")
	command.Flags().StringVar(&format, "format", "", "format of the file: parquet, csv, jsonl or arrow (default: by its name)")
	command.Flags().StringVar(&columns, "columns", "", "columns as NAME TYPE [not null], separated by commas; types as pyarrow spells them")
	command.Flags().BoolVar(&existOK, "exist-ok", false, "no error if the table is there with the same definition")
	return command
}

// changed calls an action that gives a table, and tells of it.
func (p *program) changed(ctx context.Context, c *client, action string, request any, verb string) error {
	var description tableDescription
	if err := c.action(ctx, action, request, &description); err != nil {
		return err
	}
	if p.json {
		return printJSON(p.stdout, description)
	}
	p.note("table %s %s", description.Table, verb)
	return nil
}
