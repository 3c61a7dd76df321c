"""Writers: rows in small or large pieces, stored exactly once, also across reconnects."""

from __future__ import annotations

import uuid
import weakref
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, NoReturn, TypeAlias

import pyarrow as pa

from headrace._flight import Connection
from headrace.casting import Caster
from headrace.convert import Limits, Rows, record_batches
from headrace.keys import key_batches
from headrace.pipeline import Pipeline, PipelineOptions, WriteResult
from headrace.retry import timed_out

Mode: TypeAlias = Literal["append", "upsert", "delete"]
"""What becomes of rows: added to a log table, merged into a keyed one by key, or deleted by key."""


@dataclass(frozen=True, slots=True)
class LastBatch:
    """The newest batch that the server holds of a producer, from before this writer was opened.

    Attributes:
        epoch: of the writer that sent it.
        seq: its number, from 0, over all batches of that epoch.
        offsets: where its rows are: first and end offset by bucket.
    """

    epoch: int
    seq: int
    offsets: Mapping[int, tuple[int, int]]

    @classmethod
    def from_dict(cls, body: Mapping[str, Any] | None) -> LastBatch | None:
        """Read `last` of OpenProducer; None if the producer has stored nothing."""
        if not body or int(body.get("seq", -1)) < 0:
            return None
        offsets = {int(b): (int(r[0]), int(r[1])) for b, r in (body.get("offsets") or {}).items()}
        return cls(int(body.get("epoch", 0)), int(body["seq"]), offsets)


class Writer:
    """Writes to one table, pipelined. Made by `Table.writer`; safe for many threads.

    Rows are stored exactly once: when the connection breaks, the writer opens it again and sends
    what was not acknowledged under the same numbers, by which the server knows what it has.

    Example:
        >>> with db["web.clicks"].writer() as w:
        ...     first = w.write([{"user_id": 1, "url": "/a"}])
        ...     second = w.write([{"user_id": 2, "url": "/b"}])
        >>> first.result().rows, second.result().rows
        (1, 1)
    """

    def __init__(
        self,
        connection: Connection,
        table: str,
        *,
        table_id: str | None,
        caster: Caster,
        producer: str | None,
        durability: str | None,
        options: PipelineOptions,
        mode: Mode = "append",
        columns: Sequence[str] | None = None,
    ) -> None:
        """Register the producer with the server and start the sender."""
        self.producer = producer or f"python-{uuid.uuid4().hex}"
        opening = {"table": table, "producer": self.producer, "bump": True}
        state = connection.action("OpenProducer", opening)
        self.epoch = int(state["epoch"])
        self.last = LastBatch.from_dict(state.get("last"))
        self._table, self._caster, self.mode = table, caster, mode
        self._columns = columns
        self._timeout = options.timeout
        self._limits = Limits.of(connection.info.max_batch_rows, connection.info.max_message_bytes)
        command: dict[str, Any] = {"table": table, "mode": mode, "producer": self.producer}
        command["epoch"] = self.epoch
        if columns is not None:
            command["columns"] = list(columns)
        if durability:
            command["durability"] = durability
        self._pipeline = Pipeline(connection, command, table_id=table_id, options=options)
        connection.children.add(self._pipeline)
        self._finalizer = weakref.finalize(self, _release, self._pipeline, options.timeout)

    def write(self, data: Rows) -> Future[WriteResult]:
        """Queue rows; waits only while the writer's buffer is full.

        Data that can be looked at as a whole is checked as a whole before any of it is sent.

        Args:
            data: what `Table.append` takes; in mode `"delete"` keys, as `Table.delete` takes them.

        Returns:
            A future of the rows and their position, done once they are durable.

        Raises:
            SchemaMismatch: the rows do not fit; none of this call is stored.
            Error: an earlier batch failed; this one is not stored.
        """
        return self.put(data, self._caster)

    def put(self, data: Rows, caster: Caster) -> Future[WriteResult]:
        """Write with another caster: that of the caller's view of the table."""
        self._pipeline.check()
        if self.mode == "delete" and self._columns is None:
            data = key_batches(data, list(caster.schema), carry=False)
        batches = record_batches(data, caster, self._limits)
        once = isinstance(data, (pa.RecordBatchReader, Iterator))
        return self._pipeline.put(batches if once else list(batches))

    def flush(self, timeout: float | None = None) -> WriteResult:
        """Send what is queued and wait until all of it is durable.

        Args:
            timeout: seconds to wait at most; None: as long as the writer has not failed.

        Returns:
            Rows and position of everything written so far.

        Raises:
            TimedOut: the time is over; the rows are still being sent.
            Error: a batch failed.
        """
        return self._pipeline.flush(timeout)

    def close(self) -> None:
        """Flush, and end the writer. Closing twice is fine.

        Raises:
            Error: a batch failed.
        """
        self._pipeline.check_process()
        self._pipeline.close()
        self._finalizer.detach()
        error = self._pipeline.error
        if error is not None:
            raise error

    @property
    def usable(self) -> bool:
        """Whether more can be written."""
        return self._pipeline.usable

    def __enter__(self) -> Writer:
        """Give the writer itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close; what was written before an error of the block is sent all the same."""
        if error is None:
            self.close()
        else:
            self._pipeline.close(self._timeout)

    def __reduce__(self) -> NoReturn:
        """Refuse: a writer is a connection with state."""
        raise TypeError("a Writer cannot be pickled; open one where it is used: table.writer()")

    def __repr__(self) -> str:
        """Show table, producer and epoch."""
        return f"<Writer of {self._table}, producer {self.producer!r}, epoch {self.epoch}>"


def _release(pipeline: Pipeline, timeout: float) -> None:
    """Close the pipeline of a writer that nobody holds any more, or at the program's end."""
    pipeline.close(timeout)


def append_once(writer: Writer, data: Rows, caster: Caster, timeout: float) -> WriteResult:
    """Write and wait until the rows are durable."""
    future = writer.put(data, caster)
    writer._pipeline.flush_soon()
    try:
        return future.result(timeout)
    except FutureTimeout as cause:
        if future.done():
            raise
        raise timed_out(writer.mode, timeout) from cause
