"""A membership of a consumer group: heartbeats in a thread of its own, commits, and new shares."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from headrace._flight import Connection
from headrace.errors import Error, Internal, MemberFenced, TableReplaced
from headrace.position import Position
from headrace.retry import Retry

_BEAT: Final = 3.0
_BEAT_AND_COMMIT: Final = 1.0
_BEAT_WHILE_WAITING: Final = 0.2
"""Seconds between heartbeats at most: they also carry news, and what is done so far."""

_PATIENCE: Final = 300.0
"""Seconds that a loop body may hold up a new generation, before its member lets its session end."""


@dataclass(frozen=True, slots=True)
class Share:
    """What a member reads.

    Attributes:
        generation: of the group.
        buckets: those that it reads.
        position: of the group in them.
        waits: whether others have to give up buckets before it gets the rest.
        anew: whether the member has joined anew, so that nothing from before counts.
    """

    generation: int
    buckets: frozenset[int]
    position: Position
    waits: bool
    anew: bool = False

    @classmethod
    def from_dict(cls, body: Mapping[str, Any], *, anew: bool = False) -> Share:
        """Read the answer of the server."""
        return cls(
            generation=int(body["generation"]),
            buckets=frozenset(int(b) for b in body.get("buckets") or ()),
            position=Position.from_dict(body.get("position") or {"offsets": {}}),
            waits=bool(body.get("waits")),
            anew=anew,
        )


@dataclass(frozen=True, kw_only=True)
class MemberOptions:
    """Who a member is.

    Attributes:
        table: full name of the table.
        table_id: so that another table of the name is not taken for it.
        group: name of the group.
        member: its id; None: made of host, process and chance.
        session: seconds without a heartbeat after which others get its buckets.
        start: where a new group begins, as the server reads it.
        auto: whether what is done is committed in the background.
    """

    table: str
    table_id: str
    group: str
    member: str | None
    session: float
    start: Any
    auto: bool


class Member:
    """Keeps a membership alive, in a thread of its own, until it is closed.

    The reader of rows asks `settle` between two batches; until it does so, it keeps the buckets
    that it has. Calls to the server are made one at a time, so that they name generations in order.
    """

    def __init__(
        self, connection: Connection, options: MemberOptions, nudge: Callable[[], None]
    ) -> None:
        """Join the group; `nudge` wakes the reader when there is something to settle."""
        self._connection, self._options, self._nudge = connection, options, nudge
        self.id = options.member or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._stopped = threading.Event()
        self._wake = threading.Event()
        self._calls = threading.Lock()

        self._lock = threading.Lock()
        # Guarded by _lock, to the blank line.
        self._done: dict[int, int] = {}
        self._offer: Share | None = None
        self._offered = 0.0
        self._fenced = False
        self._error: Error | None = None
        self._share = self._join()
        self._committed = dict(self._share.position.offsets)

        self._thread = threading.Thread(
            target=self._run, name=f"headrace-member-{options.group}", daemon=True
        )
        self._thread.start()

    @property
    def share(self) -> Share:
        """What the member reads now."""
        with self._lock:
            return self._share

    @property
    def usable(self) -> bool:
        """Whether `close` has not been called."""
        return not self._stopped.is_set()

    @property
    def error(self) -> Error | None:
        """Always None: an error is raised by `settle`, to whom it concerns."""
        return None

    def settle(self) -> Share | None:
        """Take a new share, if there is one: the reader has finished what it was given.

        Raises:
            Error: the membership has failed for good.
        """
        with self._lock:
            if self._error is not None:
                raise self._error
            fenced, offer = self._fenced, self._offer
        if fenced:
            return self._rejoin()
        if offer is None:
            return None
        with self._calls:
            if self._options.auto:
                with contextlib.suppress(Error):  # what is not committed is read again
                    self._commit(self._due())
            with self._lock:
                share = self._share = self._offer or offer
                self._offer = None
                self._keep(share)
        self._wake.set()  # the server learns at once that the rest is free
        return share

    def _keep(self, share: Share) -> None:
        """Forget what was done in buckets that are not the member's any more. `_lock` is held."""
        self._done = {b: o for b, o in self._done.items() if b in share.buckets}
        self._committed = dict(share.position.offsets)

    def _rejoin(self) -> Share:
        retry = Retry(self._connection.address.timeout)
        while True:
            try:
                with self._calls:
                    share = self._join(anew=True)
                    with self._lock:
                        self._share, self._offer, self._fenced = share, None, False
                        self._done = {}
                        self._keep(share)
                self._wake.set()
                return share
            except Error as error:  # noqa: PERF203
                retry.pause(error, self._stopped)
                if self._stopped.is_set():
                    raise

    def _join(self, *, anew: bool = False) -> Share:
        options = self._options
        body = self._body() | {"session_ms": int(options.session * 1000), "start": options.start}
        share = Share.from_dict(self._connection.action("JoinGroup", body), anew=anew)
        if options.table_id and share.position.table_id not in (None, options.table_id):
            with contextlib.suppress(Error):
                self._connection.action("LeaveGroup", self._body(share.generation))
            raise TableReplaced(
                f"TABLE_REPLACED: {options.table} is another table than when the subscription "
                "began. Subscribe again.",
                details={"table": options.table},
            )
        return share

    def _body(self, generation: int | None = None) -> dict[str, Any]:
        body: dict[str, Any] = {
            "table": self._options.table,
            "group": self._options.group,
            "member": self.id,
        }
        if generation is not None:
            body["generation"] = generation
        return body

    def done(self, offsets: Mapping[int, int]) -> None:
        """Note what the reader has finished; it is committed in the background."""
        with self._lock:
            self._done.update((b, o) for b, o in offsets.items() if b in self._share.buckets)

    def commit(self, bucket: int | None, position: Position) -> None:
        """Commit what of a position is the member's.

        Args:
            bucket: that of the newest batch, which has to be the member's still; None: any.
            position: behind what is done.

        Raises:
            MemberFenced: the bucket has moved to another member.
        """
        with self._calls:
            share = self.share
            if bucket is not None and bucket not in share.buckets:
                raise MemberFenced(
                    f"MEMBER_FENCED: bucket {bucket} has moved to another member of the group "
                    f"{self._options.group}, which gets the rows again.",
                    details={"group": self._options.group, "bucket": bucket},
                )
            self._commit({b: o for b, o in position.offsets.items() if b in share.buckets})

    def _due(self) -> dict[int, int]:
        """What is done and not committed."""
        with self._lock:
            return {b: o for b, o in self._done.items() if self._committed.get(b) != o}

    def _commit(self, offsets: Mapping[int, int]) -> None:
        """Commit offsets. `_calls` is held."""
        if not offsets:
            return
        generation = self.share.generation
        table_id = self._options.table_id or None
        body = self._body(generation) | {"position": Position(offsets, table_id).to_dict()}
        try:
            answer = self._connection.action("CommitPosition", body)
        except MemberFenced:
            self._wake.set()  # a heartbeat tells what has changed
            raise
        with self._lock:
            self._committed.update(offsets)
        if int(answer.get("generation", generation)) != generation:
            self._wake.set()

    def _run(self) -> None:
        retry = Retry(self._connection.address.timeout)
        while True:
            self._wake.wait(self._interval())
            self._wake.clear()
            if self._stopped.is_set():
                return
            try:
                self._tick()
                retry.progress()
            except Error as error:
                try:
                    retry.pause(error, self._stopped)
                except Error as final:
                    self._fail(final)
                    return
            except BaseException as cause:  # noqa: BLE001 — the reader must hear of it
                self._fail(Internal(f"the membership of {self._options.group} failed: {cause!r}"))
                return

    def _interval(self) -> float:
        beat = _BEAT_AND_COMMIT if self._options.auto else _BEAT
        with self._lock:
            waits = self._share.waits and self._offer is None
        return _BEAT_WHILE_WAITING if waits else min(beat, self._options.session / 3)

    def _tick(self) -> None:
        with self._lock:
            late = self._offer is not None and time.monotonic() - self._offered > _PATIENCE
            if self._fenced or late:
                return
        with self._calls:
            if self._options.auto:
                with contextlib.suppress(MemberFenced):  # the heartbeat tells
                    self._commit(self._due())
            self._beat()

    def _beat(self) -> None:
        """Send a heartbeat and look for news. `_calls` is held."""
        now = self.share
        try:
            answer = self._connection.action("Heartbeat", self._body(now.generation))
        except MemberFenced as error:
            if error.details.get("replaced"):
                raise  # to join again would fence the other, which would join again, and so on
            with self._lock:
                self._fenced = True
            self._nudge()
            return
        share = Share.from_dict(answer)
        with self._lock:
            news = (share.generation, share.buckets) != (now.generation, now.buckets)
            if news:
                if self._offer is None:
                    self._offered = time.monotonic()
                self._offer = share
            else:
                self._share, self._offer = share, None
        if news:
            self._nudge()

    def _fail(self, error: Error) -> None:
        with self._lock:
            self._error = error
        self._nudge()

    def close(self, timeout: float | None = None) -> None:
        """Commit what is done and leave the group, so that others go on at once."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        self._wake.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout)
        with self._calls, contextlib.suppress(Error):
            if self._options.auto:
                with contextlib.suppress(MemberFenced):
                    self._commit(self._due())
            self._connection.action("LeaveGroup", self._body(self.share.generation))
