"""The rows that all measurements share: W1, web events of 20 columns, about 198 bytes a row.

Nine integers and timestamps, six floats and five short strings. Batch i depends on (SEED, i) alone,
so a file of fewer batches is a prefix of a longer one, and every machine makes the same rows.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa

SEED = 42
BATCH_ROWS = 10_000
ROWS = 5_000_000
FIRST_EVENT_MICROS = 1_750_000_000_000_000
MICROS_BETWEEN_EVENTS = 100

# Over the first 5 M rows; what other implementations of this workload have measured against.
SUM_USER_ID = 2_498_608_268_216
SUM_F0_WHOLE = 2_499_221

EVENT_TYPES = ["page_view", "click", "add_to_cart", "purchase",
               "search", "scroll", "login", "logout"]  # fmt: skip
COUNTRIES = ["US", "DE", "FR", "GB", "IN", "CN", "JP", "BR",
             "CA", "AU", "ES", "IT", "NL", "SE", "PL", "MX"]  # fmt: skip
DEVICES = ["ios-17.4", "android-14", "web-chrome-126", "web-safari-17", "web-firefox-127"]
URLS = [f"/product/{number:05}/detail" for number in range(2000)]
INTEGER_BOUNDS = [10, 1_000, 100_000, 10_000_000, 1 << 40, 1 << 62]

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("user_id", pa.int64()),
        ("event_ts", pa.timestamp("us")),
        ("event_type", pa.string()),
        ("session", pa.string()),
        ("country", pa.string()),
        ("device", pa.string()),
        ("url", pa.string()),
        *((f"i{number}", pa.int64()) for number in range(6)),
        *((f"f{number}", pa.float64()) for number in range(6)),
    ]
)


def chosen(words: list[str], random: np.random.Generator, rows: int) -> pa.Array:
    """Draws one of the words for each row."""
    return pa.array(words).take(pa.array(random.integers(0, len(words), rows, dtype=np.int32)))


def sessions(random: np.random.Generator, rows: int) -> pa.Array:
    """Draws 16 hexadecimal digits for each row, without a Python string in between."""
    digits = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
    text = digits[random.integers(0, 16, rows * 16, dtype=np.uint8)]
    ends = np.arange(0, (rows + 1) * 16, 16, dtype=np.int32)
    return pa.Array.from_buffers(pa.string(), rows, [None, pa.py_buffer(ends), pa.py_buffer(text)])


def batch(index: int) -> pa.RecordBatch:
    """Makes the batch with this index; the order of the draws is part of the workload."""
    random, rows = np.random.default_rng([SEED, index]), BATCH_ROWS
    ids = np.arange(index * rows, (index + 1) * rows, dtype=np.int64)
    users = random.integers(0, 1_000_000, rows)
    times = FIRST_EVENT_MICROS + ids * MICROS_BETWEEN_EVENTS
    times = times + random.integers(0, MICROS_BETWEEN_EVENTS, rows)
    columns = [pa.array(ids), pa.array(users), pa.array(times).cast(pa.timestamp("us"))]
    columns.append(chosen(EVENT_TYPES, random, rows))
    columns.append(sessions(random, rows))
    columns += [chosen(words, random, rows) for words in (COUNTRIES, DEVICES, URLS)]
    columns += [pa.array(random.integers(0, bound, rows)) for bound in INTEGER_BOUNDS]
    floats = [
        random.random(rows),
        random.normal(100, 15, rows),
        np.round(random.exponential(30, rows), 2),
        random.normal(0, 1, rows),
        random.random(rows) * 1e6,
        np.round(random.random(rows), 3),
    ]
    columns += [pa.array(values) for values in floats]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def load(path: Path, rows: int) -> list[pa.RecordBatch]:
    """Gives the first `rows` rows of the file, mapped; writes it first if it holds fewer."""
    wanted = -(-rows // BATCH_ROWS)
    if not path.exists() or len(mapped(path)) < wanted:
        write(path, wanted)
    return mapped(path)[:wanted]


def mapped(path: Path) -> list[pa.RecordBatch]:
    """Gives all batches of the file without reading them."""
    file = pa.ipc.open_file(pa.memory_map(str(path)))
    return [file.get_batch(number) for number in range(file.num_record_batches)]


def write(path: Path, batches: int) -> None:
    """Writes an Arrow file of that many batches; under its name it is always whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
        for index in range(batches):
            writer.write_batch(batch(index))
    partial.rename(path)


def main() -> None:
    """Writes the file from the command line and prints what other systems can compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--rows", type=int, default=ROWS)
    arguments = parser.parse_args()
    rows = load(arguments.path, arguments.rows)
    table = pa.Table.from_batches(rows)
    users, floats = table["user_id"].to_numpy().sum(), table["f0"].to_numpy().sum()
    print(f"{table.num_rows} rows, {table.nbytes / table.num_rows:.1f} bytes a row, ", end="")
    print(f"sum(user_id) {users}, sum(f0) {floats:.0f}")


if __name__ == "__main__":
    main()
