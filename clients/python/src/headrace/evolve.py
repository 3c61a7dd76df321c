"""Changes of a table's columns, as `Table.alter` takes them."""

from __future__ import annotations

import base64
import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias

import pyarrow as pa

from headrace._flight import encode_schema
from headrace.errors import BadRequest

ColumnName: TypeAlias = str | tuple[str, ...]
"""A column, or the names that lead to a field of a struct: `("address", "street")`."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column to be added to a table.

    Attributes:
        name: of the column; a tuple of names adds a field to a struct.
        type: as pyarrow has it, or its text.
        nullable: whether the column takes nulls. One that does not needs a default.
        default: the value of rows that are there, and of rows that are written without it.
        comment: free text.
        after: the column that it is put behind; None: it is put last.
        first: put it before all others.
        metadata: of the field.

    Example:
        >>> Column("score", pa.float64(), default=0.0, after="url").name
        'score'
    """

    name: ColumnName
    type: pa.DataType | str
    nullable: bool = True
    default: Any = None
    comment: str = ""
    after: str | None = None
    first: bool = False
    metadata: Mapping[str, str] | None = None

    def to_change(self) -> dict[str, Any]:
        """Give the change as AlterTable takes it."""
        body: dict[str, Any] = {
            "name": _path(self.name),
            "type": _type(self.type),
            "nullable": self.nullable,
        }
        if self.default is not None:
            body["default"] = _json(self.default)
        if self.comment:
            body["comment"] = self.comment
        if self.metadata:
            body["metadata"] = dict(self.metadata)
        body |= _place(self.after, self.first)
        return {"add_column": body}


AddedColumns: TypeAlias = "Column | pa.Field[Any] | Sequence[Column | pa.Field[Any]]"
ColumnNames: TypeAlias = ColumnName | Sequence[ColumnName]


def column_changes(
    *,
    drop_column: ColumnNames = (),
    rename_column: Mapping[ColumnName, str] | None = None,
    set_type: Mapping[ColumnName, pa.DataType | str] | None = None,
    set_nullable: ColumnNames = (),
    add_column: AddedColumns = (),
    move_column: Mapping[ColumnName, str | None] | None = None,
    set_comment: Mapping[str, str] | None = None,
    set_metadata: Mapping[ColumnName, Mapping[str, str]] | None = None,
) -> list[dict[str, Any]]:
    """Give changes as AlterTable takes them, in the order in which they are made."""
    changes: list[dict[str, Any]] = [{"drop_column": _path(name)} for name in _each(drop_column)]
    changes += [
        {"rename_column": {"from": _path(name), "to": to}}
        for name, to in (rename_column or {}).items()
    ]
    changes += [
        {"set_type": {"column": _path(name), "type": _type(to)}}
        for name, to in (set_type or {}).items()
    ]
    changes += [{"set_nullable": _path(name)} for name in _each(set_nullable)]
    added = [add_column] if isinstance(add_column, Column | pa.Field) else list(add_column)
    changes += [_added(column).to_change() for column in added]
    changes += [
        {"move_column": {"column": _path(name)} | _place(after, first=after is None)}
        for name, after in (move_column or {}).items()
    ]
    changes += [
        {"set_comment": {"column": name, "comment": text}}
        for name, text in (set_comment or {}).items()
    ]
    changes += [
        {"set_metadata": {"column": _path(name), "metadata": dict(metadata)}}
        for name, metadata in (set_metadata or {}).items()
    ]
    return changes


def _added(column: Column | pa.Field[Any]) -> Column:
    if isinstance(column, Column):
        return column
    # A schema of the field alone keeps its metadata, and extension types.
    return Column(column.name, encode_schema(pa.schema([column])), nullable=column.nullable)


def _path(name: ColumnName) -> str | list[str]:
    return name if isinstance(name, str) else list(name)


def _each(names: ColumnNames) -> Iterable[ColumnName]:
    """Give the names: a text and a tuple are one, any other sequence is some."""
    if isinstance(names, str):
        return [names]
    if isinstance(names, tuple):
        return [names] if names else []
    return names


def _type(of: pa.DataType | str) -> str:
    if isinstance(of, str):
        return of
    if not isinstance(of, pa.DataType):
        raise BadRequest(f"a type is {of!r}, want a pyarrow type or its text")
    return encode_schema(pa.schema([pa.field("type", of)]))


_EXACT = 2**53


def _json(value: Any) -> Any:
    """Give a default in the form that the server reads."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Decimal) or (isinstance(value, int) and abs(value) > _EXACT):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dt.datetime):
        return value.isoformat() if value.tzinfo else f"{value.isoformat()}Z"
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(name): _json(field) for name, field in value.items()}
    if isinstance(value, list | tuple):
        return [_json(element) for element in value]
    return value


def _place(after: str | None, first: bool) -> dict[str, Any]:
    if after is not None:
        return {"after": after, "first": first} if first else {"after": after}
    return {"first": True} if first else {}
