"""Names of columns, and of fields of structs within them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from headrace.casting import near
from headrace.errors import BadRequest, ColumnNotFound

ColumnPath = str | Sequence[str]
"""A column by its name, or a field of structs in one by the names that lead to it."""

SYSTEM_COLUMNS = ("_bucket", "_offset", "_timestamp", "_change_type")


def as_columns(columns: Iterable[Any]) -> tuple[str | tuple[str, ...], ...]:
    """Check the form of names, and make them immutable.

    Raises:
        BadRequest: something is neither a name nor a list of names.

    Example:
        >>> as_columns(["id", ["address", "city"]])
        ('id', ('address', 'city'))
    """
    if isinstance(columns, str):
        raise BadRequest(f"columns is {columns!r}, want a list: [{columns!r}]")
    names: list[str | tuple[str, ...]] = []
    for column in columns:
        if isinstance(column, str):
            names.append(column)
        elif isinstance(column, (list, tuple)) and column and all(map(_is_text, column)):
            names.append(tuple(column) if len(column) > 1 else column[0])
        else:
            raise BadRequest(
                f"columns has {column!r}, want names of columns, or ('a', 'b') for a field in one"
            )
    return tuple(names)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def find_column(
    table: str, schema: pa.Schema, column: str | tuple[str, ...]
) -> str | tuple[str, ...]:
    """Give what a name means in a schema: `"a.b"` is the field b of a, unless a column is so named.

    Raises:
        ColumnNotFound: there is none; the text names near ones.

    Example:
        >>> schema = pa.schema([("a", pa.struct([("b", pa.int8())])), ("x.y", pa.int8())])
        >>> find_column("t", schema, "a.b"), find_column("t", schema, "x.y")
        (('a', 'b'), 'x.y')
    """
    if isinstance(column, str):
        if column in schema.names or column in SYSTEM_COLUMNS:
            return column
        path = tuple(column.split("."))
        if len(path) > 1 and path[0] in schema.names:
            column = path
    path = (column,) if isinstance(column, str) else column
    if path[0] not in schema.names:
        raise ColumnNotFound(
            f"COLUMN_NOT_FOUND: {table} has no column {path[0]!r}."
            f"{near(path[0], schema.names)} It has {', '.join(schema.names)}.",
            details={"table": table, "column": path[0]},
        )
    kind = schema.field(path[0]).type
    for at, name in enumerate(path[1:], start=1):
        outer = ".".join(path[:at])
        names = [f.name for f in kind] if isinstance(kind, pa.StructType) else []
        if name not in names:
            has = f"{near(name, names)} It has {', '.join(names)}." if names else f" It is {kind}."
            raise ColumnNotFound(
                f"COLUMN_NOT_FOUND: {table}: {outer!r} has no field {name!r}.{has}",
                details={"table": table, "column": path[0]},
            )
        kind = kind.field(name).type
    return column
