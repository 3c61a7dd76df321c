package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// partition is what the server says of a partition.
type partition struct {
	ID        int64          `json:"id"`
	Values    map[string]any `json:"values"`
	Buckets   []int32        `json:"buckets"`
	Rows      int64          `json:"rows"`
	Bytes     int64          `json:"bytes"`
	CreatedAt string         `json:"created_at"`
}

// partitionRequest is the body of the actions on partitions.
type partitionRequest struct {
	Table     string         `json:"table"`
	Values    map[string]any `json:"values,omitzero"`
	Prefix    bool           `json:"prefix,omitzero"`
	ExistOK   bool           `json:"exist_ok,omitzero"`
	MissingOK bool           `json:"missing_ok,omitzero"`
}

func (p *program) partitionsCommand() *cobra.Command {
	var create, drop []string
	var yes, missingOK, existOK bool
	command := &cobra.Command{
		Use:   "partitions TABLE [COLUMN=VALUE,…]",
		Short: "List, make and drop the partitions of a table",
		Long: `List the partitions of a table: all, or those that have the values. With --create, make one instead;
its values name every partition column. With --drop, drop every partition that has the values, with all
of its rows.`,
		Example: `  headrace partitions web.clicks
  headrace partitions web.clicks country=DE
  headrace partitions web.clicks --create country=DE,day=2026-11-21
  headrace partitions web.clicks --drop day=2026-11-21`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(command *cobra.Command, args []string) error {
			if len(create) > 0 && len(drop) > 0 || len(args) > 1 && len(create)+len(drop) > 0 {
				return usagef("say one of COLUMN=VALUE, --create and --drop")
			}
			ctx := command.Context()
			return p.withClient(func(c *client) error {
				switch {
				case len(create) > 0:
					return p.createPartition(ctx, c, args[0], create, existOK)
				case len(drop) > 0:
					return p.dropPartition(ctx, c, args[0], drop, dropAnswer{yes, missingOK})
				}
				return p.listPartitions(ctx, c, args[0], args[1:])
			})
		},
	}
	flags := command.Flags()
	flags.StringSliceVar(&create, "create", nil, "make the partition with these values, COLUMN=VALUE for each partition column")
	flags.StringSliceVar(&drop, "drop", nil, "drop the partitions that have these values")
	flags.BoolVarP(&yes, "yes", "y", false, "do not ask before dropping")
	flags.BoolVar(&missingOK, "missing-ok", false, "no error if there is no such partition to drop")
	flags.BoolVar(&existOK, "exist-ok", false, "no error if the partition to make is there")
	return command
}

// dropAnswer says what a drop may do without asking or failing.
type dropAnswer struct{ yes, missingOK bool }

func (p *program) createPartition(ctx context.Context, c *client, table string, texts []string, existOK bool) error {
	values, err := c.partitionValues(ctx, table, texts)
	if err != nil {
		return err
	}
	var made partition
	if err := c.action(ctx, "CreatePartition", partitionRequest{Table: table, Values: values, ExistOK: existOK}, &made); err != nil {
		return err
	}
	if p.json {
		return printJSON(p.stdout, made)
	}
	p.note("partition %s made", valuesText(made.Values))
	return nil
}

func (p *program) dropPartition(ctx context.Context, c *client, table string, texts []string, answer dropAnswer) error {
	values, err := c.partitionValues(ctx, table, texts)
	if err != nil {
		return err
	}
	question := fmt.Sprintf("Drop the partitions with %s of the table %s? Their rows do not come back.", valuesText(values), table)
	if err := p.confirm(answer.yes, question); err != nil {
		return err
	}
	var result struct {
		Dropped int `json:"dropped"`
	}
	request := partitionRequest{Table: table, Values: values, Prefix: true, MissingOK: answer.missingOK}
	if err := c.action(ctx, "DropPartition", request, &result); err != nil {
		return err
	}
	if p.json {
		return printJSON(p.stdout, result)
	}
	p.note("partitions dropped: %d", result.Dropped)
	return nil
}

func (p *program) listPartitions(ctx context.Context, c *client, table string, texts []string) error {
	values, err := c.partitionValues(ctx, table, splitValues(texts))
	if err != nil {
		return err
	}
	results, err := c.actionAll(ctx, "ListPartitions", partitionRequest{Table: table, Values: values, Prefix: true})
	if err != nil {
		return err
	}
	g := newGrid(p.stdout, "PARTITION", "ROWS", "STORED", "BUCKETS", "CREATED")
	for _, result := range results {
		var part struct {
			Partitions []partition `json:"partitions"`
		}
		if err := json.Unmarshal(result, &part); err != nil {
			return fmt.Errorf("reading the result of ListPartitions: %w", err)
		}
		for _, x := range part.Partitions {
			if p.json {
				if err := printJSON(p.stdout, x); err != nil {
					return err
				}
				continue
			}
			g.row(valuesText(x.Values), formatCount(x.Rows), formatBytes(float64(x.Bytes)), bucketsText(x.Buckets), x.CreatedAt)
		}
	}
	if p.json {
		return nil
	}
	return g.flush()
}

// splitValues cuts COLUMN=VALUE,COLUMN=VALUE.
func splitValues(texts []string) []string {
	var all []string
	for _, text := range texts {
		all = append(all, strings.Split(text, ",")...)
	}
	return all
}

// partitionValues reads COLUMN=VALUE, by the types of the table's columns.
func (c *client) partitionValues(ctx context.Context, table string, texts []string) (map[string]any, error) {
	if len(texts) == 0 {
		return nil, nil
	}
	description, err := c.describe(ctx, table)
	if err != nil {
		return nil, err
	}
	types := map[string]string{}
	for _, column := range description.Columns {
		types[column.Name] = column.Type
	}
	values := map[string]any{}
	for _, text := range texts {
		name, value, found := strings.Cut(text, "=")
		if !found || name == "" {
			return nil, usagef("%q: want COLUMN=VALUE, such as country=DE", text)
		}
		values[name] = typedValue(types[name], value)
	}
	return values, nil
}

// typedValue gives a value as the server takes it for a column of a type; all other types take a text.
func typedValue(columnType, text string) any {
	switch columnType {
	case "bool":
		if value, err := strconv.ParseBool(text); err == nil {
			return value
		}
	case "halffloat", "float", "double":
		if value, err := strconv.ParseFloat(text, 64); err == nil && !strings.ContainsAny(strings.ToLower(text), "ni") {
			return value
		}
	}
	return text
}

func valuesText(values map[string]any) string {
	texts := make([]string, 0, len(values))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		texts = append(texts, fmt.Sprintf("%s=%v", name, values[name]))
	}
	return strings.Join(texts, ", ")
}

// bucketsText writes the numbers of buckets, neighbours as a range.
func bucketsText(buckets []int32) string {
	var parts []string
	for i := 0; i < len(buckets); {
		last := i
		for last+1 < len(buckets) && buckets[last+1] == buckets[last]+1 {
			last++
		}
		text := strconv.Itoa(int(buckets[i]))
		if last > i {
			text += "-" + strconv.Itoa(int(buckets[last]))
		}
		parts = append(parts, text)
		i = last + 1
	}
	return strings.Join(parts, ",")
}
