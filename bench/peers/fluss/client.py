"""Drives Fluss with its own Python client; runs in the environment that fetch.sh makes.

    client.py create ADDRESS TABLE WORKLOAD
    client.py ingest ADDRESS TABLE WORKLOAD ROWS
    client.py scan   ADDRESS TABLE WORKLOAD ROWS [COLUMN,…]

Each prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time

import fluss
import pyarrow as pa

DATABASE = "bench"
WINDOW = 16  # batches sent that are not acknowledged yet, as for the other servers
BATCH_ROWS = 10_000
SCAN_SECONDS_MAX = 120


def cpu() -> float:
    """Gives the CPU seconds of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def create(
    connection: fluss.FlussConnection, path: fluss.TablePath, file: pa.ipc.RecordBatchFileReader
) -> dict:
    """Creates the table anew: one bucket, no compression."""
    admin = connection.get_admin()
    await admin.create_database(DATABASE, ignore_if_exists=True)
    await admin.drop_table(path, ignore_if_not_exists=True)
    properties = {"table.log.arrow.compression.type": "NONE"}
    schema = fluss.Schema(file.schema)
    await admin.create_table(
        path, fluss.TableDescriptor(schema, bucket_count=1, properties=properties)
    )
    await asyncio.sleep(2)  # the bucket's leader is elected behind the call
    return {}


async def ingest(
    connection: fluss.FlussConnection,
    path: fluss.TablePath,
    file: pa.ipc.RecordBatchFileReader,
    rows: int,
) -> dict:
    """Appends the workload, pipelined."""
    table = await connection.get_table(path)
    writer = table.new_append().create_writer()
    batches = [file.get_batch(number) for number in range(rows // BATCH_ROWS)]
    used, began, waiting = cpu(), time.perf_counter(), []
    for batch in batches:
        waiting.append(writer.write_arrow_batch(batch))
        if len(waiting) >= WINDOW:
            await waiting.pop(0).wait()
    await writer.flush()
    return {"rows": rows, "seconds": time.perf_counter() - began, "client_cpu": cpu() - used}


async def scan(
    connection: fluss.FlussConnection, path: fluss.TablePath, rows: int, columns: list[str]
) -> dict:
    """Reads from the beginning until all rows came."""
    table = await connection.get_table(path)
    scanning = table.new_scan()
    if columns:
        scanning = scanning.project_by_name(columns)
    scanner = await scanning.create_record_batch_log_scanner()
    used, began, seen = cpu(), time.perf_counter(), 0
    scanner.subscribe_buckets({0: fluss.EARLIEST_OFFSET})
    while seen < rows:
        if time.perf_counter() - began > SCAN_SECONDS_MAX:
            raise RuntimeError(f"{seen} of {rows} rows after {SCAN_SECONDS_MAX} s")
        for piece in await scanner.poll_record_batch(2000):
            seen += piece.batch.num_rows
    return {"rows": seen, "seconds": time.perf_counter() - began, "client_cpu": cpu() - used}


async def main() -> None:
    """Runs one command."""
    command, address, name, workload = sys.argv[1:5]
    connection = await fluss.FlussConnection.create(fluss.Config({"bootstrap.servers": address}))
    path = fluss.TablePath(DATABASE, name)
    file = pa.ipc.open_file(pa.memory_map(workload))
    if command == "create":
        result = await create(connection, path, file)
    elif command == "ingest":
        result = await ingest(connection, path, file, int(sys.argv[5]))
    else:
        columns = sys.argv[6].split(",") if len(sys.argv) > 6 else []
        result = await scan(connection, path, int(sys.argv[5]), columns)
    await connection.close()
    print(json.dumps(result), flush=True)
    # The client's threads abort the process now and then while the interpreter shuts down.
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
