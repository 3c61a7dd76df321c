"""Reads into Ray Data, one task a bucket."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from headrace._flight import Address, Connection
from headrace.adapters._buckets import bucket_numbers
from headrace.adapters._lazy import require

if TYPE_CHECKING:
    from headrace.scan import Scan, ScanSpec


def to_ray(scan: Scan) -> Any:
    """Give a `ray.data.Dataset`; each bucket is read by a task with its own connection.

    A scan with a limit is read by one task, since a limit is of the whole scan.
    """
    data = require("ray.data", "ray")
    spec = scan.spec
    buckets = bucket_numbers(scan._connection, spec)
    parts: list[ScanSpec] = [spec]
    if spec.limit is None and len(buckets) > 1:
        parts = [replace(spec, buckets=(bucket,)) for bucket in buckets]
    reader = BucketReader(scan._connection.address, parts)
    dataset = data.from_items(
        [{"part": at} for at in range(len(parts))], override_num_blocks=len(parts)
    )
    return dataset.map_batches(reader, batch_size=1, batch_format="pyarrow")


class BucketReader:
    """The function of a task: reads the parts that it is given."""

    def __init__(self, address: Address, parts: list[ScanSpec]) -> None:
        """Take where to connect and what each part reads."""
        self._address, self._parts = address, parts

    def __call__(self, tasks: pa.Table) -> Iterator[pa.Table]:
        """Read the parts whose numbers are in the column `part`."""
        from headrace.scan import Scan

        connection = Connection(self._address)
        try:
            for row in tasks.to_pylist():
                scan = Scan(connection, self._parts[row["part"]])
                reader = scan.to_arrow_batch_reader()
                yield reader.schema.empty_table()  # so that an empty bucket has its columns
                for batch in reader:
                    yield pa.Table.from_batches([batch])
        finally:
            connection.close()
