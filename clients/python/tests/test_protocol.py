"""Tests against a server in memory that does what a real one cannot be made to do."""

from __future__ import annotations

import asyncio
import gc
import json
import multiprocessing
import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.flight as fl
import pytest
from fake_server import Fake

import headrace as hr
from headrace import pipeline as pipeline_module

SCHEMA = pa.schema([("id", pa.int64()), ("name", pa.string())])


@pytest.fixture
def fake() -> Iterator[Fake]:
    with Fake() as server:
        yield server


@pytest.fixture
def db(fake: Fake) -> Iterator[hr.Database]:
    with hr.connect(fake.uri, timeout=5) as database:
        yield database
    wait_for(lambda: not own_threads(), f"threads are left: {own_threads()}")


@pytest.fixture
def table(db: hr.Database) -> hr.Table:
    return db.create_table("t", SCHEMA)


def own_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("headrace-")]


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, what
        threading.Event().wait(0.005)


def ids(table: hr.Table) -> list[int]:
    return table.scan(columns=["id"]).to_arrow()["id"].to_pylist()


def queued(subscription: hr.Subscription) -> int:
    feed = subscription._reading._feed
    return 0 if feed is None else feed._queue_bytes


def batches(*sizes: int) -> list[pa.RecordBatch]:
    out, at = [], 0
    for size in sizes:
        out.append(pa.record_batch([list(range(at, at + size)), [None] * size], schema=SCHEMA))
        at += size
    return out


# Connections -------------------------------------------------------------------------------------


def test_the_token_is_sent_with_every_call_and_never_shown(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_TOKEN", "s3cret")
    with hr.connect(fake.uri) as db:
        table = db.create_table("t", SCHEMA)
        table.append([{"id": 1}])
        table.scan().to_arrow()
        assert len(fake.headers.seen) > 5
        assert all(h.get("authorization") == ["Bearer s3cret"] for h in fake.headers.seen)
        shown = repr(db) + repr(table) + repr(table.scan()) + repr(db._connection.address)
        assert "s3cret" not in shown


def test_a_bad_token_is_no_missing_server(fake: Fake) -> None:
    fake.next_error = fl.FlightUnauthenticatedError("UNAUTHENTICATED: no token. Send one.")
    with pytest.raises(hr.Unauthenticated, match="no token"):
        hr.connect(fake.uri)


def test_a_server_that_drains_is_no_missing_server(fake: Fake) -> None:
    fake.next_error = fl.FlightUnavailableError("DRAINING: the server stops. Retry.")
    with pytest.raises(hr.Draining):
        hr.connect(fake.uri)


def test_the_trailer_reaches_the_error(fake: Fake, db: hr.Database) -> None:
    fake.headers.value = '{"reason":"OFFSET_TRIMMED","retriable":false,"earliest":500}'
    fake.next_error = pa.ArrowInvalid("OFFSET_TRIMMED: gone.")
    with pytest.raises(hr.OffsetTrimmed) as caught:
        db.databases()
    assert caught.value.earliest == 500


def test_lists_in_several_results_are_joined(db: hr.Database) -> None:
    assert db._connection.action("More", {}) == {"a": 1, "list": [1, 2, 3]}


def test_a_closed_connection_says_so(fake: Fake) -> None:
    db = hr.connect(fake.uri)
    db.close()
    db.close()
    with pytest.raises(hr.ClosedError, match="is closed"):
        db.tables()


def test_missing_tables_name_near_ones(db: hr.Database) -> None:
    with pytest.raises(hr.TableNotFound, match="There are no tables yet"):
        db["clicks"]
    db.create_table("web.clicks", SCHEMA)
    with pytest.raises(hr.TableNotFound, match="Did you mean 'web.clicks'") as caught:
        db["web.click"]
    assert caught.value.details["table"] == "web.click"
    with pytest.raises(KeyError):
        db["none"]
    assert "web.clicks" in db and "web.none" not in db and 7 not in db


def test_what_is_not_there_yet_is_named(db: hr.Database, table: hr.Table) -> None:
    calls: list[Callable[[], object]] = [
        lambda: db.sql("select 1"),
        lambda: table.subscribe(group="g"),
        lambda: table.scan(filter="id > 3"),
    ]
    for call in calls:
        with pytest.raises(hr.UnsupportedError, match="headrace 0"):
            call()


def test_calls_by_key_name_what_to_use_for_a_log_table(table: hr.Table) -> None:
    for call, instead in (
        (lambda: table.upsert([]), "append"),
        (lambda: table.delete([]), "truncate"),
        (lambda: table.get(1), "scan"),
        (lambda: table.lookup([]), "scan"),
        (lambda: table.get_or_insert([]), "scan"),
        (table.changelog, "scan"),
    ):
        with pytest.raises(hr.BadRequest, match=f"no primary key.*use {instead}"):
            call()


def test_filters_are_sent_where_the_server_has_them(fake: Fake) -> None:
    fake.features = ["filter"]
    with hr.connect(fake.uri) as db:
        table = db.create_table("t", SCHEMA)
        table.scan(filter="id > 3").to_arrow()
        assert fake.scans[-1]["filter"] == {"sql": "id > 3"}
        table.scan(filter=pa.compute.field("id") > 3).to_arrow()
        assert list(fake.scans[-1]["filter"]) == ["substrait"]
        with pytest.raises(hr.BadRequest, match="filter is a int, want an expression"):
            table.scan(filter=3)
        with pytest.raises(hr.ColumnNotFound, match="names a column 'nope'"):
            table.scan(filter=pa.compute.field("nope") > 3)


def test_what_cannot_be_pickled_says_what_to_do(db: hr.Database, table: hr.Table) -> None:
    writer = table.writer()
    with table.subscribe() as subscription:
        for thing in (db, table, writer, subscription):
            with pytest.raises(TypeError, match="cannot be pickled"):
                pickle.dumps(thing)
    writer.close()


def test_a_scan_can_be_sent_to_workers(table: hr.Table) -> None:
    table.append(batches(5)[0])
    scan = pickle.loads(pickle.dumps(table.scan(columns=["id"], limit=3)))
    assert scan.to_arrow().num_rows == 3
    scan._connection.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_is_refused_rather_than_hung(db: hr.Database, table: hr.Table) -> None:
    writer = table.writer()
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    def child() -> None:
        for call in (db.tables, lambda: writer.write([{"id": 1}])):
            try:
                call()
            except hr.ClosedError as error:  # noqa: PERF203
                answers.put(str(error))
        os._exit(0)

    process = context.Process(target=child)
    process.start()
    process.join(20)
    assert process.exitcode == 0
    assert "'spawn'" in answers.get() and "open one in the child" in answers.get()
    writer.close()


# Writers -----------------------------------------------------------------------------------------


def test_appends_share_one_producer(fake: Fake, db: hr.Database, table: hr.Table) -> None:
    results = [db["t"].append(batch) for batch in batches(3, 4)]
    assert [r.position.offsets for r in results] == [{0: 3}, {0: 7}]
    assert results[0].rows == 3 and results[0].position.table_id == table.id
    assert sum(name == "OpenProducer" for name, _ in fake.actions) == 1
    assert ids(table) == list(range(7))


def test_small_writes_are_put_together(fake: Fake, table: hr.Table) -> None:
    with table.writer(linger=5) as writer:
        futures = [writer.write([{"id": i}]) for i in range(1000)]
        result = writer.flush()
    assert result.rows == 1000 and len(fake.rows["default.t"]) == 1
    assert ids(table) == list(range(1000))
    assert {f.result().rows for f in futures} == {1}


def test_linger_sends_without_a_flush(table: hr.Table) -> None:
    with table.writer(linger=0.02) as writer:
        assert writer.write([{"id": 1}]).result(5).rows == 1


def test_a_large_write_is_one_result(fake: Fake, table: hr.Table) -> None:
    data = pa.table({"id": range(10_000), "name": ["x" * 50] * 10_000})
    with table.writer(batch_rows=100) as writer:
        assert writer.write(data).result(10).rows == 10_000
    sizes = [b.num_rows for b in fake.rows["default.t"]]
    assert max(sizes) <= 1000 and sum(sizes) == 10_000  # the server's limit


def test_no_rows_are_a_result_too(table: hr.Table) -> None:
    assert table.append([]).rows == 0
    assert table.append(SCHEMA.empty_table()).rows == 0


def test_rows_of_different_columns_go_in_streams_of_their_own(fake: Fake, table: hr.Table) -> None:
    table._describe(dict(table._description, columns=[{"name": "name", "default": "none"}]))
    with table.writer(linger=5) as writer:
        futures = [
            writer.write({"id": [1], "name": ["a"]}),
            writer.write({"id": [2]}),
            writer.write({"id": [3]}),
            writer.write({"id": [4], "name": ["b"]}),
        ]
        writer.flush()
    assert [f.result().rows for f in futures] == [1, 1, 1, 1]
    got = [(b.schema.names, b.column("id").to_pylist()) for b in fake.rows["default.t"]]
    assert got == [(["id", "name"], [1]), (["id"], [2, 3]), (["id", "name"], [4])]


@pytest.mark.parametrize("forget", [False, True], ids=["before it is stored", "after"])
@pytest.mark.parametrize("merge", [False, True], ids=["each acknowledged", "merged"])
def test_cuts_lose_and_double_nothing(
    fake: Fake, table: hr.Table, forget: bool, merge: bool
) -> None:
    fake.cut_puts_after = [3, 0, 7, 1, 20, 0, 0, 2]
    fake.forget_last_ack, fake.merge_acks = forget, merge
    with table.writer(batch_rows=10, linger=0) as writer:
        futures = [writer.write(batch) for batch in batches(*[10] * 100)]
        assert writer.flush().rows == 1000
    assert ids(table) == list(range(1000))
    assert fake.puts == 9 and (fake.duplicates > 0 or not forget)
    assert all(future.result().rows == 10 for future in futures)
    ends = [future.result().position.offsets[0] for future in futures]
    assert ends == sorted(ends) and ends[-1] == 1000


def test_random_cuts(fake: Fake, table: hr.Table) -> None:
    import random

    seed = random.randrange(1 << 30)
    choose = random.Random(seed)
    fake.forget_last_ack = True
    fake.cut_puts_after = [choose.randrange(6) for _ in range(25)]
    sizes = [choose.randrange(1, 40) for _ in range(150)]
    with table.writer(batch_rows=50, linger=0) as writer:
        for batch in batches(*sizes):
            writer.write(batch)
    assert ids(table) == list(range(sum(sizes))), f"seed {seed}"


def test_a_refused_batch_fails_what_was_not_stored(fake: Fake, table: hr.Table) -> None:
    fake.refuse_batch = 2
    writer = table.writer(batch_rows=5, linger=0)
    parts = batches(5, 5, 5, 5)
    good = [writer.write(part) for part in parts[:2]]
    writer.flush()
    bad = [writer.write(parts[2])]
    with pytest.raises(hr.SchemaMismatch, match="does not fit"):
        writer.flush()
    with pytest.raises(hr.SchemaMismatch):
        writer.write(parts[3])
    with pytest.raises(hr.SchemaMismatch):
        writer.close()
    assert [f.result().rows for f in good] == [5, 5]
    assert isinstance(bad[0].exception(), hr.SchemaMismatch)
    assert ids(table) == list(range(10))


def test_append_works_again_after_an_error(fake: Fake, table: hr.Table) -> None:
    fake.refuse_batch = 0
    with pytest.raises(hr.SchemaMismatch):
        table.append([{"id": 1}])
    fake.refuse_batch = None
    assert table.append([{"id": 2}]).rows == 1
    with pytest.raises(hr.SchemaMismatch, match="'id'"):
        table.append([{"id": "x"}])
    assert table.append([{"id": 3}]).rows == 1 and ids(table) == [2, 3]


def test_a_write_that_does_not_fit_sends_nothing(fake: Fake, table: hr.Table) -> None:
    with table.writer(linger=0) as writer:
        bad = pa.table({"id": [1, None], "name": pa.chunked_array([["a"], ["b"]])})
        table._describe(
            dict(table._description)
            | {"schema": hr._flight.encode_schema(pa.schema([pa.field("id", pa.int64(), False)]))}
        )
        with pytest.raises(hr.SchemaMismatch):
            writer.put(bad, table._caster)
        writer.flush()
    assert fake.rows["default.t"] == []


def test_a_server_that_stays_away_fails_the_writer(fake: Fake, table: hr.Table) -> None:
    writer = table.writer(timeout=0.3, linger=0)
    fake.cut_puts_after = [0] * 100
    future = writer.write([{"id": 1}])
    assert isinstance(future.exception(10), hr.Unavailable)
    with pytest.raises(hr.Unavailable):
        writer.flush()
    with pytest.raises(hr.Unavailable):
        writer.close()


def test_a_close_that_takes_too_long_tells_what_is_lost(fake: Fake, table: hr.Table) -> None:
    fake.slow_acks = 0.5
    writer = table.writer(linger=0)
    future = writer.write([{"id": 1}])
    writer._pipeline.close(timeout=0.05)
    assert isinstance(future.exception(), hr.TimedOut)
    with pytest.raises(hr.TimedOut, match="close of the writer"):
        writer.close()


def test_an_error_in_the_block_is_not_hidden(fake: Fake, table: hr.Table) -> None:
    fake.refuse_batch = 0
    with pytest.raises(ZeroDivisionError), table.writer() as writer:
        writer.write([{"id": 1}])
        _ = 1 / 0


def test_the_buffer_is_bounded(fake: Fake, table: hr.Table) -> None:
    fake.slow_acks = 0.02
    batch = batches(1000)[0]
    with table.writer(buffer_bytes=3 * batch.nbytes, linger=0) as writer:
        for _ in range(20):
            writer.write(batch)
            assert writer._pipeline._held <= 3 * batch.nbytes
    assert len(ids(table)) == 20_000


def test_many_threads_share_a_writer(table: hr.Table) -> None:
    with table.writer(batch_rows=64) as writer:

        def work(first: int) -> None:
            for i in range(first, first + 200):
                writer.write([{"id": i}])

        threads = [threading.Thread(target=work, args=(1000 * n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    got = ids(table)
    assert sorted(got) == [1000 * n + i for n in range(4) for i in range(200)]
    for n in range(4):  # the order of each thread is kept
        own = [i for i in got if i // 1000 == n]
        assert own == sorted(own)


def test_flush_gives_up_in_time_and_the_rows_still_arrive(fake: Fake, table: hr.Table) -> None:
    fake.slow_acks = 0.5
    with table.writer(linger=0) as writer:
        future = writer.write([{"id": 1}])
        with pytest.raises(hr.TimedOut, match="flush"):
            writer.flush(timeout=0.05)
    assert future.result().rows == 1


def test_a_writer_that_is_dropped_still_stores(table: hr.Table) -> None:
    writer = table.writer(linger=60)
    writer.write([{"id": 1}])
    del writer
    gc.collect()
    assert ids(table) == [1]


def test_a_connection_that_closes_flushes_its_writers(fake: Fake) -> None:
    with hr.connect(fake.uri) as db:
        table = db.create_table("t", SCHEMA)
        writer = table.writer(linger=60)
        future = writer.write([{"id": 1}])
    assert future.result(0).rows == 1
    with pytest.raises(hr.ClosedError):
        writer.write([{"id": 2}])


def test_rows_lost_at_close_are_told(fake: Fake) -> None:
    fake.refuse_batch = 0
    with pytest.raises(hr.SchemaMismatch), hr.connect(fake.uri) as db:
        writer = db.create_table("t", SCHEMA).writer(linger=60)
        writer.write([{"id": 1}])


def test_an_idle_stream_is_closed_and_opened_again(
    fake: Fake, table: hr.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline_module, "IDLE_SECONDS", 0.05)
    with table.writer(linger=0) as writer:
        writer.write([{"id": 1}]).result(5)
        wait_for(lambda: writer._pipeline._stream is None, "the stream stays open")
        writer.write([{"id": 2}]).result(5)
    assert fake.puts == 2 and ids(table) == [1, 2]


def test_futures_cannot_be_cancelled(table: hr.Table) -> None:
    with table.writer(linger=5) as writer:
        assert not writer.write([{"id": 1}]).cancel()


# Scans -------------------------------------------------------------------------------------------


def test_every_form_of_a_scan(table: hr.Table) -> None:
    for batch in batches(3, 4):
        table.append(batch)
    scan = table.scan()
    with pytest.raises(hr.BadRequest, match="before it is read"):
        _ = scan.position
    expected = list(range(7))
    assert scan.to_arrow()["id"].to_pylist() == expected
    assert [b.num_rows for b in scan.to_batches()] == [3, 4]
    assert [b.num_rows for b in scan] == [3, 4]
    assert scan.to_arrow_batch_reader().read_all()["id"].to_pylist() == expected
    assert pa.table(scan)["id"].to_pylist() == expected
    assert scan.to_pandas()["id"].tolist() == expected
    assert scan.to_polars()["id"].to_list() == expected
    assert scan.schema() == SCHEMA and scan.count() == 7
    assert scan.position.offsets == {0: 7}
    assert pa.table(table).num_rows == 7 and pa.schema(table) == SCHEMA
    assert table.head(2).num_rows == 2


def test_a_position_resumes_in_the_middle(table: hr.Table) -> None:
    for batch in batches(3, 4):
        table.append(batch)
    scan = table.scan()
    reading = scan.to_batches()
    next(reading)
    reading.close()
    assert scan.position.offsets == {0: 3}
    assert table.scan(start=scan.position).to_arrow()["id"].to_pylist() == [3, 4, 5, 6]


@pytest.mark.parametrize("cuts", [[0], [2], [1, 0, 1], [5, 5]])
def test_a_scan_goes_on_after_a_cut(fake: Fake, table: hr.Table, cuts: list[int]) -> None:
    for batch in batches(*[10] * 10):
        table.append(batch)
    expected = ids(table)
    fake.cut_reads_after = list(cuts)
    assert ids(table) == expected and fake.cut_reads_after == []
    fake.cut_reads_after = list(cuts)
    assert table.scan(limit=55, columns=["id"]).to_arrow()["id"].to_pylist() == expected[:55]
    fake.cut_reads_after = list(cuts)
    assert table.scan().count() == 100


def test_a_scan_that_is_cut_for_ever_is_an_error(fake: Fake) -> None:
    with hr.connect(fake.uri, timeout=0.2) as db:
        table = db.create_table("t", SCHEMA)
        table.append(batches(10)[0])
        fake.end_mark = ""
        with pytest.raises(hr.StreamCutError, match="before its end mark"):
            table.scan().to_arrow()
        with pytest.raises(hr.StreamCutError):
            table.scan().to_arrow_batch_reader().read_all()


def test_unknown_columns_name_near_ones(table: hr.Table) -> None:
    with pytest.raises(hr.ColumnNotFound, match="no column 'nmae'. Did you mean 'name'"):
        table.scan(columns=["nmae"])
    with pytest.raises(hr.ColumnNotFound):
        table.subscribe(columns=["x"])


# Subscriptions -----------------------------------------------------------------------------------


def test_a_subscription_sees_what_comes(table: hr.Table) -> None:
    table.append(batches(3)[0])
    with table.subscribe() as new, table.subscribe(start="earliest", columns=["id"]) as all_rows:
        table.append(batches(4)[0])
        batch = next(new)
        assert batch.num_rows == 4 and batch.offset == 3 and batch.bucket == 0
        assert batch.position.offsets == new.position.offsets == {0: 7}
        assert batch.time is not None and batch.time.microsecond == 500_000
        assert batch.to_pylist()[1] == {"id": 1, "name": None}
        assert pa.record_batch(batch).num_rows == 4
        assert next(all_rows).to_arrow().schema.names == ["id"]
        assert next(all_rows).offset == 3


@pytest.mark.parametrize(
    ("start", "first"),
    [("earliest", 0), (hr.Position({0: 5}), 5), ({0: 7}, 7), (hr.Position({}), 0)],
)
def test_where_a_subscription_starts(table: hr.Table, start: hr.Bound, first: int) -> None:
    table.append(batches(10)[0])
    with table.subscribe(start=start) as subscription:
        assert next(subscription).offset == first


def test_a_subscription_goes_on_after_cuts_and_draining(fake: Fake, table: hr.Table) -> None:
    fake.cut_reads_after = [2, 0, 1, 3]
    fake.end_mark = "draining"
    for batch in batches(*[5] * 20):
        table.append(batch)
    seen: list[int] = []
    for batch in table.subscribe(start="earliest", timeout=0.5):
        assert batch.offset == len(seen)
        seen += batch.to_arrow().column("id").to_pylist()
    assert seen == ids(table)


def test_a_loop_that_is_left_ends_the_subscription(table: hr.Table) -> None:
    table.append(batches(3)[0])
    for _ in table.subscribe(start="earliest"):
        break
    wait_for(lambda: not [n for n in own_threads() if "follow" in n], "the thread is left")


def test_a_subscription_can_be_closed_from_another_thread(table: hr.Table) -> None:
    subscription = table.subscribe()
    closer = threading.Timer(0.1, subscription.close)
    closer.start()
    assert list(subscription) == []
    closer.join()
    assert not subscription.open


def test_errors_reach_the_loop(fake: Fake, table: hr.Table) -> None:
    start = hr.Position({0: 0})
    fake.next_error = pa.ArrowInvalid("OFFSET_TRIMMED: rows are gone. Start later.")
    subscription = table.subscribe(start=start)
    with pytest.raises(hr.OffsetTrimmed):
        next(subscription)
    subscription.close()


def test_a_slow_reader_holds_a_bounded_amount(
    fake: Fake, table: hr.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.feed.QUEUE_BYTES", 1000)
    for batch in batches(*[100] * 50):
        table.append(batch)
    with table.subscribe(start="earliest", timeout=1) as subscription:
        wait_for(lambda: queued(subscription) > 1000, "nothing arrives")
        threading.Event().wait(0.05)
        assert queued(subscription) < 4000
        assert sum(batch.num_rows for batch in subscription) == 5000


# asyncio -----------------------------------------------------------------------------------------


def test_asyncio(fake: Fake) -> None:
    async def main() -> list[int]:
        async with await hr.aio.connect(fake.uri) as db:
            table = await db.create_table("t", SCHEMA)
            assert (await table.append(batches(3)[0])).rows == 3
            assert await db.tables() == ["default.t"] and await table.count() == 3
            assert (await (await db.table("t")).scan(limit=2).to_arrow()).num_rows == 2
            assert [b.num_rows async for b in table.scan()] == [3]
            seen: list[int] = []
            async with await table.subscribe(start="earliest", timeout=1) as subscription:
                task = asyncio.create_task(table.append(batches(4)[0]))
                async for batch in subscription:
                    seen += batch.to_arrow().column("id").to_pylist()
                await task
            with pytest.raises(hr.TableNotFound):
                await db.table("none")
            return seen

    assert asyncio.run(main()) == [0, 1, 2, 0, 1, 2, 3]


def test_commands_are_strict_json(fake: Fake, table: hr.Table) -> None:
    table.append([{"id": 1}])
    list(table.subscribe(start="earliest", timeout=0.2))
    scan = fake.scans[-1]
    assert scan == {
        "table": "default.t",
        "from": {"offsets": {}, "table_id": table.id},
        "to": "never",
    } and json.dumps(scan)
