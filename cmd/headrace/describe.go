package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/spf13/cobra"

	"github.com/headrace/headrace/internal/model"
)

// tableDescription is what the server says of a table.
type tableDescription struct {
	Table         string            `json:"table"`
	ID            string            `json:"id"`
	SchemaVersion int32             `json:"schema_version"`
	Schema        []byte            `json:"schema"`
	Columns       []model.Column    `json:"columns"`
	PrimaryKey    []string          `json:"primary_key"`
	BucketKey     []string          `json:"bucket_key"`
	PartitionBy   []string          `json:"partition_by,omitempty"`
	Comment       string            `json:"comment"`
	Options       map[string]string `json:"options"`
	CreatedAt     string            `json:"created_at"`
	BucketCount   int32             `json:"bucket_count"`
	Buckets       []bucketStats     `json:"buckets"`
	Indexes       []indexStats      `json:"indexes"`

	rows int64 // from TableStats
}

type bucketStats struct {
	Bucket   int32 `json:"bucket"`
	Start    int64 `json:"start"`
	End      int64 `json:"end"`
	Bytes    int64 `json:"bytes"`
	RawBytes int64 `json:"raw_bytes"`
	// Parent is where the bucket split from; nil: nowhere.
	Parent *struct {
		Bucket int32 `json:"bucket"`
		At     int64 `json:"at"`
	} `json:"parent"`
	// Partition has the values of the bucket's partition, by column.
	Partition map[string]any `json:"partition,omitempty"`
}

// indexStats is a secondary index; Progress goes from 0 to 1 while it is built.
type indexStats struct {
	Name     string   `json:"name"`
	Columns  []string `json:"columns"`
	Progress float64  `json:"progress"`
	Rows     int64    `json:"rows"`
	Bytes    int64    `json:"bytes"`
	Error    string   `json:"error"`
}

type tableRequest struct {
	Table string `json:"table"`
}

// describe asks for the description of a table.
func (c *client) describe(ctx context.Context, table string) (*tableDescription, error) {
	var description tableDescription
	if err := c.action(ctx, "DescribeTable", tableRequest{table}, &description); err != nil {
		return nil, err
	}
	return &description, nil
}

// addStats takes in the number of rows, and all buckets: a description names a thousand at most.
func (c *client) addStats(ctx context.Context, description *tableDescription) error {
	results, err := c.actionAll(ctx, "TableStats", tableRequest{description.Table})
	if err != nil {
		return err
	}
	description.Buckets = nil
	for _, result := range results {
		var part struct {
			Rows    int64         `json:"rows"`
			Buckets []bucketStats `json:"buckets"`
		}
		if err := json.Unmarshal(result, &part); err != nil {
			return fmt.Errorf("reading the result of TableStats: %w", err)
		}
		description.rows = part.Rows
		description.Buckets = append(description.Buckets, part.Buckets...)
	}
	return nil
}

// arrowSchema gives the schema of the table.
func (d *tableDescription) arrowSchema() (*arrow.Schema, error) {
	schema, err := flight.DeserializeSchema(d.Schema, memory.DefaultAllocator)
	if err != nil {
		return nil, fmt.Errorf("reading the schema of %s: %w", d.Table, err)
	}
	return schema, nil
}

func (p *program) describeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "describe TABLE", Short: "Show columns, options and buckets of a table", Args: arguments("TABLE"),
		RunE: func(command *cobra.Command, args []string) error {
			return p.withClient(func(c *client) error {
				if p.json {
					results, err := c.actionAll(command.Context(), "DescribeTable", tableRequest{args[0]})
					if err != nil {
						return err
					}
					for _, result := range results {
						if _, err := fmt.Fprintf(p.stdout, "%s\n", result); err != nil {
							return err
						}
					}
					return nil
				}
				description, err := c.describe(command.Context(), args[0])
				if err != nil {
					return err
				}
				if err := c.addStats(command.Context(), description); err != nil {
					return err
				}
				return p.printDescription(description)
			})
		},
	}
}

func (p *program) printDescription(d *tableDescription) error {
	changes, bytes, raw := int64(0), int64(0), int64(0)
	for _, bucket := range d.Buckets {
		changes += bucket.End - bucket.Start
		bytes += bucket.Bytes
		raw += bucket.RawBytes
	}
	facts := newGrid(p.stdout)
	facts.row("table", d.Table)
	facts.row("id", d.ID)
	if d.Comment != "" {
		facts.row("comment", d.Comment)
	}
	facts.row("created", d.CreatedAt)
	facts.row("schema version", fmt.Sprint(d.SchemaVersion))
	facts.row("rows", formatCount(d.rows))
	if len(d.PrimaryKey) > 0 {
		facts.row("changes", formatCount(changes))
		facts.row("primary key", strings.Join(d.PrimaryKey, ", "))
	}
	stored := formatBytes(float64(bytes))
	if raw > bytes {
		stored += fmt.Sprintf(", %s before compression", formatBytes(float64(raw)))
	}
	facts.row("stored", stored)
	if len(d.BucketKey) > 0 {
		facts.row("bucket key", strings.Join(d.BucketKey, ", "))
	}
	if len(d.PartitionBy) > 0 {
		facts.row("partitioned by", strings.Join(d.PartitionBy, ", "))
	}
	for _, name := range slices.Sorted(maps.Keys(d.Options)) {
		facts.row(name, d.Options[name])
	}
	if err := facts.flush(); err != nil {
		return err
	}
	if err := p.printColumns(d.Columns); err != nil {
		return err
	}
	if err := p.printIndexes(d.Indexes); err != nil {
		return err
	}
	return p.printBuckets(d)
}

func (p *program) printColumns(columns []model.Column) error {
	table := newGrid(p.stdout, "COLUMN", "TYPE", "NULLS", "DEFAULT", "COMMENT")
	for _, column := range columns {
		nulls, value := "yes", ""
		if column.Nullable != nil && !*column.Nullable {
			nulls = "no"
		}
		if column.Default != nil {
			value = fmt.Sprint(column.Default)
		}
		table.row(column.Name, typeOf(column), nulls, value, column.Comment)
	}
	return p.section(table)
}

// section prints a table behind an empty line.
func (p *program) section(table *grid) error {
	if _, err := fmt.Fprintln(p.stdout); err != nil {
		return err
	}
	return table.flush()
}

// printBuckets shows the first buckets and says how many there are behind them.
func (p *program) printBuckets(d *tableDescription) error {
	headings := []string{"BUCKET", "START", "END", "STORED"}
	if len(d.PartitionBy) > 0 {
		headings = append(headings, "PARTITION")
	}
	split := slices.ContainsFunc(d.Buckets, func(b bucketStats) bool { return b.Parent != nil })
	if split {
		headings = append(headings, "SPLIT FROM")
	}
	table := newGrid(p.stdout, headings...)
	const bucketsShown = 32
	for _, bucket := range d.Buckets[:min(len(d.Buckets), bucketsShown)] {
		cells := []string{fmt.Sprint(bucket.Bucket), formatCount(bucket.Start), formatCount(bucket.End), formatBytes(float64(bucket.Bytes))}
		if len(d.PartitionBy) > 0 {
			cells = append(cells, valuesText(bucket.Partition))
		}
		switch {
		case bucket.Parent != nil:
			cells = append(cells, fmt.Sprintf("%d at %s", bucket.Parent.Bucket, formatCount(bucket.Parent.At)))
		case split:
			cells = append(cells, "")
		}
		table.row(cells...)
	}
	if err := p.section(table); err != nil {
		return err
	}
	if len(d.Buckets) > bucketsShown {
		_, err := fmt.Fprintf(p.stdout, "… and %d buckets more\n", len(d.Buckets)-bucketsShown)
		return err
	}
	return nil
}

// printIndexes shows the secondary indexes, where there are some.
func (p *program) printIndexes(indexes []indexStats) error {
	if len(indexes) == 0 {
		return nil
	}
	table := newGrid(p.stdout, "INDEX", "COLUMNS", "ROWS", "MEMORY", "STATE")
	for _, index := range indexes {
		state := "ready"
		switch {
		case index.Error != "":
			state = index.Error
		case index.Progress < 1:
			state = fmt.Sprintf("%.0f %% built", 100*index.Progress)
		}
		table.row(index.Name, strings.Join(index.Columns, ", "), formatCount(index.Rows), formatBytes(float64(index.Bytes)), state)
	}
	return p.section(table)
}

// typeOf gives the type of a column, and the extension type that it is of.
func typeOf(column model.Column) string {
	if name := column.Metadata["ARROW:extension:name"]; name != "" {
		return column.Type + " (" + name + ")"
	}
	return column.Type
}
