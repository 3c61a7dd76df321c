package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/spf13/cobra"
)

func (p *program) scanCommand() *cobra.Command {
	var flags scanFlags
	command := &cobra.Command{
		Use:   "scan TABLE",
		Short: "Read rows of a table",
		Long: `Read rows of a table: all that are there, or those between --from and --to. With --follow, go on
with new rows as they come, also over a restart of the server.

With --position-file, the position behind the rows is kept in a file once they are written, and the
next run goes on there.

Of a table with a primary key, these are its rows as they are at one moment. --view changelog reads
the changes to them, --view rows+changelog the rows and then the changes from exactly there; both
add the system columns, of which _change_type says what a row is: +I inserted, -U and +U before and
after an update, -D deleted. --view before-after has one row a change, with both sides.`,
		Example: `  headrace scan web.clicks --columns user_id,ts --limit 10
  headrace scan web.clicks --where "url like '%/checkout%' and user_id is not null"
  headrace scan web.clicks --from 1h -o parquet --output last-hour.parquet
  headrace scan web.clicks --from latest --follow
  headrace scan web.clicks --position-file clicks.position -o jsonl >> clicks.jsonl
  headrace scan web.users --view rows+changelog --follow`,
		Args: arguments("TABLE"),
		RunE: func(command *cobra.Command, args []string) error {
			request, err := flags.request(args[0], command.Flags().Changed, time.Now())
			if err != nil {
				return err
			}
			return p.withClient(func(c *client) error {
				for _, text := range flags.partitions {
					values, err := c.partitionValues(command.Context(), args[0], splitValues([]string{text}))
					if err != nil {
						return err
					}
					request.Partitions = append(request.Partitions, values)
				}
				return p.scan(command.Context(), c, request, flags)
			})
		},
	}
	set := command.Flags()
	set.StringSliceVar(&flags.columns, "columns", nil, "columns to read, in this order; a.b is the field b of the struct a (default: all)")
	set.StringVar(&flags.compression, "compression", "", "how rows are sent: stored, none, lz4 or zstd (default stored)")
	set.StringVar(&flags.from, "from", "", "where to begin: earliest, latest, a time, how long ago (1h), or a position (default earliest)")
	set.StringVar(&flags.to, "to", "", "where to end: now, a time, how long ago, or a position (default now)")
	set.Int64Var(&flags.limit, "limit", 0, "largest number of rows")
	set.Int32SliceVar(&flags.buckets, "buckets", nil, "buckets to read (default: all)")
	set.StringArrayVar(&flags.partitions, "partition", nil, "read only the partitions with these values, COLUMN=VALUE,…; may be repeated")
	set.BoolVar(&flags.systemColumns, "system-columns", false, "add _bucket, _offset and _timestamp")
	set.BoolVarP(&flags.follow, "follow", "f", false, "go on with new rows as they come")
	set.StringVar(&flags.positionFile, "position-file", "", "go on at the position in this file, and keep it there")
	set.StringVarP(&flags.format, "format", "o", "", "table, csv, json or jsonl (one object a line), arrow (a stream) or parquet "+
		"(default: by the name of --output; table on a terminal; else jsonl)")
	set.StringVar(&flags.output, "output", "", "file to write (default: standard output)")
	set.BoolVar(&flags.lines, "progress", false, "show progress on standard error")
	set.StringVar(&flags.where, "where", "", `rows to read, as a condition in SQL: "age > 3 and name like 'a%'" (default: all)`)
	set.StringVar(&flags.at, "at", "", "time travel")
	set.StringVar(&flags.view, "view", "", "what of a table with a primary key to read: rows, changelog, rows+changelog or before-after (default rows)")
	_ = set.MarkHidden("at") // fails for unknown names only
	return command
}

// outputFormat gives the format of the output.
func (p *program) outputFormat(flags scanFlags) (string, error) {
	if flags.format != "" {
		if !slices.Contains(outputFormats, flags.format) {
			return "", usagef("-o is %q, want one of %s", flags.format, strings.Join(outputFormats, ", "))
		}
		if (flags.format == "arrow" || flags.format == "parquet") && flags.output == "" && p.stdoutTerminal {
			return "", usagef("-o %s is not for a terminal; say --output FILE", flags.format)
		}
		if flags.format == "parquet" && flags.follow {
			return "", usagef("a Parquet file can be read only once it is complete, and --follow has no end; use -o arrow")
		}
		return flags.format, nil
	}
	if format, ok := outputExtensions[strings.ToLower(filepath.Ext(flags.output))]; ok {
		flags.format = format
		return p.outputFormat(flags)
	}
	if p.stdoutTerminal && flags.output == "" && !p.json {
		return "table", nil
	}
	return "jsonl", nil
}

func (p *program) scan(ctx context.Context, c *client, request scanRequest, flags scanFlags) error {
	format, err := p.outputFormat(flags)
	if err != nil {
		return err
	}
	if request.Columns != nil {
		if err := c.findFields(ctx, request.Table, *request.Columns); err != nil {
			return err
		}
	}
	if flags.positionFile != "" {
		if err := c.checkResumable(ctx, request); err != nil {
			return err
		}
		saved, err := readPositionFile(flags.positionFile)
		if err != nil {
			return err
		}
		if saved != nil {
			request.From = *saved
		}
	}
	out, closeOut, err := p.openOutput(flags.output)
	if err != nil {
		return err
	}
	s := &scanner{client: c, request: request, follow: flags.follow, note: p.note}
	if flags.follow || flags.positionFile != "" {
		err = s.resolve(ctx)
	} else {
		s.at = position{Offsets: map[int32]int64{}}
	}
	if err == nil {
		err = p.scanTo(ctx, s, out, format, flags)
	}
	return errors.Join(err, closeOut())
}

// openOutput gives the output, and what closes it.
func (p *program) openOutput(path string) (io.Writer, func() error, error) {
	if path == "" || path == "-" {
		return p.stdout, func() error { return nil }, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, nil, err
	}
	return f, f.Close, nil
}

// scanTo reads rows and writes them.
func (p *program) scanTo(ctx context.Context, s *scanner, out io.Writer, format string, flags scanFlags) error {
	sink := &scanSink{out: out, format: format, positionFile: flags.positionFile, eager: flags.follow}
	s.begin, s.take = sink.begin, sink.take
	shown := p.startScanProgress(ctx, s, flags)
	err := s.run(ctx)
	elapsed := shown.stop()
	err = errors.Join(err, sink.close(s.at))
	rows := s.rows.Load()
	switch {
	case err == nil && (p.stdoutTerminal || flags.output != "" || flags.lines):
		p.note("%s in %s", formatRates(tally{rows: rows, bytes: s.bytes.Load()}, elapsed), formatElapsed(elapsed))
	case err != nil && rows > 0 && !isClosedPipe(err) && !errors.Is(err, errInterrupted):
		p.note("%s rows were read before it failed", formatCount(rows))
	}
	return err
}

// scanSink writes rows, and keeps their position in a file once they are written.
type scanSink struct {
	out                  io.Writer
	format, positionFile string
	// eager brings out each batch at once, and its position.
	eager bool

	writer rowWriter // nil until begin
	kept   time.Time
}

// keepPeriod is the time between two writes of the position while there is no hurry.
const keepPeriod = time.Second

func (k *scanSink) begin(schema *arrow.Schema) (err error) {
	k.writer, err = newRowWriter(k.format, k.out, schema)
	return err
}

func (k *scanSink) take(batch arrow.RecordBatch, at position) error {
	if err := k.writer.Write(batch); err != nil {
		return err
	}
	// What is in a Parquet file can be read only once it is closed.
	if k.format == "parquet" || !k.eager && time.Since(k.kept) < keepPeriod {
		return nil
	}
	if err := k.writer.Flush(); err != nil {
		return err
	}
	return k.keep(at, false)
}

func (k *scanSink) keep(at position, sync bool) error {
	if k.positionFile == "" {
		return nil
	}
	k.kept = time.Now()
	return writePositionFile(k.positionFile, at, sync)
}

// close ends the output. at is the position behind all rows that were taken.
func (k *scanSink) close(at position) error {
	if k.writer == nil {
		return nil
	}
	if err := k.writer.Close(); err != nil || len(at.Offsets) == 0 {
		return err
	}
	return k.keep(at, true)
}

// startScanProgress shows progress where it does not mix with the rows.
func (p *program) startScanProgress(ctx context.Context, s *scanner, flags scanFlags) *progress {
	if !flags.lines && (flags.output == "" || flags.follow) {
		return &progress{began: time.Now(), cancel: func() {}}
	}
	return p.startProgress(ctx, flags.lines, func() tally {
		return tally{rows: s.rows.Load(), bytes: s.bytes.Load(), share: -1}
	})
}
