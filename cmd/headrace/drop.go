package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

func (p *program) dropCommand() *cobra.Command {
	var yes, missingOK bool
	command := &cobra.Command{
		Use: "drop TABLE", Short: "Drop a table; for a time, undrop brings it back", Args: arguments("TABLE"),
		RunE: func(command *cobra.Command, args []string) error {
			if err := p.confirm(yes, "Drop the table "+args[0]+"?"); err != nil {
				return err
			}
			request := struct {
				Table     string `json:"table"`
				MissingOK bool   `json:"missing_ok,omitzero"`
			}{args[0], missingOK}
			return p.withClient(func(c *client) error {
				if err := c.action(command.Context(), "DropTable", request, nil); err != nil {
					return err
				}
				p.note("table %s dropped; headrace undrop %s brings it back for a time", args[0], args[0])
				return nil
			})
		},
	}
	command.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	command.Flags().BoolVar(&missingOK, "missing-ok", false, "no error if there is no such table")
	return command
}

func (p *program) undropCommand() *cobra.Command {
	return &cobra.Command{
		Use: "undrop TABLE", Short: "Bring back a table that was dropped", Args: arguments("TABLE"),
		RunE: func(command *cobra.Command, args []string) error {
			return p.withClient(func(c *client) error {
				return p.changed(command.Context(), c, "UndropTable", tableRequest{args[0]}, "is back")
			})
		},
	}
}

func (p *program) truncateCommand() *cobra.Command {
	var yes bool
	var before string
	command := &cobra.Command{
		Use: "truncate TABLE", Short: "Remove the rows of a table", Args: arguments("TABLE"),
		RunE: func(command *cobra.Command, args []string) error {
			request := struct {
				Table  string    `json:"table"`
				Before *position `json:"before,omitzero"`
			}{Table: args[0]}
			what := "all rows"
			if before != "" {
				at, err := parsePosition(before)
				if err != nil {
					return err
				}
				request.Before, what = &at, "the rows before "+before
			}
			if err := p.confirm(yes, "Remove "+what+" of the table "+args[0]+"? They do not come back."); err != nil {
				return err
			}
			return p.withClient(func(c *client) error {
				return p.changed(command.Context(), c, "TruncateTable", request, "truncated")
			})
		},
	}
	command.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	command.Flags().StringVar(&before, "before", "", `remove only the rows before a position, such as '{"offsets":{"0":1200}}'`)
	return command
}

// confirm asks before something is destroyed.
func (p *program) confirm(yes bool, question string) error {
	if yes {
		return nil
	}
	if !p.stdinTerminal {
		return usageError{errNotATerminal}
	}
	fmt.Fprintf(p.stderr, "%s [y/N] ", question)
	answer, err := bufio.NewReader(p.stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errors.New("nothing was done")
}
