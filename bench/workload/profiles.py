"""The rows of keyed tables: user profiles of a bigint key and 10 attributes, about 100 bytes each.

Batch i depends on (SEED, version, i) alone, so every machine makes the same rows. Version 0 has the
keys 0, 1, 2, … in order; the updates of version v have random distinct keys and other values.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

SEED = 42
BATCH_ROWS = 10_000
KEY = "user_id"
FIRST_CREATED_MICROS = 1_700_000_000_000_000
CREATED_SPAN_MICROS = 10**13

COUNTRIES = ["US", "DE", "FR", "GB", "IN", "CN", "JP", "BR",
             "CA", "AU", "ES", "IT", "NL", "SE", "PL", "MX"]  # fmt: skip
TIERS = ["free", "basic", "pro", "team"]
MAIL = b"@example.com"

SCHEMA = pa.schema(
    [
        pa.field(KEY, pa.int64(), nullable=False),
        ("name", pa.string()),
        ("email", pa.string()),
        ("country", pa.string()),
        ("tier", pa.string()),
        ("age", pa.int32()),
        ("score", pa.float64()),
        ("balance", pa.float64()),
        ("created", pa.timestamp("us")),
        ("visits", pa.int64()),
        ("flags", pa.int64()),
    ]
)
# The same rows as records of one size, for systems that know no Arrow. Strings end with zeros.
RECORD = np.dtype(
    [
        (KEY, "<i8"), ("age", "<i4"), ("score", "<f8"), ("balance", "<f8"), ("created", "<i8"),
        ("visits", "<i8"), ("flags", "<i8"), ("name", "S12"), ("email", "S22"),
        ("country", "S2"), ("tier", "S5"),
    ]
)  # fmt: skip


def texts(random: np.random.Generator, rows: int, digits: int, tail: bytes = b"") -> pa.Array:
    """Draws hexadecimal digits and a fixed tail for each row, without Python strings in between."""
    alphabet = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
    size = digits + len(tail)
    text = np.empty((rows, size), dtype=np.uint8)
    text[:, :digits] = alphabet[random.integers(0, 16, (rows, digits), dtype=np.uint8)]
    text[:, digits:] = np.frombuffer(tail, dtype=np.uint8)
    ends = np.arange(0, (rows + 1) * size, size, dtype=np.int32)
    return pa.Array.from_buffers(pa.string(), rows, [None, pa.py_buffer(ends), pa.py_buffer(text)])


def chosen(words: list[str], random: np.random.Generator, rows: int) -> pa.Array:
    """Draws one of the words for each row."""
    return pa.array(words).take(pa.array(random.integers(0, len(words), rows, dtype=np.int32)))


def batch(index: int, keys: np.ndarray, version: int) -> pa.RecordBatch:
    """Makes the rows of these keys; the order of the draws is part of the workload."""
    random, rows = np.random.default_rng([SEED, version, index]), len(keys)
    created = FIRST_CREATED_MICROS + random.integers(0, CREATED_SPAN_MICROS, rows)
    columns = [
        pa.array(keys),
        texts(random, rows, 12),
        texts(random, rows, 10, MAIL),
        chosen(COUNTRIES, random, rows),
        chosen(TIERS, random, rows),
        pa.array(random.integers(18, 90, rows, dtype=np.int32)),
        pa.array(random.random(rows)),
        pa.array(np.round(random.random(rows) * 1e4, 2)),
        pa.array(created).cast(pa.timestamp("us")),
        pa.array(random.integers(0, 100_000, rows)),
        pa.array(random.integers(0, 1 << 31, rows)),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def inserts(rows: int) -> Iterator[pa.RecordBatch]:
    """Makes version 0 of the keys 0 … rows-1, in order."""
    for index in range(rows // BATCH_ROWS):
        keys = np.arange(index * BATCH_ROWS, (index + 1) * BATCH_ROWS, dtype=np.int64)
        yield batch(index, keys, 0)


def updates(keys: int, rows: int, version: int) -> Iterator[pa.RecordBatch]:
    """Makes a version of `rows` distinct ones of the keys 0 … keys-1, in random order."""
    order = np.random.default_rng([SEED, version]).permutation(keys)[:rows]
    for index in range(rows // BATCH_ROWS):
        yield batch(index, order[index * BATCH_ROWS : (index + 1) * BATCH_ROWS], version)


def mapped(path: Path) -> list[pa.RecordBatch]:
    """Gives all batches of a file without reading them."""
    file = pa.ipc.open_file(pa.memory_map(str(path)))
    return [file.get_batch(number) for number in range(file.num_record_batches)]


def write(path: Path, batches: Iterator[pa.RecordBatch]) -> Path:
    """Writes an Arrow file unless it is there; under its name it is always whole."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
            for each in batches:
                writer.write_batch(each)
        partial.rename(path)
    return path


def write_records(path: Path, batches: Iterator[pa.RecordBatch]) -> Path:
    """Writes the rows as records unless the file is there."""
    if not path.exists():
        partial = path.with_suffix(".partial")
        with partial.open("wb") as sink:
            for each in batches:
                record(each).tofile(sink)
        partial.rename(path)
    return path


def record(rows: pa.RecordBatch) -> np.ndarray:
    """Packs the rows of a batch into records."""
    packed = np.zeros(rows.num_rows, RECORD)
    for name in RECORD.names:
        column = rows.column(name)
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.int64())
        packed[name] = column.to_numpy(zero_copy_only=False)
    return packed


def main() -> None:
    """Writes a file from the command line and prints what other systems can compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    arguments = parser.parse_args()
    table = pa.Table.from_batches(mapped(write(arguments.path, inserts(arguments.rows))))
    visits, flags = (table[name].to_numpy().sum() for name in ("visits", "flags"))
    print(f"{table.num_rows} rows, {table.nbytes / table.num_rows:.1f} bytes a row, ", end="")
    print(f"sum(visits) {visits}, sum(flags) {flags}")


if __name__ == "__main__":
    main()
