"""A producer that upserts at a fixed rate for the time of a with block."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

from . import load
from .servers import Headrace

UPSERTS_PER_SECOND = 100_000
BATCH_ROWS = 1_000
SECONDS_MAX = 900
CHANGELOG_ROWS = 2  # of an update with the full image
PATIENCE_SECONDS = 60


class Upserts:
    """A surrounding: updates of existing keys in batches of 1,000 rows, at level fsync."""

    def __init__(self, ours: Headrace, table: str, changes: Path, rows: int) -> None:
        """Remembers where to write; the rows of the file repeat."""
        self.ours, self.table = ours, table
        self.changes, self.distinct = changes, min(500, rows // BATCH_ROWS)
        self.result: dict[str, Any] = {}

    def __enter__(self) -> Upserts:
        """Begins to write, and waits for the first rows."""
        before = self.ours.rows(self.table)
        self.process = load.start(
            "put", workload=self.changes, server=self.ours.uri, table=self.table,
            durability="fsync", pace=UPSERTS_PER_SECOND,
            batches=SECONDS_MAX * UPSERTS_PER_SECOND // BATCH_ROWS, rows_per_batch=BATCH_ROWS,
            distinct=self.distinct,
        )  # fmt: skip
        end = time.monotonic() + PATIENCE_SECONDS
        while self.ours.rows(self.table) == before:
            if self.process.poll() is not None or time.monotonic() > end:
                self.process.kill()
                output = self.process.communicate()[0]
                raise RuntimeError(f"the upserts did not begin: {output}")
            time.sleep(0.01)
        self.rows, self.began = self.ours.rows(self.table), time.perf_counter()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Ends the writes; that they ended before is an error."""
        rows, seconds = self.ours.rows(self.table), time.perf_counter() - self.began
        self.rate = (rows - self.rows) / CHANGELOG_ROWS / seconds
        early = self.process.poll() is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            output = self.process.communicate(timeout=PATIENCE_SECONDS)[0]
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        if kind is not None:
            return
        self.result = load.parsed("put", output)
        if early:
            raise RuntimeError("the upserts ended before what was measured beside them")

    def told(self) -> dict[str, Any]:
        """Gives the rate that was reached, and how long acknowledgements took."""
        return {
            "upserts_per_second": round(self.rate),
            "upserts_acknowledged": self.result["acknowledged"],
        }
