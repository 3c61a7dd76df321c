"""Keys in every form that people have them in become record batches of key columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from headrace.casting import cast_column, near, without_views
from headrace.convert import batches_of
from headrace.errors import BadRequest, SchemaMismatch

Keys = Any
"""Keys to look up or to delete: see `ACCEPTED_KEYS`."""

ACCEPTED_KEYS: Final = (
    "a value, a list of values (of tuples where the key has several columns), a dict of one key, a "
    "list of dicts, an array, or anything with rows that has the key columns"
)


def key_batches(
    keys: Keys, fields: Sequence[pa.Field[Any]], *, carry: bool
) -> list[pa.RecordBatch]:
    """Turn keys into batches whose key columns have the table's types.

    Args:
        keys: in any of the accepted forms.
        fields: the key columns. A nullable one takes nulls.
        carry: keep the other columns, as they are; else they are left out.

    Raises:
        SchemaMismatch: a key column is missing, or a value does not fit.
        TypeError: the keys are in no form that is accepted.

    Example:
        >>> fields = [pa.field("country", pa.string()), pa.field("id", pa.int32())]
        >>> [b.to_pylist() for b in key_batches([("DE", 1), ("FR", 2)], fields, carry=False)]
        [[{'country': 'DE', 'id': 1}, {'country': 'FR', 'id': 2}]]
        >>> [b.to_pylist() for b in key_batches(7, fields[1:], carry=False)]
        [[{'id': 7}]]
    """
    schema = pa.schema(fields)
    return [_cast(batch, fields, carry) for batch in batches_of(_rows(keys, fields), schema)]


def _rows(keys: Keys, fields: Sequence[pa.Field[Any]]) -> Any:
    """Give something that `batches_of` takes."""
    names = [field.name for field in fields]
    if _is_array(keys):
        if len(names) > 1:
            raise BadRequest(f"the key has the columns {', '.join(names)}; got one array of values")
        return {names[0]: keys}
    if isinstance(keys, Mapping) and not hasattr(keys, "__arrow_c_stream__"):
        one = all(_is_value(value) for value in keys.values())
        return [dict(keys)] if one else keys
    if _is_value(keys) or _is_tuple_key(keys, names):
        return _columns([keys], names)
    if _is_rows(keys) or not isinstance(keys, Iterable):
        return keys
    items = list(keys)
    if items and (isinstance(items[0], Mapping) or _is_rows(items[0])):
        return items
    return _columns(items, names)


def _columns(items: list[Any], names: list[str]) -> dict[str, list[Any]]:
    """Give the columns of keys that are values, or tuples of values."""
    if len(names) == 1:
        return {names[0]: items}
    for item in items:
        if not isinstance(item, (tuple, list)) or len(item) != len(names):
            raise BadRequest(
                f"{item!r} is not a key: want ({', '.join(names)}), {len(names)} values"
            )
    return {name: [item[at] for item in items] for at, name in enumerate(names)}


def _is_value(item: Any) -> bool:
    """Whether it is one value of one column."""
    if item is None or isinstance(item, (str, bytes, bytearray, memoryview)):
        return True
    return not isinstance(item, Iterable) and not _is_rows(item)


def _is_tuple_key(item: Any, names: list[str]) -> bool:
    return (
        len(names) > 1
        and isinstance(item, tuple)
        and len(item) == len(names)
        and all(_is_value(value) for value in item)
    )


def _is_array(item: Any) -> bool:
    """Whether it is one column: of pyarrow, numpy, pandas or Polars."""
    if isinstance(item, (pa.Array, pa.ChunkedArray)):
        return True
    return hasattr(item, "dtype") and not hasattr(item, "columns") and hasattr(item, "__len__")


def _is_rows(item: Any) -> bool:
    return any(
        hasattr(item, name)
        for name in ("__arrow_c_stream__", "__arrow_c_array__", "columns", "scanner", "to_reader")
    )


def _cast(batch: pa.RecordBatch, fields: Sequence[pa.Field[Any]], carry: bool) -> pa.RecordBatch:
    names = batch.schema.names
    columns: dict[str, pa.Array[Any]] = {}
    if carry:
        if len(set(names)) < len(names):
            raise SchemaMismatch(f"SCHEMA_MISMATCH: columns come twice: {', '.join(names)}.")
        columns = dict(zip(names, batch.columns, strict=True))
    for field in fields:
        if names.count(field.name) != 1:
            raise SchemaMismatch(
                f"SCHEMA_MISMATCH: the keys have no column {field.name!r}."
                f"{near(field.name, names)} They have {', '.join(names)}.",
                details={"column": field.name},
            )
        sent = field.with_type(without_views(field.type, pa.large_string(), pa.large_binary()))
        columns[field.name] = cast_column(batch.column(names.index(field.name)), sent)
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
