package main

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/headrace/headrace/internal/model"
)

// tableChange is one of the changes of AlterTable; one field is set.
type tableChange struct {
	AddColumn    *addColumn    `json:"add_column,omitempty"`
	DropColumn   []string      `json:"drop_column,omitempty"`
	RenameColumn *renameColumn `json:"rename_column,omitempty"`
	SetType      *setType      `json:"set_type,omitempty"`
	SetNullable  []string      `json:"set_nullable,omitempty"`
	MoveColumn   *moveColumn   `json:"move_column,omitempty"`
	SetComment   *setComment   `json:"set_comment,omitempty"`
	SetMetadata  *setMetadata  `json:"set_metadata,omitempty"`

	SetOption   *optionChange `json:"set_option,omitempty"`
	CreateIndex *indexChange  `json:"create_index,omitempty"`
	DropIndex   string        `json:"drop_index,omitempty"`
	SetBuckets  *int          `json:"set_buckets,omitempty"`
}

type optionChange struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type indexChange struct {
	Name    string   `json:"name"`
	Columns []string `json:"columns"`
}

// alterRequest is the body of AlterTable.
type alterRequest struct {
	Table   string         `json:"table"`
	Expect  *expectedTable `json:"expect,omitempty"`
	Changes []tableChange  `json:"changes"`
}

type expectedTable struct {
	SchemaVersion int32 `json:"schema_version"`
}

func (p *program) alterCommand() *cobra.Command {
	var set, create, drop []string
	var columns columnFlags
	var buckets int
	var expected int32
	command := &cobra.Command{
		Use: "alter TABLE", Short: "Change columns, options, indexes and the number of buckets of a table", Args: arguments("TABLE"),
		Example: "  headrace alter web.clicks --set log.ttl=30d --set log.durability=os\n" +
			"  headrace alter web.users --create-index by_email=email\n" +
			"  headrace alter web.users --buckets 8\n" +
			"  headrace alter web.users --add-column 'score double default 0 after name' --rename-column mail=email",
		RunE: func(command *cobra.Command, args []string) error {
			changes, err := columns.changes()
			if err != nil {
				return err
			}
			others, err := tableChanges(set, create, drop)
			if err != nil {
				return err
			}
			changes = append(changes, others...)
			if command.Flags().Changed("buckets") {
				changes = append(changes, tableChange{SetBuckets: &buckets})
			}
			if len(changes) == 0 {
				return usagef("say what to change: see headrace alter --help")
			}
			request := alterRequest{Table: args[0], Changes: changes}
			if command.Flags().Changed("expect-version") {
				if expected < 1 {
					return usagef("--expect-version %d: versions begin at 1", expected)
				}
				request.Expect = &expectedTable{expected}
			}
			return p.withClient(func(c *client) error { return p.changed(command.Context(), c, "AlterTable", request, "changed") })
		},
	}
	columns.register(command)
	command.Flags().StringArrayVar(&set, "set", nil, "option to set, NAME=VALUE; may be repeated")
	command.Flags().StringArrayVar(&create, "create-index", nil, "index to make, NAME=COLUMN,…; may be repeated")
	command.Flags().IntVar(&buckets, "buckets", 0, "number of buckets: 2, 4, 8 … times as many as there are")
	command.Flags().StringArrayVar(&drop, "drop-index", nil, "index to drop; may be repeated")
	command.Flags().Int32Var(&expected, "expect-version", 0, "version that the schema must have, as describe shows it; with another one nothing is done")
	return command
}

// tableChanges puts what the flags say of options and indexes into one list, which the server takes as a
// whole or not at all, together with the changes of columns.
func tableChanges(set, create, drop []string) ([]tableChange, error) {
	options, err := parseOptionFlags(set)
	if err != nil {
		return nil, err
	}
	var changes []tableChange
	for _, name := range slices.Sorted(maps.Keys(options)) {
		changes = append(changes, tableChange{SetOption: &optionChange{name, options[name]}})
	}
	for _, name := range drop {
		changes = append(changes, tableChange{DropIndex: name})
	}
	for _, text := range create {
		name, columns, found := strings.Cut(text, "=")
		if !found || name == "" || columns == "" {
			return nil, usagef("--create-index %s: want NAME=COLUMN,…", text)
		}
		changes = append(changes, tableChange{CreateIndex: &indexChange{name, strings.Split(columns, ",")}})
	}
	return changes, nil
}

func (p *program) optionsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "options [TABLE]", Short: "List the options that tables can have, or those of a table", Args: cobra.MaximumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			return p.withClient(func(c *client) error { return p.options(command.Context(), c, args) })
		},
	}
}

func (p *program) options(ctx context.Context, c *client, args []string) error {
	var known struct {
		Options []model.OptionSpec `json:"options"`
	}
	if err := c.action(ctx, "ListOptions", struct{}{}, &known); err != nil {
		return err
	}
	if len(args) == 1 {
		description, err := c.describe(ctx, args[0])
		if err != nil {
			return err
		}
		return p.tableOptions(description, known.Options)
	}
	if p.json {
		for _, option := range known.Options {
			if err := printJSON(p.stdout, option); err != nil {
				return err
			}
		}
		return nil
	}
	g := newGrid(p.stdout, "OPTION", "TYPE", "DEFAULT", "ALTER", "RANGE", "DESCRIPTION")
	for _, option := range known.Options {
		alterable := "no"
		if option.Alterable {
			alterable = "yes"
		}
		g.row(option.Name, option.Type, option.Default, alterable, option.Range, option.Description)
	}
	return g.flush()
}

// tableOptions shows the options of one table: those that are set, and the defaults of the others that
// it can have.
func (p *program) tableOptions(d *tableDescription, known []model.OptionSpec) error {
	if p.json {
		return printJSON(p.stdout, d.Options)
	}
	rows := map[string][]string{}
	for _, option := range known {
		if appliesTo(option, d) {
			rows[option.Name] = []string{option.Name, option.Default, "default"}
		}
	}
	for name, value := range d.Options {
		rows[name] = []string{name, value, "here"}
	}
	g := newGrid(p.stdout, "OPTION", "VALUE", "SET")
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		g.row(rows[name]...)
	}
	return g.flush()
}

// appliesTo says that a table can have an option of exactly this name.
func appliesTo(option model.OptionSpec, d *tableDescription) bool {
	if strings.HasSuffix(option.Name, ".COLUMN") {
		return false // it stands for a name of each column
	}
	if strings.HasPrefix(option.Name, "partition.") {
		return len(d.PartitionBy) > 0
	}
	log := model.Table{Options: map[string]string{option.Name: option.Default}}
	return len(d.PrimaryKey) > 0 || log.CheckOptions() == nil
}

func (p *program) renameCommand() *cobra.Command {
	return &cobra.Command{
		Use: "rename TABLE NEW-NAME", Short: "Give a table another name", Args: arguments("TABLE", "NEW-NAME"),
		RunE: func(command *cobra.Command, args []string) error {
			request := struct {
				Table string `json:"table"`
				To    string `json:"to"`
			}{args[0], args[1]}
			return p.withClient(func(c *client) error {
				return p.changed(command.Context(), c, "RenameTable", request, "has its new name")
			})
		},
	}
}
