"""What was measured: one line of JSON each, and the table at the end."""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .plan import BYTES_PER_ROW


@dataclass(kw_only=True)
class Measurement:
    """One side of one figure, measured once.

    Attributes:
        seconds: wall time.
        rows: rows moved; 198 bytes each, or bytes_per_row. 0 where only the time counts.
        server_cpu: CPU seconds of the server, None where there is none.
        client_cpu: CPU seconds of the client.
        server_anonymous: bytes of anonymous memory of the server behind it.
        more: anything else worth keeping.
    """

    seconds: float
    rows: int
    server_cpu: float | None = None
    client_cpu: float | None = None
    server_anonymous: int | None = None
    bytes_per_row: float = BYTES_PER_ROW
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def speed(self) -> float:
        """Gives rows a second."""
        return self.rows / self.seconds

    @property
    def gigabytes(self) -> float:
        """Gives the logical size of the rows, in 10^9 bytes."""
        return self.rows * self.bytes_per_row / 1e9

    def line(self) -> dict[str, Any]:
        """Gives what is printed of it."""
        fields: dict[str, Any] = {
            "seconds": round(self.seconds, 4),
        }
        if self.rows:
            fields |= {
                "rows": self.rows,
                "rows_per_second": round(self.speed),
                "megabytes_per_second": round(self.gigabytes * 1e3 / self.seconds, 1),
            }
        for side in ("server", "client"):
            cpu = getattr(self, f"{side}_cpu")
            if cpu is not None:
                fields[f"{side}_cpu"] = round(cpu, 3)
                fields[f"{side}_cpu_per_gigabyte"] = round(cpu / self.gigabytes, 3)
        if self.server_anonymous is not None:
            fields["server_anonymous_megabytes"] = round(self.server_anonymous / 1e6, 1)
        return fields | self.more


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One line of the table.

    Attributes:
        figure: what it is.
        ours: headrace's figure, as text.
        reference: what it is compared with, as text.
        ratio: ours ÷ reference, where that is the target.
        target: what is wanted, as text; empty: only reported.
        met: whether it is reached; None where there is no target.
        cpu: CPU seconds a gigabyte, as text.
    """

    figure: str
    ours: str
    reference: str = ""
    ratio: float | None = None
    target: str = ""
    met: bool | None = None
    cpu: str = ""


class Recorder:
    """Prints each measurement as a line of JSON, keeps it in a file, and collects the table."""

    def __init__(self, folder: Path, judging: bool) -> None:
        """Begins an empty results.jsonl; the one of the run before is replaced.

        Without judging, no line of the table says whether its target is met.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.judging = judging
        self.lines = (folder / "results.jsonl").open("w")
        self.verdicts: list[Verdict] = []

    def emit(self, figure: str, side: str, fields: Mapping[str, Any]) -> None:
        """Prints and keeps one line."""
        line = {"figure": figure, "side": side, **fields, "load": round(os.getloadavg()[0], 2)}
        text = json.dumps(line)
        print(text, flush=True)
        self.lines.write(text + "\n")
        self.lines.flush()

    def judge(self, verdict: Verdict) -> None:
        """Adds a line to the table and prints it."""
        if not self.judging:
            verdict = dataclasses.replace(verdict, met=None)
        self.verdicts.append(verdict)
        self.emit(verdict.figure, "verdict", {
            "ours": verdict.ours, "reference": verdict.reference, "ratio": rounded(verdict.ratio),
            "target": verdict.target, "met": verdict.met,
        })  # fmt: skip

    def table(self) -> str:
        """Gives the table in Markdown."""
        head = ["figure", "headrace", "reference", "ratio", "target", "", "CPU-s/GB"]
        rows = [head, ["---"] * len(head)]
        for verdict in self.verdicts:
            met = {True: "met", False: "**missed**", None: ""}[verdict.met]
            ratio = "" if verdict.ratio is None else f"{verdict.ratio:.2f}"
            rows.append([verdict.figure, verdict.ours, verdict.reference, ratio,
                         verdict.target, met, verdict.cpu])  # fmt: skip
        return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def rounded(value: float | None) -> float | None:
    """Rounds for a line of JSON."""
    return None if value is None else round(value, 3)


Sides = Mapping[str, Callable[[], Measurement]]


def alternate(
    recorder: Recorder, figure: str, sides: Sides, rounds: int
) -> dict[str, list[Measurement]]:
    """Measures all sides in turns: A B C, B C A, C A B, so that none is always first."""
    names = list(sides)
    taken: dict[str, list[Measurement]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            began = time.time()
            measurement = sides[name]()
            taken[name].append(measurement)
            fields = measurement.line() | {"round": number, "began": round(began, 3)}
            recorder.emit(figure, name, fields)
    return taken


def speed(measurements: list[Measurement]) -> float:
    """Gives the median rows a second."""
    return statistics.median(measurement.speed for measurement in measurements)


def million(value: float) -> str:
    """Writes rows a second."""
    return f"{value / 1e6:.2f} M rows/s" if value >= 1e6 else f"{value / 1e3:.1f} k rows/s"


def cpu_text(measurements: list[Measurement]) -> str:
    """Writes the median CPU seconds a gigabyte: server / client."""
    texts = []
    for side in ("server_cpu", "client_cpu"):
        values = [
            getattr(measurement, side) / measurement.gigabytes
            for measurement in measurements
            if getattr(measurement, side) is not None
        ]
        texts.append(f"{statistics.median(values):.2f}" if values else "–")
    return " / ".join(texts)


def compare(
    figure: str,
    ours: list[Measurement],
    reference: tuple[str, list[Measurement]],
    wanted: float | None,
) -> Verdict:
    """Makes the line of a comparison of two sides by their median rows a second."""
    name, theirs = reference
    ratio = speed(ours) / speed(theirs)
    return Verdict(
        figure=figure,
        ours=million(speed(ours)),
        reference=f"{name} {million(speed(theirs))}",
        ratio=ratio,
        target=f"≥ {wanted} ×" if wanted else "",
        met=ratio >= wanted if wanted else None,
        cpu=f"{cpu_text(ours)}; {name} {cpu_text(theirs)}",
    )


def reach(figure: str, ours: list[Measurement], wanted: float) -> Verdict:
    """Makes the line of a figure with an absolute target in rows a second."""
    reached = speed(ours)
    return Verdict(
        figure=figure,
        ours=million(reached),
        target=f"≥ {million(wanted)}",
        met=reached >= wanted,
        cpu=cpu_text(ours),
    )
