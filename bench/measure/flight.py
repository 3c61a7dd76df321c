"""The pyarrow client side that is the same for headrace and for the yardstick."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl

WINDOW = 16  # batches sent whose acknowledgement is not read yet


@dataclass(frozen=True)
class Transfer:
    """Rows moved, the seconds that it took and the CPU seconds of this process."""

    rows: int
    seconds: float
    client_cpu: float


def own_cpu() -> float:
    """Gives the CPU seconds of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def scan(client: fl.FlightClient, ticket: bytes, repeats: int = 1) -> Transfer:
    """Reads a ticket to its end, chunk by chunk, and counts rows."""
    rows, cpu, began = 0, own_cpu(), time.perf_counter()
    for _ in range(repeats):
        for chunk in client.do_get(fl.Ticket(ticket)):
            rows += chunk.data.num_rows
    return Transfer(rows, time.perf_counter() - began, own_cpu() - cpu)


def checksums(client: fl.FlightClient, ticket: bytes) -> tuple[int, int, int]:
    """Gives rows, sum(user_id) and sum(f0) of a ticket, outside of any timing."""
    rows, users, floats = 0, 0, 0.0
    for chunk in client.do_get(fl.Ticket(ticket)):
        if chunk.data.num_rows:
            rows += chunk.data.num_rows
            users += int(chunk.data.column("user_id").to_numpy().sum())
            floats += float(chunk.data.column("f0").to_numpy().sum())
    return rows, users, round(floats)


def put(
    client: fl.FlightClient,
    descriptor: fl.FlightDescriptor,
    batches: Sequence[pa.RecordBatch],
    level: str | None = None,
    window: int = WINDOW,
) -> Transfer:
    """Sends batches, at most `window` unacknowledged; ends with the last acknowledgement.

    Raises:
        RuntimeError: a batch is acknowledged with another durability than `level`.
    """
    cpu, began = own_cpu(), time.perf_counter()
    writer, reader = client.do_put(descriptor, batches[0].schema)
    waiting = 0
    for batch in batches:
        writer.write_batch(batch)
        waiting += 1
        while waiting >= window:
            waiting -= acknowledged(reader, level)
    while waiting > 0:
        waiting -= acknowledged(reader, level)
    seconds, cpu = time.perf_counter() - began, own_cpu() - cpu
    writer.done_writing()
    writer.close()
    return Transfer(sum(batch.num_rows for batch in batches), seconds, cpu)


def acknowledged(reader: fl.FlightMetadataReader, level: str | None) -> int:
    """Reads one acknowledgement; gives the number of batches that it covers."""
    message = reader.read()
    if message is None:
        raise RuntimeError("the server ended the stream before it acknowledged everything")
    if level is None:
        return 1
    told = json.loads(message.to_pybytes())
    if told["durability"] != level:
        raise RuntimeError(f"acknowledged with durability {told['durability']}, want {level}")
    return int(told.get("batches", 1))


def action(client: fl.FlightClient, name: str, body: dict[str, Any]) -> Any:
    """Runs an action and gives its first result, decoded."""
    results = list(client.do_action(fl.Action(name, json.dumps(body).encode())))
    if not results or not results[0].body.size:
        return None
    return json.loads(results[0].body.to_pybytes())
