"""Changes of columns against the real server, with pyarrow as the judge."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl
import pytest

import headrace as hr

FIRST = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        ("age", pa.int8()),
        ("address", pa.struct([("street", pa.string()), ("zip", pa.int16())])),
    ]
)
ROWS = [
    {"id": 1, "age": 7, "address": {"street": "Elm", "zip": 10}},
    {"id": 2, "age": None, "address": None},
]


@pytest.fixture
def table_name(request: pytest.FixtureRequest) -> str:
    return "".join(c if c.isalnum() else "_" for c in f"evolve_{request.node.name}")[:100]


@pytest.fixture(params=["log", "keyed"])
def table(db: hr.Database, request: pytest.FixtureRequest, table_name: str) -> hr.Table:
    key = ["id"] if request.param == "keyed" else None
    made = db.create_table(table_name, FIRST, primary_key=key)
    _write(made, ROWS)
    return made


def _write(table: hr.Table, rows: Any) -> None:
    if table.primary_key:
        table.upsert(rows)
    else:
        table.append(rows)


def _rows(table: hr.Table, **options: Any) -> list[dict[str, Any]]:
    return table.scan(**options).to_arrow().to_pylist()


def test_all_changes_at_once(table: hr.Table) -> None:
    given = table.alter(
        drop_column=("address", "zip"),
        rename_column={("address", "street"): "road", "age": "years"},
        set_type={"years": pa.int32()},
        add_column=[
            hr.Column("score", pa.float64(), nullable=False, default=0.5, after="id"),
            hr.Column(("address", "city"), "string", default="Ulm"),
            pa.field("note", pa.large_string(), metadata={"unit": "words"}),
            hr.Column("price", pa.decimal128(10, 2), default=Decimal("1.50"), first=True),
            hr.Column("since", pa.timestamp("us", tz="UTC"), default=dt.datetime(2026, 1, 1)),
        ],
        move_column={"note": None},
        set_comment={"score": "from 0 to 1"},
        set_metadata={"years": {"unit": "a"}},
        options={"log.ttl": "7d"},
        expect_version=1,
    )
    assert given is table
    assert table.schema_version == 2
    assert table.schema.field("years").metadata == {b"unit": b"a"}
    assert table.schema.names == ["note", "price", "id", "score", "years", "address", "since"]
    assert table.schema.field("years").type == pa.int32()
    assert table.schema.field("note").metadata == {b"unit": b"words"}
    since = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)
    added = {"note": None, "price": Decimal("1.50"), "score": 0.5, "since": since}
    old = [
        {"id": 1, "years": 7, "address": {"road": "Elm", "city": "Ulm"}, **added},
        {"id": 2, "years": None, "address": None, **added},
    ]
    assert _rows(table) == old
    assert table.scan().to_arrow().schema.equals(table.schema)
    new = {"id": 3, "years": 100_000, "address": None, "score": 1.0, "note": "n"}
    _write(table, [new | {"price": None, "since": None}])
    assert _rows(table, columns=["id", "years", "score"])[2] == {
        "id": 3,
        "years": 100_000,
        "score": 1.0,
    }
    columns = {c["name"]: c for c in table.describe()["columns"]}
    assert columns["score"]["comment"] == "from 0 to 1"
    assert columns["score"]["default"] == 0.5


def test_columns_and_buckets_at_once(table: hr.Table) -> None:
    table.alter(drop_column="address", buckets=4)
    assert (table.schema_version, table.bucket_count) == (2, 4)
    _write(table, [{"id": 3, "age": 9}])
    rows = sorted(_rows(table), key=lambda row: row["id"])
    assert rows == [{"id": 1, "age": 7}, {"id": 2, "age": None}, {"id": 3, "age": 9}]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"set_type": {"age": "string"}}, "does not widen"),
        ({"drop_column": "none"}, "no column"),
        ({"add_column": hr.Column("x", pa.int8(), nullable=False)}, "has no default"),
        ({"add_column": hr.Column("x", pa.int8(), default=300)}, "want -128 to 127"),
        ({"rename_column": {"age": "_offset"}}, "reserved"),
        ({"drop_column": ["age"], "set_nullable": "none"}, "no column"),
        ({"drop_column": ["age"], "buckets": 3}, "set_buckets is 3"),
        ({"drop_column": ["age"], "expect_version": 2}, "schema version 1, not 2"),
        ({"drop_column": ["age"], "expect_version": 0}, "expect_version is 0"),
    ],
)
def test_refused_changes_change_nothing(table: hr.Table, change: dict[str, Any], text: str) -> None:
    with pytest.raises(hr.Error, match=text):
        table.alter(**change)
    assert table.refresh().schema_version == 1
    assert _rows(table) == ROWS


def test_a_writer_goes_on_across_changes(db: hr.Database, table: hr.Table) -> None:
    other = db.table(table.name)
    writer = table.writer()
    writer.write([{"id": 3, "age": 3, "address": None}])
    writer.flush()
    other.alter(
        rename_column={"age": "years"},
        set_type={"years": "int64"},
        add_column=hr.Column("n", pa.int8(), default=5),
    )
    writer.write([{"id": 4, "age": 4, "address": None}])
    writer.flush()
    other.alter(drop_column="address")
    with pytest.raises(hr.SchemaChanged, match="address"):
        writer.write([{"id": 5, "age": 5, "address": None}]).result(10)
    with pytest.raises(hr.SchemaChanged):
        writer.close()
    assert [row["years"] for row in _rows(other, columns=["years"])] == [7, None, 3, 4]
    # Old columns are what the first table object knows: the refusal makes it look again.
    with pytest.raises((hr.SchemaMismatch, hr.SchemaChanged)):
        _write(table, [{"id": 6, "age": 6, "address": None}])
    assert table.schema.names == ["id", "years", "n"]
    _write(table, [{"id": 6, "years": 6, "n": 6}])
    assert _rows(table)[-1] == {"id": 6, "years": 6, "n": 6}


def test_a_subscription_goes_on_across_changes(db: hr.Database, table: hr.Table) -> None:
    other = db.table(table.name)
    got: list[dict[str, Any]] = []
    with table.subscribe(start="latest", timeout=10) as batches:
        _write(other, [{"id": 3, "age": 3, "address": None}])
        got += next(batches).to_arrow().to_pylist()
        other.alter(
            set_type={"age": "int64"},
            rename_column={"id": "key"},
            add_column=pa.field("n", pa.int8()),
        )
        _write(other, [{"key": 4, "age": 4, "address": None, "n": 1}])
        got += next(batches).to_arrow().to_pylist()
        # It has no form in the schema that the stream was opened with: the stream is opened again.
        _write(other, [{"key": 5, "age": 500, "address": None, "n": 1}])
        got += next(batches).to_arrow().to_pylist()
    for row in got:
        row.pop("_change_type", None)
    assert got == [
        {"id": 3, "age": 3, "address": None},
        {"id": 4, "age": 4, "address": None},
        {"key": 5, "age": 500, "address": None, "n": 1},
    ]


def test_a_group_goes_on_across_changes(db: hr.Database, table: hr.Table) -> None:
    other = db.table(table.name)
    got: list[dict[str, Any]] = []

    def take(batches: hr.GroupSubscription) -> None:
        batch = next(batches)
        got.extend(batch.to_arrow().to_pylist())
        batch.commit()

    with table.subscribe(group="g", start="latest", commit="manual", timeout=10) as batches:
        _write(other, [{"id": 3, "age": 3, "address": None}])
        take(batches)
        other.alter(rename_column={"id": "key", "age": "years"}, drop_column="address")
        _write(other, [{"key": 4, "years": 4}])
        take(batches)
        other.alter(set_type={"years": "int64"})
        _write(other, [{"key": 5, "years": 500}])
        take(batches)
    assert table.group("g").lag() == 0
    # Another member begins with the schema of now, where the group has committed.
    _write(other, [{"key": 6, "years": 6}])
    with table.subscribe(group="g", commit="manual", timeout=10) as batches:
        take(batches)
    for row in got:
        row.pop("_change_type", None)
    assert got == [
        {"id": 3, "age": 3, "address": None},
        {"id": 4, "age": 4, "address": None},
        {"key": 5, "years": 500},
        {"key": 6, "years": 6},
    ]


def test_lookups_go_on_across_changes(db: hr.Database, table_name: str) -> None:
    users = db.create_table(table_name, FIRST, primary_key=["id"])
    users.upsert(ROWS)
    assert users.get(1) == ROWS[0]
    db.table(table_name).alter(set_type={"age": "int64"}, drop_column=("address", "zip"))
    got = users.lookup([2, 1, 9])
    assert got["age"].to_pylist() == [None, 7, None]
    users.refresh()
    assert users.get(1) == {"id": 1, "age": 7, "address": {"street": "Elm"}}


def test_flight_schema_and_ends(server: hr.testing.TestServer, table: hr.Table) -> None:
    """What any Flight client sees of a change."""
    client = fl.connect(server.uri)
    follow = '{"scan":{"table":"%s","from":"earliest","to":"never","on_schema_change":"end"%s}}'
    view = ',"view":"changelog"' if table.primary_key else ""
    reader = client.do_get(fl.Ticket((follow % (table.name, view)).encode()))
    assert reader.schema.names == FIRST.names
    assert reader.read_chunk().data.num_rows == 2
    info = client.get_flight_info(fl.FlightDescriptor.for_path(*table.name.split(".")))
    table.alter(rename_column={"age": "years"})
    last = reader.read_chunk()
    assert last.data.num_rows == 0
    assert b'"end":"schema_changed"' in last.app_metadata.to_pybytes()
    planned = client.do_get(info.endpoints[0].ticket).read_all()
    assert planned.schema.names == FIRST.names
    assert planned.to_pylist() == ROWS
    info = client.get_flight_info(fl.FlightDescriptor.for_path(*table.name.split(".")))
    assert info.schema.names == ["id", "years", "address"]
    assert b'"schema_version":2' in info.app_metadata
