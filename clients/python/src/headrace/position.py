"""Positions: where a reader stands in a table, and how bounds of a read are written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal, TypeAlias, Union

from headrace.errors import BadRequest


@dataclass(frozen=True, slots=True)
class Position:
    """Where a reader stands: for each bucket the offset of the next row that it wants.

    A position can be saved as text and read back, also by another program or in another language.

    Attributes:
        offsets: next offset by bucket.
        table_id: the table that it belongs to, so that it is not used on a later table of the same
            name; None: any.

    Example:
        >>> position = Position({0: 1200}, table_id="01J")
        >>> Position.from_json(position.to_json()) == position
        True
    """

    offsets: Mapping[int, int] = field(default_factory=dict)
    table_id: str | None = None

    def __post_init__(self) -> None:
        """Take a copy, in bucket order, with plain integers."""
        offsets = {int(b): int(o) for b, o in sorted(self.offsets.items())}
        for bucket, offset in offsets.items():
            if bucket < 0 or offset < 0:
                raise BadRequest(f"offset {offset} of bucket {bucket}: want both at 0 or above")
        object.__setattr__(self, "offsets", offsets)

    def __hash__(self) -> int:
        """Hash what equality compares."""
        return hash((tuple(self.offsets.items()), self.table_id))

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON object of the wire: `{"table_id": …, "offsets": {"0": 1200}}`."""
        body: dict[str, Any] = {"offsets": {str(b): o for b, o in self.offsets.items()}}
        if self.table_id:
            body["table_id"] = self.table_id
        return body

    def to_json(self) -> str:
        """Give the position as text, for a file or a database."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Position:
        """Read the JSON object of the wire; a bare offsets map is accepted too."""
        offsets = body.get("offsets", body)
        return cls({int(b): int(o) for b, o in offsets.items()}, body.get("table_id") or None)

    @classmethod
    def from_json(cls, text: str | bytes) -> Position:
        """Read what `to_json` gave.

        Raises:
            BadRequest: the text is not a position.
        """
        try:
            return cls.from_dict(json.loads(text))
        except (ValueError, TypeError, AttributeError, KeyError) as cause:
            raise BadRequest(f"{text!r} is not a position: {cause}") from cause

    def merged(self, later: Mapping[int, int]) -> Position:
        """Give this position with the offsets of `later` put over it."""
        return Position({**self.offsets, **later}, self.table_id)


@dataclass(frozen=True, slots=True)
class Positions:
    """The two ends of what a table keeps.

    Attributes:
        earliest: the first row that is kept.
        latest: behind the last row.
    """

    earliest: Position
    latest: Position


Bound: TypeAlias = Union[  # noqa: UP007 — evaluated at run time, on Python 3.10 too
    Literal["earliest", "latest", "now"], Position, Mapping[int, int], datetime
]
"""One end of a read: a word, a position, offsets by bucket, or a time with its zone."""


def encode_time(time: datetime, name: str = "time") -> str:
    """Write a time as RFC 3339 in UTC.

    Raises:
        BadRequest: the time has no zone, so that it could mean any of 24 hours.

    Example:
        >>> encode_time(datetime(2026, 11, 21, 8, tzinfo=timezone.utc))
        '2026-11-21T08:00:00+00:00'
    """
    if time.tzinfo is None:
        raise BadRequest(
            f"{name} is {time.isoformat()} without a time zone. "
            "Write datetime(…, tzinfo=timezone.utc), or add the zone that you mean."
        )
    return time.astimezone(timezone.utc).isoformat()


def encode_bound(bound: Any, name: str, words: tuple[str, ...]) -> Any:
    """Write one end of a read as the server reads it.

    Args:
        bound: a `Bound`.
        name: the argument's name, for errors.
        words: the words that are allowed here.

    Raises:
        BadRequest: the bound is none of the forms; the text lists them.

    Example:
        >>> encode_bound({0: 17}, "start", ("earliest",))
        {'offsets': {'0': 17}}
    """
    if isinstance(bound, str) and bound in words:
        return bound
    if isinstance(bound, Position):
        return bound.to_dict()
    if isinstance(bound, datetime):
        return {"time": encode_time(bound, name)}
    if isinstance(bound, Mapping) and all(_is_integer(v) for v in (*bound, *bound.values())):
        return Position(bound).to_dict()
    hint = ""
    if _is_integer(bound):
        hint = f" For offset {bound} of bucket 0 write {{0: {bound}}}."
    allowed = ", ".join(repr(word) for word in words)
    raise BadRequest(
        f"{name} is {bound!r}, want {allowed}, a Position, offsets by bucket such as {{0: 17}}, "
        f"or a datetime with its zone.{hint}"
    )


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
