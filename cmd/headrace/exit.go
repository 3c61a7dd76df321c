package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The exit codes.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// usageError is an error in the command line itself.
type usageError struct{ error }

// Unwrap gives the error inside.
func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errReported ends a command that has told its findings and failed.
var errReported = errors.New("already reported")

// finish prints an error, once, and gives the exit code.
func (p *program) finish(err error) int {
	_, usage := errors.AsType[usageError](err)
	switch {
	case err == nil || isClosedPipe(err):
		return exitDone
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	case errors.Is(err, errReported):
		return exitFailed
	case usage:
		p.printError(err)
		p.note("Try headrace help, or --help behind a command.")
		return exitUsage
	}
	p.printError(err)
	return exitFailed
}

// isClosedPipe says that the reader of the output went away: "headrace scan t | head" is no failure.
func isClosedPipe(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe)
}

// reasonPattern begins the texts that are meant for users.
var reasonPattern = regexp.MustCompile(`^[A-Z][A-Z_]+: `)

func (p *program) printError(err error) {
	text := err.Error()
	if !reasonPattern.MatchString(text) {
		text = "error: " + text
	}
	fmt.Fprintln(p.stderr, text)
}

// note tells something beside the result, unless --quiet is given.
func (p *program) note(format string, args ...any) {
	if !p.quiet {
		fmt.Fprintf(p.stderr, format+"\n", args...)
	}
}

// remoteError is what the user sees of an error of a call to the server at uri.
func remoteError(ctx context.Context, uri string, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	if reasonPattern.MatchString(s.Message()) {
		return &serverError{code: s.Code(), text: s.Message()}
	}
	if s.Code() == codes.Unavailable {
		return &serverError{code: s.Code(), text: connectionText(uri, connectionDetail(s.Message()))}
	}
	return &serverError{code: s.Code(), text: fmt.Sprintf("%s: %s", s.Code(), s.Message())}
}

// serverError is an error that the server gave, or the way to it.
type serverError struct {
	code codes.Code
	text string
}

// Error implements error.
func (e *serverError) Error() string { return e.text }

// reason gives the word before the text, such as "TABLE_NOT_FOUND", or "".
func (e *serverError) reason() string {
	reason, _, found := strings.Cut(e.text, ": ")
	if !found || !reasonPattern.MatchString(e.text) {
		return ""
	}
	return reason
}

func hasReason(err error, reason string) bool {
	e, ok := errors.AsType[*serverError](err)
	return ok && e.reason() == reason
}

// connectionText says why there is no connection, and what to do.
func connectionText(uri, detail string) string {
	switch {
	case strings.Contains(detail, "certificate"):
		return fmt.Sprintf("the certificate of %s is not trusted: %s; name the file of its authority with --tls-ca", uri, detail)
	case strings.Contains(detail, "server preface") || strings.Contains(detail, "handshake"):
		return fmt.Sprintf("no connection to %s: %s; TLS may be on at one end only: grpc:// is without, grpc+tls:// with", uri, detail)
	}
	return fmt.Sprintf("nothing answers at %s; start one: headrace serve (%s)", uri, detail)
}

// connectionDetail takes the cause out of grpc's text about a connection that failed.
func connectionDetail(message string) string {
	_, detail, found := strings.Cut(message, "desc = \"")
	if !found {
		detail = strings.TrimPrefix(message, "connection error: ")
	}
	detail = strings.TrimSuffix(detail, "\"")
	if strings.HasSuffix(detail, "connection refused") {
		return "connection refused"
	}
	return detail
}
