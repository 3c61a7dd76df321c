"""One table: its definition, its rows, and every way to read and write it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import pyarrow as pa

from headrace._flight import Connection, decode_schema
from headrace.casting import Caster
from headrace.columns import ColumnPath, as_columns, find_column
from headrace.convert import Rows
from headrace.errors import BadRequest, ColumnNotFound, Error, UnsupportedError
from headrace.evolve import AddedColumns, ColumnName, ColumnNames, column_changes
from headrace.groups import Group, GroupInfo, GroupSubscription, list_groups
from headrace.keyed import KeyedCalls
from headrace.lookup import LookupStreams
from headrace.membership import MemberOptions
from headrace.partitions import PartitionCalls, encode_partitions
from headrace.pipeline import PipelineOptions, WriteResult
from headrace.position import Bound, Position, Positions, encode_bound, encode_time
from headrace.reading import Reading
from headrace.scan import Compression, Scan, ScanSpec, check_filter
from headrace.subscribe import Subscription
from headrace.write import Mode, Writer

if TYPE_CHECKING:
    from headrace.client import Database


class Table(KeyedCalls, PartitionCalls):
    """A table of a database; made by `Database.table` and `Database.create_table`.

    The definition is read once; `refresh` reads it again. Safe for many threads.

    Example:
        >>> table = db["web.clicks"]
        >>> table.append([{"user_id": 3, "url": "/c"}]).rows
        1
        >>> table.scan(columns=["user_id"], limit=1).to_arrow().to_pylist()
        [{'user_id': 1}]
    """

    def __init__(self, database: Database, description: Mapping[str, Any]) -> None:
        """Take the server's description, as `DescribeTable` gives it."""
        self._database = database
        self._lock = threading.Lock()
        self._describe(description)
        self._lookups = LookupStreams(database._connection, self.name)

    def _describe(self, description: Mapping[str, Any]) -> None:
        columns = description.get("columns") or ()
        defaults = frozenset(str(c["name"]) for c in columns if c.get("default") is not None)
        schema = decode_schema(str(description["schema"]))
        numbered = frozenset(
            str(c["name"]) for c in columns if c.get("default") == "auto_increment"
        )
        with self._lock:
            self._description = dict(description)
            self._caster = Caster(schema, defaults)
            self._row_caster = Caster(schema, numbered - _text_columns(schema), whole=True)

    @property
    def _connection(self) -> Connection:
        return self._database._connection

    # Definition ------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Full name, `database.table`."""
        return str(self._description["table"])

    @property
    def id(self) -> str:
        """What tells this table from a later one of the same name."""
        return str(self._description.get("id", ""))

    @property
    def schema(self) -> pa.Schema:
        """The columns, as they were when the definition was read."""
        return self._caster.schema

    @property
    def primary_key(self) -> tuple[str, ...]:
        """Names of the key columns; empty for a log table."""
        return tuple(self._description.get("primary_key") or ())

    @property
    def schema_version(self) -> int:
        """How often the columns were changed, from 1, as of when the definition was read."""
        return int(self._description.get("schema_version") or 1)

    @property
    def options(self) -> dict[str, str]:
        """The table options that were set."""
        return dict(self._description.get("options") or {})

    @property
    def bucket_count(self) -> int:
        """In how many buckets the rows are; of a table with partitions, those of each."""
        return int(self._description.get("bucket_count") or 1)

    def refresh(self) -> Table:
        """Read the definition again; gives the table itself."""
        before = self.schema
        self._describe(self._connection.action("DescribeTable", {"table": self.name}))
        if not before.equals(self.schema):
            self._lookups.close_idle()  # their answers have the columns of before
        return self

    def describe(self) -> dict[str, Any]:
        """Give the server's description as it is: columns, options, at most 1,000 buckets."""
        return self._connection.action("DescribeTable", {"table": self.name})

    # Reading ---------------------------------------------------------------------------------

    def count(self) -> int:
        """Count the rows, from the server's figures alone; of a keyed table those there are now."""
        return int(self.stats()["rows"])

    def head(self, rows: int = 10) -> pa.Table:
        """Give some of the oldest rows."""
        return self.scan(limit=rows).to_arrow()

    def scan(
        self,
        columns: Sequence[ColumnPath] | None = None,
        filter: Any = None,
        *,
        start: Bound = "earliest",
        stop: Bound = "now",
        at: Position | datetime | None = None,
        limit: int | None = None,
        system_columns: bool = False,
        buckets: Sequence[int] | None = None,
        partitions: Sequence[Mapping[str, Any]] | None = None,
        compression: Compression | None = None,
    ) -> Scan:
        """Say what to read; nothing is read before a `to_…` method is called.

        Of a keyed table these are its rows as they are at one moment, when the read begins;
        `Scan.position` is where the changelog goes on from exactly there.

        Args:
            columns: names to return, in this order; None: all. Columns that are not asked for are
                not sent. `("a", "b")` or `"a.b"` is the field b of the struct a, returned as a
                column `a.b`, which is null where a is.
            filter: rows to return: an expression such as `pyarrow.compute.field("age") > 3`, or
                SQL text such as `"age > 3 and name like 'a%'"`. Other rows are not sent.
            start: first row wanted: `"earliest"`, `"latest"`, a `Position`, offsets by bucket, or
                a time with its zone. Not for keyed tables: see `changelog`.
            stop: behind the last row wanted: `"now"`, or what `start` takes. Not for keyed tables.
            at: read the table as it was then; excludes start and stop.
            limit: most rows of the whole scan, after the filter.
            system_columns: add `_bucket`, `_offset` and `_timestamp`.
            buckets: buckets to read; None: all.
            partitions: values of partition columns, such as `[{"country": "DE"}]`: only the
                partitions that have any of them are read; None: all.
            compression: how columns are sent: `"stored"` (None: the same), `"none"`, `"lz4"` or
                `"zstd"`. The last two cost the server time and spare a slow network bytes.

        Raises:
            ColumnNotFound: the table has no such column; the text names near ones.
            BadRequest: an argument is out of its range, or the filter cannot be read.

        Example:
            >>> import pyarrow.compute as pc
            >>> clicks = db["web.clicks"]
            >>> clicks.scan(["user_id"], filter=pc.field("user_id") > 1).to_arrow().to_pydict()
            {'user_id': [2]}
            >>> clicks.scan(filter="url like '/%' and user_id between 1 and 2").count()
            2
        """
        spec = ScanSpec(
            table=self.name,
            columns=self._choose(columns),
            filter=check_filter(self._connection, filter, self.schema),
            start=start,
            stop=stop,
            at=at,
            limit=limit,
            system_columns=system_columns,
            buckets=buckets,
            partitions=None if partitions is None else encode_partitions(partitions),
            compression=compression,
        )
        return Scan(self._connection, spec)

    def subscribe(
        self,
        columns: Sequence[ColumnPath] | None = None,
        filter: Any = None,
        *,
        start: Bound = "latest",
        timeout: float | None = None,
        system_columns: bool = False,
        group: str | None = None,
        commit: Literal["auto", "manual"] = "auto",
        member: str | None = None,
        session: float = 30.0,
        partitions: Sequence[Mapping[str, Any]] | None = None,
        compression: Compression | None = None,
    ) -> Subscription:
        """Follow the table: give rows as they are stored.

        Of a keyed table these are its changes, with the column `_change_type`: `+I` a new row, `-U`
        and `+U` a row before and after an update, `-D` a row that was deleted.

        Args:
            columns: names to return, in this order; None: all. See `scan`.
            filter: rows to give, in the forms that `scan` takes; of a keyed table, `_change_type`
                may be named too.
            start: `"latest"` (rows stored after this call), `"earliest"` (all rows, then the new
                ones), a `Position`, offsets by bucket, or a time with its zone.
            timeout: the loop ends after this many seconds without a row; None: never.
            system_columns: add `_bucket`, `_offset` and `_timestamp`.
            group: name of a group whose members share the buckets, and which goes on where it has
                committed; `start` then says where a new group begins. Gives a `GroupSubscription`.
            commit: with a group, `"auto"`: a batch is done when the next one is asked for;
                `"manual"`: when `Batch.commit` says so.
            member: with a group, the id of this member; who has the id already is fenced. None: one
                is made.
            session: with a group, seconds without a sign of life after which others get this
                member's buckets, 1 to 600.
            partitions: values of partition columns: only the partitions that have any of them are
                followed, also those that appear later; None: all. Not with a group, whose members
                share all partitions.
            compression: how columns are sent; see `scan`.

        Raises:
            ColumnNotFound: the table has no such column.
        """
        if timeout is not None and timeout <= 0:
            raise BadRequest(f"timeout is {timeout}, want more than 0 seconds, or None")
        spec = ScanSpec(
            table=self.name,
            columns=self._choose(columns),
            filter=check_filter(self._connection, filter, self.schema),
            system_columns=system_columns,
            view="changelog" if self.primary_key else None,
            partitions=None if partitions is None else encode_partitions(partitions),
            compression=compression,
        )
        scan = spec.to_command()["scan"]
        reading = Reading(self._connection, scan, spec.hidden_columns)
        if group is None:
            return Subscription(reading, start=self._resolve(start), timeout=timeout)
        if "groups" not in self._connection.info.features:
            self._unsupported("consumer groups", "save batch.position and pass it as start")
        if partitions is not None:
            raise BadRequest("the members of a group share all partitions; leave partitions out")
        if commit not in ("auto", "manual"):
            raise BadRequest(f"commit is {commit!r}, want 'auto' or 'manual'")
        options = MemberOptions(
            table=self.name,
            table_id=self.id,
            group=group,
            member=member,
            session=session,
            start=encode_bound(start, "start", ("latest", "now", "earliest")),
            auto=commit == "auto",
        )
        return GroupSubscription(self._connection, reading, options, timeout)

    def group(self, name: str) -> Group:
        """Give a group of this table, to look at, move or drop; it need not be there."""
        return Group(self._connection, self.name, name)

    def groups(self) -> list[GroupInfo]:
        """List the groups of this table."""
        return list_groups(self._connection, self.name)

    def _resolve(self, start: Bound) -> Position:
        """Turn where to start into offsets, so that a reconnect cannot mean another place."""
        encode_bound(start, "start", ("latest", "now", "earliest"))
        if isinstance(start, Position):
            return start
        if isinstance(start, datetime):
            time = encode_time(start, "start")
            body = self._connection.action("ListOffsets", {"table": self.name, "time": time})
            return Position.from_dict(body.get("position") or body)
        if isinstance(start, Mapping):
            return Position(start, self.id)
        return self.positions().latest if start in ("latest", "now") else Position({}, self.id)

    def positions(self) -> Positions:
        """Give the two ends of what the table keeps now."""
        stats = self.stats()
        buckets = stats.get("buckets") or ()
        table_id = str(stats.get("id", "")) or None
        return Positions(
            earliest=Position({int(b["bucket"]): int(b["start"]) for b in buckets}, table_id),
            latest=Position({int(b["bucket"]): int(b["end"]) for b in buckets}, table_id),
        )

    def stats(self) -> dict[str, Any]:
        """Give the server's figures: rows and bytes, of the table and of each bucket."""
        return self._connection.action("TableStats", {"table": self.name})

    def wait_for(self, position: Position, timeout: float | None = None) -> None:
        """Wait until readers see everything before a position.

        Args:
            position: such as `WriteResult.position`.
            timeout: seconds; None: the connection's.

        Raises:
            TimedOut: it took longer.
        """
        seconds = timeout or self._connection.address.timeout
        body: dict[str, Any] = {"table": self.name, "position": position.to_dict()}
        body |= {"in": "index", "timeout_ms": min(int(seconds * 1000), 3_600_000)}
        self._connection.actions("WaitFor", body, timeout=seconds + 5)

    # Writing ---------------------------------------------------------------------------------

    def append(self, data: Rows) -> WriteResult:
        """Store rows and wait until they are durable.

        Columns are matched by name; numbers, times, text and nested values are cast if no value
        changes. A column that is left out gets its default, or null.

        Args:
            data: a pyarrow Table, RecordBatch or RecordBatchReader, a pandas or Polars data frame,
                anything with `__arrow_c_stream__`, a list of dicts, or a dict of columns.

        Raises:
            SchemaMismatch: the rows do not fit; the text names the column. Nothing is stored,
                except of readers and iterators: what came before.
            Unavailable: the server could not be reached in time. A batch may have been stored.

        Example:
            >>> db["web.clicks"].append({"user_id": [4, 5], "url": ["/d", None]}).rows
            2
        """
        if self.primary_key:
            raise BadRequest(f"{self.name} has a primary key; use upsert() in place of append()")
        return self._write("append", data)

    def _one_off_writer(self, mode: Mode, columns: tuple[str, ...] | None) -> Writer:
        return self.writer(linger=0.0, mode=mode, columns=columns)

    def writer(
        self,
        *,
        producer: str | None = None,
        durability: str | None = None,
        linger: float = 0.01,
        batch_rows: int = 8192,
        batch_bytes: int = 1 << 20,
        buffer_bytes: int = 64 << 20,
        timeout: float | None = None,
        mode: Mode | None = None,
        columns: Sequence[str] | None = None,
    ) -> Writer:
        """Open a writer: pipelined, exactly-once across reconnects, with back-pressure.

        Small writes are put together: a batch is sent when it has `batch_rows` rows or
        `batch_bytes` bytes, or is `linger` seconds old.

        Args:
            producer: a name that stands for this writer on the server. To open it again takes the
                place of the writer before, which is fenced; None: a random name.
            durability: a level above the table's own: `"os"`, `"fsync"`.
            linger: seconds.
            batch_rows: rows of small writes in one batch.
            batch_bytes: bytes of small writes in one batch.
            buffer_bytes: bytes that may wait for an acknowledgement; then `write` waits.
            timeout: seconds without progress after which the writer gives up; None: the
                connection's.
            mode: `"append"` for a log table, `"upsert"` or `"delete"` for a keyed one; None:
                `"append"` or `"upsert"`.
            columns: in mode `"upsert"` the columns that rows have; see `upsert`. In mode `"delete"`
                it takes values back in place of rows; see `retract`.
        """
        mode = mode or ("upsert" if self.primary_key else "append")
        if (mode == "append") == bool(self.primary_key):
            kind = "with a primary key" if self.primary_key else "without a primary key"
            raise BadRequest(f"{self.name} is a table {kind}, which does not take mode {mode!r}")
        if columns is not None and mode == "append":
            raise BadRequest("columns is for the modes 'upsert' and 'delete', not for 'append'")
        columns = self._update_columns(columns)
        options = PipelineOptions(
            batch_rows=batch_rows,
            batch_bytes=batch_bytes,
            linger=linger,
            buffer_bytes=buffer_bytes,
            timeout=timeout or self._connection.address.timeout,
        )
        return Writer(
            self._connection,
            self.name,
            table_id=self.id or None,
            caster=self._caster_of(mode, columns),
            producer=producer,
            durability=durability,
            options=options,
            mode=mode,
            columns=columns,
        )

    # Changing --------------------------------------------------------------------------------

    def alter(
        self,
        *,
        drop_column: ColumnNames = (),
        rename_column: Mapping[ColumnName, str] | None = None,
        set_type: Mapping[ColumnName, pa.DataType | str] | None = None,
        set_nullable: ColumnNames = (),
        add_column: AddedColumns = (),
        move_column: Mapping[ColumnName, str | None] | None = None,
        set_comment: Mapping[str, str] | None = None,
        set_metadata: Mapping[ColumnName, Mapping[str, str]] | None = None,
        options: Mapping[str, str | int] | None = None,
        buckets: int | None = None,
        expect_version: int | None = None,
    ) -> Table:
        """Change columns, options or the number of buckets, all or nothing; gives the table itself.

        The changes are made in the order of the arguments, and a name is the one that the column
        has by then: what is dropped or renamed makes room for what is added. Readers and writers
        go on. A field of a struct is named by a tuple, `("address", "street")`.

        Args:
            drop_column: a column, or a list of some.
            rename_column: new names, by name.
            set_type: wider types, by name, such as `{"age": pa.int64()}`.
            set_nullable: a column that may hold nulls from now on, or a list of some.
            add_column: a `Column` or a pyarrow field, or a list of some.
            move_column: by name, the column that it is put behind; None: it is put first.
            set_comment: comments, by name.
            set_metadata: metadata of the field, by name, in place of what it had.
            options: table options; an empty text sets one back to its default.
            buckets: the number of buckets: 2, 4, 8 … times as many as there are. Readers and
                writers go on, and no row is moved.
            expect_version: the `schema_version` that the table must have; None: any.

        Raises:
            SchemaChanged: the table has another schema than the expected one. Nothing is changed.
            BadRequest: a rule does not allow a change; the text names it. Nothing is changed.
            ColumnNotFound: there is no such column. Nothing is changed.

        Example:
            >>> import headrace as hr
            >>> clicks = db["web.clicks"]
            >>> clicks.alter(options={"log.ttl": "7d"}).options["log.ttl"]
            '7d'
            >>> extra = db.create_table("extra", [{"a": 1}])
            >>> _ = extra.append([{"a": 2}])
            >>> extra.alter(
            ...     rename_column={"a": "b"}, add_column=hr.Column("c", pa.string(), default="-")
            ... ).scan().to_arrow().to_pylist()
            [{'b': 2, 'c': '-'}]
        """
        changes = column_changes(
            drop_column=drop_column,
            rename_column=rename_column,
            set_type=set_type,
            set_nullable=set_nullable,
            add_column=add_column,
            move_column=move_column,
            set_comment=set_comment,
            set_metadata=set_metadata,
        )
        changes += [
            {"set_option": {"name": name, "value": str(value)}}
            for name, value in (options or {}).items()
        ]
        if buckets is not None:
            changes.append({"set_buckets": buckets})
        if not changes:
            raise BadRequest("alter() without arguments changes nothing")
        if expect_version is not None and expect_version < 1:
            raise BadRequest(f"expect_version is {expect_version}, and versions begin at 1")
        return self._alter(*changes, expect_version=expect_version)

    def _alter(self, *changes: Mapping[str, Any], expect_version: int | None = None) -> Table:
        body: dict[str, Any] = {"table": self.name, "changes": list(changes)}
        if expect_version is not None:
            body["expect"] = {"schema_version": expect_version}
        self._connection.action("AlterTable", body)
        return self.refresh()

    def create_index(self, name: str, columns: Sequence[str]) -> Table:
        """Make a secondary index of a keyed table, for `lookup(keys, by=columns)`.

        It is built in the background; lookups by it wait until it is. Gives the table itself.

        Args:
            name: unique in the table.
            columns: whose values rows are found by.

        Raises:
            IndexAlreadyExists: the table has an index of that name.

        Example:
            >>> users = db["web.users"].create_index("by_name", ["name"])
            >>> users.lookup(["bob", "eve"], ["user_id"], by=["name"], how="inner").to_pylist()
            [{'user_id': 2}]
        """
        if isinstance(columns, str):
            raise BadRequest(f"columns is {columns!r}, want a list: [{columns!r}]")
        return self._alter({"create_index": {"name": name, "columns": list(columns)}})

    def drop_index(self, name: str) -> Table:
        """Remove a secondary index; gives the table itself."""
        return self._alter({"drop_index": name})

    @property
    def indexes(self) -> dict[str, tuple[str, ...]]:
        """The columns of each secondary index, by its name."""
        indexes = self._description.get("indexes") or ()
        return {str(index["name"]): tuple(index["columns"]) for index in indexes}

    def rename(self, to: str) -> Table:
        """Give the table another name; gives the table itself."""
        self._connection.action("RenameTable", {"table": self.name, "to": to})
        self._describe(self._connection.action("DescribeTable", {"table": to}))
        self._lookups.close_idle()
        return self

    def truncate(self, before: Position | None = None) -> None:
        """Remove rows: all that are there now, or those before a position."""
        body: dict[str, Any] = {"table": self.name}
        if before is not None:
            body["before"] = before.to_dict()
        self._connection.action("TruncateTable", body)

    def drop(self, *, missing_ok: bool = False) -> None:
        """Remove the table; for a grace time `Database.undrop_table` brings it back."""
        self._database.drop_table(self.name, missing_ok=missing_ok)

    def _unsupported(self, what: str, instead: str) -> NoReturn:
        raise unsupported(self._connection, what, instead)

    # Python ----------------------------------------------------------------------------------

    def _choose(
        self, columns: Sequence[ColumnPath] | None
    ) -> tuple[str | tuple[str, ...], ...] | None:
        """Give the columns that names mean; None stays None.

        Raises:
            ColumnNotFound: the table has no such column; the text names near ones.
        """
        if columns is None:
            return None
        wanted = as_columns(columns)
        try:
            return tuple(find_column(self.name, self.schema, name) for name in wanted)
        except ColumnNotFound:
            self.refresh()  # it may have been added since
            return tuple(find_column(self.name, self.schema, name) for name in wanted)

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """Give all rows to any library that speaks the Arrow PyCapsule interface."""
        return self.scan().__arrow_c_stream__(requested_schema)

    def __arrow_c_schema__(self) -> Any:
        """Give the schema to any library that speaks the Arrow PyCapsule interface."""
        return self.schema.__arrow_c_schema__()

    def __reduce__(self) -> NoReturn:
        """Refuse: a table is part of a connection."""
        raise TypeError("a Table cannot be pickled; send its name, or a scan: table.scan()")

    def __repr__(self) -> str:
        """Show name, rows and columns."""
        try:
            rows = f"{self.count():,} rows, "
        except Error as error:
            rows = f"rows unknown ({error.reason}), "
        kind = f"key {', '.join(self.primary_key)}" if self.primary_key else "log table"
        lines = [f"{self.name}: {rows}{kind}, {self.bucket_count} bucket(s)"]
        shown = 40
        lines += [
            f"  {field.name}: {field.type}{'' if field.nullable else ' not null'}"
            for field in list(self.schema)[:shown]
        ]
        if len(self.schema) > shown:
            lines.append(f"  … and {len(self.schema) - shown} more columns")
        return "\n".join(lines)


def _text_columns(schema: pa.Schema) -> frozenset[str]:
    """Give the columns for which the default `auto_increment` would be a text like any other."""
    return frozenset(f.name for f in schema if f.type != pa.int64())


def unsupported(connection: Connection, what: str, instead: str) -> UnsupportedError:
    """Make the error of something that is not there yet; it names what the server has."""
    info = connection.info
    features = ", ".join(sorted(info.features)) or "none named"
    return UnsupportedError(
        f"UNIMPLEMENTED: {what} is not available: the server at {connection.uri} is headrace "
        f"{info.version} with {features}. Instead: {instead}.",
        details={"feature": what, "version": info.version},
    )
