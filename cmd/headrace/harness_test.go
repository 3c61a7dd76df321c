package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/headrace/headrace/flightsrv"
	"github.com/headrace/headrace/internal/engine"
	"github.com/headrace/headrace/internal/vfs"
)

// mainVariable makes the test binary the program itself.
const mainVariable = "HEADRACE_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(mainVariable) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// startServer serves a fresh data folder until the test ends, and gives its URI.
func startServer(t *testing.T) string {
	t.Helper()
	disk, err := vfs.NewDisk(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	mappings := vfs.NewMappings()
	store, err := engine.Open(t.Context(), engine.Options{FS: disk, Mappings: mappings, Entropy: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	server, err := flightsrv.New(store, flightsrv.Options{Listen: "127.0.0.1:0", Mappings: mappings, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		serving.Wait()
		if err := store.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if err := disk.Close(); err != nil {
			t.Error(err)
		}
	})
	return "grpc://" + server.Addr().String()
}

// terminal runs command lines against one server.
type terminal struct {
	t     *testing.T
	uri   string
	stdin string
	// answers makes standard input a terminal.
	answers bool
}

// run gives exit code, standard output and standard error.
func (c terminal) run(args ...string) (int, string, string) {
	c.t.Helper()
	var out, errs bytes.Buffer
	p := &program{
		stdin: strings.NewReader(c.stdin), stdout: &out, stderr: &errs,
		environment: []string{"HEADRACE_URI=" + c.uri}, stdinTerminal: c.answers,
	}
	code := p.run(c.t.Context(), args)
	return code, out.String(), errs.String()
}

// must runs a command line that must not fail, and gives standard output.
func (c terminal) must(args ...string) string {
	c.t.Helper()
	code, out, errs := c.run(args...)
	if code != exitDone {
		c.t.Fatalf("headrace %s: exit code %d\n%s", strings.Join(args, " "), code, errs)
	}
	return out
}

// process is the program in a process of its own.
type process struct {
	*exec.Cmd
	lines chan string // of standard output
	errs  bytes.Buffer
}

// startProcess starts the program; the test waits for it.
func startProcess(t *testing.T, environment []string, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.Command(self, args...), lines: make(chan string, 1000)}
	p.Env = append(append(os.Environ(), mainVariable+"=1"), environment...)
	p.Stderr = &p.errs
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(p.lines)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			p.lines <- lines.Text()
		}
	})
	t.Cleanup(func() {
		_ = p.Process.Kill() // it may have ended
		for range p.lines {
			continue
		}
		reading.Wait()
		_ = p.Wait()
	})
	return p
}

// code waits for the end and gives the exit code.
func (p *process) code() int {
	for range p.lines {
		continue
	}
	_ = p.Wait()
	return p.ProcessState.ExitCode()
}

// freeAddress gives an address where nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// brokenPipe fails as a pipe does whose reader is gone, after some bytes.
type brokenPipe struct{ left int }

// Write implements io.Writer.
func (b *brokenPipe) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(p), nil
}
