"""Servers for tests of programs that use headrace."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from headrace.client import Database, connect
from headrace.server import Server


class TestServer(Server):
    """A server with a data folder of its own, which is gone with it."""

    __test__ = False  # not a test case, whatever pytest thinks of the name

    def connect(self, **options: Any) -> Database:
        """Connect to it; takes what `headrace.connect` takes."""
        return connect(self.uri, **options)


@contextlib.contextmanager
def server(*arguments: str, data: str | Path | None = None) -> Iterator[TestServer]:
    """Run a server for the length of a block.

    Args:
        arguments: more arguments for `headrace serve`.
        data: folder that keeps the tables; None: a new one, removed at the end.

    Example:
        >>> import headrace as hr
        >>> with hr.testing.server() as server, server.connect() as db:
        ...     table = db.create_table("t", [{"id": 1}])
        ...     table.append([{"id": 1}, {"id": 2}]).rows
        2
    """
    with contextlib.ExitStack() as stack:
        if data is None:
            data = stack.enter_context(tempfile.TemporaryDirectory(prefix="headrace-"))
        running = TestServer(Path(data), *arguments)
        stack.callback(running.stop)
        yield running
