"""Every Arrow type, in keyed tables: as a value, as a key, and as rows that were moved to disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from every_type import ABOUT, DEEP, KEYS, STORED, array

import headrace as hr

VALUES = pa.schema(
    [pa.field("id", pa.int64(), nullable=False)]
    + [pa.field(f"c{at}", kind, metadata=ABOUT) for at, kind in enumerate(STORED)],
    ABOUT,
)
ROWS = 400


def rows_of(start: int, rows: int, seed: int) -> pa.Table:
    ids = pa.array(range(start, start + rows), pa.int64())
    values = [array(f.type, rows, seed=seed) for f in list(VALUES)[1:]]
    return pa.table([ids, *values], schema=VALUES)


def check(got: pa.Table, want: pa.Table) -> None:
    got.validate(full=True)
    assert got.schema.equals(want.schema, check_metadata=True), f"{got.schema}\n{want.schema}"
    for name in want.column_names:
        assert got[name].equals(want[name]), name


def in_order(table: pa.Table) -> pa.Table:
    """Sort rows by id; `take` of all types at once is more than pyarrow can do."""
    order = pc.sort_indices(table["id"]).to_pylist()
    whole = table.combine_chunks()
    return pa.concat_tables([whole.slice(at, 1) for at in order]).combine_chunks()


def nullable(table: pa.Table) -> pa.Table:
    schema = pa.schema([f.with_nullable(True) for f in table.schema])
    return pa.Table.from_arrays(table.columns, schema=schema)


def wait_until(done: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[hr.testing.TestServer]:
    """A server that begins a new file often, so that rows are moved out of the log."""
    with hr.testing.server("--segment-bytes", "64KiB", data=tmp_path / "data") as server:
        yield server


def retired(table: hr.Table) -> bool:
    """Whether most of the changelog is gone, so that rows are kept elsewhere."""
    ends = table.positions()
    kept = sum(ends.latest.offsets.values()) - sum(ends.earliest.offsets.values())
    return kept < sum(ends.latest.offsets.values()) / 2


def test_values_of_every_type(small: hr.testing.TestServer) -> None:
    first, second = rows_of(0, ROWS, seed=1), rows_of(100, 100, seed=2)
    want = pa.concat_tables([first.slice(0, 100), second, first.slice(200)]).combine_chunks()
    with small.connect() as db:
        table = db.create_table("t", VALUES, primary_key=["id"], buckets=2)
        assert table.schema.equals(VALUES, check_metadata=True)
        for at in range(0, ROWS, 20):
            table.upsert(first.slice(at, 20))
        changes = table.changelog(columns=VALUES.names).to_arrow()
        check(in_order(changes.drop_columns("_change_type")), first)
        table.upsert(second)
        table.upsert(first.slice(0, 30).select(["id", "c7", "c70"]), columns=["c7", "c70"])

        def compare() -> None:
            check(in_order(table.scan().to_arrow()), want)
            check(table.lookup(list(range(ROWS))), nullable(want))
            gone = table.lookup([ROWS, 3, ROWS + 1])
            check(gone.slice(1, 1), nullable(want).slice(3, 1))
            assert all(column[0].as_py() is None for column in gone.columns)

        compare()
        small.kill()
        small.start()
        compare()
        table.alter(options={"log.ttl": "1s"})
        wait_until(lambda: retired(table))
        compare()
        for name in VALUES.names:
            one = table.scan(columns=["id", name] if name != "id" else ["id"]).to_arrow()
            check(in_order(one), want.select(one.column_names))
        small.kill()
        small.start()
        compare()
        table.delete(list(range(0, ROWS, 2)))
        left = list(range(1, ROWS, 2))
        check(in_order(table.scan().to_arrow()), pa.concat_tables(want.slice(i, 1) for i in left))


def distinct(kind: pa.DataType) -> pa.Array[Any]:
    """Give some values of a type, without nulls, each once."""
    values = array(kind, 200, nulls=0.0)
    seen: set[Any] = set()
    pieces = []
    for at in range(len(values)):
        raw = values.slice(at, 1)
        # As the server sees them: as bytes.
        sink = pa.concat_arrays([raw])
        key = b"".join(b.to_pybytes() for b in sink.buffers()[1:] if b is not None)
        text = (key, str(raw))
        if text not in seen:
            seen.add(text)
            pieces.append(raw)
    return pa.concat_arrays(pieces)


def test_keys_of_every_type(small: hr.testing.TestServer) -> None:
    with small.connect() as db:
        tables: list[tuple[hr.Table, pa.Array[Any]]] = []
        for at, kind in enumerate(KEYS):
            keys = distinct(kind)
            schema = pa.schema([("k", kind), ("n", pa.int64()), ("filler", pa.string())])
            options = {"log.ttl": "1s"}
            table = db.create_table(f"keys{at}", schema, primary_key=["k"], options=options)
            last = len(keys) - 1
            for first, number in ((0, 1000), (0, 0), (last, last)):  # the last closes a file
                part = keys.slice(first)
                numbers = pa.array(range(number, number + len(part)))
                filler = pa.array(["x" * 8000] * len(part))
                table.upsert(pa.table([part, numbers, filler], names=["k", "n", "filler"]))
            tables.append((table, keys))

        def compare() -> None:
            for table, keys in tables:
                asked = pa.table([keys], names=["k"])
                found = table.lookup(asked, ["k", "n"], found="there")
                assert found["n"].to_pylist() == list(range(len(keys))), table.schema.field("k")
                assert found["k"].combine_chunks().equals(keys)
                assert table.count() == len(keys)
                assert sorted(table.scan(columns=["n"]).to_arrow()["n"].to_pylist()) == list(
                    range(len(keys))
                )

        compare()
        # Those with few keys fill no file: they stay in the log.
        large = [table for table, keys in tables if len(keys) > 40]
        assert len(large) > len(KEYS) / 2
        wait_until(lambda: all(retired(table) for table in large))
        compare()
        small.kill()
        small.start()
        compare()
        for table, keys in tables:
            table.delete(pa.table([keys.slice(0, 1)], names=["k"]))
            assert table.count() == len(keys) - 1


NO_KEYS = [pa.null(), pa.list_(pa.int8()), pa.struct([("a", pa.int8())]), DEEP]


@pytest.mark.parametrize("kind", NO_KEYS, ids=str)
def test_what_is_no_key_is_refused_by_name(db: hr.Database, kind: pa.DataType) -> None:
    schema = pa.schema([("v", pa.int8()), ("fine", kind)])
    for options in ({"primary_key": ["fine"]}, {"bucket_key": ["fine"], "buckets": 2}):
        with pytest.raises(hr.Error, match='"fine"') as refused:
            db.create_table("t", schema, **options)
        assert refused.value.reason in ("BAD_REQUEST", "UNSUPPORTED_TYPE")
