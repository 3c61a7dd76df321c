"""Random reads here and in DuckDB, over the same rows: both must give the same."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.flight as fl
import pytest

import headrace as hr

QUERIES = 10_000
ROWS = 600
BUCKETS = 3
SEED = 20261121

UTC = dt.timezone.utc
Random = random.Random


@dataclass(frozen=True)
class Kind:
    """A type: its values, and how literals of them are written."""

    name: str
    type: pa.DataType
    value: Callable[[Random], Any]
    literal: Callable[[Random], str]
    text: bool = False


def integers(name: str, type_: pa.DataType, low: int, high: int) -> Kind:
    """Few values, so that they meet, and the ends of the type."""

    def value(r: Random) -> int:
        return r.choice([low, high]) if r.random() < 0.1 else r.randint(max(low, -9), 9)

    def literal(r: Random) -> str:
        if r.random() < 0.2:
            return r.choice(["3.5", "-0.5", "2.0", "300", "-40000", "99999999999"])
        return str(value(r))

    return Kind(name, type_, value, literal)


def floats(name: str, type_: pa.DataType) -> Kind:
    values = [0.0, -0.0, 0.5, -2.25, 3.0, 1e6, float("nan"), float("inf"), float("-inf")]
    literals = ["0", "0.5", "-2.25", "3", "1000000", "-1e9", "'NaN'", "'Infinity'", "'-Infinity'"]
    return Kind(name, type_, lambda r: r.choice(values), lambda r: r.choice(literals))


def decimals(name: str, precision: int) -> Kind:
    def value(r: Random) -> decimal.Decimal:
        return decimal.Decimal(r.randint(-500, 500)) / 100

    def literal(r: Random) -> str:
        return f"{r.randint(-5000, 5000) / 1000:.3f}" if r.random() < 0.3 else str(value(r))

    return Kind(name, pa.decimal128(precision, 2), value, literal)


def moments(name: str, type_: pa.DataType, zone: dt.timezone | None) -> Kind:
    start = dt.datetime(2026, 11, 21, tzinfo=zone)

    def value(r: Random) -> dt.datetime:
        return start + dt.timedelta(hours=r.randint(0, 20))

    def literal(r: Random) -> str:
        if zone is None and r.random() < 0.3:
            return f"TIMESTAMP '{value(r):%Y-%m-%d %H:%M:%S}'"
        return f"'{value(r):%Y-%m-%d %H:%M:%S}{'' if zone is None else '+00:00'}'"

    return Kind(name, type_, value, literal)


def texts(name: str, type_: pa.DataType) -> Kind:
    def value(r: Random) -> str:
        return "".join(r.choice("ab%_é'") for _ in range(r.randint(0, 4)))

    return Kind(name, type_, value, lambda r: quote(value(r)), text=True)


def quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def day(r: Random) -> dt.date:
    return dt.date(2026, 11, 1) + dt.timedelta(days=r.randint(0, 20))


def clock(r: Random) -> dt.time:
    return dt.time(r.randint(0, 23), r.choice([0, 30]), 0, r.choice([0, 500_000]))


KINDS = [
    Kind("flag", pa.bool_(), lambda r: r.random() < 0.5, lambda r: r.choice(["true", "FALSE"])),
    integers("i8", pa.int8(), -128, 127),
    integers("i16", pa.int16(), -(2**15), 2**15 - 1),
    integers("i32", pa.int32(), -(2**31), 2**31 - 1),
    integers("i64", pa.int64(), -(2**63), 2**63 - 1),
    integers("u8", pa.uint8(), 0, 255),
    integers("u16", pa.uint16(), 0, 2**16 - 1),
    integers("u32", pa.uint32(), 0, 2**32 - 1),
    integers("u64", pa.uint64(), 0, 2**64 - 1),
    floats("f32", pa.float32()),
    floats("f64", pa.float64()),
    decimals("d9", 9),
    decimals("d30", 30),
    Kind("day", pa.date32(), day, lambda r: f"DATE '{day(r)}'"),
    Kind("clock", pa.time64("us"), clock, lambda r: f"TIME '{clock(r)}'"),
    moments("local", pa.timestamp("us"), None),
    moments("moment", pa.timestamp("us", "UTC"), UTC),
    moments("second", pa.timestamp("s"), None),
    texts("text", pa.string()),
    texts("large", pa.large_string()),
    texts("view", pa.string_view()),
]


def condition(r: Random, depth: int) -> str:
    """Write a random predicate in the SQL that both have."""
    if depth > 0 and r.random() < 0.6:
        parts = [condition(r, depth - 1) for _ in range(r.randint(2, 3))]
        joined = f" {r.choice(['AND', 'OR'])} ".join(f"({part})" for part in parts)
        return f"NOT ({joined})" if r.random() < 0.25 else joined
    kind = r.choice(KINDS)
    form = r.randint(0, 8)
    if form == 0:
        return f"{kind.name} IS {r.choice(['', 'NOT '])}NULL"
    if form == 1:
        listed = ", ".join(kind.literal(r) for _ in range(r.randint(1, 4)))
        listed += r.choice(["", "", ", NULL"])
        return f"{kind.name} {r.choice(['', 'NOT '])}IN ({listed})"
    if form == 2:
        low, high = kind.literal(r), kind.literal(r)
        return f"{kind.name} {r.choice(['', 'NOT '])}BETWEEN {low} AND {high}"
    if kind.text and form < 7:
        return match(r, kind)
    if kind.name == "flag" and form < 6:
        return r.choice(["flag", "NOT flag"])
    operator = r.choice(["=", "<>", "!=", "<", "<=", ">", ">="])
    if form == 3:
        return f"{kind.literal(r)} {operator} {kind.name}"
    return f"{kind.name} {operator} {kind.literal(r)}"


def match(r: Random, kind: Kind) -> str:
    text = kind.value(r)
    function = r.choice(["starts_with", "ends_with", "contains", "like", "like"])
    if function != "like":
        return f"{function}({kind.name}, {quote(text)})"
    pattern = "".join(r.choice("ab%_é%") for _ in range(r.randint(0, 5)))
    escape = ""
    if r.random() < 0.3:
        pattern, escape = pattern + r.choice(["!%", "!_b", "!!"]), " ESCAPE '!'"
    return f"{kind.name} {r.choice(['', 'NOT '])}LIKE {quote(pattern)}{escape}"


def random_rows(r: Random, first: int, rows: int) -> pa.RecordBatch:
    """Rows with nulls in every column but the first; some columns are all null."""
    columns: list[pa.Array] = [pa.array(range(first, first + rows), pa.int64())]
    for kind in KINDS:
        nulls = r.choice([0.0, 0.1, 0.5, 1.0])
        values = [None if r.random() < nulls else kind.value(r) for _ in range(rows)]
        columns.append(pa.array(values, kind.type))
    return pa.record_batch(columns, names=["id", *(kind.name for kind in KINDS)])


@pytest.fixture
def both(db: hr.Database) -> tuple[hr.Table, duckdb.DuckDBPyConnection]:
    """The same rows here, in several buckets and batches, and in DuckDB."""
    r = Random(SEED)
    schema = random_rows(r, 0, 1).schema
    table = db.create_table("web.random", schema, buckets=BUCKETS, bucket_key=["id"])
    first = 0
    while first < ROWS:
        rows = r.choice([1, 7, 64, 100, 300])
        table.append(random_rows(r, first, rows))
        first += rows
    stored = table.scan(system_columns=True).to_arrow()
    assert stored.num_rows == first
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    con.register("stored", stored.drop_columns(["_timestamp"]))
    con.execute("CREATE TABLE rows AS SELECT * FROM stored")
    return table, con


class Reader:
    """Reads with tickets written by hand: one call a query."""

    def __init__(self, address: str) -> None:
        self._client = fl.connect(address)

    def read(self, scan: dict[str, Any]) -> pa.Table:
        ticket = fl.Ticket(json.dumps({"scan": scan}))
        rows: pa.Table = self._client.do_get(ticket).read_all()
        return rows


def test_random_scans_give_what_duckdb_gives(
    both: tuple[hr.Table, duckdb.DuckDBPyConnection], server: hr.testing.TestServer
) -> None:
    table, con = both
    reader = Reader(f"grpc://127.0.0.1:{server.port}")
    ends = [b["end"] for b in sorted(table.stats()["buckets"], key=lambda b: b["bucket"])]
    names = [kind.name for kind in KINDS]
    r = Random(SEED + 1)
    matched = 0
    for number in range(QUERIES):
        where = condition(r, r.randint(0, 3))
        scan: dict[str, Any] = {"table": table.name, "filter": {"sql": where}}
        scan["columns"] = columns = ["id", *r.sample(names, r.randint(0, 3))]
        bounds = ""
        if r.random() < 0.3:
            low = {str(b): r.randint(0, end) for b, end in enumerate(ends)}
            high = {b: r.randint(low[b], ends[int(b)]) for b in low}
            scan |= {"from": {"offsets": low}, "to": {"offsets": high}}
            parts = [f"_bucket = {b} AND _offset >= {low[b]} AND _offset < {high[b]}" for b in low]
            bounds = f" AND ({' OR '.join(parts)})"
        limit = r.randint(0, 20) if r.random() < 0.1 else None
        if limit is not None:
            scan["limit"] = limit
        whole = number % 10 == 0  # compare rows; else ids
        listed = ", ".join(columns if whole else ["id"])
        query = f"SELECT {listed} FROM rows WHERE ({where}){bounds}"
        want = con.sql(query).to_arrow_table()
        got = reader.read(scan)
        about = f"query {number}: {query}, limit {limit}"
        matched += want.num_rows
        if limit is not None:
            assert got.num_rows == min(limit, want.num_rows), about
            assert np.isin(ids_of(got), ids_of(want)).all(), about
            continue
        assert np.array_equal(ids_of(got), ids_of(want)), about
        if whole:
            assert sorted(map(repr, rows_of(got))) == sorted(map(repr, rows_of(want))), about
    # Neither everything nor nothing: else the queries would show little.
    assert 0.1 < matched / (QUERIES * sum(ends)) < 0.9


def ids_of(table: pa.Table) -> np.ndarray:
    """Give the ids in ascending order."""
    return np.sort(table["id"].to_numpy())


def rows_of(table: pa.Table) -> list[tuple[Any, ...]]:
    """Give rows with values that can be compared, whatever a zone is called."""
    columns = []
    for column in table.columns:
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("us")).cast(pa.int64())
        columns.append(column.to_pylist())
    return list(zip(*columns, strict=True))
