package flightsrv

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strconv"
	"time"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/headrace/headrace/internal/model"
)

const (
	// errorTrailer carries an error's details as JSON, for clients that cannot read
	// grpc-status-details-bin.
	errorTrailer = "headrace-error"
	errorDomain  = "headrace"
	// Clients take 8 KB of trailers at least. Text and details go into two of them, partly in base64
	// or percent-encoded, and must fit together.
	errorTextMax    = 1200
	errorDetailsMax = 800
	retryDelay      = time.Second
)

// codesByName are the gRPC codes by the names that model uses.
var codesByName = map[string]codes.Code{
	"CANCELLED": codes.Canceled, "INVALID_ARGUMENT": codes.InvalidArgument, "DEADLINE_EXCEEDED": codes.DeadlineExceeded,
	"NOT_FOUND": codes.NotFound, "ALREADY_EXISTS": codes.AlreadyExists, "PERMISSION_DENIED": codes.PermissionDenied,
	"RESOURCE_EXHAUSTED": codes.ResourceExhausted, "FAILED_PRECONDITION": codes.FailedPrecondition,
	"ABORTED": codes.Aborted, "OUT_OF_RANGE": codes.OutOfRange, "UNIMPLEMENTED": codes.Unimplemented,
	"INTERNAL": codes.Internal, "UNAVAILABLE": codes.Unavailable, "DATA_LOSS": codes.DataLoss,
	"UNAUTHENTICATED": codes.Unauthenticated,
}

// errorWriter turns the errors of handlers into what clients see.
type errorWriter struct{ logger *slog.Logger }

// status gives the gRPC status of err and the value of the trailer, "" for none. What is not meant
// for users is logged under an id that the client gets to see.
func (w errorWriter) status(method string, err error) (*status.Status, string) {
	own, ok := errors.AsType[*model.Error](err)
	switch {
	case ok && own.Reason != model.Internal:
		own = w.presentable(method, own)
	case errors.Is(err, context.Canceled):
		own = model.Errorf(model.Cancelled, "the call was cancelled")
	case errors.Is(err, context.DeadlineExceeded):
		return status.New(codes.DeadlineExceeded, "DEADLINE_EXCEEDED: the call took longer than its deadline."), ""
	default:
		if s, ok := status.FromError(err); ok {
			return s, "" // of grpc itself: a broken stream, a message beyond the limit
		}
		own = w.unexpected(method, err)
	}
	return encodeError(own), errorJSON(own)
}

// presentable logs an error that an operator has to do something about.
func (w errorWriter) presentable(method string, err *model.Error) *model.Error {
	switch err.Reason {
	case model.Corrupt, model.DiskFull, model.ReadOnly:
		w.logger.Error("call failed", "method", method, "error", err, "cause", err.Cause)
	}
	return err
}

// unexpected logs err and gives an error that names only the log entry.
func (w errorWriter) unexpected(method string, err error) *model.Error {
	id := newErrorID()
	cause := err
	if own, ok := errors.AsType[*model.Error](err); ok && own.Cause != nil {
		cause = own.Cause
	}
	w.logger.Error("call failed in an unexpected way", "method", method, "id", id, "error", err, "cause", cause)
	return model.Errorf(model.Internal, "the server failed in an unexpected way, error %s", id).
		WithRemedy("Look for the id in the server's log").With("id", id)
}

// newErrorID gives a random id for an entry of the log.
func newErrorID() string {
	var id [6]byte
	rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}

// recoverInto turns a panic into an error that tells the client nothing but an id.
func (w errorWriter) recoverInto(err *error) {
	if cause := recover(); cause != nil {
		w.logger.Error("panic", "panic", cause, "stack", string(debug.Stack()))
		*err = fmt.Errorf("panic: %v", cause)
	}
}

// encodeError gives the status with its details.
func encodeError(err *model.Error) *status.Status {
	code, ok := codesByName[err.Reason.Code()]
	if !ok {
		code = codes.Internal
	}
	base := status.New(code, clipText(err.Error(), errorTextMax))
	info := &errdetails.ErrorInfo{Reason: string(err.Reason), Domain: errorDomain, Metadata: map[string]string{}}
	size := 0
	for name, value := range err.Details {
		text := detailText(value)
		if size += len(name) + len(text); size > errorDetailsMax {
			break
		}
		info.Metadata[name] = text
	}
	details := []protoadapt.MessageV1{info}
	if err.Reason.Retriable() {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(retryDelay)})
	}
	if detailed, err := base.WithDetails(details...); err == nil {
		return detailed
	}
	return base
}

// detailText gives a string as it is and any other value as JSON.
func detailText(value any) string {
	if text, ok := value.(string); ok {
		return text
	}
	encoded, err := encodeJSON(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(encoded)
}

// errorJSON gives the value of the trailer: {"reason":…,"retriable":…, and the details}, in ASCII.
func errorJSON(err *model.Error) string {
	fixed := appendText([]byte(`{"reason":`), string(err.Reason))
	fixed = append(fixed, `,"retriable":`...)
	fixed = strconv.AppendBool(fixed, err.Reason.Retriable())
	short := string(fixed) + "}"
	if len(err.Details) == 0 {
		return short
	}
	details := make(map[string]any, len(err.Details))
	for name, value := range err.Details {
		if name != "reason" && name != "retriable" {
			details[name] = value
		}
	}
	encoded, encodeErr := encodeJSON(details)
	if encodeErr != nil || len(encoded) > errorDetailsMax || len(encoded) <= 2 {
		return short
	}
	return asciiJSON(append(append(fixed, ','), encoded[1:]...))
}

// asciiJSON escapes what is not ASCII: trailers hold nothing else.
func asciiJSON(text []byte) string {
	ascii := make([]byte, 0, len(text))
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case r < 0x80:
			ascii = append(ascii, byte(r))
		case r < 0x10000:
			ascii = fmt.Appendf(ascii, `\u%04x`, r)
		default:
			r -= 0x10000
			ascii = fmt.Appendf(ascii, `\u%04x\u%04x`, 0xD800+r>>10, 0xDC00+r&0x3FF)
		}
		text = text[n:]
	}
	return string(ascii)
}

// trailerOf gives the trailer with value; nil for "".
func trailerOf(value string) metadata.MD {
	if value == "" {
		return nil
	}
	return metadata.Pairs(errorTrailer, value)
}
