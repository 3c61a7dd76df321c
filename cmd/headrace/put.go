package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/headrace/headrace/internal/model"
)

// defaultNulls are the texts that stand for null in CSV, except in columns of strings.
var defaultNulls = []string{"", "NA", "N/A", "NULL", "null"}

// putFlags are the flags of "put".
type putFlags struct {
	create                                            createFlags
	makeTable, remove, lines                          bool
	format, mode, producer, durability, delimiterText string
	columns, nulls                                    []string
}

func (p *program) putCommand() *cobra.Command {
	var flags putFlags
	command := &cobra.Command{
		Use:   "put TABLE FILE|-",
		Short: "Write the rows of a file to a table",
		Long: `Write the rows of a file to a table: Parquet, CSV with a header line, JSON lines (one object a
line), Arrow streams and files. With --create, the table is made with the columns of the file if it
is not there; types of CSV and JSON are then inferred from the first 5,000 rows.

Rows are added to a log table. In a table with a primary key they are inserted, or take the place of
rows of the same key; with --columns, which has to name the key, the other columns keep their
values. With --delete, the rows of the file's keys are deleted.

With --producer, each batch is stored once: run the same command again after a failure, and it goes
on where it stopped.`,
		Example: `  headrace put web.clicks clicks.parquet --create
  headrace put web.clicks clicks.csv --producer load-2026-11-21
  headrace put web.users users.parquet --create --primary-key user_id
  headrace put web.users ages.csv --columns user_id,age
  headrace put web.users gone.csv --delete
  generate | headrace put web.clicks - --format jsonl`,
		Args: arguments("TABLE", "FILE"),
		RunE: func(command *cobra.Command, args []string) error {
			return p.withClient(func(c *client) error { return p.put(command.Context(), c, args[0], args[1], flags) })
		},
	}
	flags.create.register(command)
	set := command.Flags()
	set.StringVar(&flags.format, "format", "", "parquet, csv, jsonl or arrow (default: by the file's name)")
	set.BoolVar(&flags.makeTable, "create", false, "make the table with the columns of the file if it is not there")
	set.StringVar(&flags.mode, "mode", "", "append (log tables), upsert or delete (tables with a primary key) (default: append or upsert, as the table is)")
	set.BoolVar(&flags.remove, "delete", false, "the same as --mode delete")
	set.StringSliceVar(&flags.columns, "columns", nil, "columns of the file to send (default: all); with --delete, columns whose values are taken back from sums")
	set.StringVar(&flags.producer, "producer", "", "name under which each batch is stored once, also over several runs")
	set.StringVar(&flags.durability, "durability", "", "what an acknowledged row survives: memory, os or fsync (default: the table's)")
	set.StringVar(&flags.delimiterText, "delimiter", "", "character between the values of CSV (default: comma)")
	set.StringArrayVar(&flags.nulls, "null", defaultNulls, "text that stands for null in CSV, except in columns of strings; may be repeated")
	set.BoolVar(&flags.lines, "progress", false, "show progress as lines, also where standard error is no terminal")
	return command
}

// deletes says that the rows of the file's keys are to be deleted.
func (f putFlags) deletes() bool { return f.remove || f.mode == "delete" }

func (f putFlags) validate() error {
	switch f.mode {
	case "", "append", "upsert", "delete":
	default:
		return usagef("--mode is %q, want append, upsert or delete", f.mode)
	}
	switch {
	case f.remove && f.mode != "" && f.mode != "delete":
		return usagef("--delete and --mode %s do not go together", f.mode)
	case f.deletes() && f.makeTable:
		return usagef("--create is not for deletions: a table that is not there has no rows")
	}
	if _, err := model.ParseDurability(f.durability); err != nil {
		return usageError{err}
	}
	if len([]rune(f.delimiterText)) > 1 {
		return usagef("--delimiter is %q, want one character", f.delimiterText)
	}
	return nil
}

func (p *program) put(ctx context.Context, c *client, table, path string, flags putFlags) error {
	if err := flags.validate(); err != nil {
		return err
	}
	if _, err := formatOf(path, flags.format); err != nil {
		return err
	}
	source, err := p.openForTable(ctx, c, table, path, flags)
	if err != nil {
		return err
	}
	defer source.close()
	s := &sender{client: c}
	s.command.Put.Table, s.command.Put.Durability = table, flags.durability
	s.command.Put.Mode, s.command.Put.Columns = flags.mode, source.partial
	if flags.deletes() {
		s.command.Put.Mode = "delete"
	}
	if flags.producer != "" {
		if s.producer, err = c.openProducer(ctx, table, flags.producer); err != nil {
			return err
		}
	}
	shown := p.startProgress(ctx, flags.lines, func() tally {
		return tally{rows: s.ackedRows.Load(), bytes: s.sentBytes.Load(), share: source.share()}
	})
	result, err := s.send(ctx, source)
	elapsed := shown.stop()
	if err != nil {
		if result.Rows > 0 {
			p.note("%s rows were acknowledged before it failed%s", formatCount(result.Rows), resumeHint(flags.producer))
		}
		return err
	}
	return p.putSummary(s, result, elapsed)
}

func resumeHint(producer string) string {
	if producer == "" {
		return ""
	}
	return "; the same command goes on behind them"
}

// openForTable opens the file with the types of the table, which is made first if that is asked for.
func (p *program) openForTable(ctx context.Context, c *client, table, path string, flags putFlags) (*sourceFile, error) {
	options := sourceOptions{format: flags.format, columns: flags.columns, nulls: flags.nulls}
	for _, delimiter := range flags.delimiterText {
		options.delimiter = delimiter
	}
	description, err := c.describe(ctx, table)
	if err == nil {
		return p.openForDescribed(ctx, description, path, options, flags)
	}
	missing := hasReason(err, string(model.TableNotFound)) || hasReason(err, string(model.DatabaseNotFound))
	if !missing || !flags.makeTable {
		if missing {
			p.note("to make the table with the columns of the file: --create")
		}
		return nil, err
	}
	request, err := flags.create.request(table)
	if err != nil {
		return nil, err
	}
	source, err := openSource(ctx, path, p.stdin, options)
	if err != nil {
		return nil, err
	}
	request.Schema, request.ExistOK = encodeSchema(source.Schema()), true
	if err := c.action(ctx, "CreateTable", request, nil); err != nil {
		source.close()
		return nil, err
	}
	p.note("table %s made with %d columns", table, source.Schema().NumFields())
	return source, nil
}

// openForDescribed opens the file for a table that is there.
func (p *program) openForDescribed(ctx context.Context, description *tableDescription, path string, options sourceOptions, flags putFlags) (*sourceFile, error) {
	keyed := len(description.PrimaryKey) > 0
	if flags.deletes() {
		if !keyed {
			return nil, fmt.Errorf("%s has no primary key: its rows cannot be deleted by key; headrace truncate removes old ones", description.Table)
		}
		if len(flags.columns) == 0 {
			options.columns = description.PrimaryKey
		}
	}
	var err error
	if options.table, err = description.arrowSchema(); err != nil {
		return nil, err
	}
	source, err := openSource(ctx, path, p.stdin, options)
	if err == nil && keyed && len(flags.columns) > 0 {
		source.partial = flags.columns
	}
	return source, err
}

// openProducer learns where a producer stands. Its epoch is opened once and then kept, so that a
// second run goes on with the numbers of the first.
func (c *client) openProducer(ctx context.Context, table, producer string) (*sequence, error) {
	request := struct {
		Table    string `json:"table"`
		Producer string `json:"producer"`
		Bump     bool   `json:"bump,omitzero"`
	}{Table: table, Producer: producer}
	var state struct {
		Epoch   int64 `json:"epoch"`
		NextSeq int64 `json:"next_seq"`
	}
	if err := c.action(ctx, "OpenProducer", request, &state); err != nil {
		return nil, err
	}
	return &sequence{Producer: producer, Epoch: state.Epoch, Seq: state.NextSeq}, nil
}

func (p *program) putSummary(s *sender, result putResult, elapsed time.Duration) error {
	if p.json {
		return printJSON(p.stdout, struct {
			putResult
			Bytes   int64   `json:"bytes"`
			Seconds float64 `json:"seconds"`
		}{result, s.sentBytes.Load(), elapsed.Seconds()})
	}
	durability := ""
	if result.Durability != "" {
		durability = ", durable at level " + result.Durability
	}
	p.note("%s in %s%s", formatRates(tally{rows: result.Rows, bytes: s.sentBytes.Load()}, elapsed), formatElapsed(elapsed), durability)
	if result.Skipped > 0 {
		p.note("%s batches had been stored before", formatCount(result.Skipped))
	}
	return nil
}

func formatElapsed(elapsed time.Duration) string {
	if elapsed >= time.Minute {
		return elapsed.Round(time.Second).String()
	}
	return fmt.Sprintf("%.2f s", elapsed.Seconds())
}
