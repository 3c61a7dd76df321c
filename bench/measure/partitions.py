"""Tables of many partitions: making them, listing them, and reading one."""

from __future__ import annotations

import json
import os
import statistics
import time
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.flight as fl

from . import flight
from .plan import Plan
from .record import Measurement, Recorder, Verdict, alternate
from .servers import Headrace

TABLE = "bench.parted"
SCHEMA = pa.schema([("part", pa.string()), ("id", pa.int64()), ("value", pa.float64())])
BATCH_ROWS = 10_000
READS = 400
TARGET_READ_SECONDS = 0.005


def measure(plan: Plan, recorder: Recorder, batches: list[pa.RecordBatch]) -> None:
    """Makes a table whose rows fall on many partitions, and reads single ones."""
    count, rows = plan.partitions, plan.partition_rows * plan.partitions
    with Headrace("partitions") as ours:
        ours.create(TABLE, SCHEMA, partition_by=["part"])
        before = ours.process.anonymous_bytes()
        made = write(ours, recorder, count, rows)
        judge_size(ours, recorder, count, made, before)
        sides = {
            "list": partial(list_all, ours, count),
            "one partition, from its plan": partial(
                read_one, ours, count, plan.partition_rows, True
            ),
            "one partition, by ticket": partial(read_one, ours, count, plan.partition_rows, False),
            "all partitions": partial(read_all, ours, rows),
        }
        ours.stop()
        ours.start()
        recorder.emit(
            "partitions", "start", {"anonymous_megabytes": ours.process.anonymous_bytes() // 10**6}
        )
        taken = alternate(recorder, "partitions", sides, plan.rounds)
    for name, measurements in taken.items():
        judge(recorder, f"{count:,} partitions, {name}", measurements)


def batch(number: int, count: int, rows: int) -> pa.RecordBatch:
    """Makes rows that fall on all partitions in turn, or on as many as there are rows."""
    ids = pa.array(range(number * rows, (number + 1) * rows), pa.int64())
    parts = pa.array([f"part-{i % count:06}" for i in range(number * rows, (number + 1) * rows)])
    return pa.record_batch([parts, ids, pc.cast(ids, pa.float64())], schema=SCHEMA)


def write(ours: Headrace, recorder: Recorder, count: int, rows: int) -> int:
    """Writes all rows; the first batches make the partitions. Gives the bytes of the rows."""
    size = min(BATCH_ROWS, count)
    sent = [batch(number, count, size) for number in range(rows // size)]
    making = -(-count // size)
    for name, part in (("make by writing", sent[:making]), ("write", sent[making:])):
        if not part:
            continue
        began = time.perf_counter()
        cpu = ours.process.cpu()
        ours.put(TABLE, part)
        seconds = time.perf_counter() - began
        moved = sum(each.num_rows for each in part)
        used = Measurement(
            seconds=seconds, rows=moved, bytes_per_row=24, server_cpu=ours.process.cpu() - cpu
        )
        recorder.emit("partitions", name, used.line())
        recorder.judge(
            Verdict(figure=f"{count:,} partitions, {name}", ours=f"{moved / seconds:,.0f} rows/s")
        )
    return sum(each.nbytes for each in sent)


def judge_size(ours: Headrace, recorder: Recorder, count: int, data: int, before: int) -> None:
    """Tells what the partitions take on disk and in memory."""
    files = [path for path in (ours.data / "tables").rglob("*") if path.is_file()]
    on_disk = sum(path.stat().st_blocks * 512 for path in files)
    anonymous = ours.process.anonymous_bytes() - before
    handles = len(os.listdir(f"/proc/{ours.process.popen.pid}/fd"))
    fields = {
        "files": len(files), "disk_bytes": on_disk, "data_bytes": data, "handles": handles,
        "anonymous_bytes": anonymous,
    }  # fmt: skip
    recorder.emit("partitions", "size", fields)
    recorder.judge(
        Verdict(
            figure=f"{count:,} partitions, disk",
            ours=f"{on_disk / count / 1e3:.1f} kB a partition",
            reference=f"{data / count / 1e3:.1f} kB of rows",
        )
    )
    recorder.judge(
        Verdict(
            figure=f"{count:,} partitions, memory and handles",
            ours=f"{anonymous / count / 1e3:.1f} kB a partition, {handles} handles",
        )
    )


def list_all(ours: Headrace, count: int) -> Measurement:
    """Lists all partitions with their sizes."""
    began = time.perf_counter()
    request = fl.Action("ListPartitions", json.dumps({"table": TABLE}).encode())
    found = sum(
        len(json.loads(result.body.to_pybytes())["partitions"])
        for result in ours.client.do_action(request)
    )
    seconds = time.perf_counter() - began
    if found != count:
        raise RuntimeError(f"{found} partitions are listed, want {count}")
    return Measurement(seconds=seconds, rows=0)


def read_one(ours: Headrace, count: int, rows: int, planned: bool) -> Measurement:
    """Reads single partitions, one after the other."""
    taken = []
    for number in range(READS):
        part = f"part-{number * 7919 % count:06}"
        command = json.dumps({"scan": {"table": TABLE, "partitions": [{"part": part}]}}).encode()
        began = time.perf_counter()
        ticket = fl.Ticket(command)
        if planned:
            info = ours.client.get_flight_info(fl.FlightDescriptor.for_command(command))
            ticket = info.endpoints[0].ticket
        found = ours.client.do_get(ticket).read_all()
        taken.append(time.perf_counter() - began)
        if found.num_rows != rows:
            raise RuntimeError(f"partition {part} has {found.num_rows} rows, want {rows}")
    taken.sort()
    worst = taken[len(taken) * 99 // 100]
    more = {"p50_ms": taken[len(taken) // 2] * 1e3, "p99_ms": worst * 1e3}
    return Measurement(seconds=worst, rows=0, more=more)


def read_all(ours: Headrace, rows: int) -> Measurement:
    """Reads the whole table through one ticket."""
    began = time.perf_counter()
    found = flight.scan(ours.client, ours.ticket(TABLE)).rows
    seconds = time.perf_counter() - began
    if found != rows:
        raise RuntimeError(f"{found} rows were read, want {rows}")
    return Measurement(seconds=seconds, rows=rows, bytes_per_row=24)


def judge(recorder: Recorder, figure: str, measurements: list[Measurement]) -> None:
    """Adds a line to the table; reads of one partition have a target."""
    median = statistics.median(each.seconds for each in measurements)
    middle = [each.more["p50_ms"] for each in measurements if "p50_ms" in each.more]
    if not middle:
        recorder.judge(Verdict(figure=figure, ours=f"{median:.3f} s"))
        return
    recorder.judge(
        Verdict(
            figure=figure,
            ours=f"p50 {statistics.median(middle):.2f} ms, p99 {median * 1e3:.2f} ms",
            target="p99 ≤ 5 ms",
            met=median <= TARGET_READ_SECONDS,
        )
    )
