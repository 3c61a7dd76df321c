"""Every Arrow type, in log tables: what was sent comes back, to the last bit of metadata."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import every_type
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.flight as fl
import pytest
from every_type import ABOUT, LISTED, REFUSED, ROWS, STORED, array

import headrace as hr
from headrace._flight import encode_schema

CODECS = [None, "lz4", "zstd"]
COMPRESSIONS: list[Any] = ["stored", "none", "lz4", "zstd"]

each_type = pytest.mark.parametrize("kind", STORED + LISTED, ids=str)


def put(table: hr.Table, batches: list[pa.RecordBatch], codec: str | None = None) -> None:
    """Send batches as they are, past all casts of the client."""
    options = fl.FlightCallOptions(write_options=pa.ipc.IpcWriteOptions(compression=codec))
    descriptor = fl.FlightDescriptor.for_path(*table.name.split("."))
    with fl.FlightClient(table._connection.uri) as client:
        writer, reader = client.do_put(descriptor, batches[0].schema, options)
        with writer:
            for batch in batches:
                writer.write_batch(batch)
            writer.done_writing()
            while reader.read() is not None:
                pass


def variants(kind: pa.DataType) -> list[pa.Array[Any]]:
    """Give arrays of one type that differ in their nulls, lengths and offsets."""
    long = array(kind, ROWS + 30, seed=4)
    return [
        array(kind, nulls=0.0),
        array(kind, nulls=0.3),
        array(kind, nulls=1.0),
        array(kind, rows=0),
        array(kind, rows=1, nulls=0.0),
        long.slice(13, ROWS),
        long.slice(8, 3),
        long.slice(70, 0),
        pa.concat_arrays([long.slice(5, 9), long.slice(40, 11)]),
    ]


def sliced_inside(kind: pa.DataType) -> pa.StructArray:
    """Give structs and lists whose children are slices of longer arrays."""
    long = array(kind, ROWS + 30, seed=5)
    offsets = pa.array([0, 4, 4, 9, None, 20], pa.int32())
    lists = pa.ListArray.from_arrays(offsets, long.slice(11, 20))
    fixed = pa.FixedSizeListArray.from_arrays(long.slice(9, 10), 2)
    pair = pa.StructArray.from_arrays(
        [long.slice(3, 5), lists, fixed],
        fields=[pa.field("v", kind), pa.field("l", lists.type), pa.field("f", fixed.type)],
        mask=pa.array([False, True, False, False, False]),
    )
    return pair.slice(1, 4)


def check(got: pa.Table, want: pa.Table) -> None:
    got.validate(full=True)
    assert got.schema.equals(want.schema, check_metadata=True), f"{got.schema}\n{want.schema}"
    assert got.equals(want)


@each_type
def test_a_type_comes_back(db: hr.Database, kind: pa.DataType) -> None:
    field = pa.field("v", kind, metadata=ABOUT)
    schema = pa.schema([field, ("s", sliced_inside(kind).type)], {b"about": b"\x00\xff", b"": b"x"})
    table = db.create_table("t", schema)
    assert table.schema.equals(schema, check_metadata=True)
    inside = sliced_inside(kind)
    batches = [
        pa.record_batch([v, repeated(inside, len(v))], schema=schema) for v in variants(kind)
    ]
    for codec in CODECS:
        put(table, batches, codec)
    want = pa.Table.from_batches(batches * len(CODECS))
    check(table.scan().to_arrow(), want)
    for start, stop in [(0, 1), (7, 60), (63, 65), (100, want.num_rows)]:
        part = table.scan(start={0: start}, stop={0: stop}).to_arrow()
        check(part, want.slice(start, stop - start))
    check(table.scan(columns=["s"]).to_arrow(), want.select(["s"]))
    fields = [("s", "v"), "v", "s.l", "s.f"]
    for compression in COMPRESSIONS:
        scan = table.scan(columns=fields, compression=compression)
        check(scan.to_arrow(), pa.table([field_of(want, f) for f in fields], chosen(want, fields)))


def repeated(values: pa.Array[Any], rows: int) -> pa.Array[Any]:
    times = -(-rows // len(values))
    return pa.concat_arrays([values] * max(1, times)).slice(0, rows)


def field_of(table: pa.Table, column: Any) -> pa.ChunkedArray[Any]:
    """Give a column, or a field of a struct in one: null where the struct is."""
    path = column.split(".") if isinstance(column, str) else column
    chunks = []
    for chunk in table[path[0]].chunks:
        for name in path[1:]:
            chunk = chunk.flatten()[chunk.type.get_field_index(name)]
        # flatten gives nulls a bitmap, which equals looks at.
        chunks.append(pa.nulls(len(chunk)) if chunk.type == pa.null() else chunk)
    return pa.chunked_array(chunks, chunks[0].type)


def chosen(table: pa.Table, columns: list[Any]) -> pa.Schema:
    """Give the schema of `field_of` each."""
    fields = []
    for column in columns:
        path = column.split(".") if isinstance(column, str) else column
        field = table.schema.field(path[0])
        for name in path[1:]:
            field = field.type.field(name)
        fields.append(field.with_name(".".join(path)))
    return pa.schema(fields, table.schema.metadata)


@pytest.mark.parametrize("kind", STORED, ids=str)
def test_a_dictionary_is_stored_as_its_values(db: hr.Database, kind: pa.DataType) -> None:
    encoded, plain = every_type.dictionary(array(kind))
    nested = pa.StructArray.from_arrays([encoded], names=["d"])
    schema = pa.schema([pa.field("v", encoded.type, metadata=ABOUT), ("s", nested.type)])
    table = db.create_table("t", schema)
    want = pa.schema([pa.field("v", kind, metadata=ABOUT), ("s", pa.struct([pa.field("d", kind)]))])
    assert table.schema.equals(want, check_metadata=True)
    for codec in CODECS:
        put(table, [pa.record_batch([encoded, nested], schema=schema)], codec)
    columns = [plain, pa.StructArray.from_arrays([plain], names=["d"])]
    one = pa.record_batch(columns, schema=want)
    check(table.scan().to_arrow(), pa.Table.from_batches([one] * len(CODECS)))


@pytest.mark.parametrize("kind", REFUSED, ids=str)
def test_a_type_that_is_not_stored_is_refused_by_name(db: hr.Database, kind: pa.DataType) -> None:
    for wrapped, path in ((kind, "fine"), (pa.struct([("a", pa.list_(kind))]), "fine.a.item")):
        schema = pa.schema([("id", pa.int64()), ("fine", wrapped)])
        with pytest.raises(hr.UnsupportedType, match=f'column "{path}".*not stored') as refused:
            db._connection.action("CreateTable", {"table": "t", "schema": encode_schema(schema)})
        assert refused.value.details["column"] == "fine"
    assert "t" not in db


LISTS = [[1, 2], None, [], [3]]
ENCODED = [
    (pa.array(LISTS, pa.list_view(pa.int8())), pa.list_(pa.int8()), LISTS),
    (pa.array(LISTS, pa.large_list_view(pa.int8())).slice(1), pa.large_list(pa.int8()), LISTS[1:]),
    (
        pa.array([LISTS, None, [[7]]], pa.list_view(pa.list_view(pa.int8()))),
        pa.list_(pa.list_(pa.int8())),
        [LISTS, None, [[7]]],
    ),
    (pc.run_end_encode(pa.array(["a", "a", None, "b"])), pa.string(), ["a", "a", None, "b"]),
    (pc.run_end_encode(pa.array([5, 5, 9])).slice(1), pa.int64(), [5, 9]),
]


@pytest.mark.parametrize(("sent", "kind", "values"), ENCODED)
def test_the_client_sends_values_of_views_and_runs(
    db: hr.Database, sent: pa.Array[Any], kind: pa.DataType, values: list[Any]
) -> None:
    data = pa.table({"v": sent})
    table = db.create_table("t", data)
    assert table.schema.field("v").type == kind
    table.append(data)
    assert table.scan().to_arrow()["v"].to_pylist() == values


WIDE = pa.schema([pa.field(f"c{at}", kind) for at, kind in enumerate(STORED)], ABOUT)


def wide_batch(seed: int) -> pa.RecordBatch:
    return pa.record_batch([array(f.type, seed=seed) for f in WIDE], schema=WIDE)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[hr.testing.TestServer]:
    """A server that begins a new file often, so that files are sealed, rewritten and retired."""
    with hr.testing.server("--segment-bytes", "1MiB", data=tmp_path / "data") as server:
        yield server


def wait_until(done: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_all_types_side_by_side(small: hr.testing.TestServer) -> None:
    """Each column alone, all in another order, small batches joined, and after a crash."""
    batches = [wide_batch(seed).slice(seed % 5, 8) for seed in range(60)]
    want = pa.Table.from_batches(batches)
    with small.connect() as db:
        table = db.create_table("t", WIDE)
        for batch in batches:
            put(table, [batch])
        check(table.scan().to_arrow(), want)
        wait_until(lambda: len(list(table.scan().to_batches())) < len(batches) / 2)
        check(table.scan().to_arrow(), want)
        small.kill()
        small.start()
        check(table.scan().to_arrow(), want)
        names = WIDE.names
        for name in names:
            check(table.scan(columns=[name]).to_arrow(), want.select([name]))
        for compression in COMPRESSIONS:
            scan = table.scan(columns=names[::-1], start={0: 3}, compression=compression)
            check(scan.to_arrow(), want.select(names[::-1]).slice(3))


def outcome(call: Callable[[], Any]) -> Any:
    """Give a result, or what kind of error there is: not every library takes every type."""
    try:
        return call()
    except BaseException as error:  # Polars panics with one that is no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        return type(error).__name__


def in_polars(read: Callable[[], Any]) -> str:
    """Give type and values of a column; as text, since NaN equals nothing."""
    return repr(outcome(lambda: (read()["v"].dtype, read()["v"].to_list())))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", STORED, ids=str)
def test_libraries_find_the_values(db: hr.Database, kind: pa.DataType) -> None:
    want = pa.table({"v": array(kind)})
    table = db.create_table("t", want.schema)
    put(table, want.to_batches())
    scan = table.scan()
    assert repr(outcome(lambda: scan.to_pandas().v.tolist())) == repr(
        outcome(lambda: want.to_pandas().v.tolist())
    )
    assert in_polars(scan.to_polars) == in_polars(lambda: pl.from_arrow(want))
    with duckdb.connect() as ours, duckdb.connect() as theirs:
        query = "select typeof(v), v::text from t"
        assert outcome(
            lambda: scan.to_duckdb(ours, "t") and ours.execute(query).fetchall()
        ) == outcome(lambda: theirs.register("t", want) and theirs.execute(query).fetchall())
