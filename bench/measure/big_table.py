"""What a large table shows: freshness beside a cold scan of it, and memory under slow clients."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl

from . import disk, load
from .plan import BUILD, BYTES_PER_ROW, Plan
from .process import PeakMemory
from .record import Recorder, Verdict
from .servers import Headrace

BIG = "bench.big"
RATE = 1000
SLOW_CLIENTS = 8
MEMORY_MAX = 300 * 10**6
OS_P50_MS = 1.5
FSYNC_P99_MS = 5.0
FSYNC_FACTOR = 3


def measure(plan: Plan, recorder: Recorder, batches: list[pa.RecordBatch], workload: Path) -> None:
    """Measures freshness alone, fills the large table, and measures the rest beside it."""
    with Headrace("big") as ours:
        bench = Freshness(plan, recorder, ours, batches[0].schema, workload)
        bench.run("alone", partial(PlainProbe, plan))
        rows = fill(plan, recorder, ours, batches)
        bench.run("beside a cold scan", partial(ColdScan, ours, rows))
        slow_clients(plan, recorder, ours, rows, workload)


def fill(plan: Plan, recorder: Recorder, ours: Headrace, batches: list[pa.RecordBatch]) -> int:
    """Ingests the workload again and again until the table has its size; gives its rows."""
    ours.create(BIG, batches[0].schema, options={"log.durability": "os"})
    rows, began = 0, time.perf_counter()
    with PeakMemory(ours.process) as memory:
        while rows * BYTES_PER_ROW < plan.big_table_bytes:
            missing = -(-(plan.big_table_bytes // BYTES_PER_ROW - rows) // batches[0].num_rows)
            rows += ours.put(BIG, batches[: max(1, min(missing, len(batches)))], "os").rows
    recorder.emit("fill", "headrace", {
        "rows": rows, "seconds": round(time.perf_counter() - began, 2),
        "peak_anonymous_megabytes": round(memory.peak / 1e6, 1),
    })  # fmt: skip
    return rows


def slow_clients(plan: Plan, recorder: Recorder, ours: Headrace, rows: int, workload: Path) -> None:
    """Lets 8 clients read 10 batches a second each from all over the table."""
    ours.restart_cold()
    with PeakMemory(ours.process) as memory:
        result = load.run("slow", workload=workload, server=ours.uri, table=BIG, rows=rows,
                          clients=SLOW_CLIENTS, seconds=plan.slow_seconds)  # fmt: skip
    if min(result["batches"]) == 0:
        raise RuntimeError(f"a slow client got nothing: {result}")
    recorder.emit("slow clients", "headrace", result | {"peak_anonymous_bytes": memory.peak})
    size = rows * BYTES_PER_ROW / 1e9
    recorder.judge(
        Verdict(
            figure=f"anonymous memory, {SLOW_CLIENTS} slow clients of a {size:.1f} GB table",
            ours=f"{memory.peak / 1e6:.0f} MB",
            target="< 300 MB",
            met=memory.peak < MEMORY_MAX,
        )
    )


class PlainProbe:
    """A quiet surrounding: nothing else runs."""

    def __init__(self, plan: Plan) -> None:
        """Needs nothing."""

    def __enter__(self) -> PlainProbe:
        """Does nothing."""
        return self

    def __exit__(self, *_: object) -> None:
        """Does nothing."""

    def told(self) -> dict[str, Any]:
        """Gives nothing to print."""
        return {}


class ColdScan:
    """A surrounding: the large table is read from the disk, as fast as one client can."""

    def __init__(self, ours: Headrace, rows: int) -> None:
        """Restarts the server, so that nothing is cached or mapped."""
        self.kept = ours.restart_cold()
        self.rows, self.read, self.passes = rows, 0, 0
        self.client = fl.connect(ours.uri)
        self.ticket = fl.Ticket(ours.ticket(BIG))
        self._done = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._scan, daemon=True)

    def _scan(self) -> None:
        try:
            while not self._done.is_set():
                reader = self.client.do_get(self.ticket)
                for chunk in reader:
                    self.read += chunk.data.num_rows
                    if self._done.is_set():
                        reader.cancel()
                        return
                self.passes += 1
        except BaseException as error:  # noqa: BLE001 - told by __exit__
            if not self._done.is_set():
                self._failed = error

    def __enter__(self) -> ColdScan:
        """Begins to read."""
        self.began = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Ends the scan; a scan that failed is an error."""
        self._done.set()
        self._thread.join()
        self.seconds = time.perf_counter() - self.began
        self.client.close()
        if self._failed is not None and kind is None:
            raise RuntimeError("the cold scan failed") from self._failed

    def told(self) -> dict[str, Any]:
        """Gives what was read; whole passes above 0 mean that the rest was not cold any more."""
        return {
            "cached_share_before": round(self.kept, 3),
            "scanned_megabytes_per_second": round(self.read * BYTES_PER_ROW / 1e6 / self.seconds),
            "whole_passes": self.passes,
        }


@dataclass
class Freshness:
    """Freshness at 1,000 rows a second, at both levels, in some surrounding."""

    plan: Plan
    recorder: Recorder
    ours: Headrace
    schema: pa.Schema
    workload: Path
    tables: int = 0

    def run(self, where: str, surrounding: Callable[[], Any]) -> None:
        """Measures in turns: os, fsync, and what a plain fdatasync takes there."""
        figure = f"freshness, {RATE} rows/s, {where}"
        taken: dict[str, list[dict[str, Any]]] = {"os": [], "fsync": []}
        probes: list[float] = []
        for number in range(self.plan.rounds):
            order = ("os", "fsync") if number % 2 == 0 else ("fsync", "os")
            for level in order:
                taken[level].append(self.one(figure, level, surrounding))
            probes.append(self.probe(figure, surrounding))
        sync_p99 = statistics.median(probes)
        limit = FSYNC_P99_MS + FSYNC_FACTOR * sync_p99
        for level, percentile, wanted, text in (
            ("os", "p50_ms", OS_P50_MS, f"p50 ≤ {OS_P50_MS} ms"),
            ("fsync", "p99_ms", limit, f"p99 ≤ {FSYNC_P99_MS:.0f} + 3 × {sync_p99:.2f} ms"),
        ):
            median = {
                name: statistics.median(each["fresh"][name] for each in taken[level])
                for name in ("p50_ms", "p99_ms")
            }
            self.recorder.judge(
                Verdict(
                    figure=f"{figure}, {level}",
                    ours=f"p50 {median['p50_ms']:.2f}, p99 {median['p99_ms']:.2f} ms",
                    reference=f"fdatasync p99 {sync_p99:.2f} ms" if level == "fsync" else "",
                    target=text,
                    met=median[percentile] <= wanted,
                )
            )

    def one(self, figure: str, level: str, surrounding: Callable[[], Any]) -> dict[str, Any]:
        """Measures once, with a new table."""
        self.tables += 1
        table = f"bench.fresh_{self.tables}"
        with surrounding() as around:
            self.ours.create(table, self.schema, options={"log.durability": level})
            result = load.run(
                "freshness",
                workload=self.workload,
                server=self.ours.uri,
                table=table,
                rate=RATE,
                seconds=self.plan.freshness_seconds,
            )
            self.ours.drop(table)
        self.recorder.emit(figure, level, result | around.told())
        return result

    def probe(self, figure: str, surrounding: Callable[[], Any]) -> float:
        """Measures fdatasync itself; gives its p99 in milliseconds."""
        with surrounding() as around:
            taken = sorted(disk.sync_latencies(BUILD / "probe", self.plan.freshness_seconds))
        p50, p99 = (taken[int(len(taken) * share)] * 1e3 for share in (0.5, 0.99))
        fields = {"p50_ms": round(p50, 3), "p99_ms": round(p99, 3), "count": len(taken)}
        self.recorder.emit(figure, "fdatasync", fields | around.told())
        return p99
