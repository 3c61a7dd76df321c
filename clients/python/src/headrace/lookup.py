"""Lookups: keys go out over streams that stay open, rows come back in the order of the keys."""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pyarrow as pa

from headrace._flight import Connection, ExchangeStream, encode
from headrace.errors import ClosedError, Error
from headrace.retry import Retry, cut

ROWS_PER_BATCH: Final = 16_384
"""Keys that are sent as one batch."""

AHEAD_BYTES: Final = 512 << 10
"""Bytes of keys that are sent before their answers are read. It is below the window of a stream, so
that client and server can never both wait for the other to read."""

IDLE_STREAMS: Final = 8
"""Streams that stay open for the next lookup."""


class _Open:
    """One open stream of lookups of one form."""

    def __init__(
        self, form: tuple[bytes, pa.Schema], stream: ExchangeStream, answers: pa.Schema
    ) -> None:
        self.form, self.stream, self.answers = form, stream, answers


class LookupStreams:
    """The lookup streams of one table. Safe for many threads: each lookup has a stream alone."""

    def __init__(self, connection: Connection, table: str) -> None:
        """Nothing is opened yet."""
        self._connection, self._table = connection, table
        self._process = os.getpid()
        self._lock = threading.Lock()
        # Guarded by _lock, to the blank line.
        self._idle: deque[_Open] = deque()  # the one used last is at the right
        self._closed = False

        connection.children.add(self)
        self._finalizer = weakref.finalize(self, _cancel_all, self._idle)

    @property
    def usable(self) -> bool:
        """Whether `close` has not been called."""
        return not self._closed

    @property
    def error(self) -> Error | None:
        """Always None: errors are raised by `run`, to whom they concern."""
        return None

    def run(self, lookup: dict[str, Any], batches: Sequence[pa.RecordBatch]) -> pa.Table:
        """Look up batches of keys, all of one schema; a broken stream is opened again.

        Args:
            lookup: the command's body.
            batches: at least one.

        Raises:
            Error: the server refused the lookup, or could not be reached in time.
        """
        form = (encode({"lookup": lookup}), batches[0].schema)
        retry = Retry(self._connection.address.timeout)
        while True:
            used: _Open | None = None
            try:
                used = self._take(form) or self._open(lookup, form)
                parts = list(_exchange(used.stream, batches, self._table))
                self._give_back(used)
                return pa.Table.from_batches(parts, used.answers)
            except BaseException as error:
                if used is not None:
                    used.stream.cancel()
                if not isinstance(error, Error) or not error.retriable:
                    raise
                self.close_idle()  # they are as old as the one that broke
                retry.pause(error, threading.Event())

    def close_idle(self) -> None:
        """Close the streams that nobody uses; the next lookup opens one."""
        with self._lock:
            idle = deque(self._idle)
            self._idle.clear()
        _cancel_all(idle)

    def close(self, timeout: float | None = None) -> None:
        """Close all streams that nobody uses, and let none stay open."""
        if os.getpid() != self._process:
            return
        with self._lock:
            self._closed = True
        self.close_idle()

    def _take(self, form: tuple[bytes, pa.Schema]) -> _Open | None:
        if os.getpid() != self._process:
            raise ClosedError(
                f"lookups in {self._table} were begun before this process was forked; "
                "connect in the child"
            )
        with self._lock:
            for one in reversed(self._idle):
                if one.form[0] == form[0] and one.form[1].equals(form[1]):
                    self._idle.remove(one)
                    return one
        return None

    def _open(self, lookup: dict[str, Any], form: tuple[bytes, pa.Schema]) -> _Open:
        stream = self._connection.exchange({"lookup": lookup})
        try:
            return _Open(form, stream, stream.begin(form[1]))
        except BaseException:
            stream.cancel()
            raise

    def _give_back(self, used: _Open) -> None:
        with self._lock:
            keep = not self._closed
            if keep:
                self._idle.append(used)
            oldest = self._idle.popleft() if len(self._idle) > IDLE_STREAMS else None
        if oldest is not None:
            oldest.stream.finish()
        if not keep:
            used.stream.finish()


def _cancel_all(streams: deque[_Open]) -> None:
    for one in streams:
        one.stream.cancel()


def _exchange(
    stream: ExchangeStream, batches: Sequence[pa.RecordBatch], table: str
) -> Iterator[pa.RecordBatch]:
    """Send batches and give the parts of their answers, a few batches behind."""
    ahead: deque[int] = deque()  # bytes of each batch whose answer was not read
    for batch in batches:
        for piece in _pieces(batch):
            while ahead and sum(ahead) + piece.nbytes > AHEAD_BYTES:
                yield from _answer(stream, table)
                ahead.popleft()
            try:
                stream.send(piece)
            except Error as error:
                raise _cause(stream, error) from error
            ahead.append(piece.nbytes)
    for _ in ahead:
        yield from _answer(stream, table)


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Cut a batch; one without rows is sent too, since its answer has the schema."""
    for start in range(0, max(1, batch.num_rows), ROWS_PER_BATCH):
        yield batch.slice(start, ROWS_PER_BATCH)


def _answer(stream: ExchangeStream, table: str) -> Iterator[pa.RecordBatch]:
    """Give the parts of one answer."""
    while True:
        message = stream.read()
        if message is None:
            raise cut(f"lookups in {table}")
        batch, about = message
        yield batch
        if about.get("last", True):
            return


def _cause(stream: ExchangeStream, error: Error) -> Error:
    """Give what ended the stream: the status of the call says more than the send that failed."""
    try:
        while stream.read() is not None:
            pass
    except Error as cause:
        return cause
    return error
