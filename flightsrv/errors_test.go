package flightsrv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/headrace/headrace/internal/model"
)

func TestErrorsAsClientsSeeThem(t *testing.T) {
	trimmed := model.Errorf(model.OffsetTrimmed, "bucket 0 begins at 500").WithRemedy("Start there").
		With("table", "web.clicks").With("bucket", int32(0)).With("earliest", int64(500))
	for _, c := range []struct {
		err           error
		code          codes.Code
		text, trailer string
	}{
		{trimmed, codes.OutOfRange, "OFFSET_TRIMMED: bucket 0 begins at 500. Start there.",
			`{"reason":"OFFSET_TRIMMED","retriable":false,"bucket":0,"earliest":500,"table":"web.clicks"}`},
		{fmt.Errorf("read: %w", trimmed), codes.OutOfRange, "OFFSET_TRIMMED: bucket 0 begins at 500. Start there.",
			`{"reason":"OFFSET_TRIMMED","retriable":false,"bucket":0,"earliest":500,"table":"web.clicks"}`},
		{model.Errorf(model.Overloaded, "busy"), codes.Unavailable, "OVERLOADED: busy.", `{"reason":"OVERLOADED","retriable":true}`},
		{model.Errorf(model.TableNotFound, "no").With("table", "träg𝄞"), codes.NotFound, "TABLE_NOT_FOUND: no.",
			`{"reason":"TABLE_NOT_FOUND","retriable":false,"table":"tr\u00e4g\ud834\udd1e"}`},
		{fmt.Errorf("wait: %w", context.Canceled), codes.Canceled, "CANCELLED: the call was cancelled.", `{"reason":"CANCELLED","retriable":false}`},
		{context.DeadlineExceeded, codes.DeadlineExceeded, "DEADLINE_EXCEEDED: the call took longer than its deadline.", ""},
		{status.Error(codes.ResourceExhausted, "grpc: too large"), codes.ResourceExhausted, "grpc: too large", ""},
	} {
		s, trailer := errorWriter{slog.New(slog.DiscardHandler)}.status("m", c.err)
		if s.Code() != c.code || s.Message() != c.text || trailer != c.trailer {
			t.Errorf("%v:\n got %s %q %s\nwant %s %q %s", c.err, s.Code(), s.Message(), trailer, c.code, c.text, c.trailer)
		}
		if trailer != "" && !json.Valid([]byte(trailer)) {
			t.Errorf("the trailer is not JSON: %s", trailer)
		}
	}
}

func TestErrorDetails(t *testing.T) {
	err := model.Errorf(model.Draining, "stopping").With("table", "t").With("buckets", []int{1, 2})
	s, _ := errorWriter{slog.New(slog.DiscardHandler)}.status("m", err)
	var info *errdetails.ErrorInfo
	retry := false
	for _, detail := range s.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			info = detail
		case *errdetails.RetryInfo:
			retry = detail.RetryDelay.AsDuration() > 0
		}
	}
	if info == nil || info.Reason != "DRAINING" || info.Domain != "headrace" || info.Metadata["table"] != "t" || info.Metadata["buckets"] != "[1,2]" {
		t.Errorf("info %v", info)
	}
	if !retry {
		t.Error("no RetryInfo on a retriable error")
	}
}

// What nobody foresaw is told to the log, not to the client.
func TestUnexpectedErrorsAreHidden(t *testing.T) {
	for _, err := range []error{
		errors.New("open /var/lib/secret: permission denied"),
		model.Errorf(model.Internal, "text").WithCause(errors.New("open /var/lib/secret")),
	} {
		var log bytes.Buffer
		s, trailer := errorWriter{slog.New(slog.NewTextHandler(&log, nil))}.status("DoGet", err)
		if s.Code() != codes.Internal || strings.Contains(s.Message()+trailer, "secret") {
			t.Errorf("%s %s", s.Message(), trailer)
		}
		var parsed struct{ ID, Reason string }
		if err := json.Unmarshal([]byte(trailer), &parsed); err != nil || parsed.ID == "" || parsed.Reason != "INTERNAL" {
			t.Errorf("trailer %s, %v", trailer, err)
		}
		if !strings.Contains(log.String(), parsed.ID) || !strings.Contains(log.String(), "secret") || !strings.Contains(s.Message(), parsed.ID) {
			t.Errorf("the log has not both id and cause: %s", log.String())
		}
	}
}

// Trailers that are too large would make clients see a broken stream instead of the error.
func TestErrorsStaySmall(t *testing.T) {
	err := model.Errorf(model.SchemaMismatch, "%s", strings.Repeat("column ä is missing; ", 1000)).
		With("huge", strings.Repeat("x", 100_000)).With("table", "t")
	s, trailer := errorWriter{slog.New(slog.DiscardHandler)}.status("m", err)
	if len(s.Message()) > errorTextMax+10 || len(trailer) > 2*errorDetailsMax || !strings.HasPrefix(trailer, `{"reason":"SCHEMA_MISMATCH"`) {
		t.Errorf("message of %d bytes, trailer %d", len(s.Message()), len(trailer))
	}
	size := 0
	for _, detail := range s.Proto().Details {
		size += len(detail.Value)
	}
	if size > 2*errorDetailsMax {
		t.Errorf("details of %d bytes", size)
	}
}

func TestEveryReasonHasItsCode(t *testing.T) {
	for reason, name := range model.Reasons() {
		code, ok := codesByName[name]
		if !ok || code == codes.OK {
			t.Errorf("%s: %s is no gRPC code", reason, name)
		}
	}
}
