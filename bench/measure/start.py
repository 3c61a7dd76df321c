"""How long a start takes that finds many large segments."""

from __future__ import annotations

import os
import statistics
import time
from functools import partial

import pyarrow as pa
import pyarrow.flight as fl

from . import disk
from .plan import Plan
from .record import Measurement, Recorder, Verdict, alternate
from .servers import Headrace

TABLE = "bench.sealed"
SEGMENT_BYTES = 256 << 20  # what a segment is grown to: the default size of one
SMALL_SEGMENT = "64KiB"  # so that each batch ends a segment
TARGET_SECONDS = 1.0


def measure(plan: Plan, recorder: Recorder, batches: list[pa.RecordBatch]) -> None:
    """Makes real sealed segments, grows them by a hole, and starts on them."""
    with Headrace("start", "--segment-bytes", SMALL_SEGMENT) as ours:
        segments = -(-plan.sealed_bytes // SEGMENT_BYTES)
        ours.create(TABLE, batches[0].schema)
        # A batch of 1,000 rows is larger than the segment size, so each one seals its own.
        # With a window of 1 no two of them meet in one group, and so in one segment.
        sources = [batches[number // 10 % len(batches)] for number in range(segments + 1)]
        small = [batch.slice(number % 10 * 1000, 1000) for number, batch in enumerate(sources)]
        ours.put(TABLE, small, window=1)
        rows = ours.rows(TABLE)
        ours.stop()
        apparent, found = grow(ours, plan.sealed_bytes)
        sides = {
            "after a clean stop": partial(start, ours, rows, found, False),
            "after kill -9": partial(start, ours, rows, found, True),
        }
        ours.start()
        taken = alternate(recorder, "start", sides, plan.rounds)
    for name, measurements in taken.items():
        median = statistics.median(each.seconds for each in measurements)
        recorder.judge(
            Verdict(
                figure=f"start on {apparent / 1e9:.0f} GB in {found} sealed segments, {name}",
                ours=f"{median:.3f} s",
                target="≤ 1 s",
                met=median <= TARGET_SECONDS,
            )
        )


def grow(ours: Headrace, size: int) -> tuple[int, int]:
    """Makes all but the newest segment larger by a hole; gives apparent bytes and their number."""
    sealed = disk.segments(ours.data)[:-1]
    if not sealed:
        raise RuntimeError(f"no sealed segments below {ours.data}")
    for path in sealed:
        os.truncate(path, max(path.stat().st_size, -(-size // len(sealed))))
    return sum(path.stat().st_size for path in sealed), len(sealed)


def start(ours: Headrace, rows: int, segments: int, kill: bool) -> Measurement:
    """Ends the server, and takes the time from exec to the first answer of ListFlights."""
    ours.client.close()
    if kill:
        ours.process.kill()
    else:
        ours.process.stop()
    began = time.perf_counter()
    ours.launch()
    ours.process.wait_for_port(ours.port)
    ours.client = fl.connect(ours.uri)
    listed = [info.descriptor.path[-1] for info in ours.client.list_flights()]
    seconds = time.perf_counter() - began
    if listed != [TABLE.split(".")[1].encode()] or ours.rows(TABLE) != rows:
        raise RuntimeError(f"the start found {listed} with {ours.rows(TABLE)} rows, want {rows}")
    if (kept := len(disk.segments(ours.data))) < segments:
        raise RuntimeError(f"{kept} segments are left of {segments}")
    return Measurement(seconds=seconds, rows=0, more={"segments": segments})
