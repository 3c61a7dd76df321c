package model

import (
	"errors"
	"fmt"
	"strings"
)

// Reason is the machine-readable word for what went wrong. It is the one sentinel in the chain of
// every error that a user may see: errors.Is(err, model.TableNotFound) holds for such an error.
type Reason string

// The reasons, in the groups of their gRPC codes. See Code.
const (
	BadRequest      Reason = "BAD_REQUEST"
	SchemaMismatch  Reason = "SCHEMA_MISMATCH"
	ColumnNotFound  Reason = "COLUMN_NOT_FOUND"
	UnsupportedType Reason = "UNSUPPORTED_TYPE"
	BatchTooLarge   Reason = "BATCH_TOO_LARGE"

	TableNotFound     Reason = "TABLE_NOT_FOUND"
	DatabaseNotFound  Reason = "DATABASE_NOT_FOUND"
	PartitionNotFound Reason = "PARTITION_NOT_FOUND"
	IndexNotFound     Reason = "INDEX_NOT_FOUND"
	GroupNotFound     Reason = "GROUP_NOT_FOUND"

	TableAlreadyExists     Reason = "TABLE_ALREADY_EXISTS"
	DatabaseAlreadyExists  Reason = "DATABASE_ALREADY_EXISTS"
	PartitionAlreadyExists Reason = "PARTITION_ALREADY_EXISTS"
	IndexAlreadyExists     Reason = "INDEX_ALREADY_EXISTS"

	OffsetTrimmed   Reason = "OFFSET_TRIMMED"
	OffsetBeyondEnd Reason = "OFFSET_BEYOND_END"
	HistoryTrimmed  Reason = "HISTORY_TRIMMED"

	ProducerFenced Reason = "PRODUCER_FENCED"
	MemberFenced   Reason = "MEMBER_FENCED"
	SchemaChanged  Reason = "SCHEMA_CHANGED"
	PlanExpired    Reason = "PLAN_EXPIRED"

	SequenceGap      Reason = "SEQUENCE_GAP"
	SequenceExpired  Reason = "SEQUENCE_EXPIRED"
	SequenceReused   Reason = "SEQUENCE_REUSED"
	TableReplaced    Reason = "TABLE_REPLACED"
	DeleteRefused    Reason = "DELETE_REFUSED"
	DatabaseNotEmpty Reason = "DATABASE_NOT_EMPTY"

	DiskFull Reason = "DISK_FULL"
	Quota    Reason = "QUOTA"

	Overloaded    Reason = "OVERLOADED"
	Draining      Reason = "DRAINING"
	NoQuorum      Reason = "NO_QUORUM"
	ReadOnly      Reason = "READ_ONLY"
	IndexNotReady Reason = "INDEX_NOT_READY"

	Unauthenticated  Reason = "UNAUTHENTICATED"
	PermissionDenied Reason = "PERMISSION_DENIED"

	Corrupt  Reason = "CORRUPT"
	Internal Reason = "INTERNAL"

	Unimplemented Reason = "UNIMPLEMENTED"
	Cancelled     Reason = "CANCELLED"
)

// Error makes a Reason usable as the sentinel of errors.Is.
func (r Reason) Error() string { return string(r) }

// codes maps each reason to the name of its gRPC code; flightsrv turns the name into the number.
var codes = map[Reason]string{
	BadRequest: "INVALID_ARGUMENT", SchemaMismatch: "INVALID_ARGUMENT", ColumnNotFound: "INVALID_ARGUMENT",
	UnsupportedType: "INVALID_ARGUMENT", BatchTooLarge: "INVALID_ARGUMENT",
	TableNotFound: "NOT_FOUND", DatabaseNotFound: "NOT_FOUND", PartitionNotFound: "NOT_FOUND", IndexNotFound: "NOT_FOUND",
	GroupNotFound:      "NOT_FOUND",
	TableAlreadyExists: "ALREADY_EXISTS", DatabaseAlreadyExists: "ALREADY_EXISTS",
	PartitionAlreadyExists: "ALREADY_EXISTS", IndexAlreadyExists: "ALREADY_EXISTS",
	OffsetTrimmed: "OUT_OF_RANGE", OffsetBeyondEnd: "OUT_OF_RANGE", HistoryTrimmed: "OUT_OF_RANGE",
	ProducerFenced: "ABORTED", MemberFenced: "ABORTED", SchemaChanged: "ABORTED", PlanExpired: "ABORTED",
	SequenceGap: "FAILED_PRECONDITION", SequenceExpired: "FAILED_PRECONDITION", SequenceReused: "FAILED_PRECONDITION",
	TableReplaced: "FAILED_PRECONDITION", DeleteRefused: "FAILED_PRECONDITION", DatabaseNotEmpty: "FAILED_PRECONDITION",
	DiskFull: "RESOURCE_EXHAUSTED", Quota: "RESOURCE_EXHAUSTED",
	Overloaded: "UNAVAILABLE", Draining: "UNAVAILABLE", NoQuorum: "UNAVAILABLE", ReadOnly: "UNAVAILABLE",
	IndexNotReady:   "UNAVAILABLE",
	Unauthenticated: "UNAUTHENTICATED", PermissionDenied: "PERMISSION_DENIED",
	Corrupt: "DATA_LOSS", Internal: "INTERNAL", Unimplemented: "UNIMPLEMENTED", Cancelled: "CANCELLED",
}

// Code is the name of the gRPC status code of r, such as "NOT_FOUND"; "INTERNAL" for an unknown r.
func (r Reason) Code() string {
	if code, ok := codes[r]; ok {
		return code
	}
	return "INTERNAL"
}

// Retriable says that the same request may succeed later, unchanged.
func (r Reason) Retriable() bool {
	switch r {
	case Overloaded, Draining, NoQuorum, IndexNotReady:
		return true
	}
	return false
}

// Reasons lists every reason with its code name: the table of the documentation is checked
// against it.
func Reasons() map[Reason]string {
	all := make(map[Reason]string, len(codes))
	for r, code := range codes {
		all[r] = code
	}
	return all
}

// Error is an error that a user sees. Its text is `REASON: Text. Remedy.`; Details travel beside
// it as machine-readable fields.
type Error struct {
	Reason Reason
	// Text says what is wrong: what was got, what was wanted; no full stop at its end.
	Text string
	// Remedy says what the user can do; no full stop at its end. May be empty.
	Remedy string
	// Details are values by field name, such as "table", "bucket", "earliest". JSON types only.
	Details map[string]any
	// Cause is the error behind this one, kept for logs and errors.Is; users do not see it.
	Cause error
}

// Errorf gives an Error with a formatted text.
func Errorf(reason Reason, format string, args ...any) *Error {
	return &Error{Reason: reason, Text: fmt.Sprintf(format, args...)}
}

// WithRemedy sets what the user can do, and gives e back.
func (e *Error) WithRemedy(format string, args ...any) *Error {
	e.Remedy = fmt.Sprintf(format, args...)
	return e
}

// With adds one machine-readable detail, and gives e back.
func (e *Error) With(name string, value any) *Error {
	if e.Details == nil {
		e.Details = map[string]any{}
	}
	e.Details[name] = value
	return e
}

// WithCause sets the error behind e, and gives e back.
func (e *Error) WithCause(cause error) *Error {
	e.Cause = cause
	return e
}

// Error implements error.
func (e *Error) Error() string {
	text := string(e.Reason) + ": " + e.Text + "."
	switch {
	case strings.HasSuffix(e.Remedy, "?"):
		text += " " + e.Remedy
	case e.Remedy != "":
		text += " " + e.Remedy + "."
	}
	return text
}

// Unwrap makes errors.Is hold for the reason and for the cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Reason}
	}
	return []error{e.Reason, e.Cause}
}

// AsError gives the Error in the chain of err, or one with reason Internal around it.
func AsError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Reason: Internal, Text: "the server failed in an unexpected way", Remedy: "See the server's log", Cause: err}
}
