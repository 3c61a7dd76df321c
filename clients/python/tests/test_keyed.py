"""Keyed tables: forms of keys, and the calls by key against the real server."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from proxy import CuttingProxy

import headrace as hr
from headrace.keys import key_batches

ONE = [pa.field("id", pa.int32())]
TWO = [pa.field("country", pa.string()), pa.field("id", pa.int32())]
USERS = pa.schema([("user_id", pa.int64()), ("name", pa.string()), ("age", pa.int32())])


@pytest.fixture
def own(tmp_path: Path) -> Iterator[hr.testing.TestServer]:
    """A server of a test's own, that it may kill."""
    with hr.testing.server(data=tmp_path / "data") as server:
        yield server


def rows(keys: Any, fields: list[pa.Field], carry: bool = False) -> list[dict[str, Any]]:
    return pa.Table.from_batches(key_batches(keys, fields, carry=carry)).to_pylist()


@pytest.mark.parametrize(
    "keys",
    [
        [1, 2],
        (1, 2),
        range(1, 3),
        iter([1, 2]),
        {1: "a", 2: "b"}.keys(),
        {"id": [1, 2]},
        [{"id": 1}, {"id": 2}],
        [{"id": 1, "url": "x"}, {"id": 2}],
        pa.array([1, 2]),
        pa.chunked_array([[1], [2]]),
        pa.table({"id": [1, 2], "url": ["x", "y"]}),
        pa.record_batch({"id": pa.array([1, 2], pa.int8())}),
        np.array([1, 2]),
        pd.Series([1, 2]),
        pd.DataFrame({"id": [1, 2], "url": ["x", "y"]}),
        pl.Series([1, 2]),
        pl.DataFrame({"id": [1, 2]}),
        pa.table({"id": [1, 2]}).to_reader(),
    ],
    ids=lambda keys: type(keys).__module__ + "." + type(keys).__name__,
)
def test_every_form_of_keys(keys: Any) -> None:
    assert rows(keys, ONE) == [{"id": 1}, {"id": 2}]
    assert key_batches([7], ONE, carry=False)[0].schema.field("id").type == pa.int32()


def test_one_key() -> None:
    assert rows(5, ONE) == rows({"id": 5}, ONE) == rows(np.int16(5), ONE) == [{"id": 5}]
    assert rows("DE", TWO[:1]) == [{"country": "DE"}]
    assert rows(b"\x01", [pa.field("k", pa.binary())]) == [{"k": b"\x01"}]
    day = dt.date(2026, 11, 21)
    assert rows(day, [pa.field("day", pa.date32())]) == [{"day": day}]
    want = [{"country": "DE", "id": 1}]
    assert rows(("DE", 1), TWO) == rows([("DE", 1)], TWO) == rows([["DE", 1]], TWO) == want
    assert rows({"id": 1, "country": "DE"}, TWO) == want


def test_carried_columns_stay_as_they_are() -> None:
    keys = pa.table({"url": ["x", "y"], "id": pa.array([1, 2], pa.int64()), "n": [1.5, None]})
    (batch,) = key_batches(keys, ONE, carry=True)
    assert batch.schema.names == ["url", "id", "n"]
    assert batch.schema.field("id").type == pa.int32()


@pytest.mark.parametrize(
    ("keys", "fields", "error", "text"),
    [
        ("one", ONE, hr.SchemaMismatch, "'id'"),
        (2**40, ONE, hr.SchemaMismatch, "'id'"),
        (1.5, ONE, hr.SchemaMismatch, "'id'"),
        ({"idd": [1]}, ONE, hr.SchemaMismatch, "Did you mean 'idd'"),
        (7, TWO, hr.BadRequest, "country, id"),
        ([1, 2], TWO, hr.BadRequest, "1 is not a key"),
        ([("DE", 1, 2)], TWO, hr.BadRequest, "2 values"),
        (pa.array([1]), TWO, hr.BadRequest, "one array"),
        (pa.table({"x": [1]}), ONE, hr.SchemaMismatch, "no column 'id'"),
    ],
)
def test_keys_that_do_not_fit(keys: Any, fields: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        key_batches(keys, fields, carry=False)


# The real server -----------------------------------------------------------------------------


def state(table: hr.Table) -> dict[int, tuple[str, int]]:
    return {r["user_id"]: (r["name"], r["age"]) for r in table.scan().to_arrow().to_pylist()}


def test_upsert_update_delete(users: hr.Table) -> None:
    assert users.primary_key == ("user_id",)
    assert not users.refresh().schema.field("user_id").nullable
    written = users.upsert([{"user_id": 2, "name": "bo", "age": 42}])
    assert written.rows == 1 and written.position.table_id == users.id
    users.upsert([{"user_id": 1, "age": 37}, {"user_id": 3, "age": 5}], columns=["age"])
    assert state(users) == {1: ("ada", 37), 2: ("bo", 42), 3: (None, 5)}
    users.delete({"user_id": [1, 8], "other": ["left", "out"]})
    assert state(users) == {2: ("bo", 42), 3: (None, 5)} and users.count() == 2
    assert "2 rows, key user_id" in repr(users)
    assert users.scan(columns=["name"], limit=1).to_arrow().num_rows == 1
    assert users.scan().count() == 2


def test_what_a_keyed_table_refuses(users: hr.Table) -> None:
    before = state(users)
    with pytest.raises(hr.SchemaMismatch, match=r"'age' is missing.*columns=\["):
        users.upsert([{"user_id": 1, "name": "x"}])
    with pytest.raises(hr.SchemaMismatch, match="NOT NULL"):
        users.upsert([{"user_id": None, "name": "x", "age": 1}])
    with pytest.raises(hr.SchemaMismatch, match="row 1 is null"):
        users.delete([1, None])
    with pytest.raises(hr.SchemaMismatch, match="no column 'user_id'"):
        users.delete([{"user": 1}])
    with pytest.raises(hr.ColumnNotFound, match="Did you mean 'age'"):
        users.upsert([{"user_id": 1, "agee": 1}], columns=["agee"])
    with pytest.raises(hr.BadRequest, match="primary key"):
        users.append([{"user_id": 1}])
    with pytest.raises(hr.BadRequest, match="aggregation"):
        users.retract([{"user_id": 1, "age": 1}], columns=["age"])
    with pytest.raises(hr.BadRequest, match="mode"):
        users.writer(mode="append")
    with pytest.raises(hr.ColumnNotFound):
        users.lookup([1], ["nope"])
    with pytest.raises(hr.BadRequest, match="prefix"):
        users.lookup([{"user_id": 1, "name": "x"}], carry=True)
    with pytest.raises(hr.BadRequest, match="how"):
        users.lookup([1], how="outer")  # type: ignore[arg-type]
    with pytest.raises(hr.BadRequest, match="one key"):
        users.get([1, 2])
    assert state(users) == before


def test_lookups(users: hr.Table) -> None:
    assert users.get(1) == users.get({"user_id": 1}) == {"user_id": 1, "name": "ada", "age": 36}
    assert users.get(7) is None
    got = users.lookup([2, 9, 1, 2], ["name", "age"], found="there")
    assert got.to_pydict() == {
        "name": ["bob", None, "ada", "bob"],
        "age": [41, None, 36, 41],
        "there": [True, False, True, True],
    }
    visits = pd.DataFrame({"user_id": [9, 2], "name": ["/a", "/b"]})
    joined = users.lookup(visits, ["name"], carry=True, prefix="u_", how="inner")
    assert joined.to_pylist() == [{"user_id": 2, "name": "/b", "u_name": "bob"}]
    assert users.lookup([], ["name"]).schema.names == ["name"]
    assert users.lookup([None], ["name"]).to_pylist() == [{"name": None}]
    after = users.upsert([{"user_id": 9, "name": "eve", "age": 1}]).position
    assert users.lookup([9], ["name"], after=after)["name"].to_pylist() == ["eve"]
    with pytest.raises(hr.TableReplaced):
        users.lookup([9], after=hr.Position({0: 1}, "another"))


def test_a_key_of_several_columns(db: hr.Database) -> None:
    schema = pa.schema([("country", pa.string()), ("id", pa.int32()), ("v", pa.float64())])
    table = db.create_table("c", schema, primary_key=["country", "id"], buckets=3)
    table.upsert([{"country": c, "id": i, "v": i / 2} for c in ("DE", "FR") for i in range(50)])
    assert table.get("FR", 7) == table.get(("FR", 7)) == {"country": "FR", "id": 7, "v": 3.5}
    assert table.lookup([("DE", 2), ("XX", 2)], ["v"])["v"].to_pylist() == [1.0, None]
    table.delete([("DE", i) for i in range(50)])
    assert table.count() == 50 and table.get({"id": 1, "country": "DE"}) is None


def test_get_or_insert(users: hr.Table) -> None:
    got = users.get_or_insert([1, 5, 5], ["user_id", "name"])
    assert got.to_pydict() == {"user_id": [1, 5, 5], "name": ["ada", None, None]}
    assert users.count() == 3
    users.get_or_insert([5])
    assert users.changelog().count() == 3


def test_many_keys_and_large_answers(db: hr.Database) -> None:
    schema = pa.schema([("id", pa.int64()), ("text", pa.string())])
    table = db.create_table("m", schema, primary_key=["id"], buckets=4)
    ids = np.arange(200_000)
    table.upsert({"id": ids, "text": [f"{i:050}" for i in ids]})
    keys = np.random.default_rng(1).permutation(np.arange(300_000))
    got = table.lookup(keys, ["text"])
    assert got.num_rows == len(keys)
    for at in (0, 1, 77_777, 299_999):
        want = f"{keys[at]:050}" if keys[at] < 200_000 else None
        assert got["text"][at].as_py() == want
    assert table.lookup(keys, ["id"], how="inner").num_rows == 200_000
    assert table.scan(columns=["id"]).count() == 200_000


def test_lookups_share_streams(users: hr.Table) -> None:
    for i in range(100):
        users.get(i % 3)
    assert len(users._lookups._idle) == 1
    seen: list[Any] = []
    threads = [
        threading.Thread(target=lambda: seen.extend(users.get(1) for _ in range(50)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 400 and all(row == {"user_id": 1, "name": "ada", "age": 36} for row in seen)
    assert 1 <= len(users._lookups._idle) <= 8
    users.lookup([1], ["age"])
    users.lookup([1], ["name"], how="inner")
    assert len(users._lookups._idle) <= 8


def test_lookups_survive_restarts_and_cuts(own: hr.testing.TestServer) -> None:
    with own.connect() as db, CuttingProxy(own.port) as proxy:
        users = db.create_table("u", USERS, primary_key=["user_id"])
        users.upsert([{"user_id": 1, "name": "ada", "age": 36}])
        assert users.get(1, columns=["age"]) == {"age": 36}
        own.kill()
        own.start()
        assert users.get(1, columns=["age"]) == {"age": 36}
        with hr.connect(proxy.uri) as through:
            far = through["u"]
            assert far.get(1, columns=["age"]) == {"age": 36}
            proxy.cut()
            assert far.get(1, columns=["age"]) == {"age": 36}
    with pytest.raises(hr.ClosedError):
        users.get(1)


def test_a_dropped_table_gives_no_rows(db: hr.Database, users: hr.Table) -> None:
    assert users.get(1)
    db.drop_table("web.users")
    with pytest.raises(hr.TableNotFound):
        users.get(1)


def test_writers_by_mode(users: hr.Table) -> None:
    with users.writer() as upserts:
        futures = [
            upserts.write([{"user_id": i % 10, "name": f"n{i}", "age": i}]) for i in range(500)
        ]
        assert sum(f.result(30).rows for f in futures) == 500
    assert state(users) == {i: (f"n{490 + i}", 490 + i) for i in range(10)}
    with users.writer(mode="upsert", columns=["age"]) as updates:
        updates.write({"user_id": [3], "age": [0]})
    with users.writer(mode="delete") as deletions:
        deletions.write(range(3))
        deletions.write(9)
    assert state(users) == {i: (f"n{490 + i}", 490 + i if i > 3 else 0) for i in range(3, 9)}


def test_writers_are_exactly_once_over_cuts(own: hr.testing.TestServer) -> None:
    with own.connect() as db, CuttingProxy(own.port) as proxy:
        users = db.create_table("u", USERS, primary_key=["user_id"], buckets=2)
        with hr.connect(proxy.uri) as through, through["u"].writer() as w:
            for i in range(300):
                w.write([{"user_id": i, "name": "a", "age": i}])
                if i % 100 == 50:
                    w.flush()
                    proxy.cut()
        assert users.count() == 300 and users.changelog().count() == 300


def fold(table: hr.Table) -> dict[int, tuple[str, int]]:
    rows: dict[int, tuple[str, int]] = {}
    for change in table.changelog().to_arrow().to_pylist():
        key, value = change["user_id"], (change["name"], change["age"])
        match change["_change_type"]:
            case "+I":
                assert key not in rows
                rows[key] = value
            case "-U" | "-D":
                assert rows.pop(key) == value
            case "+U":
                assert key not in rows
                rows[key] = value
    return rows


def test_the_changelog_folds_to_the_table(db: hr.Database) -> None:
    table = db.create_table("f", USERS, primary_key=["user_id"], buckets=2)
    rng, model = random.Random(5), dict[int, tuple[str, int]]()
    for step in range(30):
        ids = [rng.randrange(20) for _ in range(rng.randrange(1, 15))]
        if rng.random() < 0.3:
            table.delete(ids)
            for i in ids:
                model.pop(i, None)
        else:
            table.upsert([{"user_id": i, "name": f"{step}", "age": n} for n, i in enumerate(ids)])
            model.update({i: (f"{step}", n) for n, i in enumerate(ids)})
        assert state(table) == model
    assert fold(table) == model
    first = table.changelog(columns=["age"], limit=1).to_arrow()
    assert first.column_names == ["age", "_change_type"]
    placed = table.changelog(system_columns=True).to_arrow()
    assert placed.column_names[3:] == ["_bucket", "_offset", "_timestamp", "_change_type"]
    assert table.changelog("latest").to_arrow().num_rows == 0
    assert table.changelog().schema().names == [*USERS.names, "_change_type"]


def test_state_and_then_the_changes(users: hr.Table) -> None:
    scan = users.scan()
    rows = scan.to_arrow()
    users.upsert([{"user_id": 2, "name": "bo", "age": 42}])
    users.delete(1)
    with users.subscribe(start=scan.position, timeout=20) as changes:
        got = [row for _ in range(2) for row in next(changes).to_pylist()]
    assert rows.num_rows == 2
    assert [(r["user_id"], r["name"], r["_change_type"]) for r in got] == [
        (2, "bob", "-U"),
        (2, "bo", "+U"),
        (1, "ada", "-D"),
    ]


def test_subscribe_to_changes(own: hr.testing.TestServer) -> None:
    with own.connect() as db:
        users = db.create_table("u", USERS, primary_key=["user_id"])
        with users.subscribe(columns=["name"], timeout=20) as changes:
            users.upsert([{"user_id": 1, "name": "a", "age": 1}])
            first = next(changes)
            assert first.to_pylist() == [{"name": "a", "_change_type": "+I"}]
            own.kill()
            own.start()
            users.upsert([{"user_id": 1, "name": "b", "age": 1}])
            rows = next(changes).to_pylist()
            while len(rows) < 2:
                rows += next(changes).to_pylist()
            assert [r["_change_type"] for r in rows] == ["-U", "+U"]


def test_state_reads_are_one_snapshot(users: hr.Table) -> None:
    users.upsert({"user_id": range(5000), "name": ["x"] * 5000, "age": [0] * 5000})
    stop = threading.Event()

    def write() -> None:
        age = 0
        while not stop.is_set():
            age += 1
            users.upsert({"user_id": range(5000), "name": ["x"] * 5000, "age": [age] * 5000})

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(10):
            ages = users.scan(columns=["age"]).to_arrow()["age"].to_pylist()
            assert len(ages) == 5000 and len(set(ages)) == 1
    finally:
        stop.set()
        thread.join()


def test_delete_behaviours(db: hr.Database) -> None:
    for behaviour in ("ignore", "refuse"):
        options = {"delete.behavior": behaviour}
        table = db.create_table(behaviour, USERS, primary_key=["user_id"], options=options)
        table.upsert([{"user_id": 1, "name": "a", "age": 1}])
        if behaviour == "refuse":
            with pytest.raises(hr.DeleteRefused):
                table.delete(1)
        else:
            table.delete(1)
        assert table.count() == 1


def test_asyncio(users: hr.Table, db: hr.Database) -> None:
    async def main() -> None:
        async with await hr.aio.connect(db.uri) as adb:
            table = await adb.table("web.users")
            await table.upsert([{"user_id": 3, "name": "eve", "age": 7}])
            rows = await asyncio.gather(*(table.get(i) for i in (1, 2, 3, 4)))
            assert [r and r["name"] for r in rows] == ["ada", "bob", "eve", None]
            assert (await table.lookup([3], ["age"]))["age"].to_pylist() == [7]
            await table.delete([3])
            assert await table.changelog(columns=["age"]).count() == 4
            assert (await table.get_or_insert([9], ["name"])).num_rows == 1

    asyncio.run(main())


def test_indexes(users: hr.Table) -> None:
    users.upsert([{"user_id": i, "name": f"n{i % 3}", "age": i} for i in range(10, 22)])
    assert users.create_index("by_name", ["name"]).indexes == {"by_name": ("name",)}
    got = users.lookup(["n1", "none", "ada"], ["user_id"], by=["name"], how="inner")
    assert sorted(got["user_id"].to_pylist()) == [1, 10, 13, 16, 19]
    joined = users.lookup([{"name": "ada", "x": 1}], ["age"], by=["name"], carry=True)
    assert joined.to_pylist() == [{"name": "ada", "x": 1, "age": 36}]
    with pytest.raises(hr.IndexAlreadyExists):
        users.create_index("by_name", ["age"])
    with pytest.raises(hr.BadRequest, match="create_index"):
        users.lookup([1], by=["age"])
    assert users.drop_index("by_name").indexes == {}
    with pytest.raises(hr.IndexNotFound):
        users.drop_index("by_name")


def test_numbered_rows(db: hr.Database) -> None:
    columns = [
        {"name": "word", "type": "string"},
        {"name": "id", "type": "int64", "default": "auto_increment"},
    ]
    body = {"table": "words", "columns": columns, "primary_key": ["word"]}
    db._connection.action("CreateTable", body)
    words = db["words"]
    first = words.get_or_insert(["a", "b", "a"], ["id"])["id"].to_pylist()
    assert first[0] == first[2] != first[1]
    words.upsert([{"word": "c"}])
    again = words.get_or_insert(["c", "b"], ["id"])["id"].to_pylist()
    assert again[1] == first[1] and len({*first, *again}) == 3
