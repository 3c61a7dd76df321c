package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/term"
)

// version is set when the program is linked.
var version = "dev"

func main() {
	// A write to a closed pipe then gives an error, which ends the command without noise.
	signal.Ignore(syscall.SIGPIPE)
	p := &program{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, environment: os.Environ(),
		stdinTerminal:  term.IsTerminal(int(os.Stdin.Fd())),
		stdoutTerminal: term.IsTerminal(int(os.Stdout.Fd())),
		stderrTerminal: term.IsTerminal(int(os.Stderr.Fd())),
	}
	os.Exit(p.run(context.Background(), os.Args[1:]))
}

// program is one run of the command line, with everything that it has from its surroundings.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environment    []string

	stdinTerminal, stdoutTerminal, stderrTerminal bool

	// Global flags.
	server, tokenFile, tlsCA string
	quiet, json              bool
}

// errInterrupted is the cause of a command that was ended by an interrupt.
var errInterrupted = errors.New("interrupted")

// run executes one command line and gives the exit code.
func (p *program) run(ctx context.Context, args []string) int {
	ctx, cancel := context.WithCancelCause(ctx)
	root := p.rootCommand()
	root.SetArgs(args)
	var watching sync.WaitGroup
	// "serve" drains on the first signal by itself; see serve.go.
	if command, _, err := root.Find(args); err != nil || command.Name() != "serve" {
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
		watching.Go(func() {
			defer signal.Stop(signals) // a second interrupt ends the program at once
			select {
			case <-signals:
				cancel(errInterrupted)
			case <-ctx.Done():
			}
		})
	}
	err := root.ExecuteContext(ctx)
	if errors.Is(context.Cause(ctx), errInterrupted) {
		err = errors.Join(errInterrupted, err)
	}
	cancel(nil)
	watching.Wait()
	return p.finish(err)
}
