"""Ingest in batches of 10,000 rows: against the disk itself, and against C++ into memory."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa

from . import disk
from .plan import BUILD, BYTES_PER_ROW, Plan
from .record import Measurement, Recorder, alternate, compare
from .servers import Headrace, Yardstick

FIGURE = "ingest, 10,000-row batches"


def measure(plan: Plan, recorder: Recorder, batches: list[pa.RecordBatch], workload: Path) -> None:
    """Ingests at both levels, writes the same bytes plainly, and puts them into C++ memory."""
    with Headrace("ingest") as ours, Yardstick() as theirs:
        numbers = itertools.count()
        size = len(batches) * batches[0].num_rows * BYTES_PER_ROW

        def prepared(side: Callable[[], Measurement]) -> Callable[[], Measurement]:
            def run() -> Measurement:
                os.sync()
                disk.warm_memory(size + (256 << 20))
                return side()

            return run

        def ingest(level: str) -> Measurement:
            return into_headrace(ours, f"bench.{level}_{next(numbers)}", level, batches)

        sides = {
            "disk": prepared(partial(plain, workload, len(batches) * batches[0].num_rows, False)),
            "disk, synced each 2 MiB": prepared(
                partial(plain, workload, len(batches) * batches[0].num_rows, True)
            ),
            "headrace fsync": prepared(partial(ingest, "fsync")),
            "headrace os": prepared(partial(ingest, "os")),
            "C++": prepared(partial(into_memory, theirs, batches)),
        }
        ingest("fsync")  # the first one pays for files and memory that later ones reuse
        into_memory(theirs, batches)
        taken = alternate(recorder, FIGURE, sides, plan.rounds)
    fsync = taken["headrace fsync"]
    recorder.judge(compare(f"{FIGURE}, fsync", fsync, ("disk", taken["disk"]), 0.85))
    chunked = ("disk, synced each 2 MiB", taken["disk, synced each 2 MiB"])
    recorder.judge(compare(f"{FIGURE}, fsync, against a sync each 2 MiB", fsync, chunked, None))
    recorder.judge(compare(f"{FIGURE}, os", taken["headrace os"], ("C++", taken["C++"]), 0.6))


def plain(workload: Path, rows: int, sync_each_chunk: bool) -> Measurement:
    """Writes as many bytes of the workload's file as the rows have."""
    size = rows * BYTES_PER_ROW
    seconds = disk.sequential_write(workload, BUILD / "plain-write", size, sync_each_chunk)
    return Measurement(seconds=seconds, rows=rows)


def into_headrace(
    ours: Headrace, table: str, level: str, batches: list[pa.RecordBatch]
) -> Measurement:
    """Ingests into a new table of this durability, and drops it."""
    ours.create(table, batches[0].schema, options={"log.durability": level})
    cpu = ours.process.cpu()
    moved = ours.put(table, batches, level)
    used = ours.process.cpu() - cpu
    if (stored := ours.rows(table)) != moved.rows:
        raise RuntimeError(f"{table} has {stored} rows, want {moved.rows}")
    ours.drop(table)
    return Measurement(
        seconds=moved.seconds,
        rows=moved.rows,
        server_cpu=used,
        client_cpu=moved.client_cpu,
        server_anonymous=ours.process.anonymous_bytes(),
    )


def into_memory(theirs: Yardstick, batches: list[pa.RecordBatch]) -> Measurement:
    """Ingests into the memory of the yardstick, and frees it."""
    cpu = theirs.process.cpu()
    moved = theirs.put("ingest", batches)
    used = theirs.process.cpu() - cpu
    theirs.drop("ingest")
    return Measurement(
        seconds=moved.seconds,
        rows=moved.rows,
        server_cpu=used,
        client_cpu=moved.client_cpu,
        server_anonymous=theirs.process.anonymous_bytes(),
    )
