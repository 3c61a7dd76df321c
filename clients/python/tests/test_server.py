"""Tests against the real server."""

from __future__ import annotations

import datetime as dt
import gc
import hashlib
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from proxy import CuttingProxy

import headrace as hr

UTC = dt.timezone.utc
IDS = pa.schema([pa.field("id", pa.int64(), nullable=False), ("text", pa.string())])


def id_batch(start: int, rows: int) -> pa.RecordBatch:
    ids = np.arange(start, start + rows)
    return pa.record_batch([pa.array(ids), pa.array([f"row {i}" for i in ids])], schema=IDS)


def all_ids(table: hr.Table) -> list[int]:
    return table.scan(columns=["id"]).to_arrow()["id"].to_pylist()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[hr.testing.TestServer]:
    """A server of a test's own, that it may kill."""
    with hr.testing.server(data=tmp_path / "data") as server:
        yield server


@pytest.fixture
def proxy(server: hr.testing.TestServer) -> Iterator[CuttingProxy]:
    with CuttingProxy(server.port) as running:
        yield running


TYPES: list[tuple[str, pa.Array]] = [
    ("null-ish", pa.array([None, None, True], pa.bool_())),
    ("int8", pa.array([-128, None, 127], pa.int8())),
    ("uint64", pa.array([0, None, 2**64 - 1], pa.uint64())),
    ("float16", pa.array([np.float16(1.5), None, np.float16(0)], pa.float16())),
    ("double", pa.array([float("inf"), None, -0.0])),
    ("string", pa.array(["", None, "ü" * 100])),
    ("large_string", pa.array(["a", None, "b"], pa.large_string())),
    ("string_view", pa.array(["a" * 20, None, "b"], pa.string_view())),
    ("binary", pa.array([b"\0", None, b"x"])),
    ("fixed", pa.array([b"0123", None, b"abcd"], pa.binary(4))),
    ("date", pa.array([dt.date(1970, 1, 1), None, dt.date(2026, 11, 21)])),
    ("time", pa.array([0, None, 5], pa.time64("us"))),
    ("timestamp", pa.array([0, None, 5], pa.timestamp("ns", "Europe/Berlin"))),
    ("duration", pa.array([0, None, 5], pa.duration("ms"))),
    ("decimal", pa.array([1, None, 3], pa.decimal128(38, 10))),
    ("list", pa.array([[1, None], None, []])),
    ("embedding", pa.array([[1, 2, 3], None, [4, 5, 6]], pa.list_(pa.float32(), 3))),
    ("struct", pa.array([{"a": 1, "b": [{"c": "x"}]}, None, {"a": None, "b": None}])),
    ("map", pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int32()))),
]


def test_every_type_comes_back_equal(db: hr.Database) -> None:
    data = pa.table({name: array for name, array in TYPES})
    table = db.create_table("types", data.schema)
    assert table.schema.equals(data.schema)
    table.append(data)
    got = table.scan().to_arrow()
    got.validate(full=True)
    assert got.schema.equals(data.schema) and got.equals(data)


def test_a_table_tells_of_itself(db: hr.Database) -> None:
    table = db.create_table("t", IDS, buckets=2, bucket_key=["id"], options={"log.ttl": "7d"})
    table.append(id_batch(0, 100))
    stats = table.stats()
    assert stats["rows"] == 100 == sum(b["end"] - b["start"] for b in stats["buckets"])
    assert stats["bytes"] == sum(b["bytes"] for b in stats["buckets"]) > 0
    ends = table.positions()
    assert ends.earliest.offsets == {0: 0, 1: 0} and sum(ends.latest.offsets.values()) == 100
    about = table.describe()
    assert about["options"] == {"log.ttl": "7d"} == table.options and about["bucket_count"] == 2
    assert [c["type"] for c in about["columns"]] == ["int64", "string"]


def test_options_are_listed_and_their_faults_name_the_range(db: hr.Database) -> None:
    options = {option.name: option for option in db.options()}
    assert list(options) == sorted(options) and all(o.description for o in options.values())
    table = db.create_table("t", IDS)
    for name, value in (("log.ttl", "yes"), ("log.max-bytes", "1"), ("plan.max-pin", "9w")):
        option = options[name]
        for refuse in (
            lambda: db.create_table("u", IDS, options={name: value}),  # noqa: B023
            lambda: table.alter(options={name: value}),  # noqa: B023
        ):
            with pytest.raises(hr.BadRequest) as refused:
                refuse()
            assert f"option {name}: " in str(refused.value) and option.range in str(refused.value)
            assert refused.value.details["option"] == name
    users = db.create_table("users", IDS, primary_key=["id"])
    fixed = {"merge.engine": "first-row", "changelog.image": "new", "index.max-bytes": "1GiB"}
    for name, value in fixed.items():
        assert not options[name].alterable
        with pytest.raises(hr.BadRequest, match=f"{name} is fixed when the table is created"):
            users.alter(options={name: value})


def test_fields_of_structs_are_columns(db: hr.Database) -> None:
    inner = pa.struct([pa.field("c", pa.int64(), nullable=False), ("d.e", pa.string())])
    schema = pa.schema([("id", pa.int64()), ("a", pa.struct([("b", inner)])), ("x.y", pa.int8())])
    rows: list[dict[str, Any]] = [
        {"id": 1, "a": {"b": {"c": 5, "d.e": "t"}}, "x.y": 1},
        {"id": 2, "a": None, "x.y": 2},
        {"id": 3, "a": {"b": None}, "x.y": 3},
    ]
    table = db.create_table("t", schema)
    table.append(rows)
    wanted = ["a.b.c", "id", ("a", "b", "d.e"), "x.y"]
    got = table.scan(columns=wanted).to_arrow()
    assert got.schema == pa.schema(
        [("a.b.c", pa.int64()), ("id", pa.int64()), ("a.b.d.e", pa.string()), ("x.y", pa.int8())]
    )
    assert got["a.b.c"].to_pylist() == [5, None, None]
    assert got["a.b.d.e"].to_pylist() == ["t", None, None]
    assert next(iter(table.subscribe(["a.b"], start="earliest"))).to_pylist()[0] == {
        "a.b": {"c": 5, "d.e": "t"}
    }
    keyed = db.create_table("k", schema, primary_key=["id"])
    keyed.upsert(rows)
    assert keyed.lookup([1, 9, 3], ["a.b.c", "id"]).to_pydict() == {
        "a.b.c": [5, None, None],
        "id": [1, None, 3],
    }
    assert keyed.changelog(columns=["a.b.c"]).to_arrow()["a.b.c"].to_pylist() == [5, None, None]
    assert keyed.get(1, columns=[("a", "b", "c")]) == {"a.b.c": 5}
    for columns, text in (
        (["a.c"], "'a' has no field 'c'. It has b"),
        (["a.b.k"], "'a.b' has no field 'k'"),
        ([("id", "b")], "'id' has no field 'b'. It is int64"),
        (["z.b"], "no column 'z.b'"),
    ):
        with pytest.raises(hr.ColumnNotFound, match=text):
            table.scan(columns=columns)
    with pytest.raises(hr.BadRequest, match="names of columns, or"):
        table.scan(columns=[("a", 1)])  # type: ignore[list-item]
    with pytest.raises(hr.BadRequest, match="changes whole columns"):
        keyed.upsert(rows, columns=["a.b"])


def test_a_slow_link_connects(server: hr.testing.TestServer) -> None:
    with CuttingProxy(server.port, latency=0.6) as slow, hr.connect(slow.uri) as db:
        assert db.info.version


def test_a_read_may_be_compressed(db: hr.Database, proxy: CuttingProxy) -> None:
    db.create_table("t", IDS).append(id_batch(0, 50_000))
    with hr.connect(proxy.uri) as through:
        sizes = {}
        for compression in (None, "none", "lz4", "zstd"):
            before = proxy.bytes
            got = through["t"].scan(compression=compression).to_arrow()
            assert got["id"].to_pylist() == list(range(50_000))
            sizes[compression] = proxy.bytes - before
        assert sizes["zstd"] < sizes["lz4"] < 0.7 * sizes["none"]
        assert abs(sizes[None] - sizes["none"]) < 20_000
        with pytest.raises(hr.BadRequest, match="want one of stored, none, lz4, zstd"):
            through["t"].scan(compression="gzip")  # type: ignore[arg-type]


def test_data_of_every_library(db: hr.Database) -> None:
    rows: dict[str, list[Any]] = {"id": [1, 2], "text": ["a", None]}
    table = db.create_table("t", IDS)
    for data in (pd.DataFrame(rows), pl.DataFrame(rows), pa.table(rows), rows):
        assert table.append(data).rows == 2
    assert table.count() == 8 and all_ids(table) == [1, 2] * 4


def test_reads_into_every_library(db: hr.Database) -> None:
    table = db.create_table("t", IDS)
    table.append(id_batch(0, 100))
    scan = table.scan(columns=["id"])
    assert scan.to_pandas()["id"].sum() == 4950
    assert scan.to_polars()["id"].sum() == 4950
    assert pl.DataFrame(table)["text"][99] == "row 99"
    with duckdb.connect() as con:
        scan.to_duckdb(con, "numbers")
        assert con.execute("select sum(id) from numbers").fetchall() == [(4950,)]
        assert con.execute("select count(*) from numbers").fetchall() == [(100,)]


def test_a_polars_query_reads_only_what_it_needs(db: hr.Database, proxy: CuttingProxy) -> None:
    db.create_table("t", IDS).append(id_batch(0, 20_000))
    with hr.connect(proxy.uri) as through:
        lazy = hr.scan_polars(through["t"])
        before = proxy.bytes
        assert lazy.select(pl.col("id").sum()).collect().item() == 199_990_000
        one_column = proxy.bytes - before
        assert lazy.collect().shape == (20_000, 2)
        assert one_column < 0.6 * (proxy.bytes - before - one_column)
        before = proxy.bytes
        assert lazy.head(5).collect()["id"].to_list() == [0, 1, 2, 3, 4]
        assert proxy.bytes - before < 20_000
        assert lazy.filter(pl.col("id") > 19_997).head(1).collect()["id"].to_list() == [19_998]
        assert hr.scan_polars(through["t"], limit=10).collect().height == 10


def test_ranges_limits_and_system_columns(db: hr.Database) -> None:
    table = db.create_table("t", IDS)
    table.append(id_batch(0, 1000))
    scan = table.scan(columns=["id"], start={0: 10}, stop={0: 20}, system_columns=True)
    got = scan.to_arrow()
    assert got["id"].to_pylist() == got["_offset"].to_pylist() == list(range(10, 20))
    assert got.column_names == ["id", "_bucket", "_offset", "_timestamp"]
    assert scan.position.offsets == {0: 20} and scan.position.table_id == table.id
    assert table.scan(limit=7).to_arrow().num_rows == 7
    assert table.scan(start="latest").to_arrow().num_rows == 0
    assert table.scan().count() == table.count() == 1000
    assert table.scan(start={0: 990}).count() == 10
    assert table.head().num_rows == 10
    assert table.scan(columns=["text", "id"]).schema().names == ["text", "id"]
    with pytest.raises(hr.OffsetBeyondEnd):
        table.scan(start={0: 5000}).to_arrow()


def test_a_time_is_a_place(db: hr.Database) -> None:
    table = db.create_table("t", IDS)
    table.append(id_batch(0, 5))
    stored = table.scan(system_columns=True).to_arrow()["_timestamp"].to_pylist()
    between = stored[-1] + dt.timedelta(microseconds=1)
    while dt.datetime.now(UTC) <= between:
        pass
    table.append(id_batch(5, 5))
    assert table.scan(start=between).to_arrow()["id"].to_pylist() == [5, 6, 7, 8, 9]
    assert table.scan(stop=between).to_arrow()["id"].to_pylist() == [0, 1, 2, 3, 4]
    with table.subscribe(start=between) as subscription:
        assert next(subscription).offset == 5


def test_buckets(db: hr.Database) -> None:
    table = db.create_table("b", IDS, buckets=4, bucket_key=["id"])
    result = table.append(id_batch(0, 4000))
    assert result.rows == 4000 and sum(result.position.offsets.values()) == 4000
    assert result.position.offsets == table.positions().latest.offsets
    assert sorted(all_ids(table)) == list(range(4000)) and table.bucket_count == 4
    two = table.scan(buckets=[1, 3]).to_arrow().num_rows
    assert 0 < two < 4000 and two == sum(result.position.offsets[b] for b in (1, 3))
    assert table.scan(limit=10).to_arrow().num_rows == 10
    seen = sum(b.num_rows for b in table.subscribe(start="earliest", timeout=0.5))
    assert seen == 4000


def test_tables_and_databases(db: hr.Database) -> None:
    with pytest.raises(hr.DatabaseNotFound):
        db.drop_database("shop")
    db.drop_database("shop", missing_ok=True)
    db.create_database("shop")
    with pytest.raises(hr.DatabaseAlreadyExists):
        db.create_database("shop")
    orders = db.create_table("shop.orders", IDS, comment="what was bought")
    assert db.tables("shop.*") == ["shop.orders"] and "shop" in db.databases()
    with pytest.raises(hr.TableAlreadyExists):
        db.create_table("shop.orders", IDS)
    assert db.create_table("shop.orders", IDS, exist_ok=True).id == orders.id
    with pytest.raises(hr.TableAlreadyExists):
        db.create_table("shop.orders", pa.schema([("other", pa.int8())]), exist_ok=True)
    with pytest.raises(hr.DatabaseNotEmpty):
        db.drop_database("shop")
    orders.append(id_batch(0, 3))
    orders.drop()
    with pytest.raises(hr.TableNotFound):
        db["shop.orders"]
    db.drop_table("shop.orders", missing_ok=True)
    with pytest.raises(hr.TableNotFound):
        db.drop_table("shop.orders")
    assert db.undrop_table("shop.orders").count() == 3
    assert orders.refresh().rename("shop.sales").name == "shop.sales"
    assert db["shop.sales"].count() == 3
    db.drop_database("shop", cascade=True)
    assert "shop" not in db.databases()


def test_a_table_grows_while_it_is_read_and_written(db: hr.Database) -> None:
    table = db.create_table("t", IDS, buckets=2, bucket_key=["id"])
    table.append(id_batch(0, 100))
    before = table.positions().latest
    with table.subscribe(start="earliest") as subscription, table.writer() as writer:
        writer.write(id_batch(100, 100))
        assert table.alter(buckets=8, options={"log.ttl": "7d"}).bucket_count == 8
        writer.write(id_batch(200, 100))
        seen: list[int] = []
        for batch in subscription:
            seen += batch.to_arrow()["id"].to_pylist()
            if len(seen) == 300:
                break
    assert sorted(seen) == list(range(300))
    assert table.count() == 300
    assert sorted(table.scan().to_arrow()["id"].to_pylist()) == list(range(300))
    later = table.scan(start=before).to_arrow()["id"].to_pylist()
    assert sorted(later) == list(range(100, 300))


def test_altering_and_truncating(db: hr.Database) -> None:
    table = db.create_table("t", IDS, options={"log.ttl": "1d"})
    assert table.options == {"log.ttl": "1d"}
    assert (
        table.alter(options={"log.ttl": "7d", "log.max-bytes": "10GB"}).options["log.ttl"] == "7d"
    )
    with pytest.raises(hr.BadRequest, match="log.tll"):
        table.alter(options={"log.tll": "7d"})
    with pytest.raises(hr.BadRequest, match="set_buckets is 3"):
        table.alter(buckets=3, options={"log.ttl": "9d"})
    assert table.refresh().options["log.ttl"] == "7d"
    table.append(id_batch(0, 10))
    middle = table.scan(limit=4)
    middle.to_arrow()
    table.truncate(before=middle.position)
    assert table.positions().earliest.offsets == {0: 4} and table.count() == 6
    with pytest.raises(hr.OffsetTrimmed) as caught:
        table.scan(start={0: 0}).to_arrow()
    assert caught.value.earliest == 4
    with pytest.raises(hr.OffsetTrimmed), table.subscribe(start={0: 0}) as subscription:
        next(subscription)
    table.truncate()
    assert table.count() == 0
    db.flush()
    table.wait_for(table.positions().latest, timeout=5)


def test_a_position_of_another_table_is_refused(db: hr.Database) -> None:
    table = db.create_table("t", IDS)
    position = table.append(id_batch(0, 3)).position
    table.drop()
    again = db.create_table("t", IDS)
    with pytest.raises(hr.TableReplaced):
        again.scan(start=position).to_arrow()


def test_errors_of_the_server_have_their_class(db: hr.Database) -> None:
    with pytest.raises(hr.TableNotFound) as missing:
        db["web.none"]
    assert missing.value.details["table"] == "web.none" and not missing.value.retriable
    with pytest.raises(hr.BadRequest, match="is not a name"):
        db.create_table("1 2", IDS)
    with pytest.raises(hr.UnsupportedType):
        db.create_table("u", pa.schema([("u", pa.sparse_union([pa.field("a", pa.int8())]))]))
    with pytest.raises(hr.BadRequest, match="primary_key"):
        db.create_table("k", IDS, primary_key=["none"])
    table = db.create_table("t", IDS)
    with pytest.raises(hr.ColumnNotFound, match="none"):  # past the client's own check
        hr.Scan(db._connection, hr.ScanSpec(table=table.name, columns=["none"])).to_arrow()


def test_the_first_look(db: hr.Database, server: hr.testing.TestServer) -> None:
    table = db.create_table("t", IDS)
    table.append(id_batch(0, 1234))
    assert repr(table).splitlines() == [
        "default.t: 1,234 rows, log table, 1 bucket(s)",
        "  id: int64 not null",
        "  text: string",
    ]
    assert repr(db).startswith(f"<headrace.Database {server.uri}, server ")
    assert "log_tables" in db.info.features


# Writers -----------------------------------------------------------------------------------------


def test_a_writer_takes_anything(db: hr.Database) -> None:
    table = db.create_table("t", IDS)
    with table.writer(producer="loader") as writer:
        one = writer.write([{"id": 0}])
        many = writer.write(id_batch(1, 200_000))
        writer.write(pd.DataFrame({"id": [200_001]}))
    assert writer.epoch == 1 and writer.last is None
    assert one.result().position.offsets[0] >= 1
    assert many.result().rows == 200_000 and many.result().position.offsets[0] >= 200_001
    assert all_ids(table) == list(range(200_002))
    with table.writer(producer="loader") as again:
        assert again.epoch == 2 and again.last is not None
        assert again.last.epoch == 1 and again.last.offsets[0][1] == 200_002


def test_the_newer_writer_of_a_name_wins(db: hr.Database) -> None:
    table = db.create_table("t", IDS)
    old = table.writer(producer="p", linger=0)
    old.write([{"id": 1}]).result(10)
    with table.writer(producer="p", linger=0) as new:
        new.write([{"id": 2}]).result(10)
        with pytest.raises(hr.ProducerFenced):
            old.write([{"id": 3}]).result(10)
    with pytest.raises(hr.ProducerFenced):
        old.close()
    assert all_ids(table) == [1, 2]


def test_rows_larger_than_a_message(db: hr.Database) -> None:
    table = db.create_table("blobs", pa.schema([("id", pa.int64()), ("blob", pa.binary())]))
    big = os.urandom(6 << 20)
    rows = [{"id": 0, "blob": b"x"}, {"id": 1, "blob": big}, {"id": 2, "blob": b"y"}]
    assert table.append(rows).rows == 3
    got = table.scan().to_arrow()
    assert got["id"].to_pylist() == [0, 1, 2] and got["blob"][1].as_py() == big


@pytest.mark.parametrize("durability", [None, "os", "fsync"])
def test_durability_can_be_raised(db: hr.Database, durability: str | None) -> None:
    table = db.create_table("t", IDS, options={"log.durability": "memory"})
    with table.writer(durability=durability) as writer:
        assert writer.write([{"id": 1}]).result(10).rows == 1


def test_a_writer_over_a_network_that_cuts(db: hr.Database, proxy: CuttingProxy) -> None:
    db.create_table("t", IDS)
    with hr.connect(proxy.uri) as through:
        with through["t"].writer(linger=0) as writer:
            for round_ in range(12):
                proxy.cut_after(3_000 * (round_ % 4) + 500)
                for part in range(10):
                    writer.write(id_batch(1000 * round_ + 100 * part, 100))
                writer.flush(30)
        assert proxy.cuts >= 6
    assert all_ids(db["t"]) == list(range(12_000))


def test_a_writer_over_kills_of_the_server(own: hr.testing.TestServer) -> None:
    acknowledged: list[int] = []
    with own.connect() as db:
        table = db.create_table("t", IDS)
        stop = threading.Event()

        def crash() -> None:
            for _ in range(5):
                stop.wait(0.25)
                own.kill()
                own.start()
            stop.set()

        crasher = threading.Thread(target=crash)
        crasher.start()
        sent = 0
        with table.writer(linger=0.002) as writer:
            while not stop.is_set():
                future = writer.write(id_batch(sent, 100))
                ids = range(sent, sent + 100)
                future.add_done_callback(
                    lambda f, ids=ids: acknowledged.extend(ids) if not f.exception() else None
                )
                sent += 100
        crasher.join()
        assert acknowledged == list(range(sent))
        assert all_ids(table) == list(range(sent))


# Reads over faults -------------------------------------------------------------------------------


def test_a_scan_over_a_network_that_cuts(db: hr.Database, proxy: CuttingProxy) -> None:
    table = db.create_table("t", IDS, buckets=3)
    for part in range(30):
        table.append(id_batch(10_000 * part, 10_000))
    with hr.connect(proxy.uri) as through:
        ids: list[int] = []
        scan = through["t"].scan(columns=["id", "text"])
        planned = 0
        for batch in scan:
            ids += batch.column("id").to_pylist()
            if proxy.cuts == planned < 4:  # the cut before has been
                planned += 1
                proxy.cut_after(700_000)
    assert proxy.cuts >= 3 and sorted(ids) == list(range(300_000))


def test_a_subscription_over_kills_of_the_server(own: hr.testing.TestServer) -> None:
    with own.connect() as db:
        table = db.create_table("t", IDS)
        subscription = table.subscribe(timeout=10)
        seen: list[int] = []
        sent = 0
        for round_ in range(4):
            if round_:
                if round_ % 2:
                    own.kill()
                else:
                    assert own.terminate() == 0
                own.start()
            for _ in range(5):
                table.append(id_batch(sent, 50))
                sent += 50
            while len(seen) < sent:
                batch = next(subscription)
                assert batch.offset == len(seen)
                seen += batch.to_arrow().column("id").to_pylist()
        subscription.close()
    assert seen == list(range(sent))


def test_following_while_writing(db: hr.Database) -> None:
    table = db.create_table("t", IDS)
    seen: list[int] = []

    def follow() -> None:
        for batch in table.subscribe(start="earliest", columns=["id"], timeout=20):
            seen.extend(batch.to_arrow().column("id").to_pylist())
            if len(seen) >= 50_000:
                return

    thread = threading.Thread(target=follow)
    thread.start()
    with table.writer() as writer:
        for i in range(500):
            writer.write(id_batch(100 * i, 100))
    thread.join(30)
    assert seen == list(range(50_000))


def test_calls_after_a_restart_need_no_care(own: hr.testing.TestServer) -> None:
    with own.connect() as db:
        table = db.create_table("t", IDS)
        for end in (own.kill, own.terminate):
            end()
            with pytest.raises(hr.Unavailable), own.connect(timeout=0.2):
                pass
            own.start()
            assert db.tables() == ["default.t"]
            table.append(id_batch(0, 3))
    with own.connect() as db:
        assert db["t"].count() == 6


# Servers and secrets -----------------------------------------------------------------------------


def test_an_embedded_server_keeps_its_data(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with hr.connect(folder) as db:
        db.create_table("t", IDS).append(id_batch(0, 10))
        server = db._server
        assert server is not None and server.running
        with pytest.raises(hr.ServerStartError):  # the folder is in use
            hr.connect(str(folder))
    assert not server.running
    with hr.connect(str(folder)) as db:
        assert db["t"].count() == 10


def test_a_program_that_ends_leaves_nothing_running(tmp_path: Path) -> None:
    program = (
        "import headrace as hr, pyarrow as pa\n"
        f"db = hr.connect({str(tmp_path / 'data')!r})\n"
        "t = db.create_table('t', [{'id': 1}])\n"
        "s = iter(t.subscribe())\n"
        "w = t.writer(linger=60)\n"
        "w.write([{'id': 1}])\n"
        "print(db._server.pid)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and done.stderr == ""
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)
    with hr.connect(tmp_path / "data") as db:
        assert db["t"].count() == 1  # the writer was flushed


def test_an_interrupt_ends_a_wait(tmp_path: Path) -> None:
    program = (
        "import headrace as hr\n"
        f"with hr.connect({str(tmp_path / 'data')!r}) as db:\n"
        "    t = db.create_table('t', [{'id': 1}])\n"
        "    sub = t.subscribe()\n"
        "    print('waiting', flush=True)\n"
        "    next(sub)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert "KeyboardInterrupt" in errors and process.returncode != 0


def test_a_server_object_that_is_dropped_stops(tmp_path: Path) -> None:
    server = hr.Server(tmp_path / "data")
    pid = server.pid
    assert "pid" in repr(server) and "pickled" in str(
        pytest.raises(TypeError, pickle.dumps, server).value
    )
    del server
    gc.collect()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_tokens(tmp_path: Path) -> None:
    token = "t0ken-with-plenty-of-entropy-0123456789"
    tokens = tmp_path / "tokens"
    tokens.write_text(f"tests:{hashlib.sha256(token.encode()).hexdigest()}\n")
    tokens.chmod(0o600)
    with hr.testing.server("--token-file", str(tokens)) as server:
        with pytest.raises(hr.Unauthenticated):
            server.connect()
        with pytest.raises(hr.Unauthenticated):
            server.connect(token="wrong")
        with server.connect(token=token) as db:
            table = db.create_table("t", IDS)
            table.append(id_batch(0, 3))
            assert all_ids(table) == [0, 1, 2] and token not in repr(db)


def certificate(folder: Path) -> tuple[Path, Path]:
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


def test_tls(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    with hr.testing.server("--tls-cert", str(cert), "--tls-key", str(key)) as server:
        with server.connect(tls_root_certs=cert) as db:
            table = db.create_table("t", IDS)
            table.append(id_batch(0, 50_000))
            assert all_ids(table) == list(range(50_000))
        assert server.uri.startswith("grpc+tls://")
        with pytest.raises(hr.Unavailable):
            server.connect(timeout=2)  # an unknown authority is not trusted
