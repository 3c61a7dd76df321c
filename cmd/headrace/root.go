package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// rootCommand makes the tree of commands.
func (p *program) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "headrace",
		Short: "A streaming store for analytics and AI that speaks Arrow Flight",
		Long: `headrace stores record batches in columnar logs and streams them back with only the
columns that are asked for, from any offset, while new rows arrive.

Start a server:         headrace serve
Load a file:            headrace put web.clicks clicks.parquet --create
Read it back:           headrace scan web.clicks --columns user_id,ts --limit 10
Watch new rows arrive:  headrace scan web.clicks --from latest --follow`,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(command *cobra.Command, _ []string) error { return command.Help() },
	}
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	flags := root.PersistentFlags()
	flags.StringVar(&p.server, "server", "", "URI of the server, grpc://host:port or grpc+tls://host:port "+
		"(default $HEADRACE_URI, else "+defaultURI+")")
	flags.StringVar(&p.tokenFile, "token-file", "", "file that holds the token to show (default: the token in $HEADRACE_TOKEN)")
	flags.StringVar(&p.tlsCA, "tls-ca", "", "PEM file of the authorities that may have signed the server's certificate (default: the system's)")
	flags.BoolVarP(&p.quiet, "quiet", "q", false, "no progress and no summaries")
	flags.BoolVar(&p.json, "json", false, "results as JSON")
	root.AddGroup(&cobra.Group{ID: "server", Title: "Server:"}, &cobra.Group{ID: "rows", Title: "Rows:"},
		&cobra.Group{ID: "tables", Title: "Tables:"})
	addGroup(root, "server", p.serveCommand(), p.statusCommand(), p.flushCommand(), p.checkCommand(), p.configCommand(), p.tokenCommand())
	addGroup(root, "rows", p.putCommand(), p.scanCommand(), p.lookupCommand(), p.groupsCommand())
	addGroup(root, "tables", p.tablesCommand(), p.describeCommand(), p.createCommand(), p.alterCommand(), p.partitionsCommand(), p.optionsCommand(),
		p.renameCommand(), p.truncateCommand(), p.dropCommand(), p.undropCommand())
	addGroup(root, "", p.versionCommand())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	wrapUsage(root)
	for _, command := range root.Commands() {
		if strings.Contains(command.Use, "TABLE") {
			command.ValidArgsFunction = p.completeTable
		}
	}
	return root
}

// completeTable proposes tables to the shell for the first argument, and files for the others.
func (p *program) completeTable(command *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	const patience = time.Second
	ctx, cancel := context.WithTimeout(command.Context(), patience)
	defer cancel()
	var names []cobra.Completion
	err := p.withClient(func(c *client) error {
		tables, err := c.list(ctx, "")
		for _, table := range tables {
			names = append(names, table.Table)
		}
		return err
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func addGroup(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, command := range commands {
		command.GroupID = group
		root.AddCommand(command)
	}
}

// wrapUsage makes errors about arguments usage errors, in all commands.
func wrapUsage(command *cobra.Command) {
	if check := command.Args; check != nil {
		command.Args = func(command *cobra.Command, args []string) error {
			if err := check(command, args); err != nil {
				return usageError{err}
			}
			return nil
		}
	}
	for _, child := range command.Commands() {
		wrapUsage(child)
	}
}

// arguments asks for the arguments that are named, in this order.
func arguments(names ...string) cobra.PositionalArgs {
	return func(command *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return fmt.Errorf("%s: %s is missing; usage: %s", command.CommandPath(), names[len(args)], command.UseLine())
		}
		if len(args) > len(names) {
			return fmt.Errorf("%s: %q is one argument too many; usage: %s", command.CommandPath(), args[len(names)], command.UseLine())
		}
		return nil
	}
}

// errNotATerminal refuses a question that nobody can answer.
var errNotATerminal = errors.New("this asks before it goes ahead, and the input is not a terminal; say --yes to go ahead")
