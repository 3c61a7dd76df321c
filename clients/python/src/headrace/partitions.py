"""Partitions of a table: their values, and the calls that list, make and drop them."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from headrace._flight import Connection
from headrace.errors import BadRequest

EXACT_INTEGER_MAX = 2**53


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition: the rows that have equal values in the partition columns.

    Attributes:
        id: number that no other partition of the table has had.
        values: the values by column, as Python values of the columns' types.
        buckets: where its rows are.
        rows: how many there are now.
        bytes: what they take on disk.
    """

    id: int
    values: dict[str, Any]
    buckets: tuple[int, ...]
    rows: int
    bytes: int


class PartitionCalls:
    """The part of `Table` that is for tables with partitions."""

    _description: dict[str, Any]
    if TYPE_CHECKING:

        @property
        def name(self) -> str: ...  # noqa: D102
        @property
        def schema(self) -> pa.Schema: ...  # noqa: D102
        @property
        def _connection(self) -> Connection: ...

    @property
    def partition_by(self) -> tuple[str, ...]:
        """Names of the partition columns; empty for a table without partitions."""
        return tuple(self._description.get("partition_by") or ())

    def partitions(self, **values: Any) -> list[Partition]:
        """List the partitions that have the values; without values, all of them.

        Raises:
            BadRequest: the table has no partitions, or a value does not fit its column.

        Example:
            >>> import pyarrow as pa
            >>> schema = pa.schema([("country", pa.string()), ("id", pa.int64())])
            >>> visits = db.create_table("web.visits", schema, partition_by=["country"])
            >>> visits.append([{"country": "DE", "id": 1}, {"country": "FR", "id": 2}]).rows
            2
            >>> [p.values for p in visits.partitions()]
            [{'country': 'DE'}, {'country': 'FR'}]
            >>> visits.partitions(country="FR")[0].rows
            1
            >>> visits.drop_partition(country="FR")
            1
            >>> visits.scan(partitions=[{"country": "DE"}]).to_arrow().to_pylist()
            [{'country': 'DE', 'id': 1}]
        """
        body = {"table": self.name, "values": encode_values(values), "prefix": True}
        found = self._connection.action("ListPartitions", body).get("partitions") or ()
        return [self._partition(p) for p in found]

    def create_partition(self, *, exist_ok: bool = False, **values: Any) -> Partition:
        """Make a partition; every partition column is named.

        Rows make the partitions that they belong to unless the option `partition.auto-create` is
        `false`.

        Raises:
            PartitionAlreadyExists: there is one, and `exist_ok` is not set.
        """
        body = {"table": self.name, "values": encode_values(values), "exist_ok": exist_ok}
        return self._partition(self._connection.action("CreatePartition", body))

    def drop_partition(self, *, missing_ok: bool = False, **values: Any) -> int:
        """Drop every partition that has the values, with all its rows; gives how many there were.

        Raises:
            PartitionNotFound: there is none, and `missing_ok` is not set.
        """
        body = {
            "table": self.name,
            "values": encode_values(values),
            "prefix": True,
            "missing_ok": missing_ok,
        }
        return int(self._connection.action("DropPartition", body).get("dropped", 0))

    def _partition(self, described: Mapping[str, Any]) -> Partition:
        values = {
            str(name): decode_value(value, self.schema.field(name).type)
            for name, value in described["values"].items()
        }
        return Partition(
            id=int(described["id"]),
            values={name: values[name] for name in self.partition_by if name in values} or values,
            buckets=tuple(int(b) for b in described.get("buckets") or ()),
            rows=int(described.get("rows", 0)),
            bytes=int(described.get("bytes", 0)),
        )


def encode_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Write values of columns as the server reads them.

    Example:
        >>> encode_values({"day": date(2026, 11, 21), "id": 2**60, "raw": b"a"})
        {'day': '2026-11-21', 'id': '1152921504606846976', 'raw': 'YQ=='}
    """
    return {name: _encode(name, value) for name, value in values.items()}


def encode_partitions(partitions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Write the partitions that a scan is bound to."""
    if isinstance(partitions, Mapping):
        raise BadRequest(f"partitions is {partitions!r}, want a list: [{partitions!r}]")
    return [encode_values(values) for values in partitions]


def _encode(name: str, value: Any) -> Any:
    if isinstance(value, pa.Scalar):
        value = value.as_py()
    if isinstance(value, datetime):
        aware = value if value.tzinfo is not None else value.replace(tzinfo=timezone.utc)
        return aware.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode()
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, bool | str | float):
        return value
    if isinstance(value, int):
        return value if abs(value) <= EXACT_INTEGER_MAX else str(value)
    if hasattr(value, "item"):  # a number of numpy
        return _encode(name, value.item())
    raise BadRequest(f"the value of {name!r} is {value!r}, which is no value of a partition")


def decode_value(value: Any, kind: pa.DataType) -> Any:
    """Read a value of a column as the server writes it.

    Example:
        >>> decode_value("2026-11-21", pa.date32())
        datetime.date(2026, 11, 21)
    """
    if pa.types.is_integer(kind):
        return int(value)
    if pa.types.is_decimal(kind):
        return Decimal(str(value))
    if pa.types.is_date(kind):
        return date.fromisoformat(str(value))
    if pa.types.is_timestamp(kind):
        # Digits below a microsecond are nothing that a datetime has.
        text = str(value).removesuffix("Z")
        whole, _, digits = text.partition(".")
        micros = f".{digits[:6].ljust(6, '0')}" if digits else ""
        at = datetime.fromisoformat(whole + micros)
        return at.replace(tzinfo=timezone.utc) if kind.tz else at
    if pa.types.is_floating(kind):
        return float(value)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return base64.b64decode(value)
    if pa.types.is_fixed_size_binary(kind):
        return base64.b64decode(value)
    return value
