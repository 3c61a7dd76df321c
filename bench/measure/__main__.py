"""The command line: which figures, and how large."""

from __future__ import annotations

import argparse
import dataclasses
import faulthandler
import fcntl
import os
import platform
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "workload"))
import w1  # noqa: E402 - lies beside this package, and is a program of its own too

from . import (  # noqa: E402
    big_table,
    compression,
    filters,
    ingest,
    keyed,
    partitions,
    peers,
    producers,
    scan,
    start,
)
from .plan import BUILD, PLANS, ROOT, Plan  # noqa: E402
from .record import Recorder  # noqa: E402

WORKLOAD = BUILD / "w1.arrow"
FIGURE_SECONDS_MAX = 1800
Figure = Callable[[Plan, Recorder, list[pa.RecordBatch]], None]
FIGURES: dict[str, Figure] = {
    "scan": scan.measure,
    "ingest": lambda plan, recorder, rows: ingest.measure(plan, recorder, rows, WORKLOAD),
    "producers": lambda plan, recorder, rows: producers.measure_small(
        plan, recorder, rows[0].schema, WORKLOAD
    ),
    "single": lambda plan, recorder, rows: producers.measure_single(
        plan, recorder, rows[0].schema, WORKLOAD
    ),
    "big": lambda plan, recorder, rows: big_table.measure(plan, recorder, rows, WORKLOAD),
    "start": start.measure,
    "filters": filters.measure,
    "keyed": keyed.measure,
    "compression": compression.measure,
    "partitions": partitions.measure,
}


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="bench/run", description="Measures headrace.")
    names = ", ".join(FIGURES)
    parser.add_argument(
        "figures", nargs="*", metavar="FIGURE", help=f"which to measure, of {names}; default: all"
    )
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument(
        "--quick",
        dest="plan",
        action="store_const",
        const="quick",
        default="full",
        help="smaller sizes, a few minutes",
    )
    sizes.add_argument(
        "--smoke",
        dest="plan",
        action="store_const",
        const="smoke",
        help="tiny sizes, 1 round: shows that everything runs, measures nothing",
    )
    parser.add_argument("--rounds", type=int, help="rounds of each comparison, at least 3")
    parser.add_argument(
        "--big-table-gb",
        type=float,
        help="size of the table that slow clients read; 20 in a full run",
    )
    parser.add_argument("--peers", default="", help="other systems too, of: fluss, redis")
    parsed = parser.parse_args(arguments)
    unknown = [name for name in parsed.figures if name not in FIGURES]
    peers_unknown = [name for name in parsed.peers.split(",") if name and name not in peers.PEERS]
    if unknown or peers_unknown:
        parser.error(f"unknown: {', '.join(unknown + peers_unknown)}")
    if parsed.rounds is not None and parsed.rounds < 3:
        parser.error("--rounds: a median wants at least 3")
    return parsed


def planned(parsed: argparse.Namespace) -> Plan:
    """Gives the sizes that the command line asks for."""
    plan = PLANS[parsed.plan]
    if parsed.rounds is not None:
        plan = dataclasses.replace(plan, rounds=parsed.rounds)
    if parsed.big_table_gb is not None:
        plan = dataclasses.replace(plan, big_table_bytes=int(parsed.big_table_gb * 1e9))
    return plan


def machine() -> dict[str, object]:
    """Says what the figures were taken on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "cpu": names[0] if names else platform.machine(),
        "memory_gb": round(memory / 1e9, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "pyarrow": pa.__version__,
        "disk_free_gb": round(shutil.disk_usage(BUILD).free / 1e9, 1),
    }


def ended(number: int, frame: object) -> None:
    """Turns a signal into an exception, so that everything that runs is stopped on the way out."""
    raise SystemExit(128 + number)


def attempt(recorder: Recorder, name: str, figure: Callable[[], None]) -> bool:
    """Measures; an error is recorded, because the other figures are still wanted."""
    # A call that hangs in C++ hears no signal. The process goes then, and its children with it.
    faulthandler.dump_traceback_later(FIGURE_SECONDS_MAX, exit=True)
    try:
        figure()
    except Exception as error:
        traceback.print_exc()
        recorder.emit(name, "error", {"error": f"{type(error).__name__}: {error}"[:2000]})
        return False
    finally:
        faulthandler.cancel_dump_traceback_later()
    return True


def main(arguments: Sequence[str]) -> int:
    """Measures, prints the table, and gives 1 if a figure could not be measured."""
    parsed = parse(arguments)
    plan = planned(parsed)
    signal.signal(signal.SIGTERM, ended)
    signal.signal(signal.SIGHUP, ended)
    BUILD.mkdir(parents=True, exist_ok=True)
    lock = (BUILD / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("another run of the benchmarks is under way", file=sys.stderr)
        return 1
    recorder = Recorder(BUILD, judging=plan.name != "smoke")
    for leftover in BUILD.glob("*-????????"):
        shutil.rmtree(leftover, ignore_errors=True)  # of a run that was killed
    recorder.emit("machine", plan.name, machine())
    batches = w1.load(WORKLOAD, plan.rows)
    began = time.monotonic()
    wanted: dict[str, Figure] = {name: FIGURES[name] for name in parsed.figures or FIGURES}
    kinds = {"keyed" if name == "keyed" else "log" for name in wanted}
    for name in filter(None, parsed.peers.split(",")):
        compared = peers.PEERS[name].items()
        wanted |= {f"{name}, {kind}": figure for kind, figure in compared if kind in kinds}
    failed = [
        name
        for name, figure in wanted.items()
        if not attempt(recorder, name, partial(figure, plan, recorder, batches))
    ]
    table = recorder.table()
    if plan.name == "smoke":
        table += "\nA smoke run: sizes are too small for any of this to mean something.\n"
    (BUILD / "results.md").write_text(table)
    seconds, lines = time.monotonic() - began, BUILD.relative_to(ROOT) / "results.jsonl"
    print(f"\n{table}\n{seconds:.0f} s; every measurement is in {lines}")
    if failed:
        print(f"not measured because of an error: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
