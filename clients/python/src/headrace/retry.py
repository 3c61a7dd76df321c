"""How long, and how often, a broken stream is opened again."""

from __future__ import annotations

import random
import threading
import time

from headrace.errors import Aborted, Error, StreamCutError, TimedOut

_FIRST_WAIT = 0.05
_LONGEST_WAIT = 1.0


class Retry:
    """Waits between tries, longer each time, and gives up after a time without progress.

    Owned by one thread.
    """

    def __init__(self, timeout: float) -> None:
        """Give up `timeout` seconds after the first failure in a row."""
        self._timeout = timeout
        self._since: float | None = None
        self._wait = _FIRST_WAIT

    def progress(self) -> None:
        """Tell that something worked: the next failure is the first in a row."""
        self._since = None
        self._wait = _FIRST_WAIT

    def pause(self, error: Error, stopped: threading.Event) -> None:
        """Wait before the next try; `stopped` cuts the wait short.

        Raises:
            Error: `error` itself, if another try makes no sense or the time is over.
        """
        if not error.retriable:
            raise error
        now = time.monotonic()
        if self._since is None:
            self._since = now
        elif now - self._since > self._timeout:
            raise error
        # Half of the wait is random, so that many clients do not come back at the same moment.
        stopped.wait(self._wait * random.uniform(0.5, 1.0))
        self._wait = min(2 * self._wait, _LONGEST_WAIT)


def cut(where: str) -> StreamCutError:
    """Make the error of a stream that ended without its end mark."""
    return StreamCutError(f"STREAM_CUT: the stream of {where} ended before its end mark.")


def reopens(error: Error) -> bool:
    """Whether a read that failed with this error can be opened again at its last position."""
    return error.retriable or (isinstance(error, Aborted) and error.reason != "MEMBER_FENCED")


def timed_out(what: str, timeout: float | None) -> TimedOut:
    """Make the error of a wait that took too long."""
    return TimedOut(f"{what} took longer than {timeout:g} s")
