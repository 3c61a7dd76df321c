package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/headrace/headrace/internal/auth"
	"github.com/headrace/headrace/internal/model"
)

func (p *program) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show the server's version, tables and the reads that hold rows", Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return p.withClient(func(c *client) error { return p.status(command.Context(), c) })
		},
	}
}

// serverStatus is what "status" shows.
type serverStatus struct {
	Server   string          `json:"server"`
	Version  string          `json:"version"`
	Features []string        `json:"features"`
	Tables   int             `json:"tables"`
	Rows     int64           `json:"rows"`
	Bytes    int64           `json:"bytes"`
	Plans    []planStatus    `json:"plans"`
	Groups   []groupEntry    `json:"groups"`
	Limits   json.RawMessage `json:"limits"`
}

type planStatus struct {
	Plan       string `json:"plan"`
	Table      string `json:"table"`
	Since      string `json:"since"`
	Expires    string `json:"expires"`
	PinnedRows int64  `json:"pinned_rows"`
}

// groupsShown is the number of groups that "status" shows as text.
const groupsShown = 20

func (p *program) status(ctx context.Context, c *client) error {
	status := serverStatus{Server: c.uri}
	if err := c.action(ctx, "ServerInfo", struct{}{}, &status); err != nil {
		return err
	}
	if err := c.action(ctx, "ListPlans", struct{}{}, &status); err != nil {
		return err
	}
	if slices.Contains(status.Features, "groups") {
		groups, err := c.listGroups(ctx, "")
		if err != nil {
			return err
		}
		status.Groups = groups
	}
	tables, err := c.list(ctx, "")
	if err != nil {
		return err
	}
	status.Tables = len(tables)
	for _, table := range tables {
		status.Rows += table.Rows
		status.Bytes += table.Bytes
	}
	if p.json {
		return printJSON(p.stdout, status)
	}
	g := newGrid(p.stdout)
	g.row("server", status.Server)
	g.row("version", status.Version)
	g.row("features", strings.Join(status.Features, ", "))
	g.row("tables", formatCount(int64(status.Tables)))
	g.row("rows", formatCount(status.Rows))
	g.row("stored", formatBytes(float64(status.Bytes)))
	if err := g.flush(); err != nil {
		return err
	}
	if len(status.Groups) > 0 {
		fmt.Fprintln(p.stdout)
		if err := p.printGroups(laggingGroups(status.Groups, groupsShown)); err != nil {
			return err
		}
	}
	if len(status.Plans) == 0 {
		return nil
	}
	fmt.Fprintln(p.stdout)
	plans := newGrid(p.stdout, "PLAN", "TABLE", "SINCE", "EXPIRES", "ROWS KEPT")
	for _, plan := range status.Plans {
		plans.row(plan.Plan, plan.Table, plan.Since, plan.Expires, formatCount(plan.PinnedRows))
	}
	return plans.flush()
}

func (p *program) flushCommand() *cobra.Command {
	var level string
	command := &cobra.Command{
		Use: "flush", Short: "Wait until all rows that were sent so far are durable", Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if parsed, err := model.ParseDurability(level); err != nil || parsed == model.DurabilityUnset {
				return usagef("--level is %q, want memory, os or fsync", level)
			}
			request := struct {
				Level string `json:"level"`
			}{level}
			return p.withClient(func(c *client) error { return c.action(command.Context(), "Flush", request, nil) })
		},
	}
	command.Flags().StringVar(&level, "level", "fsync", "what the rows are to survive: memory, os or fsync")
	return command
}

func (p *program) configCommand() *cobra.Command {
	command := &cobra.Command{
		Use: "config", Short: "Show the settings of a server", Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error { return command.Help() },
	}
	var file string
	printing := &cobra.Command{
		Use:   "print",
		Short: "Print the settings that serve would use, and where each comes from",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			loaded, err := p.loadSettings(command, file)
			if err != nil {
				return err
			}
			return loaded.Print(p.stdout)
		},
	}
	registerSettings(printing, &file)
	command.AddCommand(printing)
	return command
}

func (p *program) tokenCommand() *cobra.Command {
	var name string
	command := &cobra.Command{
		Use:   "token",
		Short: "Make a token for clients, and the line of the server's token file for it",
		Long: `Make a token. The first line goes to the client: into the file of its --token-file, or into
$HEADRACE_TOKEN. The second line goes into the server's token file; it holds a hash only.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			token, line, err := auth.NewToken(name, rand.Reader)
			if err != nil {
				return usageError{err}
			}
			if p.json {
				return printJSON(p.stdout, map[string]string{"token": token, "line": line})
			}
			_, err = fmt.Fprintf(p.stdout, "%s\n%s\n", token, line)
			return err
		},
	}
	command.Flags().StringVar(&name, "name", "client", "who the token is for: shown in logs")
	return command
}

func (p *program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Show the version of this program", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if p.json {
				return printJSON(p.stdout, map[string]string{"version": version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH})
			}
			_, err := fmt.Fprintf(p.stdout, "headrace %s (%s, %s/%s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}

// isFolder says whether path is a folder that is there.
func isFolder(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a folder", path)
	}
	return nil
}
