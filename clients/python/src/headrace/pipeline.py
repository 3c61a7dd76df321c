"""The exactly-once pipeline behind a writer: queue, sender thread, acknowledgements, resending.

One thread, the sender, owns the stream: it forms batches, numbers them, sends them, and opens the
stream again after a cut, with every batch that was not acknowledged under the same number. The
server recognises numbers that it has stored. A second thread a stream takes acknowledgements. Both
share the state with callers under one lock; each bound on memory is one on `held` bytes.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa

from headrace._flight import Connection, PutStream, encode
from headrace.errors import ClosedError, Error, Internal
from headrace.position import Position
from headrace.retry import Retry, cut, timed_out

IDLE_SECONDS: Final = 1.0
"""A stream without traffic is closed after this time, so that it holds nothing on the server."""


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What became of rows that were written.

    Attributes:
        rows: how many were stored.
        position: behind the last of them; a read that starts here sees what comes after.
    """

    rows: int
    position: Position


@dataclass(frozen=True, kw_only=True, slots=True)
class PipelineOptions:
    """How a pipeline batches and how much it holds; see `Table.writer`."""

    batch_rows: int = 8192
    batch_bytes: int = 1 << 20
    linger: float = 0.01
    buffer_bytes: int = 64 << 20
    timeout: float = 30.0

    def __post_init__(self) -> None:
        """Refuse values out of range, all in one error."""
        faults = [
            f"{name} is {getattr(self, name)}, want {want}"
            for name, good, want in (
                ("batch_rows", self.batch_rows >= 1, "1 or more"),
                ("batch_bytes", self.batch_bytes >= 1, "1 or more"),
                ("linger", self.linger >= 0, "0 or more seconds"),
                ("buffer_bytes", self.buffer_bytes >= 1, "1 or more"),
                ("timeout", self.timeout > 0, "more than 0 seconds"),
            )
            if not good
        ]
        if faults:
            raise ValueError("; ".join(faults))


@dataclass(slots=True)
class _Receipt:
    """Counts the pieces of one write down until all are acknowledged."""

    future: Future[WriteResult]
    pieces: int = 0
    rows: int = 0
    complete: bool = False  # no more pieces follow
    ends: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Piece:
    batch: pa.RecordBatch
    receipt: _Receipt
    bytes: int


@dataclass(frozen=True, slots=True)
class _Numbered:
    """A batch as it is sent: it keeps its number in every retry."""

    seq: int
    batch: pa.RecordBatch
    pieces: tuple[_Piece, ...]
    bytes: int


class Pipeline:
    """Sends batches of one producer to one table. Safe for many threads."""

    def __init__(
        self,
        connection: Connection,
        command: dict[str, Any],
        *,
        table_id: str | None,
        options: PipelineOptions,
    ) -> None:
        """Start the sender; `command` is the body of `put`, with producer and epoch."""
        self._connection, self._command, self._options = connection, command, options
        self._name = str(command["table"])
        self._table_id = table_id
        self._process = os.getpid()
        self._retry = Retry(options.timeout)
        self._stopped = threading.Event()  # cuts waits between retries short

        self._lock = threading.Lock()
        # Guarded by _lock, to the blank line.
        self._work = threading.Condition(self._lock)  # for the sender
        self._room = threading.Condition(self._lock)  # for callers
        self._queue: deque[_Piece] = deque()
        self._queue_rows = self._queue_bytes = 0
        self._queue_since = 0.0
        self._sent: deque[_Numbered] = deque()  # numbered, not acknowledged
        self._cursor = 0  # how many of _sent are on the open stream
        self._held = 0  # bytes in _queue and _sent
        self._pieces_in = self._pieces_taken = self._pieces_acked = self._flush_to = 0
        self._next_seq = 0
        self._rows = 0
        self._ends: dict[int, int] = {}
        self._ended = False  # the open stream gives no more acknowledgements
        self._acked_since_open = False
        self._closing = False
        self._error: Error | None = None

        self._stream: PutStream | None = None  # the sender's own
        self._stream_schema = pa.schema([])
        self._acks: threading.Thread | None = None
        self._sender = threading.Thread(
            target=self._run, name=f"headrace-write-{self._name}", daemon=True
        )
        self._sender.start()

    # Callers ---------------------------------------------------------------------------------

    @property
    def usable(self) -> bool:
        """Whether more can be written."""
        with self._lock:
            return self._error is None and not self._closing

    @property
    def error(self) -> Error | None:
        """What ended the pipeline, if anything did."""
        with self._lock:
            return self._error

    def put(self, batches: Iterable[pa.RecordBatch]) -> Future[WriteResult]:
        """Queue batches; waits while more than `buffer_bytes` are not acknowledged.

        Raises:
            Error: an earlier batch failed, or the pipeline is closed.
        """
        self.check()
        receipt = _Receipt(Future())
        receipt.future.set_running_or_notify_cancel()  # what is queued cannot be taken back
        for batch in batches:
            self._enqueue(_Piece(batch, receipt, batch.nbytes))
        with self._lock:
            receipt.complete = True
            done = receipt.pieces == 0
        if done:
            self._resolve([receipt])
        return receipt.future

    def flush(self, timeout: float | None = None) -> WriteResult:
        """Send what is queued and wait until it is acknowledged.

        Gives the rows and the position of everything since the pipeline was opened.
        """
        self.check_process()
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            target = self._flush_to = max(self._flush_to, self._pieces_in)
            self._work.notify()
            while self._pieces_acked < target and self._error is None:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise timed_out(f"flush of {self._name}", timeout)
                self._room.wait(left)
            if self._error is not None:
                raise self._error
            return WriteResult(self._rows, Position(self._ends, self._table_id))

    def flush_soon(self) -> None:
        """Send what is queued without waiting for `linger`."""
        with self._lock:
            self._flush_to = max(self._flush_to, self._pieces_in)
            self._work.notify()

    def close(self, timeout: float | None = None) -> None:
        """Flush, then end the stream and the threads. Does not raise: see `error`.

        What is not acknowledged after `timeout` seconds is given up.
        """
        if os.getpid() != self._process:
            return
        with self._lock:
            self._closing = True
            self._work.notify()
            self._room.notify_all()
        if threading.current_thread() is not self._sender:
            self._sender.join(timeout)
            if self._sender.is_alive():
                self._stopped.set()
                self._fail(timed_out(f"close of the writer of {self._name}", timeout))

    def check_process(self) -> None:
        """Refuse use in a forked child, where the threads do not exist."""
        if os.getpid() != self._process:
            raise ClosedError(
                f"the writer of {self._name} was opened before this process was forked; "
                "open one in the child, on a connection of its own"
            )

    def check(self) -> None:
        """Raise what makes the pipeline unusable, if anything does."""
        self.check_process()
        with self._lock:
            self._raise_if_unusable()

    def _raise_if_unusable(self) -> None:
        if self._error is not None:
            raise self._error
        if self._closing:
            raise ClosedError(f"the writer of {self._name} is closed")

    def _enqueue(self, piece: _Piece) -> None:
        with self._lock:
            while self._held and self._held + piece.bytes > self._options.buffer_bytes:
                self._raise_if_unusable()
                self._room.wait()
            self._raise_if_unusable()
            if not self._queue:
                self._queue_since = time.monotonic()
            self._queue.append(piece)
            self._queue_rows += piece.batch.num_rows
            self._queue_bytes += piece.bytes
            self._held += piece.bytes
            self._pieces_in += 1
            piece.receipt.pieces += 1
            piece.receipt.rows += piece.batch.num_rows
            if len(self._queue) == 1 or self._queue_is_full():
                self._work.notify()

    # Sender thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while (item := self._next()) is not None:
                self._send(item)
        except Error as error:
            self._fail(error)
        except BaseException as cause:  # noqa: BLE001 — callers must not wait for a dead thread
            self._fail(Internal(f"the writer of {self._name} failed: {cause!r}"))
        finally:
            with contextlib.suppress(Error):  # everything is acknowledged, or _fail has told
                self._end_stream()

    def _next(self) -> _Numbered | None:
        """Wait for the next batch to send; None when the pipeline is closed and all is stored."""
        while True:
            with self._lock:
                step = self._wait()
            if step is None:
                return None
            try:
                step()
            except Error as error:
                self._reopen(error)
            with self._lock:
                if self._cursor < len(self._sent):
                    return self._sent[self._cursor]

    def _wait(self) -> Callable[[], None] | None:
        """Wait, under the lock, until there is a step to take; None: the pipeline is done."""
        while True:
            if self._error is not None:
                return None
            now = time.monotonic()
            if self._cursor < len(self._sent):
                return _nothing
            if self._ended:
                return self._end_stream
            if self._queue and self._queue_is_due(now):
                return self._form_batch
            if self._closing and not self._queue and not self._sent:
                return None
            idle = not self._queue and not self._sent and self._stream is not None
            if self._queue:
                self._work.wait(self._queue_since + self._options.linger - now)
            elif idle and not self._work.wait(IDLE_SECONDS):
                return self._end_stream
            elif not idle:
                self._work.wait()

    def _queue_is_full(self) -> bool:
        return (
            self._queue_rows >= self._options.batch_rows
            or self._queue_bytes >= self._options.batch_bytes
        )

    def _queue_is_due(self, now: float) -> bool:
        return (
            self._queue_is_full()
            or self._closing
            or self._pieces_taken < self._flush_to
            or self._held >= self._options.buffer_bytes
            or now >= self._queue_since + self._options.linger
        )

    def _form_batch(self) -> None:
        """Make one numbered batch of the pieces at the head of the queue."""
        with self._lock:
            pieces = [self._queue.popleft()]
            rows, size = pieces[0].batch.num_rows, pieces[0].bytes
            while (
                self._queue
                and rows + self._queue[0].batch.num_rows <= self._options.batch_rows
                and size + self._queue[0].bytes <= self._options.batch_bytes
                and self._queue[0].batch.schema.equals(pieces[0].batch.schema)
            ):
                pieces.append(self._queue.popleft())
                rows, size = rows + pieces[-1].batch.num_rows, size + pieces[-1].bytes
            self._queue_rows -= rows
            self._queue_bytes -= size
            self._pieces_taken += len(pieces)
        batch = _joined([piece.batch for piece in pieces])
        with self._lock:
            self._sent.append(_Numbered(self._next_seq, batch, tuple(pieces), size))
            self._next_seq += 1
            error = self._error
        if error is not None:  # given up meanwhile, by a close that took too long
            self._fail(error)

    def _send(self, item: _Numbered) -> None:
        try:
            stream = self._stream_for(item.batch.schema)
            with self._lock:
                self._cursor += 1  # before the send: the acknowledgement may overtake us
            stream.send(item.batch, encode({"seq": item.seq}))
        except Error as error:
            self._reopen(error)

    def _stream_for(self, schema: pa.Schema) -> PutStream:
        """Give the open stream if it has this schema, else open one that has."""
        if self._stream is not None and schema.equals(self._stream_schema):
            return self._stream
        self._end_stream()
        with self._lock:
            self._ended = False
            self._acked_since_open = False
        stream = self._connection.put({"put": self._command}, schema)
        self._stream, self._stream_schema = stream, schema
        self._acks = threading.Thread(
            target=self._take_acks,
            args=(stream,),
            name=f"headrace-acks-{self._name}",
            daemon=True,
        )
        self._acks.start()
        return stream

    def _end_stream(self) -> None:
        """Close the stream; afterwards, what was not acknowledged is to be sent again.

        Raises:
            Error: the stream failed, or ended before it acknowledged everything.
        """
        stream, self._stream = self._stream, None
        if stream is None:
            return
        stream.done()
        if self._acks is not None:
            self._acks.join()
        error = stream.finish()
        with self._lock:
            self._ended = False
            unacknowledged, self._cursor = self._cursor, 0
        if error is not None:
            raise error
        if unacknowledged:
            raise cut(f"writes to {self._name}")

    def _reopen(self, error: Error) -> None:
        """Prepare another try after an error of the stream.

        Raises:
            Error: another try makes no sense, or the time is over.
        """
        try:
            self._end_stream()
        except Error as final:
            # The status of the call says more than the send that failed because of it.
            error = final
        with self._lock:
            self._cursor = 0
            idle = not self._sent and not self._queue
            if idle or self._acked_since_open:
                self._retry.progress()
            self._acked_since_open = False
        if error.retriable or not idle:  # an idle stream's end hurts nobody; the next open tells
            self._retry.pause(error, self._stopped)

    def _fail(self, error: Error) -> None:
        with self._lock:
            self._error = self._error or error
            lost = {id(p.receipt): p.receipt for item in self._sent for p in item.pieces}
            lost.update({id(p.receipt): p.receipt for p in self._queue})
            self._sent.clear()
            self._queue.clear()
            self._cursor = self._held = self._queue_rows = self._queue_bytes = 0
            self._room.notify_all()
            self._work.notify()
        for receipt in lost.values():
            if not receipt.future.done():
                receipt.future.set_exception(error)

    # Acknowledgement thread ------------------------------------------------------------------

    def _take_acks(self, stream: PutStream) -> None:
        try:
            while (ack := stream.read_ack()) is not None:
                self._acknowledge(ack)
        finally:
            with self._lock:
                self._ended = True
                self._work.notify()

    def _acknowledge(self, ack: dict[str, Any]) -> None:
        ends = {int(b): int(r[1]) for b, r in (ack.get("offsets") or {}).items()}
        finished: list[_Receipt] = []
        with self._lock:
            self._acked_since_open = True
            while self._sent and self._cursor and self._sent[0].seq <= int(ack["seq"]):
                item = self._sent.popleft()
                self._cursor -= 1
                self._held -= item.bytes
                self._rows += item.batch.num_rows
                self._pieces_acked += len(item.pieces)
                for piece in item.pieces:
                    receipt = piece.receipt
                    receipt.pieces -= 1
                    _raise_ends(receipt.ends, ends)
                    if receipt.pieces == 0 and receipt.complete:
                        finished.append(receipt)
            _raise_ends(self._ends, ends)
            self._room.notify_all()
            if not self._sent:
                self._work.notify()
        self._resolve(finished)

    def _resolve(self, receipts: list[_Receipt]) -> None:
        for receipt in receipts:
            position = Position(receipt.ends, self._table_id)
            receipt.future.set_result(WriteResult(receipt.rows, position))


def _raise_ends(ends: dict[int, int], later: dict[int, int]) -> None:
    for bucket, end in later.items():
        ends[bucket] = max(end, ends.get(bucket, 0))


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    table = pa.Table.from_batches(batches).combine_chunks()
    joined: pa.RecordBatch = table.to_batches()[0]
    return joined


def _nothing() -> None:
    """The step of a batch that is ready to be sent again."""
