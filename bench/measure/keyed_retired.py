"""Keyed tables with half of their rows below the log: writes while they go there, and later."""

from __future__ import annotations

import statistics
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from .keyed_restart import INDEX_METRIC
from .keyed_surrounding import UPSERTS_PER_SECOND, Upserts
from .record import Verdict, alternate, cpu_text, million, speed

if TYPE_CHECKING:
    from .keyed import Bench

STALL_MS = 20.0
INDEX_BYTES_MIN = 1 << 20  # of the option; nothing is retired in a smoke run
UPSERTS_TARGET = 100e3
BESIDE = 5  # times as long as lookups are measured: some rounds of maintenance
PATIENCE_SECONDS = 180
SLACK = 1.1  # an index may be that much larger for a moment


def measure(bench: Bench) -> None:
    """Bounds the index of a table to half of what it would have, and compares with one without."""
    before = index_bytes(bench)
    table = bench.create()
    bench.put(table, bench.inserts, bench.keys, 10_000, 1)
    limit = max(int(index_bytes(bench) - before) // 2, INDEX_BYTES_MIN)
    alone = acknowledged(bench, table, "alone")
    bench.ours.drop(table)
    table = bench.create({"index.max-bytes": str(limit)})
    bench.put(table, bench.inserts, bench.keys, 10_000, 1)
    retired = partial(wait_for_half, bench, before + limit * SLACK)
    retired()
    beside = acknowledged(bench, table, "while rows are retired")
    bench.recorder.judge(
        Verdict(
            figure=f"{UPSERTS_PER_SECOND:,} upserts/s while rows are retired, {bench.size}",
            ours=f"p99 {beside['p99_ms']:.1f}, longest {beside['max_ms']:.0f} ms",
            reference=f"without, p99 {alone['p99_ms']:.1f}, longest {alone['max_ms']:.0f} ms",
            target=f"≤ {STALL_MS:g} ms",
            met=beside["max_ms"] <= STALL_MS,
        )
    )
    retired()
    name = f"upserts, half of the keys retired, {bench.size}"
    side = partial(bench.put, table, bench.changes, bench.updates, 10_000, 2)
    taken = []
    for _ in range(bench.plan.rounds):
        taken += alternate(bench.recorder, name, {"headrace": side}, 1)["headrace"]
        retired()
    reached = speed(taken)
    bench.recorder.judge(
        Verdict(
            figure=name,
            ours=million(reached),
            target=f"≥ {million(UPSERTS_TARGET)}",
            met=reached >= UPSERTS_TARGET,
            cpu=cpu_text(taken),
        )
    )


def acknowledged(bench: Bench, table: str, side: str) -> dict[str, Any]:
    """Upserts at a fixed rate; gives how long acknowledgements took since a batch was due."""
    taken = []
    for _ in range(bench.plan.rounds):
        with Upserts(bench.ours, table, bench.changes, bench.updates) as around:
            time.sleep(BESIDE * bench.plan.keyed_seconds)
        told = around.told() | {"index_bytes": index_bytes(bench)}
        bench.recorder.emit(f"upserts at a fixed rate, {bench.size}", side, told)
        taken.append(told["upserts_acknowledged"])
    return {name: statistics.median(each[name] for each in taken) for name in ("p99_ms", "max_ms")}


def wait_for_half(bench: Bench, limit: float) -> None:
    """Waits until the index is as small as it should be."""
    end = time.monotonic() + PATIENCE_SECONDS
    while index_bytes(bench) > limit:
        if time.monotonic() > end:
            raise RuntimeError(f"the index has {index_bytes(bench):.0f} bytes, not {limit:.0f}")
        time.sleep(0.1)


def index_bytes(bench: Bench) -> float:
    """Gives what the server says that all indexes take."""
    metrics = bench.ours.metrics().items()
    return max((value for name, value in metrics if INDEX_METRIC.fullmatch(name)), default=0.0)
