"""Scans: what to read from a table, and the read itself in every form that users ask for."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import pyarrow as pa

from headrace._flight import Connection, GetStream, decode_metadata, encode
from headrace.columns import ColumnPath, as_columns
from headrace.errors import BadRequest, Error, UnsupportedError
from headrace.filters import Filter
from headrace.position import Bound, Position, encode_bound, encode_time
from headrace.retry import Retry, cut, reopens

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import polars as pl

Compression = Literal["stored", "none", "lz4", "zstd"]
"""How columns are sent."""

_COMPRESSIONS: Final = get_args(Compression)
_PLACE_COLUMNS: Final = ("_bucket", "_offset", "_timestamp")


@dataclass(frozen=True, kw_only=True, slots=True)
class ScanSpec:
    """What to read. Immutable: it can be compared, hashed and sent to workers.

    Attributes:
        table: full name.
        columns: names to return, in this order, or tuples of the names that lead to fields of
            structs; None: all; empty: row counts only.
        filter: rows to return: SQL text, or what `Filter.of` gives; None: all.
        start: first row wanted; see `Bound`.
        stop: behind the last row wanted, `"now"` by default.
        at: read the table as it was then; excludes start and stop.
        limit: most rows of the whole scan, after the filter; None: no limit.
        system_columns: add `_bucket`, `_offset` and `_timestamp`.
        buckets: buckets to read; None: all.
        view: what of a keyed table is read: its rows now (None), or its `"changelog"`.
        partitions: values of partition columns, as JSON has them; None: all partitions.
        compression: how columns are sent; None: as they are stored.

    Raises:
        ValueError: a field is out of its range; the message names it.

    Example:
        >>> ScanSpec(table="web.clicks", columns=["url"], limit=10).to_command()
        {'scan': {'table': 'web.clicks', 'columns': ['url'], 'limit': 10}}
    """

    table: str
    columns: Sequence[ColumnPath] | None = None
    filter: Filter | str | None = None
    start: Bound = "earliest"
    stop: Bound = "now"
    at: Position | datetime | None = None
    limit: int | None = None
    system_columns: bool = False
    buckets: Sequence[int] | None = None
    view: Literal["changelog"] | None = None
    partitions: Sequence[Any] | None = None
    compression: Compression | None = None

    def __post_init__(self) -> None:
        """Check every field; sequences become tuples, and bounds positions."""
        if self.columns is not None:
            object.__setattr__(self, "columns", as_columns(self.columns))
        if self.compression not in (None, *_COMPRESSIONS):
            raise BadRequest(
                f"compression is {self.compression!r}, want one of {', '.join(_COMPRESSIONS)}"
            )
        if self.buckets is not None:
            object.__setattr__(self, "buckets", tuple(int(b) for b in self.buckets))
        if self.partitions is not None:
            pairs = tuple(tuple(sorted(dict(values).items())) for values in self.partitions)
            object.__setattr__(self, "partitions", pairs)
        if self.limit is not None and self.limit < 0:
            raise BadRequest(f"limit is {self.limit}, want 0 or more")
        encode_bound(self.start, "start", ("earliest", "latest", "now"))
        encode_bound(self.stop, "stop", ("now", "earliest", "latest"))
        for name in ("start", "stop"):
            bound = getattr(self, name)
            if isinstance(bound, Mapping):
                object.__setattr__(self, name, Position(bound))
        if self.at is not None and (self.start != "earliest" or self.stop != "now"):
            raise BadRequest("at reads the table as it was; leave start and stop out")

    @property
    def hidden_columns(self) -> tuple[str, ...]:
        """System columns that come along with `_change_type`, and that nobody asked for."""
        changes = self.view is not None and self.columns != ()
        return _PLACE_COLUMNS if changes and not self.system_columns else ()

    def to_command(self) -> dict[str, Any]:
        """Give the JSON command; what has its default is left out."""
        body: dict[str, Any] = {"table": self.table}
        if self.columns is not None:
            body["columns"] = list(self.columns)
        if self.filter is not None:
            body["filter"] = Filter.of(self.filter).to_dict()
        if self.start != "earliest":
            body["from"] = encode_bound(self.start, "start", ("earliest", "latest", "now"))
        if self.stop != "now":
            body["to"] = encode_bound(self.stop, "stop", ("earliest", "latest"))
        if isinstance(self.at, datetime):
            body["at"] = {"time": encode_time(self.at, "at")}
        elif self.at is not None:
            body["at"] = self.at.to_dict()
        if self.limit is not None:
            body["limit"] = self.limit
        if self.view is not None:
            body["view"] = self.view
        if self.system_columns or self.hidden_columns:
            body["system_columns"] = True
        if self.buckets is not None:
            body["buckets"] = list(self.buckets)
        if self.partitions is not None:
            body["partitions"] = [dict(values) for values in self.partitions]
        if self.compression is not None:
            body["compression"] = self.compression
        return {"scan": body}


class Scan:
    """A read of a table that has not begun; made by `Table.scan`.

    Every `to_…` method, and every loop over the batches, reads anew. A read that is cut goes on
    where it was, without a row lost or doubled.

    Example:
        >>> scan = db["web.clicks"].scan(columns=["url"], limit=2)
        >>> scan.to_arrow().column_names
        ['url']
        >>> scan.position.offsets
        {0: 2}
    """

    def __init__(self, connection: Connection, spec: ScanSpec) -> None:
        """Nothing is sent yet."""
        self._connection, self.spec = connection, spec
        self._lock = threading.Lock()
        self._position: Position | None = None  # guarded by _lock

    @property
    def position(self) -> Position:
        """Where the newest read stands: behind the rows that it has given out.

        Raises:
            BadRequest: nothing has been read yet.
        """
        with self._lock:
            if self._position is None:
                raise BadRequest("the scan has no position before it is read: call to_arrow() …")
            return self._position

    def schema(self) -> pa.Schema:
        """Give the schema of the result, without reading it."""
        plan = self._connection.plan(self.spec.to_command())
        _release(self._connection, _plan_id(plan))
        return without_columns(plan.schema, self.spec.hidden_columns)

    def to_batches(self) -> Iterator[pa.RecordBatch]:
        """Give the rows batch by batch, as they arrive; rows of one bucket are in order."""
        with contextlib.closing(self._open()) as run:
            yield from run.batches()

    def to_arrow(self) -> pa.Table:
        """Give all rows as one table."""
        with contextlib.closing(self._open()) as run:
            return pa.Table.from_batches(run.batches(), run.schema)

    def to_arrow_batch_reader(self) -> pa.RecordBatchReader:
        """Give the rows as a reader, for libraries that take a stream."""
        run = self._open()
        return pa.RecordBatchReader.from_batches(run.schema, run.batches())

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """Give the rows to any library that speaks the Arrow PyCapsule interface."""
        reader: Any = self.to_arrow_batch_reader()
        return reader.__arrow_c_stream__(requested_schema)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Give the rows batch by batch."""
        return self.to_batches()

    def count(self) -> int:
        """Count the rows, without reading any column."""
        spec = replace(self.spec, columns=(), system_columns=False)
        with contextlib.closing(_Run(self, spec)) as run:
            return sum(batch.num_rows for batch in run.batches())

    def to_pandas(self, **options: Any) -> pd.DataFrame:
        """Give all rows as a pandas data frame; options go to `pyarrow.Table.to_pandas`."""
        from headrace.adapters.pandas import to_pandas

        return to_pandas(self, **options)

    def to_polars(self) -> pl.DataFrame:
        """Give all rows as a Polars data frame."""
        from headrace.adapters.polars import to_polars

        return to_polars(self)

    def to_duckdb(self, connection: duckdb.DuckDBPyConnection, name: str) -> Any:
        """Read all rows and register them in DuckDB under a name; gives the relation."""
        from headrace.adapters.duckdb import to_duckdb

        return to_duckdb(self, connection, name)

    def to_torch(self) -> Any:
        """Give a `torch.utils.data.IterableDataset` of dicts of columns, one a batch."""
        from headrace.adapters.torch import to_torch

        return to_torch(self)

    def to_ray(self) -> Any:
        """Give a `ray.data.Dataset`; each bucket is read by a task of its own."""
        from headrace.adapters.ray import to_ray

        return to_ray(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """Allow a scan to be sent to workers, which connect on their own.

        The token, if there is one, travels along.
        """
        return _rebuild, (self._connection.address, self.spec)

    def __repr__(self) -> str:
        """Show what is read and from where."""
        command = json.dumps(self.spec.to_command()["scan"])
        return f"<Scan {command} of {self._connection.uri}>"

    def _open(self) -> _Run:
        return _Run(self, self.spec)

    def _reached(self, position: Position) -> None:
        with self._lock:
            self._position = position


def without_columns(schema: pa.Schema, names: Sequence[str]) -> pa.Schema:
    """Give a schema without some of its columns."""
    metadata: dict[Any, Any] | None = schema.metadata
    return pa.schema([f for f in schema if f.name not in names], metadata)


def _rebuild(address: Any, spec: ScanSpec) -> Scan:
    return Scan(Connection(address), spec)


class _Run:
    """One read: a plan, its endpoints, and how far each has been read. For one thread."""

    def __init__(self, scan: Scan, spec: ScanSpec) -> None:
        """Plan the read; the server freezes its bounds."""
        self._scan, self._spec = scan, spec
        self._connection = scan._connection
        self._retry = Retry(self._connection.address.timeout)
        self._info = self._connection.plan(spec.to_command())
        self.schema = without_columns(self._info.schema, spec.hidden_columns)
        details = decode_metadata(getattr(self._info, "app_metadata", None))
        self._plan_id = details.get("plan") or _plan_id(self._info)
        self._table_id = details.get("table_id") or _table_id(self._info)
        starts = [_range(endpoint)[0] for endpoint in self._info.endpoints]
        offsets = {b: o for start in starts for b, o in start.items()}
        self._position = Position(offsets, self._table_id)
        self._stream: GetStream | None = None
        # The state of a keyed table has no offsets to go on at: its ticket has no "from".
        tickets = [_ticket(endpoint) for endpoint in self._info.endpoints]
        self._state = all("plan" in ticket and "from" not in ticket for ticket in tickets)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read the endpoints one after another."""
        try:
            self._scan._reached(self._position)
            for endpoint in self._info.endpoints:
                yield from self._endpoint(endpoint)
        finally:
            self.close()

    def close(self) -> None:
        """End a read that was left early, and let go of the plan's rows."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.cancel()
        plan, self._plan_id = self._plan_id, None
        _release(self._connection, plan)

    def _endpoint(self, endpoint: Any) -> Iterator[pa.RecordBatch]:
        start, stop = _range(endpoint)
        ticket, left = endpoint.ticket.ticket, self._spec.limit
        if self._state:
            yield from self._state_endpoint(ticket)
            return
        given = 0  # rows
        while True:
            try:
                for batch in self._read(ticket):
                    given += batch.num_rows
                    yield batch
                return
            except Error as error:
                if not reopens(error) or not start:
                    raise
                self._retry.pause(_retriable(error), threading.Event())
            ticket = self._rest(start, stop, None if left is None else max(0, left - given))

    def _state_endpoint(self, ticket: bytes) -> Iterator[pa.RecordBatch]:
        """Read an endpoint of a state; after a cut again, since the plan keeps the state."""
        given = 0  # rows
        while True:
            skip = given
            try:
                for batch in self._read(ticket):
                    rest = batch.slice(min(skip, batch.num_rows))
                    skip -= batch.num_rows - rest.num_rows
                    if rest.num_rows:
                        given += rest.num_rows
                        yield rest
                return
            except Error as error:
                # A server that was started again does not know the plan.
                if not error.retriable:
                    raise
                self._retry.pause(error, threading.Event())

    def _read(self, ticket: bytes) -> Iterator[pa.RecordBatch]:
        """Read one stream up to its end mark; raises if there is none."""
        stream = self._stream = self._connection.get(ticket)
        while (message := stream.read()) is not None:
            batch, about = message
            if "end" in about:
                self._advance(Position.from_dict(about.get("position") or {"offsets": {}}).offsets)
                if about["end"] in ("complete", "limit"):
                    self._stream = None
                    return
                raise cut(f"{self._spec.table} ({about['end']})")
            if "next" in about:
                self._retry.progress()
                if not self._state:
                    self._advance({int(about["bucket"]): int(about["next"])})
            if batch is not None and batch.num_rows:
                yield batch.select(self.schema.names) if self._spec.hidden_columns else batch
        raise cut(self._spec.table)

    def _advance(self, offsets: Mapping[int, int]) -> None:
        self._position = self._position.merged(offsets)
        self._scan._reached(self._position)

    def _rest(self, start: dict[int, int], stop: dict[int, int], limit: int | None) -> bytes:
        """Write the ticket for what is left of an endpoint."""
        body = self._spec.to_command()["scan"]
        body.pop("at", None)
        now = {b: self._position.offsets[b] for b in start}
        body |= {"from": Position(now, self._table_id).to_dict(), "buckets": sorted(start)}
        if stop:
            body["to"] = Position(stop, self._table_id).to_dict()
        if limit is not None:
            body["limit"] = limit
        return encode({"scan": body})


def _retriable(error: Error) -> Error:
    """Let a plan that has expired be tried once more at its offsets, as a cut stream is."""
    return error if error.retriable else cut(str(error))


def _range(endpoint: Any) -> tuple[dict[int, int], dict[int, int]]:
    """Give the frozen bounds of an endpoint, as offsets by bucket; empty where not told."""
    about = decode_metadata(getattr(endpoint, "app_metadata", None))
    if "from" not in about:
        about = _ticket(endpoint)
    return _offsets(about.get("from")), _offsets(about.get("to"))


def _offsets(bound: Any) -> dict[int, int]:
    if not isinstance(bound, dict):
        return {}
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        return dict(Position.from_dict(bound).offsets)
    return {}


def _ticket(endpoint: Any) -> dict[str, Any]:
    """Read a ticket: the frozen scan. Older versions of pyarrow show no app_metadata of a plan."""
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        return dict(json.loads(endpoint.ticket.ticket)["scan"])
    return {}


def _plan_id(plan: Any) -> str | None:
    for endpoint in plan.endpoints[:1]:
        return _ticket(endpoint).get("plan")
    return None


def _table_id(plan: Any) -> str | None:
    for endpoint in plan.endpoints[:1]:
        start = _ticket(endpoint).get("from")
        return start.get("table_id") if isinstance(start, dict) else None
    return None


def _release(connection: Connection, plan: str | None) -> None:
    """Tell the server that a plan's rows may go; it finds out by itself if this fails."""
    if plan and not connection.closed:
        with contextlib.suppress(Error):
            connection.actions("CancelPlan", {"plan": plan}, timeout=5.0)


def check_filter(connection: Connection, filter: Any, schema: pa.Schema) -> Filter | None:
    """Give a filter as it is sent; None stays None.

    Raises:
        UnsupportedError: the server has no filters.
        BadRequest: the expression has something in it that filters do not know.
    """
    if filter is None:
        return None
    if "filter" not in connection.info.features:
        raise UnsupportedError(
            f"the server at {connection.uri} (headrace {connection.info.version}) has no filters; "
            "read the columns, then filter: scan.to_arrow().filter(expression)"
        )
    return Filter.of(filter, schema)
