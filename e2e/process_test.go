package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	"github.com/headrace/headrace/internal/model"
)

// command runs the binary and gives its exit code and what it wrote.
func command(t testing.TB, arguments ...string) (code int, stdout, stderr string) {
	t.Helper()
	path, err := executable()
	if err != nil {
		t.Fatalf("build the server: %v", err)
	}
	var out, failed bytes.Buffer
	process := exec.Command(path, arguments...)
	process.Stdout, process.Stderr = &out, &failed
	err = process.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatal(err)
	}
	return process.ProcessState.ExitCode(), out.String(), failed.String()
}

// memory reads a line of the process's status, such as RssAnon or VmHWM (the most it has ever had
// resident), in bytes.
func (s *server) memory(line string) int64 {
	s.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.process.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	for candidate := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(candidate, line+":"); found {
			kilobytes, err := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			if err != nil {
				s.t.Fatal(err)
			}
			return kilobytes << 10
		}
	}
	s.t.Fatalf("the status of the process has no line %s", line)
	return 0
}

// eventually waits until a condition holds, and fails the test if it does not within limit.
func eventually(t testing.TB, limit time.Duration, what string, holds func() bool) {
	t.Helper()
	over := time.NewTimer(limit)
	defer over.Stop()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for !holds() {
		select {
		case <-over.C:
			t.Fatalf("after %s, still not: %s", limit, what)
		case <-again.C:
		}
	}
}

// reasonOf gives the reason in the details of an error of a call, "" if it has none.
func reasonOf(err error) model.Reason {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.Domain == "headrace" {
			return model.Reason(info.Reason)
		}
	}
	return ""
}
