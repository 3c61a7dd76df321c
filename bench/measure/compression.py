"""What log.compression saves on disk, and what it costs: to make, and to read."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import pyarrow as pa

from . import flight, scan
from .plan import Plan
from .record import Measurement, Recorder, Verdict, alternate, million, speed
from .servers import Headrace

CODECS = ["none", "lz4", "zstd:1", "zstd:3"]
# Small segments, so that little is left in the one that is written to and not compressed.
SEGMENT_BYTES = 4 << 20
SAVED_MOST = {"zstd:1": 0.55, "zstd:3": 0.55}
SPEED_LEAST = {"lz4": 0.6, "zstd:1": 0.45, "zstd:3": 0.45}
POLL_SECONDS = 0.1
QUIET_SECONDS = 7  # longer than the server waits between two rounds of its maintenance
REWRITE_SECONDS_MAX = 600


def measure(plan: Plan, recorder: Recorder, batches: list[pa.RecordBatch]) -> None:
    """Fills a table for each codec, has it compressed, and scans all of them in turns."""
    raw = sum(batch.nbytes for batch in batches)
    with Headrace("compression", "--segment-bytes", str(SEGMENT_BYTES)) as ours:
        for codec in CODECS:
            filled(recorder, ours, codec, batches, raw)
        for name, columns, repeats in (
            ("2 of 20 columns", scan.COLUMNS, plan.scan_repeats),
            ("20 columns", None, max(1, plan.scan_repeats // 5)),
        ):
            figure = f"scan of {name}, compressed"
            sides = {
                codec: partial(scan.one, ours, columns, repeats, table(codec)) for codec in CODECS
            }
            for warm_up in sides.values():
                warm_up()
            judge(
                recorder,
                figure,
                alternate(recorder, figure, sides, plan.rounds),
                columns is not None,
            )


def table(codec: str) -> str:
    """Names the table of a codec."""
    return "bench.packed_" + codec.replace(":", "_")


def filled(
    recorder: Recorder, ours: Headrace, codec: str, batches: list[pa.RecordBatch], raw: int
) -> None:
    """Fills a table, compresses it, and tells how large it is then."""
    name = table(codec)
    ours.create(name, batches[0].schema)
    ours.put(name, batches)
    line: dict[str, Any] = compressed(ours, name, codec) if codec != "none" else {}
    rows = flight.checksums(ours.client, ours.ticket(name, scan.COLUMNS))
    if rows != flight.checksums(ours.client, ours.ticket(table("none"), scan.COLUMNS)):
        raise RuntimeError(f"{name} has other rows than were written")
    stats = flight.action(ours.client, "TableStats", {"table": name})
    share = stats["bytes"] / raw
    line |= {"bytes": stats["bytes"], "raw_bytes": raw, "share": round(share, 4)}
    recorder.emit("bytes on disk", codec, line)
    most = SAVED_MOST.get(codec)
    recorder.judge(
        Verdict(
            figure=f"bytes on disk, log.compression {codec}",
            ours=f"{stats['bytes'] / 1e6:.0f} MB",
            reference=f"Arrow {raw / 1e6:.0f} MB",
            ratio=share,
            target=f"≤ {most} ×" if most else "",
            met=share <= most if most else None,
        )
    )
    if codec != "none":
        recorder.judge(
            Verdict(
                figure=f"compressing, {codec}",
                ours=f"{raw / 1e6 / line['seconds']:.0f} MB/s",
                reference=f"{line['server_cpu'] / (raw / 1e9):.2f} CPU-s/GB",
            )
        )


def compressed(ours: Headrace, name: str, codec: str) -> dict[str, Any]:
    """Sets the option and waits until the table gets no smaller; gives seconds and CPU of that."""
    change = {"set_option": {"name": "log.compression", "value": codec}}
    flight.action(ours.client, "AlterTable", {"table": name, "changes": [change]})
    began = time.monotonic()
    first = last = 0.0
    before = size = stored(ours, name)
    cpu = cpu_last = ours.process.cpu()
    while not first or time.monotonic() - last < QUIET_SECONDS:
        if time.monotonic() - began > REWRITE_SECONDS_MAX:
            raise RuntimeError(f"{name} is not compressed: {before} bytes, then {size}")
        time.sleep(POLL_SECONDS)
        if (now := stored(ours, name)) != size:
            size, last, cpu_last = now, time.monotonic(), ours.process.cpu()
            first = first or last
    return {
        "seconds": round(max(last - first, POLL_SECONDS), 3),
        "server_cpu": round(cpu_last - cpu, 2),
    }


def stored(ours: Headrace, name: str) -> int:
    """Gives the bytes of a table on disk."""
    return int(flight.action(ours.client, "TableStats", {"table": name})["bytes"])


def judge(
    recorder: Recorder, figure: str, taken: dict[str, list[Measurement]], wanted: bool
) -> None:
    """Compares each codec with none: rows a second, and the server's CPU."""
    plain = taken["none"]
    for codec, least in SPEED_LEAST.items():
        ratio = speed(taken[codec]) / speed(plain)
        cpu = server_cpu(taken[codec]) / server_cpu(plain)
        recorder.judge(
            Verdict(
                figure=f"{figure} with {codec}",
                ours=million(speed(taken[codec])),
                reference=f"none {million(speed(plain))}",
                ratio=ratio,
                target=f"≥ {least} ×, at no more server CPU" if wanted else "",
                met=ratio >= least and cpu <= 1 if wanted else None,
                cpu=f"server {cpu:.2f} × that of none",
            )
        )


def server_cpu(measurements: list[Measurement]) -> float:
    """Gives the server's CPU seconds a row over all rounds; one tick where it shows none."""
    seconds = sum(each.server_cpu or 0.0 for each in measurements)
    return max(seconds, 0.01) / sum(each.rows for each in measurements)
