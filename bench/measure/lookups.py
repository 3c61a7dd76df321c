"""The pyarrow client of lookups: one DoExchange stream, pipelined or one batch after the other."""

from __future__ import annotations

import json
import time
from collections import deque

import numpy as np
import pyarrow as pa
import pyarrow.flight as fl
from profiles import KEY

from . import flight
from .record import Measurement

SEED = 42
DISTINCT = 500
WARM_UP = 0.1  # share of the answers that come first and are left out of the latencies
# Keys that are sent and not answered yet. Their bytes stay below the smallest window of HTTP/2, so
# that one thread can send and read in turns: a write never waits for an answer to be read.
UNANSWERED_BYTES = 48 << 10
MESSAGE_BYTES = 320  # of a batch of keys besides the keys
SCHEMA = pa.schema([pa.field(KEY, pa.int64(), nullable=False)])


def run(
    client: fl.FlightClient, table: str, keys: int, each: int, seconds: float, window: int
) -> Measurement:
    """Asks for random ones of the keys 0 … keys-1 with all columns, `each` to a batch."""
    random = np.random.default_rng([SEED, each])
    batches = [
        pa.record_batch([pa.array(random.integers(0, keys, each))], schema=SCHEMA)
        for _ in range(DISTINCT)
    ]
    window = max(1, min(window, UNANSWERED_BYTES // (8 * each + MESSAGE_BYTES)))
    writer, reader = client.do_exchange(descriptor(table))
    writer.begin(SCHEMA)
    sent: deque[float] = deque()
    latencies: list[float] = []
    number, cpu, began = 0, flight.own_cpu(), time.perf_counter()
    end = began + seconds
    while True:
        now = time.perf_counter()
        while now < end and len(sent) < window:
            sent.append(now)
            writer.write_batch(batches[number % DISTINCT])
            number += 1
            now = time.perf_counter()
        if not sent:
            break
        answer(reader, each)
        latencies.append(time.perf_counter() - sent.popleft())
    took, cpu = time.perf_counter() - began, flight.own_cpu() - cpu
    writer.done_writing()
    writer.close()
    latencies = sorted(latencies[int(len(latencies) * WARM_UP) :])
    p50, p99 = (latencies[int(len(latencies) * share)] * 1e3 for share in (0.5, 0.99))
    more = {"p50_ms": round(p50, 4), "p99_ms": round(p99, 4), "window": window}
    return Measurement(seconds=took, rows=number * each, client_cpu=cpu, more=more)


def answer(reader: fl.MetadataRecordBatchReader, keys: int) -> list[pa.RecordBatch]:
    """Reads all parts of the next answer; a key that was not found is an error."""
    parts, rows, last = [], 0, False
    while not last:
        chunk = reader.read_chunk()
        last = b'"last":true' in chunk.app_metadata.to_pybytes()
        rows += chunk.data.num_rows
        parts.append(chunk.data)
        if chunk.data.column(1).null_count:
            raise RuntimeError(f"{chunk.data.column(1).null_count} of {keys} keys were not found")
    if rows != keys:
        raise RuntimeError(f"{rows} rows answer {keys} keys")
    return parts


def descriptor(table: str) -> fl.FlightDescriptor:
    """Makes the command of a lookup of all columns by the key."""
    return fl.FlightDescriptor.for_command(json.dumps({"lookup": {"table": table}}).encode())


def rows(client: fl.FlightClient, table: str, keys: pa.Int64Array) -> pa.Table:
    """Looks keys up once."""
    writer, reader = client.do_exchange(descriptor(table))
    writer.begin(SCHEMA)
    writer.write_batch(pa.record_batch([keys], schema=SCHEMA))
    found = answer(reader, len(keys))
    writer.done_writing()
    writer.close()
    return pa.Table.from_batches(found)
