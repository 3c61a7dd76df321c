"""Subscriptions: new rows of a table as they are stored, without an end."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any, Final, NoReturn

import pyarrow as pa

from headrace.errors import BadRequest
from headrace.feed import Arrival
from headrace.position import Position
from headrace.reading import Reading

_SLICE: Final = 1.0
"""Seconds that one wait takes at most, before it is looked what else there is to do."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that arrived together; all of one bucket, in order.

    Those of a keyed table are its changes: the column `_change_type` says `+I`, `-U`, `+U` or `-D`.

    Attributes:
        bucket: where they are stored.
        offset: of the first row.
        time: when they were stored, UTC; None if the server does not say.
        position: behind this batch; save it to go on here later: `subscribe(start=position)`.
    """

    bucket: int
    offset: int
    time: datetime | None
    position: Position
    _batch: pa.RecordBatch
    _commit: Callable[[int, Position], None] | None = field(default=None, repr=False, compare=False)

    def commit(self) -> None:
        """Tell the group that this batch, and all that were given out before it, are done.

        It is durable when it returns.

        Raises:
            MemberFenced: its bucket has moved to another member, which gets the rows again.
            BadRequest: the subscription is of no group; save `position` instead.
        """
        if self._commit is None:
            raise BadRequest("the subscription is of no group: save batch.position, or set group=")
        self._commit(self.bucket, self.position)

    def to_arrow(self) -> pa.RecordBatch:
        """Give the rows."""
        return self._batch

    @property
    def num_rows(self) -> int:
        """How many rows there are, 1 or more."""
        rows: int = self._batch.num_rows
        return rows

    def to_pylist(self) -> list[dict[str, Any]]:
        """Give the rows as dicts."""
        rows: list[dict[str, Any]] = self._batch.to_pylist()
        return rows

    def __arrow_c_array__(self, requested_schema: Any = None) -> Any:
        """Give the rows to any library that speaks the Arrow PyCapsule interface."""
        batch: Any = self._batch
        return batch.__arrow_c_array__(requested_schema)

    def __repr__(self) -> str:
        """Show where the rows are."""
        return f"<Batch of {self.num_rows} rows, bucket {self.bucket}, offset {self.offset}>"


class Subscription:
    """An iterator over new rows; made by `Table.subscribe`.

    It goes on after reconnects and restarts of the server without a row lost or doubled. To leave
    a loop is enough to end it; where it is kept in a variable, close it or use `with`.

    Example:
        >>> table = db["web.clicks"]
        >>> with table.subscribe(start="earliest") as subscription:
        ...     first = next(subscription)
        >>> first.bucket, first.offset
        (0, 0)
    """

    def __init__(
        self,
        reading: Reading,
        *,
        start: Position,
        timeout: float | None,
        buckets: Collection[int] | None = None,
    ) -> None:
        """Start to follow at once, in the background."""
        self._reading, self._timeout = reading, timeout
        self._position, self._buckets = start, buckets
        self._paused = False
        reading.open(start, buckets)
        self._finalizer: weakref.finalize[..., Any] = weakref.finalize(
            self, reading.close, reading.patience
        )

    @property
    def position(self) -> Position:
        """Behind the newest batch that was given out."""
        return self._position

    @property
    def open(self) -> bool:
        """Whether it has not been closed."""
        return self._finalizer.alive

    def __iter__(self) -> Subscription:
        """Give the subscription itself."""
        return self

    def __next__(self) -> Batch:
        """Wait for the next batch; the loop ends after `timeout` seconds without one.

        Raises:
            OffsetTrimmed: rows that come next are gone by the table's retention.
            Unavailable: the server could not be reached again in time.
        """
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        while True:
            self._settle()
            if not self.open or self._reading.closed:
                raise StopIteration
            left = _SLICE if deadline is None else min(deadline - time.monotonic(), _SLICE)
            arrival = self._reading.take(max(left, 0.0))
            if arrival is not None:
                return self._give(arrival)
            if deadline is not None and time.monotonic() >= deadline:
                raise StopIteration

    def _settle(self) -> None:
        """Do what is to be done between two batches."""

    def _give(self, arrival: Arrival) -> Batch:
        self._position = arrival.position
        about = arrival.about
        stored = about.get("time")
        return Batch(
            bucket=int(about.get("bucket", 0)),
            offset=int(about.get("offset", 0)),
            time=None if stored is None else parse_time(str(stored)),
            position=arrival.position,
            _batch=arrival.batch,
            _commit=self._committer(),
        )

    def _committer(self) -> Callable[[int, Position], None] | None:
        return None

    def seek(self, position: Position | Mapping[int, int]) -> None:
        """Go on at another place, forward or back; buckets that are not named stay where they are.

        What a group has committed stays: see `Group.reset`.
        """
        offsets = position.offsets if isinstance(position, Position) else Position(position).offsets
        self._position = self._position.merged(self._readable(offsets))
        if not self._paused:
            self._reading.open(self._position, self._buckets)

    def _readable(self, offsets: Mapping[int, int]) -> Mapping[int, int]:
        return offsets

    def pause(self) -> None:
        """Read nothing until `resume`; a membership of a group goes on meanwhile."""
        self._paused = True
        self._reading.stop()

    def resume(self) -> None:
        """Read on behind the newest batch that was given out."""
        if self._paused:
            self._paused = False
            self._reading.open(self._position, self._buckets)

    def close(self) -> None:
        """End the subscription; a loop in another thread ends too. Closing twice is fine."""
        self._finalizer()

    def __enter__(self) -> Subscription:
        """Give the subscription itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def __reduce__(self) -> NoReturn:
        """Refuse: a subscription is a connection with state."""
        raise TypeError(
            "a Subscription cannot be pickled; send its position: subscription.position"
        )

    def __repr__(self) -> str:
        """Show table and position."""
        return f"<Subscription to {self._reading.table} at {self._position.to_json()}>"


def parse_time(text: str) -> datetime:
    """Read an RFC 3339 time; digits below a microsecond are cut.

    Example:
        >>> parse_time("2026-11-21T08:00:00.123456789Z").isoformat()
        '2026-11-21T08:00:00.123456+00:00'
    """
    text = text.removesuffix("Z") + "+00:00" if text.endswith("Z") else text
    head, dot, tail = text.partition(".")
    if dot:
        digits = tail[: len(tail) - len(tail.lstrip("0123456789"))]
        text = f"{head}.{digits[:6]:0<6}{tail[len(digits) :]}"
    return datetime.fromisoformat(text)
