"""Errors of this package: every one is an `Error`, with one class a reason of the server.

A server error carries a reason in capitals, such as `OFFSET_TRIMMED`; its class has the same name
in camel case, `OffsetTrimmed`. A reason that this version does not know becomes a plain `Error`
with that reason, so that a newer server breaks nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar


class Error(Exception):
    """Base of every error that this package raises on purpose.

    Attributes:
        reason: the server's word for what went wrong, such as `"TABLE_NOT_FOUND"`.
        retriable: the same call may succeed later, unchanged.
        details: what the server told beside the text: `table`, `bucket`, `earliest`, …

    Example:
        >>> import headrace as hr
        >>> try:
        ...     db.table("no_such_table")
        ... except hr.Error as error:
        ...     print(error.reason, error.retriable)
        TABLE_NOT_FOUND False
    """

    default_reason: ClassVar[str] = "INTERNAL"
    default_retriable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        retriable: bool | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Take the text as users see it; reason and retriable default to those of the class."""
        super().__init__(message)
        self.reason = self.default_reason if reason is None else reason
        self.retriable = self.default_retriable if retriable is None else retriable
        self.details: dict[str, Any] = dict(details or {})

    def __str__(self) -> str:
        """Give the text alone; KeyError would put it in quotes."""
        return str(self.args[0]) if self.args else ""


class BadRequest(Error, ValueError):
    """The request is not one that the server understands."""

    default_reason = "BAD_REQUEST"


class SchemaMismatch(BadRequest, TypeError):
    """The rows do not fit the table; the text names the column, what came and what is wanted."""

    default_reason = "SCHEMA_MISMATCH"


class ColumnNotFound(BadRequest, KeyError):
    """The table has no such column."""

    default_reason = "COLUMN_NOT_FOUND"


class UnsupportedType(BadRequest):
    """The Arrow type cannot be stored."""

    default_reason = "UNSUPPORTED_TYPE"


class BatchTooLarge(BadRequest):
    """A batch, or a single row, is above the server's limit."""

    default_reason = "BATCH_TOO_LARGE"


class NotFound(Error, KeyError):
    """Base of everything that is not there."""

    default_reason = "NOT_FOUND"


class TableNotFound(NotFound):
    """There is no table of that name; the text names near ones."""

    default_reason = "TABLE_NOT_FOUND"


class DatabaseNotFound(NotFound):
    """There is no database of that name."""

    default_reason = "DATABASE_NOT_FOUND"


class PartitionNotFound(NotFound):
    """The table has no such partition."""

    default_reason = "PARTITION_NOT_FOUND"


class IndexNotFound(NotFound):
    """The table has no such index."""

    default_reason = "INDEX_NOT_FOUND"


class GroupNotFound(NotFound):
    """The table has no consumer group of that name."""

    default_reason = "GROUP_NOT_FOUND"


class AlreadyExists(Error):
    """Base of everything that is there already."""

    default_reason = "ALREADY_EXISTS"


class TableAlreadyExists(AlreadyExists):
    """A table of that name exists; with `exist_ok=True`: its definition is another one."""

    default_reason = "TABLE_ALREADY_EXISTS"


class PartitionAlreadyExists(AlreadyExists):
    """The table has that partition."""

    default_reason = "PARTITION_ALREADY_EXISTS"


class IndexAlreadyExists(AlreadyExists):
    """The table has an index of that name."""

    default_reason = "INDEX_ALREADY_EXISTS"


class DatabaseAlreadyExists(AlreadyExists):
    """A database of that name exists."""

    default_reason = "DATABASE_ALREADY_EXISTS"


class OffsetError(Error):
    """Base of positions that the table cannot serve."""


class OffsetTrimmed(OffsetError):
    """Rows asked for are gone: they were older than the table's retention.

    Attributes:
        earliest: the first offset that is still kept, or None if the server did not say.
    """

    default_reason = "OFFSET_TRIMMED"

    @property
    def earliest(self) -> int | None:
        """The first offset that is still kept in the bucket `details["bucket"]`."""
        value = self.details.get("earliest")
        return None if value is None else int(value)


class OffsetBeyondEnd(OffsetError):
    """The position is behind the last row."""

    default_reason = "OFFSET_BEYOND_END"


class HistoryTrimmed(OffsetError):
    """The point in time asked for is older than the history that is kept."""

    default_reason = "HISTORY_TRIMMED"


class Aborted(Error):
    """Base of streams that must be opened anew."""


class ProducerFenced(Aborted):
    """Another writer was opened with the same producer name; this one must stop."""

    default_reason = "PRODUCER_FENCED"


class MemberFenced(Aborted):
    """This is no member of its group any more, or does not read the bucket any more."""

    default_reason = "MEMBER_FENCED"


class SchemaChanged(Aborted):
    """The table's schema is no longer the one of the stream."""

    default_reason = "SCHEMA_CHANGED"


class PlanExpired(Aborted):
    """The scan was planned too long ago."""

    default_reason = "PLAN_EXPIRED"


class FailedPrecondition(Error):
    """Base of requests that the state of the table does not allow."""


class SequenceGap(FailedPrecondition):
    """A batch before this one is missing on the server."""

    default_reason = "SEQUENCE_GAP"


class SequenceExpired(FailedPrecondition):
    """The server no longer knows the producer, so a retry could be stored twice: it refuses."""

    default_reason = "SEQUENCE_EXPIRED"


class SequenceReused(FailedPrecondition):
    """A batch number came twice with other content."""

    default_reason = "SEQUENCE_REUSED"


class TableReplaced(FailedPrecondition):
    """The position belongs to an earlier table of the same name."""

    default_reason = "TABLE_REPLACED"


class DeleteRefused(FailedPrecondition):
    """The table does not allow deletes."""

    default_reason = "DELETE_REFUSED"


class DatabaseNotEmpty(FailedPrecondition):
    """The database still has tables; drop them, or pass `cascade=True`."""

    default_reason = "DATABASE_NOT_EMPTY"


class ResourceExhausted(Error):
    """Base of limits of the server that are reached."""


class DiskFull(ResourceExhausted):
    """The server's disk is full; reads go on, writes resume when there is space."""

    default_reason = "DISK_FULL"


class Quota(ResourceExhausted):
    """A quota is reached."""

    default_reason = "QUOTA"


class Unavailable(Error, ConnectionError):
    """No server answers, or it cannot take the call now."""

    default_reason = "UNAVAILABLE"
    default_retriable = True


class IndexNotReady(Unavailable):
    """The index is still being built; lookups by it wait for it."""

    default_reason = "INDEX_NOT_READY"


class Overloaded(Unavailable):
    """The server has more work than it takes on."""

    default_reason = "OVERLOADED"


class Draining(Unavailable):
    """The server is about to stop."""

    default_reason = "DRAINING"


class NoQuorum(Unavailable):
    """Too few nodes of the cluster are up."""

    default_reason = "NO_QUORUM"


class ReadOnly(Unavailable):
    """The server has stopped to write, for a reason that its text gives."""

    default_reason = "READ_ONLY"
    default_retriable = False


class StreamCutError(Unavailable):
    """A stream ended before its end mark, and reading on at its last position failed as well."""

    default_reason = "STREAM_CUT"


class TimedOut(Error, TimeoutError):
    """The call took longer than its `timeout`."""

    default_reason = "DEADLINE_EXCEEDED"
    default_retriable = True


class Unauthenticated(Error, PermissionError):
    """The token is missing or wrong."""

    default_reason = "UNAUTHENTICATED"


class PermissionDenied(Error, PermissionError):
    """The token is good, but does not allow this."""

    default_reason = "PERMISSION_DENIED"


class Corrupt(Error):
    """Bytes on the server's disk are not what was written; `details` name the place."""

    default_reason = "CORRUPT"


class Internal(Error):
    """The server failed in a way that it did not expect; its log tells more."""

    default_reason = "INTERNAL"


class Cancelled(Error):
    """The call was cancelled."""

    default_reason = "CANCELLED"


class UnsupportedError(Error, NotImplementedError):
    """This server, or this client, does not have the feature; the text names it."""

    default_reason = "UNIMPLEMENTED"


class BinaryNotFound(Error, FileNotFoundError):
    """There is no headrace binary to start an embedded server with."""

    default_reason = "BINARY_NOT_FOUND"


class ServerStartError(Error):
    """An embedded server did not start; the text ends with what it printed."""

    default_reason = "SERVER_START"


class ClosedError(Error, ValueError):
    """The connection, writer or subscription has been closed."""

    default_reason = "CLOSED"


def _subclasses(base: type[Error]) -> Iterator[type[Error]]:
    for cls in base.__subclasses__():
        yield cls
        yield from _subclasses(cls)


def error_classes() -> dict[str, type[Error]]:
    """Give the class of each reason.

    Example:
        >>> error_classes()["OFFSET_TRIMMED"].__name__
        'OffsetTrimmed'
    """
    return {c.default_reason: c for c in _subclasses(Error) if "default_reason" in vars(c)}


_CLASSES = error_classes()


def make_error(
    message: str,
    reason: str,
    *,
    retriable: bool | None = None,
    details: Mapping[str, Any] | None = None,
) -> Error:
    """Make the error of a reason; a reason without a class of its own gives a plain `Error`.

    Example:
        >>> error = make_error("gone", "OFFSET_TRIMMED", details={"earliest": 500})
        >>> type(error).__name__, error.earliest
        ('OffsetTrimmed', 500)
    """
    cls = _CLASSES.get(reason, Error)
    return cls(message, reason=reason, retriable=retriable, details=details)
