"""Connections: `connect`, and the databases and tables behind it."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from headrace._flight import Address, Connection, ServerInfo, encode_schema
from headrace.casting import near
from headrace.convert import schema_of
from headrace.errors import BadRequest, DatabaseNotFound, Error, NotFound, TableNotFound
from headrace.groups import GroupInfo, list_groups
from headrace.options import TableOption
from headrace.server import Server
from headrace.table import Table, unsupported
from headrace.write import Writer

DEFAULT_URI = "grpc://127.0.0.1:8815"
SCHEMES = ("grpc://", "grpc+tls://", "grpc+tcp://", "grpc+unix://")


def connect(
    target: str | Path | None = None,
    *,
    token: str | None = None,
    tls_root_certs: str | Path | bytes | None = None,
    tls_cert: str | Path | bytes | None = None,
    tls_key: str | Path | bytes | None = None,
    timeout: float = 30.0,
) -> Database:
    """Connect to a server, or start one of one's own on a data folder.

    Args:
        target: `grpc://host:port`, `grpc+tls://host:port`, or a folder such as `"./data"`, for
            which a server is started and stopped again by `close`. None: `$HEADRACE_URI`, and
            without it `grpc://127.0.0.1:8815`.
        token: bearer token; None: `$HEADRACE_TOKEN`, and without it none.
        tls_root_certs: authorities to trust, as a PEM file or its bytes; None: the system's.
        tls_cert: certificate of this client, as a PEM file or its bytes.
        tls_key: its key.
        timeout: seconds that a call, or a row of tries to reconnect, may take.

    Raises:
        Unavailable: nothing answers; the text says how to start a server.
        Unauthenticated: the token is missing or wrong.

    Example:
        >>> import headrace as hr
        >>> with hr.connect(uri) as db:
        ...     db.tables("web.*")
        ['web.clicks']
    """
    if timeout <= 0:
        raise BadRequest(f"timeout is {timeout}, want more than 0 seconds")
    uri, server = str(target or os.environ.get("HEADRACE_URI") or DEFAULT_URI), None
    if "://" not in uri:
        if _looks_like_address(uri):
            raise BadRequest(f"{uri!r} has no scheme; for a server write 'grpc://{uri}'")
        server = Server(Path(uri))
        uri, token = server.uri, None
    elif not uri.startswith(SCHEMES):
        raise BadRequest(f"{uri!r}: want grpc://host:port, grpc+tls://host:port, or a folder")
    address = Address(
        uri=uri,
        token=token or (None if server else os.environ.get("HEADRACE_TOKEN")) or None,
        tls_root_certs=_pem(tls_root_certs),
        tls_cert=_pem(tls_cert),
        tls_key=_pem(tls_key),
        timeout=timeout,
    )
    try:
        return Database(Connection(address), server)
    except BaseException:
        if server is not None:
            server.stop()
        raise


def _looks_like_address(text: str) -> bool:
    """Whether a text without a scheme is host:port rather than a folder."""
    host, colon, port = text.rpartition(":")
    return bool(colon and host and port.isdigit() and "/" not in host)


def _pem(value: str | Path | bytes | None) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    return Path(value).read_bytes()


class Database:
    """A connection to a server with all its databases and tables. Safe for many threads.

    Example:
        >>> db["web.clicks"].name
        'web.clicks'
        >>> "web.none" in db
        False
    """

    def __init__(self, connection: Connection, server: Server | None = None) -> None:
        """Check that the server answers; `server` is stopped by `close`."""
        self._connection, self._server = connection, server
        self._lock = threading.Lock()
        self._appenders: dict[Hashable, Writer] = {}  # guarded by _lock
        connection.check()
        self._at_exit = _AtExit(self)
        atexit.register(self._at_exit)

    # Tables ----------------------------------------------------------------------------------

    def create_table(
        self,
        name: str,
        schema: Any,
        *,
        primary_key: Sequence[str] | None = None,
        buckets: int | None = None,
        bucket_key: Sequence[str] | None = None,
        partition_by: Sequence[str] | None = None,
        options: Mapping[str, str | int] | None = None,
        comment: str | None = None,
        exist_ok: bool = False,
    ) -> Table:
        """Make a table.

        Args:
            name: `database.table`, or `table` for one of the database `default`. The database is
                made if it is not there.
            schema: a `pyarrow.Schema`, or data to take it from, such as a data frame; the data
                itself is not stored.
            primary_key: columns that tell rows apart, which become NOT NULL; makes a keyed table.
            buckets: in how many parts the rows are kept; None: the server's default, 1.
            bucket_key: columns whose values choose the bucket; in a keyed table the first columns
                of the key, all of them by default.
            partition_by: columns whose values part the table, which become NOT NULL and in a keyed
                table belong to the key; see `Table.partitions`.
            options: table options by name, such as `{"log.ttl": "7d"}`.
            comment: free text.
            exist_ok: take a table that is there, if its definition is the same.

        Raises:
            TableAlreadyExists: there is one; with `exist_ok`: of another definition.
            BadRequest: the name, the schema or an option is not one that the server takes.

        Example:
            >>> import pyarrow as pa
            >>> db.create_table("t", pa.schema([("id", pa.int64())]))
            default.t: 0 rows, log table, 1 bucket(s)
              id: int64
        """
        body: dict[str, Any] = {"table": name, "schema": encode_schema(schema_of(schema))}
        if primary_key:
            body["primary_key"] = _names("primary_key", primary_key)
        if buckets is not None:
            body["buckets"] = buckets
        if bucket_key:
            body["bucket_key"] = _names("bucket_key", bucket_key)
        if partition_by:
            body["partition_by"] = _names("partition_by", partition_by)
        if options:
            body["options"] = {key: str(value) for key, value in options.items()}
        if comment:
            body["comment"] = comment
        if exist_ok:
            body["exist_ok"] = True
        return Table(self, self._connection.action("CreateTable", body))

    def table(self, name: str) -> Table:
        """Give a table.

        Raises:
            TableNotFound: there is none; the text names near ones.
        """
        try:
            return Table(self, self._connection.action("DescribeTable", {"table": name}))
        except (TableNotFound, DatabaseNotFound) as error:
            raise type(error)(
                f"{error}{self._near(name)}", details=error.details | {"table": name}
            ) from None

    def _near(self, name: str) -> str:
        with contextlib.suppress(Error):
            tables = self.tables()
            if not tables:
                return " There are no tables yet: db.create_table(name, schema)."
            short = [t.removeprefix("default.") for t in tables] if "." not in name else tables
            return near(name, short)
        return ""

    def __getitem__(self, name: str) -> Table:
        """Give a table: `db["web.clicks"]`."""
        return self.table(name)

    def __contains__(self, name: object) -> bool:
        """Whether there is a table of that name."""
        if not isinstance(name, str):
            return False
        try:
            self._connection.action("DescribeTable", {"table": name})
        except NotFound:
            return False
        return True

    def tables(self, pattern: str = "") -> list[str]:
        """Give the full names of tables, sorted.

        Args:
            pattern: glob over `database.table`, where `*` does not cross the dot; empty: all.
        """
        names = [
            ".".join(part.decode() for part in info.descriptor.path or ())
            for info in self._connection.flights(pattern)
        ]
        return sorted(names)

    def drop_table(self, name: str, *, missing_ok: bool = False) -> None:
        """Remove a table; for a grace time `undrop_table` brings it back."""
        self._connection.actions("DropTable", {"table": name, "missing_ok": missing_ok})

    def undrop_table(self, name: str) -> Table:
        """Bring back the newest table of that name that was dropped."""
        self._connection.actions("UndropTable", {"table": name})
        return self.table(name)

    def groups(self, pattern: str = "") -> list[GroupInfo]:
        """List consumer groups, with their members and how far they lag.

        Args:
            pattern: glob over `database.table`, as for `tables`; empty: those of all tables.

        Example:
            >>> db["web.clicks"].group("reports").commit({0: 1})
            >>> [(info.group, info.table, info.lag) for info in db.groups()]
            [('reports', 'web.clicks', 1)]
        """
        return list_groups(self._connection, pattern)

    # Databases -------------------------------------------------------------------------------

    def create_database(self, name: str, *, exist_ok: bool = False) -> None:
        """Make a database."""
        self._connection.actions("CreateDatabase", {"database": name, "exist_ok": exist_ok})

    def drop_database(self, name: str, *, cascade: bool = False, missing_ok: bool = False) -> None:
        """Remove a database; with `cascade` its tables too."""
        body = {"database": name, "cascade": cascade, "missing_ok": missing_ok}
        self._connection.actions("DropDatabase", body)

    def databases(self) -> list[str]:
        """Give the names of the databases, sorted."""
        body = self._connection.action("ListDatabases", {})
        return sorted(_name_of(entry) for entry in body.get("databases") or ())

    # Server ----------------------------------------------------------------------------------

    def sql(self, query: str) -> NoReturn:
        """Run a query. Not supported yet."""
        raise unsupported(
            self._connection, "SQL", "query an Arrow table: db[name].scan().to_duckdb(con, 't')"
        )

    def options(self) -> list[TableOption]:
        """List the options that tables can have, with defaults and ranges, by name.

        Example:
            >>> ttl = next(option for option in db.options() if option.name == "log.ttl")
            >>> ttl.type, ttl.default, ttl.range, ttl.alterable
            ('duration', '0', '0, or 1s to 36500d', True)
        """
        body = self._connection.action("ListOptions", {})
        return [TableOption.from_dict(entry) for entry in body.get("options") or ()]

    def flush(self, level: str = "fsync") -> None:
        """Wait until everything that was acknowledged has reached a durability level."""
        self._connection.actions("Flush", {"level": level})

    @property
    def uri(self) -> str:
        """Where the server is."""
        return self._connection.uri

    @property
    def info(self) -> ServerInfo:
        """Version, features and limits of the server."""
        return self._connection.info

    def close(self) -> None:
        """Close writers and subscriptions, the connection, and a server of one's own.

        Closing twice is fine.

        Raises:
            Error: rows of a writer that was still open could not be stored.
        """
        atexit.unregister(self._at_exit)
        try:
            self._connection.close()
        finally:
            if self._server is not None:
                self._server.stop()

    def __enter__(self) -> Database:
        """Give the connection itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close; an error of the block is not hidden by one of the close."""
        if error is None:
            self.close()
        else:
            with contextlib.suppress(Error):
                self.close()

    def __reduce__(self) -> NoReturn:
        """Refuse: a connection belongs to its process."""
        raise TypeError("a connection cannot be pickled; send db.uri and connect there")

    def __repr__(self) -> str:
        """Show where the server is, and its version; never the token."""
        return f"<headrace.Database {self.uri}, server {self.info.version}>"

    # Shared writers of Table.append ----------------------------------------------------------

    def _appender(self, form: Hashable, make: Callable[[], Writer]) -> Writer:
        """Give the writer that all writes of a form share, so that each costs no new producer."""
        with self._lock:
            writer = self._appenders.get(form)
            if writer is None or not writer.usable:
                writer = self._appenders[form] = make()
            return writer

    def _drop_appender(self, form: Hashable) -> None:
        with self._lock:
            self._appenders.pop(form, None)


class _AtExit:
    """Closes a database at the end of the program without keeping it alive until then."""

    def __init__(self, database: Database) -> None:
        self._database = weakref.ref(database)

    def __call__(self) -> None:
        database = self._database()
        if database is not None:
            with contextlib.suppress(Error):
                database.close()


def _names(what: str, names: Sequence[str]) -> list[str]:
    if isinstance(names, str):
        raise BadRequest(f"{what} is {names!r}, want a list: [{names!r}]")
    return list(names)


def _name_of(entry: Any) -> str:
    return str(entry["database"] if isinstance(entry, Mapping) else entry)
