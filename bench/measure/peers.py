"""Other systems on the same work in the same run; only where they are asked for."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from functools import partial

import pyarrow as pa

from . import disk, keyed_peers, scan
from .fluss import Fluss
from .ingest import into_headrace
from .plan import BYTES_PER_ROW, Plan
from .record import Measurement, Recorder, alternate, compare
from .servers import Headrace


def fluss(plan: Plan, recorder: Recorder, batches: list[pa.RecordBatch]) -> None:
    """Compares ingest of whole batches, and scans of 2 of 20 and of all columns."""
    numbers, rows = itertools.count(), str(plan.rows)
    with Headrace("beside-fluss") as ours, Fluss() as theirs:

        def prepared(side: Callable[[], Measurement]) -> Callable[[], Measurement]:
            def run() -> Measurement:
                os.sync()
                disk.warm_memory(plan.rows * BYTES_PER_ROW)
                return side()

            return run

        def ingest_theirs() -> Measurement:
            table = f"w1_{next(numbers)}"
            theirs.client("create", table)
            return theirs.measured("ingest", table, rows)

        def ingest_ours() -> Measurement:
            return into_headrace(ours, f"bench.w1_{next(numbers)}", "fsync", batches)

        ingest_theirs()  # the JVM compiles
        sides = {"headrace": prepared(ingest_ours), "Fluss": prepared(ingest_theirs)}
        name = "ingest, 10,000-row batches, fsync, against Fluss"
        taken = alternate(recorder, name, sides, plan.rounds)
        against = "Fluss (no fsync)"
        recorder.judge(compare(name, taken["headrace"], (against, taken["Fluss"]), 2))

        ours.create(scan.TABLE, batches[0].schema)
        ours.put(scan.TABLE, batches)
        theirs.client("create", "scanned")
        theirs.client("ingest", "scanned", rows)
        for name, columns in (
            ("scan of 2 of 20 columns", scan.COLUMNS),
            ("scan of 20 columns", None),
        ):
            asked = [",".join(columns)] if columns else []
            sides = {
                "headrace": partial(scan.one, ours, columns, 1),
                "Fluss": partial(theirs.measured, "scan", "scanned", rows, *asked),
            }
            for warm_up in sides.values():
                warm_up()
            taken = alternate(recorder, name, sides, plan.rounds)
            recorder.judge(
                compare(
                    f"{name}, against Fluss", taken["headrace"], ("Fluss", taken["Fluss"]), None
                )
            )


# Which comparisons there are with each system, by the figures that they belong to.
PEERS: dict[str, dict[str, Callable[[Plan, Recorder, list[pa.RecordBatch]], None]]] = {
    "fluss": {"log": fluss, "keyed": keyed_peers.fluss},
    "redis": {"keyed": keyed_peers.redis},
}
