"""The thread behind a subscription: follows a table, reconnects, and queues what arrives."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from headrace._flight import Connection, GetStream, encode
from headrace.errors import Error, Internal
from headrace.position import Position
from headrace.retry import Retry, cut, reopens

QUEUE_BYTES: Final = 16 << 20
"""Bytes that wait for a slow reader; beyond that the server waits, and its memory is bounded."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One batch as it came."""

    batch: pa.RecordBatch
    about: Mapping[str, Any]
    position: Position


class Feed:
    """Follows a table in a thread of its own, from a position on, until it is closed."""

    def __init__(
        self,
        connection: Connection,
        scan: dict[str, Any],
        start: Position,
        hidden: Sequence[str] = (),
    ) -> None:
        """Start to follow; `scan` is the command's body without its bounds.

        The columns `hidden` are taken off.
        """
        self._connection, self._scan, self._hidden = connection, scan, hidden
        self._retry = Retry(connection.address.timeout)
        self._stopped = threading.Event()
        self._position = start  # the thread's own

        self._lock = threading.Lock()
        # Guarded by _lock, to the blank line.
        self._arrived = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._queue: deque[Arrival] = deque()
        self._queue_bytes = 0
        self._stream: GetStream | None = None
        self._error: Error | None = None
        self._nudged = False
        self._seen = start  # behind everything that arrived, rows or not

        self._thread = threading.Thread(
            target=self._run, name=f"headrace-follow-{scan['table']}", daemon=True
        )
        self._thread.start()

    @property
    def usable(self) -> bool:
        """Whether `close` has not been called."""
        return not self._stopped.is_set()

    @property
    def error(self) -> Error | None:
        """Always None: an error is raised by `take`, to whom it concerns."""
        return None

    def take(self, timeout: float | None) -> Arrival | None:
        """Wait for the next batch; None after `timeout` seconds without one, or when closed.

        None also after `nudge`.

        Raises:
            Error: the feed failed, after everything that arrived before was taken.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            while not self._queue:
                if self._error is not None:
                    raise self._error
                if self._stopped.is_set():
                    return None
                left = None if deadline is None else deadline - time.monotonic()
                if self._nudged or (left is not None and left <= 0):
                    self._nudged = False
                    return None
                self._arrived.wait(left)
            arrival = self._queue.popleft()
            self._queue_bytes -= arrival.batch.nbytes
            self._room.notify()
            return arrival

    def nudge(self) -> None:
        """Make a `take` that waits, or the next one that would, return at once."""
        with self._lock:
            self._nudged = True
            self._arrived.notify_all()

    def seen(self) -> Position | None:
        """Behind everything that the server went through, if no batch waits to be taken."""
        with self._lock:
            return None if self._queue else self._seen

    def close(self, timeout: float | None = None) -> None:
        """End the stream and the thread."""
        self._stopped.set()
        with self._lock:
            stream = self._stream
            self._queue.clear()
            self._arrived.notify_all()
            self._room.notify_all()
        if stream is not None:
            stream.cancel()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout)

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                try:
                    self._follow()
                except Error as error:  # noqa: PERF203
                    if self._stopped.is_set():
                        return
                    if not reopens(error):
                        raise
                    self._retry.pause(error if error.retriable else cut(str(error)), self._stopped)
        except Error as error:
            self._fail(error)
        except BaseException as cause:  # noqa: BLE001 — the reader must not wait for a dead thread
            self._fail(Internal(f"the subscription to {self._scan['table']} failed: {cause!r}"))

    def _follow(self) -> None:
        """Read one stream until it ends; returns where it is to be opened again."""
        body = {**self._scan, "from": self._position.to_dict(), "to": "never"}
        stream = self._connection.get(encode({"scan": body}))
        with self._lock:
            self._stream = stream
            stopped = self._stopped.is_set()
        if stopped:
            stream.cancel()
        while (message := stream.read()) is not None:
            batch, about = message
            if "end" in about:
                self._advance(about.get("position"))
                if about["end"] == "schema_changed":
                    self._retry.progress()
                    return
                raise cut(f"{self._scan['table']} ({about['end']})")
            if "next" in about:
                self._retry.progress()
                offsets = {int(about["bucket"]): int(about["next"])}
                self._position = self._position.merged(offsets)
                if batch is None or not batch.num_rows:
                    with self._lock:
                        self._seen = self._position
            if batch is not None and batch.num_rows:
                if self._hidden:
                    shown = [n for n in batch.schema.names if n not in self._hidden]
                    batch = batch.select(shown)
                self._queue_up(Arrival(batch, about, self._position))
        raise cut(str(self._scan["table"]))

    def _advance(self, position: Any) -> None:
        if isinstance(position, dict):
            self._position = self._position.merged(Position.from_dict(position).offsets)

    def _queue_up(self, arrival: Arrival) -> None:
        with self._lock:
            while self._queue_bytes > QUEUE_BYTES and not self._stopped.is_set():
                self._room.wait()
            if not self._stopped.is_set():
                self._queue.append(arrival)
                self._seen = arrival.position
                self._queue_bytes += arrival.batch.nbytes
                self._arrived.notify()

    def _fail(self, error: Error) -> None:
        with self._lock:
            self._error = error
            self._arrived.notify_all()
