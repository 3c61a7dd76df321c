"""Table options, as a server describes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TableOption:
    """One option that tables can have.

    Attributes:
        name: such as `log.ttl`; where it ends in `COLUMN`, that stands for the name of a column.
        type: `duration`, `size`, `level`, `choice`, `function`, `column`, …
        default: what a table has that does not set it, as text.
        range: in words, what is allowed.
        alterable: whether `Table.alter` may change it; others are fixed when the table is made.
        description: what it does.
    """

    name: str
    type: str
    default: str
    range: str
    alterable: bool
    description: str

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> TableOption:
        """Read an entry of the action `ListOptions`; what is missing is empty."""
        texts = {n: str(body.get(n, "")) for n in ("type", "default", "range", "description")}
        return cls(name=str(body["name"]), alterable=bool(body.get("alterable")), **texts)
