"""Filters on the server: against sending the column, and what batches that cannot match cost."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.flight as fl

from . import flight
from .plan import Plan
from .record import Measurement, Recorder, Verdict, alternate, compare
from .servers import Headrace

TABLE = "bench.filtered"
FIGURE = "filter that keeps 1 % by user_id"
# user_id is drawn evenly from a million values.
KEPT_BELOW = 10_000
FACTOR = 5.0
ONE_BATCH_MS = 5.0
COLUMN_BYTES = 8


def measure(plan: Plan, recorder: Recorder, batches: list[pa.RecordBatch]) -> None:
    """Ingests the workload twice, with rising ids throughout, and filters it."""
    with Headrace("filters") as ours:
        ours.create(TABLE, batches[0].schema, options={"log.durability": "os"})
        rows = sum(batch.num_rows for batch in batches)
        ours.put(TABLE, batches, "os")
        ours.put(TABLE, [risen(batch, rows) for batch in batches], "os")
        random_column(plan, recorder, ours)
        sorted_column(plan, recorder, ours, 2 * rows)


def risen(batch: pa.RecordBatch, by: int) -> pa.RecordBatch:
    """Gives a batch with larger ids."""
    columns = [pc.add(batch.column(0), by), *batch.columns[1:]]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def scan_ticket(columns: Sequence[str] | None, predicate: str) -> bytes:
    """Makes the ticket of a filtered scan."""
    scan: dict[str, Any] = {"table": TABLE, "filter": {"sql": predicate}}
    if columns is not None:
        scan["columns"] = list(columns)
    return json.dumps({"scan": scan}).encode()


def random_column(plan: Plan, recorder: Recorder, ours: Headrace) -> None:
    """Filters by a column whose values are all over the table: no batch can be left out."""
    predicate = f"user_id < {KEPT_BELOW}"
    repeats = max(1, plan.scan_repeats // 5)
    sides: dict[str, Callable[[], Measurement]] = {
        "on the server": partial(served, ours, ["user_id"], predicate, repeats),
        "on the server, all columns": partial(served, ours, None, predicate, repeats),
        "by the client": partial(by_client, ours, repeats),
    }
    kept = {name: side().more["kept"] for name, side in sides.items()}
    if len(set(kept.values())) != 1:
        raise RuntimeError(f"the sides keep {kept} rows")
    taken = alternate(recorder, FIGURE, sides, plan.rounds)
    client = ("by the client", taken["by the client"])
    recorder.judge(compare(FIGURE, taken["on the server"], client, FACTOR))
    whole = taken["on the server, all columns"]
    recorder.judge(compare(f"{FIGURE}, all columns of these rows", whole, client, None))


def served(ours: Headrace, columns: list[str] | None, predicate: str, repeats: int) -> Measurement:
    """Scans with a filter; the rows that count are those looked at."""
    whole = ours.rows(TABLE)
    cpu = ours.process.cpu()
    moved = flight.scan(ours.client, scan_ticket(columns, predicate), repeats)
    return Measurement(
        seconds=moved.seconds,
        rows=whole * repeats,
        server_cpu=ours.process.cpu() - cpu,
        client_cpu=moved.client_cpu,
        bytes_per_row=COLUMN_BYTES,
        more={"kept": moved.rows // repeats},
    )


def by_client(ours: Headrace, repeats: int) -> Measurement:
    """Has the column sent and filters it with pyarrow."""
    rows, kept, cpu, own = 0, 0, ours.process.cpu(), flight.own_cpu()
    began = time.perf_counter()
    for _ in range(repeats):
        for chunk in ours.client.do_get(fl.Ticket(ours.ticket(TABLE, ["user_id"]))):
            rows += chunk.data.num_rows
            below = pc.less(chunk.data.column(0), KEPT_BELOW)
            kept += chunk.data.filter(below).num_rows
    return Measurement(
        seconds=time.perf_counter() - began,
        rows=rows,
        server_cpu=ours.process.cpu() - cpu,
        client_cpu=flight.own_cpu() - own,
        bytes_per_row=COLUMN_BYTES,
        more={"kept": kept // repeats},
    )


def sorted_column(plan: Plan, recorder: Recorder, ours: Headrace, rows: int) -> None:
    """Filters by a rising column: batches that cannot match are passed over."""
    figure = "filter by a rising column"
    for share in (1.0, 0.1, 0.01, 0.0):
        middle, size = rows // 2, max(1, int(rows * share))
        first = min(middle, rows - size) // 10_000 * 10_000
        ticket = scan_ticket(["id"], f"id >= {first} and id < {first + size}")
        seconds = []
        for _ in range(5 * plan.rounds):
            began = time.perf_counter()
            moved = flight.scan(ours.client, ticket)
            seconds.append(time.perf_counter() - began)
            if moved.rows != size:
                raise RuntimeError(f"{moved.rows} rows have ids from {first} on, want {size}")
        taken = statistics.median(seconds) * 1e3
        name = f"{share:.0%} of the rows" if share else "1 row, of one batch"
        recorder.emit(figure, name, {"milliseconds": round(taken, 3), "kept": size})
        recorder.judge(
            Verdict(
                figure=f"{figure}, {rows / 1e6:.0f} M rows: {name}",
                ours=f"{taken:.2f} ms",
                target="" if share else f"< {ONE_BATCH_MS:.0f} ms",
                met=None if share else taken < ONE_BATCH_MS,
            )
        )
