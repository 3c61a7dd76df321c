"""Anything with rows becomes record batches that fit a table and the server's limits."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.types as pt

from headrace.casting import Caster, cast_column, without_views
from headrace.errors import BatchTooLarge, SchemaMismatch

ROWS_PER_PIECE: Final = 8192
"""Rows of plain Python data that are turned into one batch."""

ACCEPTED: Final = (
    "a pyarrow Table, RecordBatch or RecordBatchReader, a pandas or Polars data frame, anything "
    "with __arrow_c_stream__, a list of dicts, or a dict of columns"
)

Rows = Any
"""What can be appended: see `ACCEPTED`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How large a batch may be.

    Attributes:
        rows: most rows in one batch.
        bytes: bytes in one batch, counted in memory, above which it is cut.
        row_bytes: most bytes of a single row; such a row goes alone.
    """

    rows: int = 1 << 16
    bytes: int = 3 << 20
    row_bytes: int = 48 << 20

    @classmethod
    def of(cls, max_rows: int, max_message_bytes: int) -> Limits:
        """Give the limits that suit a server: well below its own, since the wire adds some."""
        most = max_message_bytes * 3 // 4
        return cls(rows=min(max_rows, cls().rows), bytes=min(most, cls().bytes), row_bytes=most)


def record_batches(data: Rows, caster: Caster, limits: Limits) -> Iterator[pa.RecordBatch]:
    """Turn data into batches of the table's schema, each within the limits; empty ones left out.

    Args:
        data: rows in any of the accepted forms. Readers and iterators are used up.
        caster: knows the table's schema.
        limits: how large a batch may be.

    Raises:
        SchemaMismatch: the rows do not fit.
        BatchTooLarge: a single row is above `limits.row_bytes`.
        TypeError: the data is in no form that is accepted.

    Example:
        >>> caster = Caster(pa.schema([("id", pa.int64())]))
        >>> batches = record_batches([{"id": 1}, {"id": 2}, {"id": 3}], caster, Limits(rows=2))
        >>> [batch.num_rows for batch in batches]
        [2, 1]
    """
    for batch in batches_of(data, caster.schema):
        if batch.num_rows == 0:
            caster.check_names(batch.schema.names)
            continue
        yield from _sliced(caster.cast(batch), limits)


def schema_of(data: Any) -> pa.Schema:
    """Give the schema that a table needs to hold this data.

    Example:
        >>> schema_of([{"id": 1, "name": "ada"}])
        id: int64
        name: string
    """
    if isinstance(data, pa.Schema):
        return data
    if isinstance(data, (pa.RecordBatchReader, Iterator)):
        raise TypeError("a reader can be read only once: pass its schema, reader.schema")
    if hasattr(data, "__arrow_c_schema__") and not hasattr(data, "__arrow_c_stream__"):
        return pa.schema(data)
    first = next(batches_of(data, None), None)
    if first is None:
        raise TypeError("the data has no rows to take a schema from; pass a pa.Schema")
    # What pandas notes down is of no use to others, and few libraries read views.
    plain: dict[Any, Any] = dict(first.schema.metadata or {})
    plain.pop(b"pandas", None)
    fields = [f.with_type(without_views(f.type, pa.string(), pa.binary())) for f in first.schema]
    return pa.schema(fields, plain or None)


def _sliced(batch: pa.RecordBatch, limits: Limits) -> Iterator[pa.RecordBatch]:
    # The size of whole buffers is quicker to get than that of a slice of them, and never smaller.
    if batch.num_rows <= limits.rows and (
        batch.get_total_buffer_size() <= limits.bytes or batch.nbytes <= limits.bytes
    ):
        yield batch
        return
    if batch.num_rows == 1:
        if batch.nbytes <= limits.row_bytes:
            yield batch
            return
        raise BatchTooLarge(
            f"BATCH_TOO_LARGE: a row of {batch.nbytes:,} bytes is above the server's limit of "
            f"{limits.row_bytes:,} bytes. Keep large values elsewhere and store where they are.",
            details={"bytes": batch.nbytes, "max_bytes": limits.row_bytes},
        )
    by_bytes = max(1, batch.num_rows * limits.bytes // max(1, batch.nbytes))
    rows = min(limits.rows, by_bytes)
    if rows >= batch.num_rows:
        rows = (batch.num_rows + 1) // 2
    for start in range(0, batch.num_rows, rows):
        yield from _sliced(batch.slice(start, rows), limits)


def batches_of(data: Any, schema: pa.Schema | None) -> Iterator[pa.RecordBatch]:
    """Give the data's batches as they are; `schema` guides plain Python data and pandas."""
    if isinstance(data, pa.RecordBatch):
        yield data
    elif isinstance(data, pa.Table):
        yield from data.to_batches() or [_empty(data.schema)]
    elif isinstance(data, pa.RecordBatchReader):
        yield from data
    elif _is_from(data, "pandas"):
        yield from _pandas_batches(data, schema)
    elif _is_from(data, "polars") and hasattr(data, "collect"):
        yield from batches_of(data.collect(), schema)
    elif hasattr(data, "__arrow_c_stream__"):
        reader = pa.RecordBatchReader.from_stream(data)
        yield from reader
    elif hasattr(data, "__arrow_c_array__"):
        yield pa.record_batch(data)
    elif hasattr(data, "scanner"):  # pyarrow.dataset.Dataset
        yield from data.scanner().to_reader()
    elif hasattr(data, "to_reader"):  # pyarrow.dataset.Scanner
        yield from data.to_reader()
    elif isinstance(data, Mapping):
        yield _from_columns(data, schema)
    elif isinstance(data, Iterable) and not isinstance(data, (str, bytes)):
        yield from _from_iterable(data, schema)
    else:
        hint = ""
        if isinstance(data, str) or hasattr(data, "__fspath__"):
            hint = " To append a file, read it: pyarrow.dataset.dataset(path)."
        raise TypeError(f"cannot take rows from {type(data).__name__}; want {ACCEPTED}.{hint}")


def _is_from(data: Any, module: str) -> bool:
    """Whether a type comes from a library, without an import of that library."""
    return type(data).__module__.split(".")[0] == module


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], f.type) for f in schema], schema=schema)


def _pandas_batches(frame: Any, schema: pa.Schema | None) -> Iterator[pa.RecordBatch]:
    names = [n for n in frame.index.names if n is not None]
    if names and (schema is None or set(names) <= set(schema.names)):
        frame = frame.reset_index()
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as cause:
        # pyarrow puts the column beside the text, as a second argument.
        text = " ".join(str(part) for part in cause.args)
        raise SchemaMismatch(
            f"SCHEMA_MISMATCH: {text}. All values of a column must have one type."
        ) from cause
    yield from batches_of(table.replace_schema_metadata(None), schema)


def _from_columns(columns: Mapping[Any, Any], schema: pa.Schema | None) -> pa.RecordBatch:
    arrays: dict[str, pa.Array[Any]] = {}
    for name, values in columns.items():
        if not isinstance(name, str):
            raise TypeError(f"column name {name!r} is {type(name).__name__}, want str")
        if isinstance(values, (str, bytes, Mapping)) or not hasattr(values, "__len__"):
            raise TypeError(
                f"column {name!r} is {values!r}, want a sequence of values. "
                "To append one row, put it in a list: [row]."
            )
        arrays[name] = _column(name, values, schema)
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise SchemaMismatch(f"SCHEMA_MISMATCH: columns differ in length: {lengths}")
    return pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))


def _column(name: str, values: Any, schema: pa.Schema | None) -> pa.Array[Any]:
    """Turn the values of one column into an array, of the table's type where it is known."""
    if isinstance(values, pa.ChunkedArray):
        return values.combine_chunks()
    if isinstance(values, pa.Array):
        return values
    at = -1 if schema is None else schema.get_field_index(name)
    try:
        if hasattr(values, "__arrow_c_stream__"):
            chunked: pa.ChunkedArray[Any] = pa.chunked_array(values)
            return chunked.combine_chunks()
        if hasattr(values, "dtype"):  # numpy, pandas: they know their type; casts come later
            array: pa.Array[Any] = pa.array(values)
            return array
        kind = None if schema is None or at < 0 else schema.field(at).type
        if schema is not None and kind is not None and _would_cut(values, kind):
            return _column_by_inference(values, schema.field(at), TypeError("it has fractions"))
        plain: pa.Array[Any] = pa.array(values, type=kind)
        return plain
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as cause:
        if schema is None or at < 0:
            raise SchemaMismatch(f"SCHEMA_MISMATCH: column {name!r}: {cause}") from cause
        return _column_by_inference(values, schema.field(at), cause)


def _would_cut(values: Any, kind: pa.DataType) -> bool:
    """Whether `pa.array` might cut fractions off: it turns 1.5 into 1 where it is told an int."""
    if pt.is_nested(kind):
        return "int" in str(kind) and "double" in str(pa.array(values).type)
    return pt.is_integer(kind) and any(isinstance(value, float) for value in values)


def _column_by_inference(values: Any, target: pa.Field[Any], cause: Exception) -> pa.Array[Any]:
    """Try the type that the values have by themselves, for casts that keep every value."""
    try:
        array = pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        raise SchemaMismatch(
            f"SCHEMA_MISMATCH: column {target.name!r}: want {target.type}: {cause}",
            details={"column": target.name},
        ) from cause
    return cast_column(array, target)


def _from_iterable(items: Iterable[Any], schema: pa.Schema | None) -> Iterator[pa.RecordBatch]:
    """Take an iterable of rows, or of batches, tables and frames."""
    iterator = iter(items)
    for first in iterator:
        if isinstance(first, Mapping) and not _has_columns(first):
            rows = itertools.chain([first], itertools.islice(iterator, ROWS_PER_PIECE - 1))
            yield _from_rows(list(rows), schema)
        elif hasattr(first, "__arrow_c_stream__") or hasattr(first, "__arrow_c_array__"):
            yield from batches_of(first, schema)
        else:
            raise TypeError(
                f"got a {type(first).__name__} as a row: {first!r:.80}; want dicts such as "
                "{'id': 1}, or record batches"
            )


def _has_columns(item: Mapping[str, Any]) -> bool:
    return hasattr(item, "__arrow_c_stream__")


def _from_rows(rows: Sequence[Any], schema: pa.Schema | None) -> pa.RecordBatch:
    names: dict[str, None] = {}
    for at, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise TypeError(f"row {at} is {type(row).__name__}: {row!r:.80}; want a dict")
        names.update(dict.fromkeys(row))
    if not names:
        raise SchemaMismatch("SCHEMA_MISMATCH: the rows have no columns; want dicts with values.")
    columns = {name: [row.get(name) for row in rows] for name in names}
    return _from_columns(columns, schema)
