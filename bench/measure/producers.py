"""Many producers of small batches, and batches of one row."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from . import flight, load
from .plan import ROOT, Plan
from .process import GUARD
from .record import Measurement, Recorder, alternate, compare, reach
from .servers import Headrace

PRODUCERS = 8
BUCKETS = 256
# Up to so many one-row batches of a producer wait for their acknowledgement.
SINGLE_WINDOW = 4096


def measure_small(plan: Plan, recorder: Recorder, schema: pa.Schema, workload: Path) -> None:
    """Sends batches of 1,000 rows with fsync into 1 bucket, and over 256 of them."""
    with Headrace("producers") as ours:
        numbers = itertools.count()
        one_bucket = partial(small, ours, schema, workload, numbers, plan.small_rows)
        keyed = {"buckets": BUCKETS, "bucket_key": ["id"]}
        split = partial(small, ours, schema, workload, numbers, plan.split_rows)
        sides = {
            "1 bucket": partial(one_bucket, {}),
            "256 buckets, another each batch": partial(one_bucket, keyed, key="id"),
            "256 buckets, the server's choice": partial(one_bucket, {"buckets": BUCKETS}),
            "256 buckets, each batch split": partial(split, keyed),
        }
        one_bucket({})
        taken = alternate(recorder, "1,000-row batches, 8 producers, fsync", sides, plan.rounds)
    single = taken["1 bucket"]
    recorder.judge(reach("1,000-row batches, 8 producers, fsync, 1 bucket", single, 1e6))
    for side, wanted in (
        ("256 buckets, another each batch", 0.5),
        ("256 buckets, the server's choice", 0.5),
        ("256 buckets, each batch split", None),
    ):
        verdict = compare(f"1,000-row batches, {side}", taken[side], ("1 bucket", single), wanted)
        recorder.judge(verdict)


def small(
    ours: Headrace,
    schema: pa.Schema,
    workload: Path,
    numbers: itertools.count[int],
    rows: int,
    definition: dict[str, Any],
    key: str = "",
) -> Measurement:
    """Sends batches of 1,000 rows into a new table of this definition."""
    table = f"bench.small_{next(numbers)}"
    ours.create(table, schema, **definition)
    distinct = max(1, min(100, rows // 1000 // PRODUCERS))
    sent = send(ours, workload, table=table, batches=rows // 1000, producers=PRODUCERS,
                rows_per_batch=1000, distinct=distinct, key=key)  # fmt: skip
    buckets = flight.action(ours.client, "DescribeTable", {"table": table})["buckets"]
    sent.more["buckets_used"] = sum(bucket["end"] > bucket["start"] for bucket in buckets)
    ours.drop(table)
    return sent


def send(ours: Headrace, workload: Path, *, table: str, **options: Any) -> Measurement:
    """Runs the Go producers and checks that all rows are there."""
    cpu = ours.process.cpu()
    result = load.run(
        "put", workload=workload, server=ours.uri, table=table, durability="fsync", **options
    )
    used = ours.process.cpu() - cpu
    check(ours, table, result["rows"])
    return Measurement(
        seconds=result["seconds"],
        rows=result["rows"],
        server_cpu=used,
        client_cpu=result["client_cpu"],
        server_anonymous=ours.process.anonymous_bytes(),
        more={name: result[name] for name in ("batches", "acks", "message_bytes")},
    )


def check(ours: Headrace, table: str, rows: int) -> None:
    """Stops the run if rows are missing or doubled."""
    if (stored := ours.rows(table)) != rows:
        raise RuntimeError(f"{table} has {stored} rows, want {rows}")


def measure_single(plan: Plan, recorder: Recorder, schema: pa.Schema, workload: Path) -> None:
    """Sends rows one by one: Go with encoded messages, arrow-go's client, the Python writer."""
    with Headrace("single") as ours:
        numbers = itertools.count()
        sides = {
            "Go, encoded before": partial(
                single, ours, schema, workload, numbers, plan.single_rows, "raw"
            ),
            "Go, arrow-go": partial(
                single, ours, schema, workload, numbers, plan.single_rows // 5, "arrow"
            ),
            "Python writer": partial(python, ours, schema, numbers, workload, plan.python_rows),
        }
        taken = alternate(recorder, "1-row batches, 1 producer, fsync", sides, plan.rounds)
    recorder.judge(reach("1-row batches, Go, encoded before", taken["Go, encoded before"], 50e3))
    raw = ("encoded before", taken["Go, encoded before"])
    recorder.judge(compare("1-row batches, arrow-go's client", taken["Go, arrow-go"], raw, None))
    recorder.judge(compare("1-row writes, Python writer", taken["Python writer"], raw, None))


def single(
    ours: Headrace,
    schema: pa.Schema,
    workload: Path,
    numbers: itertools.count[int],
    rows: int,
    client: str,
) -> Measurement:
    """Sends rows one by one into a new table, pipelined."""
    table = f"bench.single_{next(numbers)}"
    ours.create(table, schema)
    sent = send(ours, workload, table=table, batches=rows, rows_per_batch=1, client=client,
                window=SINGLE_WINDOW, distinct=min(rows, 10_000))  # fmt: skip
    ours.drop(table)
    return sent


def python(
    ours: Headrace, schema: pa.Schema, numbers: itertools.count[int], workload: Path, rows: int
) -> Measurement:
    """Writes rows one by one with the Python package, in a process of its own."""
    table = f"bench.single_{next(numbers)}"
    ours.create(table, schema)
    program = ROOT / "bench" / "measure" / "python_writer.py"
    cpu = ours.process.cpu()
    arguments = [sys.executable, str(program), ours.uri, table, str(workload), str(rows)]
    output = subprocess.run(
        [*GUARD, *arguments], stdout=subprocess.PIPE, check=True, text=True, timeout=600
    ).stdout
    used = ours.process.cpu() - cpu
    result = json.loads(output)
    check(ours, table, rows)
    ours.drop(table)
    return Measurement(
        seconds=result["seconds"], rows=rows, server_cpu=used, client_cpu=result["client_cpu"]
    )
