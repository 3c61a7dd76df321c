"""Reads into Polars, at once or as a lazy frame that reads only what a query needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from headrace.adapters._lazy import require
from headrace.adapters.polars_filter import pushed_down

if TYPE_CHECKING:
    import polars as pl

    from headrace.scan import Scan
    from headrace.table import Table


def to_polars(scan: Scan) -> pl.DataFrame:
    """Read all rows into a data frame."""
    polars = require("polars", "polars")
    frame: pl.DataFrame = polars.from_arrow(scan.to_arrow())
    return frame


def scan_polars(table: Table, **options: Any) -> pl.LazyFrame:
    """Give a lazy frame over a table: only what a query uses is sent.

    That is its columns, and the rows that its conditions leave, as far as the server knows them:
    comparisons with values, `is_in`, `is_between`, nulls, beginnings and ends of text. Polars
    filters again, so that other conditions hold too.

    Args:
        table: to read; anew by each `collect`.
        options: what `Table.scan` takes: `start`, `stop`, `limit`, …

    Example:
        >>> import headrace as hr, polars as pl
        >>> lazy = hr.scan_polars(db["web.clicks"])
        >>> lazy.filter(pl.col("user_id") < 3).select(pl.len()).collect().item()
        2
    """
    polars = require("polars", "polars")
    source = require("polars.io.plugins", "polars")
    columns = options.pop("columns", None)
    most = options.pop("limit", None)
    empty = table.scan(columns, limit=0, **options).schema().empty_table()
    schema = polars.from_arrow(empty).schema
    has_filters = "filter" in table._connection.info.features

    def read(
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        # Rows are counted before the predicate here, and after it by Polars: no limit then, and
        # with a limit no filter.
        limit = most if predicate is not None else _least(most, n_rows)
        left = n_rows
        wanted = columns if with_columns is None else with_columns
        asked = dict(options)
        if predicate is not None and most is None and asked.get("filter") is None:
            asked["filter"] = pushed_down(predicate) if has_filters else None
        for batch in table.scan(wanted, limit=limit, **asked).to_batches():
            frame = polars.from_arrow(batch)
            if predicate is not None:
                frame = frame.filter(predicate)
            if left is not None:
                frame = frame.head(left)
                left -= frame.height
            yield frame
            if left == 0:
                return

    lazy: pl.LazyFrame = source.register_io_source(read, schema=schema)
    return lazy


def _least(a: int | None, b: int | None) -> int | None:
    return min((x for x in (a, b) if x is not None), default=None)
