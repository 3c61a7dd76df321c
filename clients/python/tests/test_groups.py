"""Consumer groups against the real server."""

from __future__ import annotations

import asyncio
import datetime as dt
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

import headrace as hr

IDS = pa.schema([pa.field("id", pa.int64(), nullable=False)])


def rows(start: int, count: int) -> pa.Table:
    return pa.table({"id": range(start, start + count)}, schema=IDS)


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        threading.Event().wait(0.02)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[hr.testing.TestServer]:
    """A server of a test's own, that it may kill."""
    with hr.testing.server(data=tmp_path / "data") as server:
        yield server


@pytest.fixture
def table(db: hr.Database) -> hr.Table:
    """A table of four buckets."""
    return db.create_table("t", IDS, buckets=4, bucket_key=["id"])


def read(subscription: hr.Subscription) -> list[int]:
    return [i for batch in subscription for i in batch.to_arrow().column("id").to_pylist()]


def test_a_group_goes_on_where_it_has_committed(table: hr.Table) -> None:
    table.append(rows(0, 1000))
    with table.subscribe(group="billing", start="earliest", timeout=1) as first:
        assert isinstance(first, hr.GroupSubscription) and first.buckets == {0, 1, 2, 3}
        assert sorted(read(first)) == list(range(1000))
    group = table.group("billing")
    assert group.lag() == 0 and group.members() == ()
    table.append(rows(1000, 100))
    assert group.lag() == 100
    with table.subscribe(group="billing", start="earliest", timeout=1) as second:
        assert sorted(read(second)) == list(range(1000, 1100))
    # Another group, and the same name for another table, are others.
    with table.subscribe(group="reports", start="earliest", timeout=1) as other:
        assert len(read(other)) == 1100
    assert [info.group for info in table.groups()] == ["billing", "reports"]


def test_what_is_not_committed_comes_again(table: hr.Table) -> None:
    table.append(rows(0, 100))
    with table.subscribe(group="g", start="earliest", commit="manual", timeout=5) as manual:
        batch = next(manual)
        batch.commit()
        rest = sum(b.num_rows for _, b in zip(range(3), manual, strict=False))
    assert batch.num_rows + rest == 100
    assert table.group("g").lag() == 100 - batch.num_rows
    with table.subscribe(group="g", commit="manual", timeout=5) as again:
        seen = 0
        while seen < 100 - batch.num_rows:
            seen += next(again).num_rows
        again.commit()
    assert table.group("g").lag() == 0
    # A loop that is left has not finished its last batch.
    table.append(rows(100, 1))
    with table.subscribe(group="g", timeout=5) as left:
        next(left)
    assert table.group("g").lag() == 1
    with table.subscribe(group="g", timeout=5) as left:
        next(left).commit()
    assert table.group("g").lag() == 0


def test_members_share_the_buckets(table: hr.Table) -> None:
    seen: dict[str, list[int]] = {"a": [], "b": [], "c": []}
    stop = threading.Event()

    def consume(member: str) -> None:
        with table.subscribe(group="g", start="earliest", member=member, timeout=0.2) as mine:
            while not stop.is_set():
                seen[member] += read(mine)

    threads = {m: threading.Thread(target=consume, args=(m,)) for m in seen}
    sent = 0

    def send() -> None:
        nonlocal sent
        table.append(rows(sent, 100))
        sent += 100

    for member, thread in threads.items():
        thread.start()
        wait_for(
            lambda m=member: m in {i.member for i in table.group("g").members()},  # type: ignore[misc]
            f"{member} does not join",
        )
        for _ in range(5):
            send()
    wait_for(lambda: table.group("g").lag() == 0, "rows are left")
    wait_for(
        lambda: sorted(len(m.buckets) for m in table.groups()[0].members) == [1, 1, 2],
        "the buckets are not shared out",
    )
    info = table.groups()[0]
    assert sorted(b for m in info.members for b in m.buckets) == [0, 1, 2, 3]
    stop.set()
    for thread in threads.values():
        thread.join(30)
    # They came and left in peace: nothing is lost, and nothing came twice.
    assert sorted(seen["a"] + seen["b"] + seen["c"]) == list(range(sent))
    assert table.group("g").members() == ()


CONSUMER = """
import sys
import headrace as hr
with hr.connect(sys.argv[1]) as db, open(sys.argv[2], "a") as out:
    table = db.table("t")
    for batch in table.subscribe(
        group="g", start="earliest", member=sys.argv[3], commit="manual", session=2
    ):
        for i in batch.to_arrow().column("id").to_pylist():
            out.write(f"{i}\\n")
        out.flush()
        batch.commit()
        out.write("committed\\n")
        out.flush()
"""


def test_a_member_that_is_killed(own: hr.testing.TestServer, tmp_path: Path) -> None:
    script = tmp_path / "consumer.py"
    script.write_text(CONSUMER)
    with own.connect() as db:
        table = db.create_table("t", IDS, buckets=6, bucket_key=["id"])
        outputs = [tmp_path / f"seen-{i}" for i in range(3)]
        members = [
            subprocess.Popen([sys.executable, str(script), own.uri, str(outputs[i]), f"m{i}"])
            for i in range(3)
        ]
        group = table.group("g")
        try:
            wait_for(lambda: [len(m.buckets) for m in group.members()] == [2, 2, 2], "no sharing")
            sent = 0
            for round_ in range(60):
                if round_ == 20:
                    members[1].send_signal(signal.SIGKILL)
                table.append(rows(sent, 50))
                sent += 50
            wait_for(lambda: group.lag() == 0, "rows are left")
            assert [m.member for m in group.members()] == ["m0", "m2"]
        finally:
            for member in members:
                member.kill()
                member.wait()
    texts = [out.read_text().split() for out in outputs]
    seen = [[int(line) for line in text if line != "committed"] for text in texts]
    counts = Counter(seen[0] + seen[1] + seen[2])
    assert set(counts) == set(range(sent)), "rows are lost"
    # What came twice is what the killed one had read and not committed.
    killed = texts[1]
    last = len(killed) - killed[::-1].index("committed") if "committed" in killed else 0
    twice = {i for i, count in counts.items() if count > 1}
    assert twice <= {int(line) for line in killed[last:]}
    assert max(counts.values()) <= 2


def test_a_server_that_is_killed_changes_no_membership(own: hr.testing.TestServer) -> None:
    with own.connect() as db:
        table = db.create_table("t", IDS, buckets=3, bucket_key=["id"])
        with table.subscribe(group="g", start="earliest", timeout=20) as subscription:
            seen: list[int] = []
            for round_ in range(4):
                if round_:
                    own.kill()
                    own.start()
                table.append(rows(50 * round_, 50))
                while len(seen) < 50 * (round_ + 1):
                    seen += next(subscription).to_arrow().column("id").to_pylist()
            assert sorted(seen) == list(range(200))
            assert table.groups()[0].generation == 1
        assert table.group("g").lag() <= 50


def test_a_reset_reaches_the_members(table: hr.Table) -> None:
    table.append(rows(0, 40))
    group = table.group("g")
    with table.subscribe(group="g", start="earliest", timeout=3) as subscription:
        assert len(read(subscription)) == 40
        wait_for(lambda: group.lag() == 0, "nothing is committed")
        group.reset("earliest")
        assert group.lag() == 40
        assert len(read(subscription)) == 40
        group.reset(dt.datetime.now(dt.timezone.utc) + dt.timedelta(hours=1))
        table.append(rows(40, 1))
        assert set(read(subscription)) == {40}  # once more if it came before the reset was known
    group.drop()
    group.drop(missing_ok=True)
    with pytest.raises(hr.GroupNotFound):
        group.lag()
    with pytest.raises(KeyError):
        group.reset("latest")


def test_the_changes_of_a_keyed_table(db: hr.Database) -> None:
    schema = pa.schema([("id", pa.int64()), ("name", pa.string())])
    users = db.create_table("users", schema, primary_key=["id"], buckets=2)
    users.upsert([{"id": i, "name": "a"} for i in range(10)])
    with users.subscribe(group="g", start="earliest", timeout=1) as first:
        kinds = [k for b in first for k in b.to_arrow().column("_change_type").to_pylist()]
    assert kinds == ["+I"] * 10
    users.upsert([{"id": 3, "name": "b"}])
    assert users.group("g").lag() == 2
    with users.subscribe(["name"], group="g", timeout=1) as second:
        names = [n for b in second for n in b.to_arrow().column("name").to_pylist()]
    assert names == ["a", "b"]


def test_seek_and_pause(table: hr.Table) -> None:
    table.append(rows(0, 400))
    with table.subscribe(group="g", start="latest", timeout=1) as subscription:
        assert read(subscription) == []
        subscription.seek(hr.Position({0: 0, 1: 0, 2: 0, 3: 0}))
        assert len(read(subscription)) == 400
        subscription.pause()
        table.append(rows(400, 10))
        assert read(subscription) == []
        subscription.resume()
        assert sorted(read(subscription)) == list(range(400, 410))
    with table.subscribe(start="latest", timeout=1) as plain:
        plain.seek({0: 0})
        assert 0 < len(read(plain)) < 410
        plain.pause()
        assert read(plain) == []
        with pytest.raises(hr.BadRequest, match="of no group"):
            hr.Batch(0, 0, None, plain.position, rows(0, 1).to_batches()[0]).commit()


def test_two_programs_with_the_name_of_one_member(table: hr.Table) -> None:
    table.append(rows(0, 4))
    with (
        table.subscribe(group="g", member="m", start="earliest", commit="manual") as first,
        table.subscribe(group="g", member="m", timeout=2) as second,
    ):
        with pytest.raises(hr.MemberFenced, match="another program"):
            while True:
                next(first)
        assert len(read(second)) == 4


def test_a_commit_of_what_has_moved_on(table: hr.Table) -> None:
    table.append(rows(0, 400))
    with table.subscribe(group="g", start="earliest", commit="manual", timeout=10) as first:
        batches = [next(first) for _ in range(4)]
        with table.subscribe(group="g", commit="manual", timeout=10) as second:
            wait_for(lambda: _advance(first) and len(first.buckets) == 2, "no handover")  # type: ignore[attr-defined]
            moved = next(b for b in batches if b.bucket not in first.buckets)  # type: ignore[attr-defined]
            kept = next(b for b in batches if b.bucket in first.buckets)  # type: ignore[attr-defined]
            with pytest.raises(hr.MemberFenced, match="has moved"):
                moved.commit()
            kept.commit()
            assert next(second).offset == 0


def _advance(subscription: hr.Subscription) -> bool:
    """Ask for a batch that does not come, so that the member settles."""
    subscription._timeout = 0.1
    return next(subscription, None) is None


def test_bad_arguments(table: hr.Table) -> None:
    with pytest.raises(hr.BadRequest, match="commit is 'never'"):
        table.subscribe(group="g", commit="never")  # type: ignore[arg-type]
    with pytest.raises(hr.BadRequest, match="the session is 100ms"):
        table.subscribe(group="g", session=0.1)
    with pytest.raises(hr.BadRequest, match="not a name for a group"):
        table.subscribe(group="")
    with pytest.raises(hr.OffsetBeyondEnd):
        table.group("g").commit({0: 7})


def test_a_table_that_is_replaced(db: hr.Database, table: hr.Table) -> None:
    with table.subscribe(group="g", timeout=20) as subscription:
        table.drop()
        db.create_table("t", IDS, buckets=4, bucket_key=["id"])
        with pytest.raises((hr.TableReplaced, hr.TableNotFound)):
            while True:
                next(subscription)


def test_groups_for_asyncio(server: hr.testing.TestServer, table: hr.Table) -> None:
    async def main() -> None:
        async with await hr.aio.connect(server.uri) as db:
            mine = await db.table("t")
            await mine.append(rows(0, 20))
            seen = 0
            async with await mine.subscribe(
                group="g", start="earliest", commit="manual", timeout=2
            ) as subscription:
                async for batch in subscription:
                    await subscription.commit(batch)
                    seen += batch.num_rows
                await subscription.commit()
            assert seen == 20
            assert [info.lag for info in await db.groups()] == [0]

    asyncio.run(main())
