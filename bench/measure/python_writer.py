"""Writes rows one by one with the Python package; a program of its own, started by producers.py."""

from __future__ import annotations

import json
import resource
import sys
import time

import headrace
import pyarrow as pa


def main() -> None:
    """Takes URI, table, workload and rows as arguments, and prints seconds and CPU seconds."""
    uri, table, workload, count = *sys.argv[1:4], int(sys.argv[4])
    file = pa.ipc.open_file(pa.memory_map(workload))
    first = file.get_batch(0)
    rows = [first.slice(number % first.num_rows, 1) for number in range(count)]
    with headrace.connect(uri) as database:
        cpu, began = used(), time.perf_counter()
        with database.table(table).writer() as writer:
            for row in rows:
                writer.write(row)
        print(json.dumps({"seconds": time.perf_counter() - began, "client_cpu": used() - cpu}))


def used() -> float:
    """Gives the CPU seconds of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
