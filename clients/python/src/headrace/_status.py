"""What a call's status says: pyarrow's exceptions turned into the errors of this package."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl

from headrace.errors import Error, TimedOut, Unauthenticated, Unavailable, error_classes, make_error

FAULTS = (fl.FlightError, pa.ArrowException, OSError, KeyError)
"""What pyarrow raises when a call fails; some codes become plain KeyError or OSError."""

_REASON = re.compile(r"\b([A-Z][A-Z_]{3,}[A-Z]): ")
_TAIL = re.compile(r"\.? ?(gRPC client debug context|Client context|Detail): .*\Z", re.DOTALL)
_PREFIX = re.compile(r"\A.{0,80}?, with message: ", re.DOTALL)
_CUT = re.compile(
    r"RST_STREAM|GOAWAY|[Ss]ocket closed|[Cc]onnection (reset|refused)|Broken pipe|Stream removed"
    r"|[Ff]ailed to connect|Transport closed|recvmsg"
)


class Trailer(fl.ClientMiddleware):  # type: ignore[misc, unused-ignore]
    """Keeps the machine-readable error of one call."""

    def __init__(self) -> None:
        super().__init__()
        self.error: bytes | str | None = None

    def received_headers(self, headers: Mapping[str, Any]) -> None:
        """Keep `headrace-error`; called for headers and for trailers."""
        for name, values in headers.items():
            if name.lower() == "headrace-error" and values:
                self.error = values[0]


class TrailerFactory(fl.ClientMiddlewareFactory):  # type: ignore[misc, unused-ignore]
    """Hands each call's `Trailer` to the thread that made the call."""

    def __init__(self) -> None:
        super().__init__()
        self._made = threading.local()

    def start_call(self, info: Any) -> Trailer:
        """Start to watch a call; runs in the caller's thread."""
        self._made.trailer = Trailer()
        trailer: Trailer = self._made.trailer
        return trailer

    def last(self) -> Trailer:
        """Give the watcher of the newest call of this thread."""
        trailer: Trailer | None = getattr(self._made, "trailer", None)
        return trailer or Trailer()


def clean_text(text: str) -> str:
    """Take what gRPC and pyarrow put around a server's message off again.

    Example:
        >>> clean_text("Flight returned not found error, with message: T: x. y. "
        ...            "Client context: OK")
        'T: x. y.'
    """
    text = text.strip("'") if text.startswith("'") else text
    text = _TAIL.sub("", _PREFIX.sub("", text))
    return text.rstrip(". ") + "." if text and text[-1] not in "!?" else text


def translate(cause: BaseException, trailer: bytes | str | None, uri: str) -> Error:
    """Turn what pyarrow raised into an `Error`.

    The trailer `headrace-error` decides; without it the reason at the beginning of the text; and
    without that the class that pyarrow chose by gRPC code.
    """
    if isinstance(cause, Error):
        return cause
    text = clean_text(str(cause))
    if trailer:
        with contextlib.suppress(ValueError, TypeError, AttributeError):
            body = dict(json.loads(trailer))
            reason, retriable = str(body.pop("reason")), bool(body.pop("retriable", False))
            return make_error(text, reason, retriable=retriable, details=body)
    match = _REASON.match(text)
    if match and match[1] in error_classes():
        return make_error(text, match[1])
    return _by_class(cause, text, uri)


@contextlib.contextmanager
def translating(trailer: Callable[[], Trailer], uri: str) -> Iterator[None]:
    """Raise what pyarrow raises inside as an `Error`; `trailer` gives the call's watcher."""
    try:
        yield
    except Error:
        raise
    except FAULTS as cause:
        raise translate(cause, trailer().error, uri) from cause


def _by_class(cause: BaseException, text: str, uri: str) -> Error:
    raw = str(cause)
    if isinstance(cause, fl.FlightUnavailableError) or _CUT.search(raw):
        return Unavailable(f"the connection to {uri} failed: {text}")
    if isinstance(cause, fl.FlightTimedOutError) or "deadline exceeded" in raw.lower():
        return TimedOut(f"{uri} did not answer in time: {text}")
    if isinstance(cause, fl.FlightUnauthenticatedError):
        return Unauthenticated(text)
    for classes, reason in (
        (fl.FlightUnauthorizedError, "PERMISSION_DENIED"),
        (fl.FlightCancelledError, "CANCELLED"),
        (pa.ArrowCancelled, "CANCELLED"),
        (pa.ArrowNotImplementedError, "UNIMPLEMENTED"),
        (KeyError, "NOT_FOUND"),
        (ValueError, "BAD_REQUEST"),
    ):
        if isinstance(cause, classes):
            return make_error(text, reason)
    return make_error(text, "INTERNAL")
