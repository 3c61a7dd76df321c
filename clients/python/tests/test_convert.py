"""Tests of `headrace.convert` and `headrace.casting`."""

from __future__ import annotations

import datetime as dt
import decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from headrace.casting import Caster, without_views
from headrace.convert import Limits, record_batches, schema_of
from headrace.errors import BatchTooLarge, SchemaMismatch

UTC = dt.timezone.utc
SCHEMA = pa.schema([("id", pa.int64()), ("name", pa.string())])
ROWS = [{"id": 1, "name": "a"}, {"id": 2, "name": None}]


def convert(data: Any, schema: pa.Schema = SCHEMA, **options: Any) -> list[pa.RecordBatch]:
    caster = Caster(schema, frozenset(options.pop("defaults", ())))
    return list(record_batches(data, caster, Limits(**options)))


def rows(data: Any, schema: pa.Schema = SCHEMA, **options: Any) -> list[dict[str, Any]]:
    batches = convert(data, schema, **options)
    assert all(batch.schema.equals(schema) for batch in batches)
    return [row for batch in batches for row in batch.to_pylist()]


class Stream:
    """Some library's own table."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return pa.Table.from_pylist(ROWS, SCHEMA).__arrow_c_stream__(requested_schema)


class Array:
    """Some library's own batch."""

    def __arrow_c_array__(self, requested_schema: Any = None) -> Any:
        return pa.RecordBatch.from_pylist(ROWS, SCHEMA).__arrow_c_array__(requested_schema)


TABLE = pa.Table.from_pylist(ROWS, SCHEMA)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(TABLE, id="table"),
        pytest.param(TABLE.to_batches()[0], id="batch"),
        pytest.param(TABLE.select(["name", "id"]), id="columns in another order"),
        pytest.param(pa.concat_tables([TABLE.slice(0, 1), TABLE.slice(1)]), id="chunks"),
        pytest.param(pd.DataFrame(ROWS), id="pandas"),
        pytest.param(pd.DataFrame(ROWS).set_index("id"), id="pandas with a column as index"),
        pytest.param(pd.DataFrame(ROWS, index=[7, 8]), id="pandas with an index of no meaning"),
        pytest.param(pl.DataFrame(ROWS), id="polars"),
        pytest.param(pl.DataFrame(ROWS).lazy(), id="polars lazy"),
        pytest.param(Stream(), id="c stream"),
        pytest.param(Array(), id="c array"),
        pytest.param(ds.dataset(TABLE), id="dataset"),
        pytest.param(ROWS, id="list of dicts"),
        pytest.param(tuple(ROWS), id="tuple of dicts"),
        pytest.param({"id": [1, 2], "name": ["a", None]}, id="dict of lists"),
        pytest.param({"id": np.array([1, 2]), "name": pl.Series(["a", None])}, id="dict of arrays"),
        pytest.param({"id": TABLE["id"], "name": pa.array(["a", None])}, id="dict of arrow"),
        pytest.param([TABLE.slice(0, 1), TABLE.slice(1)], id="list of tables"),
        pytest.param(
            TABLE.set_column(1, "name", TABLE["name"].dictionary_encode()), id="dictionary"
        ),
        pytest.param(
            TABLE.cast(pa.schema([("id", pa.int8()), ("name", pa.large_string())])), id="narrow"
        ),
    ],
)
def test_every_form_gives_the_same_rows(data: Any) -> None:
    assert rows(data) == ROWS


def test_what_is_read_once() -> None:
    assert rows(TABLE.to_reader()) == ROWS
    assert rows(iter(ROWS)) == ROWS
    assert rows(ds.dataset(TABLE).scanner()) == ROWS


def test_rows_without_some_columns_get_nulls() -> None:
    assert rows([{"id": 1}, {"name": "x"}]) == [{"id": 1, "name": None}, {"id": None, "name": "x"}]
    assert rows({"id": [1]}) == [{"id": 1, "name": None}]


def test_a_column_with_a_default_is_left_to_the_server() -> None:
    (batch,) = convert({"id": [1]}, defaults={"name"})
    assert batch.schema.names == ["id"]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (pa.array([1, 2], pa.uint8()), pa.int64()),
        (pa.array([1.0, 2.0]), pa.int32()),
        (pa.array([1, 2]), pa.float32()),
        (pa.array([1.5], pa.float64()), pa.float32()),
        (pa.array([None, None]), pa.timestamp("us", "UTC")),
        (pa.array([1000], pa.timestamp("ms", "UTC")), pa.timestamp("us", "UTC")),
        (pa.array([1000], pa.timestamp("ms", "Europe/Berlin")), pa.timestamp("us", "UTC")),
        (pa.array([dt.date(2026, 11, 21)]), pa.timestamp("us")),
        (pa.array([1, 2]), pa.decimal128(20, 2)),
        (pa.array([decimal.Decimal("1.50")]), pa.decimal128(10, 4)),
        (pa.array([[1], None], pa.list_(pa.int8())), pa.large_list(pa.int64())),
        (pa.array([[1, 2]], pa.list_(pa.int8(), 2)), pa.list_(pa.int8())),
        (pa.array([{"a": 1}]), pa.struct([("a", pa.int32())])),
        (pa.array([b"x"]), pa.large_binary()),
        (pa.array(["x"], pa.string_view()), pa.string()),
        (pa.array(["x"]), pa.string_view()),
        (pa.array(["x", None]).dictionary_encode(), pa.large_string()),
        (pa.array([["x"]], pa.list_(pa.string_view())), pa.list_(pa.string())),
    ],
)
def test_casts_that_keep_every_value(source: pa.Array, target: pa.DataType) -> None:
    (batch,) = convert(pa.table({"c": source}), pa.schema([("c", target)]))
    sent = without_views(target, pa.large_string(), pa.large_binary())
    assert batch.schema.field("c").type == sent
    batch.validate(full=True)
    assert batch.num_rows == len(source) and batch.column(0).null_count == source.null_count


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (pa.array(["1"]), pa.int64(), "'c': got string, want int64. Cast the column"),
        (pa.array([1]), pa.string(), "'c': got int64, want string"),
        (pa.array([300]), pa.int8(), "'c': got int64, want int8: .*300"),
        (pa.array([1.5]), pa.int64(), "'c': got double, want int64: .*1.5"),
        (pa.array([1]), pa.bool_(), "got int64, want bool"),
        (pa.array([1], pa.timestamp("us")), pa.timestamp("us", "UTC"), "Give the times a zone"),
        (pa.array([1], pa.timestamp("us", "UTC")), pa.timestamp("us"), "Take the zone away"),
        (pa.array([1], pa.timestamp("ns")), pa.timestamp("us"), "lose data"),
        (pa.array([{"a": 1, "b": 2}]), pa.struct([("a", pa.int64())]), "want struct<a: int64>"),
        (pa.array([[1]]), pa.int64(), "want int64"),
        (pa.array([1.5]), pa.decimal128(10, 2), "got double, want decimal128"),
    ],
)
def test_casts_that_would_change_values_name_the_column(
    source: pa.Array, target: pa.DataType, message: str
) -> None:
    with pytest.raises(SchemaMismatch, match=message) as caught:
        convert(pa.table({"c": source}), pa.schema([("c", target)]))
    assert isinstance(caught.value, (ValueError, TypeError))
    assert caught.value.details == {"column": "c"}


def test_fractions_in_plain_values_are_never_cut_off() -> None:
    nested = pa.schema([("c", pa.list_(pa.int32()))])
    (batch,) = convert([{"c": [1.0, 2.0]}, {"c": None}], nested)
    assert batch.column(0).to_pylist() == [[1, 2], None]
    with pytest.raises(SchemaMismatch, match="want list<item: int32>: .*2.5"):
        convert([{"c": [1.0, 2.5]}], nested)
    (batch,) = convert([{"c": 3.0}], pa.schema([("c", pa.int64())]))
    assert batch.column(0).to_pylist() == [3]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([{"id": "one", "name": "x"}], "column 'id': .*int64"),
        ([{"id": 1.5, "name": "x"}], "'id': got double, want int64: .*1.5"),
        ({"id": [2, 1.5], "name": ["x", "y"]}, "'id': got double, want int64: .*1.5"),
        ([{"id": 1, "nmae": "x"}], "'nmae' is not in the table. Did you mean 'name'"),
        ([{"id": 1, "NAME": "x"}], "'NAME' is not in the table. Did you mean 'name'"),
        ({"id": [1], "name": ["a", "b"]}, "differ in length"),
        (pa.table([[1], [2]], names=["id", "id"]), "'id' comes twice"),
        (pd.DataFrame({"id": [1, "x"], "name": ["a", "b"]}), "id"),
        ([{}], "no columns"),
        (pa.table({"other": pa.array([], pa.int64())}), "'other' is not in the table"),
    ],
)
def test_rows_that_do_not_fit(data: Any, message: str) -> None:
    with pytest.raises(SchemaMismatch, match=message):
        convert(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"id": 1, "name": "x"}, r"to append one row, put it in a list"),
        ("rows.parquet", r"cannot take rows from str.*pyarrow.dataset"),
        (7, "cannot take rows from int"),
        ([1, 2], "got a int as a row"),
        ([{"id": 1}, 5], "row 1 is int"),
        ({1: [2]}, "column name 1 is int"),
    ],
)
def test_what_are_not_rows(data: Any, message: str) -> None:
    with pytest.raises(TypeError, match=f"(?i){message}"):
        convert(data)


def test_not_null_columns() -> None:
    schema = pa.schema([pa.field("id", pa.int64(), nullable=False), ("name", pa.string())])
    with pytest.raises(SchemaMismatch, match="'id': row 1 is null, and the column is NOT NULL"):
        convert([{"id": 1}, {"id": None, "name": "x"}], schema)
    with pytest.raises(SchemaMismatch, match="'id' is missing"):
        convert([{"name": "x"}], schema)
    with pytest.raises(SchemaMismatch, match="row 1 is null"):
        convert(pa.table({"id": [1, None], "name": ["a", "b"]}), schema)
    ok = pa.table({"id": [1], "name": ["a"]})
    assert rows(ok, schema) == [{"id": 1, "name": "a"}]


def test_batches_are_cut_to_the_limits() -> None:
    table = pa.table({"id": range(1000), "name": ["x" * 100] * 1000})
    by_rows = convert(table, rows=300)
    assert [b.num_rows for b in by_rows] == [300, 300, 300, 100]
    by_bytes = convert(table, bytes=20_000)
    assert max(b.nbytes for b in by_bytes) <= 20_000 and len(by_bytes) < 12
    assert [r["id"] for b in by_bytes for r in b.to_pylist()] == list(range(1000))


def test_one_large_row_goes_alone_and_a_huge_one_is_refused() -> None:
    table = pa.table({"id": [1, 2, 3], "name": ["a", "x" * 5000, "b"]})
    batches = convert(table, bytes=1000, row_bytes=10_000)
    assert [b.num_rows for b in batches] == [1, 1, 1]
    with pytest.raises(BatchTooLarge, match="a row of 5,0.. bytes"):
        convert(table, bytes=1000, row_bytes=2000)


def test_extension_types_are_kept() -> None:
    schema = pa.schema([("u", pa.fixed_shape_tensor(pa.int32(), [2]))])
    storage = pa.array([[1, 2]], pa.list_(pa.int32(), 2))
    (batch,) = convert(pa.table({"u": storage}), schema)
    assert batch.schema.equals(schema)
    (again,) = convert(batch, schema)
    assert again.equals(batch)


@pytest.mark.parametrize("data", [TABLE, SCHEMA, pl.DataFrame(ROWS), ROWS, Stream()])
def test_schema_of(data: Any) -> None:
    schema = schema_of(data)
    assert schema.names == ["id", "name"] and schema.metadata is None
    assert schema.types == [pa.int64(), pa.string()]


def test_schema_of_pandas() -> None:
    schema = schema_of(pd.DataFrame(ROWS))
    assert schema.names == ["id", "name"] and schema.metadata is None


def test_pieces_of_a_view_column_carry_their_own_bytes_only() -> None:
    text = [f"{i:0100}" for i in range(20_000)]
    views = pa.array(text, pa.string_view())
    schema = pa.schema([("c", pa.string_view())])
    batches = convert(pa.table({"c": views}), schema, bytes=100_000)
    assert len(batches) > 15
    assert max(pa.ipc.get_record_batch_size(b) for b in batches) < 150_000
    assert [s for b in batches for s in b.column(0).to_pylist()] == text


def test_schema_of_readers_is_refused() -> None:
    with pytest.raises(TypeError, match="reader.schema"):
        schema_of(TABLE.to_reader())
    with pytest.raises(TypeError, match="no rows"):
        schema_of([])


def test_categoricals_and_times_of_pandas() -> None:
    frame = pd.DataFrame(
        {
            "kind": pd.Categorical(["a", "b"]),
            "at": pd.to_datetime(["2026-11-21", "2026-11-22"], utc=True),
        }
    )
    schema = pa.schema([("kind", pa.string()), ("at", pa.timestamp("us", "UTC"))])
    got = rows(frame, schema)
    assert got[0] == {"kind": "a", "at": dt.datetime(2026, 11, 21, tzinfo=UTC)}
