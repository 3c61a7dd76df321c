"""Other systems on keyed tables in the same run; only where they are asked for."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import profiles
import pyarrow as pa

from . import load
from .fluss import Fluss
from .keyed import BUCKETS, BYTES_PER_ROW, WINDOW, Bench, percentiles
from .plan import BUILD, ROOT, Plan
from .process import Process, free_port
from .record import Measurement, Recorder, Verdict, alternate, compare
from .servers import Headrace

REDIS = ROOT / "build" / "peers" / "redis" / "redis-server"
REDIS_SOURCE = ROOT / "bench" / "peers" / "redis"
PIPELINE = 1000  # SETs that go out together
FLUSS_IN_FLIGHT = 4096


class Redis:
    """A Redis server without snapshots; `append_only` syncs before each acknowledgement."""

    def __init__(self, append_only: bool) -> None:
        """Fetches what is missing and starts the server."""
        subprocess.run([REDIS_SOURCE / "fetch.sh"], check=True, stdin=subprocess.DEVNULL)
        self.data = Path(tempfile.mkdtemp(prefix="redis-", dir=BUILD))
        self.stack = ExitStack()
        self.stack.callback(shutil.rmtree, self.data, ignore_errors=True)
        try:
            self.port = free_port()
            arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.data)]
            arguments += ["--save", "", "--appendonly", "yes" if append_only else "no"]
            arguments += ["--appendfsync", "always"]
            self.process = Process([REDIS, *arguments], BUILD / "logs" / "redis.log")
            self.stack.enter_context(self.process)
            self.process.wait_for_port(self.port)
        except BaseException:
            self.stack.close()
            raise

    def __enter__(self) -> Redis:
        """Gives itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the server and removes its data."""
        self.stack.close()

    def measured(
        self, operation: str, records: Path, each: int, seconds: float, window: int = WINDOW
    ) -> Measurement:
        """Sends requests of `each` keys: all records for set, random ones for get and mget."""
        cpu = self.process.cpu()
        result = load.run(
            "redis", workload=records, server=f"127.0.0.1:{self.port}", operation=operation,
            rows_per_batch=each, window=window, seconds=seconds,
            record_bytes=profiles.RECORD.itemsize,
        )  # fmt: skip
        latency = result["latency"]
        return Measurement(
            seconds=result["seconds"],
            rows=result["keys"],
            server_cpu=self.process.cpu() - cpu,
            client_cpu=result["client_cpu"],
            server_anonymous=self.process.anonymous_bytes(),
            bytes_per_row=BYTES_PER_ROW,
            more={"p50_ms": latency["p50_ms"], "p99_ms": latency["p99_ms"]},
        )


def records(file: Path) -> Path:
    """Writes the rows of a file as records, for systems that know no Arrow."""
    return profiles.write_records(file.with_suffix(".rows"), iter(profiles.mapped(file)))


def redis(plan: Plan, recorder: Recorder, _: list[pa.RecordBatch]) -> None:
    """Compares with SET, GET and MGET of the same values."""
    with Headrace("beside-redis") as ours, Redis(False) as theirs, Redis(True) as synced:
        bench = Bench(plan, recorder, ours, plan.keyed_sizes[0])
        inserts, changes = records(bench.inserts), records(bench.changes)
        table = bench.create()
        bench.put(table, bench.inserts, bench.keys, 10_000, 1)
        for server in (theirs, synced):
            server.measured("set", inserts, PIPELINE, 0.1)

        name = f"upserts, {bench.size}"
        sides: dict[str, Callable[[], Measurement]] = {
            "headrace": partial(bench.put, table, bench.changes, bench.updates, 10_000, 2),
            "Redis": partial(theirs.measured, "set", changes, PIPELINE, 0.1),
            "Redis, fsync": partial(synced.measured, "set", changes, PIPELINE, 0.1),
        }
        for warm_up in sides.values():
            warm_up()
        taken = alternate(recorder, name, sides, plan.rounds)
        for side in ("Redis", "Redis, fsync"):
            against(recorder, name, taken, side)

        seconds = plan.keyed_seconds
        for each in (1000, 100):
            name = f"lookups, {each:,} a batch, {bench.size}"
            sides = {
                "headrace": partial(bench.lookup, table, each, WINDOW, "raw"),
                "Redis MGET": partial(theirs.measured, "mget", inserts, each, seconds),
                "Redis GET": partial(theirs.measured, "get", inserts, each, seconds),
            }
            taken = alternate(recorder, name, sides, plan.rounds)
            for side in ("Redis MGET", "Redis GET"):
                against(recorder, name, taken, side)
        name = f"lookups one at a time, {bench.size}"
        sides = {
            "headrace": partial(bench.lookup, table, 1, 1, "raw"),
            "Redis": partial(theirs.measured, "get", inserts, 1, seconds, 1),
        }
        one_at_a_time(recorder, name, alternate(recorder, name, sides, plan.rounds), "Redis")


def fluss(plan: Plan, recorder: Recorder, _: list[pa.RecordBatch]) -> None:
    """Compares new keys, updates with the full changelog, and lookups, with its Java client."""
    numbers = itertools.count()
    with Headrace("beside-fluss") as ours, Fluss() as theirs:
        bench = Bench(plan, recorder, ours, plan.keyed_sizes[0])
        inserts, changes = str(records(bench.inserts)), str(records(bench.changes))
        table, their_table = "", ""

        def insert_ours() -> Measurement:
            nonlocal table
            if table:
                ours.drop(table)
            table = bench.create()
            return bench.put(table, bench.inserts, bench.keys, 10_000, 1)

        def insert_theirs() -> Measurement:
            nonlocal their_table
            their_table = f"profiles_{next(numbers)}"
            theirs.keyed("create", their_table, str(BUCKETS))
            return measured("upsert", inserts)

        def measured(command: str, *arguments: str) -> Measurement:
            cpu = theirs.cpu()
            result = theirs.keyed(command, their_table, *arguments)
            return measurement(result, theirs.cpu() - cpu)

        name = f"new keys, {bench.size}"
        sides = {"headrace": insert_ours, "Fluss": insert_theirs}
        against(recorder, name, alternate(recorder, name, sides, plan.rounds), "Fluss")

        name = f"upserts, full changelog, {bench.size}"
        sides = {
            "headrace": partial(bench.put, table, bench.changes, bench.updates, 10_000, 2),
            "Fluss": partial(measured, "upsert", changes),
        }
        against(recorder, name, alternate(recorder, name, sides, plan.rounds), "Fluss")

        look = (str(bench.keys), str(plan.keyed_seconds))
        name = f"lookups, pipelined, {bench.size}"
        sides = {
            "headrace": partial(bench.lookup, table, 1000, WINDOW, "raw"),
            "Fluss": partial(measured, "lookup", *look, str(FLUSS_IN_FLIGHT)),
        }
        against(recorder, name, alternate(recorder, name, sides, plan.rounds), "Fluss")
        name = f"lookups one at a time, {bench.size}"
        sides = {
            "headrace": partial(bench.lookup, table, 1, 1, "raw"),
            "Fluss": partial(measured, "lookup", *look, "1"),
        }
        one_at_a_time(recorder, name, alternate(recorder, name, sides, plan.rounds), "Fluss")


def measurement(result: dict[str, Any], server_cpu: float) -> Measurement:
    """Makes one of what the Java client prints; its warm-up is in the servers' CPU time."""
    return Measurement(
        seconds=result["seconds"],
        rows=result["rows"],
        client_cpu=result["client_cpu"],
        bytes_per_row=BYTES_PER_ROW,
        more={"server_cpu_with_warm_up": round(server_cpu, 2)}
        | {name: result[name] for name in ("p50_ms", "p99_ms") if name in result},
    )


def against(
    recorder: Recorder, figure: str, taken: dict[str, list[Measurement]], side: str
) -> None:
    """Reports the ratio to one of the sides."""
    verdict = compare(f"{figure}, against {side}", taken["headrace"], (side, taken[side]), None)
    recorder.judge(verdict)


def one_at_a_time(
    recorder: Recorder, figure: str, taken: dict[str, list[Measurement]], side: str
) -> None:
    """Reports the latencies of two sides; the ratio is of the medians, and below 1 is faster."""
    (p50, p99), (their_p50, their_p99) = percentiles(taken["headrace"]), percentiles(taken[side])
    recorder.judge(
        Verdict(
            figure=f"{figure}, against {side}",
            ours=f"p50 {p50:.3f}, p99 {p99:.3f} ms",
            reference=f"{side} p50 {their_p50:.3f}, p99 {their_p99:.3f} ms",
            ratio=p50 / their_p50,
        )
    )
