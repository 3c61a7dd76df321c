"""Reads into DuckDB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.adapters._lazy import require

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from headrace.scan import Scan


def to_duckdb(scan: Scan, connection: DuckDBPyConnection, name: str) -> Any:
    """Read all rows and register them under a name, for any number of queries.

    Example:
        >>> import duckdb
        >>> with duckdb.connect() as con:
        ...     _ = db["web.clicks"].scan().to_duckdb(con, "clicks")
        ...     con.execute("select max(user_id) from clicks").fetchone()
        (2,)
    """
    require("duckdb", "duckdb")
    connection.register(name, scan.to_arrow())
    return connection.table(name)
