"""Partitions, against the real server."""

from __future__ import annotations

import datetime as dt
import threading
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl
import pytest

import headrace as hr
from headrace.partitions import encode_values

UTC = dt.timezone.utc
VISITS = pa.schema([("country", pa.string()), ("id", pa.int64())])


@pytest.fixture
def visits(db: hr.Database) -> hr.Table:
    return db.create_table("web.visits", VISITS, partition_by=["country"], buckets=2)


def ids(scan: hr.Scan) -> list[int]:
    return sorted(scan.to_arrow()["id"].to_pylist())


def test_rows_make_partitions_that_are_read_and_dropped_alone(
    db: hr.Database, visits: hr.Table
) -> None:
    assert visits.partition_by == ("country",) and visits.partitions() == []
    rows = [{"country": c, "id": i} for i, c in enumerate(["DE", "FR", "DE", "IT"])]
    visits.append(rows)
    assert [p.values["country"] for p in visits.partitions()] == ["DE", "FR", "IT"]
    assert ids(visits.scan()) == [0, 1, 2, 3]
    assert ids(visits.scan(partitions=[{"country": "DE"}, {"country": "IT"}])) == [0, 2, 3]
    assert ids(visits.scan(partitions=[])) == []
    with pytest.raises(hr.PartitionAlreadyExists):
        visits.create_partition(country="DE")
    made = visits.create_partition(country="ES")
    assert made.rows == 0 and len(made.buckets) == 2
    assert visits.drop_partition(country="DE") == 1
    with pytest.raises(hr.PartitionNotFound):
        visits.drop_partition(country="DE")
    assert visits.drop_partition(country="DE", missing_ok=True) == 0
    assert ids(visits.scan()) == [1, 3] and visits.count() == 2
    with pytest.raises(hr.BadRequest, match="no partition"):
        db.create_table("web.plain", VISITS).partitions()
    with pytest.raises(hr.BadRequest, match="want a list"):
        visits.scan(partitions={"country": "DE"})  # type: ignore[arg-type]
    hash(visits.scan(partitions=[{"country": "DE"}]).spec)


VALUES: list[tuple[str, pa.DataType, list[Any]]] = [
    ("string", pa.string(), ["", "ü/=,", "x" * 100]),
    ("int8", pa.int8(), [-128, 127]),
    ("uint64", pa.uint64(), [0, 2**64 - 1]),
    ("double", pa.float64(), [0.1, float("inf"), -5e-324]),
    ("float", pa.float32(), [0.5]),
    ("bool", pa.bool_(), [True, False]),
    ("decimal", pa.decimal128(20, 3), [Decimal("-12345678901234567.890")]),
    ("decimal256", pa.decimal256(60, 0), [Decimal(10) ** 50]),
    ("date32", pa.date32(), [dt.date(1969, 12, 31)]),
    ("date64", pa.date64(), [dt.date(2026, 11, 21)]),
    ("time", pa.time64("us"), [dt.time(23, 59, 59, 999999)]),
    ("timestamp", pa.timestamp("us", "UTC"), [dt.datetime(1960, 1, 1, 2, 3, 4, 5, UTC)]),
    ("naive", pa.timestamp("ms"), [dt.datetime(2026, 11, 21, 8)]),
    ("binary", pa.binary(), [b"", b"\x00\xff"]),
    ("fixed", pa.binary(3), [b"abc"]),
]


@pytest.mark.parametrize(("kind", "values"), [v[1:] for v in VALUES], ids=[v[0] for v in VALUES])
def test_values_of_every_type(db: hr.Database, kind: pa.DataType, values: list[Any]) -> None:
    schema = pa.schema([("part", kind), ("id", pa.int64())])
    table = db.create_table("t", schema, partition_by=["part"])
    table.append(pa.table({"part": pa.array(values, kind), "id": range(len(values))}))
    found = table.partitions()
    assert len(found) == len(values)
    for i, value in enumerate(values):
        assert ids(table.scan(partitions=[{"part": value}])) == [i]
        if not pa.types.is_time(kind):
            assert found[i].values["part"] == value
        assert table.partitions(part=value)[0].id == found[i].id
    assert table.drop_partition(part=values[0]) == 1
    assert ids(table.scan()) == list(range(1, len(values)))


def test_a_subscription_sees_partitions_come_and_go(visits: hr.Table) -> None:
    seen: list[int] = []
    enough = threading.Event()
    with (
        visits.subscribe(start="earliest", timeout=20) as every,
        visits.subscribe(start="earliest", timeout=20, partitions=[{"country": "IT"}]) as some,
    ):
        visits.append([{"country": "DE", "id": 1}])
        for batch in every:
            seen += [row["id"] for row in batch.to_pylist()]
            if seen[-1] == 1:
                visits.drop_partition(country="DE")
                visits.append([{"country": "IT", "id": 2}, {"country": "DE", "id": 3}])
            if {2, 3} <= set(seen):
                enough.set()
                position = batch.position
                break
        assert enough.is_set() and len(seen) == 3
        assert next(iter(some)).to_pylist() == [{"country": "IT", "id": 2}]
    visits.drop_partition(country="IT")
    visits.append([{"country": "FR", "id": 4}])
    assert ids(visits.scan(start=position)) == [4]


def test_keyed_tables_have_partitions_too(db: hr.Database) -> None:
    schema = pa.schema([("country", pa.string()), ("id", pa.int64()), ("name", pa.string())])
    users = db.create_table(
        "web.users", schema, primary_key=["country", "id"], partition_by=["country"], buckets=2
    )
    users.upsert([{"country": "DE", "id": i, "name": f"n{i}"} for i in range(100)])
    users.upsert([{"country": "FR", "id": 1, "name": "f"}])
    users.upsert([{"country": "DE", "id": 1, "name": "again"}])
    assert users.get("DE", 1) == {"country": "DE", "id": 1, "name": "again"}
    assert users.get("XX", 1) is None
    got = users.lookup([("FR", 1), ("XX", 1), ("DE", 2)], columns=["name"])
    assert got["name"].to_pylist() == ["f", None, "n2"]
    users.create_index("by_name", ["name"])
    assert users.lookup({"name": ["f"]}, by=["name"])["id"].to_pylist() == [1]
    inserted = users.get_or_insert([("ES", 7)])
    assert inserted.num_rows == 1 and users.count() == 102
    assert [p.rows for p in users.partitions()] == [100, 1, 1]
    users.drop_partition(country="DE")
    assert users.count() == 2 and users.get("DE", 1) is None
    users.upsert([{"country": "DE", "id": 5, "name": "new"}])
    assert users.scan(partitions=[{"country": "DE"}]).to_arrow().num_rows == 1
    assert users.lookup({"name": ["n5", "new"]}, by=["name"], how="inner").num_rows == 1


def test_endpoints_name_their_partition(server: hr.testing.TestServer, visits: hr.Table) -> None:
    visits.append([{"country": f"c{i % 300:03}", "id": i} for i in range(600)])
    client = fl.connect(server.uri)
    body = b'{"scan":{"table":"web.visits","partitions":[{"country":"c007"}]}}'
    info = client.get_flight_info(fl.FlightDescriptor.for_command(body))
    assert len(info.endpoints) <= 2 and info.total_records == 2
    for endpoint in info.endpoints:
        if hasattr(endpoint, "app_metadata"):
            assert b'"partition":{"country":"c007"}' in endpoint.app_metadata
    whole = client.get_flight_info(fl.FlightDescriptor.for_path("web", "visits"))
    assert len(whole.endpoints) <= 256
    rows = [client.do_get(e.ticket).read_all() for e in whole.endpoints]
    assert sum(t.num_rows for t in rows) == 600
    client.close()


def test_values_that_are_none(visits: hr.Table) -> None:
    with pytest.raises(hr.BadRequest, match="no value of a partition"):
        visits.partitions(country=object())
    with pytest.raises(hr.SchemaMismatch):
        visits.append([{"country": None, "id": 1}])
    assert encode_values({"a": Decimal("1.50")}) == {"a": "1.50"}
