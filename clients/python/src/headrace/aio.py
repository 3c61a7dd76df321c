"""The client for asyncio: the same calls, awaited; each waits in a thread, never in the loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

import pyarrow as pa

from headrace import client as _client
from headrace.convert import Rows
from headrace.errors import BadRequest
from headrace.groups import GroupInfo, GroupSubscription
from headrace.keys import Keys
from headrace.pipeline import WriteResult
from headrace.position import Position
from headrace.scan import Scan
from headrace.subscribe import Batch, Subscription
from headrace.table import Table

T = TypeVar("T")

_WAIT_SECONDS = 0.5  # how long a cancelled wait for a batch may go on in its thread


class AsyncDatabase:
    """A connection for asyncio; made by `connect`.

    What is not wrapped here is reached through `sync`, which is safe to use from threads.
    """

    def __init__(self, database: _client.Database, threads: ThreadPoolExecutor) -> None:
        """Take a connection and the threads in which its calls wait."""
        self.sync = database
        self._threads = threads

    async def run(self, call: Callable[[], T]) -> T:
        """Run a call of the plain client in one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def table(self, name: str) -> AsyncTable:
        """Give a table; see `Database.table`."""
        return AsyncTable(self, await self.run(lambda: self.sync.table(name)))

    async def create_table(self, name: str, schema: Any, **options: Any) -> AsyncTable:
        """Make a table; see `Database.create_table`."""
        made = await self.run(lambda: self.sync.create_table(name, schema, **options))
        return AsyncTable(self, made)

    async def tables(self, pattern: str = "") -> list[str]:
        """Give the names of tables; see `Database.tables`."""
        return await self.run(lambda: self.sync.tables(pattern))

    async def drop_table(self, name: str, *, missing_ok: bool = False) -> None:
        """Remove a table; see `Database.drop_table`."""
        await self.run(lambda: self.sync.drop_table(name, missing_ok=missing_ok))

    async def groups(self, pattern: str = "") -> list[GroupInfo]:
        """List consumer groups; see `Database.groups`."""
        return await self.run(lambda: self.sync.groups(pattern))

    async def close(self) -> None:
        """Close the connection and end the threads."""
        try:
            await self.run(self.sync.close)
        finally:
            self._threads.shutdown(wait=False)

    async def __aenter__(self) -> AsyncDatabase:
        """Give the connection itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        await self.close()

    def __repr__(self) -> str:
        """Show where the server is."""
        return f"<headrace.aio {self.sync!r}>"


async def connect(target: Any = None, *, threads: int = 16, **options: Any) -> AsyncDatabase:
    """Connect to a server; takes what `headrace.connect` takes.

    Args:
        target: see `headrace.connect`.
        threads: how many calls may wait at the same time; each open subscription uses one while
            it waits.
        options: see `headrace.connect`.

    Example:
        >>> import asyncio, headrace as hr
        >>> async def main():
        ...     async with await hr.aio.connect(uri) as db:
        ...         table = await db.table("web.clicks")
        ...         return await table.count()
        >>> asyncio.run(main())
        2
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="headrace-aio")
    try:
        database = await asyncio.get_running_loop().run_in_executor(
            pool, lambda: _client.connect(target, **options)
        )
    except BaseException:
        pool.shutdown(wait=False)
        raise
    return AsyncDatabase(database, pool)


class AsyncTable:
    """A table for asyncio; see `headrace.Table`."""

    def __init__(self, database: AsyncDatabase, table: Table) -> None:
        """Take the plain table."""
        self._database = database
        self.sync = table

    @property
    def name(self) -> str:
        """Full name."""
        return self.sync.name

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        return self.sync.schema

    async def append(self, data: Rows) -> WriteResult:
        """Store rows and wait until they are durable; see `Table.append`."""
        return await self._database.run(lambda: self.sync.append(data))

    async def upsert(self, data: Rows, columns: Sequence[str] | None = None) -> WriteResult:
        """Insert or merge rows by key; see `Table.upsert`."""
        return await self._database.run(lambda: self.sync.upsert(data, columns))

    async def delete(self, keys: Keys) -> WriteResult:
        """Delete rows by key; see `Table.delete`."""
        return await self._database.run(lambda: self.sync.delete(keys))

    async def retract(self, data: Rows, columns: Sequence[str]) -> WriteResult:
        """Take values back from sums and products; see `Table.retract`."""
        return await self._database.run(lambda: self.sync.retract(data, columns))

    async def get(self, *key: Any, columns: Sequence[str] | None = None) -> dict[str, Any] | None:
        """Give the row of one key; see `Table.get`."""
        return await self._database.run(lambda: self.sync.get(*key, columns=columns))

    async def lookup(
        self, keys: Keys, columns: Sequence[str] | None = None, **options: Any
    ) -> pa.Table:
        """Give the rows of many keys; see `Table.lookup`."""
        return await self._database.run(lambda: self.sync.lookup(keys, columns, **options))

    async def get_or_insert(self, keys: Keys, columns: Sequence[str] | None = None) -> pa.Table:
        """Give the rows of many keys, made where there are none; see `Table.get_or_insert`."""
        return await self._database.run(lambda: self.sync.get_or_insert(keys, columns))

    def changelog(self, *arguments: Any, **options: Any) -> AsyncScan:
        """Say which changes to read; see `Table.changelog`."""
        return AsyncScan(self._database, lambda: self.sync.changelog(*arguments, **options))

    async def count(self) -> int:
        """Count the rows."""
        return await self._database.run(self.sync.count)

    def scan(self, *arguments: Any, **options: Any) -> AsyncScan:
        """Say what to read; see `Table.scan`."""
        return AsyncScan(self._database, lambda: self.sync.scan(*arguments, **options))

    async def subscribe(self, *arguments: Any, **options: Any) -> AsyncSubscription:
        """Follow the table; see `Table.subscribe`."""
        timeout = options.pop("timeout", None)
        options["timeout"] = _WAIT_SECONDS
        inner = await self._database.run(lambda: self.sync.subscribe(*arguments, **options))
        return AsyncSubscription(self._database, inner, timeout)

    def __repr__(self) -> str:
        """Show the name; rows would need a call that waits."""
        return f"<headrace.aio table {self.name}>"


class AsyncScan:
    """A read for asyncio; see `headrace.Scan`."""

    def __init__(self, database: AsyncDatabase, make: Callable[[], Scan]) -> None:
        """Take how the plain scan is made; it may ask the server for the schema."""
        self._database, self._make = database, make

    async def to_arrow(self) -> pa.Table:
        """Give all rows as one table."""
        return await self._database.run(lambda: self._make().to_arrow())

    async def count(self) -> int:
        """Count the rows."""
        return await self._database.run(lambda: self._make().count())

    async def to_batches(self) -> AsyncIterator[pa.RecordBatch]:
        """Give the rows batch by batch, as they arrive."""
        batches = await self._database.run(lambda: self._make().to_batches())
        while (batch := await self._database.run(lambda: next(batches, None))) is not None:
            yield batch

    def __aiter__(self) -> AsyncIterator[pa.RecordBatch]:
        """Give the rows batch by batch."""
        return self.to_batches()


class AsyncSubscription:
    """New rows for asyncio; see `headrace.Subscription`."""

    def __init__(
        self, database: AsyncDatabase, subscription: Subscription, timeout: float | None
    ) -> None:
        """Take the plain subscription."""
        self._database, self.sync, self._timeout = database, subscription, timeout

    def __aiter__(self) -> AsyncSubscription:
        """Give the subscription itself."""
        return self

    async def __anext__(self) -> Batch:
        """Wait for the next batch; the loop ends after `timeout` seconds without one."""
        loop = asyncio.get_running_loop()
        deadline = None if self._timeout is None else loop.time() + self._timeout
        while self.sync.open and (deadline is None or loop.time() < deadline):
            batch = await self._database.run(lambda: next(self.sync, None))
            if batch is not None:
                return batch
        raise StopAsyncIteration

    async def commit(self, batch: Batch | None = None) -> None:
        """Tell the group that a batch, and all before it, are done; None: all that were given out.

        Raises:
            BadRequest: the subscription is of no group.
        """
        inner = self.sync
        if batch is not None:
            await self._database.run(batch.commit)
        elif isinstance(inner, GroupSubscription):
            await self._database.run(inner.commit)
        else:
            raise BadRequest("the subscription is of no group: save batch.position, or set group=")

    async def seek(self, position: Position | Mapping[int, int]) -> None:
        """Go on at another place; see `Subscription.seek`."""
        await self._database.run(lambda: self.sync.seek(position))

    async def pause(self) -> None:
        """Read nothing until `resume`."""
        await self._database.run(self.sync.pause)

    async def resume(self) -> None:
        """Read on behind the newest batch that was given out."""
        await self._database.run(self.sync.resume)

    async def close(self) -> None:
        """End the subscription."""
        await self._database.run(self.sync.close)

    async def __aenter__(self) -> AsyncSubscription:
        """Give the subscription itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        await self.close()
