"""How much of everything is measured, and where things lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build" / "bench"
BYTES_PER_ROW = 198  # of W1, as Arrow buffers


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The sizes of one run.

    Attributes:
        name: as printed.
        rounds: times that each side of a comparison is measured, in turns; at least 3.
        rows: rows of W1 that are scanned and ingested.
        scan_repeats: scans of 2 columns in one measurement, because one is over too soon.
        small_rows: rows sent in batches of 1,000 by 8 producers.
        split_rows: the same where each batch is split over 256 buckets.
        single_rows: rows sent one by one by the Go client.
        python_rows: rows sent one by one by the Python writer.
        freshness_seconds: of each freshness measurement.
        big_table_bytes: size of the table that slow clients read and that is scanned cold.
        slow_seconds: how long the 8 slow clients read.
        sealed_bytes: apparent size of the segments that a start finds.
        keyed_sizes: keys of the keyed tables, one after the other.
        keyed_updates: rows of one measurement of upserts; at most as many as there are keys.
        keyed_seconds: of each measurement of lookups.
        partitions: partitions of the table that has many.
        partition_rows: rows of each of them.
    """

    name: str
    rounds: int = 3
    rows: int
    scan_repeats: int
    small_rows: int
    split_rows: int
    single_rows: int
    python_rows: int
    freshness_seconds: int
    big_table_bytes: int
    slow_seconds: int
    sealed_bytes: int = 100 * 10**9
    keyed_sizes: tuple[int, ...]
    keyed_updates: int = 1_000_000
    keyed_seconds: float
    partitions: int = 10_000
    partition_rows: int = 100


FULL = Plan(
    name="full",
    rows=5_000_000,
    scan_repeats=20,
    small_rows=5_000_000,
    split_rows=1_000_000,
    single_rows=500_000,
    python_rows=100_000,
    freshness_seconds=12,
    big_table_bytes=20 * 10**9,
    slow_seconds=30,
    keyed_sizes=(1_000_000, 10_000_000),
    keyed_seconds=5,
)
QUICK = Plan(
    name="quick",
    rows=1_000_000,
    scan_repeats=50,
    small_rows=1_000_000,
    split_rows=200_000,
    single_rows=100_000,
    python_rows=20_000,
    freshness_seconds=5,
    big_table_bytes=8 * 10**9,
    slow_seconds=10,
    keyed_sizes=(1_000_000,),
    keyed_seconds=3,
)
SMOKE = Plan(
    name="smoke",
    rounds=1,
    rows=100_000,
    scan_repeats=3,
    small_rows=50_000,
    split_rows=10_000,
    single_rows=5_000,
    python_rows=2_000,
    freshness_seconds=2,
    big_table_bytes=400 * 10**6,
    slow_seconds=2,
    sealed_bytes=10**9,
    keyed_sizes=(10_000,),
    keyed_updates=10_000,
    keyed_seconds=0.3,
    partitions=500,
    partition_rows=10,
)
PLANS = {plan.name: plan for plan in (FULL, QUICK, SMOKE)}
