"""How the buckets of a scan are split among workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace._flight import Connection

if TYPE_CHECKING:
    from headrace.scan import ScanSpec


def bucket_numbers(connection: Connection, spec: ScanSpec) -> list[int]:
    """Give the buckets that a scan reads."""
    if spec.buckets is not None:
        return list(spec.buckets)
    described = connection.action("DescribeTable", {"table": spec.table})
    return [int(bucket["bucket"]) for bucket in described.get("buckets") or ()]


def bucket_share(buckets: list[int], worker: int, workers: int) -> list[int]:
    """Give the buckets of one worker, as even as they can be split.

    Example:
        >>> bucket_share([0, 1, 2, 3, 4], 1, 2)
        [1, 3]
    """
    return buckets[worker::workers]
