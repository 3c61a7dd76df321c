"""What a subscription reads: a feed that is replaced when its buckets or its place change."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from typing import Any

from headrace._flight import Connection
from headrace.feed import Arrival, Feed
from headrace.position import Position


class Reading:
    """Owns the feed of a subscription. `open` and `stop` are for one thread at a time."""

    def __init__(
        self, connection: Connection, scan: dict[str, Any], hidden: Sequence[str] = ()
    ) -> None:
        """Read nothing yet; `scan` is the command's body without its bounds."""
        self._connection, self._scan, self._hidden = connection, scan, hidden
        self._lock = threading.Lock()
        # Guarded by _lock, to the blank line.
        self._feed: Feed | None = None
        self._closed = False

        self._woken = threading.Event()

    @property
    def table(self) -> str:
        """The table's name."""
        return str(self._scan["table"])

    @property
    def patience(self) -> float:
        """Seconds that closing may take."""
        return self._connection.address.timeout

    @property
    def closed(self) -> bool:
        """Whether nothing will come any more: it was closed, or the connection was."""
        with self._lock:
            feed, closed = self._feed, self._closed
        return closed or self._connection.closed or (feed is not None and not feed.usable)

    def open(self, start: Position, buckets: Collection[int] | None = None) -> None:
        """Read on from a position, in place of what was read before.

        Args:
            start: where.
            buckets: which; None: all, also those that come later. No bucket: nothing is read.
        """
        self.stop()
        if buckets is not None and not buckets:
            return
        scan = self._scan if buckets is None else {**self._scan, "buckets": sorted(buckets)}
        feed = Feed(self._connection, scan, start, self._hidden)
        self._connection.children.add(feed)
        with self._lock:
            closed = self._closed
            if not closed:
                self._feed = feed
        if closed:
            feed.close()

    def stop(self) -> None:
        """Read nothing; what has arrived and was not taken is thrown away."""
        with self._lock:
            feed, self._feed = self._feed, None
        if feed is not None:
            feed.close(self._connection.address.timeout)

    def take(self, timeout: float | None) -> Arrival | None:
        """Wait for the next batch; None after `timeout` seconds, a `nudge`, or when closed.

        Raises:
            Error: the feed failed, after everything that arrived before was taken.
        """
        with self._lock:
            feed, closed = self._feed, self._closed
        if feed is not None:
            return feed.take(timeout)
        if not closed:
            self._woken.wait(timeout)
            self._woken.clear()
        return None

    def seen(self) -> Position | None:
        """Behind everything that the server went through, if no batch waits to be taken."""
        with self._lock:
            feed = self._feed
        return None if feed is None else feed.seen()

    def nudge(self) -> None:
        """Make a `take` that waits return at once."""
        with self._lock:
            feed = self._feed
        if feed is not None:
            feed.nudge()
        self._woken.set()

    def close(self, timeout: float | None = None) -> None:
        """End it for good."""
        with self._lock:
            self._closed = True
            feed = self._feed
        self._woken.set()
        if feed is not None:
            feed.close(timeout)
