"""Filters in all forms against the real server, and what pyarrow and Polars make of them."""

from __future__ import annotations

import datetime as dt
import functools
import operator
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import headrace as hr
from headrace.adapters.polars_filter import pushed_down
from headrace.filters import Filter

UTC = dt.timezone.utc
F = pc.field

ROWS = pa.table(
    {
        "id": pa.array(range(6), pa.int64()),
        "u8": pa.array([0, 1, 2, None, 200, 255], pa.uint8()),
        "i32": pa.array([-5, 0, None, 7, 7, 2**31 - 1], pa.int32()),
        "half": pa.array(np.array([0, 0.5, 1, 2, -1, 3], np.float16)),
        "f32": pa.array([0.5, None, -1.5, 2, 3, 4], pa.float32()),
        "f64": pa.array([0.5, None, float("inf"), 2, -0.0, 4]),
        "text": pa.array(["a", "ab", None, "", "b%", "é"]),
        "large": pa.array(["a", "ab", None, "", "b%", "é"], pa.large_string()),
        "view": pa.array(["a", "ab", None, "", "b%", "é"], pa.string_view()),
        "raw": pa.array([b"", b"\0\xff", None, b"a", b"b", b"c"]),
        "fixed": pa.array([b"aa", b"bb", None, b"cc", b"dd", b"ee"], pa.binary(2)),
        "flag": pa.array([True, False, None, True, False, None]),
        "money": pa.array([Decimal("1.25"), None, Decimal("-3"), 0, 7, 9], pa.decimal128(9, 2)),
        "day": pa.array([dt.date(2026, 1, d) if d > 1 else None for d in range(1, 7)]),
        "clock": pa.array([dt.time(h) for h in range(6)], pa.time32("s")),
        "at": pa.array(
            [dt.datetime(2026, 1, d, tzinfo=UTC) for d in range(1, 7)], pa.timestamp("ms", "UTC")
        ),
        "local": pa.array([dt.datetime(2026, 1, d) for d in range(1, 7)], pa.timestamp("ns")),
        "span": pa.array([dt.timedelta(seconds=s) for s in range(6)], pa.duration("ms")),
        "in": pa.array([{"x": 1}, {"x": None}, None, {"x": 2}, {"x": 3}, {"x": 1}]),
        "list": pa.array([[1], None, [], [2], [3], [4]], pa.list_(pa.int8())),
        "triple": pa.array([[1, 2, 3]] * 6, pa.list_(pa.int8(), 3)),
    }
)

EXPRESSIONS: list[pc.Expression] = [
    F("u8") > 1,
    pc.scalar(1) < F("u8"),
    F("i32") != 7,
    F("f32") < 2.5,
    F("f64") > 0,
    pc.is_nan(F("f64")),
    F("text") == "ab",
    F("large") >= "b",
    F("raw") == b"\0\xff",
    F("fixed") != b"cc",
    F("flag"),
    ~F("flag"),
    F("money") > Decimal("1.2"),
    F("day") > dt.date(2026, 1, 3),
    F("clock") == dt.time(3),
    F("at") <= dt.datetime(2026, 1, 3, tzinfo=UTC),
    F("local") < dt.datetime(2026, 1, 3),
    F("local") == pa.scalar(1767225600000000000, pa.timestamp("ns")),
    F("span") > dt.timedelta(seconds=2),
    F("in", "x") == 1,
    F("list").is_null(),
    F("i32").is_valid() & F("text").is_valid(),
    F("f64").is_null(nan_is_null=True),
    F("i32").isin([7, -5]),
    F("text").isin(["a", "", "zz"]),
    F("u8").isin([255]),
    pc.starts_with(F("text"), "a"),
    pc.ends_with(F("text"), "%"),
    pc.match_substring(F("large"), "b"),
    pc.match_like(F("text"), "%\\%"),
    pc.match_like(F("text"), "_"),
    (F("i32") > 0) & (F("text") != "b%") | F("flag"),
    functools.reduce(operator.or_, [F("id") == i for i in (1, 3, 5, 7)]),
    F("i32") == pa.scalar(None, pa.int32()),
    pc.scalar(True),
]


LOCAL = ROWS.drop_columns(["view"])  # of which pyarrow filters no table


@pytest.fixture(scope="module")
def table(server: hr.testing.TestServer) -> Iterator[hr.Table]:
    """One table for all tests that do not write."""
    with server.connect() as database:
        database.create_database("shared", exist_ok=True)
        table = database.create_table("shared.all", ROWS.schema)
        table.append(ROWS.slice(0, 4))
        table.append(ROWS.slice(4))
        yield table


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=lambda e: str(e)[:60])
def test_expressions_give_what_pyarrow_gives(table: hr.Table, expression: pc.Expression) -> None:
    """For rows without NaN, and without a null among values, the rules are the same."""
    got = table.scan(["id"], filter=expression).to_arrow()["id"].to_pylist()
    assert got == LOCAL.filter(expression)["id"].to_pylist()


# pyarrow has no comparison for these.
OTHERS: list[tuple[Any, list[int]]] = [
    (F("i32") >= 6.5, [3, 4, 5]),
    (F("at") > dt.datetime(2026, 1, 3, 1, tzinfo=dt.timezone(dt.timedelta(hours=2))), [2, 3, 4, 5]),
    (F("half") > 1, [3, 5]),
    (F("view") == "ab", [1]),
    (pc.starts_with(F("view"), "a"), [0, 1]),
    ("_offset >= 4", [4, 5]),
    (F("_offset") < 2, [0, 1]),
    ({"op": "in", "column": ["in", "x"], "values": [2, 3]}, [3, 4]),
    ("list is null or triple is null", [1]),
    (F("i32").isin([7, None]), [3, 4]),
    (~F("i32").isin([7]), [0, 1, 5]),
    # Long chains, for which pyarrow itself takes for ever.
    (
        functools.reduce(operator.or_, [F("id") == i for i in (1, 3, 5) for _ in range(999)]),
        [1, 3, 5],
    ),
    (functools.reduce(operator.and_, [F("u8") != i for i in range(2, 999)]), [0, 1]),
]


@pytest.mark.parametrize(("filter", "want"), OTHERS, ids=lambda e: str(e)[:60])
def test_forms_that_pyarrow_does_not_have(table: hr.Table, filter: Any, want: list[int]) -> None:
    assert table.scan(["id"], filter=filter).to_arrow()["id"].to_pylist() == want


def test_the_form_is_substrait_where_pyarrow_writes_it() -> None:
    for expression, form in [
        (F("i32") > 3, "substrait"),  # although the schema has columns that Substrait lacks
        (F("u8") > 3, "op"),
        (pc.match_like(F("text"), "a%"), "op"),
    ]:
        assert list(Filter.of(expression, ROWS.schema).to_dict())[0] == form
    one = Filter.of("a > 1")
    assert one == Filter.of({"sql": "a > 1"}) and hash(one) == hash(Filter.of(one))


@pytest.mark.parametrize(
    ("filter", "error", "text"),
    [
        ("i32 >", hr.BadRequest, "at character 6: got the end"),
        ("nope = 1", hr.ColumnNotFound, "'nope'|\"nope\""),
        (F("nope") == 1, hr.ColumnNotFound, "'nope'"),
        ("text = 3", hr.BadRequest, 'column "text" of type string is compared with 3'),
        (F("text") == F("large"), hr.BadRequest, "."),
        (F("u8") == F("i32"), hr.BadRequest, "other things than a column and a value"),
        (F("i32").cast("int64") > 3, hr.BadRequest, "."),
        (pc.if_else(F("flag"), F("flag"), F("flag")), hr.BadRequest, "."),
        (F("u8") + 1 > 3, hr.BadRequest, "other things than a column and a value"),
        (pc.match_like(F("text"), "a", ignore_case=True), hr.BadRequest, "ignore_case"),
        (7, hr.BadRequest, "filter is a int"),
    ],
    ids=str,
)
def test_what_cannot_be_read_is_refused(
    table: hr.Table, filter: Any, error: type[hr.Error], text: str
) -> None:
    with pytest.raises(error, match=text):
        table.scan(filter=filter).to_arrow()


POLARS = [
    pl.col("u8") > 1,
    (pl.col("i32") > 0) & (pl.col("text") == "ab"),
    (pl.col("i32") > 0) | ~pl.col("flag"),
    pl.col("i32").is_in([7, 0]),
    pl.col("text").is_in(["a", "b%"]),
    pl.col("f64").is_between(0, 2),
    pl.col("text").str.starts_with("a") & pl.col("flag").is_null(),
    pl.col("text").str.contains("b", literal=True),
    ~pl.col("text").str.ends_with("b"),
    pl.col("day") > dt.date(2026, 1, 3),
    pl.col("at") > dt.datetime(2026, 1, 3, tzinfo=UTC),
    pl.col("local") <= dt.datetime(2026, 1, 3),
    pl.col("in").struct.field("x") == 1,
    pl.col("f32") >= 2,
    pl.col("i32") > 6.5,
    pl.col("i32") * 2 > 5,
    (pl.col("id") < 5) & (pl.col("i32") * 2 > 5),
    pl.col("money") > 1,
    pl.col("span") > dt.timedelta(seconds=2),
]


@pytest.mark.parametrize("condition", POLARS, ids=str)
def test_polars_gets_what_it_would_keep(table: hr.Table, condition: pl.Expr) -> None:
    names = [name for name in ROWS.column_names if name != "half"]
    frame = pl.from_arrow(ROWS.select(names))
    assert isinstance(frame, pl.DataFrame)
    want = frame.filter(condition)["id"].to_list()
    lazy = hr.scan_polars(table, columns=names)
    assert lazy.filter(condition).select("id").collect()["id"].to_list() == want


def test_polars_conditions_are_sent() -> None:
    for condition, form in [
        (pl.col("a") > 1, {"op": ">", "column": "a", "value": 1}),
        (pl.col("a") <= 2, {"op": "<=", "column": "a", "value": 2}),
        (pl.col("a").is_in([1, 2]), {"op": "in", "column": "a", "values": [1, 2]}),
        (pl.col("a").is_not_null(), {"op": "is_not_null", "column": "a"}),
    ]:
        filter = pushed_down(condition)
        assert filter is not None and filter.to_dict() == form
    for condition in (pl.col("a") * 2 > 1, (pl.col("a") > 1) | (pl.col("a") * 2 > 1)):
        assert pushed_down(condition) is None


def test_counts_limits_and_positions(table: hr.Table) -> None:
    scan = table.scan(["id"], filter="u8 >= 1", limit=3)
    assert scan.to_arrow()["id"].to_pylist() == [1, 2, 4] and scan.position.offsets == {0: 5}
    assert table.scan(filter=F("u8") >= 1).count() == 4
    everything = table.scan(filter="false")
    assert everything.to_arrow().num_rows == 0 and everything.position.offsets == {0: 6}


def test_followers_get_what_matches(server: hr.testing.TestServer) -> None:
    database = server.connect()
    table = database.create_table("web.followed", ROWS.schema, exist_ok=True)
    table.append(ROWS)
    with table.subscribe(["id"], filter=F("u8") > 100, start="earliest") as subscription:
        first = next(subscription)
        assert first.to_arrow()["id"].to_pylist() == [4, 5]
        table.append(ROWS.slice(0, 5))
        assert next(subscription).to_arrow()["id"].to_pylist() == [4]
    database.drop_table("web.followed")
    database.close()


def test_keyed_tables(server: hr.testing.TestServer) -> None:
    db = server.connect()
    schema = pa.schema([("user_id", pa.int64()), ("name", pa.string()), ("age", pa.int32())])
    users = db.create_table("web.users", schema, primary_key=["user_id"], buckets=3)
    users.upsert({"user_id": range(10), "name": ["a", "b"] * 5, "age": range(10)})
    users.upsert({"user_id": [3], "name": ["b"], "age": [30]})
    users.delete([4])
    found = users.scan(["user_id"], filter=(F("name") == "b") & (F("age") > 5)).to_arrow()
    assert sorted(found["user_id"].to_pylist()) == [3, 7, 9]
    found = users.lookup([3, 4, 7, 8], ["age"], filter="age >= 8", found="there")
    assert found.to_pydict() == {"age": [30, None, None, 8], "there": [True, False, False, True]}
    assert users.lookup([3, 4, 7], ["age"], filter=F("age") < 8, how="inner").num_rows == 1
    changes = users.changelog(columns=["user_id"], filter="_change_type in ('-U', '-D')")
    assert sorted(changes.to_arrow()["user_id"].to_pylist()) == [3, 4]
    db.drop_table("web.users")
    db.close()
