"""Reads into PyTorch, split among the workers of a DataLoader."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.types as pt

from headrace._flight import Connection
from headrace.adapters._buckets import bucket_numbers, bucket_share
from headrace.adapters._lazy import require

if TYPE_CHECKING:
    from headrace.scan import Scan, ScanSpec


def to_torch(scan: Scan) -> Any:
    """Give an `IterableDataset` of dicts of columns, one a record batch.

    Numbers and booleans without nulls become tensors, lists of a fixed size of them, such as
    embeddings, tensors of more dimensions, everything else lists. Each worker of a
    DataLoader reads its own buckets over its own connection; start workers by
    `multiprocessing_context="spawn"`, since gRPC does not survive a fork.
    """
    torch = require("torch", "torch")
    data = require("torch.utils.data", "torch")
    source = _Source(scan._connection.address, scan.spec)

    # Bound by its attribute alone, so that pickle finds nothing of this function in it.
    class HeadraceDataset(data.IterableDataset):  # type: ignore[misc, name-defined]
        """Rows of a headrace scan."""

        def __iter__(self) -> Iterator[dict[str, Any]]:
            """Read this worker's share."""
            worker = data.get_worker_info()
            share = (0, 1) if worker is None else (worker.id, worker.num_workers)
            for batch in source.batches(*share):
                yield to_tensors(batch, torch)

        def __reduce__(self) -> tuple[Any, ...]:
            return _rebuild, (source,)

    return HeadraceDataset()


def _rebuild(source: _Source) -> Any:
    from headrace.scan import Scan

    return to_torch(Scan(Connection(source.address), source.spec))


class _Source:
    """What a worker needs in order to read."""

    def __init__(self, address: Any, spec: ScanSpec) -> None:
        self.address, self.spec = address, spec

    def batches(self, worker: int, workers: int) -> Iterator[pa.RecordBatch]:
        """Read the buckets of one worker of several, on a connection of its own."""
        from headrace.scan import Scan

        connection = Connection(self.address)
        try:
            spec = self.spec
            if spec.limit is not None and worker > 0:
                return  # a limit is of the whole scan: the first worker reads it
            if workers > 1 and spec.limit is None:
                mine = bucket_share(bucket_numbers(connection, spec), worker, workers)
                if not mine:
                    return
                spec = replace(spec, buckets=mine)
            yield from Scan(connection, spec).to_batches()
        finally:
            connection.close()


def to_tensors(batch: pa.RecordBatch, torch: Any) -> dict[str, Any]:
    """Turn columns of numbers into tensors, and others into lists."""
    out: dict[str, Any] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        values, shape = _numbers(column)
        if values is None:
            out[name] = column.to_pylist()
            continue
        # A copy: tensors are writable, and the memory of a batch must not be written.
        numbers = values.to_numpy(zero_copy_only=False).copy()
        out[name] = torch.from_numpy(numbers.reshape(len(column), *shape))
    return out


def _numbers(column: Any) -> tuple[Any, tuple[int, ...]]:
    """Give the numbers of a column and the shape of each row; None where it is not of numbers."""
    shape: tuple[int, ...] = ()
    if isinstance(column.type, pa.FixedShapeTensorType):
        order = column.type.permutation
        if order is not None and list(order) != sorted(order):
            return None, ()
        column, shape = column.storage, tuple(column.type.shape)
        if column.null_count:
            return None, ()
        column = column.flatten()
    while isinstance(column.type, pa.FixedSizeListType) and not column.null_count:
        shape, column = (*shape, column.type.list_size), column.flatten()
    kind = column.type
    numeric = pt.is_integer(kind) or pt.is_floating(kind) or pt.is_boolean(kind)
    return (column, shape) if numeric and not column.null_count else (None, ())
