"""How long a keyed table takes to answer after a restart, and what its index takes in memory."""

from __future__ import annotations

import re
import statistics
import time
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.flight as fl

from . import lookups
from .record import Measurement, Verdict, alternate

if TYPE_CHECKING:
    from .keyed import Bench

INDEX_BYTES_PER_KEY = 16
INDEX_METRIC = re.compile(r"headrace_\w*index\w*bytes")
FROM_SNAPSHOT_SECONDS, BY_SCAN_SECONDS = 3.0, 10.0
PATIENCE_SECONDS = 120
QUIET_SECONDS = 1.0  # for memory of the start to be given back


def measure(bench: Bench, table: str, empty: int) -> None:
    """Restarts with all keys; `empty` is the anonymous memory of a server without tables."""
    rows = bench.ours.rows(table)
    sides = {
        "after a clean stop": partial(restart, bench, table, rows, False),
        "after kill -9, without index files": partial(restart, bench, table, rows, True),
    }
    taken = alternate(bench.recorder, f"restart, {bench.size}", sides, bench.plan.rounds)
    for side, measurements in taken.items():
        median = statistics.median(each.seconds for each in measurements)
        limit = FROM_SNAPSHOT_SECONDS if side == "after a clean stop" else BY_SCAN_SECONDS
        bench.recorder.judge(
            Verdict(
                figure=f"restart to the first lookup, {bench.size}, {side}",
                ours=f"{median:.2f} s",
                target=f"≤ {limit:g} s",
                met=median <= limit,
            )
        )
    memory(bench, empty)


def restart(bench: Bench, table: str, rows: int, forget: bool) -> Measurement:
    """Ends the server, and takes the time from exec until a lookup is answered.

    With `forget` it is killed, and the files that spare it a scan of the log are removed.
    """
    ours = bench.ours
    ours.client.close()
    if forget:
        ours.process.kill()
    else:
        ours.process.stop(PATIENCE_SECONDS)
    index_files = [path for path in ours.data.rglob("*.index") if path.is_file()]
    if forget:
        for path in index_files:
            path.unlink()
    began = time.perf_counter()
    ours.launch()
    ours.process.wait_for_port(ours.port, PATIENCE_SECONDS)
    ours.client = fl.connect(ours.uri)
    keys = pa.array([0, bench.keys - 1, bench.keys // 2])
    while True:
        try:
            lookups.rows(ours.client, table, keys)
            break
        except fl.FlightUnavailableError:  # it has not come so far yet
            if time.perf_counter() - began > PATIENCE_SECONDS:
                raise
            time.sleep(0.005)
    seconds = time.perf_counter() - began
    if (found := ours.rows(table)) != rows:
        raise RuntimeError(f"{table} has {found} rows after a restart, want {rows}")
    return Measurement(seconds=seconds, rows=0, server_anonymous=ours.process.anonymous_bytes(),
                       more={"index_files": len(index_files)})  # fmt: skip


def memory(bench: Bench, empty: int) -> None:
    """Tells the bytes a key: of the process, and what the server says that the index has."""
    time.sleep(QUIET_SECONDS)
    anonymous = bench.ours.process.anonymous_bytes() - empty
    told = {
        name: value
        for name, value in bench.ours.metrics().items()
        if INDEX_METRIC.fullmatch(name) and value > 0
    }
    bench.recorder.emit(f"memory, {bench.size}", "headrace", {
        "anonymous_bytes_more_than_empty": anonymous, "keys": bench.keys, **told,
    })  # fmt: skip
    judged = max(told.values()) / bench.keys if told else None
    bench.recorder.judge(
        Verdict(
            figure=f"index, {bench.size}",
            ours="no metric tells it" if judged is None else f"{judged:.1f} bytes a key",
            reference=f"process {anonymous / bench.keys:.1f} bytes a key",
            target=f"≤ {INDEX_BYTES_PER_KEY} bytes",
            met=None if judged is None else judged <= INDEX_BYTES_PER_KEY,
        )
    )
