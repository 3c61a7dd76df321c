"""Scans of all columns and of 2 of 20, from the page cache and from the disk."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pyarrow as pa

from . import disk, flight
from .plan import BYTES_PER_ROW, Plan
from .record import Measurement, Recorder, Verdict, alternate, compare, million
from .servers import Headrace, Yardstick

TABLE = "bench.w1"
COLUMNS = ["user_id", "f0"]
PROJECTED_BYTES = 16  # of a row of COLUMNS


def measure(plan: Plan, recorder: Recorder, batches: list[pa.RecordBatch]) -> None:
    """Compares scans with the yardstick, then scans once more from a cold page cache."""
    with Headrace("scan") as ours, Yardstick() as theirs:
        ours.create(TABLE, batches[0].schema)
        ours.put(TABLE, batches)
        theirs.put(TABLE, batches)
        theirs.project(TABLE, COLUMNS)
        check(ours, theirs)
        for name, columns, repeats in (
            ("scan of 20 columns", None, max(1, plan.scan_repeats // 5)),
            ("scan of 2 of 20 columns", COLUMNS, plan.scan_repeats),
        ):
            sides: dict[str, Callable[[], Measurement]] = {
                "headrace": partial(one, ours, columns, repeats),
                "C++": partial(one, theirs, columns, repeats),
            }
            for warm_up in sides.values():
                warm_up()
            taken = alternate(recorder, name, sides, plan.rounds)
            recorder.judge(compare(name, taken["headrace"], ("C++", taken["C++"]), 0.9))
        theirs.drop(TABLE)
        cold(plan, recorder, ours)


def check(ours: Headrace, theirs: Yardstick) -> None:
    """Stops the run if the two servers do not hold the same rows."""
    here = flight.checksums(ours.client, ours.ticket(TABLE, COLUMNS))
    there = flight.checksums(theirs.client, theirs.ticket(TABLE, COLUMNS))
    if here != there:
        raise RuntimeError(f"headrace has (rows, sum(user_id), sum(f0)) {here}, C++ {there}")


def one(
    server: Headrace | Yardstick, columns: list[str] | None, repeats: int, table: str = TABLE
) -> Measurement:
    """Scans a number of times."""
    cpu = server.process.cpu()
    moved = flight.scan(server.client, server.ticket(table, columns), repeats)
    return Measurement(
        seconds=moved.seconds,
        rows=moved.rows,
        server_cpu=server.process.cpu() - cpu,
        client_cpu=moved.client_cpu,
        server_anonymous=server.process.anonymous_bytes(),
        bytes_per_row=BYTES_PER_ROW if columns is None else PROJECTED_BYTES,
    )


def cold(plan: Plan, recorder: Recorder, ours: Headrace) -> None:
    """Scans from the disk, beside a plain read of the same files."""
    sides: dict[str, Callable[[], Measurement]] = {
        "headrace, 20 columns": partial(cold_scan, ours, None),
        "headrace, 2 columns": partial(cold_scan, ours, COLUMNS),
        "plain read": partial(cold_read, ours),
    }
    taken = alternate(recorder, "cold scan", sides, plan.rounds)
    plain = taken["plain read"]
    recorder.judge(compare("cold scan of 20 columns", taken["headrace, 20 columns"],
                           ("plain read", plain), None))  # fmt: skip
    projected = sorted(taken["headrace, 2 columns"], key=lambda each: each.speed)
    recorder.judge(Verdict(figure="cold scan of 2 of 20 columns",
                           ours=million(projected[len(projected) // 2].speed)))  # fmt: skip


def cold_scan(ours: Headrace, columns: list[str] | None) -> Measurement:
    """Scans once after a restart, with none of the data cached."""
    kept = ours.restart_cold()
    measurement = one(ours, columns, 1)
    measurement.more["cached_share_before"] = round(kept, 3)
    return measurement


def cold_read(ours: Headrace) -> Measurement:
    """Reads the segment files themselves, as what the disk gives."""
    rows, kept = ours.rows(TABLE), ours.restart_cold()
    size, seconds = disk.cold_read(disk.segments(ours.data))
    more = {"cached_share_before": round(kept, 3)}
    return Measurement(seconds=seconds, rows=rows, bytes_per_row=size / rows, more=more)
