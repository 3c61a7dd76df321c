package main

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/spf13/cobra"
)

func (p *program) tablesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "tables [PATTERN]",
		Short: "List tables",
		Long: `List tables. In the pattern, * stands for any characters and ? for one, but neither for the dot:
"web.*" are the tables of the database web, "*" those of the default database. Without one, all.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			pattern := strings.Join(args, "")
			return p.withClient(func(c *client) error { return p.tables(command.Context(), c, pattern) })
		},
	}
}

// listed is one table as "tables" shows it.
type listed struct {
	Table   string `json:"table"`
	Rows    int64  `json:"rows"`
	Bytes   int64  `json:"bytes"`
	Columns int    `json:"columns"`
}

func (c *client) list(ctx context.Context, pattern string) ([]listed, error) {
	stream, err := c.flight.ListFlights(ctx, &flight.Criteria{Expression: []byte(pattern)})
	if err != nil {
		return nil, remoteError(ctx, c.uri, err)
	}
	var tables []listed
	for {
		info, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return tables, nil
		}
		if err != nil {
			return nil, remoteError(ctx, c.uri, err)
		}
		entry := listed{Table: strings.Join(info.GetFlightDescriptor().GetPath(), "."), Rows: info.GetTotalRecords(), Bytes: info.GetTotalBytes()}
		if schema, err := flight.DeserializeSchema(info.GetSchema(), memory.DefaultAllocator); err == nil {
			entry.Columns = schema.NumFields()
		}
		tables = append(tables, entry)
	}
}

func (p *program) tables(ctx context.Context, c *client, pattern string) error {
	tables, err := c.list(ctx, pattern)
	if err != nil {
		return err
	}
	if p.json {
		for _, table := range tables {
			if err := printJSON(p.stdout, table); err != nil {
				return err
			}
		}
		return nil
	}
	if len(tables) == 0 {
		p.note("no tables; make one: headrace create, or headrace put --create")
		return nil
	}
	g := newGrid(p.stdout, "TABLE", "ROWS", "STORED", "COLUMNS")
	for _, table := range tables {
		g.row(table.Table, formatCount(table.Rows), formatBytes(float64(table.Bytes)), formatCount(int64(table.Columns)))
	}
	return g.flush()
}
