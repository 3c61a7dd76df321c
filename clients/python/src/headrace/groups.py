"""Consumer groups: subscriptions that share a table's buckets, and how far groups have come."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headrace._flight import Connection
from headrace.errors import Error
from headrace.membership import Member, MemberOptions
from headrace.position import Bound, Position, encode_bound
from headrace.reading import Reading
from headrace.subscribe import Subscription, parse_time


class GroupSubscription(Subscription):
    """An iterator over new rows of the buckets that are this member's; made by `Table.subscribe`.

    The members of a group share the buckets; when one comes or goes, buckets move between two
    batches, and reading goes on where the group has committed. With `commit="auto"` a batch is done
    when the next one is asked for, and commits follow within a second; what was given out last
    before the loop is left is not done, unless `Batch.commit` says so. With `commit="manual"` only
    `Batch.commit` and `commit` commit.

    Example:
        >>> table = db["web.clicks"]
        >>> with table.subscribe(group="billing", start="earliest", timeout=0.5) as rows:
        ...     sum(batch.num_rows for batch in rows)
        2
        >>> table.group("billing").lag()
        0
    """

    def __init__(
        self,
        connection: Connection,
        reading: Reading,
        options: MemberOptions,
        timeout: float | None,
    ) -> None:
        """Join the group, and follow at once."""
        self._member = Member(connection, options, reading.nudge)
        share = self._member.share
        connection.children.add(self._member)
        self._group, self._auto = options.group, options.auto
        super().__init__(reading, start=share.position, timeout=timeout, buckets=share.buckets)
        self._finalizer.detach()
        self._finalizer = weakref.finalize(self, _close, reading, self._member)

    @property
    def group(self) -> str:
        """Name of the group."""
        return self._group

    @property
    def member(self) -> str:
        """Id of this member."""
        return self._member.id

    @property
    def buckets(self) -> frozenset[int]:
        """The buckets that this member reads now; they change between two batches."""
        return self._member.share.buckets

    def commit(self) -> None:
        """Tell the group that everything that was given out is done.

        Raises:
            Error: the server could not be reached, or this is no member any more.
        """
        self._member.commit(None, self._position)

    def _settle(self) -> None:
        seen = self._reading.seen()
        if seen is not None:
            self._position = self._position.merged(seen.offsets)
        if self._auto:
            self._member.done(self._position.offsets)
        share = self._member.settle()
        if share is None:
            return
        before = self._position.offsets
        offsets = {
            b: before[b] if b in before and not share.anew else share.position.offsets.get(b, 0)
            for b in share.buckets
        }
        changed = share.anew or share.buckets != self._buckets
        self._position = Position(offsets, share.position.table_id)
        self._buckets = share.buckets
        if changed and not self._paused:
            self._reading.open(self._position, self._buckets)

    def _committer(self) -> Callable[[int, Position], None] | None:
        return self._member.commit

    def _readable(self, offsets: Mapping[int, int]) -> Mapping[int, int]:
        return {b: o for b, o in offsets.items() if b in self.buckets}

    def __repr__(self) -> str:
        """Show group, table and position."""
        at = self._position.to_json()
        return f"<Subscription of {self._group} to {self._reading.table} at {at}>"


def _close(reading: Reading, member: Member) -> None:
    reading.close(reading.patience)
    member.close(reading.patience)


@dataclass(frozen=True, slots=True)
class GroupMember:
    """A member of a group.

    Attributes:
        member: its id.
        generation: the newest that it has acknowledged.
        session: seconds that it may be silent.
        seen: when it called last, UTC.
        buckets: those that it reads.
        waits: those that it will read once others have given them up.
    """

    member: str
    generation: int
    session: float
    seen: datetime
    buckets: tuple[int, ...]
    waits: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GroupInfo:
    """A group, as `Database.groups` lists it.

    Attributes:
        group: its name.
        table: full name of the table that it reads.
        generation: goes up with every change of the members.
        lag: rows that it has not committed.
        active: when it last had a member or committed, UTC.
        members: who reads now.
    """

    group: str
    table: str
    generation: int
    lag: int
    active: datetime
    members: tuple[GroupMember, ...]


def list_groups(connection: Connection, table: str) -> list[GroupInfo]:
    """Ask for the groups of the tables that match a pattern; empty: all."""
    body = connection.action("ListGroups", {"table": table})
    return [
        GroupInfo(
            group=str(entry["group"]),
            table=str(entry["table"]),
            generation=int(entry["generation"]),
            lag=int(entry["lag"]),
            active=parse_time(str(entry["active"])),
            members=tuple(_member(m) for m in entry.get("members") or ()),
        )
        for entry in body.get("groups") or ()
    ]


def _member(entry: Mapping[str, Any]) -> GroupMember:
    return GroupMember(
        member=str(entry["member"]),
        generation=int(entry["generation"]),
        session=int(entry["session_ms"]) / 1000,
        seen=parse_time(str(entry["seen"])),
        buckets=tuple(entry.get("buckets") or ()),
        waits=tuple(entry.get("waits") or ()),
    )


class Group:
    """How far a group has come in a table; made by `Table.group`.

    Example:
        >>> table = db["web.clicks"]
        >>> group = table.group("reports")
        >>> group.commit({0: 1})
        >>> group.lag(), group.position().offsets
        (1, {0: 1})
        >>> group.reset("latest").offsets
        {0: 2}
        >>> group.drop()
    """

    def __init__(self, connection: Connection, table: str, name: str) -> None:
        """Name a group; it need not be there."""
        self._connection, self._table, self.name = connection, table, name

    @property
    def table(self) -> str:
        """Full name of the table."""
        return self._table

    def describe(self) -> dict[str, Any]:
        """Give the server's figures: per bucket `committed`, `start`, `end`, `lag`, `member`.

        Raises:
            GroupNotFound: there is no such group.
        """
        return self._connection.action("Positions", self._body())

    def lag(self) -> int:
        """Count the rows that the group has not committed."""
        return int(self.describe()["lag"])

    def position(self) -> Position:
        """Give what the group has committed."""
        body = self.describe()
        offsets = {
            int(b["bucket"]): int(b["committed"])
            for b in body.get("buckets") or ()
            if b.get("committed") is not None
        }
        return Position(offsets, (body.get("position") or {}).get("table_id"))

    def members(self) -> tuple[GroupMember, ...]:
        """Give who reads now; nobody if there is no such group."""
        for info in list_groups(self._connection, self._table):
            if info.group == self.name:
                return info.members
        return ()

    def commit(self, position: Position | Mapping[int, int]) -> None:
        """Move the position forward, for a program that reads alone; makes the group.

        Raises:
            MemberFenced: the group has members, who alone may commit.
        """
        at = position if isinstance(position, Position) else Position(position)
        self._connection.action("CommitPosition", self._body() | {"position": at.to_dict()})

    def reset(self, to: Bound) -> Position:
        """Move the position, forward or back; members join again and go on from there.

        Args:
            to: `"earliest"`, `"latest"`, a time with its zone, or a position, of which only the
                buckets that it names move.

        Raises:
            GroupNotFound: there is no such group.
        """
        bound = encode_bound(to, "to", ("earliest", "latest", "now"))
        body = self._connection.action("ResetPosition", self._body() | {"position": bound})
        return Position.from_dict(body["position"])

    def drop(self, *, missing_ok: bool = False) -> None:
        """Forget the group and its position."""
        self._connection.action("DropGroup", self._body() | {"missing_ok": missing_ok})

    def _body(self) -> dict[str, Any]:
        return {"table": self._table, "group": self.name}

    def __repr__(self) -> str:
        """Show where the group stands, if the server tells."""
        try:
            return f"<Group {self.name} of {self._table}, {self.lag()} rows behind>"
        except Error as error:
            return f"<Group {self.name} of {self._table}: {error.reason}>"
