"""Casts by name to a table's schema that change no value: what cannot be kept is refused."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from headrace.errors import SchemaMismatch


def near(name: str, names: Iterable[str]) -> str:
    """Give « Did you mean …?» if a name is near, else nothing.

    Example:
        >>> near("nmae", ["id", "name"])
        " Did you mean 'name'?"
    """
    known = list(names)
    folded = [n for n in known if n.lower() == name.lower()]
    matches = folded or difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(map(repr, matches))}?" if matches else ""


def _is_text(t: pa.DataType) -> bool:
    return pt.is_string(t) or pt.is_large_string(t) or pt.is_string_view(t)


def _is_bytes(t: pa.DataType) -> bool:
    return (
        pt.is_binary(t)
        or pt.is_large_binary(t)
        or pt.is_binary_view(t)
        or pt.is_fixed_size_binary(t)
    )


def _is_sequence(t: pa.DataType) -> bool:
    return pt.is_list(t) or pt.is_large_list(t) or pt.is_fixed_size_list(t)


def _is_number(t: pa.DataType) -> bool:
    return pt.is_integer(t) or pt.is_floating(t)


_FAMILIES: tuple[Callable[[pa.DataType], bool], ...] = (
    _is_text,
    _is_bytes,
    _is_number,
    pt.is_date,
    pt.is_time,
    pt.is_duration,
)


def castable(source: pa.DataType, target: pa.DataType) -> bool:
    """Say whether values of one type can become another's without a guess about their meaning.

    Numbers become numbers and text becomes text; text never becomes a number, and a time without
    a zone never one with a zone. Whether each single value fits is for the cast to find out.

    Example:
        >>> castable(pa.int64(), pa.int32()), castable(pa.string(), pa.int32())
        (True, False)
    """
    if source.equals(target) or pt.is_null(source):
        return True
    if isinstance(source, pa.DictionaryType):
        return castable(source.value_type, target)
    if isinstance(target, pa.BaseExtensionType):
        return castable(source, target.storage_type)
    if pt.is_timestamp(source) and pt.is_timestamp(target):
        return (source.tz is None) == (target.tz is None)
    if pt.is_date(source) and pt.is_timestamp(target):
        return target.tz is None
    if pt.is_decimal(target):
        return pt.is_decimal(source) or pt.is_integer(source)
    return _nested_castable(source, target) or any(f(source) and f(target) for f in _FAMILIES)


def _nested_castable(source: pa.DataType, target: pa.DataType) -> bool:
    if _is_sequence(source) and _is_sequence(target):
        return castable(source.field(0).type, target.field(0).type)
    if pt.is_map(source) and pt.is_map(target):
        return castable(source.key_type, target.key_type) and castable(
            source.item_type, target.item_type
        )
    if pt.is_struct(source) and pt.is_struct(target):
        names = {f.name: f.type for f in source}
        return set(names) == {f.name for f in target} and all(
            castable(names[f.name], f.type) for f in target
        )
    return False


def without_views(kind: pa.DataType, text: pa.DataType, binary: pa.DataType) -> pa.DataType:
    """Replace views, at any depth, by other types of text, of bytes and of lists.

    Runs become their values.

    Example:
        >>> without_views(pa.list_(pa.string_view()), pa.string(), pa.binary())
        ListType(list<item: string>)
    """

    def inner(field: pa.Field[Any]) -> pa.Field[Any]:
        return field.with_type(without_views(field.type, text, binary))

    if pt.is_string_view(kind):
        return text
    if pt.is_binary_view(kind):
        return binary
    if isinstance(kind, pa.RunEndEncodedType):
        return without_views(kind.value_type, text, binary)
    if isinstance(kind, (pa.ListType, pa.ListViewType)):
        return pa.list_(inner(kind.value_field))
    if isinstance(kind, (pa.LargeListType, pa.LargeListViewType)):
        return pa.large_list(inner(kind.value_field))
    if isinstance(kind, pa.FixedSizeListType):
        return pa.list_(inner(kind.value_field), kind.list_size)
    if isinstance(kind, pa.StructType):
        return pa.struct([inner(f) for f in kind])
    if isinstance(kind, pa.MapType):
        key: Any = inner(kind.key_field)
        item: Any = inner(kind.item_field)
        map_of: pa.DataType = pa.map_(key, item, kind.keys_sorted)
        return map_of
    return kind


def plain(array: pa.Array[Any]) -> pa.Array[Any]:
    """Give runs as their values and list views as lists: tables have neither.

    Example:
        >>> plain(pa.array([[1], None, [2, 3]], pa.list_view(pa.int8()))).type
        ListType(list<item: int8>)
    """
    if isinstance(array, pa.RunEndEncodedArray):
        decoded: Any = pc.call_function("run_end_decode", [array])
        return plain(decoded)
    if not isinstance(array, (pa.ListViewArray, pa.LargeListViewArray)):
        return array
    # Not by a cast: that of pyarrow 26 loses the last list.
    values: Any = plain(array.flatten())
    lengths: Any = array.value_lengths().fill_null(0)
    first: Any = pa.array([0], lengths.type)
    ends: Any = pa.concat_arrays([first, pc.cumulative_sum(lengths)])
    item = array.type.value_field.with_type(values.type)
    if isinstance(array, pa.LargeListViewArray):
        wide = pa.large_list(item)
        return pa.LargeListArray.from_arrays(ends, values, type=wide, mask=array.is_null())
    return pa.ListArray.from_arrays(ends, values, type=pa.list_(item), mask=array.is_null())


def cast_column(array: pa.Array[Any], target: pa.Field[Any]) -> pa.Array[Any]:
    """Cast one column to a field of the table.

    Raises:
        SchemaMismatch: a value or the type does not fit; the text names the column.
    """
    array = plain(array)
    if not castable(array.type, target.type):
        raise _mismatch(target, f"got {array.type}, want {target.type}.{_remedy(array, target)}")
    try:
        array = _cast(array, target.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as cause:
        raise _mismatch(target, f"got {array.type}, want {target.type}: {cause}") from cause
    if not target.nullable and array.null_count:
        row = array.is_null().index(True).as_py()
        raise _mismatch(target, f"row {row} is null, and the column is NOT NULL.")
    return array


def _cast(array: pa.Array[Any], target: pa.DataType) -> pa.Array[Any]:
    if array.type.equals(target):
        return array
    if isinstance(target, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(target, _cast(array, target.storage_type))
    if isinstance(array, pa.DictionaryArray):
        return _cast(array.dictionary_decode(), target)
    if pt.is_decimal(target) and pt.is_integer(array.type):
        # A direct cast asks for room for every integer of the type, not for those that are there.
        array = array.cast(pa.decimal256(76, target.scale))
    try:
        return array.cast(target, safe=True)
    except pa.ArrowNotImplementedError:
        # Older pyarrow lacks some casts between views and plain arrays, and of nested types.
        return pa.array(array.to_pylist(), type=target)


def _remedy(array: pa.Array[Any], target: pa.Field[Any]) -> str:
    if pt.is_timestamp(target.type) and pt.is_timestamp(array.type):
        if target.type.tz:
            return f" Give the times a zone first, such as UTC, then {target.type.tz} is kept."
        return " Take the zone away first, in the zone that you mean."
    return " Cast the column before you append it."


def _mismatch(target: pa.Field[Any], text: str) -> SchemaMismatch:
    return SchemaMismatch(
        f"SCHEMA_MISMATCH: column {target.name!r}: {text}", details={"column": target.name}
    )


@dataclass(frozen=True, slots=True)
class Caster:
    """Casts record batches to a table's schema.

    Columns are matched by name, in any order. A column that is missing is left out if the server
    has a default for it, and else filled with nulls.

    Attributes:
        schema: of the table, or of those of its columns that are sent.
        defaults: names of the columns for which the server has a default.
        whole: refuse rows that lack a column, even if nulls would do.
        choose: leave columns out that the schema lacks, in place of refusing them.

    Example:
        >>> caster = Caster(pa.schema([("id", pa.int64()), ("name", pa.string())]))
        >>> caster.cast(pa.record_batch({"id": pa.array([1], pa.int8())})).to_pylist()
        [{'id': 1, 'name': None}]
    """

    schema: pa.Schema
    defaults: frozenset[str] = field(default=frozenset())
    whole: bool = False
    choose: bool = False
    _sent: pa.Schema = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Find the types that are sent.

        Views go as large text and bytes, which the server turns back: a piece of a view column
        would carry the bytes of the whole.
        """
        fields = [
            f.with_type(without_views(f.type, pa.large_string(), pa.large_binary()))
            for f in self.schema
        ]
        object.__setattr__(self, "_sent", pa.schema(fields))

    def check_names(self, names: list[str]) -> None:
        """Refuse unknown, doubled and missing columns, all in one error.

        Raises:
            SchemaMismatch: the text names each of them.
        """
        known = self.schema.names
        faults = [
            f"column {n!r} is not in the table.{near(n, known)}"
            for n in names
            if n not in known and not self.choose
        ]
        faults += [f"column {n!r} comes twice." for n in sorted(set(names)) if names.count(n) > 1]
        missing = [f for f in self.schema if f.name not in names]
        if self.whole:
            missing = [f for f in missing if f.name not in self.defaults]
            faults += [f"column {f.name!r} is missing." for f in missing]
        else:
            faults += [
                f"column {f.name!r} is missing, and it is NOT NULL without a default."
                for f in missing
                if not f.nullable and f.name not in self.defaults
            ]
        if faults:
            raise SchemaMismatch(
                f"SCHEMA_MISMATCH: {' '.join(faults)} The table has {', '.join(known)}."
                f"{self._remedy(len(missing))}"
            )

    def _remedy(self, missing: int) -> str:
        if self.whole and missing and not self.choose:
            return " To change some columns alone, name them: upsert(data, columns=[…])."
        return ""

    def cast(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Cast one batch.

        Raises:
            SchemaMismatch: the batch does not fit.
        """
        if batch.schema.equals(self._sent) and all(f.nullable for f in self._sent):
            return batch
        self.check_names(batch.schema.names)
        fields: list[pa.Field[Any]] = []
        columns: list[pa.Array[Any]] = []
        for target in self._sent:
            at = batch.schema.get_field_index(target.name)
            if at >= 0:
                columns.append(cast_column(batch.column(at), target))
            elif target.name in self.defaults:
                continue
            else:
                columns.append(pa.nulls(batch.num_rows, target.type))
            fields.append(target)
        return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))
