"""Keyed tables: new keys, upserts, lookups, all at once, a scan of the state, memory, restarts."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import profiles
import pyarrow as pa

from . import keyed_restart, keyed_retired, load, lookups
from .keyed_surrounding import UPSERTS_PER_SECOND, Upserts
from .plan import BUILD, Plan
from .process import PeakMemory
from .record import Measurement, Recorder, Verdict, alternate, cpu_text, million, speed
from .scan import one as scan_once
from .servers import Headrace

BUCKETS = 4
BYTES_PER_ROW = 108  # of a profile, as Arrow buffers
WINDOW = 16
NEW_KEYS_PER_SECOND = 300e3
UPSERTS_TARGET = 400e3
UPSERT_SERVER_MICROS = 2.5
LOOKUP_TARGETS = {1000: 2e6, 100: 1e6}
ONE_P50_MS, ONE_P99_MS = 0.15, 1.0
BESIDE_UPSERTS_P99_MS = 2.0
RATE_KEPT = 0.95  # of the upserts that lookups are measured beside; with fewer nothing is met
SCAN_TARGET = 5e6
SCAN_COLUMNS = ["user_id", "balance", "visits"]
SCAN_BYTES = 24  # of a row of SCAN_COLUMNS
CHECKED = 1000  # rows that are compared with what was sent


def measure(plan: Plan, recorder: Recorder, _: list[pa.RecordBatch]) -> None:
    """Measures each size of the plan on a server of its own."""
    for keys in plan.keyed_sizes:
        with Headrace("keyed") as ours:
            bench = Bench(plan, recorder, ours, keys)
            empty = ours.process.anonymous_bytes()
            table = new_keys(bench)
            upserts(bench, table)
            all_lookups(bench, table)
            lookups_beside_upserts(bench, table)
            state_scan(bench, table)
            keyed_restart.measure(bench, table, empty)
            if keys == plan.keyed_sizes[0]:
                ours.drop(table)
                keyed_retired.measure(bench)


@dataclass
class Bench:
    """What all figures of one size share.

    Attributes:
        keys: of the table; they are 0 … keys-1.
        inserts: the file of all keys in order.
        changes: the file of updates of distinct keys in random order.
        numbers: for names of tables.
    """

    plan: Plan
    recorder: Recorder
    ours: Headrace
    keys: int
    inserts: Path = field(init=False)
    changes: Path = field(init=False)
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        """Writes the files that are not there yet."""
        rows = min(self.plan.keyed_updates, self.keys)
        self.inserts = profiles.write(
            BUILD / f"profiles-{self.keys}.arrow", profiles.inserts(self.keys)
        )
        self.changes = profiles.write(
            BUILD / f"profiles-{self.keys}-updates-{rows}.arrow",
            profiles.updates(self.keys, rows, 1),
        )
        self.updates = rows

    @property
    def size(self) -> str:
        """Writes the number of keys."""
        return f"{self.keys / 1e6:g} M keys"

    def create(self, options: dict[str, str] | None = None) -> str:
        """Creates a table, perhaps with more options."""
        table = f"bench.profiles_{next(self.numbers)}"
        self.ours.create(
            table, profiles.SCHEMA, primary_key=[profiles.KEY], buckets=BUCKETS,
            options={"log.durability": "fsync", "changelog.image": "full", **(options or {})},
        )  # fmt: skip
        return table

    def put(self, table: str, file: Path, rows: int, each: int, changelog: int) -> Measurement:
        """Upserts the rows of a file, pipelined; `changelog` rows of the log are due for each."""
        before = self.ours.rows(table)
        cpu = self.ours.process.cpu()
        result = load.run(
            "put", workload=file, server=self.ours.uri, table=table, durability="fsync",
            rows_per_batch=each, batches=rows // each, distinct=rows // each, window=WINDOW,
        )  # fmt: skip
        used = self.ours.process.cpu() - cpu
        if (added := self.ours.rows(table) - before) != rows * changelog:
            raise RuntimeError(f"{rows} upserts gave {added} rows of changelog, want {changelog}×")
        return Measurement(
            seconds=result["seconds"],
            rows=rows,
            server_cpu=used,
            client_cpu=result["client_cpu"],
            server_anonymous=self.ours.process.anonymous_bytes(),
            bytes_per_row=BYTES_PER_ROW,
            more={"server_cpu_micros_per_row": round(used / rows * 1e6, 3)},
        )

    def lookup(self, table: str, each: int, window: int, client: str) -> Measurement:
        """Looks up random keys, all columns, by the Go client (raw, arrow) or by pyarrow."""
        cpu, seconds = self.ours.process.cpu(), self.plan.keyed_seconds
        if client == "pyarrow":
            taken = lookups.run(self.ours.client, table, self.keys, each, seconds, window)
        else:
            taken = go_lookup(self.ours.uri, self.inserts, table, self.keys, seconds,
                              each=each, window=window, client=client)  # fmt: skip
        taken.server_cpu = self.ours.process.cpu() - cpu
        taken.bytes_per_row = BYTES_PER_ROW
        taken.more["server_cpu_micros_per_key"] = round(taken.server_cpu / taken.rows * 1e6, 3)
        return taken


def go_lookup(
    server: str, workload: Path, table: str, keys: int, seconds: float, **how: Any
) -> Measurement:
    """Runs the Go client of lookups."""
    result = load.run(
        "lookup", workload=workload, server=server, table=table, key=profiles.KEY, rows=keys,
        seconds=seconds, rows_per_batch=how["each"], window=how["window"], client=how["client"],
    )  # fmt: skip
    # An answer without values is shorter: keys that are not found are noticed by it.
    if how["client"] == "raw" and (size := result["bytes"] / result["keys"]) < BYTES_PER_ROW * 0.9:
        raise RuntimeError(f"answers have {size:.0f} bytes a key, want {BYTES_PER_ROW}")
    more = {"p50_ms": result["latency"]["p50_ms"], "p99_ms": result["latency"]["p99_ms"]}
    return Measurement(seconds=result["seconds"], rows=result["keys"],
                       client_cpu=result["client_cpu"], more=more)  # fmt: skip


def new_keys(bench: Bench) -> str:
    """Inserts all keys into new tables; the last one stays."""
    name = f"new keys, {bench.size}"
    tables: list[str] = []

    def insert() -> Measurement:
        if tables:
            bench.ours.drop(tables.pop())
        tables.append(bench.create())
        with PeakMemory(bench.ours.process) as memory:
            taken = bench.put(tables[-1], bench.inserts, bench.keys, 10_000, 1)
        taken.more["peak_anonymous_megabytes"] = round(memory.peak / 1e6, 1)
        return taken

    taken = alternate(bench.recorder, name, {"headrace": insert}, bench.plan.rounds)["headrace"]
    bench.recorder.judge(rate_verdict(name, taken, NEW_KEYS_PER_SECOND))
    return tables[-1]


def upserts(bench: Bench, table: str) -> None:
    """Upserts existing keys in random order, then compares rows with what was sent."""
    name = f"upserts, full changelog, fsync, {bench.size}"
    batch_sizes = (10_000, 1_000)
    sides: dict[str, Callable[[], Measurement]] = {
        f"batches of {each:,}": partial(bench.put, table, bench.changes, bench.updates, each, 2)
        for each in batch_sizes
    }
    taken = alternate(bench.recorder, name, sides, bench.plan.rounds)
    check(bench, table)
    for side, measurements in taken.items():
        micros = micros_per_row(measurements)
        verdict = rate_verdict(f"{name}, {side}", measurements, UPSERTS_TARGET)
        bench.recorder.judge(verdict)
        bench.recorder.judge(
            Verdict(
                figure=f"server CPU of upserts, {bench.size}, {side}",
                ours=f"{micros:.2f} µs a row",
                target=f"≤ {UPSERT_SERVER_MICROS} µs",
                met=micros <= UPSERT_SERVER_MICROS,
            )
        )


def check(bench: Bench, table: str) -> None:
    """Stops the run if the table does not have the rows that were sent last."""
    for number in (0, -1):
        sent = profiles.mapped(bench.changes)[number].slice(0, CHECKED)
        found = lookups.rows(bench.ours.client, table, sent.column(0))
        if not found.cast(sent.schema).equals(pa.Table.from_batches([sent])):
            raise RuntimeError(f"{table} does not have the rows that were upserted")


def all_lookups(bench: Bench, table: str) -> None:
    """Looks up all columns in batches, pipelined, and one key at a time."""
    sides: dict[str, Callable[[], Measurement]] = {}
    for each in (1000, 100):
        sides[f"Go, {each:,} a batch"] = partial(bench.lookup, table, each, WINDOW, "raw")
        sides[f"pyarrow, {each:,} a batch"] = partial(bench.lookup, table, each, WINDOW, "pyarrow")
    sides["Go, 1,000 a batch, decoded"] = partial(bench.lookup, table, 1000, WINDOW, "arrow")
    sides["Go, one at a time"] = partial(bench.lookup, table, 1, 1, "raw")
    sides["pyarrow, one at a time"] = partial(bench.lookup, table, 1, 1, "pyarrow")
    for warm_up in sides.values():
        warm_up()
    name = f"lookups, {bench.size}"
    taken = alternate(bench.recorder, name, sides, bench.plan.rounds)
    for side, measurements in taken.items():
        if side.endswith("one at a time"):
            bench.recorder.judge(one_verdict(f"{name}, {side}", measurements, side[:2] == "Go"))
        else:
            target = LOOKUP_TARGETS[1000 if "1,000" in side else 100]
            judged = target if not side.endswith("decoded") else None
            bench.recorder.judge(rate_verdict(f"{name}, {side}", measurements, judged))


def one_verdict(figure: str, taken: list[Measurement], judged: bool) -> Verdict:
    """Makes the line of lookups that wait for each other."""
    p50, p99 = percentiles(taken)
    return Verdict(
        figure=figure,
        ours=f"p50 {p50:.3f}, p99 {p99:.3f} ms",
        target=f"p50 ≤ {ONE_P50_MS}, p99 ≤ {ONE_P99_MS:g} ms" if judged else "",
        met=p50 <= ONE_P50_MS and p99 <= ONE_P99_MS if judged else None,
    )


def lookups_beside_upserts(bench: Bench, table: str) -> None:
    """Looks up while a producer upserts at a fixed rate."""

    def beside(each: int, window: int) -> Measurement:
        with Upserts(bench.ours, table, bench.changes, bench.updates) as around:
            taken = bench.lookup(table, each, window, "raw")
        del taken.more["server_cpu_micros_per_key"]  # the upserts are in it
        taken.more |= around.told()
        return taken

    name = f"lookups beside {UPSERTS_PER_SECOND:,} upserts/s, {bench.size}"
    sides = {
        "one at a time": partial(beside, 1, 1),
        "100 a batch, one after the other": partial(beside, 100, 1),
        "1,000 a batch, one after the other": partial(beside, 1000, 1),
        "1,000 a batch, pipelined": partial(beside, 1000, WINDOW),
    }
    taken = alternate(bench.recorder, name, sides, bench.plan.rounds)
    for side, measurements in taken.items():
        written = statistics.median(each.more["upserts_per_second"] for each in measurements)
        p50, p99 = percentiles(measurements)
        pipelined = side.endswith("pipelined")
        bench.recorder.judge(
            Verdict(
                figure=f"{name}, {side}",
                ours=million(speed(measurements))
                if pipelined
                else f"p50 {p50:.3f}, p99 {p99:.3f} ms",
                reference=f"{written / 1e3:.1f} k upserts/s reached",
                target="" if pipelined else f"p99 ≤ {BESIDE_UPSERTS_P99_MS:g} ms",
                met=None
                if pipelined
                else p99 <= BESIDE_UPSERTS_P99_MS and written >= RATE_KEPT * UPSERTS_PER_SECOND,
            )
        )


def state_scan(bench: Bench, table: str) -> None:
    """Scans 3 columns of all keys, alone and while a producer upserts at a fixed rate."""
    repeats = max(1, min(20, 5_000_000 // bench.keys))

    def scan() -> Measurement:
        before = bench.ours.process.anonymous_bytes()
        with PeakMemory(bench.ours.process) as memory:
            taken = scan_once(bench.ours, SCAN_COLUMNS, repeats, table)
        if taken.rows != repeats * bench.keys:
            raise RuntimeError(f"{repeats} scans of {bench.keys} keys gave {taken.rows} rows")
        taken.bytes_per_row = SCAN_BYTES
        taken.more["extra_anonymous_megabytes"] = round((memory.peak - before) / 1e6, 1)
        return taken

    def beside() -> Measurement:
        with Upserts(bench.ours, table, bench.changes, bench.updates) as around:
            taken = scan()
        taken.more |= around.told()
        return taken

    scan()
    name = f"scan of 3 columns of the state, {bench.size}"
    side = f"beside {UPSERTS_PER_SECOND:,} upserts/s"
    taken = alternate(bench.recorder, name, {"alone": scan, side: beside}, bench.plan.rounds)
    bench.recorder.judge(rate_verdict(f"{name}, alone", taken["alone"], None))
    verdict = rate_verdict(f"{name}, {side}", taken[side], SCAN_TARGET)
    bench.recorder.judge(verdict)
    extra = statistics.median(each.more["extra_anonymous_megabytes"] for each in taken[side])
    bench.recorder.judge(Verdict(figure=f"extra anonymous memory of it, {bench.size}",
                                 ours=f"{extra:.0f} MB"))  # fmt: skip


def rate_verdict(figure: str, taken: list[Measurement], wanted: float | None) -> Verdict:
    """Makes the line of a figure in rows or keys a second."""
    reached = speed(taken)
    return Verdict(
        figure=figure,
        ours=million(reached),
        target=f"≥ {million(wanted)}" if wanted else "",
        met=reached >= wanted if wanted else None,
        cpu=cpu_text(taken),
    )


def micros_per_row(taken: list[Measurement]) -> float:
    """Gives the median of the server's CPU time a row."""
    return float(statistics.median(each.more["server_cpu_micros_per_row"] for each in taken))


def percentiles(taken: list[Measurement]) -> tuple[float, float]:
    """Gives the medians of p50 and p99."""
    p50, p99 = (statistics.median(each.more[name] for each in taken) for name in PERCENTILES)
    return p50, p99


PERCENTILES = ("p50_ms", "p99_ms")
